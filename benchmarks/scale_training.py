"""How fast two processes train beside one with two threads, and what logging and checkpoints cost: one run, two tables.

    python benchmarks/scale_training.py [--quick]

Both contenders take the same steps: 16 windows each, as two micro-batches of 8. Each round runs both, in the opposite order
of the round before, and every run is a process of its own (or two of them, under torchrun).
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from gptcore.__main__ import leave
from gptcore.device import choose_device
from gptcore.distributed import Processes
from gptcore.gpt import GPT, GPTConfig
from gptcore.monitor import follow
from gptcore.runs import RunFolder
from gptcore.schedule import TrainConfig
from gptcore.training import Run, train

MODELS = {"2 layers of 128": GPTConfig(4096, block_size=256, n_layer=2, n_head=4, n_embd=128),
          "4 layers of 256": GPTConfig(4096, block_size=256, n_layer=4, n_head=4, n_embd=256)}
QUICK = {"1 layer of 16": GPTConfig(512, block_size=64, n_layer=1, n_head=2, n_embd=16)}
ONE, TWO = "one process, two threads", "two processes, one thread each"
CONFIG = TrainConfig(steps=1000, batch_size=8, accumulation=2, learning_rate=1e-3)
# What `make run` does, for two rows of its log: 150 steps of 4 windows, an evaluation, the row, weights and checkpoint.
LOGGED = TrainConfig(steps=300, batch_size=4, learning_rate=1e-3, warmup=10, eval_every=150, eval_windows=64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny model and two rounds: does it run?")
    parser.add_argument("--worker", nargs=3, metavar=("MODEL", "STEPS", "THREADS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, steps, threads = options.worker
        print_seconds((MODELS | QUICK)[name], int(steps), int(threads))
        leave(0)
    models, rounds, steps = (QUICK, 2, 3) if options.quick else (MODELS, 5, 12)
    print(f"Load {os.getloadavg()[0]:.2f} before; median of {rounds} rounds of {steps} steps\n\n"
          f"| model | contender | tokens per second | times as fast as {ONE} | in single rounds |\n|---|---|---|---|---|")
    for name in models:
        compare(name, rounds, steps)
    show_share(next(iter(models)), TrainConfig(steps=4, eval_every=2) if options.quick else LOGGED)
    print(f"\nLoad {os.getloadavg()[0]:.2f} after.")


# ---------------------------------------------------------------- throughput

def compare(name: str, rounds: int, steps: int) -> None:
    speeds: dict[str, list[float]] = {ONE: [], TWO: []}
    for _ in range(rounds):
        for contender in list(speeds):
            speeds[contender].append(measured(contender, name, steps))
        speeds = dict(reversed(speeds.items()))
    for contender in (ONE, TWO):
        single = [a / b for a, b in zip(speeds[contender], speeds[ONE])]
        print(f"| {name} | {contender} | {statistics.median(speeds[contender]):,.0f} | {statistics.median(single):.2f} | "
              f"{min(single):.2f} to {max(single):.2f} |", flush=True)


def measured(contender: str, model: str, steps: int) -> float:
    """Tokens per second, the median over the steps of one start."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if contender == TWO else []
    threads = "1" if contender == TWO else "2"
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, *launcher, __file__, "--worker", model, str(steps), threads]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout)


def print_seconds(model: GPTConfig, steps: int, threads: int) -> None:
    """Train, and let process 0 print the median of the speed of whole steps."""
    torch.set_num_threads(threads)
    processes, device = Processes.started(), choose_device("cpu")
    with processes.joined(device), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        run = Run(GPT(model), texts(model), texts(model), CONFIG, RunFolder(folder), device, processes)
        speeds = []
        for _ in range(steps + 2):
            before, started = run.state.tokens, time.perf_counter()
            run.step()
            speeds.append((run.state.tokens - before) / (time.perf_counter() - started))
        if processes.first:
            print(statistics.median(speeds[2:]))  # the first two prepare buffers and buckets


def texts(model: GPTConfig) -> list[np.ndarray]:
    return [np.random.default_rng(0).integers(0, model.vocab_size, 40 * model.block_size)]


# ---------------------------------------------------------------- logging and checkpoints

def show_share(name: str, config: TrainConfig) -> None:
    """Print what part of a whole run is spent on log.csv, the best weights, the checkpoints and the monitor's picture.

    The monitor draws in a process of its own, at each row: its processor time counts as if it were taken from the cores on
    which the run computes.
    """
    spent: Counter[str] = Counter()
    model = (MODELS | QUICK)[name]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, timed("gptcore.training.save_checkpoint", spent), \
            timed("gptcore.training.save_weights", spent), timed("gptcore.runs.RunFolder.append", spent):
        started = time.perf_counter()
        train(GPT(model), texts(model), texts(model), config, folder, device=choose_device("cpu"), progress=False)
        whole, rows = time.perf_counter() - started, config.steps // config.eval_every + 1
        spent["monitor"] = rows * statistics.median(seconds_of_a_look(folder) for _ in range(6)) / torch.get_num_threads()
    print(f"\n{name}, {config.steps} steps, {rows} rows: {whole:.1f} s, of which\n\n"
          "| task | milliseconds each | % of the time |\n|---|---|---|")
    for task, seconds in (*spent.items(), ("together", spent.total())):
        print(f"| {task} | {1000 * seconds / rows:.1f} | {100 * seconds / whole:.2f} |")


def seconds_of_a_look(folder: str) -> float:
    """Processor seconds that the monitor takes to read a log and draw it."""
    started = time.process_time()
    with redirect_stdout(io.StringIO()):
        follow(folder, once=True)
    return time.process_time() - started


@contextmanager
def timed(name: str, spent: Counter[str]) -> Iterator[None]:
    """Add up the seconds that the function of this name takes, inside a `with`."""
    def watch(function: Callable) -> Callable:
        def watched(*arguments: object, **options: object) -> object:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent[name.rsplit(".", 1)[1]] += time.perf_counter() - started
        return watched

    module, _, attribute = name.rpartition(".")
    owner = RunFolder if module.endswith("RunFolder") else sys.modules[module]
    with mock.patch.object(owner, attribute, watch(getattr(owner, attribute))):
        yield


if __name__ == "__main__":
    main()
