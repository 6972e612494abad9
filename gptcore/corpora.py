"""From a name, a file, a folder or a list of books to clean documents, split in two. Used from chapter 00 on.

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

from .encodings import CorpusError, by_name, find_encodings, shown
from .gutenberg import load_books, read_list
from .splits import Span, describe_split, split_documents, split_spans

__all__ = ["END_OF_TEXT", "KNOWN", "Corpus", "CorpusError", "Known", "load", "read_text", "split_documents"]

END_OF_TEXT = "<|endoftext|>"  # the sign between documents; a text that holds these characters is refused

PLAYHOUSE_SHA256 = "8d83ccc20c9966fc61713aca6ff335eead98b5af96caea3f5740134480dd520d"
KAGGLE_INPUT = Path("/kaggle/input")
LONGEST = 2**24  # characters without a space: a tokenizer takes them for one word, and needs gigabytes for it
KAGGLE_DEPTH = 5  # folders below it that are searched: inputs lie one to four levels down
TIMEOUT = 30.0  # seconds that a server may be silent
LARGEST = 200_000_000  # bytes that are read into memory: with its tokens a text takes about 15 times as much there


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


class Found(NamedTuple):
    """Whole documents, before they are split: what they are called, what was left out, and what has to be said."""

    name: str
    source: str
    documents: list[str]
    names: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


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
    """Documents to train on and documents to be judged by.

    `names` are those of the documents as they were read, `spans` says where in them the training and the validation
    texts lie, `notes` what was mended or is missing, `split` how they were divided.
    """

    name: str
    source: str
    train: list[str]
    validation: list[str]
    left_out: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    split: str = ""
    spans: tuple[list[Span], list[Span]] = ((), ())

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
        lines += [f"left out    {', '.join(self.left_out)} (empty)"] * bool(self.left_out)
        return "\n".join(lines + [f"note        {note}" for note in self.notes])

    __str__ = summary


def load(
    name_or_path: str | Path = "playhouse", validation: float = 0.1, gap: int = 1000, *, encoding: str | None = None,
    chunk: int | None = None,
) -> Corpus:
    """Load a known corpus by name, one .txt file (one document), a folder of them (one document a file, sorted), or a
    list of Gutenberg's books (.csv, see gptcore.gutenberg; one document a book, in the order of the list).

    A known name is looked for in the repository's data folder, the folder GPTCORE_DATA names, Kaggle's input folder and
    the cache, then on the network, unless GPTCORE_OFFLINE=1; wherever it lies, its checksum must be right. A file that
    is not where its path says is looked for by name in the same folders. A known name goes before a path: write
    ./playhouse for a folder of that name. Files that are not UTF-8 are read as `encoding`; without it they are refused,
    all of them named. For `validation`, `gap` and `chunk` see split_spans. Raises CorpusError.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name in KNOWN:
        found = _known(name)
    elif path.is_dir():
        found = _folder(path, encoding)
    else:
        path = path if path.is_file() else _find_locally(path.name)
        if path is None:
            raise CorpusError(_unknown(name))
        found = _books(path) if path.suffix.lower() == ".csv" else _file(path, encoding)
    lengths = [len(document) for document in found.documents]
    spans = split_spans(lengths, validation, gap, chunk)
    train, held_out = ([found.documents[span.document][span.start:span.stop] for span in side] for side in spans)
    return Corpus(found.name, found.source, train, held_out, found.left_out, found.names, found.notes,
                  describe_split(lengths, validation, gap, chunk), spans)


