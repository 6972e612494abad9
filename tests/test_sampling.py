"""Sampling against distributions worked by hand, plain Python, greedy decoding without a cache, and its laws."""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.gpt import GPT, GPTConfig
from gptcore.sampling import draw, generate, next_distribution, sample_text

HALVES = torch.tensor([0.125, 0.5, 0.125, 0.25], dtype=torch.float64).log()
CONFIG = GPTConfig(vocab_size=17, block_size=8, n_layer=2, n_head=2, n_embd=8, dropout=0.3, tied=False,
                   init="torch")


def new_model(config: GPTConfig = CONFIG) -> GPT:
    torch.manual_seed(0)
    return GPT(config)


@pytest.fixture
def as_users_run_it():
    """Without the type checks of the tests, which refuse some mistakes before the code can."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- next_distribution ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("filters", "expected"), [
    ({}, [1 / 8, 1 / 2, 1 / 8, 1 / 4]),
    ({"temperature": 0.5}, [1 / 22, 16 / 22, 1 / 22, 4 / 22]),              # squares: 1, 16, 1, 4 over 64
    ({"temperature": 0}, [0, 1, 0, 0]),
    ({"top_k": 1}, [0, 1, 0, 0]),
    ({"top_k": 3}, [1 / 7, 4 / 7, 0, 2 / 7]),                               # tokens 0 and 2 tie: the lower id stays
    ({"top_k": 99}, [1 / 8, 1 / 2, 1 / 8, 1 / 4]),
    ({"top_p": 0.4}, [0, 1, 0, 0]),
    ({"top_p": 0.5}, [0, 1, 0, 0]),                                         # reached exactly is reached
    ({"top_p": 0.51}, [0, 2 / 3, 0, 1 / 3]),
    ({"top_p": 0.8}, [1 / 7, 4 / 7, 0, 2 / 7]),
    ({"top_p": 1}, [1 / 8, 1 / 2, 1 / 8, 1 / 4]),
    ({"top_k": 2, "top_p": 0.6}, [0, 1, 0, 0]),                             # 2/3 after top_k reaches 0.6, 1/2 does not
    ({"temperature": 0.5, "top_p": 0.7}, [0, 1, 0, 0]),                     # 16/22 reaches 0.7, 1/2 does not
    ({"temperature": 0, "top_k": 2, "top_p": 0.1}, [0, 1, 0, 0]),
])
def test_filters_by_hand(filters, expected):
    result = next_distribution(HALVES, **filters)
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-15)


def test_of_equal_tokens_the_lower_id_goes_first():
    equal = torch.zeros(5)
    assert next_distribution(equal, temperature=0).tolist() == [1, 0, 0, 0, 0]
    assert next_distribution(equal, top_k=2).tolist() == [0.5, 0.5, 0, 0, 0]
    assert next_distribution(equal, top_p=0.3).tolist() == [0.5, 0.5, 0, 0, 0]
    assert next_distribution(torch.zeros(2000), top_k=3).nonzero().flatten().tolist() == [0, 1, 2]


def in_plain_python(logits: list[float], temperature: float, top_k: int | None, top_p: float | None) -> list[float]:
    weights = [math.exp((x - max(logits)) / temperature) for x in logits]
    kept = sorted(range(len(logits)), key=lambda i: (-weights[i], i))[:top_k]
    total, reached = sum(weights[i] for i in kept), 0.0
    nucleus = []
    for i in kept:
        if top_p is None or reached < top_p:
            nucleus.append(i)
        reached += weights[i] / total
    total = sum(weights[i] for i in nucleus)
    return [weights[i] / total if i in nucleus else 0.0 for i in range(len(logits))]


# Whole logits make ties common; a top_p with three digits never meets a sum of their probabilities by accident.
LOGITS = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12)
TOP_P = st.none() | st.integers(1, 999).map(lambda n: n / 1000 + 0.000123)


@given(LOGITS, st.sampled_from([0.3, 1.0, 2.5]), st.none() | st.integers(1, 14), TOP_P)
def test_filters_equal_plain_python(logits, temperature, top_k, top_p):
    result = next_distribution(torch.tensor(logits, dtype=torch.float64), temperature, top_k, top_p)
    expected = in_plain_python(logits, temperature, top_k, top_p)
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-14)


# 1e-30 is still a number in float32; what is smaller rounds to 0 there, which would be refused.
@given(LOGITS, st.just(0) | st.floats(1e-30, 1e6), st.none() | st.integers(1, 14), st.none() | st.floats(1e-30, 1),
       st.sampled_from([torch.float32, torch.float64]))
def test_always_a_distribution_that_keeps_the_best_and_the_order(logits, temperature, top_k, top_p, dtype):
    logits = torch.tensor(logits, dtype=dtype)
    result = next_distribution(logits, temperature, top_k, top_p)
    assert result.dtype == dtype and (result >= 0).all() and float(result.sum()) == pytest.approx(1, abs=1e-5)
    assert result[logits.argmax()] > 0 and result[logits.argmax()] == result.max()
    kept = result > 0
    if not kept.all() and temperature > 0:
        assert logits[kept].min() >= logits[~kept & (logits > -math.inf)].max()
    if top_k is not None:
        assert kept.sum() <= top_k


def test_half_precision_does_not_overflow():
    """100 / 0.001 is more than float16 holds; infinity - infinity would be no number."""
    assert next_distribution(torch.tensor([99.0, 100.0], dtype=torch.float16), temperature=0.001).tolist() == [0, 1]


def test_each_row_is_filtered_on_its_own_and_the_logits_stay_as_they_were():
    torch.manual_seed(0)
    logits = torch.randn(3, 2, 9)
    before = logits.clone()
    result = next_distribution(logits, 0.7, 5, 0.8)
    for row, expected in zip(result.flatten(0, 1), logits.flatten(0, 1)):
        torch.testing.assert_close(row, next_distribution(expected, 0.7, 5, 0.8))
    assert torch.equal(logits, before)


def test_forbidden_tokens_stay_forbidden():
    logits = torch.tensor([0.0, -math.inf, 0.0])
    assert next_distribution(logits).tolist() == [0.5, 0, 0.5] == next_distribution(logits, top_k=3).tolist()


def test_the_whole_nucleus_is_everything():
    """In float32 the sum of many probabilities reaches 1 before the last of them: none may be lost for that."""
    torch.manual_seed(0)
    logits = 5 * torch.randn(50_000)
    assert torch.equal(next_distribution(logits, top_p=1.0), next_distribution(logits))


@pytest.mark.parametrize(("filters", "message"), [
    ({"temperature": -1.0}, r"temperature=-1\.0"), ({"temperature": math.nan}, "temperature=nan"),
    ({"temperature": math.inf}, "temperature=inf"), ({"top_k": 0}, "top_k=0 leaves no token"),
    ({"top_k": -3}, "top_k=-3"),
    ({"top_p": 0.0}, r"top_p=0\.0"), ({"top_p": 1.1}, r"top_p=1\.1"), ({"top_p": math.nan}, "top_p=nan"),
])
def test_bad_settings_are_refused_at_once(filters, message):
    with pytest.raises(ValueError, match=message):
        next_distribution(HALVES, **filters)
    with pytest.raises(ValueError, match=message):
        generate(new_model(), [1], 5, **filters)                           # before the first token is asked for


@pytest.mark.parametrize("bad", [[0.0, math.nan], [0.0, math.inf], [-math.inf, -math.inf]])
@pytest.mark.parametrize("temperature", [0, 1])
def test_broken_logits_are_refused(bad, temperature):
    with pytest.raises(ValueError, match="NaN or infinity"):
        next_distribution(torch.tensor(bad), temperature)


# --- generate ---------------------------------------------------------------------------------------------------------

def greedily(model: GPT, ids: list[int], n: int) -> list[int]:
    """The definition, from the whole text at each step: which part of it is in the window after so many tokens?"""
    model.eval()
    window, new = list(ids), []
    block_size = model.config.block_size
    for _ in range(n):
        if len(window) > block_size:
            window = window[len(window) - (block_size // 2 or 1):]
        new.append(int(model(torch.tensor([window]))[0, -1].argmax()))
        window.append(new[-1])
    return new


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("length", [1, 5, 7, 8, 9, 20])
def test_temperature_0_is_greedy_decoding_across_several_slides(use_cache, length):
    model, prompt = new_model(), [(7 * i) % 17 for i in range(length)]
    tokens = list(generate(model, prompt, 30, temperature=0, use_cache=use_cache))
    assert tokens == greedily(model, prompt, 30) and len(set(tokens)) > 2


def watched(model: GPT, **settings) -> tuple[list[int], list[torch.Tensor], list[int]]:
    """Generate and note the last logits and the number of tokens of each forward pass."""
    logits, lengths = [], []
    hook = model.register_forward_hook(
        lambda _, inputs, output: (logits.append(output[0, -1]), lengths.append(inputs[0].size(1)), None)[-1])
    tokens = list(generate(model, [3, 1, 4], 20, generator=seeded(), **settings))
    hook.remove()
    return tokens, logits, lengths


@pytest.mark.parametrize("attention", ["explicit", "sdpa"])
def test_cache_and_no_cache_agree_in_tokens_and_logits_across_the_slide(attention):
    model = new_model(dataclasses.replace(CONFIG, attention=attention))
    with_cache, without = watched(model), watched(model, use_cache=False)
    assert with_cache[0] == without[0]
    torch.testing.assert_close(with_cache[1], without[1], rtol=0, atol=1e-5)
    # The prompt of 3 grows to the block of 8; then 4 tokens are kept, and so on: 9 -> 4, as the docstring says.
    grow = [3, 4, 5, 6, 7, 8, 4, 5, 6, 7, 8, 4, 5, 6, 7, 8, 4, 5, 6, 7]
    assert without[2] == grow
    assert with_cache[2] == [3, 1, 1, 1, 1, 1, 4, 1, 1, 1, 1, 4, 1, 1, 1, 1, 4, 1, 1, 1]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("block_size", [1, 2, 3, 5])
def test_small_and_odd_blocks(block_size, use_cache):
    model = new_model(dataclasses.replace(CONFIG, block_size=block_size))
    tokens = list(generate(model, [1, 2, 3, 4], 20, temperature=0, use_cache=use_cache))
    assert tokens == greedily(model, [1, 2, 3, 4], 20)


def test_tokens_come_from_next_distribution():
    """2,000 first tokens, against the frequencies that the model's own distribution demands."""
    model = new_model().eval()
    filters = {"temperature": 1.3, "top_k": 6, "top_p": 0.7}
    with torch.no_grad():
        p = next_distribution(model(torch.tensor([[3, 1, 4]]))[0, -1].double(), **filters)
    random, n = seeded(), 2000
    draws = torch.tensor([next(generate(model, [3, 1, 4], 1, generator=random, **filters)) for _ in range(n)])
    counts = torch.bincount(draws, minlength=17)
    assert (counts[p == 0] == 0).all() and 2 < (p > 0).sum() < 6
    # Each count is binomial; 5 standard deviations, never reached by chance.
    assert ((counts - n * p).abs() <= 5 * (n * p * (1 - p)).sqrt()).all()


