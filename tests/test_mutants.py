"""Mutants: which there are of a piece of source, and that installing one changes what it must and nothing for good."""
import sys
import time
import types

import bites
import guards
import mutants
import pytest
import torch

import gptcore.training
from gptcore import attention, evaluation, gpt, ngram, schedule, tokenizer

SOURCE = '''
import warnings

__all__ = ["PUBLIC", "careful", "f", "other", "refuses"]
PUBLIC = 3
LIMIT = 4


def other(x: int = 1):
    return x - PUBLIC


def _helper(x):
    return x ** LIMIT


def f(a: "1 + 1" = 1.5, b=True, *, c="x") -> "2 * 2":
    """Not 1 + 1."""
    assert a + 1
    if a < 0:
        raise ValueError("a" + "b")
    if not b:
        return a < 1 <= 2
    if c in "xy" or a == 7:
        return a // 3 % 5
    return _helper(-a), PUBLIC, other(), None


def refuses(x):
    """Refuse."""
    low = x
    if low < 1:
        where = x + 1
        raise ValueError(where)


def careful(x):
    try:
        if x > 3:
            warnings.warn("large" + "!")
        return x + 1
    except TypeError as error:
        place = error.args[0]
        raise ValueError(place + "?")
'''


@pytest.fixture
def teaching(monkeypatch, tmp_path):
    """A module of gptcore for these tests."""
    module = types.ModuleType("gptcore.teaching")
    module.__file__ = str(tmp_path / "teaching.py")
    (tmp_path / "teaching.py").write_text(SOURCE)
    exec(SOURCE, vars(module))
    monkeypatch.setitem(sys.modules, "gptcore.teaching", module)


def one(target, words):
    return next(mutant for mutant in mutants.mutants(target) if words in mutant.description)


def everything_in_gptcore():
    """Everything that a mutant could leave changed: what the names, the tables and the classes of gptcore hold."""
    modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "gptcore"}
    found = {}
    for name, module in modules.items():
        for key, value in vars(module).items():
            found[name, key] = id(value)
            inner = value if isinstance(value, dict) else vars(value) if isinstance(value, type) else {}
            found |= {(name, key, part): id(held) for part, held in list(inner.items())
                      if part not in ("__abstractmethods__", "_abc_impl")}
    return found


def described(target, skip=()):
    return [mutant.description for mutant in mutants.mutants(target, skip)]


def test_operators_comparisons_and_constants():
    found = described("gptcore.ngram.NGram")
    assert len(found) == len(set(found)) > 30
    for change in ("1 / self.vocab_size -> 1 * self.vocab_size", "1 / self.vocab_size -> 2 / self.vocab_size",
                   "followers is None -> followers is not None", "emptied"):
        assert f"ngram.NGram.probability: {change}" in found
    assert "ngram.NGram.fit: self.totals[context] += 1 -> self.totals[context] -= 1" in found
    assert "ngram.NGram.probability: len(context) - length -> len(context) + length (2)" in found


def test_each_kind_of_change(teaching):
    found = described("gptcore.teaching.f")
    assert {each.removeprefix("teaching.f: ") for each in found if each.startswith("teaching.f: ")} == {
        "emptied", "a=1.5 -> a=3.0", "b=True -> b=False", "c='x' -> c='xX'",
        "not b -> b", "a < 1 <= 2 -> a <= 1 <= 2", "a < 1 <= 2 -> a >= 1 <= 2", "a < 1 <= 2 -> a < 1 < 2",
        "a < 1 <= 2 -> a < 1 > 2", "a < 1 <= 2 -> a < 2 <= 2", "a < 1 <= 2 -> a < 0 <= 2", "a < 1 <= 2 -> a < 1 <= 3",
        "c in 'xy' or a == 7 -> c in 'xy' and a == 7", "c in 'xy' -> c not in 'xy'", "c in 'xy' -> c in 'xyX'",
        "a == 7 -> a != 7", "a == 7 -> a == 8", "a // 3 % 5 -> a // 3 // 5", "a // 3 -> a * 3", "a // 3 -> a // 4",
        "a // 3 % 5 -> a // 3 % 6", "_helper(-a) -> _helper(a)"}
    assert "teaching: LIMIT = 4 -> LIMIT = 5" in found
    assert "teaching._helper: x ** LIMIT -> x * LIMIT" in found
    assert not any("PUBLIC" in each or "other" in each for each in found)


def test_refusals_docstrings_and_annotations_are_left_alone(teaching):
    assert described("gptcore.teaching.refuses") == []
    assert described("gptcore.teaching.careful") == [
        "teaching.careful: emptied", "teaching.careful: x + 1 -> x - 1", "teaching.careful: x + 1 -> x + 2",
        "teaching.careful: x + 1 -> x + 0"]


