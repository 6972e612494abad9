"""Text from a model, one token at a time. Built by hand in notebooks/05_gpt.ipynb."""

import codecs
import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from gptcore.gpt import GPT, sleeping

__all__ = ["generate", "next_distribution", "sample_text"]


def _check(temperature: float | int, top_k: int | None, top_p: float | int | None) -> None:
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature} must be 0 (always the most likely token) or a positive number")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k} leaves no token; use 1 or more, or None for all")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p} must be above 0 and at most 1; use None for all")


def next_distribution(
    logits: Float[Tensor, "*B V"], temperature: float | int = 1.0, top_k: int | None = None,
    top_p: float | int | None = None,
) -> Float[Tensor, "*B V"]:
    """Turn logits into the probabilities to draw from, by three filters in this order.

    1. `temperature` divides the logits; 0 puts everything on the most likely token.
    2. `top_k` keeps the k most likely tokens, rescaled to sum to 1.
    3. `top_p` keeps the fewest most likely tokens whose probabilities, as step 2 left them, reach top_p.
    Of equally likely tokens the one with the lower id goes first, in all three.

    >>> logits = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
    >>> next_distribution(logits, top_k=3, top_p=0.8)
    tensor([0.6667, 0.3333, 0.0000, 0.0000])
    >>> next_distribution(logits, temperature=0)
    tensor([1., 0., 0., 0.])
    """
    _check(temperature, top_k, top_p)
    top = logits.amax(dim=-1, keepdim=True)
    if not top.isfinite().all():
        raise ValueError("the logits hold NaN or infinity; the model that made them is broken: look at its loss")
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.size(-1)).to(logits.dtype)
    # Subtracting the maximum first keeps a temperature near 0 from making infinity - infinity.
    probabilities = ((logits - top) / temperature).softmax(dim=-1)
    if top_k is None and top_p is None:                             # nothing to rank: sorting takes longer than a layer
        return probabilities
    kept, order = probabilities.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        kept[..., top_k:] = 0
        kept = kept / kept.sum(dim=-1, keepdim=True)
    if top_p is not None and top_p < 1:                             # rounding could cut the last ones at 1
        likelier = F.pad(kept.cumsum(dim=-1)[..., :-1], (1, 0))     # probability of all tokens that rank higher
        kept = kept.masked_fill(likelier >= top_p, 0)
        kept = kept / kept.sum(dim=-1, keepdim=True)
    return torch.zeros_like(kept).scatter(-1, order, kept)


def generate(
    model: GPT, ids: list[int] | Int[Tensor, "T"], max_new_tokens: int, *, temperature: float | int = 1.0,
    top_k: int | None = None, top_p: float | int | None = None, generator: torch.Generator | None = None,
    stop: int | None = None, use_cache: bool = True,
) -> Iterator[int]:
    """Yield up to `max_new_tokens` ids that continue `ids`, ending before the id `stop` if that is drawn.

    When the window is full (more tokens than block_size), it is cut to its last block_size // 2 tokens and fills up
    again. Both paths do so, with and without cache: positions are learned, so a window that slides by one token changes
    the position of every token in it and makes every cached key wrong.

    The model runs in eval mode without gradients and is back in its own mode at each yield. The draw is made on the
    CPU in float64: one CPU `generator` (default: torch's global one) serves models on every device.
    """
    _check(temperature, top_k, top_p)
    prompt = torch.as_tensor(ids).cpu()
    if prompt.ndim != 1 or len(prompt) == 0:
        raise ValueError(f"the prompt must be one row of token ids, not of shape {tuple(prompt.shape)}; to start from "
                         "nothing, give [tokenizer.end_of_text]")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens={max_new_tokens} must be 0 or more")
    model.check_ids(prompt)
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    return _stream(model, prompt.tolist(), max_new_tokens, settings, generator, stop, use_cache)


def _stream(
    model: GPT, window: list[int], max_new_tokens: int, settings: dict[str, Any], generator: torch.Generator | None,
    stop: int | None, use_cache: bool,
) -> Iterator[int]:
    block_size, device = model.config.block_size, model.final_norm.weight.device
    cache, modules = model.new_cache() if use_cache else None, list(model.modules())
    for _ in range(max_new_tokens):
        if len(window) > block_size:
            window = window[-max(1, block_size // 2):]
            cache = model.new_cache() if use_cache else None
        unseen = window[cache[0].length:] if cache else window
        with sleeping(modules):                     # never around a yield: the caller's code would run in it
            logits = model(torch.tensor([unseen], device=device), cache)[0, -1]         # (V)
        p = next_distribution(logits.cpu().double(), **settings)
        token = int(p.argmax()) if settings["temperature"] == 0 else draw(p, generator)
        if token == stop:
            return
        window.append(token)
        yield token


def draw(p: Float[Tensor, "V"], generator: torch.Generator | None = None) -> int:
    """Draw an index: the first up to which the probabilities sum to more than a random number from 0 to 1.

    `torch.multinomial` draws a number for every entry, which in a small model takes as long as its largest layer.
    """
    sums = p.cumsum(0)                                                                  # (V)
    threshold = torch.rand(1, dtype=p.dtype, generator=generator) * sums[-1]            # rounding may leave it below 1
    return int(torch.searchsorted(sums, threshold, right=True))


def sample_text(
    model: GPT, tokenizer: Any, prompt: str = "", max_new_tokens: int = 500, **settings: Any
) -> Iterator[str]:
    """Yield the continuation of `prompt` piece by piece, from the start of a document to its end or the token limit.

    `settings` are those of `generate` but for `stop`. Joined, the pieces are what `tokenizer.decode` makes of all
    tokens: a character spread over several tokens comes when it is complete, bytes that are not UTF-8 come as U+FFFD.
    """
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(f"the tokenizer has {tokenizer.vocab_size} tokens, the model {model.config.vocab_size}; "
                         "use the tokenizer that was saved with the model")
    start = [tokenizer.end_of_text, *tokenizer.encode(prompt)]
    tokens = generate(model, start, max_new_tokens, stop=tokenizer.end_of_text, **settings)
    return _decode_stream(tokenizer, tokens)


def _decode_stream(tokenizer: Any, tokens: Iterator[int]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        if piece := decoder.decode(tokenizer.token_bytes(token)):
            yield piece
    if rest := decoder.decode(b"", final=True):
        yield rest
