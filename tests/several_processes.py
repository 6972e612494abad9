"""What test_distributed.py lets torchrun start: each process of it runs this file.

`python -m torch.distributed.run --nproc-per-node 2 several_processes.py MODE FOLDER ...`
"""

import os
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from gptcore.__main__ import leave, main
from gptcore.batches import Batches, validation_windows
from gptcore.checkpoint import load_checkpoint
from gptcore.device import Device
from gptcore.distributed import ALONE, Elsewhere, Processes
from gptcore.evaluation import shared_window_loss, window_loss
from gptcore.gpt import GPT, GPTConfig
from gptcore.runs import RunFolder
from gptcore.schedule import TrainConfig
from gptcore.training import Interrupted, Run, accumulate_gradients, recomputing, train

CPU = Device(torch.device("cpu"), None, "a test")
CONFIG = TrainConfig(steps=6, batch_size=3, accumulation=4, warmup=2, learning_rate=0.01, eval_every=2, eval_windows=5,
                     clip=0.05)


def documents(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 9, n) for n in rng.integers(2, 20, 12)]


def new_model(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(**({"vocab_size": 9, "block_size": 6, "n_layer": 2, "n_head": 2, "n_embd": 8} | changes)))


def go(folder: Path, processes: Processes, config: TrainConfig = CONFIG, model: GPT | None = None, **options):
    return train(model or new_model(), documents(), documents(1), config, folder, device=CPU, processes=processes, **options)


# What each process checks


def gradients_are_those_of_one_process(together: Processes) -> None:
    """In float64, with micro-batches of 3, 10, 12 and 36 targets, so that a mean of means would be another gradient."""
    micro_batches = [Batches([np.arange(n) % 9], 6, size, 0).batch(0) for n, size in ((2, 3), (3, 5), (4, 4), (7, 6))]
    one, other = new_model().double(), new_model().double()
    learner, sent = together.wrap(other), Counter()

    def count(_: object, bucket):
        sent["buckets"] += 1
        sent["numbers"] += bucket.buffer().numel()
        return allreduce_hook(None, bucket)

    learner.register_comm_hook(None, count)
    loss, targets = accumulate_gradients(one, micro_batches, CPU)
    for _ in range(2):  # the second time with the buckets that the first one has ordered
        other.zero_grad()
        mine = [micro_batches[i] for i in together.share(4)]
        shared, counted = accumulate_gradients(learner, mine, CPU, None, together)
        assert counted == targets == 61
        torch.testing.assert_close(shared, loss, rtol=1e-12, atol=0)
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-12, atol=1e-16)
    size = sum(p.numel() for p in one.parameters())
    assert sent["numbers"] == 2 * size, f"{sent}: each gradient travels once a step, not once for each micro-batch"
    other.zero_grad()
    with recomputing(other.blocks):
        accumulate_gradients(learner, mine, CPU, None, together)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-12, atol=1e-16)


def evaluation_is_that_of_one_process(together: Processes) -> None:
    for count in (5, 2, 1):  # the last leaves a process without a window
        windows, model = validation_windows(documents(1), 6).thin(count), new_model().double()
        alone, shared = window_loss(model, windows, 2), shared_window_loss(model, windows, together, 2)
        np.testing.assert_allclose(shared, alone, rtol=1e-12)


def what_fails_in_one_fails_in_all(together: Processes, folder: Path) -> None:
    go(folder / "used", together)
    try:
        go(folder / "used", together)
    except (FileExistsError, Elsewhere) as error:
        assert isinstance(error, FileExistsError if together.first else Elsewhere)
    else:
        raise AssertionError("the run was overwritten")
    try:
        go(folder / "uneven", together, replace(CONFIG, accumulation=3))
    except ValueError as error:
        assert "accumulation=3" in str(error) and "set --accumulation 4" in str(error)
    assert not (folder / "uneven").exists()


def all_stop_where_one_is_told_to(together: Processes, folder: Path) -> None:
    """Under dropout: a run that process 1 stopped goes on as if nothing had happened, and its draws differ by process."""
    settings = {"dropout": 0.4}
    go(folder / "whole", together, model=new_model(**settings))
    model, states = new_model(**settings), []

    def hook(*_: object) -> None:
        states.append(torch.get_rng_state())
        if len(states) == 8 and not together.first:  # after the evaluation, 2, 2, an evaluation, and 2 again: in step 3
            os.kill(os.getpid(), signal.SIGTERM)

    model.register_forward_hook(hook)
    try:
        go(folder / "stopped", together, model=model)
    except Interrupted as stop:
        step = load_checkpoint(folder / "stopped" / "last.safetensors").state.step
        assert step == 3 and "after step 3 of 6, and saved" in str(stop)
        assert ("by another process" if together.first else "by SIGTERM") in str(stop)
    else:
        raise AssertionError("SIGTERM was not heard")
    go(folder / "stopped", together, model=new_model(**settings), resume=True)
    assert not torch.equal(states[1], states[3]), "two steps draw the same dropout"
    first = together.sum(states[1] if together.first else torch.zeros_like(states[1]))
    assert torch.equal(first, states[1]) == together.first, "two processes draw the same dropout"


def a_gradient_that_overflows_is_left_out_by_all(together: Processes, folder: Path) -> None:
    fp16 = Device(torch.device("cpu"), torch.float16, "a test")
    run = Run(new_model(), documents(), documents(1), CONFIG, RunFolder(folder / "fp16"), fp16, together)
    run.begin(overwrite=False)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    while run.state.counted == 0:
        run.step()
    run.evaluate()
    assert run.state.skipped > 0
    weights = torch.cat([p.detach().flatten() for p in run.model.parameters()])
    torch.testing.assert_close(together.sum(weights), 2 * weights, rtol=0, atol=0)


def check(folder: Path) -> None:
    together = Processes.started()
    with together.joined(CPU):
        gradients_are_those_of_one_process(together)
        evaluation_is_that_of_one_process(together)
        with redirect_stderr(StringIO()) as shown:
            go(folder / "two", together)
        assert ("6/6" in shown.getvalue()) == ("step/s" in shown.getvalue()) == together.first, "one bar, of process 0"
        if together.first:
            go(folder / "one", ALONE, progress=False)
        what_fails_in_one_fails_in_all(together, folder)
        all_stop_where_one_is_told_to(together, folder)
        a_gradient_that_overflows_is_left_out_by_all(together, folder)
    print(f"process {together.rank} is content", flush=True)


def be_killed(log: Path, rows: int) -> None:
    """Kill this process, if it is process 1, when the log has as many rows."""
    while not log.exists() or log.read_text().count("\n") <= rows:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    torch.set_num_threads(1)
    mode, place, *rest = sys.argv[1:]
    if mode == "check":
        check(Path(place))
        leave(0)
    else:  # the command line, with process 1 killed on the way
        if not Processes.started().first:
            threading.Thread(target=be_killed, args=(Path(place), int(mode)), daemon=True).start()
        leave(main(rest))
