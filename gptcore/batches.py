"""Windows of token ids that never cross a document's border. Built by hand in notebooks/02_longer_context.ipynb.

A document is a 1-D array of ids. Training draws windows at random (`Batches`), from memory or from shards on disk;
evaluation reads fixed ones that cover every token once (`validation_windows`). Both give inputs and targets, the targets
one position later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Int64, Integer
from torch import Tensor

from gptcore.shards import Stream, TokenFiles

__all__ = ["IGNORE", "Batches", "Windows", "validation_windows"]

IGNORE = -100  # a target that does not count: what F.cross_entropy ignores unless told otherwise


class Batches:
    """Random windows for training: `batch(step, micro)` depends on nothing but the seed and its two arguments.

    There is no position to save, so a resumed run draws what it would have drawn. A document is chosen with probability
    proportional to the tokens it predicts (all but its first), and a window starts anywhere with room for `block_size`
    targets; a shorter document is taken whole. Rows are padded to the longest of their batch: with targets IGNORE, and
    with inputs that repeat the row's first id.

    >>> batches = Batches([np.array([9, 1, 2, 9])], block_size=8, batch_size=2, seed=0)
    >>> batches.batch(step=0)
    (tensor([[9, 1, 2],
            [9, 1, 2]]), tensor([[1, 2, 9],
            [1, 2, 9]]))
    """

    def __init__(
        self, documents: Sequence[Integer[np.ndarray, "_"]] | Stream, block_size: int, batch_size: int, seed: int
    ):
        if batch_size < 1 or seed < 0:
            raise ValueError(f"batch_size={batch_size}, seed={seed}: at least 1 and 0, please")
        self.documents = documents if isinstance(documents, Stream) else _join(documents)
        _refuse_block_size(block_size)
        self.block_size, self.batch_size, self.seed = block_size, batch_size, seed

    def batch(self, step: int, micro: int = 0) -> tuple[Int64[Tensor, "B T"], Int64[Tensor, "B T"]]:
        """Return inputs and targets of micro-batch `micro` of step `step`; T <= block_size."""
        rng, before = np.random.default_rng([self.seed, step, micro]), self.documents.before
        token = rng.integers(before[-1], size=self.batch_size)  # a token drawn evenly names its document
        document = np.searchsorted(before, token, side="right") - 1
        predicted = before[document + 1] - before[document]
        length = np.minimum(predicted, self.block_size)
        begin = before[document] + document + rng.integers(predicted - length + 1)
        return _rows(self.documents.ids, begin, length)


@dataclass(frozen=True, eq=False)
class Windows:
    """Fixed windows: window w reads length[w] ids from begin[w] on, and its first skip[w] targets are IGNORE."""

    ids: Int64[np.ndarray, "N"]
    begin: Int[np.ndarray, "W"]
    length: Int[np.ndarray, "W"]
    skip: Int[np.ndarray, "W"]

    def __len__(self) -> int:
        return len(self.begin)

    def rows(self, index: Int[np.ndarray, "B"]) -> tuple[Int64[Tensor, "B T"], Int64[Tensor, "B T"]]:
        """Return inputs and targets of the windows `index`, padded to the longest of them."""
        return _rows(self.ids, self.begin[index], self.length[index], self.skip[index])

    def thin(self, count: int) -> "Windows":
        """Return at most `count` of the windows, evenly spaced over all of them."""
        keep = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int))
        return Windows(self.ids, self.begin[keep], self.length[keep], self.skip[keep])


def validation_windows(
    documents: Sequence[Integer[np.ndarray, "_"]], block_size: int, stride: int | None = None
) -> Windows:
    """Cover every token of every document but its first exactly once as a target.

    A document is read from its first token. Where it is longer than a window, the windows overlap: each predicts
    `stride` new tokens (block_size // 2 unless told otherwise) from at least block_size - stride tokens before them.

    >>> windows = validation_windows([np.array([9, 1, 2, 3, 4, 9])], block_size=3, stride=1)
    >>> windows.rows(np.arange(len(windows)))
    (tensor([[9, 1, 2],
            [1, 2, 3],
            [2, 3, 4]]), tensor([[   1,    2,    3],
            [-100, -100,    4],
            [-100, -100,    9]]))
    """
    stride = max(1, block_size // 2) if stride is None else stride
    if not 1 <= stride <= block_size:
        raise ValueError(f"stride={stride} stands still or skips tokens; it goes from 1 to block_size={block_size}")
    _refuse_block_size(block_size)
    joined = _join(documents)
    predicted = np.diff(joined.before)
    first = joined.before[:-1] + np.arange(len(documents))
    count = 1 + -(-np.maximum(predicted - block_size, 0) // stride)
    document = np.repeat(np.arange(len(documents)), count)
    turn = np.arange(len(document)) - np.repeat(np.cumsum(count) - count, count)  # 0, 1, ... within each document
    return Windows(
        ids=joined.ids,
        begin=first[document] + turn * stride,
        length=np.minimum(block_size, predicted[document] - turn * stride),
        skip=np.where(turn > 0, block_size - stride, 0),
    )


def _refuse_block_size(block_size: int) -> None:
    if block_size < 1:
        raise ValueError(f"block_size={block_size} holds no token; it must be at least 1")


def _join(documents: Sequence[Integer[np.ndarray, "_"]]) -> Stream:
    """Put the documents end to end, once."""
    if len(documents) == 0:
        raise ValueError("there are no documents: at least one is needed, as an array of token ids")
    tokens = np.array([len(document) for document in documents])
    if tokens.min() < 2:
        which = int(tokens.argmin())
        raise ValueError(f"document {which} has {tokens[which]} tokens; predicting one takes two, so leave it out")
    return Stream(np.concatenate(documents).astype(np.int64), np.cumsum([0, *(tokens - 1)]))


def _rows(
    ids: Int64[np.ndarray, "N"] | TokenFiles,
    begin: Int[np.ndarray, "B"],
    length: Int[np.ndarray, "B"],
    skip: Int[np.ndarray, "B"] | int = 0,
) -> tuple[Int64[Tensor, "B T"], Int64[Tensor, "B T"]]:
    column = np.arange(length.max())
    inside = column < length[:, None]                                           # (B, T)
    position = begin[:, None] + np.where(inside, column, 0)                     # (B, T)
    counts = inside & (column >= np.reshape(skip, (-1, 1)))                     # (B, T)
    return torch.from_numpy(ids[position]), torch.from_numpy(np.where(counts, ids[position + 1], IGNORE))
