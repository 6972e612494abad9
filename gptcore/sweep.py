"""The vocabulary sweep: one small network, equal compute, many vocabularies. Used in notebooks/03_bpe_tokenization.ipynb.

    python -m gptcore.sweep                         # the Playhouse; adds what is missing to data/vocabulary_sweep.csv
    python -m gptcore.sweep tinyshakespeare         # or a folder of .txt files

Every row trains MLPModel (`SHAPE`) from the same seed until it has spent its `compute`. At 3 * 10^12 operations a row costs
about a minute of one core.
"""

import argparse
import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from gptcore import corpora, playhouse
from gptcore.batches import IGNORE, Batches
from gptcore.evaluation import Score, bits_per_byte, cross_entropy, token_nats
from gptcore.files import atomic_write
from gptcore.mlp import MLPConfig, MLPModel
from gptcore.tokenizer import BPETokenizer, CharTokenizer, Tokenizer, encode_document

__all__ = ["measure", "stored"]

LOG = corpora.REPOSITORY_DATA / "vocabulary_sweep.csv"
SHAPE = {"context": 8, "n_embd": 32, "n_hidden": 256, "block_size": 64}
RATE, WARM_UP, WINDOWS = 1e-2, 0.05, 16  # learning rate at its top, share of the steps until there, windows in a step
JUDGED = 100_000  # bytes of training text, from all over it, on which the training loss is measured

CHARACTERS = 0  # in the lists of vocabulary sizes
PLAYHOUSE_SIZES = [CHARACTERS, 300, 500, 1000, 2000, 4000, 8256]  # before the last one the pairs run out
REAL_SIZES = [CHARACTERS, 500, 2000, 8256, 50257]
COMPUTES = [3e11, 3e12]
FRESH = 10  # times the training text: more than any run of the sweep reads


