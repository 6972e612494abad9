"""Documents from anywhere, one after the other, in little memory: what is too large to be a `corpora.Corpus`.

Text files and JSON lines are read here; everything else (parquet, compressed files, data sets of the Hugging Face hub)
by the package `datasets`, which is needed for nothing more.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import regex

from gptcore import corpora
from gptcore.corpora import CorpusError
from gptcore.encodings import find_encodings, shown

__all__ = ["Piece", "Source", "alphabet", "beginning", "cut_long", "open_source"]

BEGINNING = 20_000_000  # characters: what a tokenizer learns from
PIECE = 2**18  # characters that a long document is read in
# Where a long document may be cut without any change to its tokens: with the patterns of GPT-2 and GPT-4 a chunk ends
# before a space that follows something else, and between a letter and white space. Searched from the right.
CUT = regex.compile(r"(?r)(?<=\S)(?= )|(?<=\p{L})(?=\s)")
# Formats that `datasets` reads, compressed or not.
READERS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".arrow": "arrow"}
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


class Piece(NamedTuple):
    """A whole document or, of a long one, a part: `closes` says that it is the last; `size`, the bytes it took to read."""

    text: str
    closes: bool
    size: int


@dataclass(frozen=True)
class Source:
    """What documents are read from, the same ones in the same order each time.

    >>> source = Source("two", None, lambda: [Piece("a b", True, 3), Piece("c", True, 1)])
    >>> [piece.text for piece in source.pieces()]
    ['a b', 'c']
    """

    name: str                               # never a path of this machine
    size: int | None                        # bytes in all, where that is known before the end
    pieces: Callable[[], Iterable[Piece]]


def open_source(
    name_or_path: str | Path, column: str = "text", split: str = "train", encoding: str | None = None
) -> Source:
    """Open a known corpus, a .txt file (one document), a folder of them, or rows with their text in `column`.

    Rows come from a .jsonl file, from a folder of them (sorted), or through the package `datasets`: from .parquet, .csv,
    .json, .arrow and compressed files, from a folder that it can read, or streamed from the hub, owner/name or
    owner/name:subset, of which `split` names the part. Text files are read as corpora.load reads them, in the same
    encodings, and are looked through for that at once; rows are taken as they are. Raises CorpusError, some of it only
    when the text is read.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name in corpora.KNOWN:
        return _known(name)
    files = [path] if path.is_file() else corpora.files_in(path, ".txt") if path.is_dir() else []
    if not files and path.is_dir():
        files = corpora.files_in(path, ".jsonl")
    suffix = files[0].suffix.lower() if files else ""
    if suffix == ".txt":
        codecs = find_encodings(files, encoding)
        return _from_files(path, files, lambda file: _text_file(file, codecs[file]))
    if suffix == ".jsonl":
        return _from_files(path, files, lambda file: _json_lines(file, column))
    if path.exists() or HUB_NAME.fullmatch(name):
        return _from_datasets(name, path, column, split)
    corpora.load(name)  # says what there is instead
    raise CorpusError(f"{name} was found by its name; give its whole path")


def beginning(source: Source, characters: int = BEGINNING) -> list[str]:
    """The first texts of a source, of about so many characters in all."""
    texts = []
    for piece in source.pieces():
        texts.append(piece.text)
        characters -= len(piece.text)
        if characters <= 0:
            break
    return texts


def alphabet(source: Source) -> str:
    """Every character of a source once, in the order of their code points."""
    found: set[str] = set()
    for piece in source.pieces():
        found.update(piece.text)
    return "".join(sorted(found))


def cut_long(chunks: Iterable[str], size: int) -> Iterator[tuple[str, bool]]:
    """Yield the text of one document in pieces of about `size` characters, and whether the piece is the last.

    Raises CorpusError where it finds no place to cut for too long.

    >>> list(cut_long(["one two ", "three"], size=4))
    [('one two', False), (' three', True)]
    """
    rest = ""
    for chunk in chunks:
        rest += chunk
        if len(rest) >= size and (cut := CUT.search(rest, max(len(rest) - len(chunk) - 1, 0))) and cut.start():
            yield rest[:cut.start()], False
            rest = rest[cut.start():]
        elif len(rest) > corpora.LONGEST:
            raise CorpusError(corpora.endless(rest))
    yield rest, True


