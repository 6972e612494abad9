"""What a training will take, in operations, time and memory. Built by hand in notebooks/09_training_at_scale.ipynb.

Peak rates are those that the makers of the cards publish for dense matrix products, and no training reaches them; the share
that it reaches is its utilisation. Estimates here are made with a stated one.
"""

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from gptcore.diagnostics import predict_memory
from gptcore.gpt import PRESETS, GPTConfig, count_parameters

__all__ = ["CARDS", "PUBLISHED", "UTILISATION", "Card", "Published", "details", "duration", "flops_per_token",
           "largest_batch", "overview", "peak_memory", "time_estimate", "training_tokens", "utilisation"]


@dataclass(frozen=True)
class Card:
    """A GPU: operations a second in its format for training, and the bytes that a model can have of it."""

    peak: float
    precision: str
    memory: float


CARDS = {
    "T4": Card(65e12, "fp16", 15e9),       # 8.1e12 in fp32; NVIDIA T4 datasheet
    "A100": Card(312e12, "bf16", 40e9),    # NVIDIA A100 datasheet
    "H100": Card(989e12, "bf16", 80e9),    # SXM, without sparsity; NVIDIA H100 datasheet
}
UTILISATION = 0.2  # what the largest of the published runs below had; the small ones had far less


class Published(NamedTuple):
    """A training that was published: tokens read, on what, in how many minutes."""

    tokens: float
    card: str
    minutes: float


PUBLISHED = {
    "medium": Published(5000 * 64 * 256, "A100", 3),
    "shakespeare-bpe": Published(5000 * 64 * 256, "T4", 30),          # evaluations included
    "books-bpe": Published(10_000 * 32 * 256, "T4", 82.5),            # 75 to 90, evaluations included
    "wikipedia-bpe": Published(302e3 * 484.68 * 60, "H100", 484.68),  # 302,000 tokens a second
}


def flops_per_token(config: GPTConfig, T: int | None = None) -> pd.Series:
    """The operations that training takes for each token of a window of T: forward and backward pass, by kind.

    A product costs two operations for each weight, and the way back two products, one for each gradient: 6 for each weight
    that is multiplied. Queries with keys and weights with values come to 12 H D T in a layer. (Chowdhery et al., "PaLM",
    2022, appendix B, which counts 6 for the embeddings too; here they count where they are the output layer.) The masked
    half of the scores is counted, as there; norms, activation functions and the optimizer are not, being below 1 %.

    >>> int(flops_per_token(GPTConfig(100, block_size=8, n_layer=1, n_head=1, n_embd=4)).sum())
    3936
    """
    T = T or config.block_size
    C, L, V, inner = config.n_embd, config.n_layer, config.vocab_size, config.n_head * config.head_width
    return pd.Series({"attention matrices": 6 * L * 4 * C * inner, "scores": 12 * L * inner * T, "mlp": 6 * L * 8 * C * C,
                      "output": 6 * V * C})


def peak_memory(
    config: GPTConfig, batch_size: int, T: int | None = None, *, half: bool = False, accumulation: int = 1
) -> pd.Series:
    """The bytes in use when a training step needs most, by kind, with AdamW.

    That is in the beginning of the way back: besides what `predict_memory` knows there are the scores of all tokens and two
    gradients of that size. The gradients of the weights are there only if an earlier micro-batch left them. With `half`
    (fp16 or bf16) activations take two bytes and each matrix has a copy; the stream and the softmax stay in float32. Left
    out are what dropout remembers and what a layer or the optimizer needs for a moment, together some percent, and what
    the driver of a GPU takes, some hundred MB.
    """
    if batch_size < 1 or accumulation < 1:
        raise ValueError(f"batch_size={batch_size}, accumulation={accumulation}: at least one window of one micro-batch")
    positions = batch_size * (T or config.block_size)
    C, L, V = config.n_embd, config.n_layer, config.vocab_size
    kinds = predict_memory(config, batch_size, T).drop("buffers")
    kinds["at the loss"] = 4 * positions * 3 * V
    if half:
        wide = 4 * positions * ((2 * L + 1) * C + V)
        kinds["activations"] = wide + (kinds["activations"] - wide) // 2
        kinds["at the loss"] -= 2 * positions * V
        kinds["copies"] = flops_per_token(config).drop("scores").sum() // 3     # 2 bytes where there are 6 operations
    if accumulation == 1:
        backward = kinds.drop("gradients").sum()
        update = kinds[["weights", "gradients", "optimizer state"]].sum()
        kinds[["gradients"] if backward >= update else kinds.index.drop(["weights", "gradients", "optimizer state"])] = 0
    return kinds


