"""The vocabulary sweep: its arithmetic against torch's own counter, its losses against the ladder's, its log interrupted."""

import itertools
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gptcore import corpora, playhouse, sweep
from gptcore.evaluation import bits_per_byte, byte_nats
from gptcore.mlp import MLPConfig, MLPModel
from gptcore.tokenizer import BPETokenizer, CharTokenizer, encode_document

TRAIN, VALIDATION = ([playhouse.write(seed) for seed in seeds] for seeds in (range(2000, 2040), range(2100, 2112)))
BPE = BPETokenizer.train(TRAIN, 400, progress=False)


@pytest.fixture(scope="module")
def row():
    return sweep.measure(BPE, TRAIN, VALIDATION, 3e10, progress=False)


def test_compute_is_what_torch_counts(row):
    model = MLPModel(MLPConfig(BPE.vocab_size, **sweep.SHAPE))
    few = torch.zeros(1, sweep.SHAPE["block_size"], dtype=torch.long)  # so few that nothing is looked up in a table
    with FlopCounterMode(display=False) as counter:
        model(few).sum().backward()
    cost = counter.get_total_flops() * sweep.WINDOWS
    assert cost * row["steps"] <= 3e10 < cost * (row["steps"] + 1)
    assert row["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_a_row_says_how_much_was_read(row):
    assert row["tokens"] == row["steps"] * sweep.WINDOWS * sweep.SHAPE["block_size"]  # no scene is shorter than a window
    assert row["epochs"] == pytest.approx(row["tokens"] / sum(1 + len(BPE.encode(text)) for text in TRAIN), abs=1e-3)
    tokens = sum(len(BPE.encode(text)) for text in VALIDATION)
    assert row["bytes_per_token"] == pytest.approx(sum(map(len, VALIDATION)) / tokens, abs=1e-3)


def test_training_learns_and_more_of_it_learns_more(row):
    less = sweep.measure(BPE, TRAIN, VALIDATION, 5e9, progress=False)
    uniform = math.log2(BPE.vocab_size) / row["bytes_per_token"]
    assert row["validation"] < less["validation"] < uniform
    assert row["train"] < row["validation"] and 0 < row["error"] < 0.1


def test_the_same_seed_gives_the_same_row_and_leaves_the_random_state_alone(row):
    before = torch.random.get_rng_state()
    assert sweep.measure(BPE, TRAIN, VALIDATION, 3e10, progress=False) == row
    assert sweep.measure(BPE, TRAIN, VALIDATION, 3e10, seed=2, progress=False)["validation"] != row["validation"]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_too_little_compute_is_refused_with_what_would_do():
    with pytest.raises(ValueError, match=r"less than one step.*try \d") as refused:
        sweep.measure(BPE, TRAIN, VALIDATION, 1e6)
    enough = float(str(refused.value).split("try ")[1])
    assert sweep.measure(BPE, TRAIN, VALIDATION, enough, progress=False)["steps"] >= 9


@pytest.mark.parametrize("tokenizer", [BPE, CharTokenizer.train(TRAIN + VALIDATION)], ids=["BPE", "characters"])
def test_bits_are_those_of_the_ladder(tokenizer):
    torch.manual_seed(1)
    model = MLPModel(MLPConfig(tokenizer.vocab_size, **sweep.SHAPE))
    by_ladder = bits_per_byte(byte_nats(model, [encode_document(tokenizer, text) for text in VALIDATION], tokenizer))
    ours = sweep.bits(model, tokenizer, VALIDATION)
    assert ours.value == pytest.approx(by_ladder.value, rel=1e-6) and ours.error == pytest.approx(by_ladder.error, rel=1e-6)


def test_the_sample_is_spread_over_the_texts_and_bounded():
    texts = [f"{i:03}" * 1000 for i in range(200)]
    sample = sweep.sample(texts)
    assert sweep.size(sample) <= sweep.JUDGED
    assert all(any(piece in text for text in texts) for piece in sample)
    assert sample[0][:3] == "000" and sample[-1][-3:] == "199"
    assert sweep.sample(["short"]) == ["short"]


def test_fresh_scenes_are_new_and_enough():
    known = set(corpora.load("playhouse").train + corpora.load("playhouse").validation)
    scenes = sweep.fresh(2000)
    assert sweep.size(scenes) >= sweep.FRESH * 2000 > sweep.size(scenes[:-1])
    assert not known & set(scenes) and len(set(scenes)) == len(scenes)


def test_an_interrupted_log_goes_on_where_it_stopped(tmp_path, monkeypatch):
    log, measured = tmp_path / "log.csv", []

    def measure(tokenizer, train, validation, compute):
        if len(measured) == 3 and measured[0]:
            raise KeyboardInterrupt
        measured.append((compute, tokenizer.vocab_size))
        return {"vocab_size": tokenizer.vocab_size, "compute": compute, "steps": 7, "validation": 1.5}

    monkeypatch.setattr(sweep, "measure", measure)  # what is tried here is the log, not the training
    tokenizers = [CharTokenizer.train(TRAIN), BPE]
    with pytest.raises(KeyboardInterrupt):
        sweep.add(log, "plays", tokenizers, TRAIN, VALIDATION)
    assert len(sweep.stored(log)) == 3
    measured.insert(0, None)
    sweep.add(log, "plays", tokenizers, TRAIN, VALIDATION)
    rows = sweep.stored(log)
    assert list(zip(rows["compute"], rows["vocab_size"])) == measured[1:] == [
        (compute, tokenizer.vocab_size) for compute, tokenizer in itertools.product(sweep.COMPUTES, tokenizers)]
    assert list(rows["tokenizer"]) == ["characters", "BPE"] * len(sweep.COMPUTES) and set(rows["corpus"]) == {"plays"}
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    assert list(rows)[:2] == ["corpus", "tokenizer"] and rows["steps"].dtype == int


def test_the_stored_log_is_whole():
    rows = sweep.stored()
    assert not rows.isna().any().any() and not rows.duplicated(["corpus", "vocab_size", "compute"]).any()
    sizes = {"playhouse": sweep.PLAYHOUSE_SIZES, "playhouse, fresh": sweep.PLAYHOUSE_SIZES,
             "tinyshakespeare": sweep.REAL_SIZES, "novels": sweep.REAL_SIZES}
    assert list(rows["corpus"].unique()) == list(sizes)
    for (name, _), part in rows.groupby(["corpus", "compute"]):
        assert len(part) == len(sizes[name]) and (part["validation"] > 0.7).all()
    assert sorted(rows["compute"].unique()) == sweep.COMPUTES
