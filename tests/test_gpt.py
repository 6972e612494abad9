"""The GPT against counts by hand, an implementation in numpy, torch's own layer and the law of causality."""

import dataclasses
import json
import math
import struct

import jaxtyping
import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from gptcore.attention import ATTENTION
from gptcore.gpt import (
    GPT,
    PRESETS,
    Block,
    GPTConfig,
    count_parameters,
    evaluating,
    load_weights,
    save_weights,
)

# float64 carries 16 digits; a few layers of sums over some dozen terms keep 12 of them.
EXACT = {"rtol": 0, "atol": 1e-11}
SMALL = GPTConfig(vocab_size=11, block_size=9, n_layer=2, n_head=3, n_embd=12)
ODD = GPTConfig(vocab_size=13, block_size=7, n_layer=3, n_head=3, n_embd=10, head_size=4, activation="relu",
                qkv_bias=False, tied=False, init="torch")
VARIANTS = [
    SMALL, ODD, dataclasses.replace(SMALL, bias=False), dataclasses.replace(SMALL, bias=False, qkv_bias=True),
    dataclasses.replace(SMALL, tied=False), dataclasses.replace(SMALL, tied=False, bias=False),
    dataclasses.replace(ODD, attention="explicit"),
]


def lively(config: GPTConfig) -> GPT:
    """A model in float64 whose parameters are all large and different: biases of zero would hide mistakes."""
    torch.manual_seed(0)
    model = GPT(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def some_ids(config: GPTConfig, B: int = 2, T: int | None = None) -> torch.Tensor:
    return torch.randint(config.vocab_size, (B, T or config.block_size), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def as_users_run_it():
    """Without the type checks of the tests, which refuse some mistakes before the code can, and stop the compiler."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# --- the forward pass -------------------------------------------------------------------------------------------------

def in_numpy(model: GPT, ids: list[int]) -> np.ndarray:
    """One document through the model, head by head and position by position, from its weights alone."""
    c, weights = model.config, {name: weight.numpy() for name, weight in model.state_dict().items()}

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)

    def norm(name, x):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights.get(f"{name}.bias", 0)

    def bend(x):
        gelu = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
        return np.maximum(x, 0) if c.activation == "relu" else gelu

    D = c.head_size or c.n_embd // c.n_head
    x = np.stack([weights["token_embedding.weight"][i] + weights["position_embedding.weight"][t]
                  for t, i in enumerate(ids)])
    for layer in (f"blocks.{n}" for n in range(c.n_layer)):
        q, k, v = np.split(linear(f"{layer}.attention.query_key_value", norm(f"{layer}.norm_1", x)), 3, axis=1)
        gathered = np.zeros_like(v)
        for head in (slice(h * D, (h + 1) * D) for h in range(c.n_head)):
            for t in range(len(ids)):
                shares = np.exp(k[:t + 1, head] @ q[t, head] / math.sqrt(D))
                gathered[t, head] = shares / shares.sum() @ v[:t + 1, head]
        x = x + linear(f"{layer}.attention.projection", gathered)
        x = x + linear(f"{layer}.mlp.contract", bend(linear(f"{layer}.mlp.expand", norm(f"{layer}.norm_2", x))))
    x = norm("final_norm", x)
    return x @ weights["token_embedding.weight"].T if c.tied else linear("output", x)


@pytest.mark.parametrize("config", VARIANTS)
def test_forward_equals_numpy(config):
    model, ids = lively(config), some_ids(config)
    expected = np.stack([in_numpy(model, row) for row in ids.tolist()])
    torch.testing.assert_close(model(ids).detach(), torch.from_numpy(expected), **EXACT)


def test_block_equals_torch_encoder_layer():
    torch.manual_seed(0)
    C, T = 12, 5
    ours = Block(SMALL).double()
    theirs = nn.TransformerEncoderLayer(C, 3, 4 * C, 0.0, lambda x: F.gelu(x, approximate="tanh"), norm_first=True,
                                        batch_first=True, dtype=torch.float64)
    pairs = {"self_attn.in_proj_": ours.attention.query_key_value, "self_attn.out_proj.": ours.attention.projection,
             "linear1.": ours.mlp.expand, "linear2.": ours.mlp.contract, "norm1.": ours.norm_1, "norm2.": ours.norm_2}
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.5)
    theirs.load_state_dict({name + kind: getattr(layer, kind) for name, layer in pairs.items()
                            for kind in ("weight", "bias")})
    x = torch.randn(2, T, C, dtype=torch.float64)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    torch.testing.assert_close(ours(x), theirs(x, src_mask=hidden), **EXACT)


@pytest.mark.parametrize("config", VARIANTS)
def test_a_changed_token_changes_no_logit_before_it(config):
    model, ids = lively(config), some_ids(config)
    before = model(ids)
    for t in range(ids.size(1)):
        changed = ids.clone()
        changed[:, t] = (ids[:, t] + 1) % config.vocab_size
        after = model(changed)
        torch.testing.assert_close(after[:, :t], before[:, :t], **EXACT)
        assert ((after - before)[:, t:].abs().amax(dim=(0, 2)) > 1e-6).all()


def test_explicit_equals_sdpa_in_logits_and_gradients():
    gradients, logits = [], []
    for kind, function in ATTENTION.items():
        model = lively(dataclasses.replace(SMALL, attention=kind))
        assert all(block.attention.attend is function for block in model.blocks)
        logits.append(model(some_ids(SMALL)))
        F.cross_entropy(logits[-1].flatten(0, 1), some_ids(SMALL).flatten()).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        assert all(gradient.abs().sum() > 0 for gradient in gradients[-1])          # no parameter is left out
    torch.testing.assert_close(*logits, **EXACT)
    torch.testing.assert_close(*gradients, **EXACT)


@pytest.mark.parametrize("config", VARIANTS)
def test_cached_equals_uncached(config):
    model, ids = lively(config), some_ids(config)
    cache = model.new_cache()
    pieces = [model(piece, cache) for piece in ids.split([3, 1, 1, config.block_size - 5], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), **EXACT)
    with pytest.raises(ValueError, match=f"1 tokens after {config.block_size} cached"):
        model(ids[:, :1], cache)


def test_cached_equals_uncached_in_float32_at_the_size_people_use():
    torch.manual_seed(0)
    model, ids = GPT(dataclasses.replace(PRESETS["small"], init="torch")).eval(), some_ids(PRESETS["small"], 1, 100)
    with torch.no_grad():
        cache, expected = model.new_cache(), model(ids)
        steps = torch.cat([model(ids[:, t:t + 1], cache) for t in range(100)], dim=1)
    # float32 carries 1e-7; logits here have size 10 with tied embeddings of unit variance.
    assert expected.abs().max() > 10
    torch.testing.assert_close(steps, expected, rtol=1e-5, atol=1e-4)
    small = GPT(PRESETS["small"]).eval()
    with torch.no_grad():
        cache, expected = small.new_cache(), small(ids)
        steps = torch.cat([small(ids[:, t:t + 1], cache) for t in range(100)], dim=1)
    torch.testing.assert_close(steps, expected, rtol=0, atol=1e-5)


def test_attention_maps_are_the_weights_that_forward_uses():
    """Replayed by hand, layer by layer: each map times the values gives that layer's attention."""
    model, ids = lively(SMALL), some_ids(SMALL)
    maps = model.attention_maps(ids)
    x = model.embed(ids)
    for block, weights in zip(model.blocks, maps):
        attention = block.attention
        *_, v = attention.heads(block.norm_1(x))
        gathered = (weights @ v).transpose(1, 2).flatten(2)
        torch.testing.assert_close(attention.projection(gathered), attention(block.norm_1(x)), **EXACT)
        x = block(x)
    assert len(maps) == SMALL.n_layer and not maps[0].requires_grad
    noisy = GPT(dataclasses.replace(SMALL, dropout=0.5)).train()
    assert torch.equal(noisy.attention_maps(ids)[1], noisy.attention_maps(ids)[1]) and noisy.training


def test_dropout_stands_behind_embeddings_attention_and_mlp():
    model = GPT(dataclasses.replace(SMALL, dropout=0.5)).train()
    ids = some_ids(SMALL)
    for at in (model.dropout, model.blocks[0].attention.output_dropout, model.blocks[1].mlp.dropout):
        for module in model.modules():
            module.eval()
        at.train()
        assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


@pytest.mark.parametrize(("ids", "message"), [
    ([[0, 11]], r"token id 11 is outside 0\.\.10.*tokenizer"), ([[-1, 0]], "token id -1"),
    ([[0] * 10], "10 tokens after 0 cached ones do not fit block_size=9"), ([[]], "0 tokens"),
])
def test_bad_ids_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        GPT(SMALL)(torch.tensor(ids, dtype=torch.long))


def test_the_last_id_and_the_last_position_are_allowed():
    assert GPT(SMALL)(torch.full((1, 9), 10)).shape == (1, 9, 11)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attention", ["explicit", "sdpa"])
def test_autocast_changes_the_loss_only_by_rounding(dtype, attention):
    torch.manual_seed(0)
    model = GPT(dataclasses.replace(PRESETS["tiny"], attention=attention))
    ids = some_ids(model.config, 2, 65)
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype, enabled=enabled):
            logits = model(ids[:, :-1])
        assert logits.dtype == (dtype if enabled else torch.float32)
        losses.append(F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten()))
    # bfloat16 rounds each logit (size 0.2) by at most 2**-9 of it; a few layers of that stay far below 0.005.
    assert abs(losses[1] - losses[0]) < 0.005
    losses[1].backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_model_learns_one_batch_by_heart():
    torch.manual_seed(0)
    model, ids = GPT(SMALL), some_ids(SMALL)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(100):
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


