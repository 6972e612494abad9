"""evaluation: by hand, against slow loops and the bootstrap, and the laws of an error bar."""

import math

import numpy as np
import pytest
import torch

from gptcore.batches import IGNORE, validation_windows
from gptcore.device import Device
from gptcore.evaluation import (
    ByteRanges,
    bits_per_byte,
    byte_nats,
    cross_entropy,
    paired_difference,
    token_nats,
    window_loss,
)
from gptcore.gpt import GPT, GPTConfig

LN2 = math.log(2)


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig(11, block_size=6, n_layer=1, n_head=2, n_embd=8, dropout=0.5)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20)  # far from uniform, so that a wrong context shows
    return model


@pytest.fixture
def documents() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 11, n) for n in (2, 25, 7, 3, 6, 14)]


def slow_nats(model, document, block_size, stride):
    """One token at a time, each with its own context."""
    nats, end = [], 0
    for t in range(1, len(document)):
        if t > end:
            begin, end = (0, block_size) if end == 0 else (end + stride - block_size, end + stride)
        context = torch.from_numpy(document[begin:t])[None]
        nats.append(-model(context)[0, -1].log_softmax(-1)[document[t]].item())
    return np.array(nats)


# Nats


def test_cross_entropy_by_hand():
    logits = torch.tensor([[[0.0, math.log(3)], [5.0, 5.0]]])
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([[1, 0]])), torch.tensor([[math.log(4 / 3), LN2]]))
    assert cross_entropy(logits, torch.tensor([[1, IGNORE]]))[0, 1] == 0
    assert cross_entropy(logits.bfloat16(), torch.tensor([[1, 0]])).dtype == torch.float32
    assert cross_entropy(logits.double(), torch.tensor([[1, 0]])).dtype == torch.float64


@pytest.mark.parametrize("stride", [None, 1, 4, 6])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_token_nats_agree_with_one_token_at_a_time(model, documents, stride, batch_size):
    got = token_nats(model, documents, stride=stride, batch_size=batch_size)
    model.eval()
    for document, nats in zip(documents, got, strict=True):
        assert nats.dtype == np.float64
        # float64, sums in another order; a loss near 0 is a difference of numbers near 100
        np.testing.assert_allclose(nats, slow_nats(model, document, 6, stride or 3), rtol=1e-12, atol=1e-12)


def test_evaluation_leaves_no_trace(model, documents):
    for training in (True, False):
        model.train(training)
        token_nats(model, documents)
        assert model.training == training and torch.is_grad_enabled()
    model.train()
    with pytest.raises(ValueError, match="outside"):  # restored after a failure, too
        token_nats(model, [np.array([99, 0, 1])])
    assert model.training and all(parameter.grad is None for parameter in model.parameters())


def test_half_precision_is_near(model, documents):
    model.float()
    bf16 = Device(torch.device("cpu"), torch.bfloat16, "a test")
    exact, rough = (np.concatenate(token_nats(model, documents, device=d)) for d in (None, bf16))
    assert 0 < np.abs(exact - rough).max()  # it is another format indeed
    assert abs(exact.mean() - rough.mean()) < 0.02 * exact.mean()  # 8 bits of mantissa: 0.4 % per rounding


def test_window_loss_is_the_mean_over_targets(model, documents):
    windows = validation_windows(documents, 6)
    loss, error = window_loss(model, windows, batch_size=4)
    assert loss == pytest.approx(np.concatenate(token_nats(model, documents)).mean(), rel=1e-12)
    assert 0 < error < loss
    same_length = validation_windows([document for document in documents if len(document) == 7] * 3, 6)
    assert window_loss(model, same_length)[1] == pytest.approx(0, abs=1e-12)  # three times the same window


def test_window_loss_has_the_textbook_error_for_windows_of_one_length(model):
    documents = list(np.random.default_rng(1).integers(0, 11, (12, 7)))
    means = [nats.mean() for nats in token_nats(model, documents)]
    for n in (2, 12):
        loss, error = window_loss(model, validation_windows(documents[:n], 6))
        assert loss == pytest.approx(np.mean(means[:n]))
        assert error == pytest.approx(np.std(means[:n], ddof=1) / math.sqrt(n))
    assert math.isnan(window_loss(model, validation_windows(documents[:1], 6))[1])