def test_each_draw_walks_along_the_probabilities():
    model, filters = new_model().eval(), {"temperature": 0.8, "top_k": 9, "top_p": 0.95}
    with torch.no_grad():
        p = next_distribution(model(torch.tensor([[3, 1, 4]]))[0, -1].double(), **filters).tolist()
    by_hand = []
    for seed in range(20):
        random = torch.rand(1, dtype=torch.float64, generator=seeded(seed)).item()
        by_hand.append(next(token for token, below in enumerate(itertools.accumulate(p)) if below > random))
    assert by_hand == [next(generate(model, [3, 1, 4], 1, generator=seeded(seed), **filters)) for seed in range(20)]


@pytest.mark.parametrize("last", [0.5, 0.5 - 1e-12])        # rounding may leave the sum just below 1
@pytest.mark.parametrize("random, token", [(0.0, 1), (0.4999, 1), (0.5001, 3), (1 - 2**-53, 3)])
def test_no_number_draws_what_cannot_come(monkeypatch, random, token, last):
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor([random], dtype=torch.float64))
    assert draw(torch.tensor([0, 0.5, 0, last, 0], dtype=torch.float64)) == token


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_temperature_that_only_float64_can_hold_is_greedy(dtype):
    model, window = new_model().to(dtype).eval(), [3]
    for token in generate(model, [3], 7, temperature=1e-60):
        with torch.no_grad():
            logits = model(torch.tensor([window]))[0, -1]
        assert logits[token] == logits.max()        # in bfloat16, several may be the largest
        window.append(token)


