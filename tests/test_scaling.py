"""scaling: the command from beginning to end, in small, and what its rows say."""

import dataclasses
import json

import pandas as pd
import pytest

from gptcore import corpora
from gptcore.evaluation import bits_per_byte, byte_nats
from gptcore.gpt import count_parameters, load_weights
from gptcore.ladder import floor
from gptcore.planning import flops_per_token
from gptcore.training import Interrupted
from tools import pretrained, scaling

PLAN = scaling.Plan(vocab_size=1000, learn_from=200, scenes=12, widths=(8, 16), n_layer=1, looks=(2,),
                    train=dataclasses.replace(scaling.PLAN.train, steps=4, warmup=1, batch_size=2, eval_every=1,
                                              eval_windows=4))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("made")
    assert scaling.main([], PLAN, place / "runs", place / "scaling.csv") == 0
    return place


def test_each_row_is_what_its_model_measures(made):
    rows, validation = pd.read_csv(made / "scaling.csv"), corpora.load("playhouse").validation
    assert list(rows["n_embd"]) == [8, 8, 16, 16] and list(rows["step"]) == [2, 4, 2, 4]
    row, run, tokenizer = rows.iloc[3], made / "runs/16", pretrained.Text(PLAN, made / "runs").tokenizer
    model = load_weights(pretrained.kept(run, 4))
    assert row["parameters"] == sum(count_parameters(model.config).values())
    assert row["tokens"] == pd.read_csv(run / "log.csv")["tokens"].iloc[-1]
    assert row["flops"] == row["tokens"] * flops_per_token(model.config).sum()
    nats = byte_nats(model, [pretrained.encode_document(tokenizer, text) for text in validation], tokenizer)
    lowest = bits_per_byte([derivation.nats for derivation in floor(validation)]).value
    score = bits_per_byte(nats)
    assert (row["bits_per_byte"], row["error"]) == pytest.approx((score.value, score.error), abs=1e-5)
    assert row["gap"] == pytest.approx(score.value - lowest, abs=1e-5) and 0 < row["gap_error"] < row["gap"]


def test_a_stopped_one_goes_on_and_ends_with_the_same_rows(made, tmp_path, monkeypatch):
    """Ctrl-C in the first training: nothing is written before all are there, and what is there is not made again."""
    save, saved = pretrained.save_weights, []

    def stop(model, path):
        saved.append(path)
        save(model, path)
        raise Interrupted

    monkeypatch.setattr(pretrained, "save_weights", stop)
    plan = PLAN._replace(widths=(8,))
    with pytest.raises(Interrupted):
        scaling.main([], plan, tmp_path / "runs", tmp_path / "scaling.csv")
    assert len(saved) == 1 and not (tmp_path / "scaling.csv").exists()
    monkeypatch.setattr(pretrained, "save_weights", save)
    before = saved[0].stat().st_mtime_ns
    assert scaling.main([], plan, tmp_path / "runs", tmp_path / "scaling.csv") == 0
    assert (tmp_path / "scaling.csv").read_text().splitlines() == (made / "scaling.csv").read_text().splitlines()[:3]
    assert saved[0].stat().st_mtime_ns == before


def test_the_plan_has_room_for_whole_scenes_and_differs_in_nothing_but_width(made):
    configs = [scaling.PLAN.config((scaling.PLAN.n_layer, width), scaling.PLAN.vocab_size) for width in scaling.PLAN.widths]
    assert len(configs) == 6
    for config in configs:
        assert config.head_width == 8
        same = {"n_embd": 0, "n_head": 0}
        assert config.to_dict() | same == configs[0].to_dict() | same
    assert scaling.PLAN.train.steps * scaling.PLAN.train.batch_size <= scaling.PLAN.scenes
    assert json.loads((made / "runs/8/config.json").read_text())["model"]["n_embd"] == 8