# --- initialisation ---------------------------------------------------------------------------------------------------

def initial_loss(config: GPTConfig, B: int = 2) -> float:
    torch.manual_seed(0)
    model, ids = GPT(config), some_ids(config, B, min(128, config.block_size) + 1 if config.block_size > 128 else None)
    with evaluating(model):
        return float(F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()))


@pytest.mark.parametrize("name", ["tiny", "playhouse", "small", "medium"])
def test_our_presets_start_at_a_uniform_guess(name):
    """Measured over many shapes the excess is at most 0.03; 250 tokens: a standard error of 0.2 / sqrt(250) = 0.013."""
    config = PRESETS[name]
    assert initial_loss(config) == pytest.approx(math.log(config.vocab_size), abs=0.05)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("n_embd", "n_layer", "vocab_size"), [
    (64, 4, 60), (128, 1, 60), (128, 12, 60), (384, 2, 500), (768, 2, 60), (768, 1, 8000), (1024, 2, 1000),
])
def test_every_width_starts_at_a_uniform_guess(n_embd, n_layer, vocab_size, tied):
    config = GPTConfig(vocab_size, 129, n_layer, 4, n_embd, tied=tied)
    assert initial_loss(config) == pytest.approx(math.log(vocab_size), abs=0.05)


def test_the_published_shakespeare_model_keeps_its_published_start():
    """6.3745: ln 500 plus half the variance 1/3 of its logits. 1,000 tokens: a standard error of 0.6 / 32 = 0.02."""
    assert initial_loss(PRESETS["shakespeare-bpe"], B=8) == pytest.approx(6.3745, abs=0.06)


