"""Quantization against cases by hand, brute force, least squares, and plain integer arithmetic."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gptcore import corpora, quantization
from gptcore.evaluation import token_nats
from gptcore.gpt import GPT, GPTConfig, load_weights, save_weights
from gptcore.pretrained import load_pretrained
from gptcore.quantization import (
    KERNELS,
    SCHEMES,
    QuantizedLinear,
    QuantizedMatrix,
    Scheme,
    choose_kernels,
    choose_scales,
    dequantize,
    gptq,
    int8_linear,
    load_quantized,
    pack,
    quantize,
    round_to_codes,
    save_quantized,
    size_table,
    unpack,
)
from gptcore.sampling import generate
from gptcore.tokenizer import encode_document

CONFIG = GPTConfig(vocab_size=37, block_size=16, n_layer=2, n_head=2, n_embd=10)
EVEN = dataclasses.replace(CONFIG, n_embd=16)  # for the kernel that wants rows of 16
ANY_SCHEME = st.builds(Scheme, bits=st.integers(2, 8), per=st.sampled_from(["tensor", "channel", 1, 3, 32]),
                       symmetric=st.booleans(), scales=st.sampled_from(["float32", "float16"]))


def new_model(config=CONFIG, seed=0):
    torch.manual_seed(seed)
    return GPT(config).eval()


def windows(n=12, config=CONFIG):
    return torch.randint(config.vocab_size, (n, config.block_size), generator=torch.Generator().manual_seed(3))


def rounded(weight, scheme):
    return QuantizedMatrix.of(weight, scheme).weight()


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Scales, codes and back

WEIGHT = torch.tensor([[1.0, -2.0, 0.5, 4.0, 0.25], [0.0, 0.0, 0.0, 0.0, 3.0]])


@pytest.mark.parametrize("scheme, scales, zeros", [
    (Scheme(8, "tensor"), [[4 / 127]], None),
    (Scheme(8, "channel"), [[4 / 127], [3 / 127]], None),
    (Scheme(4, 2), [[2 / 7, 4 / 7, 0.25 / 7], [1, 1, 3 / 7]], None),
    (Scheme(8, "channel", symmetric=False), [[6 / 255], [3 / 255]], [[-43], [-128]]),   # -128 + 2 / (6 / 255) = -43
    (Scheme(2, "tensor", symmetric=False), [[2.0]], [[-1]]),                            # codes -2 to 1
])
def test_scales_by_hand(scheme, scales, zeros):
    found, found_zeros = choose_scales(WEIGHT, scheme)
    torch.testing.assert_close(found, torch.tensor(scales))
    assert (found_zeros is None) == (zeros is None) and (zeros is None or found_zeros.tolist() == zeros)


def test_codes_by_hand():
    scheme = Scheme(3, "channel")                           # codes -3 to 3, the scale of 3.0 is 1
    weight = torch.tensor([[3.0, 0.5, 1.5, -0.6, -3.0, 2.4]])
    codes = round_to_codes(weight, *choose_scales(weight, scheme), scheme)
    assert codes.tolist() == [[3, 0, 2, -1, -3, 2]]         # halves go to the even one


@settings(deadline=None, max_examples=200)
@given(ANY_SCHEME, st.integers(1, 5), st.integers(1, 40), st.integers(0, 10**6), st.sampled_from([1e-3, 1.0, 100.0]))
def test_no_weight_moves_by_more_than_half_a_step(scheme, rows, width, seed, size):
    weight = size * random(rows, width, seed=seed)
    weight[0] = 0                                           # a row of zeros stays one
    scales, zeros = choose_scales(weight, scheme)
    back = dequantize(round_to_codes(weight, scales, zeros, scheme), scales, zeros, scheme)
    steps = quantization.spread(scales.float(), width, scheme.per).expand_as(weight)
    # A scale in fp16 is off by up to 2^-11 of itself, which cuts off the largest codes by so much; fp32 by 2^-24.
    slack = 2.0 ** (scheme.bits - (10 if scheme.scales == "float16" else 20))
    assert ((weight - back).abs() <= steps * (0.5 + slack)).all() and (back[0] == 0).all()
    assert scales.dtype == getattr(torch, scheme.scales)
    if scheme.symmetric:
        assert torch.equal(rounded(-weight, scheme), -back)


def test_rounding_again_changes_nothing():
    for scheme in SCHEMES.values():
        once = rounded(random(6, 70), scheme)
        torch.testing.assert_close(rounded(once, scheme), once, rtol=2e-3, atol=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_broken_weight_is_refused(value):
    weight = WEIGHT.clone()
    weight[1, 2] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        choose_scales(weight, Scheme())


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_fp16_scales_stay_in_their_range(size):
    scales, _ = choose_scales(torch.full((1, 4), size), SCHEMES["int4"])
    assert scales.isfinite().all() and (scales > 0).all()


def test_one_outlier_ruins_only_those_who_share_its_scale():
    weight = random(8, 64)
    weight[3, 5] = 1000.0
    errors = {per: ((rounded(weight, Scheme(8, per)) - weight) ** 2).mean(dim=1).sqrt() for per in ("tensor", "channel", 32)}
    assert (errors["tensor"] > 0.5).all()
    assert (errors["channel"].topk(2).values > torch.tensor([0.5, 0.0])).all() and errors["channel"].sort().values[-2] < 0.02
    assert errors[32][3] < errors["channel"][3] * 0.8


@pytest.mark.parametrize("wrong", [{"bits": 1}, {"bits": 9}, {"bits": 4.0}, {"bits": True}, {"per": "row"}, {"per": 0},
                                   {"scales": "bfloat16"}, {"bits": 4, "int8_activations": True},
                                   {"per": 32, "int8_activations": True}, {"symmetric": False, "int8_activations": True}])
def test_absurd_schemes_are_refused(wrong):
    with pytest.raises((ValueError, TypeError), match="|".join([*wrong, "must be"])):
        Scheme(**wrong)


# Two codes in a byte

@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-8, 7), min_size=5, max_size=5), min_size=1, max_size=4), st.integers(1, 5))
def test_packing_loses_nothing(rows, width):
    codes = torch.tensor(rows, dtype=torch.int8)[:, :width]
    packed = pack(codes)
    assert packed.shape == (len(rows), -(-width // 2)) and torch.equal(unpack(packed, width), codes)


def test_the_nibbles_are_where_they_should_be():
    for low, high in itertools.product(range(-8, 8), repeat=2):
        assert pack(torch.tensor([[low, high]], dtype=torch.int8)).item() == (low + 8) + 16 * (high + 8)


# GPTQ

def cost(weight, quantized, hessian):
    off = (weight - quantized).double()
    return torch.einsum("oi,ij,oj->o", off, hessian, off)


def layer(width, seed, rows=1):
    """A small layer, and the Hessian of inputs that go together."""
    x = random(50, width, seed=seed).double() @ random(width, width, seed=seed + 1000).double()
    return random(rows, width, seed=seed + 2000), x.t() @ x


def by_least_squares(weight, hessian, scheme, damping=0.01):
    """Round input after input; after each, solve for the free weights that make up best for all that was rounded."""
    hessian = hessian + damping * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=torch.float64)
    scales, zeros = choose_scales(weight, scheme)
    free, codes = weight.double().clone(), []
    for j in range(weight.size(1)):
        codes.append(round_to_codes(free[:, j:j + 1], scales, zeros, scheme))
        fixed = dequantize(torch.cat(codes, dim=1), scales, zeros, scheme).double() - weight.double()[:, :j + 1]
        pull = torch.linalg.solve(hessian[j + 1:, j + 1:], hessian[j + 1:, :j + 1] @ fixed.t()).t()
        free[:, j + 1:] = weight.double()[:, j + 1:] - pull
    return torch.cat(codes, dim=1)


@pytest.mark.parametrize("scheme", [Scheme(2, "channel"), Scheme(3, "tensor"), Scheme(4, "channel", symmetric=False)])
def test_gptq_is_least_squares_step_by_step(scheme):
    for seed in range(20):
        weight, hessian = layer(7, seed, rows=3)
        assert torch.equal(gptq(weight, hessian, scheme)[0], by_least_squares(weight, hessian, scheme))


def test_gptq_lies_between_plain_rounding_and_the_best_of_all():
    """81 codings of four weights are tried out; GPTQ is greedy, so it may miss the best one, but not beat it."""
    scheme, found = Scheme(2, "channel"), []
    for seed in range(60):
        weight, hessian = layer(4, seed)
        scales, _ = choose_scales(weight, scheme)
        codings = torch.tensor(list(itertools.product((-1, 0, 1), repeat=4)), dtype=torch.int8)
        best = cost(weight, codings * scales, hessian).min()
        plain = cost(weight, rounded(weight, scheme), hessian).item()
        ours = cost(weight, dequantize(*gptq(weight, hessian, scheme), scheme), hessian).item()
        assert ours >= best * (1 - 1e-9)
        found.append((best.item(), ours, plain))
    best, ours, plain = np.mean(found, axis=0)
    assert best < ours < 0.8 * plain


def test_inputs_that_have_nothing_to_do_with_each_other_need_no_making_up():
    weight, diagonal = random(5, 33), torch.diag(torch.linspace(1, 9, 33).double())
    for hessian in (diagonal, torch.zeros(33, 33).double()):
        for scheme in (Scheme(3, "channel"), Scheme(4, 8, scales="float16"), Scheme(8, "tensor", symmetric=False)):
            torch.testing.assert_close(dequantize(*gptq(weight, hessian, scheme), scheme), rounded(weight, scheme))


def test_gptq_survives_an_input_that_never_comes_and_twins():
    weight, hessian = layer(6, 1, rows=2)
    hessian[2] = hessian[:, 2] = 0                          # an input that is always 0
    hessian[4], hessian[:, 4] = hessian[5].clone(), hessian[:, 5].clone()
    hessian[4, 4] = hessian[5, 5]                           # two inputs that are always the same
    quantized = dequantize(*gptq(weight, hessian, SCHEMES["int4"]), SCHEMES["int4"])
    assert quantized.isfinite().all() and (quantized - weight).abs().max() < 1


def test_gptq_leaves_its_arguments_alone():
    weight, hessian = layer(6, 2)
    copies = weight.clone(), hessian.clone()
    gptq(weight, hessian, Scheme(4, 4))
    assert torch.equal(weight, copies[0]) and torch.equal(hessian, copies[1])


# Integer products

def test_int8_linear_is_integer_arithmetic():
    x, weight = random(9, 21), random(5, 21, seed=1)
    scales, _ = choose_scales(weight, Scheme())
    codes = round_to_codes(weight, scales, None, Scheme())
    expected = np.zeros((9, 5))
    for i, row in enumerate(x.double().numpy()):
        step = np.abs(row).max() / 127
        whole = [round(value) for value in row / step]
        for o in range(5):
            expected[i, o] = sum(a * int(b) for a, b in zip(whole, codes[o])) * step * float(scales[o])
    torch.testing.assert_close(int8_linear(x, codes, scales).double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


def test_int32_sums_do_not_overflow():
    codes = torch.full((1, 20_000), 127, dtype=torch.int8)
    assert int8_linear(torch.ones(1, 20_000), codes, torch.ones(1, 1)).item() == pytest.approx(127 * 20_000)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 1), (5, 37, 10), (33, 2, 17), (1, 64, 130), (4, 4, 1100)])
@pytest.mark.parametrize("has_instructions", [True, False])
def test_whole_numbers_are_multiplied_exactly(monkeypatch, shape, has_instructions):
    if not has_instructions:
        monkeypatch.setattr(quantization, "exact", lambda: False)
        monkeypatch.setattr(torch, "_int_mm", lambda x, y: (x.int() @ y.int()).clamp(-(2**15), 2**15 - 1))
    n, o, i = shape
    for low in (-127, 120):
        x, codes = (torch.randint(low, 128, (rows, i), generator=torch.Generator().manual_seed(rows)) for rows in (n, o))
        found = quantization.multiply(x.to(torch.int8), codes.to(torch.int8))
        assert torch.equal(found.long(), x @ codes.t())


def test_a_product_that_loses_something_is_found_out(monkeypatch):
    def saturating(x, y):
        return (x.int() @ y.int()).clamp(-(2**15), 2**15 - 1)

    monkeypatch.setattr(torch, "_int_mm", saturating)
    assert not quantization.exact.__wrapped__()


def test_rows_are_rounded_alone_and_zeros_stay():
    x, codes = random(4, 3, 16), torch.randint(-127, 128, (8, 16), dtype=torch.int8)
    x[1, 2] = 0
    together = int8_linear(x, codes, torch.ones(8, 1))
    x[0] *= 1000
    assert torch.equal(int8_linear(x, codes, torch.ones(8, 1))[1:], together[1:]) and (together[1, 2] == 0).all()


def test_kernels_agree_and_layers_use_what_they_are_told():
    weight, x = random(48, 64), random(5, 64, seed=1)
    linear = QuantizedLinear(QuantizedMatrix.of(weight, Scheme()), random(48, seed=2))
    exact = x @ linear.matrix.weight().t() + linear.bias
    for name, (least, most) in {"widened": (0, 1e-6), "int8": (1e-4, 0.02), "bf16": (1e-4, 0.02)}.items():
        linear.use(one=name, many=name)
        assert linear(x).dtype == torch.float32 and linear(x[None]).shape == (1, 5, 48)
        for rows in (x, x[:1]):
            assert least <= (linear(rows) - exact[:len(rows)]).norm() / exact[:len(rows)].norm() <= most


# The whole model

@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_makes_a_model_that_answers_and_writes(name, tied):
    model = new_model(dataclasses.replace(CONFIG, tied=tied, bias=tied))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small = quantize(model, name, windows())
    logits, ids = model(windows(3)), windows(3)
    off = (small(ids) - logits).std() / logits.std()
    assert 1e-4 < off < (0.6 if "int4" in name else 0.03)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not small.training and not any(parameter.requires_grad for parameter in small.parameters())
    cached, plain = (list(generate(small, [1, 2], 20, temperature=0, use_cache=cache)) for cache in (True, False))
    assert cached == plain


def test_tied_weights_are_stored_once_and_used_twice():
    small = quantize(new_model(), "int8")
    assert small.output.matrix is small.token_embedding.matrix
    torch.testing.assert_close(small.token_embedding(torch.arange(37)), small.output.matrix.weight())
    by_hand = new_model()
    with torch.no_grad():
        for name, layer_ in small.named_modules():
            if isinstance(layer_, QuantizedMatrix) and not name.startswith("output"):
                by_hand.get_submodule(name.removesuffix(".matrix")).weight.copy_(layer_.weight())
    torch.testing.assert_close(small(windows(2)), by_hand(windows(2)))


@pytest.mark.parametrize("per", [1, 3, 10, 32])
def test_groups_need_not_divide_the_width(per):
    model = new_model()
    small = quantize(model, Scheme(4, per))
    assert (small(windows(2)) - model(windows(2))).std() / model(windows(2)).std() < 0.5


def test_a_scheme_for_each_layer_leaves_the_others_alone():
    model = new_model()
    small = quantize(model, {"blocks.1.mlp.expand": "int4", "position_embedding": Scheme()})
    assert {name for name, module in small.named_modules() if isinstance(module, QuantizedMatrix)} == {
        "blocks.1.mlp.expand.matrix", "position_embedding.matrix"}
    assert torch.equal(small.token_embedding.weight, model.token_embedding.weight)


def test_calibration_helps_and_each_layer_gets_its_own_inputs():
    model = new_model(dataclasses.replace(CONFIG, n_embd=32, n_layer=3, block_size=32), seed=5)
    ids = windows(40, model.config)
    plain, fitted = (quantize(model, Scheme(3, 32, calibrated=calibrated), ids) for calibrated in (False, True))
    test = windows(60, model.config)[40:]
    errors = [(small(test) - model(test)).square().mean() for small in (plain, fitted)]
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("scheme, message", [
    ("int3", "no scheme 'int3'; choose one of int8-tensor"),
    ({"head": "int8"}, "no layer 'head' to quantize; there are token_emb"),
    ("int4-gptq", "needs calibration="),
    ({"output": "int8"}, "no layer 'output'"),
])
def test_what_cannot_be_quantized_is_refused(scheme, message):
    with pytest.raises(ValueError, match=message):
        quantize(new_model(), scheme)


def test_rounding_twice_is_refused():
    with pytest.raises(ValueError, match="quantized already"):
        quantize(quantize(new_model(), "int8"), "int4")


# Bytes

def test_sizes_by_hand():
    """10 channels, int4 in groups of 4: a row of 10 takes 5 bytes and 3 scales of 2 bytes."""
    table = size_table(quantize(new_model(), Scheme(4, 4, scales="float16")))
    assert table.loc["token_embedding"].tolist() == [37 * 5, 37 * 6, 0, 0, 37 * 11]
    assert table.loc["blocks.0.mlp.contract"].tolist() == [10 * 20, 10 * 10 * 2, 10 * 4, 0, 440]
    assert table.loc["final_norm"].tolist() == [0, 0, 80, 0, 80] and "output" not in table.index
    full = size_table(new_model())
    assert full["total"].sum() == 4 * sum(parameter.numel() for parameter in new_model().parameters())


def test_buffers_of_any_model_are_counted():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.key = nn.Linear(8, 4, bias=False)
            self.register_buffer("mask", torch.tril(torch.ones(16, 16)))

    table = size_table(nn.Sequential(Head(), Head()))
    assert table["buffers"].sum() == 2 * 16 * 16 * 4 and table["parameters"].sum() == 2 * 8 * 4 * 4


# Files

@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", SCHEMES)
def test_what_was_saved_comes_back(tmp_path, name, tied):
    small = quantize(new_model(dataclasses.replace(CONFIG, tied=tied)), name, windows())
    save_quantized(small, tmp_path / "small.safetensors")
    again = load_quantized(tmp_path / "small.safetensors", measure=False)
    assert torch.equal(again(windows(3)), small(windows(3))) and not again.training
    assert (tmp_path / "small.safetensors").stat().st_size < size_table(small)["total"].sum() + 8000
    assert size_table(again).equals(size_table(small))
    fast = load_quantized(tmp_path / "small.safetensors")
    torch.testing.assert_close(fast(windows(3)), small(windows(3)), rtol=0, atol=0.02)


class Watch(TorchDispatchMode):
    """The largest floating-point tensor that was made."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.device.type != "meta":
                self.largest = max(self.largest, tensor.numel())
        return out


