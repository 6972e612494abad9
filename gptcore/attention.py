"""Causal self-attention and its key/value cache. Built by hand in notebooks/04_attention.ipynb.

B batch, T new positions (the queries), S all positions so far (the keys), C channels, H heads, D width of a head.
Without a cache S = T; with one, the T queries are the last T of the S positions.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from gptcore.linear import Linear

__all__ = [
    "ATTENTION", "CausalSelfAttention", "KeyValueCache", "attention_weights", "causal_mask", "explicit_attention",
    "head_width", "merge_heads", "sdpa_attention", "split_heads",
]


def split_heads(x: Float[Tensor, "B T HD"], n_head: int) -> Float[Tensor, "B H T D"]:
    """Cut the channels of each position into heads that attend on their own.

    >>> split_heads(torch.arange(6.0).reshape(1, 1, 6), n_head=2).tolist()
    [[[[0.0, 1.0, 2.0]], [[3.0, 4.0, 5.0]]]]
    """
    B, T, HD = x.shape
    return x.reshape(B, T, n_head, HD // n_head).transpose(1, 2)    # (B, T, H, D) -> (B, H, T, D)


def merge_heads(x: Float[Tensor, "B H T D"]) -> Float[Tensor, "B T HD"]:
    """Put the heads of each position side by side again: the inverse of `split_heads`.

    >>> merge_heads(torch.tensor([[[[0.0, 1.0]], [[2.0, 3.0]]]])).tolist()
    [[[0.0, 1.0, 2.0, 3.0]]]
    """
    B, H, T, D = x.shape
    return x.transpose(1, 2).reshape(B, T, H * D)                   # (B, T, H, D) -> (B, T, H * D)


def causal_mask(T: int, S: int, device: torch.device | str | None = None) -> Bool[Tensor, "T S"]:
    """Say which of S positions each of the last T may look at: itself and all before it (True = may look).

    >>> causal_mask(2, 3).int().tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


