"""Models that count: from the uniform guess to n-grams, in one class. Built by hand in notebooks/01_bigram_models.ipynb."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Integer

__all__ = ["NGram"]


class NGram:
    """Predict a token from the `order - 1` tokens before it, by counting; interpolated after Witten and Bell (1991).

    Order 0 is the uniform guess, 1 the unigram, 2 the bigram model. A context h that was seen N times, followed by D
    different tokens, trusts its own counts with weight N / (N + D) and the context that is one token shorter with the
    rest, down to the uniform guess: no probability is ever 0, and a context never seen changes nothing.

    >>> bigram = NGram(order=2, vocab_size=3).fit([[0, 1, 0, 1, 0, 2]])
    >>> [round(p, 3) for p in bigram.probabilities([0])]
    [0.15, 0.55, 0.3]
    """

    def __init__(self, order: int, vocab_size: int):
        if order < 0 or vocab_size < 1:
            raise ValueError(f"order={order}, vocab_size={vocab_size}: the order is 0 or more, the vocabulary 1 or more")
        self.order, self.vocab_size = order, vocab_size
        self.counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)  # context -> what followed how often
        self.totals: Counter[tuple[int, ...]] = Counter()  # how often anything followed

    def fit(self, documents: Iterable[Sequence[int] | Integer[np.ndarray, "_"]]) -> "NGram":
        """Count in these documents of token ids; a first token is context only, as no model predicts it."""
        for document in documents:
            ids = [int(token) for token in document]
            for i in range(1, len(ids)):
                for length in range(min(i + 1, self.order)):
                    context = tuple(ids[i - length:i])
                    self.counts[context][ids[i]] += 1
                    self.totals[context] += 1
        return self

    def probability(self, context: Sequence[int], token: int) -> float:
        """P(token | context). Of the context, the last `order - 1` tokens count."""
        p = 1 / self.vocab_size
        for length in range(min(len(context) + 1, self.order)):
            followers = self.counts.get(tuple(context[len(context) - length:]))
            if followers is None:  # never seen, so no longer context was either
                break
            total = self.totals[tuple(context[len(context) - length:])]
            p = (followers[token] + len(followers) * p) / (total + len(followers))
        return p

    def probabilities(self, context: Sequence[int]) -> list[float]:
        """The distribution of the next token; it sums to 1."""
        return [self.probability(context, token) for token in range(self.vocab_size)]

    def token_nats(
        self, documents: Iterable[Sequence[int] | Integer[np.ndarray, "_"]], order: int | None = None
    ) -> list[Float[np.ndarray, "_"]]:
        """Surprisal of every token of each document after its first, in nats, each given the tokens before it.

        With `order`, as the model of that lower order, whose counts are among these.
        """
        order = self.order if order is None else order
        if not 0 <= order <= self.order:
            raise ValueError(f"order={order} is none that was counted; they go from 0 to {self.order}")
        nats = []
        for document in documents:
            ids = [int(token) for token in document]
            if order == 0:
                nats.append(np.full(len(ids) - 1, math.log(self.vocab_size)))
                continue
            nats.append(np.array([-math.log(self.probability(ids[max(0, i - order + 1):i], ids[i]))
                                  for i in range(1, len(ids))]))
        return nats
