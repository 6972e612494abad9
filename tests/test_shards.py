"""shards: the same ids as a plain loop gives, whatever is killed, and nothing that was altered is taken for whole."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import regex
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore import corpora, playhouse, sources, tokenizing
from gptcore.__main__ import main
from gptcore.batches import Batches
from gptcore.corpora import CorpusError
from gptcore.experiment import Experiment
from gptcore.shards import Shards, Stream, TokenFiles, index_hash
from gptcore.sources import Source, alphabet, beginning, cut_long, open_source
from gptcore.tokenizer import GPT2_PATTERN, GPT4_PATTERN, BPETokenizer, CharTokenizer, encode_document
from gptcore.tokenizing import write_shards

ROOT = Path(__file__).parents[1]
TEXTS = ["Once, twice.\n", "  \n", "a", *(playhouse.write(seed) for seed in range(40)), "Ünïcode ☂, 日本語 \r\n end", "\t"]
TOKENIZER = BPETokenizer.train(TEXTS, 400, progress=False)
SMALL = ["--preset", "tiny", "--n-layer", "1", "--n-embd", "16", "--block-size", "64", "--steps", "6", "--eval-every", "3",
         "--eval-windows", "8", "--batch-size", "4", "--quiet"]


def source_of(texts, name="texts"):
    """Texts in memory as a source, as rows are."""
    return Source(name, None, lambda: (piece for text in texts for piece in sources._pieces(text)))


def written(folder, texts=TEXTS, tokenizer=TOKENIZER, **options):
    return write_shards(source_of(texts), folder, tokenizer,
                        **{"processes": 1, "shard_tokens": 1000, "progress": False} | options)


def joined(source):
    """Its documents, each in one piece."""
    documents = [""]
    for piece in source.pieces():
        documents[-1] += piece.text
        documents += [""] * piece.closes
    assert documents.pop() == ""
    return documents


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def plain(texts, tokenizer=TOKENIZER):
    """The ids of each document by a plain loop."""
    return [encode_document(tokenizer, text) for text in texts if text.strip()]


def assert_same_documents(stream, documents):
    assert len(stream) == len(documents)
    for d, document in enumerate(documents):
        np.testing.assert_array_equal(stream.document(d), document)


@pytest.fixture
def small_units(monkeypatch):
    """Units of 500 characters and pieces of 200, so that a few scenes are many."""
    monkeypatch.setattr(tokenizing, "UNIT", 500)
    monkeypatch.setattr(sources, "PIECE", 200)


# --- what is written ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
def test_shards_hold_what_a_plain_loop_gives(tmp_path, small_units, processes):
    shards, expected = written(tmp_path / "s", processes=processes), plain(TEXTS)
    assert_same_documents(shards.all, expected)
    raw = np.concatenate([np.fromfile(path, "<u2") for path in sorted((tmp_path / "s").glob("tokens-*.bin"))])
    np.testing.assert_array_equal(raw, np.concatenate(expected))
    index = shards.index
    assert index["documents"] == len(TEXTS) - 2 and index["left_out"] == 2 and index["tokens"] == len(raw)
    assert index["bytes"] == sum(len(text.encode()) for text in TEXTS if text.strip())
    assert [each["tokens"] for each in index["shards"]] == [1000] * (len(raw) // 1000) + [len(raw) % 1000]
    assert set(contents(tmp_path / "s")) == {"index.json", "tokenizer.json", "documents.bin",
                                             *(each["file"] for each in index["shards"])}
    shards.verify(progress=False)


def test_by_hand(tmp_path):
    shards = written(tmp_path / "s", ["ba", " ", "aab"], CharTokenizer("ab"), shard_tokens=5)
    files = [np.fromfile(tmp_path / "s" / f"tokens-0000{n}.bin", "<u2").tolist() for n in (0, 1)]
    assert files == [[2, 1, 0, 2, 2], [0, 0, 1, 2]]
    assert np.fromfile(tmp_path / "s" / "documents.bin", "<i8").tolist() == [0, 3, 7]
    assert str(shards) == "2 documents of texts, 5 bytes, 9 tokens in 2 shards"


def test_a_large_vocabulary_takes_four_bytes(tmp_path):
    characters = "".join(sorted({chr(code) for code in range(0x20, 0x11000) if not 0xD800 <= code < 0xE000}))
    for many, dtype in ((2**16 - 1, "<u2"), (2**16, "<u4")):
        tokenizer = CharTokenizer(characters[:many])
        text = characters[0] + characters[many - 1]
        shards = written(tmp_path / dtype[1:], [text], tokenizer)
        assert shards.index["dtype"] == dtype
        assert (tmp_path / dtype[1:] / "tokens-00000.bin").stat().st_size == 4 * int(dtype[2])
        assert shards.all.document(0).tolist() == [many, 0, many - 1, many]


def test_the_number_of_processes_and_of_restarts_changes_no_byte(tmp_path, small_units):
    written(tmp_path / "one"), written(tmp_path / "two", processes=2)
    before = contents(tmp_path / "one")
    assert before == contents(tmp_path / "two")
    written(tmp_path / "one")  # again, on a finished folder
    assert contents(tmp_path / "one") == before


# --- cuts ---------------------------------------------------------------------------------------------------------------


words = st.sampled_from(["it's", "DON'T", "naïve", "日本", "12345", "x1", "...", "!?", "_", " ", "  ", "\n", "\r\n", "\t ",
                         "\u3000", "\u0301", "é", "ſ", "<|endoftext", "a", "Z"])


@settings(max_examples=100, deadline=None)
@given(st.lists(words, max_size=60).map("".join), st.integers(1, 20), st.sampled_from([GPT2_PATTERN, GPT4_PATTERN]))
def test_cutting_a_document_changes_no_chunk(text, size, pattern):
    """And so no token, since none crosses from one chunk into the next."""
    chunks = regex.compile(pattern).findall
    parts = list(cut_long((text[at:at + size] for at in range(0, len(text), size)), size))
    assert "".join(part for part, _ in parts) == text
    assert [closes for _, closes in parts] == [False] * (len(parts) - 1) + [True]
    assert [chunk for part, _ in parts for chunk in chunks(part)] == chunks(text)


def test_a_long_document_is_cut_unless_its_tokenizer_must_see_all_of_it(tmp_path, small_units):
    text = "one two three " * 200
    assert max(len(piece.text) for piece in source_of([text]).pieces()) <= 400
    for n, pattern in enumerate((None, r"[\s\S]{1,7}", GPT4_PATTERN)):
        tokenizer = BPETokenizer([(97, 98)], pattern)
        assert_same_documents(written(tmp_path / str(n), [text, "b"], tokenizer).all, plain([text, "b"], tokenizer))


# --- sources ------------------------------------------------------------------------------------------------------------


def test_text_files_are_read_as_corpora_reads_them(tmp_path, small_units):
    texts = {"b.txt": "\ufeffone\r\ntwo\rthree\n" * 99, "a.TXT": "é" * 999, ".hidden.txt": "no", "c.md": "no",
             "d.txt": " \n"}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
    source = open_source(tmp_path)
    expected = [corpora.read_text(tmp_path / name) for name in ("a.TXT", "b.txt", "d.txt")]
    assert joined(source) == expected and source.name == tmp_path.name
    assert source.size == sum((tmp_path / name).stat().st_size for name in ("a.TXT", "b.txt", "d.txt"))
    assert joined(open_source(tmp_path / "b.txt")) == expected[1:2]


def test_known_corpora_are_whole(monkeypatch, tmp_path):
    text = "To be, or not to be. " * 99
    monkeypatch.setitem(corpora.KNOWN, "tinyshakespeare", corpora.Known("t.txt", None, None))
    (tmp_path / "t.txt").write_text(text)
    monkeypatch.setenv("GPTCORE_DATA", str(tmp_path))
    assert joined(open_source("tinyshakespeare")) == [text]
    playhouse_text = "\n\n".join(text.removesuffix("\n") + "\n" for text in joined(open_source("playhouse")))
    assert playhouse_text.encode() == (ROOT / "data" / "playhouse.txt").read_bytes()


def test_rows_of_json(tmp_path):
    rows = [{"text": "one"}, {"text": None}, {"text": "two\r\n", "more": 1}]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "b.jsonl").write_text("\n".join([*lines[:2], "", lines[2]]))
    (tmp_path / "a.jsonl").write_text('{"text": "first"}\n')
    assert joined(open_source(tmp_path / "b.jsonl")) == ["one", "", "two\r\n"]
    assert joined(open_source(tmp_path)) == ["first", "one", "", "two\r\n"]
    for line, says in (('{"body": "x"}', "line 2 of c.jsonl has no column 'text'; it has body"), ("[1]", "no columns"),
                       ('{"text": 3}', "has int in its column"), ('{"text": "tru', "line 2 of c.jsonl is no JSON")):
        (tmp_path / "c.jsonl").write_text('{"text": "fine"}\n' + line)
        with pytest.raises(CorpusError, match=says):
            joined(open_source(tmp_path / "c.jsonl"))
    (tmp_path / "c.jsonl").write_text('{"body": "x"}')
    assert joined(open_source(tmp_path / "c.jsonl", column="body")) == ["x"]


def test_other_formats_are_read_by_datasets(tmp_path):
    pytest.importorskip("datasets").disable_progress_bars()
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"body": TEXTS}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(json.dumps({"body": text}) for text in TEXTS).encode()))
    for name in ("a.parquet", "b.jsonl.gz"):
        assert joined(open_source(tmp_path / name, column="body")) == TEXTS
    with pytest.raises(CorpusError, match=r"has no column 'text'; it has body"):
        joined(open_source(tmp_path / "a.parquet"))


def test_what_cannot_be_read_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTCORE_OFFLINE", "1")
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"latin.txt is not UTF-8: byte 0xE9 at offset 0 .*iconv"):
        open_source(tmp_path / "latin.txt")  # at once, before a tokenizer is trained in vain
    (tmp_path / "endless.txt").write_text("x" * 999)
    monkeypatch.setattr(sources, "PIECE", 100)
    monkeypatch.setattr(corpora, "LONGEST", 400)
    with pytest.raises(CorpusError, match="goes on for 500 characters without a space"):
        joined(open_source(tmp_path / "endless.txt"))
    with pytest.raises(CorpusError, match="no known corpus"):
        open_source("nothing")
    for name in ("owner/name", str(tmp_path / "latin.pdf")):
        (tmp_path / "latin.pdf").touch()
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(CorpusError, match="pip install datasets"):
            open_source(name)
        monkeypatch.setitem(sys.modules, "datasets", object())
        with pytest.raises(CorpusError, match=r"forbids the network|latin.pdf ends in none"):
            open_source(name)


def test_a_text_that_cannot_be_encoded_is_named(tmp_path, small_units):
    for text, says in (("x <|endoftext|> y", "document 7 .*endoftext"), ("\ud800", "document 7 of texts holds '.ud800'")):
        texts = ["fine " * 99] * 7 + [text, "fine"]
        with pytest.raises(ValueError, match=says):
            written(tmp_path / "s", texts)
    assert not (tmp_path / "s" / "index.json").exists()
    with pytest.raises(CorpusError, match="no document with text"):
        written(tmp_path / "none", ["", " \n"])


def test_a_tokenizer_learns_from_the_beginning_and_knows_every_character():
    source = source_of(["abc", "cd", "☂"])
    assert beginning(source, 4) == ["abc", "cd"] and beginning(source, 99) == ["abc", "cd", "☂"]
    assert alphabet(source) == "abcd☂"


# --- kills and damage ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder of scenes, a tokenizer, and the shards of an undisturbed run."""
    place = tmp_path_factory.mktemp("shards")
    (place / "texts").mkdir()
    for seed in range(150):
        (place / "texts" / f"{seed:03}.txt").write_text(playhouse.write(seed))
    TOKENIZER.save(place / "t.json")
    assert start(place, "whole", 1).wait() == 0
    return place