def largest_batch(config: GPTConfig, memory: float | int, *, half: bool = False) -> int:
    """How many windows of a whole block fit into `memory` bytes at once, where steps have several micro-batches.

    >>> largest_batch(PRESETS["gpt2"], 1e9)
    0
    """
    one, two = (peak_memory(config, n, half=half, accumulation=2).sum() for n in (1, 2))
    return max(0, int((memory - (2 * one - two)) // (two - one)))     # all that depends on the batch is proportional to it


def time_estimate(config: GPTConfig, tokens: float | int, card: Card, share: float | int = UTILISATION) -> float:
    """The seconds that reading `tokens` takes on a card that works at this share of its peak."""
    if not 0 < share <= 1:
        raise ValueError(f"a utilisation of {share} cannot be: it is a share of the peak, as 0.2")
    return float(tokens * flops_per_token(config).sum() / (share * card.peak))


def utilisation(config: GPTConfig, tokens_per_second: float | int, card: Card) -> float:
    """Which share of its peak a card reached that read so many tokens a second.

    >>> round(utilisation(PRESETS["wikipedia-bpe"], 302e3, CARDS["H100"]), 3)
    0.198
    """
    return float(tokens_per_second * flops_per_token(config).sum() / card.peak)


def training_tokens(name: str) -> float | int:
    """How many tokens to read: as many as the published training did, else 20 for each parameter.

    Twenty is where a larger model and more text pay alike (Hoffmann et al., "Training compute-optimal large language
    models", 2022).
    """
    return PUBLISHED[name].tokens if name in PUBLISHED else 20 * sum(count_parameters(PRESETS[name]).values())


def duration(seconds: float | int) -> str:
    """A time as people say it, in two digits or so.

    >>> duration(42.4), duration(1800), duration(29_000), duration(500_000)
    ('42 s', '30 min', '8.1 h', '5.8 days')
    """
    for size, unit, digits in ((86_400, "days", 1), (3600, "h", 1), (60, "min", 0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def overview(share: float | int = UTILISATION) -> str:
    """A line for each preset: what its training takes, and what it took where it was published."""
    lines = [f"what a training takes on a card at {100 * share:.0f} % of its peak (more of one: info PRESET)",
             f"{'preset':16} {'MFLOP a token':>13} {'M tokens':>9} " + "".join(f"{card:>10}" for card in CARDS)
             + f"{'windows in 15 GB':>18}   published"]
    for name, config in PRESETS.items():
        tokens = training_tokens(name)
        times = [time_estimate(config, tokens, card, share) for card in CARDS.values()]
        lines.append(f"{name:16} {flops_per_token(config).sum() / 1e6:>13.1f} {tokens / 1e6:>9,.0f} "
                     + "".join(f"{duration(time) if time > 60 else '< 1 min':>10}" for time in times)
                     + f"{largest_batch(config, CARDS['T4'].memory, half=True):>18,}   {published(name)}".rstrip())
    lines.append("\nEach reads as many tokens as its published training did, or 20 for each parameter.")
    return "\n".join(lines)


def published(name: str) -> str:
    """What is known of the published training of a preset, in a line; nothing where none was."""
    if name not in PUBLISHED:
        return ""
    tokens, card, minutes = PUBLISHED[name]
    reached = utilisation(PRESETS[name], tokens / minutes / 60, CARDS[card])
    return f"{duration(60 * minutes)} on one {card}: {100 * reached:.1f} % of its peak"


def details(name: str, batch_size: int = 16, share: float | int = UTILISATION) -> str:
    """All that can be said of a preset before it is trained: parameters, operations, memory by kind, time by card."""
    config, tokens = PRESETS[name], training_tokens(name)
    half = peak_memory(config, batch_size, half=True, accumulation=2)
    full = peak_memory(config, batch_size, accumulation=2).reindex(half.index, fill_value=0)
    parts = {"parameters": (pd.Series(count_parameters(config)), "{:,.0f}"),
             "million operations for a token, there and back": (flops_per_token(config) / 1e6, "{:,.2f}"),
             f"MB in a step of micro-batches of {batch_size} windows of {config.block_size} tokens":
                 (pd.DataFrame({"fp32": full, "fp16 or bf16": half}) / 1e6, "{:,.1f}")}
    lines = [f"{name}: {config}"]
    for title, (table, number) in parts.items():
        lines.append(f"\n{title}\n{summed(table, number)}")
    lines.append(f"\n{tokens / 1e6:,.0f} million tokens, at {100 * share:.0f} % of the peak")
    for card, about in CARDS.items():
        fits = ", ".join(f"{largest_batch(config, about.memory, half=format != 'fp32'):,} in {format}"
                         for format in ("fp32", about.precision))
        lines.append(f"{card:6}{duration(time_estimate(config, tokens, about, share)):>10}   "
                     f"windows that fit into {about.memory / 1e9:.0f} GB: {fits}")
    return "\n".join(lines + [f"published: {known}" for known in [published(name)] if known])


def summed(table: pd.Series | pd.DataFrame, number: str) -> str:
    """A table with its sums, for the console."""
    frame = pd.DataFrame(table)
    shown = pd.concat([frame, frame.sum().rename("sum").to_frame().T]).map(number.format)
    return shown.to_string(header=isinstance(table, pd.DataFrame), col_space=14)
