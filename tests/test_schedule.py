"""schedule: rates by hand, against torch's own schedulers, and what must hold for every setting."""

import json
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, ReduceLROnPlateau, SequentialLR

from gptcore.checkpoint import State
from gptcore.schedule import TrainConfig, learning_rate


@st.composite
def cosines(draw):
    steps = draw(st.integers(2, 400))
    rate = draw(st.floats(1e-5, 1.0))
    floor = draw(st.none() | st.floats(0, rate))
    return TrainConfig(steps, warmup=draw(st.integers(0, steps - 1)), learning_rate=rate, min_learning_rate=floor)


def rates(config: TrainConfig, reduction: float = 1.0) -> list[float]:
    return [learning_rate(step, config, reduction) for step in range(config.steps)]


def test_by_hand():
    config = TrainConfig(steps=9, warmup=4, learning_rate=0.8, min_learning_rate=0.2)
    half = 0.5 * math.cos(math.pi / 5)
    assert rates(config)[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.2 + 0.6 * (0.5 + half)])
    constant = TrainConfig(steps=4, warmup=2, learning_rate=0.8, schedule="constant")
    assert rates(constant, reduction=0.5) == [0.4, 0.8, 0.8, 0.8]
    plateau = TrainConfig(steps=4, warmup=2, learning_rate=0.8, min_learning_rate=0.3, schedule="plateau")
    assert rates(plateau) == [0.4, 0.8, 0.8, 0.8]
    assert rates(plateau, reduction=0.5)[2:] == [0.4, 0.4]
    assert rates(plateau, reduction=0.25)[2:] == [0.3, 0.3]
    assert TrainConfig(steps=4, learning_rate=0.5).floor == 0.05
    assert rates(TrainConfig(steps=1)) == [1e-3]


@pytest.mark.parametrize("steps, warmup", [(30, 6), (30, 1), (30, 0), (7, 5), (2, 0)])
def test_torch_has_the_same_curve(steps, warmup):
    config = TrainConfig(steps, warmup=warmup, learning_rate=0.3, min_learning_rate=0.02)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    top = max(warmup - 1, 0)
    rise = LinearLR(optimizer, start_factor=1 / max(warmup, 1), total_iters=max(top, 1))
    fall = CosineAnnealingLR(optimizer, T_max=steps - 1 - top, eta_min=0.02)
    scheduler, theirs = SequentialLR(optimizer, [rise, fall], milestones=[top]) if top else fall, []
    for _ in range(steps):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates(config) == pytest.approx(theirs, rel=1e-9)  # torch multiplies step by step: a few ulp a step


@given(cosines())
def test_cosine_is_continuous_peaks_at_the_rate_and_ends_at_the_floor(config):
    curve = rates(config)
    top = max(config.warmup - 1, 0)
    assert curve[top] == config.learning_rate == pytest.approx(max(curve), rel=1e-15)
    if top < config.steps - 1:
        assert curve[-1] == config.floor
        steepest = math.pi / 2 / (config.steps - 1 - top) * (config.learning_rate - config.floor)
        assert all(0 <= a - b + 1e-12 and a - b <= steepest + 1e-12 for a, b in pairwise(curve[top:]))
    part = config.learning_rate / max(config.warmup, 1)
    assert all(b - a == pytest.approx(part) for a, b in pairwise(curve[: top + 1]))


@given(st.lists(st.integers(0, 6), max_size=60), st.integers(0, 4), st.floats(0.05, 0.95))
def test_torch_cuts_on_the_same_plateaus(losses, patience, factor):
    config = TrainConfig(steps=9, schedule="plateau", patience=patience, factor=factor, min_learning_rate=2e-5)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1e-3)
    theirs = ReduceLROnPlateau(optimizer, factor=factor, patience=patience, threshold=0, min_lr=2e-5, eps=0)
    state, best = State(), math.inf
    for loss in map(float, losses):
        assert state.judge(loss, config) == (loss < best)
        best = min(best, loss)
        theirs.step(loss)
        assert learning_rate(3, config, state.reduction) == pytest.approx(optimizer.param_groups[0]["lr"])
        assert state.best == best


def test_only_plateau_cuts():
    state = State()
    for _ in range(20):
        state.judge(1.0, TrainConfig(steps=9, patience=0))
    assert state.reduction == 1.0


def test_a_config_survives_json():
    config = TrainConfig(steps=5, betas=(0.8, 0.95), learning_rate=1 / 3)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="unknown training settings: momentum"):
        TrainConfig.from_dict({"steps": 5, "momentum": 1})


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch_size": 0}, {"accumulation": 0}, {"warmup": -1}, {"patience": -1}, {"eval_every": 0},
     {"eval_windows": 1}, {"seed": -1}, {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"clip": -1.0},
     {"learning_rate": math.inf}, {"min_learning_rate": 0.1}, {"min_learning_rate": -0.1}, {"schedule": "linear"},
     {"factor": 1.0}, {"factor": 0.0}, {"weight_decay": -0.1}, {"betas": (0.9, 1.0)}, {"clip": math.nan},
     {"warmup": 10}],
)
def test_bad_values_are_refused_by_name(wrong):
    (name, value), = wrong.items()
    with pytest.raises(ValueError, match=rf"^{name}=") as refusal:
        TrainConfig(**({"steps": 10} | wrong))
    assert str(value) in str(refusal.value)