def start(place, out, processes, *limit):
    """A process that tokenizes."""
    command = [sys.executable, ROOT / "tests" / "shard_runs.py", "texts", out, "t.json", str(processes), *map(str, limit)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True)


def children(process):
    """The processes that a process has started, as far as they are there."""
    try:
        return [int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def units_written(folder):
    try:
        return json.loads((folder / "progress.json").read_text())["units"]
    except (FileNotFoundError, ValueError):
        return 0


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for children in /proc")
@pytest.mark.parametrize("victim", ["parent", "worker"])
def test_killed_and_started_again_it_ends_with_the_same_bytes(texts, victim):
    """Kill the parent or a worker at random moments, again and again, then let a run come through."""
    rng, reached, out = random.Random(1), [0], f"killed {victim}"
    for kill in range(4):
        process = start(texts, out, 1 if kill == 2 and victim == "parent" else 2)
        kill_when(process, texts / out, reached[-1] + rng.randrange(1, 5), rng, victim)
        reached.append(units_written(texts / out))
    assert reached == sorted(reached) and len(set(reached)) >= 3, reached
    assert not (texts / out / "index.json").exists()
    assert start(texts, out, 1).wait() == 0
    assert contents(texts / out) == contents(texts / "whole")


def kill_when(process, folder, units, rng, victim):
    """Kill a process, or one of its workers, a little after it has written so many units."""
    wait_until(lambda: units_written(folder) >= units)
    workers = children(process)[1:]  # the first child is multiprocessing's own, which looks after its resources
    time.sleep(rng.random() * 0.003)
    os.kill(rng.choice(workers) if victim == "worker" else process.pid, signal.SIGKILL)
    said = process.communicate()[1]
    assert victim == "parent" or (process.returncode == 1 and "start the same command again" in said), said
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))  # no orphan stays


