"""own_corpus: the command from beginning to end, in small, and what its rows say."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from gptcore import corpora
from gptcore.gpt import count_parameters
from gptcore.tokenizer import CharTokenizer
from gptcore.training import Interrupted
from tools import own_corpus

SIZES = dataclasses.replace(own_corpus.PLAN.sizes, steps=4, warmup=1, batch_size=2, eval_every=2, eval_windows=4)
VOCABULARIES = dataclasses.replace(own_corpus.PLAN.vocabularies, batch_size=64, eval_windows=4)
PLAN = own_corpus.PLAN._replace(scenes=(2, 4), widths=(16,), sizes=SIZES, tokenizer="bpe:300", passes=2, n_embd=16,
                                tokenizers=("characters", "bpe:300"), vocabularies=VOCABULARIES, block_size=32,
                                rates=(1e-3, 8e-3))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("made")
    assert own_corpus.main([], PLAN, place / "runs", place) == 0
    return place


def test_rows_say_what_was_read_and_how_often(made):
    rows, scenes = pd.read_csv(made / "corpus_sizes.csv"), corpora.load("playhouse").train
    assert list(zip(rows["scenes"], rows["step"])) == [(scene, step) for scene in (2, 4) for step in (0, 2, 4)]
    for _, row in rows.iterrows():
        assert row["bytes"] == sum(len(text.encode()) for text in scenes[:int(row["scenes"])])
        assert row["passes"] == pytest.approx(2 * 32 * row["step"] / row["tokens_in_text"], rel=0.05, abs=1e-3)
        config = dataclasses.replace(PLAN.config(16), vocab_size=int(row["vocab_size"]))
        assert row["parameters"] == sum(count_parameters(config).values())
    assert rows["train_bits"].isna().tolist() == [step == 0 for step in rows["step"]] and (rows["val_bits"] > 0).all()


def test_a_folder_is_read_equally_often_whatever_the_vocabulary(made):
    rows = pd.read_csv(made / "corpus_vocabularies.csv")
    corpus = corpora.load(PLAN.folder, encoding="cp1252")
    letters = rows[rows["tokenizer"] == "characters"]
    assert letters["vocab_size"].iloc[0] == CharTokenizer.train([*corpus.train, *corpus.validation]).vocab_size
    assert letters["tokens_in_text"].iloc[0] == sum(map(len, corpus.train)) + len(corpus.train)
    assert {name for name, _ in rows.groupby(["tokenizer", "learning_rate"])} == {
        (name, rate) for name in PLAN.tokenizers for rate in PLAN.rates}
    for _, table in rows.groupby(["tokenizer", "learning_rate"]):
        assert table["passes"].tolist() == pytest.approx([0, 1, 2], abs=0.1)
        assert table["val_bits"].iloc[-1] < table["val_bits"].iloc[0]


def test_bits_per_byte_of_an_even_guess_are_those_of_the_vocabulary(made):
    """An untrained model knows nothing, so what it pays is the logarithm of its vocabulary, spread over a token's bytes."""
    rows = pd.read_csv(made / "corpus_vocabularies.csv")
    corpus = corpora.load(PLAN.folder, encoding="cp1252")
    first = rows[(rows["tokenizer"] == "characters") & (rows["step"] == 0)].iloc[0]
    predicted = sum(map(len, corpus.validation)) + len(corpus.validation)
    even = torch.tensor(float(first["vocab_size"])).log2() * predicted / corpus.validation_bytes
    assert first["val_bits"] == pytest.approx(float(even), rel=0.1)


def test_training_and_validation_losses_are_both_per_byte_of_their_own_text(made):
    rows = pd.read_csv(made / "corpus_vocabularies.csv")
    log = pd.read_csv(made / "runs/characters-0.008/log.csv")
    row = rows[(rows["tokenizer"] == "characters") & (rows["learning_rate"] == 8e-3)].iloc[-1]
    corpus = corpora.load(PLAN.folder, encoding="cp1252")
    for texts, bits, loss in ((corpus.train, "train_bits", "train_loss"), (corpus.validation, "val_bits", "val_loss")):
        tokens_per_byte = sum(len(text) + 1 for text in texts) / sum(len(text.encode()) for text in texts)
        assert row[bits] == pytest.approx(log[loss].iloc[-1] / np.log(2) * tokens_per_byte, abs=1e-4)


def test_a_stopped_one_goes_on_and_ends_with_the_same_rows(made, tmp_path, monkeypatch):
    plan, train = PLAN._replace(scenes=(2,)), own_corpus.train

    def stop(*arguments, **options):
        train(*arguments, **options)
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(own_corpus, "train", stop)
        with pytest.raises(Interrupted):
            own_corpus.main(["sizes"], plan, tmp_path / "runs", tmp_path)
    assert not list(tmp_path.glob("*.csv"))
    weights, = (tmp_path / "runs").rglob("last.safetensors")
    before = weights.stat().st_mtime_ns
    assert own_corpus.main(["sizes"], plan, tmp_path / "runs", tmp_path) == 0
    assert weights.stat().st_mtime_ns == before, "it was trained again"
    assert (tmp_path / "corpus_sizes.csv").read_text().splitlines() == (
        made / "corpus_sizes.csv").read_text().splitlines()[:4]