def read_text(path: Path, sha256: str | None = None, encoding: str | None = None) -> str:
    """Read one text file, which is UTF-8, or UTF-16 or 32 with a byte-order mark, or else in `encoding`.

    A byte-order mark is dropped, and CRLF and stray CR become LF (universal newlines). The checksum is taken over the
    bytes as they lie on the disk. Raises CorpusError for a wrong checksum, for what is no text, and for a text that holds
    `<|endoftext|>`, which would end a document in its middle.
    """
    if sha256 and (found := hashlib.sha256(path.read_bytes()).hexdigest()) != sha256:
        raise CorpusError(f"{shown(path)} has the wrong checksum: sha256 {found[:12]}, expected {sha256[:12]}; "
                          "it was changed or is another file of that name: remove it and load again")
    return _decoded(path, find_encodings([path], encoding)[path])


def files_in(folder: Path, suffix: str) -> list[Path]:
    """The files directly in `folder` whose names end in `suffix`, sorted; hidden ones are not looked at.

    Raises CorpusError for links that lead nowhere.
    """
    named = [path for path in folder.iterdir() if path.suffix.lower() == suffix and not path.name.startswith(".")]
    if lost := [shown(path) for path in sorted(named, key=by_name) if path.is_symlink() and not path.exists()]:
        raise CorpusError(f"{', '.join(lost)} in {shown(folder.resolve())}: a link that leads nowhere or in a circle; "
                          "mend or remove it")
    return sorted((path for path in named if path.is_file()), key=by_name)


def _known(name: str) -> Found:
    path, source = _locate(KNOWN[name])
    text, seam = read_text(path, KNOWN[name].sha256), KNOWN[name].seam
    return Found(name, source, [text] if seam is None else _split_at(seam, text))


def _file(path: Path, encoding: str | None) -> Found:
    if path.suffix.lower() != ".txt":
        raise CorpusError(f"{shown(path)} is no .txt file; save it as plain text in UTF-8, named "
                          f"{shown(path.with_suffix('.txt'))}")
    _refuse_too_large([path])
    codec = find_encodings([path], encoding)[path]
    document = _decoded(path, codec)
    if not document.strip():
        raise CorpusError(f"{shown(path)} is empty; put text into it or choose another file")
    return Found(shown(Path(path.stem)), "a file", [document], (shown(path),), notes=_mended({path: codec}))


def _folder(folder: Path, encoding: str | None) -> Found:
    """All .txt files directly in `folder`, sorted by name."""
    name = shown(folder.resolve())
    try:
        paths = files_in(folder, ".txt")
        below = 0 if paths else sum(path.is_file() and path.suffix.lower() == ".txt" for path in folder.glob("*/*"))
    except OSError as error:
        raise CorpusError(f"the folder {name} cannot be read ({error.strerror})") from None
    _refuse_too_large(paths)
    codecs = find_encodings(paths, encoding)
    texts = {path: _decoded(path, codec) for path, codec in codecs.items()}
    full = {path: text for path, text in texts.items() if text.strip()}
    if not full:
        deeper = f"; {below} .txt files lie in its subfolders: name one of those, or move them up" * bool(below)
        raise CorpusError(f"no .txt file with text in {name}{deeper or '; put plain text files directly into it'}")
    return Found(name, "a folder", list(full.values()), tuple(map(shown, full)),
                 tuple(shown(path) for path in texts if path not in full), _mended(codecs))


def _books(path: Path) -> Found:
    """What a list of books names; files that lie beside it or where data lies stand in for a download."""
    books = read_list(path)
    inputs = (sorted(KAGGLE_INPUT.glob("/".join("*" * depth))) for depth in range(1, KAGGLE_DEPTH))
    folders = [path.parent, *filter(None, [_data_folder()]), *(folder for level in inputs for folder in level)]
    documents, notes = load_books(books, _data_folder() or _cache(), folders, offline=_offline())
    names = tuple(book.name for book in books)
    for name, document in zip(names, documents):
        if not document.strip():
            raise CorpusError(f"nothing is left of {name} when its header and footer are cut; look at its file")
        _refuse_end_of_text(document, name)
    return Found(shown(Path(path.stem)), "a list of books", documents, names, notes=notes)