def test_a_full_disk_is_said_and_nothing_is_lost(texts):
    size = 15_000  # bytes: the first shard does not fit
    process = start(texts, "full", 1, size)
    said = process.communicate()[1]
    assert process.returncode == 1 and "tokens written; mend that and start the same command again" in said, said
    assert 0 < units_written(texts / "full") and not (texts / "full" / "index.json").exists()
    assert not list((texts / "full").glob(".*"))
    assert start(texts, "full", 1).wait() == 0
    assert contents(texts / "full") == contents(texts / "whole")


class Stopped(Exception):
    pass


def begun(folder, stop_after=3, **options):
    """A folder whose writing was stopped after some units."""
    real, count = tokenizing.ShardWriter.add, 0

    def add(self, *arguments):
        nonlocal count
        if count == stop_after:
            raise Stopped
        count += 1
        real(self, *arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(tokenizing.ShardWriter, "add", add)
        written(folder, save_every=0.0, **options)
    return folder


@pytest.mark.parametrize("stop_after", [0, 1, 5, 17])
def test_stopped_anywhere_it_goes_on(tmp_path, small_units, stop_after):
    begun(tmp_path / "s", stop_after)
    with pytest.raises(ValueError, match="is not finished"):
        Shards(tmp_path / "s")
    for path in (tmp_path / "s").glob("*.bin"):
        with open(path, "ab") as file:
            file.write(b"what nobody has taken note of" * 999)
    (tmp_path / "s" / ".progress.0a1b.tmp.json").write_text("{")
    written(tmp_path / "s"), written(tmp_path / "whole")
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_a_begun_folder_refuses_another_tokenizer_source_or_size(tmp_path, small_units):
    folder = begun(tmp_path / "s")
    before = contents(folder)
    changed = "is not what .* was begun with"
    for options, says in (({"tokenizer": CharTokenizer("ab")}, "tokenizer was that with hash"),
                          ({"shard_tokens": 999}, "shard_tokens was 1000 and is now 999"),
                          ({"texts": [*TEXTS[:1], "changed", *TEXTS[2:]]}, changed), ({"texts": TEXTS[:2]}, changed),
                          ({"texts": ["".join(TEXTS[:4]), *TEXTS[4:]]}, changed)):
        with pytest.raises(ValueError, match=says):
            written(folder, **options)
        assert contents(folder) == before
    with pytest.raises(ValueError, match=r"source was texts and is now others"):
        write_shards(source_of(TEXTS, "others"), folder, TOKENIZER, processes=1, shard_tokens=1000)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match=r"thesis.txt"):
        written(tmp_path / "other")