def _pieces(text: str, size: int | None = None) -> Iterator[Piece]:
    """A document that is in memory as pieces; the last counts for all bytes if `size` says how many these are."""
    for part, closes in cut_long((text[at:at + PIECE] for at in range(0, len(text), PIECE)), PIECE):
        yield Piece(part, closes, len(part.encode("utf-8", "replace")) if size is None else size * closes)


def _known(name: str) -> Source:
    corpus = corpora.load(name)
    documents = [*corpus.train, *corpus.validation]
    if corpora.KNOWN[name].seam is None:
        documents = ["".join(documents)]
    size = sum(len(text.encode()) for text in documents)
    return Source(name, size, lambda: (piece for text in documents for piece in _pieces(text)))


def _from_files(path: Path, files: list[Path], read: Callable[[Path], Iterator[Piece]]) -> Source:
    size = sum(file.stat().st_size for file in files)
    return Source(shown(path.resolve()), size, lambda: (piece for file in files for piece in read(file)))


def _text_file(path: Path, codec: str) -> Iterator[Piece]:
    """A text file as one document, without byte-order mark, CRLF and stray CR as LF."""
    with open(path, encoding=codec) as file:
        for text, closes in cut_long(iter(lambda: file.read(PIECE), ""), PIECE):
            yield Piece(text, closes, len(text.encode()))


def _json_lines(path: Path, column: str) -> Iterator[Piece]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"line {number} of {path.name}"
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise CorpusError(f"{where} is no JSON ({error}); mend or remove it") from None
                yield from _pieces(_text_of(row, column, where), len(line))


def _text_of(row: object, column: str, where: str) -> str:
    """The text of a row; none where it is null."""
    if not isinstance(row, dict) or column not in row:
        there = f"it has {', '.join(map(str, row))}" if isinstance(row, dict) else "it has no columns"
        raise CorpusError(f"{where} has no column {column!r}; {there}: choose one (--column)")
    text = "" if row[column] is None else row[column]
    if not isinstance(text, str):
        raise CorpusError(f"{where} has {type(text).__name__} in its column {column!r}, not text: choose another (--column)")
    return text


def _from_datasets(name: str, path: Path, column: str, split: str) -> Source:
    label = path.resolve().name if path.exists() else name
    try:
        import datasets
    except ImportError:
        raise CorpusError(f"to read {label} the package datasets is needed: pip install datasets. Without it .txt and "
                          ".jsonl files can be read, and folders of them") from None
    if path.is_file():
        kinds = [READERS[suffix.lower()] for suffix in path.suffixes[-2:] if suffix.lower() in READERS]
        if not kinds:
            raise CorpusError(f"{path.name} ends in none of .txt, {', '.join(READERS)}; name it by what it holds")
        what, options = kinds[-1], {"data_files": str(path.resolve())}
    elif path.is_dir():
        what, options = str(path.resolve()), {}
    else:
        if os.environ.get("GPTCORE_OFFLINE", "0") not in ("", "0"):
            raise CorpusError(f"{name} lies on the hub, and GPTCORE_OFFLINE forbids the network")
        what, _, subset = name.partition(":")
        options = {"name": subset or None}

    def pieces() -> Iterator[Piece]:
        try:
            rows = iter(datasets.load_dataset(what, split=split, streaming=True, **options))
        except (OSError, ValueError) as error:  # no such data set, subset or split; no network
            raise CorpusError(f"datasets cannot read {label}: {error}") from None
        for number, row in enumerate(rows, start=1):
            yield from _pieces(_text_of(row, column, f"row {number} of {label}"))

    return Source(label, None, pieces)
