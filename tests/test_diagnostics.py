"""Diagnostics: statistics by hand, hooks that go away, dead units that are seen, memory that is as predicted."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gptcore.attention import attention_weights
from gptcore.diagnostics import (
    KINDS,
    Statistics,
    attention_entropy,
    firing_rates,
    measure_memory,
    predict_memory,
    record,
    unit_kinds,
)
from gptcore.gpt import GPT, GPTConfig
from gptcore.schedule import TrainConfig
from gptcore.training import train

SMALL = {"vocab_size": 60, "block_size": 16, "n_layer": 2, "n_head": 3, "n_embd": 12}


def gpt(**changes):
    torch.manual_seed(0)
    return GPT(GPTConfig(**SMALL | changes))


def ids(B=4, T=11):
    return torch.randint(60, (B, T), generator=torch.Generator().manual_seed(1))


def loss(model, x):
    return F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())


def hooks(model):
    return [len(getattr(layer, kind)) for layer in model.modules()
            for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")]


def documents(count=5):
    rng = np.random.default_rng(0)
    return [rng.integers(60, size=n) for n in (9, 12, 40, 2, 17)[:count]]


class TestStatistics:
    def test_they_are_those_of_all_numbers_in_whatever_pieces(self):
        x = torch.randn(7, 50, generator=torch.Generator().manual_seed(0)).relu() * 1e-6 + 3e-7
        x[2] = 0
        seen = Statistics()
        for piece in x.split([1, 4, 2]):
            seen.add(piece)
        assert (seen.count, seen.zeros) == (350, (x == 0).double().mean().item())
        assert math.isclose(seen.mean, x.double().mean().item(), rel_tol=1e-12)
        assert math.isclose(seen.std, x.double().std(correction=0).item(), rel_tol=1e-9)

    def test_the_histogram_is_that_of_numpy_and_keeps_what_lies_further_out(self):
        x = torch.randn(2000, generator=torch.Generator().manual_seed(0))
        seen = Statistics(bins=20)
        seen.add(x)
        seen.add(torch.tensor([1e6, -1e6, -1e6]))
        made = seen.histogram()
        width = made["value"][1] - made["value"][0]
        edges = np.append(made["value"] - width / 2, made["value"].iloc[-1] + width / 2)
        expected, _ = np.histogram(x.numpy(), edges)
        counts = made["density"] * width * seen.count
        assert np.allclose(counts[1:-1], expected[1:-1], atol=1.01)  # a number on an edge may fall to either side
        assert math.isclose(counts.sum(), 2003) and counts.iloc[0] >= 2 and counts.iloc[-1] >= 1
        assert math.isclose(edges[-1], 5 * x.square().mean().sqrt().item(), rel_tol=1e-6)

    def test_zeros_alone_lay_bins_around_them_and_nothing_is_nan(self):
        seen = Statistics(bins=3)
        seen.add(torch.zeros(4))
        assert (seen.mean, seen.std, seen.zeros, seen.reach) == (0, 0, 1, 1)
        assert seen.histogram()["density"].tolist() == [0, 1.5, 0]
        seen.add(torch.ones(4))
        assert seen.zeros == 0.5 and seen.histogram()["density"].tolist() == [0, 0.75, 0.75]

    def test_what_saw_nothing_says_nan(self):
        assert all(math.isnan(number) for number in (Statistics().mean, Statistics().std, Statistics().zeros))

    def test_memory_does_not_grow(self):
        seen = Statistics()
        for _ in range(50):
            seen.add(torch.ones(1000))
        assert sum(value.numel() for value in vars(seen).values() if isinstance(value, torch.Tensor)) == 200


class TestRecord:
    def test_activations_are_those_of_the_forward_pass(self):
        model, x = gpt(activation="relu"), ids()
        with record(model) as tape:
            model(x)
            model(x[:2])
        block, stream = model.blocks[0], model.embed(x)
        stream = stream + block.attention(block.norm_1(stream))
        wide = block.mlp.expand(block.norm_2(stream))
        both = torch.cat([wide.flatten(0, 1), wide[:2].flatten(0, 1)]).relu().double()
        row = tape.activations().iloc[0]
        assert row["count"] == both.numel()
        assert np.allclose([row["mean"], row["std"], row["zeros"]],
                           [both.mean().item(), both.std(correction=0).item(), (both == 0).double().mean().item()])
        assert np.allclose(tape.firing().loc["blocks.0.mlp.activation", "rate"], (both > 0).double().mean(0))

    @pytest.mark.parametrize("activation", ["relu", "gelu"])
    def test_gradients_of_both_sides_are_those_of_autograd(self, activation):
        model, x, kept = gpt(activation=activation), ids(), []
        bend = model.blocks[1].mlp.activation
        handle = bend.register_forward_hook(lambda layer, args, output: kept.extend([output, args[0]]))
        with record(model, "gradients") as tape:
            total = loss(model, x)
            sides = torch.autograd.grad(total, kept, retain_graph=True)
            total.backward()
        handle.remove()
        for side, gradient in zip(("output", "input"), sides):
            row = tape.gradients().loc["blocks.1.mlp.activation", side]
            assert row["count"] == 2 * gradient.numel()  # once for autograd.grad, once for backward
            assert math.isclose(row["std"], gradient.double().std(correction=0).item(), rel_tol=1e-6)
        assert [layer for layer, _ in tape.gradients().index[::2]] == [f"blocks.{i}.mlp.activation" for i in (0, 1)]
        assert list(tape.histograms("input")) == [f"blocks.{i}.mlp.activation" for i in (0, 1)]

    def test_the_stream_is_what_the_norms_read(self):
        model, x = gpt(), ids()
        with record(model, "stream") as tape:
            model(x)
        before = model.embed(x)
        after = before + model.blocks[0].attention(model.blocks[0].norm_1(before))
        made = tape.stream()
        assert list(made.index) == ["embeddings", "blocks.0.attention", "blocks.0.mlp", "blocks.1.attention", "blocks.1.mlp"]

        def rms(x):
            return x.square().mean(-1).sqrt().mean().item()

        assert math.isclose(made["size"].iloc[0], rms(before), rel_tol=1e-5)
        cosine = F.cosine_similarity(after, before, dim=-1).mean().item()
        assert np.allclose(made.iloc[1], [rms(after), rms(after - before), cosine], rtol=1e-5)

    def test_attention_is_that_of_whole_texts_and_a_cache_is_passed_over(self):
        model, x = gpt(), ids()
        with record(model, "attention") as tape:
            model(x)
            model(x[:1, :5], model.new_cache())
        expected = torch.stack([attention_entropy(weights) for weights in model.attention_maps(x)])
        assert np.allclose(tape.attention(), expected, atol=1e-6)
        assert tape.attention().shape == (2, 3)

    @pytest.mark.parametrize("optimizer", ["adamw", "muon"])
    def test_updates_are_what_the_optimizer_did_in_the_training_loop(self, optimizer, tmp_path):
        if optimizer == "muon" and not hasattr(torch.optim, "Muon"):
            pytest.skip("this torch has no Muon")
        model, begin = gpt(), gpt()
        config = TrainConfig(3, batch_size=2, warmup=0, eval_windows=2, eval_every=3, optimizer=optimizer)
        with record(model, "updates") as tape:
            train(model, documents(), documents(2), config, tmp_path, progress=False)
        rows = tape.updates().set_index(["step", "parameter"])
        names = [name for name, _ in model.named_parameters()]
        assert sorted(rows.index) == sorted((step, name) for step in range(3) for name in names)
        for name, weight in begin.named_parameters():
            assert math.isclose(rows.loc[(0, name), "weight"], weight.norm().item(), rel_tol=1e-5, abs_tol=1e-12)
        assert (rows["update"] > 0).mean() > 0.9 and (rows["gradient"] > 0).mean() > 0.9

    def test_updates_are_exact_for_plain_descent_and_taken_every_so_often(self):
        model = nn.Linear(3, 2)
        optimizer, other = torch.optim.SGD(model.parameters(), lr=0.5), nn.Linear(1, 1)
        stranger = torch.optim.SGD(other.parameters(), lr=1.0)
        with record(model, "updates", every=2) as tape:
            for _ in range(4):
                for each, layer in ((optimizer, model), (stranger, other)):
                    each.zero_grad()
                    layer(torch.ones(1, layer.in_features)).sum().backward()
                    each.step()
        rows = tape.updates()
        assert list(rows["step"]) == [0, 0, 2, 2] and list(rows["parameter"]) == ["weight", "bias"] * 2
        assert np.allclose(rows["update"], 0.5 * rows["gradient"])
        assert np.allclose(rows["ratio"], rows["update"] / rows["weight"])

    @pytest.mark.parametrize("kind", KINDS)
    def test_all_hooks_go_away_also_after_an_exception(self, kind):
        model, x = gpt(), ids()
        before = hooks(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(ZeroDivisionError), record(model, kind):
            assert kind == "updates" or hooks(model) != before
            loss(model, x)
            raise ZeroDivisionError
        assert hooks(model) == before
        with record(model, kind) as tape:
            total = loss(model, x)
        total.backward()  # the graph outlives the recording
        optimizer.step()
        if kind in ("gradients", "updates"):
            with pytest.raises(ValueError, match="nothing was recorded"):
                getattr(tape, kind)()

    def test_it_changes_neither_loss_nor_gradients(self):
        gradients = []
        for kinds in ((), KINDS):
            model = gpt()
            if kinds:
                with record(model, kinds):
                    loss(model, ids()).backward()
            else:
                loss(model, ids()).backward()
            gradients.append([weight.grad for weight in model.parameters()])
        torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)

    def test_a_compiled_model_is_seen_after_a_warning_even_if_it_ran_before(self):
        model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.ones(2, 3)
        compiled = torch.compile(model, backend="eager")
        compiled(x)  # a hook that comes after this would never be called
        with pytest.warns(UserWarning, match="runs uncompiled while it is recorded"), record(compiled) as tape:
            compiled(x)
        with record(model) as plain:
            model(x)
        pd.testing.assert_frame_equal(tape.activations(), plain.activations())

    def test_what_cannot_be_recorded_is_said(self):
        with pytest.raises(ValueError, match="kinds are activations, gradients"), record(gpt(), "dead"):
            pass
        with pytest.raises(ValueError, match="every is at least 1"), record(gpt(), "updates", every=0):
            pass
        for kind in ("activations", "stream", "attention"):
            with pytest.raises(ValueError, match=r"the model has no|this model has none"), record(nn.Linear(2, 2), kind):
                pass
        with record(gpt()) as tape:
            pass
        with pytest.raises(ValueError, match="call the model inside the `with`"):
            tape.activations()


class TestFiring:
    def test_a_killed_unit_is_dead_and_a_lifted_one_always_on(self):
        model = gpt(activation="relu")
        before = unit_kinds(firing_rates(model, documents()))
        with torch.no_grad():
            model.blocks[1].mlp.expand.bias[5] = -100
            model.blocks[1].mlp.expand.bias[7] = 100
        rates = firing_rates(model, documents())
        assert rates["rate"]["blocks.1.mlp.activation", 5] == 0 and rates["rate"]["blocks.1.mlp.activation", 7] == 1
        kinds = unit_kinds(rates) - before
        assert list(kinds["dead"]) == [0, 1] and list(kinds["always"]) == [0, 1] and list(before["units"]) == [48, 48]

    def test_every_token_counts_once_whatever_the_lengths(self):
        model = gpt(activation="relu", block_size=16)
        with record(model) as tape:
            for document in documents():
                for start in range(0, len(document) - 1, 16):
                    model(torch.from_numpy(document[None, start:min(start + 16, len(document) - 1)]))
        pd.testing.assert_frame_equal(firing_rates(model, documents()), tape.firing())
        assert model.training

    def test_one_in_a_hundred_is_not_sparse_yet(self):
        rates = pd.DataFrame({"rate": [0.01, 0.0099, 0.5]}, pd.MultiIndex.from_product([["a"], range(3)]))
        assert unit_kinds(rates)["sparse"].item() == 1
        assert unit_kinds(rates, sparse=0.6)["sparse"].item() == 3


def test_the_entropy_of_even_weights_is_that_of_counting():
    even = attention_weights(torch.zeros(2, 3, 8, 4), torch.zeros(2, 3, 8, 4))
    expected = np.mean([math.log2(n) for n in range(1, 9)])
    assert np.allclose(attention_entropy(even), [expected] * 3, atol=1e-6)


class TestMemory:
    @pytest.mark.parametrize("optimizer", ["adamw", "muon"])
    @pytest.mark.parametrize("changes", [
        {}, {"attention": "explicit"}, {"activation": "relu"}, {"bias": False}, {"tied": False}, {"head_size": 7},
        {"n_layer": 3, "n_embd": 48}], ids=str)
    def test_what_is_predicted_is_kept(self, changes, optimizer):
        if optimizer == "muon" and not hasattr(torch.optim, "Muon"):
            pytest.skip("this torch has no Muon")
        model, x = gpt(**{"n_embd": 24, "block_size": 64} | changes), ids(B=6, T=49)
        measured = measure_memory(model, x[:, :-1].contiguous(), x[:, 1:].contiguous(), TrainConfig(1, optimizer=optimizer))
        predicted = predict_memory(model.config, 6, 48, optimizer)
        assert list(measured.index) == list(predicted.index)
        assert (measured.drop("activations") == predicted.drop("activations")).all()
        kept_too = measured["activations"] / predicted["activations"] - 1  # one or two numbers a row of norms and attention
        assert 0 <= kept_too < 0.03

    def test_the_model_is_as_it_was(self):
        model, x = gpt(), ids()
        before = {name: weight.clone() for name, weight in model.state_dict().items()}
        model.eval()
        measure_memory(model, x[:, :-1], x[:, 1:], TrainConfig(1))
        torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
        assert not model.training and all(weight.grad is None for weight in model.parameters())