def measure(tokenizer: Tokenizer, train: Sequence[str], validation: Sequence[str], compute: float, *,
            seed: int = 1, progress: bool = True) -> dict[str, int | float]:
    """Train one network on `train` with `compute` operations; return a row of the sweep.

    A token costs six operations for each weight of the two linear layers: multiply and add, once forwards and twice
    backwards (Kaplan et al., 2020, section 2.1). That counts the network as it is written; where there are few tokens,
    MLPModel looks part of it up and is quicker. `train` and `validation` in the row are bits per byte of both texts; below
    one epoch a part of the former was not read, either. Raises ValueError when `compute` does not last for a single step.
    """
    documents = [encode_document(tokenizer, text) for text in train]
    batches = Batches(documents, SHAPE["block_size"], WINDOWS, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MLPModel(MLPConfig(tokenizer.vocab_size, **SHAPE))
    cost = 6 * (model.hidden.weight.numel() + model.output.weight.numel())
    steps = int(compute / (cost * WINDOWS * SHAPE["block_size"]))
    if steps < 1:
        raise ValueError(f"compute={compute:g} is less than one step with {tokenizer.vocab_size} tokens takes; try "
                         f"{10 * cost * WINDOWS * SHAPE['block_size']:.0e}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0)
    tokens = 0
    for step in tqdm(range(steps), unit="step", disable=not progress):
        rate = RATE * min(1, (step + 1) / (WARM_UP * steps)) * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.param_groups[0]["lr"] = rate
        inputs, targets = batches.batch(step)
        count = int((targets != IGNORE).sum())
        loss = cross_entropy(model(inputs), targets).sum() / count
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
        tokens += count
    judged = bits(model, tokenizer, validation)
    return {"vocab_size": tokenizer.vocab_size, "compute": compute,
            "parameters": sum(parameter.numel() for parameter in model.parameters()), "steps": steps, "tokens": tokens,
            "epochs": round(tokens / sum(len(document) - 1 for document in documents), 3),
            "bytes_per_token": round(size(validation) / sum(len(tokenizer.encode(text)) for text in validation), 3),
            "train": round(bits(model, tokenizer, sample(train)).value, 4),
            "validation": round(judged.value, 4), "error": round(judged.error, 4)}


def stored(path: Path = LOG) -> pd.DataFrame:
    """The rows that were measured before, with the columns `corpus` and `tokenizer` in front."""
    return pd.read_csv(path)


def bits(model: MLPModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Score:
    """Bits per byte of texts. The closing `<|endoftext|>` has no bytes, and costs nothing here as on the ladder."""
    by_byte = []
    for text, nats in zip(texts, token_nats(model, [encode_document(tokenizer, text) for text in texts])):
        lengths = [len(tokenizer.token_bytes(token)) for token in tokenizer.encode(text)]
        by_byte.append(np.zeros(sum(lengths)))
        by_byte[-1][np.cumsum(lengths) - lengths] = nats[:-1]  # on its token's first byte: their sum is all that counts
    return bits_per_byte(by_byte)


def sample(texts: Sequence[str]) -> list[str]:
    """Pieces of the texts, evenly spaced, of about JUDGED bytes in all."""
    pieces = [text[start:start + 1000] for text in texts for start in range(0, len(text), 1000)]
    count = min(len(pieces), JUDGED // 1000)
    return [pieces[i] for i in np.linspace(0, len(pieces) - 1, count).round().astype(int)]


def size(texts: Iterable[str]) -> int:
    return sum(len(text.encode()) for text in texts)


# ---------------------------------------------------------------- the whole log

def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gptcore.sweep", description=__doc__.split("\n")[0])
    parser.add_argument("corpus", nargs="?", default="playhouse", help="a known text, a .txt file or a folder of them")
    parser.add_argument("--log", type=Path, default=LOG, help="the table to add to (default: the one in data)")
    options = parser.parse_args()
    corpus = corpora.load(options.corpus)
    print(corpus)
    sizes = PLAYHOUSE_SIZES if corpus.name == "playhouse" else REAL_SIZES
    with warnings.catch_warnings():  # a text may have fewer pairs than are asked for; the log says what it has
        warnings.filterwarnings("ignore", message="no pair is left")
        tokenizers = [tokenizer_of(corpus, vocab_size) for vocab_size in sizes]
    add(options.log, corpus.name, tokenizers, corpus.train, corpus.validation)
    if corpus.name == "playhouse":
        add(options.log, "playhouse, fresh", tokenizers, fresh(size(corpus.train)), corpus.validation)


def add(log: Path, name: str, tokenizers: Sequence[Tokenizer], train: Sequence[str], validation: Sequence[str]) -> None:
    """Measure what the log lacks, the cheap rows first. Each is written as soon as it is there: interrupt as you like."""
    for compute, tokenizer in itertools.product(COMPUTES, tokenizers):
        rows = stored(log).to_dict("records") if log.exists() else []
        if any((row["corpus"], row["vocab_size"], row["compute"]) == (name, tokenizer.vocab_size, compute) for row in rows):
            continue
        kind = "characters" if isinstance(tokenizer, CharTokenizer) else "BPE"
        row = {"corpus": name, "tokenizer": kind} | measure(tokenizer, train, validation, compute)
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        with atomic_write(log) as temporary:
            pd.DataFrame([*rows, row]).to_csv(temporary, index=False)


def tokenizer_of(corpus: corpora.Corpus, vocab_size: int) -> Tokenizer:
    """Merges come from the training text alone; the alphabet from both, or a new letter had no id."""
    if vocab_size == CHARACTERS:
        return CharTokenizer.train([*corpus.train, *corpus.validation])
    return BPETokenizer.train(corpus.train, vocab_size)


def fresh(train_bytes: int) -> list[str]:
    """FRESH times as many bytes in scenes that are not in the Playhouse, so that no run reads a scene many times."""
    scenes, written = [], 0
    for seed in itertools.count(playhouse.SCENES):
        scenes.append(playhouse.write(seed))
        written += len(scenes[-1])
        if written >= FRESH * train_bytes:
            return scenes
    raise AssertionError("seeds do not end")


if __name__ == "__main__":
    main()