# Bytes


class Words:
    """Eleven tokens, some of which begin others; the last is the closing one."""

    vocabulary = (b"a", b"b", b"ab", b"abb", b"abc", b"ba", b"c", "…".encode(), "…".encode()[:2], b"bab", b"")
    vocab_size, end_of_text = 11, 10

    def token_bytes(self, id: int) -> bytes:
        return self.vocabulary[id]


def test_the_bytes_of_a_token_share_its_probability_by_hand():
    """Of tokens a, ab, b with 1/2, 1/4, 1/8 (and 1/8 to end): a costs -log 3/4, b after a -log 1/3, ending there 0."""

    class Three:
        vocab_size = 4

        def token_bytes(self, id):
            return [b"a", b"ab", b"b", b""][id]

    logits = torch.tensor([[1 / 2, 1 / 4, 1 / 8, 1 / 8]], dtype=torch.float64).log()
    a, ab, b = (ByteRanges(Three()).split(np.array([token]), logits)[0] for token in range(3))
    np.testing.assert_allclose(a, [math.log(4 / 3), math.log(3 / 2)])
    np.testing.assert_allclose(ab, [math.log(4 / 3), math.log(3), 0], atol=1e-15)
    np.testing.assert_allclose(b, [math.log(8), 0], atol=1e-15)


def test_byte_nats_against_sums_over_the_vocabulary(model):
    """Each byte's surprisal, from its definition: sums over all tokens that begin so."""
    model.eval()
    texts = [[2, 0, 7], [9], [5, 6, 3, 8, 1, 4, 2, 2], [], [10, 2, 10, 7], [2, 10, 10]]  # 10 has no bytes
    documents = [np.array([10, *text, 10]) for text in texts]
    for document, got, by_token in zip(documents, byte_nats(model, documents, Words()), token_nats(model, documents)):
        expected, rest, size = [], 0.0, len(b"".join(map(Words().token_bytes, document)))
        for t, token in enumerate(document[1:-1], 1):
            begin = 0 if t <= 6 else (t - 4) // 3 * 3
            p = model(torch.from_numpy(document[begin:t])[None])[0, -1].softmax(-1).tolist()
            before, text = 1.0, Words().token_bytes(int(token))
            for length in range(1, len(text) + 1):
                mass = sum(q for q, other in zip(p, Words.vocabulary) if other[:length] == text[:length])
                expected.append(math.log(before / mass) + rest)
                before, rest = mass, 0.0
            rest += math.log(before / p[int(token)])
        if expected:
            expected[-1] += rest
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
        assert len(got) == size and got.sum() == pytest.approx(by_token[:-1].sum(), rel=1e-12)


def test_byte_nats_of_what_is_next_to_impossible_add_up_all_the_same():
    logits = torch.zeros(1, 11, dtype=torch.float64)
    logits[0, 0] = 200.0  # all others have e^-200
    for token in range(10):
        nats = ByteRanges(Words()).split(np.array([token]), logits)[0]
        assert nats.sum() == pytest.approx(200 * (token != 0)) and (nats >= 0).all()


# Bits per byte and its error


def test_bits_per_byte_by_hand():
    # ten documents: 1 and 3 bits per byte, 3 and 1 bytes; R = 30 / 20, residuals 3 - 4.5 and 3 - 1.5
    score = bits_per_byte([np.full(3, LN2), np.full(1, 3 * LN2)] * 5)
    assert score.value == pytest.approx(1.5)
    assert score.error == pytest.approx(math.sqrt(10 / 9 * 10 * 1.5**2) / 20)
    assert str(score) == "1.500 ± 0.250"


