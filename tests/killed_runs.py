"""Trainings that are killed: run by test_resume.py as a process of its own.

Each training is forked, since a fork costs milliseconds and importing torch anew seconds. One thread, set before any
work, keeps forking safe and the sums in one order.
"""

import os
import random
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from gptcore.checkpoint import load_checkpoint
from gptcore.device import Device
from gptcore.gpt import GPT, GPTConfig
from gptcore.training import TrainConfig, train

CONFIG = TrainConfig(steps=7, batch_size=3, accumulation=2, learning_rate=0.15, schedule="plateau", factor=0.5,
                     patience=0, eval_every=2, eval_windows=4)


def work(folder: Path) -> None:
    """Train a tiny model with dropout; its validation loss rises again, so that best and last differ."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(9, block_size=6, n_layer=1, n_head=2, n_embd=8, dropout=0.4))
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, 9, n) // 2 for n in rng.integers(2, 20, 12)]
    cpu = Device(torch.device("cpu"), None, "a test")
    train(model, documents[:8], documents[8:], CONFIG, folder, device=cpu, resume=True, progress=False)


def fork(task: Callable[..., None], *arguments: object) -> int:
    """Run `task` in a child and return its process id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            task(*arguments)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ended_well(child: int) -> bool:
    """Wait for a child: True when it ended by itself, False when it was killed; it must not fail."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        sys.exit(f"a training failed with status {status}")
    return True


def at_random_moments(folder: Path, kills: int) -> None:
    """Kill until there were `kills` kills; a run that gets to its end makes room for the next."""
    started = time.monotonic()
    ended_well(fork(work, folder / "random-0"))
    span, killed, runs = time.monotonic() - started, 0, 0
    rng = random.Random(0)
    while killed < kills:
        runs += 1
        while True:
            child = fork(work, folder / f"random-{runs}")
            time.sleep(rng.uniform(0, 0.8 * span))
            os.kill(child, signal.SIGKILL)
            if ended_well(child):
                span *= 0.8  # the first run may have been slow, on a machine that was busy
                break
            killed += 1
    print(f"{killed} kills in {runs} runs")


def at_every_file_operation(folder: Path) -> None:
    """Kill at file operation 1, resume and kill again a little later, resume; the same for 2, 3, ... to the last."""
    killed, reached = [], True
    while reached:
        number = len(killed) + 1
        place = folder / f"operation-{number}"
        reached = not ended_well(fork(work_until, number, place))
        again = reached and not ended_well(fork(work_until, 1 + number % 11, place))
        killed.append(reached + again)
        ended_well(fork(work, place))
    print(f"{sum(killed)} kills at {len(killed) - 1} operations")


def work_until(number: int, folder: Path) -> None:
    """Train, and be killed at file operation `number`."""
    at_operation(number, folder, lambda: os.kill(os.getpid(), signal.SIGKILL))
    work(folder)


def with_a_full_disk(folder: Path) -> None:
    """Let no file grow beyond 4,000 bytes from some operation on (config and log are smaller), then resume freely."""
    for number in range(1, 30, 3):
        ended_well(fork(fill, number, folder / f"full-{number}"))
        ended_well(fork(work, folder / f"full-{number}"))


def fill(number: int, folder: Path) -> None:
    """Train until the disk is full, and look at what is left."""
    at_operation(number, folder, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)))
    try:
        work(folder)
    except OSError as error:
        print(error, flush=True)
        assert not list(folder.glob("*.tmp*")), "a temporary file was left"
        if (folder / "last.safetensors").exists():
            load_checkpoint(folder / "last.safetensors")
    else:
        raise AssertionError("the disk was not full")


def at_operation(number: int, folder: Path, act: Callable[[], None]) -> None:
    """Call `act` before this process's file operation of that number inside `folder`."""
    count = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        if event in ("open", "os.rename", "os.remove") and str(arguments[0]).startswith(str(folder)):
            count += 1
            if count == number:
                act()

    sys.addaudithook(watch)


if __name__ == "__main__":
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # no second thread
    tqdm.set_lock(threading.RLock())  # tqdm's own is shared by forks, and stays locked when one that holds it is killed
    mode, place = sys.argv[1], Path(sys.argv[2])
    work(place / "whole")  # here and not in a child, so that what torch loads at first use is loaded once
    if mode == "random":
        at_random_moments(place, kills=25)
    elif mode == "operations":
        at_every_file_operation(place)
    else:
        with_a_full_disk(place)