def shorten(path):
    path.write_bytes(path.read_bytes()[:-3])


def alter(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["tokens-00000.bin", "tokens-00002.bin", "documents.bin", "tokenizer.json", "index.json"])
@pytest.mark.parametrize("damage", [shorten, alter, Path.unlink])
@pytest.mark.parametrize("finished", [True, False])
def test_damage_is_refused_by_name(tmp_path, small_units, name, damage, finished):
    """Of a finished folder when it is opened or verified, of one that was begun when it is to go on."""
    folder = tmp_path / "s"
    if finished:
        written(folder)
    else:
        name = name.replace("index", "progress")
        begun(folder, 9)
    damage(folder / name)
    says = "holds no shards|holds other files" if "json" in name and "token" not in name and damage is Path.unlink else name
    with pytest.raises((ValueError, FileExistsError), match=says):
        Shards(folder).verify(progress=False) if finished else written(folder)


def test_cut_off_shards_are_noticed_at_once_and_altered_ones_by_reading(tmp_path):
    folder = tmp_path / "s"
    written(folder)
    before = (folder / "index.json").read_text()
    for change, says in (({"shard_tokens": 999}, "edited or damaged"), ({"version": 2}, "version 2"),
                         ({"format": "another"}, "another version 1")):
        (folder / "index.json").write_text(json.dumps(json.loads(before) | change))
        with pytest.raises(ValueError, match=says):
            Shards(folder)
    (folder / "index.json").write_text(before)
    alter(folder / "tokens-00001.bin")
    opened = Shards(folder)  # starts at once, so it does not read the shards
    with pytest.raises(ValueError, match=r"tokens-00001.bin was altered.*tokenize the text anew"):
        opened.verify(progress=False)
    with pytest.raises(ValueError, match="hash"):
        opened.refuse_other(CharTokenizer("ab"))
    opened.refuse_other(TOKENIZER)