def _decoded(path: Path, codec: str) -> str:
    try:
        text = path.read_bytes().decode(codec)
    except OSError as error:
        raise CorpusError(f"{shown(path)} cannot be read ({error.strerror})") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    _refuse_end_of_text(text, shown(path))
    half = LONGEST // 2
    for block in (text[start:start + half] for start in range(0, len(text), half)):
        if len(block) == half and len(block.split(None, 1)) == 1 and not (block[0].isspace() or block[-1].isspace()):
            raise CorpusError(f"{shown(path)}: {endless(block)}")
    return text


def endless(text: str) -> str:
    """What is said of a text without a place to cut it."""
    return (f"what begins with {text[:30]!r} goes on for {len(text):,} characters without a space, and would be one word; "
            "break it into lines, or leave it out if it is no text")


def _refuse_end_of_text(text: str, name: str) -> None:
    if (at := text.find(END_OF_TEXT)) >= 0:
        raise CorpusError(f"{name} holds {END_OF_TEXT} at character {at} (line {text.count(chr(10), 0, at) + 1}), "
                          "which marks the ends of documents; remove it, or split the file there into several files")


def _refuse_too_large(paths: list[Path]) -> None:
    if (size := sum(path.stat().st_size for path in paths)) > LARGEST:
        where = shown(paths[0]) if len(paths) == 1 else shown(paths[0].resolve().parent)
        raise CorpusError(f"{where} holds {size:,} bytes, too many for memory while it trains (more than {LARGEST:,}). "
                          f"Make shards of it first: python -m gptcore tokenize {where} --out shards/{Path(where).stem}")


def _mended(codecs: dict[Path, str]) -> tuple[str, ...]:
    """Which files were not UTF-8."""
    return tuple(f"{shown(path)} was not UTF-8 but {codec}" for path, codec in codecs.items() if codec != "utf-8-sig")


def _locate(known: Known) -> tuple[Path, str]:
    """Find the file of a known corpus, or fetch it; with a word on where it was."""
    if (REPOSITORY_DATA / known.file_name).is_file():
        return REPOSITORY_DATA / known.file_name, "from the repository"
    if found := _find_locally(known.file_name):
        return found, "found on this machine"
    if known.url is None:
        raise CorpusError(f"{known.file_name} is missing from the repository's data folder; "
                          f"restore it with: git checkout data/{known.file_name}")
    cached = (_data_folder() or _cache()) / known.file_name
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


def _cache() -> Path:
    return Path(pooch.os_cache("gptcore"))


def _offline() -> bool:
    return os.environ.get("GPTCORE_OFFLINE", "0") not in ("", "0")


def _find_locally(file_name: str) -> Path | None:
    """The file in GPTCORE_DATA or under Kaggle's input folder."""
    if (folder := _data_folder()) and (folder / file_name).is_file():
        return folder / file_name
    return next((path for path in _below_kaggle(file_name) if path.is_file()), None)


def _download(known: Known, path: Path) -> None:
    """Fetch through pooch, which checks the sum before the file gets its name; no partial file stays."""
    by_hand = f"fetch {known.url} in some other way, name it {known.file_name} and let GPTCORE_DATA name its folder"
    if _offline():
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


def _split_at(seam: str, text: str) -> list[str]:
    """Documents that end in a line break and have `seam` between them."""
    return [document + "\n" for document in text.removesuffix("\n").split("\n" + seam)]


def _unknown(name: str) -> str:
    """Say what there is instead of `name`."""
    close = difflib.get_close_matches(name, KNOWN, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known names are {', '.join(KNOWN)}"
    return f"{name!r} is no known corpus, no file and no folder; {hint}"


def _bytes(documents: list[str]) -> int:
    return sum(len(document.encode()) for document in documents)


def _size(documents: list[str]) -> str:
    return f"{len(documents):,} document{'s' * (len(documents) != 1)}, {_bytes(documents):,} bytes"
