"""From a name, a file or a folder to clean documents, split for training and validation. Used from chapter 00 on.

Nothing here depends on chance: the same text gives the same split, and `Corpus.validation_hash` lets two people see
that they compare on the same bytes.
"""

import difflib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pooch

__all__ = ["END_OF_TEXT", "KNOWN", "Corpus", "CorpusError", "Known", "load", "read_text", "split_documents"]

END_OF_TEXT = "<|endoftext|>"  # the sign between documents; a text that holds these characters is refused

PLAYHOUSE_SHA256 = "8d83ccc20c9966fc61713aca6ff335eead98b5af96caea3f5740134480dd520d"
KAGGLE_INPUT = Path("/kaggle/input")
KAGGLE_DEPTH = 5  # folders below it that are searched: inputs lie one to four levels down
TIMEOUT = 30.0  # seconds that a server may be silent


class Known(NamedTuple):
    """A corpus with a name: its file, where it is fetched from (None: only in the repository), its checksum."""

    file_name: str
    url: str | None
    sha256: str | None
    seam: str | None = None  # what stands between two documents of the file


KNOWN = {
    "playhouse": Known("playhouse.txt", None, PLAYHOUSE_SHA256, seam="\n\n"),
    "tinyshakespeare": Known("tinyshakespeare.txt",
                             "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
                             "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),
}


class CorpusError(ValueError):
    """A text that cannot be used; the message says what is wrong and what to do."""


def _data_of_the_course() -> Path:
    """The repository's data folder; for a package that was installed alone, GPTCORE_DATA or an attached data set with it."""
    beside, sign = Path(__file__).resolve().parents[1] / "data", "pretrained/about.json"
    places = [beside, Path(os.environ.get("GPTCORE_DATA") or os.devnull)]
    places += [path.parents[1] for path in _below_kaggle(f"data/{sign}")]
    return next((place for place in places if (place / sign).is_file()), beside)


def _below_kaggle(file_name: str) -> Iterator[Path]:
    """Where a file lies under Kaggle's input folder, whose layout changes; the shallowest first."""
    for depth in range(KAGGLE_DEPTH + 1):
        yield from sorted(KAGGLE_INPUT.glob("*/" * depth + file_name))


REPOSITORY_DATA = _data_of_the_course()


@dataclass(frozen=True)
class Corpus:
    """Documents to train on and documents to be judged by."""

    name: str
    source: str
    train: list[str]
    validation: list[str]
    left_out: tuple[str, ...] = ()

    @property
    def validation_bytes(self) -> int:
        """How many bytes the validation documents hold: what bits per byte divide by."""
        return _bytes(self.validation)

    @property
    def validation_hash(self) -> str:
        """First 12 hex digits of sha256 over the documents with `<|endoftext|>` between them.

        >>> Corpus("a", "memory", ["x"], ["one text"]).validation_hash == hashlib.sha256(b"one text").hexdigest()[:12]
        True
        """
        return hashlib.sha256(END_OF_TEXT.join(self.validation).encode()).hexdigest()[:12]

    def summary(self) -> str:
        """A few lines for people: names, counts, bytes and the hash; never a path of this machine."""
        lines = [f"corpus      {self.name} ({self.source})",
                 f"train       {_size(self.train)}",
                 f"validation  {_size(self.validation)}, sha256 {self.validation_hash}"]
        return "\n".join(lines + ([f"left out    {', '.join(self.left_out)} (empty)"] if self.left_out else []))

    __str__ = summary


def load(name_or_path: str | Path = "playhouse", validation: float = 0.1, gap: int = 1000) -> Corpus:
    """Load a known corpus by name, one .txt file (one document), or a folder of them (one document a file, sorted).

    A known name is looked for in the repository's data folder, the folder GPTCORE_DATA names, Kaggle's input folder and
    the cache, then on the network, unless GPTCORE_OFFLINE=1; wherever it lies, its checksum must be right. A file that
    is not where its path says is looked for by name in the same folders. A known name goes before a path: write
    ./playhouse for a folder of that name. For `validation` and `gap` see split_documents. Raises CorpusError.
    """
    name, path = str(name_or_path), Path(name_or_path)
    left_out = ()
    if name in KNOWN:
        path, source = _locate(KNOWN[name])
        text = read_text(path, KNOWN[name].sha256)
        documents = [text] if KNOWN[name].seam is None else _split_at(KNOWN[name].seam, text)
    elif path.is_dir():
        name, source = path.resolve().name, "a folder"
        documents, left_out = _read_folder(path)
    else:
        path = path if path.is_file() else _find_locally(path.name)
        if path is None:
            raise CorpusError(_unknown(name))
        if path.suffix.lower() != ".txt":
            raise CorpusError(f"{path.name} is no .txt file; save it as plain text in UTF-8, named {path.stem}.txt")
        name, source, documents = path.stem, "a file", [read_text(path)]
        if not documents[0].strip():
            raise CorpusError(f"{path.name} is empty; put text into it or choose another file")
    return Corpus(name, source, *split_documents(documents, validation, gap), left_out)


def split_documents(documents: list[str], validation: float = 0.1, gap: int = 1000) -> tuple[list[str], list[str]]:
    """Split into training and validation documents, in the given order and without chance.

    Ten documents or more: the last tenth of them (by count) is for validation. One document: it is cut at character
    int(0.9 * n), as everyone does with Tiny Shakespeare. Two to nine: the last tenth of each, and `gap` characters
    before it are left out (never more than a twentieth of the document), so that the two sides do not touch.
    `validation` is the share, 0.1 for a tenth. Raises CorpusError when a side would be empty.

    >>> split_documents(["0123456789"])
    (['012345678'], ['9'])
    >>> split_documents(["a" * 100, "b" * 20])[0] == ["a" * (90 - 5), "b" * (18 - 1)]
    True
    """
    if not 0 < validation < 1:
        raise CorpusError(f"validation={validation} is no share of a text; 0.1 keeps the last tenth for validation")
    if gap < 0:
        raise CorpusError(f"gap={gap} is negative; 0 leaves nothing out")
    if len(documents) >= 10:
        cut = _cut(len(documents), validation)
        train, held_out = documents[:cut], documents[cut:]
    else:
        cuts = [_cut(len(document), validation) for document in documents]
        gaps = [min(gap, len(document) // 20) if len(documents) > 1 else 0 for document in documents]
        train = [document[:cut - hole] if cut > hole else "" for document, cut, hole in zip(documents, cuts, gaps)]
        held_out = [document[cut:] for document, cut in zip(documents, cuts)]
    if not train or not held_out or not all(train) or not all(held_out):
        sizes = [len(document) for document in documents]
        raise CorpusError(f"too short to split at validation={validation}: {len(sizes)} documents, the shortest has "
                          f"{min(sizes, default=0)} characters; add text or leave the shortest file out")
    return train, held_out


def read_text(path: Path, sha256: str | None = None) -> str:
    """Read one UTF-8 file: a byte-order mark is dropped, and CRLF and stray CR become LF (universal newlines).

    The checksum is taken over the bytes as they lie on the disk. Raises CorpusError for a wrong checksum, for bytes
    that are not UTF-8, and for a text that holds `<|endoftext|>`, which would end a document in its middle.
    """
    raw = path.read_bytes()
    if sha256 and (found := hashlib.sha256(raw).hexdigest()) != sha256:
        raise CorpusError(f"{path.name} has the wrong checksum: sha256 {found[:12]}, expected {sha256[:12]}; "
                          "it was changed or is another file of that name: remove it and load again")
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise CorpusError(_not_utf8(path, raw, error.start)) from None
    if (at := text.find(END_OF_TEXT)) >= 0:
        raise CorpusError(f"{path.name} holds {END_OF_TEXT} at character {at} (line {text.count(chr(10), 0, at) + 1}), "
                          "which marks the ends of documents; remove it, or split the file there into several files")
    return text


def files_in(folder: Path, suffix: str) -> list[Path]:
    """The files directly in `folder` whose names end in `suffix`, sorted; hidden ones are not looked at."""
    return sorted(path for path in folder.iterdir()
                  if path.suffix.lower() == suffix and path.is_file() and not path.name.startswith("."))


def _locate(known: Known) -> tuple[Path, str]:
    """Find the file of a known corpus, or fetch it; with a word on where it was."""
    if (REPOSITORY_DATA / known.file_name).is_file():
        return REPOSITORY_DATA / known.file_name, "from the repository"
    if found := _find_locally(known.file_name):
        return found, "found on this machine"
    if known.url is None:
        raise CorpusError(f"{known.file_name} is missing from the repository's data folder; "
                          f"restore it with: git checkout data/{known.file_name}")
    cached = (_data_folder() or Path(pooch.os_cache("gptcore"))) / known.file_name
    if not (cached.is_file() and pooch.file_hash(cached) == known.sha256):
        _download(known, cached)
    return cached, "downloaded"


def _data_folder() -> Path | None:
    """The folder that GPTCORE_DATA names, if it names one."""
    if not (name := os.environ.get("GPTCORE_DATA")):
        return None
    if not Path(name).is_dir():
        raise CorpusError(f"GPTCORE_DATA={name} is no folder; make it, or unset the variable")
    return Path(name)


def _find_locally(file_name: str) -> Path | None:
    """The file in GPTCORE_DATA or under Kaggle's input folder."""
    if (folder := _data_folder()) and (folder / file_name).is_file():
        return folder / file_name
    return next((path for path in _below_kaggle(file_name) if path.is_file()), None)


def _download(known: Known, path: Path) -> None:
    """Fetch through pooch, which checks the sum before the file gets its name; no partial file stays."""
    by_hand = f"fetch {known.url} in some other way, name it {known.file_name} and let GPTCORE_DATA name its folder"
    if os.environ.get("GPTCORE_OFFLINE", "0") not in ("", "0"):
        raise CorpusError(f"{path.name} is not on this machine and GPTCORE_OFFLINE forbids the network: {by_hand}")
    pooch.get_logger().setLevel("WARNING")  # its notes hold absolute paths
    try:
        pooch.retrieve(known.url, f"sha256:{known.sha256}", path.name, path.parent,
                       downloader=pooch.HTTPDownloader(timeout=TIMEOUT))
    except ValueError:
        raise CorpusError(f"what {known.url} sent has the wrong checksum and was thrown away; try again later, or "
                          f"{by_hand}") from None
    except OSError as error:  # every network error of requests is one
        raise CorpusError(f"{path.name} could not be fetched ({error}); try again, or {by_hand}") from None


def _read_folder(folder: Path) -> tuple[list[str], tuple[str, ...]]:
    """All .txt files directly in `folder`, sorted by name; the names of empty ones come second."""
    texts = {path.name: read_text(path) for path in files_in(folder, ".txt")}
    documents = [text for text in texts.values() if text.strip()]
    if not documents:
        raise CorpusError(f"no .txt file with text in {folder.resolve().name}; put plain text files directly into it")
    return documents, tuple(name for name, text in texts.items() if not text.strip())


def _split_at(seam: str, text: str) -> list[str]:
    """Documents that end in a line break and have `seam` between them."""
    return [document + "\n" for document in text.removesuffix("\n").split("\n" + seam)]


def _not_utf8(path: Path, raw: bytes, at: int) -> str:
    """Say which byte is wrong and how to convert the file."""
    guess = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
    line = raw.count(b"\n", 0, at) + 1
    return (f"{path.name} is not UTF-8: byte 0x{raw[at]:02X} at offset {at} (line {line}). "
            f"It may be {guess}; convert it with: iconv -f {guess} -t utf-8 '{path.name}' > converted.txt")


def _unknown(name: str) -> str:
    """Say what there is instead of `name`."""
    close = difflib.get_close_matches(name, KNOWN, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known names are {', '.join(KNOWN)}"
    return f"{name!r} is no known corpus, no file and no folder; {hint}"


def _cut(n: int, validation: float) -> int:
    return int((1 - validation) * n)


def _bytes(documents: list[str]) -> int:
    return sum(len(document.encode()) for document in documents)


def _size(documents: list[str]) -> str:
    return f"{len(documents):,} document{'s' * (len(documents) != 1)}, {_bytes(documents):,} bytes"
