"""pretrained: the stored model is what its page says, and how it is made works from beginning to end, in small."""

import dataclasses
import json
import shutil

import pandas as pd
import pytest
import torch

from gptcore import corpora
from gptcore.evaluation import bits_per_byte, byte_nats
from gptcore.gpt import load_weights
from gptcore.playhouse import KINDS
from gptcore.pretrained import PRETRAINED, judge_samples, load_pretrained
from gptcore.tokenizer import encode_document
from tools import pretrained

PLAN = pretrained.Plan(
    vocab_size=300, learn_from=20, scenes=12, shape=(1, 8), looks=(1, 2), small=((1, 4), (1, 8)), small_steps=2, judged=1,
    train=dataclasses.replace(pretrained.PLAN.train, steps=4, warmup=1, batch_size=2, eval_every=1, eval_windows=4))


def validation(tokenizer):
    return [encode_document(tokenizer, text) for text in corpora.load("playhouse").validation]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model of the smallest sort, made by the same commands."""
    place = tmp_path_factory.mktemp("made")
    where = {"plan": PLAN, "runs": place / "runs", "folder": place / "pretrained", "log": place / "judged.csv"}
    assert pretrained.main([], **where) == pretrained.main(["sizes"], **where) == 0
    return place, where


def test_the_commands_leave_a_model_its_log_and_what_was_judged(made):
    place, _ = made
    model, tokenizer = load_pretrained(place / "pretrained")
    assert not model.training and model.config.vocab_size == tokenizer.vocab_size == 300
    assert list(pd.read_csv(place / "pretrained/log.csv")["step"]) == [0, 1, 2, 3, 4]
    about = json.loads((place / "pretrained/about.json").read_text())
    nats = byte_nats(model, validation(tokenizer), tokenizer)
    assert about["bits_per_byte"] == pytest.approx(bits_per_byte(nats).value, abs=1e-5)
    gap = sum(row["gap"] for row in about["gap"].values())
    assert gap == pytest.approx(about["bits_per_byte"] - about["floor"], abs=1e-4)
    rows = pd.read_csv(place / "judged.csv")
    assert list(rows["series"]) == ["steps"] * 3 + ["size 1x4", "size 1x8"] and list(rows["step"]) == [1, 2, 4, 2, 2]
    assert list(rows["n_embd"]) == [8, 8, 8, 4, 8]
    log = pd.read_csv(place / "runs/stored/log.csv").set_index("step")
    assert list(rows["tokens"][:3]) == list(log["tokens"][[1, 2, 4]])
    last = load_weights(pretrained.kept(place / "runs/stored", 4))
    verdict = judge_samples(last, tokenizer, 1)
    assert [rows.iloc[2][f"{kind} asked"] for kind in KINDS] == [verdict.asked[kind] for kind in KINDS]


def test_what_is_there_is_not_made_again(made, capsys):
    place, where = made
    made_once = [*(place / "runs").rglob("*.safetensors"), place / "runs/tokenizer.json", place / "judged.csv"]
    before = {path: path.stat().st_mtime_ns for path in made_once}
    assert pretrained.main([], **where) == pretrained.main(["sizes"], **where) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before} and "bits per byte" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json", "log.csv", "about.json"])
def test_a_changed_or_missing_file_is_refused(made, tmp_path, name):
    folder = shutil.copytree(made[0] / "pretrained", tmp_path / "copy")
    (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"git checkout data/pretrained, or make it anew with make pretrained"):
        load_pretrained(folder)
    (folder / name).unlink()
    if name != "log.csv":
        with pytest.raises(ValueError, match=r"the stored model is not whole .*git checkout data/pretrained"):
            load_pretrained(folder)


def test_scenes_are_drawn_from_their_own_seeds(made):
    model, tokenizer = load_pretrained(made[0] / "pretrained")
    torch.manual_seed(3)
    two = judge_samples(model, tokenizer, 2, seed=5)
    assert two == judge_samples(model, tokenizer, 1, seed=5) + judge_samples(model, tokenizer, 1, seed=6)


def test_the_stored_model_measures_what_its_page_says():
    model, tokenizer = load_pretrained()
    about = json.loads((PRETRAINED / "about.json").read_text())
    nats = byte_nats(model, validation(tokenizer), tokenizer)
    assert abs(bits_per_byte(nats).value - about["bits_per_byte"]) < 1e-3
    assert sum(path.stat().st_size for path in PRETRAINED.iterdir()) <= 8_000_000