def test_loading_never_makes_the_fp32_weights(tmp_path):
    config = GPTConfig(vocab_size=500, block_size=16, n_layer=1, n_head=2, n_embd=64)
    save_quantized(quantize(new_model(config), "int8"), tmp_path / "small.safetensors")
    save_weights(new_model(config), tmp_path / "large.safetensors")
    with Watch() as watch:
        load_quantized(tmp_path / "small.safetensors", measure=False)
    assert watch.largest <= 500                             # a scale for each row
    with Watch() as watch:
        quantize(load_weights(tmp_path / "large.safetensors"), "int8")
    assert watch.largest >= 500 * 64


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "small.safetensors"
    save_quantized(quantize(new_model(), "int4"), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        load_quantized(path)
    path.write_bytes(whole)
    with safetensors.safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    wrong = {"final_norm.weight": None, "token_embedding.matrix.codes": torch.zeros(2, 2, dtype=torch.uint8),
             "token_embedding.matrix.scales": torch.zeros(37, 1)}
    for name, replacement in wrong.items():
        changed = {key: value for key, value in tensors.items() if key != name or replacement is not None}
        safetensors.torch.save_file(changed | ({name: replacement} if replacement is not None else {}), path, metadata)
        with pytest.raises(ValueError, match=f"{name} should be"):
            load_quantized(path)
    safetensors.torch.save_file(tensors, path, metadata | {"schemes": '{"token_embedding": {"bits": 99}}'})
    with pytest.raises(ValueError, match="bits=99"):
        load_quantized(path)
    save_weights(new_model(), path)
    with pytest.raises(ValueError, match="holds no quantized model; load_weights"):
        load_quantized(path)
    with pytest.raises(ValueError, match="nothing in this model is quantized"):
        save_quantized(new_model(), path)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="load_quantized"):
        load_weights(path)


