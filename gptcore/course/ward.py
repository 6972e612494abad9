"""Five small runs that are ill, each in one way, and a healthy one, to be told apart by their logs in chapter 09."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Integer

from gptcore.device import choose_device
from gptcore.gpt import GPT, GPTConfig
from gptcore.schedule import TrainConfig
from gptcore.training import train

__all__ = ["LETTERS", "ward"]

LETTERS = {"A": "foreign", "B": "high", "C": "leak", "D": "few", "E": "low"}
HEALTHY = TrainConfig(steps=100, batch_size=4, learning_rate=1e-2, warmup=10, eval_every=20, eval_windows=20)
Documents = Sequence[Integer[np.ndarray, "_"]]


def ward(train_documents: Documents, validation_documents: Documents, scale: float | int = 1.0) -> dict[str, pd.DataFrame]:
    """Train them all and return their logs by letter, losses times `scale` as `train` and `validation`, by step."""
    few = [document[:1000] for document in train_documents[:6]]
    turned = [document[::-1].copy() for document in validation_documents]
    runs = {
        "healthy": (train_documents, validation_documents, {}),
        "foreign": (train_documents, turned, {}),
        "high": (train_documents, validation_documents, {"learning_rate": 10 * HEALTHY.learning_rate}),
        "low": (train_documents, validation_documents, {"learning_rate": 0.1 * HEALTHY.learning_rate}),
        "leak": (few, few, {}),
        "few": (few, validation_documents, {}),
    }
    names = {"healthy": "healthy"} | LETTERS
    return {letter: log_of(*runs[name][:2], dataclasses.replace(HEALTHY, **runs[name][2]), scale)
            for letter, name in names.items()}


def log_of(
    train_documents: Documents, validation_documents: Documents, config: TrainConfig, scale: float | int
) -> pd.DataFrame:
    """Train a small model and return its log."""
    vocab_size = 1 + max(int(document.max()) for document in [*train_documents, *validation_documents])
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        model = GPT(GPTConfig(vocab_size, block_size=64, n_layer=2, n_head=4, n_embd=32, init="spread"))
        train(model, train_documents, validation_documents, config, folder, progress=False, device=choose_device("cpu"))
        log = pd.read_csv(Path(folder, "log.csv"), index_col="step")
    log["train"], log["validation"] = log["train_loss"] * scale, log["val_loss"] * scale
    return log