def test_standard_deviations_at_the_start():
    torch.manual_seed(0)
    model = GPT(GPTConfig(2000, 300, n_layer=8, n_head=4, n_embd=256, tied=False))
    block = model.blocks[3]
    expected = {
        model.token_embedding: 0.0125, model.position_embedding: 0.0125, model.output: 0.0125,        # 0.2 / sqrt(256)
        block.attention.query_key_value: 0.02, block.mlp.expand: 0.02,
        block.attention.projection: 0.005, block.mlp.contract: 0.005,                               # 0.02 / sqrt(16)
    }
    for layer, std in expected.items():
        # The std of n >= 65,536 normal numbers is known to 1 / sqrt(2 n) < 0.3 %: 2 % is 7 sigma.
        assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.02)
    narrow = GPT(GPTConfig(5000, n_layer=1, n_embd=64)).token_embedding.weight.detach()
    assert float(narrow.std()) == pytest.approx(0.02, rel=0.02)             # not 0.2 / sqrt(64): never above GPT-2's
    assert all((p == 0).all() for name, p in model.named_parameters() if name.endswith("bias"))
    assert all((p == 1).all() for name, p in model.named_parameters() if "norm" in name and name.endswith("weight"))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("n_embd", "vocab_size"), [(64, 4000), (128, 8000), (256, 50257)])
def test_spread_tokens_of_a_large_vocabulary_start_at_a_uniform_guess(n_embd, vocab_size, tied):
    config = GPTConfig(vocab_size, 129, 2, 4, n_embd, tied=tied, init="spread")
    assert initial_loss(config) == pytest.approx(math.log(vocab_size), abs=0.05)


@pytest.mark.parametrize("tied", [True, False])
def test_spread_tokens_are_ten_times_as_far_apart_as_places_and_all_else_is_as_scaled(tied):
    models = {}
    for init in ("scaled", "spread"):
        torch.manual_seed(0)
        models[init] = GPT(GPTConfig(2000, 300, n_layer=2, n_head=4, n_embd=256, tied=tied, init=init))
    scaled, spread = (dict(model.named_parameters()) for model in models.values())
    other = {name for name in spread if not torch.equal(scaled[name], spread[name])}
    assert other == {"token_embedding.weight"} | ({"final_norm.weight"} if tied else set())
    assert float(spread["token_embedding.weight"].detach().std()) == pytest.approx(0.2, rel=0.02)
    if tied:
        assert (spread["final_norm.weight"] == 1 / 16).all()  # logits as wide as those of "scaled"