# Which kernel

def test_the_fastest_kernel_is_chosen(monkeypatch):
    times = {("widened", 1): 3.0, ("int8", 1): 2.0, ("bf16", 1): 1.0,
             ("widened", 8): 3.0, ("int8", 8): 1.0, ("bf16", 8): 2.0}
    monkeypatch.setattr(quantization, "timed", lambda name, x, matrix, repeats: times[name, len(x)])
    small = quantize(new_model(EVEN), "int8")
    table = choose_kernels(small, rows=8)
    assert set(table.xs(1, level="rows")["chosen"]) == {"bf16"} and set(table.xs(8, level="rows")["chosen"]) == {"int8"}
    codes = "blocks.0.mlp.expand"
    assert len(table) == 2 * (2 * 4 + 1) and table.loc[(codes, 8), "widened"] == 3.0
    x = random(8, 16)
    torch.testing.assert_close(small.get_submodule(codes)(x), KERNELS["int8"](small.get_submodule(codes).matrix)(x))


def test_a_kernel_that_fails_is_never_chosen(monkeypatch):
    def fails(*_):
        raise RuntimeError("not here")

    monkeypatch.setattr(quantization, "multiply", fails)
    monkeypatch.setattr(torch, "_weight_int8pack_mm", fails)
    table = choose_kernels(quantize(new_model(EVEN), "int8"))
    assert set(table["chosen"]) == {"widened"} and (table[["int8", "bf16"]] == math.inf).all(axis=None)


