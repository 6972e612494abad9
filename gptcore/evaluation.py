"""How good a model is, with an error bar. Built by hand in notebooks/01_bigram_models.ipynb.

Losses are nats per token inside; what is shown is bits per byte, the one currency in which models with different
tokenizers can be compared. The road: `byte_nats` (the surprisal of each byte) -> `bits_per_byte` (their mean, with its
error). `token_nats` gives the same surprisal token by token.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int64, Integer
from torch import Tensor, nn
from tqdm import tqdm

from gptcore.batches import IGNORE, Windows, validation_windows
from gptcore.device import Device
from gptcore.distributed import Processes
from gptcore.gpt import evaluating

__all__ = [
    "Score",
    "bits_per_byte",
    "byte_nats",
    "cross_entropy",
    "paired_difference",
    "shared_window_loss",
    "token_nats",
    "window_loss",
]

FEW, PIECES = 10, 20  # with fewer than FEW documents, they are cut into about PIECES pieces for the error bar


def cross_entropy(logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Return the nats of each target, 0 where it is IGNORE; half-precision logits are widened first.

    >>> cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[3, IGNORE]]))
    tensor([[1.3863, 0.0000]])
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # One row per target; F.cross_entropy also takes (B, V, T), but that transposes the logits, and copying them takes time.
    nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="none")  # (B * T)
    return nats.view_as(targets)


def token_nats(
    model: nn.Module,
    documents: Sequence[Integer[np.ndarray, "_"]],
    *,
    stride: int | None = None,
    batch_size: int = 32,
    device: Device | None = None,
) -> list[Float[np.ndarray, "_"]]:
    """Return for each document the nats of each of its tokens after the first, in order (float64).

    Runs where the model's weights are, without dropout; `device` adds its number format. Documents longer than the
    model's block are read as `validation_windows` describes.
    """
    windows = validation_windows(documents, model.config.block_size, stride)
    return _by_document(_nats_by_position(model, windows, batch_size, device), documents)


def byte_nats(
    model: nn.Module,
    documents: Sequence[Integer[np.ndarray, "_"]],
    tokenizer,
    *,
    stride: int | None = None,
    batch_size: int = 32,
    device: Device | None = None,
    progress: bool = False,
) -> list[Float[np.ndarray, "_"]]:
    """Return for each document the nats of each byte of its text, in order (float64); options as in `token_nats`.

    P(next byte | bytes of the token so far) is the probability of all tokens that share the longer beginning, over
    that of all tokens that share the shorter. That the token ends there is charged to the byte that follows. The sum over a
    document is that of its tokens, but for the closing `<|endoftext|>`: it has no bytes, so its nats are dropped. (A
    text costs what its bytes cost; the grammar's floor knows no such token.) By byte, models with different tokenizers
    and the grammar itself (one surprisal per ASCII character) can be subtracted position by position.
    """
    windows = validation_windows(documents, model.config.block_size, stride)
    ranges = ByteRanges(tokenizer)
    by_token: list = [None] * len(windows.ids)
    for positions, targets, logits in _predictions(model, windows, batch_size, device, progress):
        for rows in np.array_split(np.arange(len(targets)), -(-len(targets) // 512)):  # V numbers a row: few at a time
            for row, nats in zip(rows, ranges.split(targets[rows], logits[rows])):
                by_token[positions[row]] = nats
    result, first = [], 0
    for document in documents:
        nats, rest = [], 0.0
        for of_token in by_token[first + 1:first + len(document) - 1]:  # the last token is the closing one
            of_token[0] += rest
            nats.append(of_token[:-1])
            rest = of_token[-1]
        result.append(np.concatenate([*nats, np.zeros(0)]))
        if len(result[-1]):
            result[-1][-1] += rest
        first += len(document)
    return result


class ByteRanges:
    """Where in the sorted vocabulary the tokens stand that begin with the same bytes: side by side."""

    def __init__(self, tokenizer):
        vocabulary = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
        self.order = np.array(sorted(range(len(vocabulary)), key=vocabulary.__getitem__))
        ordered = [vocabulary[token] for token in self.order]
        self.ranges = []  # for each token (its length, 2): tokens that share its first byte, first two, ...
        for token in vocabulary:
            beginnings = [token[:length] for length in range(1, len(token) + 1)]
            self.ranges.append(np.array([(bisect_left(ordered, beginning),
                                          bisect_left(ordered, True, key=lambda other, b=beginning: other[:len(b)] > b))
                                         for beginning in beginnings]).reshape(-1, 2))

    def split(self, targets: Int64[np.ndarray, "n"], logits: Float[Tensor, "n V"]) -> list[Float[np.ndarray, "_"]]:
        """For each target the nats of its bytes, and one number more: the nats of ending there."""
        log_p = logits.double().log_softmax(-1).cpu().numpy()                                 # (n, V)
        p = np.exp(np.concatenate([log_p[:, self.order], np.full((len(log_p), 1), -np.inf)], axis=1))
        result = []
        for row, target in enumerate(targets):
            mass = np.add.reduceat(p[row], self.ranges[target].ravel())[::2] if len(self.ranges[target]) else np.zeros(0)
            exact = -log_p[row, target]
            so_far = np.minimum(-np.log(np.maximum(mass, 1e-300)), exact)  # rounding must not make a share above 1
            result.append(np.diff(so_far, prepend=0.0, append=exact))
        return result


def window_loss(
    model: nn.Module, windows: Windows, batch_size: int = 32, device: Device | None = None
) -> tuple[float, float]:
    """Return the mean nats per token over fixed windows, and its standard error over these windows."""
    return _ratio(_nats_by_window(model, windows, batch_size, device), windows.length - windows.skip)


def shared_window_loss(
    model: nn.Module, windows: Windows, processes: Processes, batch_size: int = 32, device: Device | None = None
) -> tuple[float, float]:
    """Return `window_loss`, each process reading its share of the windows; all get the same two numbers."""
    mine = np.array(processes.share(len(windows)), dtype=int)
    nats = np.zeros(len(windows))
    if len(mine):
        part = Windows(windows.ids, windows.begin[mine], windows.length[mine], windows.skip[mine])
        nats[mine] = _nats_by_window(model, part, batch_size, device)
    return _ratio(processes.sum(torch.from_numpy(nats)).numpy(), windows.length - windows.skip)


@dataclass(frozen=True)
class Score:
    """Bits per byte and its standard error.

    >>> print(Score(1.23361, 0.00492))
    1.234 ± 0.005
    """

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.error:.3f}"


def bits_per_byte(nats: Sequence[Float[np.ndarray, "_"]]) -> Score:
    """Return all nats over all bytes, in bits, with its standard error; one array per document, one entry per byte.

    The documents are the sample: with y_i nats and x_i bytes in document i, the ratio R = sum y / sum x has the
    standard error sqrt(n / (n - 1) * sum (y_i - R x_i)^2) / sum x (Cochran, Sampling Techniques, 1977, chapter 6).
    Fewer than ten documents say nothing about their spread: each is cut into equal pieces, about twenty in all, which
    stand for documents (batch means). That error speaks of other parts of these documents, not of others.

    >>> print(bits_per_byte([np.full(8, math.log(2)), np.full(4, math.log(4))] * 5))
    1.333 ± 0.148
    """
    if len(nats) < FEW:
        nats = [piece for document in nats for piece in np.array_split(document, -(-PIECES // len(nats)))]
    sizes = np.array([len(piece) for piece in nats])
    if sizes.sum() == 0:
        raise ValueError("there are no bytes to score: every document is empty")
    value, error = _ratio(np.array([piece.sum() for piece in nats]), sizes)
    return Score(value / math.log(2), error / math.log(2))


def paired_difference(ours: Sequence[Float[np.ndarray, "_"]], theirs: Sequence[Float[np.ndarray, "_"]]) -> Score:
    """Return bits per byte of `ours` minus `theirs` on the same documents, with the error of the difference.

    Both models find the same documents hard, so this error is far smaller than either model's own.
    """
    sizes = [[len(document) for document in nats] for nats in (ours, theirs)]
    if sizes[0] != sizes[1]:
        counts = [f"{sum(size)} bytes in {len(size)} documents" for size in sizes]
        raise ValueError(f"not the same text: {counts[0]} against {counts[1]}, or cut differently")
    return bits_per_byte([one - other for one, other in zip(ours, theirs)])


def _ratio(y: Float[np.ndarray, "n"], x: Int[np.ndarray, "n"]) -> tuple[float, float]:
    """Return sum y / sum x and its standard error (nan for a single pair, which has no spread)."""
    ratio = y.sum() / x.sum()
    if len(x) < 2:
        return float(ratio), math.nan
    with np.errstate(invalid="ignore"):  # an impossible text has infinite nats: its error is nan
        error = math.sqrt(len(x) / (len(x) - 1) * np.square(y - ratio * x).sum()) / x.sum()
    return float(ratio), float(error)


def _nats_by_window(
    model: nn.Module, windows: Windows, batch_size: int, device: Device | None
) -> Float[np.ndarray, "W"]:
    """Return the nats of all targets of each window."""
    nats = _nats_by_position(model, windows, batch_size, device)
    spans = zip(windows.begin + 1 + windows.skip, windows.begin + 1 + windows.length)
    return np.array([nats[start:end].sum() for start, end in spans])


def _nats_by_position(
    model: nn.Module, windows: Windows, batch_size: int, device: Device | None
) -> Float[np.ndarray, "N"]:
    """Return for each position in windows.ids the nats of that token as a target, nan where it is none."""
    nats = np.full(len(windows.ids), np.nan)
    for positions, targets, logits in _predictions(model, windows, batch_size, device):
        targets = torch.from_numpy(targets)[None].to(logits.device)
        nats[positions] = cross_entropy(logits[None], targets)[0].double().cpu().numpy()
    return nats


def _by_document(
    nats: Float[np.ndarray, "N"], documents: Sequence[Integer[np.ndarray, "_"]]
) -> list[Float[np.ndarray, "_"]]:
    borders = np.cumsum([len(document) for document in documents])[:-1]
    return [of_document[1:] for of_document in np.split(nats, borders)]


def _predictions(
    model: nn.Module, windows: Windows, batch_size: int, device: Device | None, progress: bool = False
) -> Iterator[tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"], Float[Tensor, "n V"]]]:
    """Yield, batch by batch, the positions in windows.ids that are targets, these targets, and the model's logits."""
    place = next(model.parameters()).device
    order = np.argsort(windows.length, kind="stable")  # windows of similar length share a batch: little padding
    with evaluating(model), tqdm(total=len(order), unit="window", disable=not progress) as bar:
        for index in np.split(order, range(batch_size, len(order), batch_size)):
            inputs, targets = windows.rows(index)
            with device.autocast() if device else nullcontext():
                logits = model(inputs.to(place))                                              # (B, T, V)
            counts = targets != IGNORE                                                        # (B, T)
            position = windows.begin[index, None] + 1 + np.arange(targets.shape[1])           # (B, T)
            yield position[counts.numpy()], targets[counts].numpy(), logits[counts.to(place)]
            bar.update(len(index))
