"""data/repair_cafe: what was planted in its files is really in their bytes."""

import difflib
import re
import unicodedata
from pathlib import Path

import pytest

from gptcore.corpora import END_OF_TEXT, CorpusError, load, read_text

FOLDER = Path(__file__).parents[1] / "data/repair_cafe"
RAW = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir())}
CRLF, CR, MARKED = "2023-01-31 meeting.txt", "2023-10-31 meeting.txt", "Bicycle checklist (Bridget).txt"
UTF16, CP1252 = "letter from Mrs Okell.txt", "letter to the council.txt"
EMPTY, WHITE = "2023-08-12 open day.txt", "Copy of ideas.txt"
ENCODINGS = {UTF16: "utf-16", CP1252: "cp1252"}
TEXTS = {name: raw.decode(ENCODINGS.get(name, "utf-8-sig")) for name, raw in RAW.items()}
FULL = [name for name, text in TEXTS.items() if text.strip()]
TRAIN, VALIDATION = FULL[:33], FULL[33:]


def having(sign: bytes) -> set[str]:
    return {name for name, raw in RAW.items() if sign in raw}


def test_the_names_sort_alike_everywhere():
    assert list(RAW) == sorted(RAW, key=str.lower), "systems that ignore capitals would split otherwise"
    assert all(name.isascii() and name.endswith(".txt") for name in RAW) and len(RAW) == 39
    assert FULL.index("talk 10 chair.txt") < FULL.index("talk 2 plug.txt")


def test_line_ends():
    assert having(b"\r\n") == {CRLF} and having(b"\r") - {UTF16} == {CRLF, CR}
    assert RAW[CRLF].count(b"\r\n") == RAW[CRLF].count(b"\n") == RAW[CRLF].count(b"\r") > 20
    assert 0 < RAW[CR].count(b"\r") < RAW[CR].count(b"\n")
    assert TEXTS[UTF16].count("\r\n") == TEXTS[UTF16].count("\n") > 10


def test_encodings():
    assert {name for name, raw in RAW.items() if raw.startswith(b"\xef\xbb\xbf")} == {MARKED}
    assert {name for name, raw in RAW.items() if raw.startswith(b"\xff\xfe")} == {UTF16}
    with pytest.raises(UnicodeDecodeError):
        RAW[CP1252].decode()
    assert b"\xa3" in RAW[CP1252] and all(sign in TEXTS[CP1252] for sign in "£“”’é")
    for name in set(RAW) - set(ENCODINGS):
        RAW[name].decode()


def test_two_files_without_text():
    assert RAW[EMPTY] == b"" and RAW[WHITE] and not RAW[WHITE].strip()
    assert set(RAW) - set(FULL) == {EMPTY, WHITE}


def test_signs():
    composed = {name for name, text in TEXTS.items() if "caf\u00e9" in text.lower()}
    decomposed = {name for name, text in TEXTS.items() if "cafe\u0301" in text.lower()}
    assert decomposed == {"Advice for new volunteers.txt"} and not composed & decomposed and len(composed) > 20
    assert {name for name, text in TEXTS.items() if not unicodedata.is_normalized("NFC", text)} == decomposed
    assert {name for name, text in TEXTS.items() if "\u00a0" in text} == {"Five questions at the door.txt"}
    assert having(b"\t") - {UTF16, WHITE} == {"price list.txt"} and RAW["price list.txt"].count(b"\t") > 60
    emoji = {name for name, text in TEXTS.items() if re.search("[\U0001f300-\U0001faff]", text)}
    assert emoji and all(name.startswith("Chat ") for name in emoji)
    assert not any(END_OF_TEXT in text for text in TEXTS.values())


def test_the_shape_of_chats_and_of_the_long_line():
    for name in (name for name in RAW if name.startswith("Chat ")):
        lines = TEXTS[name].splitlines()[2:]
        assert len(lines) > 25 and all(re.match(r"\[\d\d/\d\d/2023, \d\d:\d\d\] [^:]+: ", line) for line in lines)
    assert b"\n" not in RAW["Hamid voice message.txt"] and len(RAW["Hamid voice message.txt"]) > 2500


def test_transcripts_share_their_first_and_last_lines():
    names = [name for name in RAW if b"[Automatic transcription" in RAW[name]]
    heads = {tuple(TEXTS[name].splitlines()[:3]) for name in names}
    assert names == [name for name in RAW if name.startswith("talk ")] + ["young menders.txt"] and len(names) == 8
    assert len(heads) == len({TEXTS[name].splitlines()[-1] for name in names}) == 1
    assert set(names) & set(TRAIN) and set(names) & set(VALIDATION)


def test_leaks_between_training_and_validation():
    assert VALIDATION == ["winter newsletter.txt", "year summary 2023.txt", "young menders.txt", "zip handout final.txt"]
    draft, final = TEXTS["Draft zip handout.txt"], TEXTS["zip handout final.txt"]
    assert 0.8 < difflib.SequenceMatcher(None, draft, final, autojunk=False).ratio() < 0.9
    quotes = ((UTF16, "The toaster was", 700), ("Diary Walter autumn.txt", "Clocks go back tonight", 450))
    for name, start, shortest in quotes:
        quoted = next(line for line in TEXTS["winter newsletter.txt"].splitlines() if line.startswith(start))
        assert quoted in TEXTS[name] and len(quoted) > shortest and name in TRAIN


def test_the_loader_reads_all_of_it_once_the_one_encoding_is_known(tmp_path):
    with pytest.raises(CorpusError, match=r"letter to the council\.txt"):
        read_text(FOLDER / CP1252)
    for name, raw in RAW.items():
        (tmp_path / name).write_bytes(TEXTS[name].encode() if name in ENCODINGS else raw)
    corpus = load(tmp_path)
    assert (len(corpus.train), len(corpus.validation)) == (len(TRAIN), len(VALIDATION))
    assert set(corpus.left_out) == {EMPTY, WHITE}
    text = "".join(corpus.train + corpus.validation)
    assert 75_000 < len(text.encode()) < 100_000 and "\r" not in text and "\ufeff" not in text
