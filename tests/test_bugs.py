"""Each silent bug is found by its check and by no other; a healthy project raises no alarm, and each check is needed."""
import inspect
import re

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from gptcore import corpora
from gptcore.course import bugs
from gptcore.course.bugs import BUGS, healthy, letters, price, train, unseen
from gptcore.course.checkup import CHECKS, Subject, checkup
from gptcore.course.exercises import EXERCISES
from gptcore.evaluation import bits_per_byte, token_nats


def alarms(subject: Subject) -> set[str]:
    table = checkup(subject)
    assert set(table["verdict"]) <= {"ok", "FAILS"}, table[~table["verdict"].isin(["ok", "FAILS"])]
    return set(table.index[table["verdict"] == "FAILS"])


@pytest.mark.parametrize("seed", range(10))
def test_a_healthy_project_raises_no_alarm(seed):
    assert alarms(healthy(seed)) == set()


@pytest.mark.parametrize("name", BUGS)
def test_every_bug_is_found_by_its_checks_and_by_no_other(name):
    assert alarms(BUGS[name].on(healthy())) == set(BUGS[name].found_by)


def test_each_bug_has_a_check_of_its_own():
    """And each check finds a bug: if one is muted, the test above is red."""
    assert len({bug.found_by[0] for bug in BUGS.values()}) == len(BUGS) >= 14
    assert {name for bug in BUGS.values() for name in bug.found_by} == set(CHECKS)


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_replaces_one_part_and_raises_nothing(name):
    sound = healthy()
    ill = BUGS[name].on(sound)
    changed = [part for part in vars(sound) if getattr(sound, part) is not getattr(ill, part)]
    assert changed == [BUGS[name].seam]
    run = train(ill, steps=2, every=1)
    nats = price(ill, run.model, unseen(pieces=2, size=20))
    assert np.isfinite(run.log[["train", "validation"]]).all(axis=None) and np.isfinite(bits_per_byte(nats * 5).value)
    assert not ill.size or ill.size(run.model) > 0


@pytest.mark.parametrize(("room", "riddle"), {"data": "text_room", "model": "model_room", "training": "training_room",
                                              "measuring": "measuring_room", "writing": "writing_room"}.items())
def test_the_answers_of_the_game_are_the_letters_of_the_rooms(room, riddle):
    (_, right), = EXERCISES[riddle].cases.values()
    assert right == letters(room) | ({"C": "healthy"} if room == "writing" else {})


def test_healthy_code_knows_of_no_bug():
    for part in (bugs.healthy, bugs.train, bugs.price):
        assert not re.search(r"\bbugs?\b", inspect.getsource(part).split('"""')[2], re.IGNORECASE)


def test_a_part_that_is_missing_is_skipped_with_the_reason():
    table = checkup(Subject())
    assert set(table["verdict"]) == {"skipped"} and len(table) == len(CHECKS)
    only_log = checkup(Subject(log=lambda step, tokens, seconds: {"step": step, "tokens_per_second": tokens / seconds}))
    assert list(only_log.index[only_log["verdict"] == "ok"]) == ["axis", "speed"]
    assert only_log.loc["scale", "finding"] == "the subject has no model and no attend"


def test_a_part_that_breaks_is_named_and_stops_nothing():
    def broken():
        raise RuntimeError("no such file")
    table = checkup(Subject(read=broken, log=healthy().log))
    assert tuple(table.loc["read once"]) == ("error", "RuntimeError: no such file")
    assert table.loc["axis", "verdict"] == "ok"


def test_a_checkup_leaves_random_numbers_and_models_alone():
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    model = healthy().model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    torch.manual_seed(3)
    checkup(healthy())
    assert (torch.rand(1), np.random.rand()) == expected
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