# --- reading ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 9), st.data())
def test_many_files_are_one_array(numbers, size, data):
    numbers = np.array(numbers)
    files = TokenFiles([numbers[at:at + size].astype(np.uint16) for at in range(0, len(numbers), size)], size)
    shape = data.draw(st.sampled_from([(1,), (3, 2), (2, 1, 4), (0,)]))
    position = np.array(data.draw(st.lists(st.integers(0, len(numbers) - 1), min_size=24, max_size=24)))
    position = np.resize(position, shape)
    got = files[position]
    assert got.dtype == np.int64 and got.tolist() == numbers[position].tolist()


def test_batches_from_shards_are_those_from_memory(tmp_path):
    shards, documents = written(tmp_path / "s", shard_tokens=97), plain(TEXTS)  # windows often cross from file to file
    for block_size, seed in ((8, 0), (64, 1), (500, 2)):
        ours, theirs = Batches(shards.all, block_size, 16, seed), Batches(documents, block_size, 16, seed)
        for step, micro in ((0, 0), (3, 1), (10**9, 7)):
            for one, other in zip(ours.batch(step, micro), theirs.batch(step, micro)):
                assert torch.equal(one, other)


def test_a_corpus_of_100_gigabytes_is_drawn_from_at_once(tmp_path):
    """Neither ids nor borders are read as a whole: the files are far larger than they are on the disk, all holes."""
    shards = written(tmp_path / "s", ["a b c"] * 12)
    size, documents = 2**32, 3 * 2**31
    for n in range(12):
        with open(tmp_path / "s" / f"tokens-{n:05}.bin", "ab") as file:
            file.truncate(2 * size)
    index = shards.index | {"shard_tokens": size, "tokens": 12 * size, "documents": documents,
                            "shards": [{"file": f"tokens-{n:05}.bin", "tokens": size, "sha256": ""} for n in range(12)]}
    (tmp_path / "s" / "index.json").write_text(json.dumps(index | {"sha256": index_hash(index)}))
    with open(tmp_path / "s" / "documents.bin", "r+b") as file:
        file.truncate(8 * (documents + 1))
        file.seek(8 * documents)
        file.write(np.int64(12 * size - documents).tobytes())  # the last document predicts everything
    inputs, targets = Batches(Shards(tmp_path / "s").all, 8, 64, 0).batch(0)
    assert inputs.shape == targets.shape == (64, 8) and not inputs[:, 1:].any()


# --- held out -----------------------------------------------------------------------------------------------------------


def parts_of(documents):
    """What `Shards.parts` makes of documents in memory."""
    shards = Shards.__new__(Shards)
    before = np.cumsum([0] + [len(document) - 1 for document in documents])
    shards.all = Stream(np.concatenate(documents), before, "sum")
    shards.index = {"documents": len(documents), "source": "memory", "bytes": 0, "tokens": 0, "shards": []}
    return shards.parts


def test_ten_documents_or_more_are_split_as_corpora_splits_them():
    documents = [np.arange(10 * n, 10 * n + 2 + n % 5) for n in range(37)]
    train, held_out = parts_of(documents)
    expected = corpora.split_documents([str(n) for n in range(37)])
    assert (len(train), len(held_out)) == tuple(map(len, expected)) and train.checksum == "sum"
    assert_same_documents(train, documents[:33])
    assert [document.tolist() for document in held_out] == [document.tolist() for document in documents[33:]]


