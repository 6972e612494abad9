"""linear against F.linear: values, gradients, gradients of gradients, and who computes when."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from gptcore import linear as module
from gptcore.linear import ROWS, Linear, OneDNN, linear

# Sums of some hundred products of numbers near 1, in float32 and in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-4}
needs_onednn = pytest.mark.skipif(not module.CAN, reason="this processor or this torch has no other way")


def numbers(*shape, seed=0, **options):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_(**options)


@pytest.fixture
def calls(monkeypatch):
    """How often oneDNN was asked."""
    asked, apply = [], OneDNN.apply
    monkeypatch.setattr(OneDNN, "apply", lambda *arguments: asked.append(1) or apply(*arguments))
    return asked


@pytest.mark.parametrize("shape", [(ROWS, 24), (ROWS - 1, 24), (3, 50, 24), (2, 3, 20, 24), (1, 1, 24), (24,), (0, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_torch(shape, bias):
    inputs = [numbers(*shape), numbers(40, 24, seed=1), *([numbers(40, seed=2)] if bias else [])]
    slope = numbers(*shape[:-1], 40, seed=3, requires_grad=False)
    results = []
    for function in (linear, F.linear):
        y = function(*inputs)
        results.append([y, *torch.autograd.grad((y * slope).sum(), inputs)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


def test_any_layout_and_a_gradient_without_one():
    """Slices, transposed matrices, and the gradient of a sum, one number for all places."""
    wide, tall = numbers(4, 30, 48), numbers(24, 60, seed=1)
    for function in (linear, F.linear):
        y = function(wide[:, ::2, ::2], tall[:, 10:50].t())
        gradients = torch.autograd.grad(y.sum(), (wide, tall))
        if function is linear:
            ours = [y, *gradients]
    for mine, theirs in zip(ours, [y, *gradients], strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)


def test_gradients_of_gradients():
    seconds = []
    for function in (linear, F.linear):
        x, weight = numbers(64, 24), numbers(40, 24, seed=1)
        first, = torch.autograd.grad(function(x, weight).square().sum(), x, create_graph=True)
        seconds.append(torch.autograd.grad(first.square().sum(), (x, weight)))
    for ours, theirs in zip(*seconds, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-2)      # numbers up to 100,000


def test_what_needs_no_gradient_gets_none():
    x, weight = numbers(64, 24, requires_grad=False), numbers(40, 24, requires_grad=False)
    assert not linear(x, weight).requires_grad
    bias = numbers(40)
    linear(x, weight, bias).sum().backward()
    assert x.grad is None and weight.grad is None and bias.grad.tolist() == [64] * 40


@needs_onednn
def test_only_many_rows_of_float32_go_another_way(calls):
    weight = numbers(40, 24)
    linear(numbers(ROWS, 24), weight)
    assert len(calls) == 1
    linear(numbers(ROWS - 1, 24), weight)
    linear(numbers(64, 24).double(), weight.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(numbers(64, 24), weight).dtype == torch.bfloat16
    assert len(calls) == 1


def test_where_there_is_no_other_way_torch_computes(calls, monkeypatch):
    monkeypatch.setattr(module, "CAN", False)
    x, weight = numbers(64, 24), numbers(40, 24)
    assert torch.equal(linear(x, weight), F.linear(x, weight)) and not calls


def test_the_layer_is_torchs_but_for_who_computes():
    torch.manual_seed(0)
    ours = Linear(24, 40)
    torch.manual_seed(0)
    theirs = nn.Linear(24, 40)
    assert isinstance(ours, nn.Linear) and ours.state_dict().keys() == theirs.state_dict().keys()
    x = numbers(64, 24)
    torch.testing.assert_close(ours(x), theirs(x), **CLOSE)
    assert torch.equal(ours.weight, theirs.weight)


@needs_onednn
def test_the_same_product_twice_is_the_same_bit_for_bit():
    x, weight = numbers(200, 60), numbers(70, 60, seed=1)
    assert all(torch.equal(linear(x.clone(), weight.clone()), linear(x, weight)) for _ in range(5))


def test_operations_are_counted():
    for x in (numbers(64, 24), numbers(2, 24)):
        with FlopCounterMode(display=False) as counter:
            linear(x, numbers(40, 24), numbers(40)).sum().backward()
        assert counter.get_total_flops() == 3 * 2 * x.numel() * 40          # forward, and both gradients


def test_an_operation_that_has_changed_is_not_used(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda x, weight, *_: F.linear(x, weight) + 1e-3,
                        raising=False)
    assert not module.trusted()

    def refuses(*_):
        raise TypeError("other arguments")

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", refuses)
    assert not module.trusted()
