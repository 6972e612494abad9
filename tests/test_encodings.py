"""Encodings: files as people have them, written here; Python's own codecs say what they hold."""

import codecs
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcore import encodings
from gptcore.corpora import load, read_text
from gptcore.encodings import CorpusError, find_encodings, shown
from gptcore.sources import open_source

RUSSIAN = "Вечер. В комнате горит лампа, и никто не говорит ни слова. " * 9
GERMAN = "Über dem Fluß hängt Nebel; die Tür fällt zu, er hört es nicht mehr. " * 9
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(paths, encoding=None):
    with pytest.raises(CorpusError) as caught:
        find_encodings(paths, encoding)
    return str(caught.value)


# --- what says itself what it is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"", b"abc", "aé漢😀".encode(), codecs.BOM_UTF8 + "é".encode()])
def test_utf8_needs_no_word(tmp_path, raw):
    path = written(tmp_path / "a.txt", raw)
    assert find_encodings([path]) == {path: "utf-8-sig"}


@pytest.mark.parametrize(("mark", "codec"), [(codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
                                             (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")])
def test_a_byte_order_mark_decides_even_against_an_encoding(tmp_path, mark, codec):
    path = written(tmp_path / "a.txt", mark + "one\r\ntwo é 😀\r".encode(codec))
    for encoding in (None, "cp1252"):
        assert read_text(path, encoding=encoding) == "one\ntwo é 😀\n"
        assert "".join(piece.text for piece in open_source(path, encoding=encoding).pieces()) == "one\ntwo é 😀\n"
    corpus = load(written(tmp_path / "b.txt", mark + ("long enough " * 9).encode(codec)))
    assert corpus.notes == (f"b.txt was not UTF-8 but {codec[:6]}",) and "note        b.txt was not UTF-8" in str(corpus)


# --- what does not ------------------------------------------------------------------------------------------------------


def test_all_files_are_named_at_once_with_the_likely_encoding(tmp_path):
    contents = {"a.txt": b"caf\xe9", "b.txt": "fine", "german.txt": GERMAN.encode("cp1252"), "half.txt": b"\xff\xfeabc",
                "picture.txt": PNG, "russian.txt": RUSSIAN.encode("cp1251"),
                "wide.txt": ("plain words " * 9).encode("utf-16-le"), "zero.txt": b"abc\0def"}
    message = refused([written(tmp_path / name, content) for name, content in contents.items()])
    for line in ("7 files cannot be used:", "a.txt is not UTF-8: byte 0xE9 at offset 3 (line 1), likely cp1252",
                 "german.txt is not UTF-8: byte 0xDC at offset 0 (line 1), likely cp1252",
                 "half.txt is not UTF-16: byte 0x63 at offset 4", "picture.txt is no text: it begins like a PNG picture",
                 "russian.txt is not UTF-8: byte 0xC2 at offset 0 (line 1), likely cp1251",
                 "wide.txt is no text in UTF-8: it holds NUL characters, the first near offset 1, likely utf-16-le",
                 "zero.txt is no text in UTF-8", "convert each from its encoding: iconv -f cp1252 -t utf-8 'a.txt'",
                 "move it to another folder"):
        assert line in message
    assert "b.txt" not in message and str(tmp_path) not in message


def test_the_way_out_works(tmp_path):
    paths = [written(tmp_path / "f" / f"{i}.txt", GERMAN.encode("cp1252")) for i in range(2)]
    paths.append(written(tmp_path / "f" / "2.txt", GERMAN))
    assert 'encoding="cp1252" (--encoding cp1252) reads what is not UTF-8 so' in refused(paths)
    assert list(find_encodings(paths, "cp1252").values()) == ["cp1252", "cp1252", "utf-8-sig"]
    corpus, source = load(tmp_path / "f", gap=0, encoding="cp1252"), open_source(tmp_path / "f", encoding="cp1252")
    assert [first + last for first, last in zip(corpus.train, corpus.validation)] == [GERMAN] * 3
    assert [piece.text for piece in source.pieces()] == [GERMAN] * 3
    assert corpus.notes == ("0.txt was not UTF-8 but cp1252", "1.txt was not UTF-8 but cp1252")
    for call in (load, open_source):
        with pytest.raises(CorpusError, match=r"(?s)2 files.*0.txt.*1.txt"):
            call(tmp_path / "f")


def test_an_encoding_that_does_not_fit_is_refused_too(tmp_path):
    assert "a.txt is not CP1252: byte 0x81 at offset 1" in refused([written(tmp_path / "a.txt", b"\xe9\x81")], "cp1252")
    assert "holds NUL characters" in refused([written(tmp_path / "b.txt", bytes(range(256)))], "latin-1")
    assert "PNG picture" in refused([written(tmp_path / "c.txt", PNG)], "latin-1")
    assert "is not UTF-16" in refused([written(tmp_path / "d.txt", b"\xff\xfeabc")], "latin-1"), "its mark says what it is"
    for name in ("rot13", "hex", "no such"):
        with pytest.raises(CorpusError, match=f"'{name}' is no encoding that Python knows"):
            find_encodings([], name)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60), st.integers(1, 9))
def test_blocks_do_not_matter(tmp_path_factory, text, size):
    path = written(tmp_path_factory.getbasetemp() / "blocks.txt", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encodings, "BLOCK", size)
        assert encodings._first_fault(path, "utf-8-sig") is None
        written(path, text.encode() + b"\n\xff tail")
        at = len(text.encode()) + 1
        expected = f"byte 0xFF at offset {at} (line {text.encode().count(bytes([10])) + 2})"
        assert expected in encodings._first_fault(path, "utf-8-sig").what


def test_where_statistics_have_nothing_to_go_by_windows_is_likely(tmp_path, monkeypatch):
    assert "likely cp1252" in refused([written(tmp_path / "a.txt", b"5 \xa3")])
    assert "likely latin-1" in refused([written(tmp_path / "a.txt", b"\x81\xa3")])
    monkeypatch.setitem(__import__("sys").modules, "charset_normalizer", None)
    assert "likely cp1252" in refused([written(tmp_path / "a.txt", RUSSIAN.encode("cp1251"))])


# --- folders that are not in order --------------------------------------------------------------------------------------


def test_links_that_lead_nowhere_are_named(tmp_path):
    written(tmp_path / "f" / "a.txt", GERMAN)
    (tmp_path / "f" / "b.txt").symlink_to("b.txt")
    (tmp_path / "f" / "c.txt").symlink_to("gone.txt")
    for call in (load, open_source):
        with pytest.raises(CorpusError, match=r"b.txt, c.txt in f: a link that leads nowhere or in a circle"):
            call(tmp_path / "f")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(CorpusError, match="no file and no folder"):
        load(tmp_path / "circle")


def test_a_folder_that_holds_itself_is_read_once(tmp_path):
    written(tmp_path / "f" / "a.txt", GERMAN)
    (tmp_path / "f" / "self").symlink_to(".")
    assert load(tmp_path / "f").names == ("a.txt",)


def test_texts_that_lie_deeper_are_counted(tmp_path):
    for name in ("x/a.txt", "x/b.TXT", "y/c.txt", "y/d.md"):
        written(tmp_path / "f" / name, GERMAN)
    with pytest.raises(CorpusError, match=r"no .txt file with text in f; 3 .txt files lie in its subfolders"):
        load(tmp_path / "f")


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="no file here that nobody can read")
def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.txt").symlink_to("/proc/self/mem")
    assert "a.txt cannot be read (Input/output error)" in refused([tmp_path / "a.txt"])
    assert "cannot be read (No such file or directory)" in refused([tmp_path / "gone.txt"])


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_no_text_are_shown_all_the_same(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    try:
        path.write_text(GERMAN)
    except OSError:
        pytest.skip("this disk takes no such name")
    corpus = load(tmp_path)
    assert corpus.names == ("caf\ufffd.txt",) and shown(path).encode()
    written(path, " ")
    written(tmp_path / "b.txt", GERMAN)
    assert str(load(tmp_path)).encode() and load(tmp_path).left_out == ("caf\ufffd.txt",)


def test_names_are_sorted_alike_however_a_disk_stores_them(tmp_path):
    for name in ("e\u0301a.txt", "eb.txt", "f.txt"):
        written(tmp_path / name, GERMAN)
    assert load(tmp_path).names == ("eb.txt", "f.txt", "e\u0301a.txt")
