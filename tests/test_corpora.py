"""Corpora: small files made here, splits by their laws, downloads from a server on loopback."""

import hashlib
import re
import threading
from dataclasses import FrozenInstanceError
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcore import corpora
from gptcore.corpora import KNOWN, Corpus, CorpusError, Known, load, read_text, split_documents
from gptcore.splits import split_spans

TEXT = "Act one.\nThe lantern is lit.\n" * 40


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path, monkeypatch):
    """No test sees this machine's data folders, cache, proxy or network."""
    for name in ("GPTCORE_DATA", "GPTCORE_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(corpora, "REPOSITORY_DATA", tmp_path / "repository")
    monkeypatch.setattr(corpora, "KAGGLE_INPUT", tmp_path / "kaggle")
    monkeypatch.setattr(corpora.pooch, "os_cache", lambda project: tmp_path / "cache" / project)


def write(path, content=TEXT):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def sha256(content):
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


# ---------------------------------------------------------------- splits

documents_of = st.lists(st.text(st.characters(codec="utf-8"), min_size=40, max_size=120), min_size=1, max_size=30)
shares = st.floats(0.05, 0.5)


@given(documents_of, shares, st.integers(0, 50))
def test_nothing_is_lost_but_the_gap_and_nothing_is_in_both(documents, validation, gap):
    train, held_out = split_documents(documents, validation, gap)
    if len(documents) >= 10:
        assert train + held_out == documents
        assert -1e-9 <= len(held_out) - validation * len(documents) < 1 + 1e-9
    else:
        for document, before, after in zip(documents, train, held_out, strict=True):
            hole = len(document) - len(before) - len(after)
            assert hole == (min(gap, len(document) // 20) if len(documents) > 1 else 0)
            assert document.startswith(before) and document.endswith(after)
            assert -1e-9 <= len(after) - validation * len(document) < 1 + 1e-9  # rounding of the share


@pytest.mark.parametrize(("n", "held_out"), [(10, 1), (11, 2), (20, 2), (100, 10), (1000, 100), (7130, 713)])
def test_the_last_tenth_of_many_documents(n, held_out):
    documents = [f"document {i}" for i in range(n)]
    assert split_documents(documents) == (documents[:-held_out], documents[-held_out:])


def test_one_document_is_cut_where_everyone_cuts_tiny_shakespeare():
    text = "x" * 1_115_394
    train, held_out = split_documents([text])
    assert len(train[0]) == int(0.9 * len(text)) == 1_003_854 and len(held_out[0]) == 111_540


def test_few_documents_lose_a_gap_before_the_border():
    long, short = "a" * 100_000, "b" * 1000
    train, held_out = split_documents([long, short])
    assert [len(part) for part in train + held_out] == [89_000, 850, 10_000, 100]
    train, held_out = split_documents([long, short], gap=0)
    assert [len(part) for part in train + held_out] == [90_000, 900, 10_000, 100]
    nine = split_documents(["c" * 1000] * 9)
    assert [len(part) for part in nine[0] + nine[1]] == [850] * 9 + [100] * 9


@pytest.mark.parametrize(("arguments", "message"), [
    (([],), "too short"),
    ((["x"],), "the shortest has 1 char"),
    ((["x" * 100, "y"],), "2 documents, the shortest has 1 char"),
    ((["x" * 100] * 2, 0.97, 1000), "too short"),
    ((["x"] * 10, 0.95), "too short"),
    ((["x" * 100], 0.0), "validation=0.0 is no share"),
    ((["x" * 100], 1.0), "validation=1.0 is no share"),
    ((["x" * 100] * 2, 0.1, -1), "gap=-1"),
])
def test_impossible_splits_are_refused(arguments, message):
    with pytest.raises(CorpusError, match=message):
        split_documents(*arguments)


@pytest.mark.parametrize("chunk", [-5, 0, 1])
def test_impossible_chunks_are_refused(chunk):
    with pytest.raises(CorpusError, match=f"chunk={chunk} cannot be cut"):
        split_spans([100], chunk=chunk)


def test_chunks_cut_each_document_into_pieces_of_their_own(tmp_path):
    text = "".join(f"{i:04d} " for i in range(500))
    for name in ("a", "b"):
        write(tmp_path / "two" / f"{name}.txt", text)
    corpus = load(tmp_path / "two", chunk=1000)
    assert corpus.train == [text[:900], text[1000:1900], text[2000:2450]] * 2
    assert [len(piece) for piece in corpus.validation] == [100, 100, 50] * 2
    assert corpus.split == "of each 1,000 characters of a document the last 10 %"


@given(st.lists(st.integers(1, 300), min_size=1, max_size=14), shares, st.integers(25, 120))
def test_spans_cover_a_document_once_and_in_order(lengths, validation, chunk):
    train, held_out = split_spans([length + 20 for length in lengths], validation, chunk=chunk)
    whole = sorted([*train, *held_out])
    for document, length in enumerate(lengths):
        parts = [span for span in whole if span.document == document]
        assert [span.start for span in parts] == [0, *(span.stop for span in parts[:-1])] and parts[-1].stop == length + 20
    assert all(0 < span.stop - span.start <= chunk for span in whole)
    assert all(before in train for before, after in pairwise(whole) if after in held_out)


def test_a_corpus_knows_where_its_texts_come_from(tmp_path):
    texts = [f"{i} " * 400 for i in range(3)]
    for i, text in enumerate(texts):
        write(tmp_path / "three" / f"{i}.txt", text)
    for options in ({}, {"chunk": 100}, {"gap": 0, "validation": 0.3}):
        corpus = load(tmp_path / "three", **options)
        assert corpus.names == ("0.txt", "1.txt", "2.txt")
        for found, spans in zip((corpus.train, corpus.validation), corpus.spans):
            assert found == [texts[span.document][span.start:span.stop] for span in spans]


# ---------------------------------------------------------------- what is printed

def test_hash_and_bytes_by_hand():
    corpus = Corpus("mine", "memory", ["é"], ["zwölf"])
    assert corpus.validation_bytes == 6 and corpus.validation_hash == sha256("zwölf")[:12]
    two = Corpus("mine", "memory", ["a"], ["bc", "d"])
    assert two.validation_bytes == 3 and two.validation_hash == sha256("bc<|endoftext|>d")[:12]
    with pytest.raises(FrozenInstanceError):
        two.train = []
    assert two.validation_hash != Corpus("mine", "memory", ["a"], ["b", "cd"]).validation_hash


def test_summary_names_what_matters_and_no_path(tmp_path):
    write(tmp_path / "plays" / "a.txt"), write(tmp_path / "plays" / "b.txt", " \n"), write(tmp_path / "plays" / "c.txt")
    corpus = load(tmp_path / "plays")
    assert str(corpus) == corpus.summary() == (
        "corpus      plays (a folder)\n"
        f"train       2 documents, {2 * (1044 - 58):,} bytes\n"
        f"validation  2 documents, {2 * 116} bytes, sha256 {corpus.validation_hash}\n"
        "left out    b.txt (empty)")
    assert str(tmp_path) not in str(corpus)


# ---------------------------------------------------------------- files and folders

def test_one_file_is_one_document(tmp_path):
    corpus = load(str(write(tmp_path / "my play.txt")))
    assert (corpus.name, corpus.train + corpus.validation) == ("my play", [TEXT[:1044], TEXT[1044:]])


def test_a_folder_gives_one_document_a_file_in_order(tmp_path):
    for i in reversed(range(12)):
        write(tmp_path / "folder" / f"{i:02}.{'TXT' if i % 2 else 'txt'}", f"document {i}")
    write(tmp_path / "folder" / "notes.md"), write(tmp_path / "folder" / "._00.txt", b"\x00\xff")
    write(tmp_path / "folder" / "inner" / "x.txt"), (tmp_path / "folder" / "z.txt").mkdir()
    corpus = load(tmp_path / "folder")
    assert corpus.train + corpus.validation == [f"document {i}" for i in range(12)]
    assert len(corpus.validation) == 2 and corpus.left_out == ()


def test_loading_splits_as_it_says_by_default(tmp_path):
    write(tmp_path / "two" / "a.txt", "a" * 100_000), write(tmp_path / "two" / "b.txt", "b" * 100_000)
    assert [len(part) for part in load(tmp_path / "two").train] == [89_000] * 2
    assert [len(part) for part in load(tmp_path / "two", validation=0.2, gap=10).train] == [79_990] * 2


def test_a_folder_is_named_even_from_within(tmp_path, monkeypatch):
    write(tmp_path / "folder" / "a.txt")
    monkeypatch.chdir(tmp_path / "folder")
    assert load(".").name == "folder"


@pytest.mark.parametrize("raw", [b"one\ntwo\n\nthree\n", b"one\r\ntwo\r\n\r\nthree\r\n", b"one\rtwo\r\rthree\r",
                                 b"\xef\xbb\xbfone\r\ntwo\n\rthree\n"])
def test_line_ends_and_byte_order_marks_are_cleaned(tmp_path, raw):
    assert read_text(write(tmp_path / "a.txt", raw)) == "one\ntwo\n\nthree\n"


def test_only_a_mark_at_the_start_is_dropped(tmp_path):
    assert read_text(write(tmp_path / "a.txt", "\ufeffa\ufeff")) == "a\ufeff"


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.txt", b"caf\xe9", r"a.txt is not UTF-8: byte 0xE9 at offset 3 \(line 1\), likely cp1252; .*iconv -f cp1252"),
    ("a.txt", b"\xef\xbb\xbfx\r\n\xc3(", r"byte 0xC3 at offset 6 \(line 2\)"),
    ("a.txt", "long".encode("utf-16") + b"x", r"a.txt is not UTF-16: byte 0x78 at offset 10"),
    ("a.txt", "x" * 80, "a.txt: what begins with 'xxxx.*without a space, and would be one word; break it into lines"),
    ("a.txt", "x y" * 80, "a.txt holds 240 bytes, too many for memory .* python -m gptcore tokenize a.txt --out shards/a"),
    ("a.txt", b"", "a.txt is empty"),
    ("a.txt", b"\xef\xbb\xbf \r\n", "a.txt is empty"),
    ("a.txt", "x\r\n12<|endoftext|>", r"a.txt holds <\|endoftext\|> at character 4 \(line 2\)"),
    ("a.txt", "<|endoftext|>x", r"at character 0 \(line 1\)"),
    ("a.txt", "x", "too short to split"),
    ("a.pdf", TEXT, "a.pdf is no .txt file; .* named a.txt"),
])
def test_bad_files_are_refused_with_the_reason(tmp_path, monkeypatch, name, content, message):
    monkeypatch.setattr(corpora, "LARGEST", 200)
    monkeypatch.setattr(corpora, "LONGEST", 40)
    with pytest.raises(CorpusError, match=message):
        load(write(tmp_path / name, content))


def test_bad_folders_are_refused_with_the_reason(tmp_path):
    write(tmp_path / "none" / "a.md"), write(tmp_path / "empty" / "a.txt", "\n")
    write(tmp_path / "mixed" / "a.txt"), write(tmp_path / "mixed" / "b.txt", b"\xa3 5")
    for name in ("none", "empty"):
        with pytest.raises(CorpusError, match=f"no .txt file with text in {name};"):
            load(tmp_path / name)
    with pytest.raises(CorpusError, match=r"^b.txt is not UTF-8: byte 0xA3 at offset 0"):
        load(tmp_path / "mixed")


def test_unknown_names_get_the_close_ones():
    with pytest.raises(CorpusError, match=r"'tinyshakespear' is no known corpus, .* did you mean tinyshakespeare\?"):
        load("tinyshakespear")
    with pytest.raises(CorpusError, match="known names are playhouse, tinyshakespeare"):
        load("qqq")


# ---------------------------------------------------------------- known corpora and where they are looked for

@given(st.lists(st.text("ab \n", max_size=8).map(lambda body: "a" + re.sub("\n+", "\n", body).strip() + ".\n"),
                min_size=1, max_size=20))
def test_joined_scenes_come_apart_again(scenes):
    assert corpora._split_at("\n\n", "\n\n".join(scenes)) == scenes


def test_playhouse_is_split_into_scenes(tmp_path, monkeypatch):
    scenes = [f"SCENE {i}\n\nA speaks.\n" for i in range(20)]
    write(tmp_path / "repository" / "playhouse.txt", "\n\n".join(scenes))
    monkeypatch.setitem(KNOWN, "playhouse", KNOWN["playhouse"]._replace(sha256=None))
    assert load().train == scenes[:18] and load("playhouse").validation == scenes[18:]
    monkeypatch.setitem(KNOWN, "playhouse", KNOWN["playhouse"]._replace(sha256=sha256("\n\n".join(scenes))))
    assert load().source == "from the repository"
    monkeypatch.setitem(KNOWN, "playhouse", KNOWN["playhouse"]._replace(sha256=sha256("other")))
    with pytest.raises(CorpusError, match=r"playhouse.txt has the wrong checksum: sha256 .{12}, expected d9298a10d1b0"):
        load()


def test_a_missing_playhouse_says_how_to_restore_it():
    with pytest.raises(CorpusError, match=r"playhouse.txt is missing .* git checkout data/playhouse.txt"):
        load("playhouse")


@pytest.fixture
def known(monkeypatch):
    """A known corpus without a server: whoever asks the network for it fails at once."""
    monkeypatch.setitem(KNOWN, "tale", Known("tale.txt", "http://127.0.0.1:9/tale.txt", sha256(TEXT)))
    monkeypatch.setenv("GPTCORE_OFFLINE", "1")


@pytest.mark.parametrize("where", ["data", "kaggle/tale-set", "kaggle/datasets/someone/tale-set/inner", "kaggle",
                                   "cache/gptcore", "repository"])
def test_a_known_file_is_found_without_the_network(tmp_path, monkeypatch, known, where):
    write(tmp_path / where / "tale.txt")
    (tmp_path / "data").mkdir(exist_ok=True)
    if where == "data":
        monkeypatch.setenv("GPTCORE_DATA", str(tmp_path / "data"))
    assert load("tale").train == [TEXT[:1044]]


def test_data_folder_goes_before_kaggle_and_kaggle_before_the_cache(tmp_path, monkeypatch, known):
    data = write(tmp_path / "data" / "tale.txt", "wrong")
    write(tmp_path / "cache" / "gptcore" / "tale.txt", "wrong")
    write(tmp_path / "kaggle" / "a" / "tale.txt"), write(tmp_path / "kaggle" / "0" / "deeper" / "tale.txt", "wrong")
    assert load("tale").train == [TEXT[:1044]]
    monkeypatch.setenv("GPTCORE_DATA", str(data.parent))
    with pytest.raises(CorpusError, match=r"tale.txt has the wrong checksum"):
        load("tale")
    assert data.read_text() == "wrong", "a file in the user's own folder is never removed"


def test_kaggle_is_searched_no_deeper_than_its_layouts_go(tmp_path, known):
    write(tmp_path / "kaggle" / "1/2/3/4/5/6" / "tale.txt")
    with pytest.raises(CorpusError, match="not on this machine"):
        load("tale")


def test_own_files_are_found_by_name_too(tmp_path, monkeypatch):
    write(tmp_path / "kaggle" / "my-set" / "diary.txt")
    assert load("diary.txt").name == load("old/place/diary.txt").name == "diary"


def test_offline_says_what_to_do(known):
    with pytest.raises(CorpusError, match=r"tale.txt is not on this machine and .*OFFLINE forbids .* GPTCORE_DATA"):
        load("tale")


def test_a_wrong_data_folder_is_named(tmp_path, monkeypatch, known):
    monkeypatch.setenv("GPTCORE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(CorpusError, match="nowhere is no folder"):
        load("tale")


# ---------------------------------------------------------------- downloads

class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        body = TEXT.encode()
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/silent":
            return self.server.released.wait(10)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path == "/good":
            self.wfile.write(body)
        elif self.path == "/wrong":
            self.wfile.write(body.replace(b"lantern", b"lentern"))
        else:
            self.wfile.write(body[:500])
            self.wfile.flush()
            if self.path == "/stalled":
                self.server.released.wait(10)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.asked, server.released = [], threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(corpora, "TIMEOUT", 0.3)
        for path in ("good", "wrong", "missing", "cut", "silent", "stalled"):
            url = f"http://127.0.0.1:{server.server_port}/{path}"
            monkeypatch.setitem(KNOWN, path, Known("tale.txt", url, sha256(TEXT)))
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_good_file_is_fetched_once(server, tmp_path, capfd, caplog, monkeypatch):
    logger = corpora.pooch.get_logger()
    monkeypatch.setattr(logger, "handlers", [*logger.handlers, caplog.handler])
    logger.setLevel("INFO")  # as it is before the first download of a process
    assert load("good").train == [TEXT[:1044]] and load("good").source == "downloaded"
    assert server.asked == ["/good"] and files(tmp_path) == ["tale.txt"]
    assert capfd.readouterr() == ("", "") and not caplog.records, "no path of this machine is printed"


def test_a_data_folder_is_the_cache(server, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("GPTCORE_DATA", str(tmp_path / "data"))
    load("good")
    assert files(tmp_path / "data") == files(tmp_path) == ["tale.txt"]


@pytest.mark.parametrize(("name", "message"), [
    ("wrong", "what http://127.0.0.1:.*/wrong sent has the wrong checksum and was thrown away"),
    ("missing", "tale.txt could not be fetched .*404"),
    ("cut", "tale.txt could not be fetched"),
    ("silent", "tale.txt could not be fetched .*timed? ?out"),
    ("stalled", "tale.txt could not be fetched .*timed? ?out"),
])
def test_failed_downloads_leave_nothing_and_say_what_to_do(server, tmp_path, name, message):
    with pytest.raises(CorpusError, match=message) as caught:
        load(name)
    assert "GPTCORE_DATA" in str(caught.value) and server.asked == [f"/{name}"]
    assert files(tmp_path) == []
    assert load("good").validation == [TEXT[1044:]], "a failure does not stand in the way of the next try"


def test_a_damaged_file_in_the_cache_is_fetched_again(server, tmp_path):
    write(tmp_path / "cache" / "gptcore" / "tale.txt", TEXT[:200])
    assert load("good").train == [TEXT[:1044]] and server.asked == ["/good"]


def test_offline_asks_no_server(server, monkeypatch, tmp_path):
    monkeypatch.setenv("GPTCORE_OFFLINE", "1")
    write(tmp_path / "cache" / "gptcore" / "tale.txt", TEXT[:200])
    with pytest.raises(CorpusError, match="forbids the network"):
        load("good")
    assert server.asked == []
    monkeypatch.setenv("GPTCORE_OFFLINE", "0")
    assert load("good").name == "good"


def test_a_server_that_is_not_there(monkeypatch):
    monkeypatch.setitem(KNOWN, "tale", Known("tale.txt", "http://127.0.0.1:9/tale.txt", sha256(TEXT)))
    with pytest.raises(CorpusError, match="could not be fetched"):
        load("tale")
