"""Planning: operations as torch counts them, memory as the allocator saw it, times as they were published."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from gptcore import planning
from gptcore.__main__ import main
from gptcore.batches import Batches
from gptcore.device import Device
from gptcore.evaluation import cross_entropy
from gptcore.gpt import GPT, PRESETS, GPTConfig, count_parameters
from gptcore.planning import CARDS, flops_per_token, largest_batch, peak_memory, time_estimate, utilisation
from gptcore.training import TrainConfig, accumulate_gradients, make_optimizers

SMALL = GPTConfig(60, block_size=16, n_layer=2, n_head=3, n_embd=12, attention="explicit")
SHAPES = [SMALL, dataclasses.replace(SMALL, tied=False, head_size=7), dataclasses.replace(SMALL, bias=False, n_layer=1),
          dataclasses.replace(SMALL, activation="relu", vocab_size=31, n_embd=24)]


def counted(config: GPTConfig, T: int, B: int = 3) -> int:
    """What torch counts while a batch goes forward and back."""
    ids = torch.randint(config.vocab_size, (B, T + 1))
    with FlopCounterMode(display=False) as counter:
        cross_entropy(GPT(config)(ids[:, :-1]), ids[:, 1:]).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("config", SHAPES)
@pytest.mark.parametrize("T", [16, 5])
def test_operations_are_exactly_those_that_torch_counts(config, T):
    assert counted(config, T) == 3 * T * flops_per_token(config, T).sum()


def test_of_the_fused_kernel_torch_counts_nothing_on_a_cpu():
    fused = dataclasses.replace(SMALL, attention="sdpa")
    assert counted(fused, 16) == 3 * 16 * flops_per_token(fused).drop("scores").sum()


def test_operations_are_those_of_the_paper_but_for_the_embeddings():
    """PaLM, appendix B: 6 N + 12 L H Q T, with all parameters as N; here biases, norms and looked-up rows are none."""
    for config in PRESETS.values():
        sizes = count_parameters(config)
        looked_up = sizes["position embedding"] + (0 if config.tied else sizes["token embedding"])
        attention = 12 * config.n_layer * config.n_head * config.head_width * config.block_size
        paper = 6 * (sum(sizes.values()) - looked_up) + attention
        assert flops_per_token(config).sum() == pytest.approx(paper, rel=0.012) and flops_per_token(config).sum() < paper


def measured_peak(config: GPTConfig, B: int, accumulation: int, half: bool) -> int:
    """The most bytes that torch's allocator had given out at once, over two steps of the training loop from the start."""
    device = Device(torch.device("cpu"), torch.bfloat16 if half else None, "a test")
    text = np.random.default_rng(0).integers(config.vocab_size, size=4 * config.block_size)
    batches = Batches([text], config.block_size, B, seed=0)

    def steps() -> None:
        model = GPT(config)
        optimizer, = make_optimizers(model, TrainConfig(2))
        for step in range(2):
            optimizer.zero_grad()
            accumulate_gradients(model, [batches.batch(step, micro) for micro in range(accumulation)], device)
            optimizer.step()

    steps()  # what torch allocates at first use stays
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        steps()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    return int(np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).max())


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("config, B", [
    (GPTConfig(4000, block_size=64, n_layer=2, n_head=4, n_embd=64), 8),                  # the scores weigh most
    (GPTConfig(60, block_size=128, n_layer=4, n_head=4, n_embd=64), 16),                    # activations
    (GPTConfig(512, block_size=64, n_layer=4, n_head=4, n_embd=128, tied=False), 1),      # the weights
    (GPTConfig(300, block_size=64, n_layer=3, n_head=3, n_embd=48, head_size=11, activation="relu"), 6),
], ids=["scores", "activations", "weights", "relu"])
def test_the_peak_of_memory_is_as_predicted(config, B, accumulation, half):
    predicted = peak_memory(config, B, half=half, accumulation=accumulation).sum()
    assert predicted == pytest.approx(measured_peak(config, B, accumulation, half), rel=0.06)


def test_the_largest_batch_fits_and_one_more_does_not():
    for config in PRESETS.values():
        for half in (False, True):
            most = largest_batch(config, 15e9, half=half)
            sizes = [peak_memory(config, n, half=half, accumulation=2).sum() for n in (most, most + 1)]
            assert sizes[0] <= 15e9 < sizes[1]
    assert largest_batch(PRESETS["gpt2"], 2e9) == 0


def test_the_published_batches_fit_where_they_ran():
    assert largest_batch(PRESETS["wikipedia-bpe"], CARDS["H100"].memory, half=True) >= 64  # micro-batches of 64 were used
    assert largest_batch(PRESETS["shakespeare-bpe"], CARDS["T4"].memory) >= 64
    assert largest_batch(PRESETS["books-bpe"], CARDS["T4"].memory) >= 32


def test_estimates_are_the_published_times_at_the_published_rates():
    config, (tokens, card, minutes) = PRESETS["wikipedia-bpe"], planning.PUBLISHED["wikipedia-bpe"]
    reached = utilisation(config, 302e3, CARDS[card])
    assert time_estimate(config, tokens, CARDS[card], reached) / 60 == pytest.approx(484.68) == minutes
    assert reached == pytest.approx(planning.UTILISATION, abs=0.005)  # what the estimates assume is what that run had
    assert 0 < max(utilisation(PRESETS[name], run.tokens / run.minutes / 60, CARDS[run.card])
                   for name, run in planning.PUBLISHED.items()) < 0.2


@pytest.mark.parametrize("seconds, text", [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"),
                                           (129_599, "36.0 h"), (129_600, "1.5 days")])
def test_a_duration_is_said_in_the_unit_of_its_size(seconds, text):
    assert planning.duration(seconds) == text


@pytest.mark.parametrize("name", PRESETS)
def test_info_of_a_preset_adds_up(name, capsys):
    assert main(["info", name, "--batch-size", "3"]) == 0
    shown = capsys.readouterr().out
    sums = [line.split()[1:] for line in shown.splitlines() if line.startswith("sum")]
    config = PRESETS[name]
    assert sums[0] == [f"{sum(count_parameters(config).values()):,}"]
    assert sums[1] == [f"{flops_per_token(config).sum() / 1e6:,.2f}"]
    assert sums[2] == [f"{peak_memory(config, 3, half=half, accumulation=2).sum() / 1e6:,.1f}" for half in (False, True)]
    assert ("published: " in shown) == (name in planning.PUBLISHED)


@pytest.mark.parametrize("arguments, says", [(["--batch-size", "0"], "batch_size=0"), (["--utilisation", "20"], "as 0.2")])
def test_plans_that_cannot_be_are_refused(arguments, says, capsys):
    assert main(["info", "tiny", *arguments]) == 1
    assert says in capsys.readouterr().err