def test_torch_initialisation_is_left_as_it_is():
    torch.manual_seed(0)
    model = GPT(ODD)
    torch.manual_seed(0)
    assert torch.equal(model.token_embedding.weight, nn.Embedding(13, 10).weight)
    assert model.blocks[0].mlp.expand.bias.abs().sum() > 0


def test_the_seed_decides_the_weights():
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(GPT(SMALL).blocks[0].mlp.expand.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


# --- the configuration ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("fields", "message"), [
    ({"vocab_size": 0}, "vocab_size=0 must be a whole number"), ({"n_layer": -1}, "n_layer=-1"),
    ({"n_layer": None}, "n_layer=None"),
    ({"block_size": 2.0}, r"block_size=2\.0"), ({"n_head": True}, "n_head=True"), ({"n_embd": "12"}, "n_embd='12'"),
    ({"head_size": 0}, "head_size=0"), ({"dropout": 1.0}, r"dropout=1\.0 must be at least 0 and below 1"),
    ({"dropout": -0.1}, r"dropout=-0\.1"), ({"dropout": "a"}, "dropout='a'"), ({"dropout": math.nan}, "dropout=nan"),
    ({"bias": None}, "bias=None must be True or False"), ({"tied": 1}, "tied=1"), ({"qkv_bias": 0}, "qkv_bias=0"),
    ({"activation": "swish"}, "activation='swish' is unknown; choose one of gelu, relu"),
    ({"attention": "flash"}, "attention='flash' .* explicit, sdpa"),
    ({"init": "xavier"}, "init='xavier' .* scaled, spread, torch"),
    ({"n_embd": 13}, r"n_embd=13 .* try n_embd=12, or give head_size yourself"),
])
def test_bad_fields_are_refused_by_name(fields, message, as_users_run_it):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **fields)


def test_a_free_head_size_needs_no_even_split():
    config = GPTConfig(11, n_embd=13, n_head=3, head_size=5)
    assert config.head_width == 5 and GPTConfig(11, n_embd=12, n_head=3).head_width == 4
    assert dataclasses.replace(SMALL, n_embd=24).head_width == 8            # the default follows the width


@pytest.mark.parametrize("config", [*VARIANTS, *PRESETS.values()])
def test_config_survives_json(config):
    assert GPTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_and_missing_fields_are_named():
    with pytest.raises(ValueError, match="unknown configuration fields: rotary, window; known: vocab_size"):
        GPTConfig.from_dict({"vocab_size": 5, "rotary": True, "window": 3})
    with pytest.raises(ValueError, match="lacks vocab_size"):
        GPTConfig.from_dict({"n_layer": 2})


def test_config_is_frozen_and_fits_into_a_set():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.n_layer = 3
    assert len({SMALL, dataclasses.replace(SMALL), ODD}) == 2


# --- sizes ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("config", [*VARIANTS, *PRESETS.values()])
def test_counted_parameters_are_the_model_s(config):
    with torch.device("meta"):
        model = GPT(config)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    kinds = {"token embedding": "token_embedding", "position embedding": "position_embedding",
             "attention": ".attention.", "mlp": ".mlp.", "norms": "norm", "output": "output"}
    by_name = {kind: sum(size for name, size in sizes.items() if part in name) for kind, part in kinds.items()}
    assert count_parameters(config) == by_name and sum(by_name.values()) == sum(sizes.values())


@pytest.mark.parametrize(("name", "published"), [("shakespeare-bpe", 3_514_836), ("gpt2", 124_439_808)])
def test_published_sizes_are_met_exactly(name, published):
    assert sum(count_parameters(PRESETS[name]).values()) == published


@pytest.mark.parametrize(("name", "millions"), [
    ("books-bpe", 9.01), ("wikipedia-bpe", 134.75), ("tiny", 0.24), ("small", 1.35), ("medium", 10.75),
])
def test_rounded_sizes_are_met(name, millions):
    assert round(sum(count_parameters(PRESETS[name]).values()) / 1e6, 2) == millions


def test_medium_is_the_size_that_nanogpt_prints():
    """10.65 M: it leaves the positions out."""
    sizes = count_parameters(PRESETS["medium"])
    assert round((sum(sizes.values()) - sizes["position embedding"]) / 1e6, 2) == 10.65


@pytest.mark.parametrize("config", [SMALL, ODD])
def test_state_dict_holds_parameters_only(config):
    """No mask, no buffer, no second copy of a tied matrix."""
    model = GPT(config)
    assert list(model.state_dict()) == [name for name, _ in model.named_parameters()]


