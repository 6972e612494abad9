"""What training at scale costs beside the training itself: one run, one Markdown table, each line with its bar.

    python benchmarks/scale.py [tokenizing batches memory] [--books FOLDER] [--quick]

Without a folder of .txt files the Playhouse's grammar writes the text; its thousand words are soon known by heart, books
have more. A line whose bar is not reached ends the run with an error.
"""

import argparse
import functools
import itertools
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from gptcore import playhouse
from gptcore.sources import Source, beginning, open_source
from gptcore.tokenizer import BPETokenizer, load_tokenizer
from gptcore.tokenizing import write_shards

MEGABYTE = 10**6


class Line(NamedTuple):
    """A line of the table. `reached` is None where the bar is not known to this run, as with --quick."""

    what: str
    measured: str
    bar: str
    reached: bool | None


class Size(NamedTuple):
    """How much is measured."""

    megabytes: int = 60        # to tokenize
    large: int = 1000          # megabytes, to see whether memory grows
    vocab_size: int = 8256
    rounds: int = 5
    steps: int = 300           # batches in a round
    texts: int = 40            # of 100,000 characters that the Playhouse writes; more is the same again


QUICK = Size(megabytes=1, large=4, vocab_size=400, rounds=1, steps=5, texts=2)


def main() -> None:
    options = arguments()
    size = QUICK if options.quick else Size()
    print(f"{machine()}; load {os.getloadavg()[0]:.2f} before\n\n| what | measured | bar | |\n|---|---|---|---|")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in options.parts or PARTS:
            for line in PARTS[name](Path(folder), size, options.books):
                missed += line.reached is False and not options.quick
                verdict = "" if line.reached is None or options.quick else "reached" if line.reached else "MISSED"
                print(f"| {line.what} | {line.measured} | {line.bar} | {verdict} |", flush=True)
    print(f"\nLoad {os.getloadavg()[0]:.2f} after.")
    sys.exit(min(missed, 1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help=f"some of {', '.join(PARTS)} (all)")
    parser.add_argument("--books", type=Path, metavar="FOLDER", help="where .txt files lie (default: the Playhouse writes)")
    parser.add_argument("--quick", action="store_true", help="little of everything: does it run?")
    return parser.parse_args()


# ---------------------------------------------------------------- shards

def tokenizing(folder: Path, size: Size, books: Path | None) -> Iterator[Line]:
    """Megabytes of text a second from a folder of .txt files to finished shards, with one and with two processes."""
    source = open_source(write_text(folder / "tokenizing", size.megabytes, size, books))
    tokenizer = learn(source, size)
    for processes in (1, 2):
        rates = []
        for n in range(size.rounds):
            started = time.perf_counter()
            out = folder / f"tokenized-{processes}-{n}"
            shards = write_shards(source, out, tokenizer, processes=processes, progress=False)
            rates.append(shards.index["bytes"] / MEGABYTE / (time.perf_counter() - started))
        name = f"tokenizing {source.size / MEGABYTE:.0f} MB, {processes} process{'es' * (processes > 1)}"
        rate = statistics.median(rates)
        bar = ("3 MB/s", rate >= 3) if processes == 2 else ("", None)
        yield Line(name, f"{rate:.1f} MB/s ({min(rates):.1f} to {max(rates):.1f})", *bar)


def batches(folder: Path, size: Size, books: Path | None) -> Iterator[Line]:
    """Tokens a second of windows drawn from many shards, and how long the first batch takes."""
    from gptcore.batches import Batches
    from gptcore.shards import Shards

    source = open_source(write_text(folder / "batches", size.megabytes, size, books))
    tokenizer = learn(source, size)
    write_shards(source, folder / "shards", tokenizer, shard_tokens=max(1, size.megabytes * MEGABYTE // 80), progress=False)
    for block_size, batch_size in ((256, 64), (1024, 16)):
        rates = []
        for n in range(size.rounds):
            opened = time.perf_counter()
            drawn = Batches(Shards(folder / "shards").all, block_size, batch_size, seed=n)
            drawn.batch(0)
            first = time.perf_counter() - opened
            started, tokens = time.perf_counter(), 0
            for step in range(size.steps):
                tokens += drawn.batch(step)[0].numel()
            rates.append(tokens / MEGABYTE / (time.perf_counter() - started))
        name = f"batches of {batch_size} windows of {block_size} from {len(drawn.documents.ids.files)} shards"
        rate = statistics.median(rates)
        yield Line(name, f"{rate:.0f} M tokens/s ({min(rates):.0f} to {max(rates):.0f}), the first after "
                         f"{1000 * first:.0f} ms with opening", "20 M tokens/s", rate >= 20)


def memory(folder: Path, size: Size, books: Path | None) -> Iterator[Line]:
    """The largest memory of a process that tokenizes a small text, and a large one: as one document, and as many."""
    small, peaks = max(size.large // 5, 2), {}
    for megabytes in (small, size.large):
        text = write_text(folder / f"memory-{megabytes}", megabytes, size, books)
        learn(open_source(text), size).save(folder / "tokenizer.json")
        for kind in ("documents", "document"):
            if kind == "document":
                text = as_one_file(text)
            command = [sys.executable, __file__, "--peak", str(text), str(folder / f"peak-{megabytes}-{kind}"),
                       str(folder / "tokenizer.json")]
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
            peaks[megabytes, kind] = sum(map(int, done.stdout.split()))
    for kind, name in (("documents", "many documents"), ("document", "one document")):
        low, high = peaks[small, kind], peaks[size.large, kind]
        yield Line(f"memory for {small} MB and for {size.large} MB, {name}", f"{low} MB and {high} MB", "at most 20 MB more",
                   high - low <= 20)


def peak(text: str, folder: str, tokenizer: str) -> None:
    """Tokenize, and print the largest memory of this process and of a worker, in megabytes."""
    write_shards(open_source(text), folder, load_tokenizer(tokenizer), processes=2, progress=False)
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        print(resource.getrusage(who).ru_maxrss // (1000 if sys.platform == "linux" else 10**6))


PARTS: dict[str, Callable[[Path, Size, Path | None], Iterator[Line]]] = {
    "tokenizing": tokenizing, "batches": batches, "memory": memory}


# ---------------------------------------------------------------- the text

def write_text(folder: Path, megabytes: int, size: Size, books: Path | None) -> Path:
    """A folder of files of about a tenth of a megabyte, together as large as was asked for."""
    folder.mkdir()
    left = megabytes * MEGABYTE
    for n, text in enumerate(itertools.cycle(material(size.texts, books))):
        (folder / f"{n:06}.txt").write_text(text[:left], encoding="utf-8")
        left -= len(text)
        if left <= 0:
            return folder
    return folder


@functools.cache
def material(texts: int, books: Path | None) -> list[str]:
    """Texts of about 100,000 characters: all of the books, or so many by the Playhouse."""
    if books is None:
        return ["\n\n".join(playhouse.write(1000 * n + seed) for seed in range(130)) for n in range(texts)]
    read = (path.read_bytes().decode("utf-8", "replace") for path in sorted(books.glob("*.txt")))
    return [text[at:at + 100_000] for text in read for at in range(0, len(text), 100_000)]


def as_one_file(folder: Path) -> Path:
    """All texts of a folder end to end in one file."""
    path = folder.with_suffix(".txt")
    with open(path, "wb") as file:
        for part in sorted(folder.glob("*.txt")):
            file.write(part.read_bytes())
    return path


def learn(source: Source, size: Size) -> BPETokenizer:
    """A tokenizer from the beginning of the text."""
    with warnings.catch_warnings():  # the Playhouse has fewer pairs than are asked for
        warnings.simplefilter("ignore")
        return BPETokenizer.train(beginning(source, 200_000 * size.rounds), size.vocab_size, progress=False)


def machine() -> str:
    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), model)
    return f"Machine: {os.cpu_count()} cores of {model}, Python {platform.python_version()}, numpy {np.__version__}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        peak(*sys.argv[2:])
    else:
        main()
