"""Trainings that write samples and are killed: run by test_samples.py as a process of its own, as killed_runs.py is."""

import os
import signal
import sys
import threading
from pathlib import Path

import torch
from killed_runs import at_operation, ended_well, fork
from tqdm import tqdm

from gptcore.device import choose_device
from gptcore.experiment import resume, start
from gptcore.gpt import GPTConfig
from gptcore.training import TrainConfig

CONFIG = TrainConfig(steps=4, batch_size=2, learning_rate=0.01, warmup=1, eval_every=2, eval_windows=4)
MODEL = GPTConfig(9, block_size=8, n_layer=1, n_head=2, n_embd=8, dropout=0.4)


def work(folder: Path) -> None:
    """Begin a run, or go on with it."""
    options = {"device": choose_device("cpu"), "progress": False}
    if (folder / "last.safetensors").exists():
        resume(folder, **options)
    else:
        start(folder, str(folder.parent / "text.txt"), "characters", MODEL, CONFIG, overwrite=True,
              sample_prompts=["", "a\nb"], **options)


def killed_at(number: int, folder: Path) -> None:
    at_operation(number, folder, lambda: os.kill(os.getpid(), signal.SIGKILL))
    work(folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0  # no second thread
    tqdm.set_lock(threading.RLock())
    place, killed, number = Path(sys.argv[1]), 0, 1
    work(place / "whole")
    while not ended_well(fork(killed_at, number, place / f"operation-{number}")):
        ended_well(fork(work, place / f"operation-{number}"))
        killed, number = killed + 1, number + 2
    print(f"{killed} kills")