def test_a_kernel_that_reads_too_far_is_not_used():
    table = choose_kernels(quantize(new_model(), "int8"))
    assert "bf16" not in table.columns


def test_kernels_follow_their_matrix():
    small = quantize(new_model(), "int8")
    choose_kernels(small)
    before = small(windows(1))
    for module in small.modules():
        if isinstance(module, QuantizedMatrix):
            module.scales.mul_(2)
    small.to("cpu")
    assert not torch.allclose(small(windows(1)), before)


# What it costs on the stored model

@pytest.fixture(scope="module")
def stored():
    """The stored model, twenty documents, calibration windows, and what the model loses on each document."""
    model, tokenizer = load_pretrained()
    corpus = corpora.load("playhouse")
    documents = [np.array(encode_document(tokenizer, text)) for text in corpus.validation[:20]]
    training = [encode_document(tokenizer, text)[:200] for text in corpus.train[:200]]
    calibration = torch.from_numpy(np.stack([ids for ids in training if len(ids) == 200][:32]))
    return model, documents, calibration, [nats.sum() for nats in token_nats(model, documents)]


def worse(stored, scheme):
    """By how much of itself the loss grows."""
    model, documents, calibration, full = stored
    small = quantize(model, scheme, calibration)
    return (sum(nats.sum() for nats in token_nats(small, documents)) - sum(full)) / sum(full), small


@pytest.mark.parametrize("scheme", ["int8", "int8-activations"])
def test_int8_takes_a_quarter_and_costs_next_to_nothing(stored, scheme):
    more, small = worse(stored, scheme)
    assert size_table(stored[0])["total"].sum() > 3.7 * size_table(small)["total"].sum() and abs(more) < 0.001


def test_int4_by_gptq_costs_less_than_plain_rounding(stored):
    (plain, small), (fitted, calibrated) = worse(stored, "int4"), worse(stored, "int4-gptq")
    assert size_table(small).equals(size_table(calibrated))
    assert size_table(stored[0])["total"].sum() > 6.5 * size_table(small)["total"].sum()
    assert fitted < 0.7 * plain < 0.02
