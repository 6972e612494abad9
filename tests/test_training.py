"""training: against a plain loop written anew, with the laws of accumulation, number formats and broken losses."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import compiled_runs
import numpy as np
import pandas
import pytest
import torch
from torch.nn import functional as F

from gptcore.batches import IGNORE, Batches, validation_windows
from gptcore.checkpoint import load_checkpoint
from gptcore.device import Device
from gptcore.evaluation import window_loss
from gptcore.gpt import GPT, GPTConfig, load_weights
from gptcore.runs import RunFolder
from gptcore.training import (
    Diverged,
    Interrupted,
    Run,
    TrainConfig,
    accumulate_gradients,
    decay_groups,
    learning_rate,
    make_optimizers,
    recomputing,
    train,
)

ROOT = Path(__file__).parents[1]
CPU = Device(torch.device("cpu"), None, "a test")
CONFIG = TrainConfig(steps=6, batch_size=4, accumulation=2, warmup=2, learning_rate=0.01, eval_every=4, eval_windows=5,
                     clip=0.05, weight_decay=0.3)


def documents(seed: int = 0, count: int = 12) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 9, n) for n in rng.integers(2, 20, count)]


def new_model(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(**({"vocab_size": 9, "block_size": 6, "n_layer": 1, "n_head": 2, "n_embd": 8} | changes)))


def run_of(folder, config=CONFIG, device=CPU, **changes) -> Run:
    run = Run(new_model(**changes), documents(), documents(1), config, RunFolder(folder), device)
    run.begin(overwrite=False)
    return run


def rows(folder) -> list[dict]:
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


# Gradients and steps


def joined(micro_batches):
    """One batch out of several, padded to one width."""
    widest = max(inputs.shape[1] for inputs, _ in micro_batches)
    pads = [(0, widest - inputs.shape[1]) for inputs, _ in micro_batches]
    inputs = torch.cat([F.pad(x, pad) for (x, _), pad in zip(micro_batches, pads)])
    return inputs, torch.cat([F.pad(y, pad, value=IGNORE) for (_, y), pad in zip(micro_batches, pads)])


def test_accumulated_gradients_are_those_of_the_full_batch():
    one, other = new_model(dropout=0.0).double(), new_model(dropout=0.0).double()
    micro_batches = [Batches([np.arange(n) % 9], 6, size, 0).batch(0) for n, size in ((7, 3), (3, 5), (2, 1))]
    inputs, targets = joined(micro_batches)
    expected = F.cross_entropy(one(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
    expected.backward()
    loss, count = accumulate_gradients(other, micro_batches, CPU)
    assert count == 3 * 6 + 5 * 2 + 1
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-10, atol=1e-15)  # float64, summed in another order


def test_a_run_is_what_a_plain_loop_does(tmp_path):
    """The whole run again in a few lines: one batch instead of micro-batches, clipping and AdamW by hand."""
    model, plain = new_model().double(), new_model().double()
    state = train(model, documents(), documents(1), CONFIG, tmp_path, device=CPU, progress=False)
    batches = Batches(documents(), 6, CONFIG.batch_size, CONFIG.seed)
    moments = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in plain.parameters()}
    losses, norms, tokens = [], [], 0
    for step in range(CONFIG.steps):
        inputs, targets = joined([batches.batch(step, micro) for micro in range(CONFIG.accumulation)])
        loss = F.cross_entropy(plain(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
        gradients = torch.autograd.grad(loss, list(plain.parameters()))
        norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
        losses, norms, tokens = [*losses, loss.item()], [*norms, norm], tokens + int((targets != IGNORE).sum())
        with torch.no_grad():
            for p, g in zip(plain.parameters(), gradients):
                g = g * min(1, CONFIG.clip / (norm + 1e-6))
                mean, square = moments[p]
                mean.lerp_(g, 0.1)
                square.lerp_(g * g, 0.01)
                rate = learning_rate(step, CONFIG)
                p.mul_(1 - rate * (CONFIG.weight_decay if p.dim() > 1 else 0))
                unbiased = (square / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8
                p.sub_(rate * mean / (1 - 0.9 ** (step + 1)) / unbiased)
    assert min(norms) > CONFIG.clip  # clipping took part
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)  # the last division magnifies rounding
    log = rows(tmp_path)
    assert [(row["step"], row["tokens"]) for row in log] == [("0", "0"), ("4", log[1]["tokens"]), ("6", str(tokens))]
    assert state.tokens == tokens and state.step == 6
    for row, steps in zip(log[1:], (slice(0, 4), slice(4, 6))):
        assert float(row["train_loss"]) == pytest.approx(np.mean(losses[steps]), rel=1e-7)
        assert float(row["grad_norm"]) == pytest.approx(np.mean(norms[steps]), rel=1e-6)
        assert float(row["learning_rate"]) == learning_rate(steps.stop - 1, CONFIG)
    windows = validation_windows(documents(1), 6).thin(5)
    val_loss, val_error = window_loss(plain, windows)
    assert float(log[-1]["val_loss"]) == pytest.approx(val_loss, rel=1e-7)
    assert float(log[-1]["val_error"]) == pytest.approx(val_error, rel=1e-6)


def test_under_muon_the_matrices_of_the_blocks_move_by_one_length_in_all_directions(tmp_path):
    config = TrainConfig(steps=2, batch_size=4, learning_rate=0.01, optimizer="muon", weight_decay=0.0)
    run = run_of(tmp_path, config, n_embd=16)
    adam, muon = run.optimizers
    owners = [{id(p) for group in optimizer.param_groups for p in group["params"]} for optimizer in (adam, muon)]
    names = {id(p): name for name, p in run.model.named_parameters()}
    assert owners[0] | owners[1] == names.keys() and not owners[0] & owners[1]
    matrices = {name for name, p in run.model.named_parameters() if p.dim() == 2 and "embedding" not in name}
    assert {names[each] for each in owners[1]} == matrices and len(matrices) == 4
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.step()
    for name, p in run.model.named_parameters():
        moved = (p.detach() - before[name]) / config.learning_rate
        if name in matrices:  # 0.2 * sqrt(the longer side); five iterations do not bring the weakest directions there
            lengths = torch.linalg.svdvals(moved) / (0.2 * math.sqrt(max(p.shape)))
            assert 0.5 < lengths.median() and lengths.max() < 1.5, name
        elif name.endswith("norm_1.weight"):
            torch.testing.assert_close(moved.abs(), torch.ones_like(moved), rtol=0.05, atol=0)  # AdamW's first step


def test_muon_on_an_old_torch_is_refused(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(ValueError, match=r"'muon' needs torch 2.9 or newer, and this is .*use 'adamw'"):
        make_optimizers(new_model(), TrainConfig(steps=1, optimizer="muon"))


def test_what_follows_an_evaluation_is_called_after_each(tmp_path):
    seen = []
    train(new_model(), documents(), documents(1), CONFIG, tmp_path, device=CPU, progress=False,
          after_evaluation=lambda model, state: seen.append((state.step, next(model.parameters()).detach().clone())))
    assert [step for step, _ in seen] == [4, 6]
    assert torch.equal(seen[1][1], load_checkpoint(tmp_path / "last.safetensors").tensors["model.token_embedding.weight"])


def test_only_matrices_decay():
    model = new_model()
    decaying, others = decay_groups(model, 0.25)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.25, 0)
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    names = [{name_of[id(parameter)] for parameter in group["params"]} for group in (decaying, others)]
    assert names[0] | names[1] == set(name_of.values()) and not names[0] & names[1]
    assert names[1] == {name for name in name_of.values() if name.endswith("bias") or "norm" in name}


def test_clipping_can_be_switched_off(tmp_path):
    one, other = (run_of(tmp_path / str(clip), TrainConfig(steps=2, clip=clip)) for clip in (0.0, 1e9))
    assert one.step() == other.step()
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters()))


def test_a_tiny_model_learns(tmp_path):
    text = [np.array([8, 0, 1, 2, 3, 4, 5, 6, 7, 8])] * 10
    config = TrainConfig(steps=80, batch_size=8, learning_rate=0.03, eval_every=40)
    train(new_model(), text, text, config, tmp_path, device=CPU, progress=False)
    losses = [float(row["val_loss"]) for row in rows(tmp_path)]
    assert losses[0] == pytest.approx(math.log(9), abs=0.05) and losses[-1] < 0.3  # each token tells the next


# The same numbers computed in other ways


def kept_bytes(model, inputs) -> int:
    """What autograd saves for the backward pass, the parameters aside."""
    kept, weights = {}, {p.data_ptr() for p in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.setdefault(x.data_ptr(), x), lambda x: x):
        model(inputs)
    return sum(x.nbytes for place, x in kept.items() if place not in weights)


@pytest.mark.parametrize("device", [CPU, Device(torch.device("cpu"), torch.bfloat16, "a test")])
def test_recomputing_gives_the_same_gradients_under_dropout_and_keeps_less(device):
    model = new_model(dropout=0.5, n_layer=3, n_embd=16)
    micro_batches = [Batches([np.arange(9)], 6, 4, 0).batch(0, micro) for micro in range(2)]
    found, kept = [], []
    for context in (nullcontext, lambda: recomputing(model.blocks), nullcontext):
        with context():
            torch.manual_seed(5)
            model.zero_grad()
            loss, _ = accumulate_gradients(model, micro_batches, device)
            found.append([loss, *(parameter.grad.clone() for parameter in model.parameters())])
            kept.append(kept_bytes(model, micro_batches[0][0]))
    for plain, again in zip(found[0], found[1], strict=True):
        assert torch.equal(plain, again)
    assert kept[1] < kept[0] / 3 and kept[2] == kept[0]  # embeddings, three inputs of blocks and the output layer
    assert not any("forward" in block.__dict__ for block in model.blocks)


def test_a_run_may_switch_how_it_computes_when_it_goes_on(tmp_path):
    compiled_runs.go(tmp_path / "plain", 5)
    compiled_runs.go(tmp_path / "recomputed", 5, recompute=True)
    compiled_runs.go(tmp_path / "switched", 2, recompute=True)
    command = [sys.executable, compiled_runs.__file__, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "graphs: 1\n" in done.stdout
    assert re.search(r"does not work here \(.*compiler.*--no-compile", done.stdout)
    compiled_runs.go(tmp_path / "switched", 5)
    plain, recomputed, switched = (rows(tmp_path / name) for name in ("plain", "recomputed", "switched"))
    for name in ("train_loss", "val_loss", "grad_norm"):
        one, same, other = ([float(row[name] or 0) for row in run] for run in (plain, recomputed, switched))
        assert one == same and other == pytest.approx(one, rel=1e-5)
    saved = load_checkpoint(tmp_path / "switched" / "last.safetensors")
    assert not any("_orig_mod" in name for name in saved.tensors) and not saved.settings["train"]["compile"]


# What a run leaves behind


def test_the_folder_of_a_run(tmp_path):
    config = TrainConfig(steps=6, batch_size=4, eval_every=2, learning_rate=0.5, eval_windows=5)
    model = new_model()
    state = train(model, documents(), documents(1), config, tmp_path, device=CPU, progress=False)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.json", "log.csv", "last.safetensors", "best.safetensors"}
    log = pandas.read_csv(tmp_path / "log.csv")
    assert list(log.columns) == ["step", "tokens", "train_loss", "val_loss", "val_error", "learning_rate", "grad_norm",
                                 "skipped", "tokens_per_second"]
    assert list(log["step"]) == [0, 2, 4, 6]
    empty = {"train_loss", "learning_rate", "grad_norm", "tokens_per_second"}  # of step 0, before any step
    assert set(log.columns[log.iloc[0].isna()]) == empty and not log.iloc[1:].isna().any(axis=None)
    assert (log["tokens_per_second"][1:] > 0).all()
    # a rate of 0.5 is far too high, so the best weights are not the last
    assert state.best == log["val_loss"].min() < log["val_loss"].iloc[-1]
    best = load_weights(tmp_path / "best.safetensors")
    windows = validation_windows(documents(1), 6).thin(5)
    assert window_loss(best, windows, 4)[0] == state.best
    about = json.loads((tmp_path / "config.json").read_text())
    assert GPTConfig.from_dict(about["model"]) == model.config and TrainConfig.from_dict(about["train"]) == config
    assert about["machine"]["torch"] == torch.__version__ and about["machine"]["reason"] == "a test"


def test_the_global_random_state_is_not_touched(tmp_path):
    before = torch.get_rng_state()
    model = new_model(dropout=0.5)
    torch.set_rng_state(before)
    train(model, documents(), documents(1), CONFIG, tmp_path, device=CPU, progress=False)
    assert torch.equal(before, torch.get_rng_state())


def test_only_the_seed_decides_dropout_and_batches(tmp_path):
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        model = new_model(dropout=0.5)
        model.train(name != "b")  # it does not matter that a model comes in eval mode
        torch.rand(len(weights))  # nor what was drawn before
        config = TrainConfig(steps=3, batch_size=4, seed=seed)
        train(model, documents(), documents(1), config, tmp_path / name, device=CPU, progress=False)
        weights.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_bar_shows_loss_bits_and_speed(tmp_path, capsys):
    train(new_model(), documents(), documents(1), CONFIG, tmp_path, device=CPU, bytes_per_token=2.0)
    shown = capsys.readouterr().err
    assert "6/6" in shown and "loss 2." in shown and "bits per byte" in shown and "tokens/s" in shown
    loss, bits = (float(number) for number in re.findall(r"loss (\S+), (\S+) bits per byte", shown)[-1])
    assert bits == pytest.approx(loss / math.log(2) / 2, abs=0.002)  # two numbers rounded to three digits
    train(new_model(), documents(), documents(1), CONFIG, tmp_path, device=CPU, progress=False, overwrite=True)
    assert capsys.readouterr().err == ""


# Broken losses


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path):
    config = TrainConfig(steps=50, batch_size=4, learning_rate=1e30, min_learning_rate=1e30, eval_every=1)
    with pytest.raises(Diverged, match=r"(in step|after) \d+.* rate 1e\+30.*lower learning_rate") as stop:
        train(new_model(), documents(), documents(1), config, tmp_path, device=CPU, progress=False)
    assert "best.safetensors" in str(stop.value)
    assert all(torch.isfinite(p).all() for p in load_weights(tmp_path / "best.safetensors").parameters())


@pytest.mark.parametrize("where", ["loss", "gradient", "both"])
def test_the_step_that_breaks_changes_no_weight(tmp_path, where):
    run = run_of(tmp_path)
    run.step()
    before = [parameter.clone() for parameter in run.model.parameters()]
    saved = (tmp_path / "last.safetensors").read_bytes()
    if where == "loss":  # -infinity for a target costs infinity, with finite gradients
        run.model.register_forward_hook(lambda model, ids, logits: logits.index_fill(2, torch.arange(4), -math.inf))
    elif where == "gradient":
        run.model.final_norm.weight.register_hook(lambda gradient: gradient * math.inf)
    else:
        run.model.final_norm.bias.data[0] = math.nan
    loss, norm = {"loss": ("inf", r"\d"), "gradient": (r"\d", "nan|inf"), "both": ("nan", "nan")}[where]
    with pytest.raises(Diverged, match=rf"the loss is ({loss}).* and the gradient norm ({norm}).* in step 1 at rate 0.01"):
        run.step()
    changed = [not torch.equal(a, b) for a, b in zip(before, run.model.parameters())]
    assert sum(changed) == (where == "both")  # only the one broken here
    assert (tmp_path / "last.safetensors").read_bytes() == saved


def test_a_model_that_starts_broken_is_refused(tmp_path):
    model = new_model()
    model.final_norm.bias.data[0] = math.nan
    with pytest.raises(Diverged, match="the validation loss is nan after 0 steps"):
        train(model, documents(), documents(1), CONFIG, tmp_path, device=CPU, progress=False)


# Number formats (their arithmetic works on a CPU, too)


def test_bf16_trains_nearly_as_fp32(tmp_path):
    bf16 = Device(torch.device("cpu"), torch.bfloat16, "a test")
    exact, rough = run_of(tmp_path / "a"), run_of(tmp_path / "b", device=bf16)
    for _ in range(4):
        a, b = exact.step(), rough.step()
        assert a != b and abs(a - b) < 0.02 * a  # 8 bits of mantissa: 0.4 % per rounding
    assert all(parameter.dtype == torch.float32 for parameter in rough.model.parameters())


FP16 = Device(torch.device("cpu"), torch.float16, "a test")


def test_fp16_unscales_before_it_clips(tmp_path):
    exact, rough = run_of(tmp_path / "a"), run_of(tmp_path / "b", device=FP16)
    for _ in range(4):
        exact.step(), rough.step()
    assert rough.state.skipped == 0 and rough.scaler.get_scale() == 65536
    assert rough.state.norm_sum == pytest.approx(exact.state.norm_sum, rel=0.01)  # scaled gradients: 65,536 times that
    for a, b in zip(exact.model.parameters(), rough.model.parameters()):
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.02)  # four steps of 0.01 and less, their directions rounded


def test_fp16_skips_steps_that_overflow_counts_them_and_gives_up_in_the_end(tmp_path):
    run = run_of(tmp_path, TrainConfig(steps=99, batch_size=4), FP16)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)  # fp16 ends at 65,504
    before = [parameter.clone() for parameter in run.model.parameters()]
    run.step()
    assert (run.state.step, run.state.skipped, run.state.counted) == (1, 1, 0) and run.scaler.get_scale() == 2.0**59
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters()))
    with pytest.raises(Diverged, match="gradient norm"):
        for _ in range(98):
            run.step()
    assert run.state.skipped == 25

    run = run_of(tmp_path / "mild", TrainConfig(steps=99, batch_size=4), FP16)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    while run.state.counted == 0:
        run.step()
    assert 0 < run.state.skipped < 25 and run.state.skipped_in_a_row == 0
    run.evaluate()
    assert [row["skipped"] for row in rows(tmp_path / "mild")] == ["0", str(run.state.skipped)]


def test_the_scaler_goes_on_where_it_was(tmp_path):
    config = TrainConfig(steps=9, batch_size=4, eval_every=5)
    run = run_of(tmp_path, config, FP16)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=2)
    for _ in range(5):
        run.step()
    run.evaluate()
    resumed = Run(new_model(), documents(), documents(1), config, RunFolder(tmp_path), FP16)
    assert resumed.restore()
    assert resumed.scaler.state_dict() == run.scaler.state_dict() and run.scaler.get_scale() > 2**14
    assert resumed.step() == run.step()


# Ctrl-C


def press_ctrl_c(model, at_call: int, times: int = 1, number: int = signal.SIGINT) -> None:
    """Send this process a signal from inside the given forward pass."""
    calls = iter(range(1, 10**6))

    def hook(*_):
        if next(calls) == at_call:
            for _ in range(times):
                os.kill(os.getpid(), number)

    model.register_forward_hook(hook)


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(tmp_path, capfd):
    config = TrainConfig(steps=8, batch_size=4, eval_every=3, eval_windows=2)
    train(new_model(dropout=0.3), documents(), documents(1), config, tmp_path / "whole", device=CPU, progress=False)
    stopped, handlers = tmp_path / "it's stopped", [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    for call in range(1, 12):  # in the first evaluation, in steps, in later evaluations, in the last step
        model = new_model(dropout=0.3)
        press_ctrl_c(model, call, number=signal.SIGTERM if call % 2 else signal.SIGINT)
        try:
            train(model, documents(), documents(1), config, stopped, device=CPU, progress=False, overwrite=True)
        except Interrupted as stop:
            step = load_checkpoint(stopped / "last.safetensors").state.step
            assert f"by {'SIGTERM' if call % 2 else 'Ctrl-C'} after step {step} of 8, and saved" in str(stop)
            assert f"train --resume '{tmp_path}/it'\"'\"'s stopped'" in str(stop)
            resume = dict(device=CPU, progress=False, resume=True)
            train(new_model(dropout=0.3), documents(), documents(1), config, stopped, **resume)
        else:
            assert call > 10
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
        for name in ("last", "best"):
            same = [(folder / f"{name}.safetensors").read_bytes() for folder in (tmp_path / "whole", stopped)]
            assert same[0] == same[1], f"{name} differs after Ctrl-C in forward pass {call}"
        logs = [[{**row, "tokens_per_second": ""} for row in rows(folder)] for folder in (tmp_path / "whole", stopped)]
        assert logs[0] == logs[1]
    assert "once more stops at once" in capfd.readouterr().err


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_checkpoint(tmp_path):
    model, handler = new_model(), signal.getsignal(signal.SIGINT)
    press_ctrl_c(model, at_call=6, times=2)
    with pytest.raises(KeyboardInterrupt) as stop:
        train(model, documents(), documents(1), CONFIG, tmp_path, device=CPU, progress=False)
    assert not isinstance(stop.value, Interrupted) and signal.getsignal(signal.SIGINT) is handler
    state = train(new_model(), documents(), documents(1), CONFIG, tmp_path, device=CPU, progress=False, resume=True)
    assert state.step == 6


def test_training_works_outside_the_main_thread(tmp_path):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(
        train(new_model(), documents(), documents(1), CONFIG, tmp_path, device=CPU, progress=False)))
    thread.start()
    thread.join()
    assert ended[0].step == 6
