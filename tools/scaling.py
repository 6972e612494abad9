"""A small scaling law on the Playhouse: what `make scaling` trains and chapter 09 fits.

    python -m tools.scaling     # about half an hour on one core; it may be stopped at any time and goes on where it was

Five GPTs that differ in nothing but their width, and a sixth, wider one that the law has to predict. All read the same fresh
scenes, once and in the same order, by the same recipe; all are judged on the held-out scenes of the corpus, whose floor is
known. A row of data/scaling.csv is a model at one step of its training. Only the last row of a width belongs to the law:
before it the learning rate had further to fall.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from gptcore.evaluation import bits_per_byte, byte_nats, paired_difference
from gptcore.files import atomic_write
from gptcore.gpt import GPTConfig, count_parameters, load_weights
from gptcore.ladder import floor
from gptcore.planning import flops_per_token
from gptcore.schedule import TrainConfig
from tools import end
from tools.pretrained import Text, fit, kept

__all__ = ["FILE", "PLAN", "Plan", "main"]

ROOT = Path(__file__).parents[1]
FILE, RUNS = ROOT / "data/scaling.csv", ROOT / "runs/scaling"


class Plan(NamedTuple):
    """What is trained: the defaults make data/scaling.csv, small ones a test."""

    vocab_size: int = 1024              # small, so that the layers weigh more than the output
    learn_from: int = 4000              # scenes that the tokenizer sees
    scenes: int = 12_800                # to train on: as many as are read
    widths: tuple[int, ...] = (16, 24, 32, 48, 64, 128)      # the last one is to be predicted
    n_layer: int = 2                    # the fewest that can look up what was said before
    train: TrainConfig = TrainConfig(steps=1600, batch_size=8, learning_rate=1e-2, min_learning_rate=0.0, warmup=100,
                                     weight_decay=0.1, eval_every=100, eval_windows=64)
    looks: tuple[int, ...] = (100, 200, 400, 800)           # steps that get a row, beside the last

    def config(self, shape: tuple[int, int], vocab_size: int) -> GPTConfig:
        """The model of a shape: heads 8 channels wide, a block that holds a whole scene."""
        n_layer, n_embd = shape
        return GPTConfig(vocab_size, block_size=400, n_layer=n_layer, n_head=n_embd // 8, n_embd=n_embd, init="spread")


PLAN = Plan()


def judge(text: Text, grammar: Sequence[np.ndarray], run: Path, step: int) -> dict[str, float | int]:
    """A row: a model at a step, what went into it, and its bits per byte, whole and above those of the grammar."""
    model, log = load_weights(kept(run, step)), pd.read_csv(run / "log.csv").set_index("step")
    nats, tokens = byte_nats(model, text.validation, text.tokenizer), int(log["tokens"][step])
    score = bits_per_byte(nats)
    gap = paired_difference(nats, grammar)
    return {"n_embd": model.config.n_embd, "parameters": sum(count_parameters(model.config).values()), "step": step,
            "tokens": tokens, "flops": int(tokens * flops_per_token(model.config).sum()),
            "bits_per_byte": round(score.value, 5), "error": round(score.error, 5),
            "gap": round(gap.value, 5), "gap_error": round(gap.error, 5)}


def main(arguments: list[str] | None = None, plan: Plan = PLAN, runs: Path = RUNS, file: Path = FILE) -> int:
    argparse.ArgumentParser(prog="python -m tools.scaling", description=__doc__.split("\n")[0]).parse_args(arguments)
    torch.set_num_threads(1)  # as the notebooks are run; other numbers of threads round differently
    text, rows = Text(plan, runs), []
    grammar = [derivation.nats for derivation in floor(text.corpus.validation)]
    for width in plan.widths:
        run = runs / str(width)
        looks = [*plan.looks, plan.train.steps]
        fit(text, (plan.n_layer, width), plan.train, run, looks)
        rows += [judge(text, grammar, run, step) for step in looks]
        print(f"{width} wide: {rows[-1]['bits_per_byte']} bits per byte, {rows[-1]['gap']} above the floor", flush=True)
    with atomic_write(file) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    print(f"wrote {file.name}")
    return 0


if __name__ == "__main__":
    end(main)
