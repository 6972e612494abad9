"""Books of Project Gutenberg: find or fetch what a list names, and leave nothing but the book.

A list is a .csv file with the columns id and title, and perhaps author and verified (how it is known that the id holds that
title). Ids are easily wrong, so the title in each file is held to the one asked for.
"""

import csv
import re
import time
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pooch
from tqdm.auto import tqdm

from .encodings import MARKS, CorpusError, shown

__all__ = ["BASE_URL", "PAUSE", "Book", "Cleaned", "clean", "decode", "load_books", "read_list", "same_title"]

BASE_URL = "https://www.gutenberg.org"
PAUSE = 2.0  # seconds between two requests, as the site asks of programs
TIMEOUT = 30.0  # seconds that the server may be silent
NAMES = "pg{}.txt", "{}-0.txt", "{}.txt.utf-8", "{}.txt", "{}-8.txt"  # what the site and its mirrors call a book

MARKER = r"\*\*\* *{} OF TH(?:E|IS) PROJECT GUTENBERG E-?(?:BOOK|TEXT)[^*]{{0,400}}?(?:\*\*\*|\n\s*\n)"
START, END = (re.compile(MARKER.format(word), re.IGNORECASE) for word in ("START", "END"))
SMALL_PRINT = re.compile(r"^\*END\*? ?THE SMALL PRINT!.*\*END\*", re.MULTILINE)  # files of the nineties
LAST_WORDS = re.compile(r"^[ \t*]*(?:the )?end (?:of )?(?:the |this )?project gutenberg", re.IGNORECASE | re.MULTILINE)
CREDIT = re.compile(r"\[?(?:produced by|e-?text prepared by|prepared by|transcribed (?:by|from)|scanned (?:by|and)|"
                    r"html version by|corrections supplied|transcriber['’]s note|"
                    r"this (?:project gutenberg )?e-?(?:text|book) (?:was|is) "
                    r"(?:prepared|created|produced|done|scanned|transcribed))", re.IGNORECASE)
REMARK = re.compile(r"\[transcriber['’]s notes?\b[^\]]*\]", re.IGNORECASE)
# Characters: the last words of a book stand so near the marker, and no licence and no header is longer than that.
NEAR, LICENCE, HEADER = 5_000, 30_000, 40_000


class Book(NamedTuple):
    """A line of a list. The title may have several forms, with " | " between them."""

    id: int
    title: str
    author: str = ""
    verified: str = "no"

    @property
    def name(self) -> str:
        """The first form of the title."""
        return self.title.split(" | ")[0]


class Cleaned(NamedTuple):
    """A book without what others put around it: characters cut before and behind, and what had to be said."""

    text: str
    title: str
    before: int
    behind: int
    notes: tuple[str, ...]