def attention_weights(q: Float[Tensor, "B H T D"], k: Float[Tensor, "B H S D"]) -> Float[Tensor, "B H T S"]:
    """Say how much each position takes from each position up to itself; every row sums to 1.

    Dividing by sqrt(D) keeps the variance of the scores at that of the entries of q and k ("Attention is all you
    need", section 3.2.1): without it wide heads start with a softmax that is almost one-hot and hardly learns.

    >>> attention_weights(torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 3, 4))[0, 0]    # no preference: averages
    tensor([[1.0000, 0.0000, 0.0000],
            [0.5000, 0.5000, 0.0000],
            [0.3333, 0.3333, 0.3333]])
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))        # (B, H, T, S)
    visible = causal_mask(q.size(-2), k.size(-2), q.device)         # (T, S)
    return scores.masked_fill(~visible, -math.inf).softmax(dim=-1)


def explicit_attention(
    q: Float[Tensor, "B H T D"], k: Float[Tensor, "B H S D"], v: Float[Tensor, "B H S D"], dropout: float | int = 0.0
) -> Float[Tensor, "B H T D"]:
    """Attend with every step written out; `dropout` is the share of weights set to zero.

    >>> v = torch.tensor([2.0, 4.0, 9.0]).reshape(1, 1, 3, 1)
    >>> explicit_attention(torch.zeros(1, 1, 3, 1), torch.zeros(1, 1, 3, 1), v).flatten().tolist()
    [2.0, 3.0, 5.0]
    """
    weights = F.dropout(attention_weights(q, k), dropout)           # (B, H, T, S)
    return weights @ v


def sdpa_attention(
    q: Float[Tensor, "B H T D"], k: Float[Tensor, "B H S D"], v: Float[Tensor, "B H S D"], dropout: float | int = 0.0
) -> Float[Tensor, "B H T D"]:
    """Attend with torch's fused kernel: the same numbers, and the (T, S) weights need not fit into memory.

    >>> v = torch.tensor([2.0, 4.0, 9.0]).reshape(1, 1, 3, 1)
    >>> sdpa_attention(torch.zeros(1, 1, 3, 1), torch.zeros(1, 1, 3, 1), v).flatten().tolist()
    [2.0, 3.0, 5.0]
    """
    T, S = q.size(-2), k.size(-2)
    if T == S:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
    # is_causal would line up the first query with the first key; after a cache the last belong together.
    mask = None if T == 1 else causal_mask(T, S, q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


ATTENTION = {"explicit": explicit_attention, "sdpa": sdpa_attention}


class KeyValueCache:
    """The keys and values of all positions that one layer has seen, so that a new token costs one position, not all.

    >>> cache, step = KeyValueCache(), torch.zeros(1, 2, 3, 4)
    >>> _ = cache.extend(step, step)
    >>> k, v = cache.extend(step, step)
    >>> k.shape, cache.length
    (torch.Size([1, 2, 6, 4]), 6)
    """

    def __init__(self) -> None:
        self.k: Tensor | None = None
        self.v: Tensor | None = None

    @property
    def length(self) -> int:
        return 0 if self.k is None else self.k.size(-2)

    def extend(
        self, k: Float[Tensor, "B H T D"], v: Float[Tensor, "B H T D"]
    ) -> tuple[Float[Tensor, "B H S D"], Float[Tensor, "B H S D"]]:
        """Append the keys and values of T new positions and return those of all S."""
        if self.k is not None:
            k, v = torch.cat((self.k, k), dim=-2), torch.cat((self.v, v), dim=-2)
        self.k, self.v = k, v
        return k, v


def head_width(n_embd: int, n_head: int) -> int:
    """Share the channels out evenly among the heads, or raise ValueError with a width that would do.

    >>> head_width(768, 12)
    64
    """
    if n_embd % n_head:
        near = max(1, round(n_embd / n_head)) * n_head
        raise ValueError(f"n_embd={n_embd} does not split into n_head={n_head} equal heads; "
                         f"try n_embd={near}, or give head_size yourself")
    return n_embd // n_head


class CausalSelfAttention(nn.Module):
    """Let each position gather what it asks for from itself and the positions before it, in several heads at once.

    `head_size` is free: n_head * head_size need not be n_embd. `kind` names the entry of `ATTENTION` that does the
    work. The mask is made anew from the shapes at each call, so none is saved with the weights.

    >>> CausalSelfAttention(n_embd=12, n_head=3)(torch.zeros(2, 5, 12)).shape
    torch.Size([2, 5, 12])
    """

    def __init__(
        self, n_embd: int, n_head: int, head_size: int | None = None, *, dropout: float | int = 0.0, bias: bool = True,
        qkv_bias: bool | None = None, kind: str = "sdpa",
    ) -> None:
        super().__init__()
        inner = n_head * (head_size or head_width(n_embd, n_head))  # H * D
        self.n_head, self.dropout, self.attend = n_head, dropout, ATTENTION[kind]
        self.query_key_value = Linear(n_embd, 3 * inner, bias=bias if qkv_bias is None else qkv_bias)
        self.projection = Linear(inner, n_embd, bias=bias)
        self.output_dropout = nn.Dropout(dropout)

    def heads(self, x: Float[Tensor, "B T C"]) -> tuple[Float[Tensor, "B H T D"], ...]:
        """Project x to the queries, keys and values of every head."""
        return tuple(split_heads(part, self.n_head) for part in self.query_key_value(x).chunk(3, dim=-1))

    def forward(self, x: Float[Tensor, "B T C"], cache: KeyValueCache | None = None) -> Float[Tensor, "B T C"]:
        q, k, v = self.heads(x)                                     # each (B, H, T, D)
        if cache is not None:
            k, v = cache.extend(k, v)                               # (B, H, S, D)
        gathered = self.attend(q, k, v, self.dropout if self.training else 0.0)
        return self.output_dropout(self.projection(merge_heads(gathered)))

    def weights(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B H T T"]:
        """Return the weights that `forward` would use, without dropout, for a picture of who looks at whom."""
        q, k, _ = self.heads(x)
        return attention_weights(q, k)
