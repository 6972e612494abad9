"""Attention against hand-worked numbers, plain loops, torch's own modules and the law of causality."""

import math

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gptcore.attention import (
    ATTENTION,
    CausalSelfAttention,
    KeyValueCache,
    attention_weights,
    causal_mask,
    explicit_attention,
    head_width,
    merge_heads,
    sdpa_attention,
    split_heads,
)

# float64 carries 16 digits; sums of at most a few dozen terms of size 1 lose at most three of them.
EXACT = {"rtol": 0, "atol": 1e-12}
B, H, T, S, D = 2, 3, 5, 7, 4           # all different: a swapped axis cannot go unseen


def random_heads(T: int, S: int, requires_grad: bool = False) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(B, H, n, D, dtype=torch.float64, requires_grad=requires_grad) for n in (T, S, S)]


def by_loops(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention of one head, (T, D), (S, D), (S, D), in plain Python."""
    (T, D), S, rows = q.shape, len(k), []
    for t in range(T):
        visible = range(S - T + t + 1)
        scores = [sum(float(q[t, d]) * float(k[s, d]) for d in range(D)) / D ** 0.5 for s in visible]
        total = sum(math.exp(score) for score in scores)
        rows.append([sum(math.exp(scores[s]) / total * float(v[s, d]) for s in visible) for d in range(D)])
    return torch.tensor(rows, dtype=torch.float64)


def test_mask_of_three_tokens_by_hand():
    assert causal_mask(3, 3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert causal_mask(1, 3).tolist() == [[True, True, True]]
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True, True, True, True]]


def test_weights_of_three_tokens_by_hand():
    # D = 4, so scores are halved: ln 9 / 2 = ln 3, ln 25 / 2 = ln 5.
    q = torch.tensor([1.0, 0, 0, 0]).repeat(3, 1).reshape(1, 1, 3, 4)
    k = torch.tensor([0.0, math.log(9), math.log(25)]).reshape(1, 1, 3, 1) * torch.tensor([1.0, 0, 0, 0])
    expected = torch.tensor([[1, 0, 0], [1 / 4, 3 / 4, 0], [1 / 9, 3 / 9, 5 / 9]])
    torch.testing.assert_close(attention_weights(q, k)[0, 0], expected)


@pytest.mark.parametrize("kind", ATTENTION)
@pytest.mark.parametrize("lengths", [(T, T), (T, S), (1, S), (1, 1)])
def test_attention_equals_plain_loops(kind, lengths):
    q, k, v = random_heads(*lengths)
    expected = torch.stack([torch.stack([by_loops(q[b, h], k[b, h], v[b, h]) for h in range(H)]) for b in range(B)])
    torch.testing.assert_close(ATTENTION[kind](q, k, v), expected, **EXACT)


@pytest.mark.parametrize("lengths", [(T, T), (T, S), (1, S)])
def test_explicit_equals_sdpa_in_values_and_gradients(lengths):
    inputs = random_heads(*lengths, requires_grad=True)
    explicit, sdpa = explicit_attention(*inputs), sdpa_attention(*inputs)
    torch.testing.assert_close(explicit, sdpa, **EXACT)
    direction = torch.randn_like(explicit)
    for ours, theirs in zip(torch.autograd.grad(explicit, inputs, direction),
                            torch.autograd.grad(sdpa, inputs, direction)):
        torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("lengths", [(T, T), (T, S), (1, S)])
def test_explicit_equals_sdpa_under_the_same_dropout(lengths):
    """Torch's plain kernel draws its dropout as F.dropout does, so the same seed drops the same weights."""
    q, k, v = random_heads(*lengths)
    results = []
    for attend in (explicit_attention, sdpa_attention):
        torch.manual_seed(1)
        with sdpa_kernel(SDPBackend.MATH):
            results.append(attend(q, k, v, dropout=0.4))
    torch.testing.assert_close(*results, **EXACT)
    assert not torch.allclose(results[0], explicit_attention(q, k, v))


@pytest.mark.parametrize("kind", ATTENTION)
def test_dropout_drops_its_share_of_weights_and_keeps_their_mean(kind):
    """Every v is 1, so an output is the sum of the weights that were kept: 1 on average."""
    torch.manual_seed(0)
    zeros, ones = torch.zeros(1, 1, 400, 2), torch.ones(1, 1, 400, 2)
    sums = ATTENTION[kind](zeros, zeros, ones, dropout=0.25)[0, 0, :, 0]
    # One row of n equal weights has variance p / (1 - p) / n <= 1/3/200; the mean of 200 rows: 0.003. Five of those.
    assert abs(float(sums[200:].mean()) - 1) < 0.015
    assert float(sums[0]) in (0.0, pytest.approx(1 / 0.75))         # a single weight: all or nothing


def test_rows_of_weights_are_distributions_over_the_past():
    q, k, _ = random_heads(T, S)
    weights = attention_weights(10 * q, k)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, H, T, dtype=torch.float64), **EXACT)
    assert (weights >= 0).all() and (weights[..., ~causal_mask(T, S)] == 0).all()


