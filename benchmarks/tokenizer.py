"""How fast gptcore.tokenizer trains and encodes beside tokenizers, rustbpe and tiktoken: one run, one Markdown table.

    python benchmarks/tokenizer.py [a folder of .txt files] [--quick]

Without a folder the Playhouse's grammar writes the text. Each round runs all contenders, in the opposite order of the round
before; the table shows medians and their ratios. A contender that is not installed is left out.
"""

import argparse
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gptcore import corpora, playhouse
from gptcore.export import save_tokenizer_json, to_tiktoken
from gptcore.tokenizer import GPT4_PATTERN, BPETokenizer

VOCAB_SIZE, CHARACTERS, ROUNDS = 8256, 6_800_000, 7
QUICK = {"vocab_size": 1000, "characters": 400_000, "rounds": 2}
GROWTH = [125_000, 250_000, 500_000, 1_000_000]
Contenders = dict[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where .txt files lie (default: the Playhouse writes)")
    parser.add_argument("--quick", action="store_true", help="a small text, two rounds: does it run?")
    options = parser.parse_args()
    size = QUICK if options.quick else {"vocab_size": VOCAB_SIZE, "characters": CHARACTERS, "rounds": ROUNDS}
    documents = read(options.folder, size["characters"]) if options.folder else written(size["characters"])
    print(f"{machine()}; load {os.getloadavg()[0]:.2f} before")
    print(f"Text: {sum(len(text.encode()) for text in documents) / 1e6:.2f} MB in {len(documents)} documents "
          f"({'books' if options.folder else 'the Playhouse'}); median of {size['rounds']} rounds\n")
    print("| task | contender | seconds | times as long as gptcore |\n|---|---|---|---|")
    tokenizer = compare_training(documents, **size)
    compare_encoding("".join(documents), documents, tokenizer, size["rounds"])
    compare_whole("".join(documents), size["rounds"])
    print("\n| one letter, this often | seconds of training | MB of memory |\n|---|---|---|")
    for letters in GROWTH[:1] if options.quick else GROWTH:
        print("| {:,} | {} | {} |".format(letters, *growth(letters)))
    print(f"\nLoad {os.getloadavg()[0]:.2f} after.")


# ---------------------------------------------------------------- the text

def read(folder: Path, characters: int) -> list[str]:
    """The files of a folder as documents, from the beginning again until there are enough characters."""
    texts = [text(path) for path in sorted(folder.glob("*.txt"))]
    if not any(texts):
        sys.exit(f"{folder.name} holds no .txt file with text")
    return enough(texts * (1 + characters // sum(map(len, texts))), characters)


def text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def written(characters: int) -> list[str]:
    return enough((playhouse.write(seed) + "\n\n" for seed in itertools.count()), characters)


def enough(texts: Iterable[str], characters: int) -> list[str]:
    documents = []
    for each in texts:
        documents.append(each[:characters])
        characters -= len(each)
        if characters <= 0:
            return documents
    return documents


# ---------------------------------------------------------------- the contenders

def compare_training(documents: list[str], vocab_size: int, rounds: int, **_) -> BPETokenizer:
    """Learn the merges. One special token is counted by gptcore only."""
    contenders: Contenders = {"gptcore": lambda: quietly(documents, vocab_size, GPT4_PATTERN)}
    if find_spec("tokenizers"):
        import tokenizers

        def theirs(texts: Callable[[], Iterator[str] | list[str]]) -> None:
            tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
            levels = tokenizers.pre_tokenizers
            tokenizer.pre_tokenizer = levels.Sequence([levels.Split(tokenizers.Regex(GPT4_PATTERN), "isolated"),
                                                       levels.ByteLevel(add_prefix_space=False, use_regex=False)])
            tokenizer.train_from_iterator(texts(), tokenizers.trainers.BpeTrainer(
                vocab_size=vocab_size - 1, show_progress=False, initial_alphabet=levels.ByteLevel.alphabet()))

        contenders["tokenizers"] = lambda: theirs(lambda: documents)
        contenders["tokenizers, line by line"] = lambda: theirs(
            lambda: (line for document in documents for line in document.splitlines(keepends=True)))
    if find_spec("rustbpe"):
        import rustbpe
        contenders["rustbpe"] = lambda: rustbpe.Tokenizer().train_from_iterator(documents, vocab_size - 1,
                                                                               pattern=GPT4_PATTERN)
    show("training", race(contenders, rounds))
    return quietly(documents, vocab_size, GPT4_PATTERN)


def compare_encoding(whole: str, documents: list[str], tokenizer: BPETokenizer, rounds: int) -> None:
    """Encode the whole text as one string, with the same merges. Who gives other ids is out of the race."""
    known = BPETokenizer(tokenizer.merges, tokenizer.pattern)
    ids = known.encode(whole)
    contenders: Contenders = {
        "gptcore": lambda: BPETokenizer(tokenizer.merges, tokenizer.pattern).encode(whole),
        "gptcore, a second time": lambda: known.encode(whole)}
    if find_spec("tiktoken"):
        encoding = to_tiktoken(tokenizer)
        assert encoding.encode_ordinary(whole) == ids, "tiktoken gives other ids"
        contenders["tiktoken"] = lambda: encoding.encode_ordinary(whole)
    if find_spec("tokenizers"):
        import tokenizers
        with tempfile.TemporaryDirectory() as folder:
            save_tokenizer_json(tokenizer, Path(folder) / "tokenizer.json")
            converted = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        assert converted.encode(whole).ids == ids, "tokenizers gives other ids"
        contenders["tokenizers, encode"] = lambda: converted.encode(whole).ids
        contenders["tokenizers, encode_batch of the documents"] = lambda: [
            each.ids for each in converted.encode_batch(documents)]
    show("encoding", race(contenders, rounds))


def compare_whole(whole: str, rounds: int) -> None:
    """500 tokens without a pattern, the example that took hours: on Tiny Shakespeare where it is at hand."""
    path = Path(os.environ.get("GPTCORE_DATA", "")) / "tinyshakespeare.txt"
    name, sample = "1.1 MB", whole[:1_115_394]
    if path.is_file():
        name, sample = "Tiny Shakespeare", corpora.read_text(path, corpora.KNOWN["tinyshakespeare"].sha256)
    show(f"500 tokens without a pattern, {name}", race({"gptcore": lambda: quietly([sample], 501, None)}, rounds))


def quietly(documents: list[str], vocab_size: int, pattern: str | None) -> BPETokenizer:
    with warnings.catch_warnings():  # the Playhouse has fewer pairs than are asked for
        warnings.simplefilter("ignore")
        return BPETokenizer.train(documents, vocab_size, pattern, progress=False)


def race(contenders: Contenders, rounds: int) -> dict[str, float]:
    """Median seconds of each contender."""
    seconds = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(rounds):
        for name in order:
            start = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - start)
        order.reverse()
    return {name: statistics.median(each) for name, each in seconds.items()}


def show(task: str, medians: dict[str, float]) -> None:
    for name, seconds in medians.items():
        print(f"| {task} | {name} | {seconds:.2f} | {seconds / medians['gptcore']:.2f} |", flush=True)


# ---------------------------------------------------------------- growth

def growth(letters: int) -> tuple[str, str]:
    """Seconds of training on one letter, and megabytes at the peak (counted in a second run, since counting takes time)."""
    start = time.perf_counter()
    quietly(["a" * letters], 300, None)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    quietly(["a" * letters], 300, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return f"{seconds:.2f}", f"{peak / 1e6:.0f}"


def machine() -> str:
    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), model)
    versions = ", ".join(f"{name} {version(name)}" for name in ("regex", "tokenizers", "tiktoken", "rustbpe")
                         if find_spec(name))
    return f"Machine: {os.cpu_count()} cores of {model}, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