# --- eval mode --------------------------------------------------------------------------------------------------------

def test_evaluating_restores_each_submodule_also_after_an_error():
    model = GPT(SMALL).train()
    model.blocks[0].eval()
    before = [module.training for module in model.modules()]
    with pytest.raises(KeyError), evaluating(model):
        assert not any(module.training for module in model.modules()) and not torch.is_grad_enabled()
        raise KeyError
    assert [module.training for module in model.modules()] == before and torch.is_grad_enabled()


# --- weights on disk --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("config", [SMALL, ODD])
def test_saved_weights_come_back(config, tmp_path):
    path, model = tmp_path / "model.safetensors", GPT(config)
    save_weights(model, path)
    random_state = torch.get_rng_state()
    loaded = load_weights(path)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert loaded.config == config and loaded.training
    for ours, theirs in zip(loaded.state_dict().items(), model.state_dict().items()):
        assert ours[0] == theirs[0] and torch.equal(ours[1], theirs[1])
    loaded(some_ids(config)).sum().backward()                                   # still parameters, which can be trained
    assert all(parameter.requires_grad and parameter.grad is not None for parameter in loaded.parameters())


def test_a_loaded_model_does_not_write_into_its_file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(GPT(SMALL), path)
    before = path.read_bytes()
    loaded = load_weights(path)
    with torch.no_grad():
        loaded.token_embedding.weight.zero_()
    assert path.read_bytes() == before


def test_a_compiled_model_computes_and_saves_the_same(tmp_path, as_users_run_it):
    """fullgraph: nothing in forward makes the compiler give up. The prefix is dropped when saving and when loading."""
    model = GPT(SMALL)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(some_ids(SMALL)), model(some_ids(SMALL)))
    path, foreign = tmp_path / "ours.safetensors", tmp_path / "prefixed.safetensors"
    save_weights(compiled, path)
    assert sorted(load_file(path)) == sorted(model.state_dict())
    prefixed = {f"_orig_mod.{name}": weight for name, weight in model.state_dict().items()}
    save_file(prefixed, foreign, metadata={"config": json.dumps(SMALL.to_dict())})
    for file in (path, foreign):
        assert torch.equal(load_weights(file).final_norm.weight, model.final_norm.weight)


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(GPT(SMALL), path)
    whole = path.read_bytes()
    for damage in (b"", whole[:5], whole[:len(whole) // 2], whole[:-1], b"not weights at all" * 99, whole + b"x"):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=r"model\.safetensors is no whole safetensors file .* fetch it again"):
            load_weights(path)
    with pytest.raises(FileNotFoundError, match=r"other\.safetensors"):
        load_weights(tmp_path / "other.safetensors")


def test_foreign_files_are_named(tmp_path, as_users_run_it):
    path, weights, config = tmp_path / "model.safetensors", GPT(SMALL).state_dict(), SMALL.to_dict()
    save_file(weights, path)
    with pytest.raises(ValueError, match=r"model\.safetensors holds weights but no GPT configuration"):
        load_weights(path)
    cases = [
        (json.dumps(config | {"n_embd": 24}), weights, "size mismatch"),
        (json.dumps(config | {"n_layer": 1}), weights, "Unexpected key"),
        (json.dumps(config), {k: w for k, w in weights.items() if k != "final_norm.bias"}, "Missing key"),
        (json.dumps(config | {"rotary": True}), weights, "rotary"),
        (json.dumps(config | {"n_layer": 0}), weights, "n_layer=0"),
        ("gpt", weights, "Expecting value"), ("3", weights, ""), ("{}", weights, "vocab_size"),
    ]
    for text, tensors, message in cases:
        save_file(tensors, path, metadata={"config": text})
        with pytest.raises(ValueError, match=rf"(?s)model\.safetensors: configuration and weights .*{message}"):
            load_weights(path)


def test_metadata_is_plain_json_for_every_reader(tmp_path):
    """Read by hand: 8 bytes of length, then a JSON header."""
    path = tmp_path / "model.safetensors"
    save_weights(GPT(SMALL), path)
    data = path.read_bytes()
    header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
    assert json.loads(header["__metadata__"]["config"]) == SMALL.to_dict()
    with safetensors.safe_open(path, framework="np") as file:
        assert set(file.keys()) == set(header) - {"__metadata__"}


def test_failed_save_leaves_nothing_behind(tmp_path):
    with pytest.raises(OSError):
        save_weights(GPT(SMALL), tmp_path)                          # a folder is not replaced by a file
    assert list(tmp_path.iterdir()) == [] and not list(tmp_path.parent.glob(f".{tmp_path.name}*"))
