"""NGram: a case by hand, an independent count, and the laws of a distribution."""
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcore.ngram import NGram

documents = st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=20), min_size=1, max_size=4)


def test_bigram_by_hand():
    """After 0 came 1, 1, 2: N = 3, D = 2. All tokens but the first: 1, 0, 1, 0, 2: N = 5, D = 3; uniform 1/3."""
    unigram = [(count + 3 / 3) / (5 + 3) for count in (2, 2, 1)]
    bigram = [(count + 2 * p) / (3 + 2) for count, p in zip((0, 2, 1), unigram)]
    model = NGram(2, 3).fit([[0, 1, 0, 1, 0, 2]])
    assert model.probabilities([0]) == pytest.approx(bigram, abs=1e-12)
    assert model.probabilities([2]) == pytest.approx(unigram, abs=1e-12)  # 2 was followed by nothing
    assert model.probabilities([1, 2, 0]) == pytest.approx(bigram, abs=1e-12)


def test_order_zero_is_the_uniform_guess():
    nats = NGram(0, 7).fit([[1, 2, 3]]).token_nats([[1, 2, 3, 4]])
    np.testing.assert_allclose(nats[0], [math.log(7)] * 3)


@given(documents, st.integers(0, 4), st.lists(st.integers(0, 4), max_size=6))
def test_every_context_has_a_distribution(texts, order, context):
    probabilities = NGram(order, 5).fit(texts).probabilities(context)
    assert sum(probabilities) == pytest.approx(1, abs=1e-12)
    assert min(probabilities) > 0


@given(documents, st.integers(1, 4))
def test_against_an_independent_recursion(texts, order):
    """The same formula from the definition: recount for each question, recurse from the longest context down."""
    grams = Counter(tuple(text[i - k:i + 1]) for text in texts for i in range(1, len(text)) for k in range(i + 1))

    def p(context, token):
        if context is None:
            return 1 / 5
        shorter = context[1:] if context else None
        followers = [grams[(*context, t)] for t in range(5)]
        n, d = sum(followers), sum(count > 0 for count in followers)
        if n == 0:
            return p(shorter, token)
        return n / (n + d) * followers[token] / n + d / (n + d) * p(shorter, token)

    model = NGram(order, 5).fit(texts)
    longer = NGram(4, 5).fit(texts)
    for text in texts:
        np.testing.assert_array_equal(model.token_nats([text])[0], longer.token_nats([text], order=order)[0])
        expected = [-math.log(p(tuple(text[max(0, i - order + 1):i]), text[i])) for i in range(1, len(text))]
        np.testing.assert_allclose(model.token_nats([text])[0], expected, rtol=1e-9)


def test_longer_context_wins_where_there_is_enough_text():
    rng = np.random.default_rng(0)
    texts = [np.cumsum(rng.integers(1, 3, 400)) % 6 for _ in range(20)]  # each token is the last one plus 1 or 2
    loss = [np.concatenate(NGram(order, 6).fit(texts[:15]).token_nats(texts[15:])).mean() for order in range(3)]
    assert loss[0] == pytest.approx(math.log(6))
    assert loss[2] == pytest.approx(math.log(2), abs=0.02)  # one bit is drawn for each token, and no more
    assert loss[1] > 1.7


@pytest.mark.parametrize("order, vocab_size", [(-1, 3), (2, 0)])
def test_bad_sizes_are_refused(order, vocab_size):
    with pytest.raises(ValueError, match=f"order={order}"):
        NGram(order, vocab_size)


def test_an_order_that_was_not_counted_is_refused():
    with pytest.raises(ValueError, match="from 0 to 2"):
        NGram(2, 3).fit([[0, 1]]).token_nats([[0, 1]], order=3)