def test_a_base_class_belongs_to_it_and_skip_leaves_out():
    found = described("gptcore.tokenizer.CharTokenizer", bites.NOT_BUILT)
    assert "tokenizer.Tokenizer.end_of_text: len(self._bytes) - 1 -> len(self._bytes) + 1" in found
    assert not any(word in each for each in found for word in ("save", "_hash", "FORMAT", "__repr__", "BPE"))


def test_methods_of_a_base_class_that_are_never_called_are_left_alone():
    found = described("gptcore.tokenizer.BPETokenizer")
    assert "tokenizer.BPETokenizer.encode: emptied" in found and "tokenizer.Tokenizer.__init__: emptied" in found
    assert "tokenizer.Tokenizer.token_bytes: emptied" in found
    assert not any(each.startswith(("tokenizer.Tokenizer.encode", "tokenizer.Tokenizer.end_of_text")) for each in found)


def test_what_is_no_function_is_refused():
    with pytest.raises(ValueError, match="no function or class"):
        mutants.mutants("gptcore.tokenizer.GPT2_PATTERN")


@pytest.mark.parametrize("target", [name for name, thing in guards.public().items()
                                    if isinstance(thing, type | types.FunctionType)])
def test_every_mutant_can_be_installed_and_leaves_no_trace(target):
    before = everything_in_gptcore()
    for count, mutant in enumerate(mutants.mutants(target)):
        try:
            with mutants.installed(mutant):
                assert count or everything_in_gptcore() != before
        except mutants.Stillborn:
            pass
    assert everything_in_gptcore() == before


def test_a_function_is_exchanged_wherever_it_is_known():
    mutant = one("gptcore.schedule.learning_rate", "0.5 + 0.5 * math")
    config = schedule.TrainConfig(steps=5)
    real, namespace = schedule.learning_rate, {"learning_rate": schedule.learning_rate, "other": 1}
    with mutants.installed(mutant, namespace):
        inside: dict = {}
        exec("from gptcore.schedule import learning_rate; from gptcore.training import learning_rate as again", inside)
        known = inside["learning_rate"], inside["again"], namespace["learning_rate"], gptcore.training.learning_rate
        for each in known:
            assert each is schedule.learning_rate is not real and each(4, config) != real(4, config)
    assert namespace == {"learning_rate": real, "other": 1} and gptcore.training.learning_rate is real


def test_a_function_in_a_table_is_exchanged_too():
    real = attention.explicit_attention
    with mutants.installed(one("gptcore.attention.explicit_attention", "emptied")):
        assert attention.ATTENTION["explicit"] is attention.explicit_attention is not real
    assert attention.ATTENTION["explicit"] is real


def test_a_class_keeps_its_identity_its_super_and_its_instances():
    old = ngram.NGram(2, 3).fit([[0, 1, 0, 1, 0, 2]])
    expected = old.probabilities([0])
    with mutants.installed(one("gptcore.ngram.NGram", "1 / self.vocab_size -> 2")):
        assert isinstance(old, ngram.NGram) and old.probabilities([0]) != expected
    assert old.probabilities([0]) == expected
    with mutants.installed(one("gptcore.gpt.Block", "x + self.mlp(self.norm_2(x)) -> x - ")):
        block = gpt.Block(gpt.PRESETS["tiny"])
        assert isinstance(block, gpt.Block)
        block(torch.zeros(1, 2, 64))


def test_a_dataclass_and_a_subclass():
    with mutants.installed(one("gptcore.evaluation.Score", "{self.value:.3f} ± ")):
        assert str(evaluation.Score(1.0, 2.0)) != "1.000 ± 2.000"
    assert str(evaluation.Score(1.0, 2.0)) == "1.000 ± 2.000"
    with mutants.installed(one("gptcore.tokenizer.Tokenizer", "end_of_text: len(self._bytes) - 1 -> len(self._bytes) + 1")):
        assert tokenizer.CharTokenizer("ab").end_of_text == 4
    assert tokenizer.CharTokenizer("ab").end_of_text == 2


def test_a_constant_of_the_module():
    with mutants.installed(one("gptcore.evaluation.bits_per_byte", "FEW, PIECES = (11, 20)")):
        assert evaluation.FEW == 11
    assert evaluation.FEW == 10


def test_an_error_inside_restores_everything():
    before = everything_in_gptcore()
    with pytest.raises(ZeroDivisionError), mutants.installed(one("gptcore.ngram.NGram", "emptied")):
        raise ZeroDivisionError
    assert everything_in_gptcore() == before


def test_time_is_limited():
    started = time.monotonic()
    with pytest.raises(mutants.TimeUp, match=r"0\.1 s"), mutants.time_limit(0.1):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                pass
    assert time.monotonic() - started < 5
    with mutants.time_limit(0.1):
        pass
    time.sleep(0.2)  # the alarm is off