def test_documents_of_one_size_have_the_textbook_error():
    bits = np.random.default_rng(0).random((30, 8))
    score = bits_per_byte(list(bits * LN2))
    assert score.value == pytest.approx(bits.mean())
    assert score.error == pytest.approx(bits.mean(1).std(ddof=1) / math.sqrt(30))


def test_the_bootstrap_agrees():
    rng = np.random.default_rng(0)
    documents = [rng.gamma(2, size=n) * rng.gamma(8) for n in rng.integers(20, 200, size=80)]
    sums, sizes = np.array([d.sum() for d in documents]), np.array([len(d) for d in documents])
    draws = rng.integers(80, size=(20_000, 80))
    bootstrap = (sums[draws].sum(1) / sizes[draws].sum(1)).std() / LN2
    # 20,000 draws know their own spread to 0.5 %; the linear formula is off by terms of order 1/80
    assert bits_per_byte(documents).error == pytest.approx(bootstrap, rel=0.03)


def test_few_documents_are_cut_into_pieces():
    bits = np.random.default_rng(0).random(200)
    by_hand = bits.reshape(20, 10).mean(1).std(ddof=1) / math.sqrt(20)
    assert bits_per_byte([bits * LN2]).error == pytest.approx(by_hand)
    assert bits_per_byte([bits[:100] * LN2, bits[100:] * LN2]).error == pytest.approx(by_hand)
    assert bits_per_byte([bits * LN2]).value == pytest.approx(bits.mean())
    assert bits_per_byte([bits[:3] * LN2]).value == pytest.approx(bits[:3].mean())  # fewer bytes than pieces
    ten = [bits[k::10] * LN2 for k in range(10)]
    assert bits_per_byte(ten).error == pytest.approx(bits.reshape(20, 10).mean(0).std(ddof=1) / math.sqrt(10))


def test_what_a_model_finds_impossible_is_infinite_without_an_error():
    score = bits_per_byte([np.array([1.0, math.inf])] * 10)
    assert score.value == math.inf and math.isnan(score.error)


def test_nothing_to_score_is_said():
    for nothing in ([], [np.zeros(0)], [np.zeros(0)] * 12):
        with pytest.raises(ValueError, match="no bytes to score"):
            bits_per_byte(nothing)


def test_a_difference_of_two_models():
    rng = np.random.default_rng(0)
    hard = [rng.gamma(2) * rng.gamma(2, size=50) for _ in range(40)]
    easier = [0.9 * nats for nats in hard]
    difference = paired_difference(hard, easier)
    assert difference.value == pytest.approx(0.1 * bits_per_byte(hard).value)
    assert difference.error == pytest.approx(0.1 * bits_per_byte(hard).error)  # far below either model's own
    back = paired_difference(easier, hard)
    assert (back.value, back.error) == pytest.approx((-difference.value, difference.error))
    assert str(paired_difference(hard, hard)) == "0.000 ± 0.000"


def test_a_difference_over_other_bytes_is_refused():
    one = [np.ones(3), np.ones(4)]
    for other in ([np.ones(4), np.ones(3)], [np.ones(7)]):
        with pytest.raises(ValueError, match=f"7 bytes in 2 documents against 7 bytes in {len(other)}"):
            paired_difference(one, other)


def test_byte_nats_follow_stride_number_format_and_long_batches(model):
    documents = [np.array([10, *np.random.default_rng(0).integers(0, 10, 2000), 10])]
    for stride in (None, 1):
        by_byte = byte_nats(model, documents, Words(), stride=stride, batch_size=200)[0]
        by_token = token_nats(model, documents, stride=stride)[0]
        assert by_byte.sum() == pytest.approx(by_token[:-1].sum(), rel=1e-9)
    model.float()
    bf16 = Device(torch.device("cpu"), torch.bfloat16, "a test")
    assert (byte_nats(model, documents, Words())[0] != byte_nats(model, documents, Words(), device=bf16)[0]).any()


def test_nine_documents_are_few():
    nine = list(np.random.default_rng(0).random((9, 12)))
    assert bits_per_byte(nine).error == pytest.approx(bits_per_byte(list(np.reshape(nine, (27, 4)))).error)
