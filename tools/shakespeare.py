"""The published configuration of a BPE model on Tiny Shakespeare: what `make shakespeare` trains and chapter 05 draws.

    python -m tools.shakespeare             # the first 500 steps; on 2 CPU cores about an hour
    python -m tools.shakespeare --steps 5000        # all of them: for a GPU

The run was published with its losses: 500 tokens without a pattern, learned from the whole text; 3,514,836 parameters; AdamW
at 3e-4 throughout, 64 windows of 256 tokens a step; 2.9428 nats per token on validation text at best, after 4,500 steps.
It may be stopped at any time and goes on where it was. The log becomes data/tinyshakespeare.csv; the text stays where it
lies.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch

from gptcore import corpora
from gptcore.device import choose_device
from gptcore.files import atomic_write
from gptcore.gpt import GPT, PRESETS
from gptcore.schedule import TrainConfig
from gptcore.tokenizer import BPETokenizer
from gptcore.training import train
from tools import end

__all__ = ["CONFIG", "STEPS", "documents", "main", "published_tokenizer"]

ROOT = Path(__file__).parents[1]
FILE, RUN = ROOT / "data/tinyshakespeare.csv", ROOT / "runs/tinyshakespeare"
STEPS = 500
CONFIG = {"batch_size": 64, "learning_rate": 3e-4, "schedule": "constant", "weight_decay": 0.01, "betas": (0.9, 0.999),
          "clip": 0.0, "eval_every": 100, "eval_windows": 10_000}  # more windows than there are: the whole validation text


def published_tokenizer(text: str, vocab_size: int = 500) -> BPETokenizer:
    """Learn merges from `text` without a pattern. The id after the last, <|endoftext|>, never occurs and has no row."""
    return BPETokenizer.train(text, vocab_size + 1, pattern=None)


def documents(tokenizer: BPETokenizer, corpus: corpora.Corpus) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Encode both sides, without a special token at their ends."""
    train_side, validation_side = ([np.array(tokenizer.encode(text)) for text in texts]
                                   for texts in (corpus.train, corpus.validation))
    return train_side, validation_side


def main(arguments: list[str] | None = None, file: Path = FILE, run: Path = RUN) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.shakespeare", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimizer steps in all ({STEPS})")
    options = parser.parse_args(arguments)
    corpus, device = corpora.load("tinyshakespeare"), choose_device()
    print(f"{corpus}\non {device}")
    tokenizer = published_tokenizer("".join([*corpus.train, *corpus.validation]))
    torch.manual_seed(1)
    train(GPT(PRESETS["shakespeare-bpe"]), *documents(tokenizer, corpus), TrainConfig(steps=options.steps, **CONFIG), run,
          device=device, resume=True)
    with atomic_write(file) as temporary:
        shutil.copyfile(run / "log.csv", temporary)
    print(f"wrote {file.name}")
    return 0


if __name__ == "__main__":
    end(main)
