"""Which encoding a text file is in, and which files are no text at all. Plumbing: no notebook builds it.

UTF-8 is known by its bytes, UTF-16 and UTF-32 by their byte-order mark. Nothing marks any other encoding: such a file is
refused, with a guess, until somebody says what it is.
"""

import codecs
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["CorpusError", "by_name", "find_encodings", "shown"]

BLOCK = 2**20  # bytes that are looked at together
SAMPLE = 2**16  # bytes that a guess is made from
# In this order: the mark of UTF-32 begins with that of UTF-16.
MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig",
         codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
NO_TEXT = {b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"GIF8": "a GIF picture",
           b"%PDF": "a PDF document", b"{\\rtf": "an RTF document", b"PK\x03\x04": "a ZIP archive or an office document",
           b"\x1f\x8b": "a gzip archive", b"\xd0\xcf\x11\xe0": "an old office document"}


class CorpusError(ValueError):
    """A text that cannot be used; the message says what is wrong and what to do."""


class Fault(NamedTuple):
    """Why a file cannot be read so: what was found, where, and the encoding it may have (None: it is no text)."""

    what: str
    at: int = 0
    guess: str | None = None


def find_encodings(paths: Iterable[Path], encoding: str | None = None) -> dict[Path, str]:
    """Say how each file is to be decoded: as UTF-8, as its byte-order mark says, else as `encoding`.

    Each file is read once, in blocks. Raises CorpusError that names every file that cannot be read, and why.
    """
    _refuse_unknown(encoding)
    found, faults = {}, {}
    for path in paths:
        try:
            found[path], fault = _look(path, encoding)
        except OSError as error:
            fault = Fault(f"cannot be read ({error.strerror or error})")
        if fault:
            faults[path] = fault
    if faults:
        raise CorpusError(_report(faults))
    return found


def shown(path: Path) -> str:
    """The name of a file for people: bytes that are no UTF-8 become U+FFFD, which every console can print.

    >>> import os
    >>> shown(Path(os.fsdecode(b"caf\\xe9.txt")))
    'caf\\ufffd.txt'
    """
    return path.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def by_name(path: Path) -> str:
    """What files are sorted by, alike on all systems: some store an é as one character, some as two."""
    return unicodedata.normalize("NFC", path.name)


def _look(path: Path, encoding: str | None) -> tuple[str, Fault | None]:
    with open(path, "rb") as file:
        head = file.read(BLOCK)
    if kind := next((kind for sign, kind in NO_TEXT.items() if head.startswith(sign)), None):
        return "", Fault(f"is no text: it begins like {kind}")
    marked = next((codec for mark, codec in MARKS.items() if head.startswith(mark)), None)
    codec = marked or "utf-8-sig"
    fault = _first_fault(path, codec)
    if fault and encoding and not marked:
        codec, fault = encoding, _first_fault(path, encoding)
    if fault and not marked and (guess := _guess(path, fault.at)) != codec:
        fault = fault._replace(guess=guess)
    return codec, fault


def _first_fault(path: Path, codec: str) -> Fault | None:
    """Decode block by block; what is no text in this encoding, and where it begins."""
    decoder, name = codecs.getincrementaldecoder(codec)(), codec.upper().removesuffix("-SIG")
    read = lines = 0
    with open(path, "rb") as file:
        while True:
            block = file.read(BLOCK)
            read += len(block)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeError as error:  # its object is what was left of the last block, and this one
                if not isinstance(error, UnicodeDecodeError):
                    return Fault(f"is not {name} ({error})", read)
                at = read - len(error.object) + error.start
                line = lines + error.object.count(b"\n", 0, error.start) + 1
                return Fault(f"is not {name}: byte 0x{error.object[error.start]:02X} at offset {at} (line {line})", at)
            if "\0" in text:
                at = max(read - len(block) + block.find(b"\0"), 0)
                return Fault(f"is no text in {name}: it holds NUL characters, the first near offset {at}", at)
            if not block:
                return None
            lines += block.count(b"\n")


def _guess(path: Path, at: int) -> str | None:
    """The likely encoding of a file that is not UTF-8 at this offset; None where it is hardly text."""
    with open(path, "rb") as file:
        file.seek(max(at - SAMPLE // 2, 0) & ~3)
        sample = file.read(SAMPLE)
    if b"\0" in sample:  # of UTF-16, Latin letters have a zero on one side, all the time
        zeros = [sample[side::2].count(0) / len(sample) for side in (0, 1)]
        if sample.count(0) < 4 or max(zeros) < 0.15 or min(zeros) > 0.02:
            return None
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    if sum(byte > 127 for byte in sample) >= 20:  # with less, statistics say anything
        try:
            from charset_normalizer import from_bytes  # comes with requests, which pooch needs
        except ImportError:
            pass
        else:
            if best := from_bytes(sample).best():
                return "cp1252" if {"cp1252", "latin_1"} & set(best.could_be_from_charset) else best.encoding
    return "latin-1" if any(byte in b"\x81\x8d\x8f\x90\x9d" for byte in sample) else "cp1252"


def _report(faults: dict[Path, Fault]) -> str:
    """All files that cannot be read, a line each, and the ways out."""
    lines = [f"{shown(path)} {fault.what}" + (f", likely {fault.guess}" if fault.guess else "")
             for path, fault in faults.items()]
    guesses = {path: fault.guess for path, fault in faults.items() if fault.guess}
    out = []
    if guesses:
        path, codec = next(iter(guesses.items()))
        alike = len(set(guesses.values())) == 1
        out.append((f'encoding="{codec}" (--encoding {codec}) reads what is not UTF-8 so, or convert it: ' if alike else
                    "convert each from its encoding: ") + f"iconv -f {codec} -t utf-8 '{shown(path)}' > converted.txt")
    if len(guesses) < len(faults):
        out.append("mend what cannot be read, or move it to another folder")
    start = "" if len(lines) == 1 else f"{len(lines)} files cannot be used:\n  "
    return start + "\n  ".join(lines) + ("; " if len(lines) == 1 else "\n") + "; ".join(out)


def _refuse_unknown(encoding: str | None) -> None:
    try:
        b"    ".decode(encoding or "utf-8")
    except UnicodeError:
        pass  # spaces are no text in it, but it is an encoding
    except LookupError:
        raise CorpusError(f"{encoding!r} is no encoding that Python knows; cp1252, latin-1, cp1251, utf-16-le and shift_jis "
                          "are some") from None
