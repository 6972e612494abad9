"""batches: by hand, against slow loops written anew, and the laws that evaluation and resume rest on."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.batches import IGNORE, Batches, validation_windows

lengths = st.lists(st.integers(2, 40), min_size=1, max_size=8)


def numbered(lengths: list[int]) -> list[np.ndarray]:
    """Documents in which every id occurs once, so that an id names its document and position."""
    return [np.arange(100 * k, 100 * k + n) for k, n in enumerate(lengths)]


def everything(windows):
    return windows.rows(np.arange(len(windows)))


# By hand


def test_a_batch_is_cut_to_its_longest_row_and_short_rows_are_padded():
    batches = Batches([np.array([7, 5, 6])], block_size=8, batch_size=2, seed=0)
    inputs, targets = batches.batch(0)
    assert inputs.tolist() == [[7, 5], [7, 5]] and targets.tolist() == [[5, 6], [5, 6]]

    mixed = Batches([np.array([7, 5, 6, 1]), np.array([7, 2])], block_size=8, batch_size=64, seed=0)
    inputs, targets = mixed.batch(0)
    rows = {(tuple(a), tuple(b)) for a, b in zip(inputs.tolist(), targets.tolist())}
    assert rows == {((7, 5, 6), (5, 6, 1)), ((7, 7, 7), (2, IGNORE, IGNORE))}


def test_windows_of_a_long_and_a_short_document():
    windows = validation_windows([np.arange(8), np.array([50, 51])], block_size=4, stride=2)
    inputs, targets = everything(windows)
    assert inputs.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 4], [50, 50, 50, 50]]
    n = IGNORE
    assert targets.tolist() == [[1, 2, 3, 4], [n, n, 5, 6], [n, n, 7, n], [51, n, n, n]]


def test_thin_keeps_first_and_last_and_never_more_than_there_are():
    windows = validation_windows(numbered([5] * 10), block_size=4)
    assert windows.thin(4).begin.tolist() == [0, 15, 30, 45]
    assert windows.thin(1).begin.tolist() == [0]
    assert windows.thin(99).begin.tolist() == windows.begin.tolist()


# Independent implementation


def slow_windows(document, block_size, stride):
    """For every target: (its context's first token, the target), target by target."""
    end, out = min(block_size, len(document) - 1), []
    out += [(document[0], document[t]) for t in range(1, end + 1)]
    while end < len(document) - 1:
        begin, last = end + stride - block_size, min(end + stride, len(document) - 1)
        out += [(document[begin], document[t]) for t in range(end + 1, last + 1)]
        end = last
    return out


@given(lengths, st.integers(1, 12), st.data())
def test_validation_windows_agree_with_a_loop(lengths, block_size, data):
    stride = data.draw(st.integers(1, block_size))
    documents = numbered(lengths)
    inputs, targets = everything(validation_windows(documents, block_size, stride))
    got = [(a[0], b) for a, row in zip(inputs.tolist(), targets.tolist()) for b in row if b != IGNORE]
    assert got == [pair for document in documents for pair in slow_windows(document.tolist(), block_size, stride)]


def test_documents_and_starts_have_the_probabilities_that_are_named():
    # 5 predicted tokens in three places of a window of 3, against 2 in one: 5/7 * 1/3 each, and 2/7.
    batches = Batches(numbered([6, 3]), block_size=3, batch_size=70_000, seed=1)
    count = Counter(batches.batch(0)[0][:, 0].tolist())
    expected = {0: 5 / 21, 1: 5 / 21, 2: 5 / 21, 100: 2 / 7}
    assert count.keys() == expected.keys()
    for start, p in expected.items():
        spread = (p * (1 - p) / 70_000) ** 0.5
        assert abs(count[start] / 70_000 - p) < 5 * spread  # the seed is fixed, so this never flickers


# Laws


@given(lengths, st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**40), st.integers(0, 50))
def test_no_window_crosses_a_border(lengths, block_size, batch_size, seed, step):
    documents = numbered(lengths)
    inputs, targets = Batches(documents, block_size, batch_size, seed).batch(step)
    assert inputs.shape == targets.shape and inputs.shape[1] <= block_size and inputs.dtype == torch.int64
    real = targets != IGNORE
    assert torch.equal(targets[real], inputs[real] + 1)  # numbered documents: the next token of the same document
    assert set(inputs.flatten().tolist()) <= set(np.concatenate(documents).tolist())
    assert real.sum(1).max() == inputs.shape[1]  # cut to the longest row
    for row, n in zip(inputs, real.sum(1).tolist()):
        assert n == min(block_size, lengths[int(row[0]) // 100] - 1)  # full, or the whole document
        assert torch.equal(row[:n], torch.arange(n) + row[0])


@given(lengths, st.integers(1, 12), st.data())
def test_every_token_but_the_first_is_a_target_exactly_once(lengths, block_size, data):
    stride = data.draw(st.none() | st.integers(1, block_size))
    documents = numbered(lengths)
    inputs, targets = everything(validation_windows(documents, block_size, stride))
    real = targets != IGNORE
    assert sorted(targets[real].tolist()) == sorted(np.concatenate([d[1:] for d in documents]).tolist())
    assert torch.equal(targets[real], inputs[real] + 1)
    assert inputs.shape[1] <= block_size
    overlap = block_size - (max(1, block_size // 2) if stride is None else stride)
    for target, begins in zip(targets, inputs[:, 0] % 100):
        first = int((target != IGNORE).nonzero()[0])
        assert first == (0 if begins == 0 else overlap)  # earlier inputs are context only


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(0, 7))
def test_a_batch_is_a_function_of_seed_step_and_micro(seed, step, micro):
    documents = numbered([90, 80, 70])
    one, other = (Batches(documents, 8, 16, seed) for _ in range(2))
    other.batch(step + 1), other.batch(step, micro + 1)  # no state: what was drawn before does not matter
    assert torch.equal(one.batch(step, micro)[0], other.batch(step, micro)[0])
    elsewhere = Batches(documents, 8, 16, seed + 1)
    for changed in (one.batch(step + 1, micro), one.batch(step, micro + 1), elsewhere.batch(step, micro)):
        assert not torch.equal(one.batch(step, micro)[0], changed[0])
    assert not torch.equal(one.batch(step, micro + 1)[0], one.batch(step + 1, micro)[0])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Batches([], 4, 2, 0), "no documents"),
        (lambda: Batches(numbered([4, 1]), 4, 2, 0), "document 1 has 1 tokens"),
        (lambda: Batches(numbered([4]), 0, 2, 0), "block_size=0"),
        (lambda: Batches(numbered([4]), 4, 0, 0), "batch_size=0"),
        (lambda: Batches(numbered([4]), 4, 2, -1), "seed=-1"),
        (lambda: validation_windows([], 4), "no documents"),
        (lambda: validation_windows(numbered([4, 0]), 4), "document 1 has 0 tokens"),
        (lambda: validation_windows(numbered([4]), 4, stride=5), "stride=5"),
        (lambda: validation_windows(numbered([4]), 4, stride=0), "stride=0"),
    ],
)
def test_bad_values_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_index_past_the_windows_is_an_error_that_names_it():
    with pytest.raises(IndexError, match="index 1"):
        validation_windows(numbered([4]), 4).rows(np.array([1]))
