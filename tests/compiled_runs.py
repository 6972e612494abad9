"""Goes on with a run under torch.compile: run by test_training.py as a process of its own, since the shape checks that
pytest puts into gptcore cannot be compiled."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from gptcore.device import Device
from gptcore.gpt import GPT, GPTConfig
from gptcore.training import TrainConfig, train

TEXT = [np.arange(12) % 9] * 3  # windows of one length, so that one graph does
CONFIG = TrainConfig(steps=2, batch_size=2, learning_rate=0.01, schedule="constant", eval_every=1)


def go(folder: Path, steps: int, **switches: bool) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(9, block_size=6, n_layer=1, n_head=2, n_embd=8))
    config = replace(CONFIG, steps=steps, **switches)
    train(model, TEXT, TEXT, config, folder, device=Device(torch.device("cpu"), None, "a test"), progress=False, resume=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[1])
    # The same graphs, forward and backward, but torch runs them itself: its C++ compiler would take a quarter of a minute.
    with mock.patch("torch.compile", partial(torch.compile, backend="aot_eager")):
        go(place / "switched", steps=4, compile=True)
    print("graphs:", torch._dynamo.utils.counters["stats"]["unique_graphs"])
    torch._dynamo.reset()
    torch._inductor.config.cpp.cxx = (None, "no-such-compiler")
    try:
        go(place / "broken", steps=4, compile=True)
    except ValueError as error:
        print(error)