def test_split_heads_gives_each_head_its_neighbouring_channels():
    x = torch.arange(B * T * H * D, dtype=torch.float64).reshape(B, T, H * D)
    heads = split_heads(x, H)
    assert heads.shape == (B, H, T, D)
    for h in range(H):
        assert torch.equal(heads[:, h], x[:, :, h * D:(h + 1) * D])
    assert torch.equal(merge_heads(heads), x)


def test_heads_that_do_not_come_out_even_are_refused_with_a_way_out():
    assert head_width(12, 3) == 4
    with pytest.raises(ValueError, match=r"n_embd=100 .* n_head=3 .* try n_embd=99"):
        CausalSelfAttention(100, 3)
    with pytest.raises(ValueError, match="try n_embd=4"):
        head_width(1, 4)


def test_module_equals_torch_multihead_attention():
    torch.manual_seed(0)
    C = H * D
    ours = CausalSelfAttention(C, H).double()
    theirs = nn.MultiheadAttention(C, H, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.query_key_value.weight)
        theirs.in_proj_bias.copy_(ours.query_key_value.bias.normal_())
        theirs.out_proj.weight.copy_(ours.projection.weight)
        theirs.out_proj.bias.copy_(ours.projection.bias.normal_())
    x = torch.randn(B, T, C, dtype=torch.float64)
    expected, weights = theirs(x, x, x, attn_mask=~causal_mask(T, T), average_attn_weights=False)
    torch.testing.assert_close(ours(x), expected, **EXACT)
    torch.testing.assert_close(ours.weights(x), weights, **EXACT)


@pytest.mark.parametrize("kind", ATTENTION)
def test_what_comes_later_changes_nothing_before(kind):
    torch.manual_seed(0)
    attention = CausalSelfAttention(12, H, kind=kind).double()
    x = torch.randn(B, T, 12, dtype=torch.float64)
    before = attention(x)
    for t in range(T):
        changed = x.clone()
        changed[:, t] += 1
        after = attention(changed)
        # Sums over other shapes may round differently; nothing larger may leak.
        torch.testing.assert_close(after[:, :t], before[:, :t], **EXACT)
        assert ((after - before)[:, t:].abs().amax(dim=(0, 2)) > 1e-6).all()


@pytest.mark.parametrize("kind", ATTENTION)
@pytest.mark.parametrize("pieces", [[1] * 7, [3, 2, 2], [6, 1], [7]])
def test_cached_equals_uncached(kind, pieces):
    torch.manual_seed(0)
    attention, cache = CausalSelfAttention(10, 3, head_size=4, kind=kind).double(), KeyValueCache()
    x = torch.randn(B, sum(pieces), 10, dtype=torch.float64)
    by_pieces = torch.cat([attention(piece, cache) for piece in x.split(pieces, dim=1)], dim=1)
    torch.testing.assert_close(by_pieces, attention(x), **EXACT)
    assert cache.length == sum(pieces)


def test_cache_returns_what_it_was_given_in_order():
    cache, (_, k, v) = KeyValueCache(), random_heads(1, S)
    assert cache.length == 0
    cache.extend(k[:, :, :2], v[:, :, :2])
    all_k, all_v = cache.extend(k[:, :, 2:], v[:, :, 2:])
    assert torch.equal(all_k, k) and torch.equal(all_v, v) and cache.length == S


@pytest.mark.parametrize("kind", ATTENTION)
def test_dropout_acts_on_weights_and_output_in_training_only(kind):
    torch.manual_seed(0)
    attention = CausalSelfAttention(12, 3, dropout=0.5, kind=kind)
    x = torch.randn(1, 50, 12)
    assert (attention(x) == 0).float().mean() == pytest.approx(0.5, abs=0.1)           # 600 entries: 0.1 is 5 sigma
    with torch.no_grad():
        attention.output_dropout.p = 0.0
        assert not torch.equal(attention(x), attention(x))                              # the weights' own dropout
        attention.eval()
        assert torch.equal(attention(x), attention(x))
        reference = CausalSelfAttention(12, 3, kind=kind)
        reference.load_state_dict(attention.state_dict())
        assert torch.equal(attention(x), reference(x))


@pytest.mark.parametrize(("bias", "qkv_bias", "expected"), [
    (True, None, (True, True)), (False, None, (False, False)), (True, False, (False, True)),
    (False, True, (True, False)),
])
def test_bias_switches(bias, qkv_bias, expected):
    attention = CausalSelfAttention(12, 3, head_size=5, bias=bias, qkv_bias=qkv_bias)
    assert (attention.query_key_value.bias is not None, attention.projection.bias is not None) == expected
    assert attention.query_key_value.weight.shape == (45, 12) and attention.projection.weight.shape == (12, 15)


@pytest.mark.parametrize("kind", ATTENTION)
def test_the_switch_switches(kind):
    """Both paths give the same numbers, so only this test can see which of them runs."""
    expected = {"explicit": explicit_attention, "sdpa": sdpa_attention}[kind]
    assert CausalSelfAttention(12, 3, kind=kind).attend is expected


def test_state_dict_holds_no_mask():
    names = ["projection.bias", "projection.weight", "query_key_value.bias", "query_key_value.weight"]
    assert sorted(CausalSelfAttention(12, 3).state_dict()) == names
