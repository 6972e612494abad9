"""The data card and the advice: numbers by hand, nothing of this machine in them."""

import hashlib
import json
import os

import numpy as np
import pytest

from gptcore import corpora
from gptcore.advice import advice
from gptcore.card import NOT_STATED, make_card, markdown, save_card, telling_merges
from gptcore.corpora import Corpus
from gptcore.gpt import GPTConfig, count_parameters
from gptcore.schedule import TrainConfig
from gptcore.tokenizer import BPETokenizer, CharTokenizer, encode_document

TEXTS = [f"Story {i}. The lamp of Würzburg is lit.\n" * 30 for i in range(3)]
NOTICE = "COPYWRITTEN by Wanderlust Foundation\n"


@pytest.fixture
def folder(tmp_path):
    for i, text in enumerate(TEXTS):
        (tmp_path / "stories" / f"{i}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "stories" / f"{i}.txt").write_bytes(text.encode("cp1252" if i == 2 else "utf-8"))
    (tmp_path / "stories" / "empty|.txt").write_text("\n")
    return tmp_path / "stories"


def test_every_number_by_hand(folder):
    corpus = corpora.load(folder, encoding="cp1252")
    card = make_card(corpus, licences="CC0")
    train, held_out = "<|endoftext|>".join(corpus.train), "<|endoftext|>".join(corpus.validation)
    assert card["split"]["train"] == {
        "documents": 3, "bytes": sum(len(text.encode()) for text in corpus.train), "characters": sum(map(len, corpus.train)),
        "sha256": hashlib.sha256(train.encode()).hexdigest()}
    assert card["split"]["hash"] == corpus.validation_hash == card["split"]["validation"]["sha256"][:12]
    assert card["sha256"] == hashlib.sha256(f"{train}<|endoftext|>{held_out}".encode()).hexdigest()
    gap = len(TEXTS[0]) // 20
    assert card["characters"] == 3 * (len(TEXTS[0]) - gap) and card["dropped"]["characters"] == 3 * gap
    assert card["dropped"]["documents"] == {"empty|.txt": "empty"} and card["notes"] == ["2.txt was not UTF-8 but cp1252"]
    assert sum(card["documents"].values()) == card["bytes"] and list(card["documents"]) == ["0.txt", "1.txt", "2.txt"]
    assert card["licences"] == "CC0" and make_card(corpus)["licences"] == NOT_STATED
    assert "tokenizer" not in card and "telling merges" not in card


def test_licences_are_the_users_word_for_each_document(folder):
    corpus = corpora.load(folder, encoding="cp1252")
    stated = make_card(corpus, licences={"0.txt": "CC0"})["licences"]
    assert stated == {"0.txt": "CC0", "1.txt": NOT_STATED, "2.txt": NOT_STATED}
    with pytest.raises(ValueError, match=r"stated for 9.txt, which is no document of stories; it has 0.txt, 1.txt"):
        make_card(corpus, licences={"9.txt": "CC0"})


def test_saved_it_can_be_read_again_and_says_nothing_of_this_machine(folder, tmp_path):
    corpus = corpora.load(folder, encoding="cp1252")
    tokenizer = BPETokenizer.train(corpus.train, 280, progress=False)
    card = make_card(corpus, tokenizer, {"0.txt": "CC0"})
    paths = save_card(card, tmp_path / "run")
    assert [path.name for path in paths] == ["data_card.json", "data_card.md"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["data_card.json", "data_card.md"]
    assert json.loads(paths[0].read_text(encoding="utf-8")) == card
    text = paths[1].read_text(encoding="utf-8")
    assert text == markdown(card) and str(tmp_path) not in text + paths[0].read_text(encoding="utf-8")
    for part in ("# Data card: stories", "- 0.txt: CC0", "- 1.txt: not stated", "- empty|.txt: left out, empty",
                 "- 2.txt was not UTF-8 but cp1252", f"`{corpus.validation_hash}`", "Würzburg", tokenizer.hash,
                 "characters between training and validation texts"):
        assert part in text
    assert len({line.count("|") for line in text.split("\n") if line.startswith("| `")}) == 1, "no text breaks the table"


def test_a_folder_that_cannot_be_written_keeps_the_old_card(folder, tmp_path):
    card = make_card(corpora.load(folder, encoding="cp1252"))
    save_card(card, tmp_path)
    with pytest.raises(UnicodeEncodeError):
        save_card(card | {"name": "\ud800"}, tmp_path)
    assert json.loads((tmp_path / "data_card.json").read_text()) == card and not list(tmp_path.glob(".*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        save_card(card, tmp_path / "file")
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(PermissionError):
            save_card(card, tmp_path / "closed")


def test_a_card_of_nothing_but_texts():
    text = markdown(make_card(Corpus("a", "memory", ["x"], ["y"])))
    assert "- nothing" in text and "- all documents: not stated" in text and "## Documents" not in text


# --- telling merges -----------------------------------------------------------------------------------------------------


def test_a_notice_that_was_not_cut_shows():
    texts = [NOTICE + f"Once there was something about number {i} and nothing more than before.\n" * 3 for i in range(12)]
    tokenizer = BPETokenizer.train(texts, 331, progress=False)
    merges = telling_merges(tokenizer, [tokenizer.encode(text) for text in texts])
    assert {" Foundation", "COPYWRITTEN", " Wanderlust"} <= {row["text"] for row in merges if row["documents"] == 12}
    assert not {" something", " nothing", " before", "omething"} & {row["text"] for row in merges}


def test_they_are_ordered_by_what_they_write():
    text = "Lanterns, lanterns, lanterns! " * 5 + "Lampshades " * 9
    tokenizer = BPETokenizer.train([text], 277, progress=False)
    rows = telling_merges(tokenizer, [tokenizer.encode(text), encode_document(tokenizer, text)], most=3)
    assert [row["uses"] * row["bytes"] for row in rows] == sorted((row["uses"] * row["bytes"] for row in rows), reverse=True)
    assert rows[0]["text"] == " Lampshades" and rows[0]["uses"] == 2 * 9 and rows[0]["documents"] == 2 and len(rows) <= 3
    assert telling_merges(CharTokenizer.train(text), [[1]]) == [] == telling_merges(tokenizer, [])


def test_encoded_documents_give_the_same_card(folder):
    corpus = corpora.load(folder, encoding="cp1252")
    tokenizer = BPETokenizer.train(corpus.train, 280, progress=False)
    encoded = [np.array(tokenizer.encode(text)) for text in corpus.train]
    plain, given = make_card(corpus, tokenizer), make_card(corpus, tokenizer, encoded=encoded)
    assert plain == given and plain["tokenizer"]["train tokens"] == sum(map(len, encoded))


# --- advice -------------------------------------------------------------------------------------------------------------

MODEL = GPTConfig(vocab_size=100, block_size=50, n_layer=1, n_head=2, n_embd=8)


def said(size=100_000, steps=10, held_out=10_000, rate=0.5, model=MODEL, **options):
    return advice(Corpus("a", "memory", ["a" * size], ["b" * held_out]), rate, model,
                  TrainConfig(steps=steps, batch_size=10, accumulation=2), **options)


def flat(text):
    return " ".join(text.split())


def test_its_numbers_by_hand():
    text = flat(said())
    parameters = sum(count_parameters(MODEL).values())
    assert "100,000 bytes to learn from, about 50,000 tokens of 2.00 bytes" in text
    assert f"{parameters:,} parameters, 0.042 for each" in text and round(parameters / 50_000, 3) == 0.042
    assert "10 steps of 1,000 tokens: the text 0.2 times" in text
    assert f"here {10_000 / parameters:.2g} tokens for each parameter" in text
    assert "judged" not in text and "judged by about 20 windows" in flat(said(held_out=2000))


@pytest.mark.parametrize(("steps", "expected"), [
    (50, "no overfitting: nothing is read twice"), (51, "little overfitting"), (200, "little overfitting"),
    (201, "each pass teaches less"), (2000, "each pass teaches less"),
    (2001, "overfitting: beyond about 40 passes, 2,000 steps"),
])
def test_more_passes_are_worth_less(steps, expected):
    assert f"expect {expected}" in flat(said(steps=steps))


def test_small_texts_are_told_so_as_honestly_as_large_ones():
    texts = [*map(said, (20_000, 1_000_000, 20_000_000)), said(train_bytes=10**10)]
    hopes = [flat(text.partition("hope")[2].partition("expect")[0]) for text in texts]
    assert len(set(hopes)) == 4 and "by heart" in hopes[0] and "paragraphs" in hopes[3]
    assert "10,000,000,000 bytes to learn from" in said(train_bytes=10**10)


def test_a_model_larger_than_its_text_is_told_what_delays_it():
    large = GPTConfig(vocab_size=100, block_size=50, n_layer=2, n_head=2, n_embd=64)
    assert "--dropout 0.2 or a smaller model" in flat(said(20_000, 1000, model=large))
    dropped = GPTConfig(vocab_size=100, block_size=50, n_layer=2, n_head=2, n_embd=64, dropout=0.3)
    assert "dropout (0.3) delays that" in flat(said(20_000, 1000, model=dropped))
    assert "dropout" not in said(1_000_000, 1000, model=large)


def test_a_tokenizer_is_measured_and_gives_the_model_its_vocabulary():
    tokenizer = CharTokenizer.train("äb")
    corpus = Corpus("a", "memory", ["äb" * 200_000, "b"], ["ä" * 10_000])
    text = advice(corpus, tokenizer, MODEL, TrainConfig(steps=1))
    own = GPTConfig(vocab_size=3, block_size=50, n_layer=1, n_head=2, n_embd=8)
    assert "tokens of 1.50 bytes" in text and f"{sum(count_parameters(own).values()):,} parameters" in text
    assert text == advice(corpus, 2 / 3, own, TrainConfig(steps=1))