def read_list(path: Path) -> list[Book]:
    """Read a list of books. Raises CorpusError with the line that is wrong."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            rows = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise CorpusError(f"{shown(path)} is no list of books ({error}); save it as CSV in UTF-8") from None
    if not rows or not {"id", "title"} <= rows[0].keys():
        raise CorpusError(f"{shown(path)} is no list of books: its first line must name the columns id and title, and each "
                          "line below it a book")
    books: dict[int, Book] = {}
    for line, row in enumerate(rows, start=1):
        number, title = (row["id"] or "").strip(), (row["title"] or "").strip()
        if not (number.isascii() and number.isdigit()) or not title or int(number) in books:
            what = f"book {number} is named twice" if title and number.isdigit() else "it needs a number and a title"
            raise CorpusError(f"book {line} of {shown(path)}: {what}; mend or remove it")
        books[int(number)] = Book(int(number), title, row.get("author") or "", row.get("verified") or "no")
    return list(books.values())


def load_books(
    books: Sequence[Book], cache: Path, folders: Iterable[Path] = (), *, offline: bool = False, base_url: str = "",
    pause: float | int = PAUSE, progress: bool = True,
) -> tuple[list[str], tuple[str, ...]]:
    """The cleaned texts of the books, in order, and what is to be said of them.

    A book is looked for in `folders` and in `cache` under the names that the site gives it, then fetched from `base_url`
    (BASE_URL) into the cache, `pause` seconds after the request before. Raises CorpusError when one cannot be had, or, with
    all of them named, when files hold other books than the list says.
    """
    paths = _find(books, [*folders, cache])
    missing = [book for book in books if book.id not in paths]
    if missing and offline:
        raise CorpusError(_by_hand(missing, f"{len(missing)} of {len(books)} books are not on this machine and "
                                            "GPTCORE_OFFLINE forbids the network. Unset it"))
    for i, book in enumerate(tqdm(missing, desc="books", unit="book", disable=not (progress and missing))):
        if i:
            time.sleep(pause)
        paths[book.id] = _fetch(book, cache, base_url or BASE_URL, missing[i:])
    texts, notes, wrong = [], [], []
    for book in books:
        text, said = decode(paths[book.id].read_bytes(), shown(paths[book.id]))
        cleaned = clean(text)
        if not (same_title(book.title, cleaned.title) if cleaned.title else _named_in(text[:3000], book.title)):
            wrong.append(f"{book.id} holds {cleaned.title or 'no title line'!r}, not {book.name!r}")
        texts.append(cleaned.text)
        notes += [f"{book.name}: {note}" for note in (*said, *cleaned.notes)]
    if wrong:
        raise CorpusError(f"{len(wrong)} of {len(books)} ids hold other books:\n  " + "\n  ".join(wrong) +
                          "\ncorrect the list; what a wrong book teaches does not show in any number")
    return texts, tuple(notes)


def decode(raw: bytes, name: str) -> tuple[str, list[str]]:
    """Bytes to text with LF at line ends; as UTF-8, or as the header says, or as Windows did.

    >>> decode(b"Character set encoding: ISO-8859-1\\r\\n\\r\\n5 \\xa3", "35.txt")
    ('Character set encoding: ISO-8859-1\\n\\n5 £', ['was not UTF-8 but iso-8859-1'])
    """
    marked = next((codec for mark, codec in MARKS.items() if raw.startswith(mark)), "utf-8")
    if raw.lstrip()[:1] == b"<" or (b"\0" in raw and marked == "utf-8"):
        raise CorpusError(f"{name} is a web page or some other file, not a book as plain text; remove it, and fetch it anew")
    header = re.search(rb"^Character set encoding: *((?!utf)[\w-]+)", raw[:HEADER], re.IGNORECASE | re.MULTILINE)
    for codec in (marked, header[1].decode().lower() if header else "", "cp1252", "latin-1"):
        try:
            text = raw.decode(codec)
        except (UnicodeError, LookupError):
            continue
        said = [] if codec == marked else [f"was not UTF-8 but {codec}"]
        return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), said
    raise AssertionError("latin-1 reads any byte")


def clean(text: str) -> Cleaned:
    """Cut the header, the footer, the small print and the credits; what is missing of them is said in `notes`."""
    notes = []
    end = END.search(text)
    stop = end.start() if end else len(text)
    head = text[:min(stop, HEADER)]
    starts = [found.end() for pattern in (START, SMALL_PRINT) for found in pattern.finditer(head)]
    start = max(starts, default=0)
    if last := LAST_WORDS.search(text, max(start, stop - (NEAR if end else LICENCE))):
        stop = min(stop, last.start())
    if not START.search(head):
        notes.append("no start marker" + ("; cut behind the small print" if starts else ", nothing cut at its beginning"))
    if not end:
        notes.append("no end marker" + ("; cut at its last words" if last else ", nothing cut at its end"))
    body = _without_credits(text[start:stop])
    before = text.find(body, start)
    body, removed = REMARK.subn("", body)
    if removed:
        notes.append(f"{removed} note{'s' * (removed > 1)} of the transcriber cut")
    if left := [number for number, line in enumerate(body.split("\n"), start=1) if "gutenberg" in line.lower()]:
        notes.append(f"still speaks of Gutenberg in line {', '.join(map(str, left[:5]))}" + " and more" * (len(left) > 5))
    return Cleaned(body + "\n", _title(head), before, len(text) - stop, tuple(notes))


def same_title(asked: str, found: str) -> bool:
    """Do two titles name the same book? One may have a subtitle that the other lacks.

    >>> same_title("Frankenstein", "Frankenstein; Or, The Modern Prometheus"), same_title("The Lost World", "Gatsby")
    (True, False)
    """
    return any(_forms(form) & _forms(found) for form in asked.split(" | "))


def _named_in(text: str, asked: str) -> bool:
    """Does the beginning of a file without a title line speak of the title?"""
    return any(f" {_words(form)} " in f" {_words(text)} " for form in asked.split(" | "))


def _find(books: Sequence[Book], folders: Sequence[Path]) -> dict[int, Path]:
    """Where the books lie, by the names of the site, or as Title_84.txt."""
    files = [{path.name: path for path in sorted(folder.iterdir())} for folder in folders if folder.is_dir()]
    found = {}
    for book in books:
        names = [name.format(book.id) for name in NAMES]
        for files_here in files:
            ending = (name for name in files_here if name.endswith((f"_{book.id}.txt", f"_{book.id}-0.txt")))
            if name := next((name for name in (*names, *ending) if name in files_here), None):
                found.setdefault(book.id, files_here[name])
    return found


def _fetch(book: Book, cache: Path, base_url: str, missing: Sequence[Book]) -> Path:
    """Fetch one book; pooch gives the file its name when it is whole."""
    name = NAMES[0].format(book.id)
    pooch.get_logger().setLevel("WARNING")  # its notes hold absolute paths
    download = pooch.HTTPDownloader(timeout=TIMEOUT, headers={"User-Agent": "gptcore, a course; one book at a time"})
    try:
        path = Path(pooch.retrieve(f"{base_url}/cache/epub/{book.id}/{name}", None, name, cache, downloader=download))
    except OSError as error:  # every network error of requests is one
        raise CorpusError(_by_hand(missing, f"book {book.id} could not be fetched ({error}); what was fetched is kept. Try "
                                            "again later")) from None
    try:
        decode(path.read_bytes(), name)
    except CorpusError:
        path.unlink()
        why = f"{base_url} sent something else than book {book.id}. Try again later"
        raise CorpusError(_by_hand(missing, why)) from None
    return path


def _by_hand(missing: Sequence[Book], why: str) -> str:
    lines = [f"  {book.id:>6}  {book.name}" for book in missing]
    return (f"{why}; or put their plain texts into the folder of the list, or into the one that GPTCORE_DATA names, as "
            "pg84.txt or 84-0.txt for book 84. Missing:\n" + "\n".join(lines))


def _without_credits(text: str) -> str:
    """The text from its first paragraph on that does not say who typed it."""
    rest = text
    while CREDIT.match(rest.lstrip()):
        _, _, rest = rest.lstrip().partition("\n\n")
    return re.sub(r"\A(?:[ \t]*\n)+", "", rest).rstrip()


def _title(head: str) -> str:
    """The title that the header gives: its title line, with the lines that go on with it, or its first line."""
    if found := re.search(r"^Title: *(\S.*(?:\n[ \t]+\S.*)*)", head, re.MULTILINE):
        return re.sub(r"\s*\n\s*", "; ", found[1].strip())
    found = re.search(r"Project Gutenberg(?:['’]s)? (?:E-?(?:text|book) of )?(\S.*?),? by ", head, re.IGNORECASE)
    return found[1].strip() if found else ""


def _forms(title: str) -> set[str]:
    """What a title may be called: as a whole, and without its subtitle."""
    without = re.sub(r"(?<=\d),(?=\d)", "", title)
    return {_words(part) for part in (without, re.split(r"[;:,(\n]|\bor\b", without, flags=re.IGNORECASE)[0])} - {""}


def _words(title: str) -> str:
    """Letters and digits only, without accents and a leading article."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", title) if not unicodedata.combining(char)).casefold()
    return re.sub(r"^(?:the|an?) ", "", " ".join(re.findall(r"[^\W_]+", re.sub(r"['’]", "", plain))))