def test_no_more_is_held_out_than_an_evaluation_needs(monkeypatch):
    monkeypatch.setattr("gptcore.shards.MOST_HELD_OUT", 25)
    documents = [np.arange(11) + 100 * n for n in range(100)]
    train, held_out = parts_of(documents)
    assert len(held_out) == 2 and len(train) == 98
    train, held_out = parts_of([np.arange(1000) + 5000 * n for n in range(12)])
    assert len(held_out) == 1 and len(train) == 11  # one document at least, whatever its size
    train, held_out = parts_of([np.arange(1000)])
    assert held_out[0].tolist() == list(range(975, 1000)) and train.document(0).tolist() == list(range(975))


@given(st.lists(st.integers(2, 60), min_size=1, max_size=9))
def test_fewer_documents_are_cut_at_nine_tenths_of_their_tokens(lengths):
    documents = [np.arange(n) + 100 * d for d, n in enumerate(lengths)]
    total = sum(lengths)
    everything = np.concatenate(documents).tolist()
    try:
        train, held_out = parts_of(documents)
    except ValueError as error:
        assert "too little text" in str(error) and total < 60
        return
    ours = [token for d in range(len(train)) for token in train.document(d).tolist()]
    theirs = [token for document in held_out for token in document.tolist()]
    cut = total - total // 10
    lost = everything[len(ours):total - len(theirs)]
    assert ours == everything[:len(ours)] and theirs == everything[total - len(theirs):]
    assert len(lost) <= 2  # a token that is alone on its side of the cut predicts nothing, and is left out
    assert cut - 1 <= len(ours) <= cut <= total - len(theirs) <= cut + 1
    assert all(len(document) > 1 for document in held_out)


# --- the command line ---------------------------------------------------------------------------------------------------


def test_tokenize_then_train_then_evaluate(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    for n in range(30):
        Path("texts", f"{n:02}.txt").write_text(f"It was a dark and stormy night, number {n}, and the rain fell. " * 5)
    make = ["tokenize", "texts", "--out", "shards", "--quiet", "--processes", "1"]
    assert main([*make, "--tokenizer", "bpe:300"]) == 0
    assert "30 documents of texts" in capsys.readouterr().out
    before = contents(Path("shards"))
    assert main(make) == 0 and contents(Path("shards")) == before  # its own tokenizer is taken
    assert main(["train", "--corpus", "shards", "--out", "run", *SMALL]) == 0
    assert (tmp_path / "run" / "tokenizer.json").read_bytes() == before["tokenizer.json"]

    # The same texts in memory, with the same tokenizer: the same run.
    assert main(["train", "--corpus", "texts", "--out", "plain", "--tokenizer", "shards/tokenizer.json", *SMALL]) == 0
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == (tmp_path / "plain" / "best.safetensors").read_bytes()
    one, other = Experiment.open("run"), Experiment.open("plain")
    assert one.corpus.validation == other.corpus.validation and one.corpus.train == other.corpus.train
    assert one.bytes_per_token == other.bytes_per_token
    assert main(["evaluate", "run", "--quiet"]) == 0 and main(["inspect", "run"]) == 0
    assert main(["train", "--resume", "run", "--quiet"]) == 0

    capsys.readouterr()
    TOKENIZER.save("other.json")
    for arguments, says in ((["train", "--corpus", "shards", "--tokenizer", "other.json"], "were made by"),
                            (["tokenize", "texts", "--out", "shards", "--tokenizer", "other.json"], "tokenizer was"),
                            (["tokenize", "texts"], "--out shards/mine"),
                            (["tokenize", "texts", "--out", "run"], "holds other files")):
        assert main([*arguments, "--quiet"]) == 1 and says in capsys.readouterr().err
    alter(Path("shards", "tokens-00000.bin"))
    assert main(["train", "--corpus", "shards", "--out", "new", *SMALL]) == 1
    assert "was altered" in capsys.readouterr().err and not Path("new").exists()


def test_a_run_goes_on_only_with_the_shards_it_began_with(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("It was a dark and stormy night, and the rain fell in torrents. " * 300)
    make = ["tokenize", "t.txt", "--out", "shards", "--tokenizer", "bpe:280", "--quiet", "--processes", "1"]
    assert main(make) == 0 and main(["train", "--corpus", "shards", "--out", "run", *SMALL]) == 0
    shutil.rmtree("shards")
    Path("t.txt").write_text("It was a dark and stormy knight, and the rain fell in torrents. " * 300)
    assert main(make) == 0 and main(["train", "--resume", "run", "--quiet"]) == 1
    assert "bring the old text back" in capsys.readouterr().err