def test_the_generator_decides_and_the_global_one_is_left_alone():
    model = new_model()
    state = torch.get_rng_state()
    runs = [list(generate(model, [1], 40, generator=seeded(seed))) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    by_global = list(generate(model, [1], 40))
    torch.manual_seed(5)
    assert by_global == list(generate(model, [1], 40))


def test_prompt_may_be_a_tensor_and_stays_as_it_was():
    model, ids, tensor = new_model(), [3, 1, 4], torch.tensor([3, 1, 4])
    expected = list(generate(model, ids, 12, generator=seeded()))
    assert list(generate(model, tensor, 12, generator=seeded())) == expected
    assert ids == [3, 1, 4] == tensor.tolist()
    assert list(generate(model, ids, 0)) == []


def test_stop_ends_the_text_and_is_not_part_of_it():
    model = new_model()
    free = list(generate(model, [3], 40, generator=seeded()))
    stop = free[10]
    expected = list(itertools.takewhile(lambda token: token != stop, free))
    assert list(generate(model, [3], 40, generator=seeded(), stop=stop)) == expected
    assert 0 not in generate(model, [3], 100, generator=seeded(), stop=0)               # id 0 is an id, not "no stop"


@pytest.mark.parametrize(("ids", "message"), [
    ([], r"one row of token ids.*end_of_text"), ([17], "token id 17"), ([-1], "token id -1"),
    (torch.tensor([[1, 2]]), r"one row of token ids, not of shape \(1, 2\)"),
])
def test_bad_prompts_are_refused_at_once(ids, message, as_users_run_it):
    with pytest.raises(ValueError, match=message):
        generate(new_model(), ids, 3)
    with pytest.raises(ValueError, match="max_new_tokens=-1"):
        generate(new_model(), [1], -1)


def test_model_sleeps_at_each_yield_and_wakes_as_it_was():
    model = new_model().train()
    model.blocks[0].eval()                                      # somebody froze one block: that is not ours to change
    before = [module.training for module in model.modules()]
    modes = []
    hook = model.blocks[1].mlp.register_forward_hook(
        lambda module, inputs, output: modes.append((module.training, torch.is_grad_enabled())))
    tokens = generate(model, [1], 10)
    for _ in range(3):
        next(tokens)
        assert [module.training for module in model.modules()] == before and torch.is_grad_enabled()
    tokens.close()
    assert modes == [(False, False)] * 3
    hook.remove()

    def breaks(*_):
        raise KeyError

    model.blocks[1].register_forward_hook(breaks)
    with pytest.raises(KeyError):
        next(generate(model, [1], 10))
    assert [module.training for module in model.modules()] == before and torch.is_grad_enabled()


def test_a_training_model_generates_what_an_evaluated_one_does():
    """CONFIG has dropout: left on, it would change the tokens."""
    texts = [list(generate(new_model().train(mode), [1], 40, generator=seeded())) for mode in (True, False)]
    assert texts[0] == texts[1]


def test_two_streams_of_one_model_do_not_disturb_each_other():
    model = new_model()
    alone = [list(generate(model, [start], 15, generator=seeded())) for start in (1, 2)]
    streams = [generate(model, [start], 15, generator=seeded()) for start in (1, 2)]
    assert [list(tokens) for tokens in zip(*zip(*streams))] == alone


# --- sample_text ------------------------------------------------------------------------------------------------------

class Bytes:
    """The smallest tokenizer that keeps the contract: a token for each byte, and the end of the text."""

    vocab_size, end_of_text = 257, 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def token_bytes(self, token: int) -> bytes:
        return b"" if token == 256 else bytes([token])

    def decode(self, ids: list[int]) -> str:
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")


def that_says(script: list[int], start: int = 0) -> GPT:
    """A real GPT that has learned one text by position: each place has a channel, each channel demands its token."""
    n = start + len(script) + 2
    model = GPT(GPTConfig(257, block_size=n, n_layer=1, n_head=1, n_embd=n, tied=False))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.position_embedding.weight.copy_(torch.eye(n))
        model.final_norm.weight.fill_(1)
        for place, token in enumerate([*script, 256]):
            model.output.weight[token, start + place] = 1
    return model


def pieces_of(script: list[int], prompt: str = "", **settings) -> Iterator[str]:
    model = that_says(script, start=len(prompt.encode()))
    return sample_text(model, Bytes(), prompt, temperature=0, **settings)


def test_a_character_is_held_back_until_it_is_complete():
    script = list("aé한😀!".encode())
    assert list(pieces_of(script)) == ["a", "é", "한", "😀", "!"]


def test_bytes_that_are_no_text_come_as_replacement_characters():
    assert list(pieces_of([97, 0xFF, 98])) == ["a", "\ufffd", "b"]
    assert list(pieces_of([97, 0xF0, 0x9F])) == ["a", "\ufffd"]                 # cut in the middle of an emoji
    assert "".join(pieces_of([0xE2, 0x82, 65])) == "\ufffdA"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 255), max_size=30) | st.text(max_size=10).map(lambda text: list(text.encode())))
def test_joined_pieces_are_the_decoded_text(script):
    assert "".join(pieces_of(script)) == Bytes().decode(script)


def test_text_goes_from_end_of_text_to_end_of_text():
    """That model says "no" after exactly `<|endoftext|>` and the prompt; its next token is the end, never shown."""
    assert "".join(pieces_of(list(b"no"), prompt="to be, or é ")) == "no"
    assert "".join(pieces_of(list(b"abcdef"), max_new_tokens=4)) == "abcd"
    assert "".join(pieces_of(list(b"abc"), use_cache=False)) == "abc"
    seen = []
    model = that_says([], start=2)
    model.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].tolist()))
    assert list(sample_text(model, Bytes(), "hi", temperature=0)) == [] and seen == [[[256, 104, 105]]]


def test_a_tokenizer_that_does_not_fit_is_refused_at_once():
    with pytest.raises(ValueError, match="tokenizer has 257 tokens, the model 17"):
        sample_text(new_model(), Bytes(), "a")