class Rotary(nn.Module):
    """A model of others: no position is added anywhere, queries and keys are turned instead."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.output = nn.Embedding(40, 16), nn.Linear(16, 40)
        self.block = Turning()

    def forward(self, ids):
        return self.output(self.block(self.embedding(ids)))


class Turning(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x):
        q, k, v = self.qkv(nn.functional.layer_norm(x, (16,))).chunk(3, dim=-1)
        angle = torch.arange(x.shape[1])[:, None] / 10.0 ** torch.arange(8)
        turn = torch.polar(torch.ones_like(angle), angle)
        q, k = (torch.view_as_real(torch.view_as_complex(each.unflatten(-1, (8, 2))) * turn).flatten(-2) for each in (q, k))
        return x + nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def test_it_works_on_a_model_of_others():
    rotary = Subject(model=Rotary, blocks=lambda model: [model.block])
    table = checkup(rotary)
    assert set(table.loc[["future", "stream", "positions"], "verdict"]) == {"ok"}
    Rotary.forward, sound = lambda self, ids: self.output(self.block(self.embedding(ids)).flip(1)), Rotary.forward
    try:
        assert checkup(rotary).loc["future", "verdict"] == "FAILS"
    finally:
        Rotary.forward = sound


def test_texts_of_any_kind():
    """One long text split by position, as everyone does, and texts too short for a question: no alarm."""
    long = "".join(corpora.load("playhouse").train)
    for texts in ([long], ["short", "texts"] * 20):
        table = checkup(Subject(read=lambda texts=texts: texts, split=corpora.split_documents))
        assert set(table.loc[["read once", "apart", "neighbours"], "verdict"]) == {"ok"}


def test_looking_at_a_run_does_not_change_it():
    often, seldom = (train(healthy(), steps=4, every=every).steps for every in (1, 4))
    pd.testing.assert_frame_equal(often, seldom)


def test_the_price_of_a_healthy_model_is_its_loss():
    """Read token by token or all at once: without a look ahead it is the same."""
    subject = healthy()
    model, texts = subject.model(), [text for _, text in unseen(pieces=3, size=60)]
    at_once = [nats[:-1].sum() for nats in token_nats(model, [subject.encode(text) for text in texts])]
    paid = price(subject, model, [("", text) for text in texts])
    assert np.allclose([nats.sum() for nats in paid], at_once, rtol=1e-4)
    assert [len(nats) for nats in paid] == [len(text) for text in texts]


def test_the_pieces_to_judge_by_are_unseen_and_stand_in_their_plays():
    pieces, known = unseen(), "".join(healthy().read())
    assert len(pieces) == 80 and all(90 < len(text) < 140 and text not in known for _, text in pieces)
    plays = corpora.load("playhouse").validation
    assert all(play.startswith(before + text) for (before, text), play in zip(pieces, plays))
    assert sum(before == "" for before, _ in pieces) >= 10


def test_the_stored_runs_are_complete_and_can_be_measured_again():
    table = pd.read_csv(bugs.STORED)
    ends = table.dropna(subset="cost")
    expected = [(name, seed) for seed in range(bugs.SEEDS) for name in ("healthy", *BUGS)]
    assert sorted(zip(ends["bug"], ends["seed"])) == sorted(expected)
    log = train(healthy(), steps=bugs.STEPS, every=bugs.STEPS).log
    last = ends[(ends["bug"] == "healthy") & (ends["seed"] == 0)].iloc[0]
    assert np.allclose(log[["train", "validation"]].iloc[-1], last[["train", "validation"]].astype(float), atol=0.1)


def test_what_a_bug_costs_has_an_error_of_texts_and_of_seeds(tmp_path):
    rows = [{"bug": "mask", "seed": seed, "cost": cost, "error": 0.3} for seed, cost in enumerate((1.0, 1.8, None))]
    pd.DataFrame(rows).to_csv(tmp_path / "bugs.csv")
    cost = bugs.costs(tmp_path / "bugs.csv")["mask"]
    assert np.isclose(cost.value, 1.4) and np.isclose(cost.error, np.hypot(0.3, 0.4))


def test_measuring_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(bugs, "BUGS", {name: BUGS[name] for name in ("mask", "speed")})
    monkeypatch.setattr(bugs, "unseen", lambda: unseen(pieces=12, size=20))
    path = tmp_path / "bugs.csv"
    bugs.measure(path, seeds=1, steps=1)
    whole = path.read_text()
    assert list(pd.read_csv(path).groupby("bug", sort=False).size()) == [2, 2, 2]
    path.write_text("".join(whole.splitlines(keepends=True)[:5]))        # without the last one
    bugs.measure(path, seeds=1, steps=1)
    assert path.read_text() == whole
    bugs.measure(path, seeds=1, steps=1)
    assert path.read_text() == whole
