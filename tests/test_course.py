"""The checks of the notebooks must notice what is wrong, and say it so that a learner can go on."""
import math
from contextlib import nullcontext
from dataclasses import dataclass
from unittest import mock

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gptcore.attention import CausalSelfAttention, KeyValueCache
from gptcore.batches import IGNORE, Windows, validation_windows
from gptcore.course import cases, check, dial, exercises, turn, your_turn
from gptcore.distributed import ALONE
from gptcore.evaluation import cross_entropy, window_loss
from gptcore.gpt import GPT, MLP, Block, count_parameters, evaluating
from gptcore.ngram import NGram
from gptcore.sampling import generate, next_distribution
from gptcore.schedule import learning_rate
from gptcore.tokenizer import CharTokenizer
from gptcore.training import accumulate_gradients, decay_groups


def twice(x):
    return 2 * x


def stumbles(x):
    return [][x]


class TestSame:
    def test_says_in_one_line_what_agrees(self, capsys):
        check.same(twice, lambda x: x + x, {"one": (1,), "many": (np.arange(3.0),)})
        assert capsys.readouterr().out == "same: twice and <lambda> agree on 2 cases\n"

    def test_one_case_and_the_shipped_name_in_full(self, capsys):
        check.same(CharTokenizer, CharTokenizer, {"it": lambda Tokenizer: Tokenizer("ab").vocab_size})
        check.same(twice, twice, {"it": (1,)})
        name = "gptcore.tokenizer.CharTokenizer"
        assert capsys.readouterr().out == (f"same: {name} and {name} agree on 1 case\n"
                                           "same: twice and twice agree on 1 case\n")

    def test_names_the_first_case_that_differs_and_both_values(self):
        with pytest.raises(check.Refused, match=r"case 'three' \(3\): 6, expected 9"):
            check.same(twice, lambda x: x * x, {"two": (2,), "three": (3,), "four": (4,)})

    @pytest.mark.parametrize("found, expected, told", [
        (torch.zeros(2, 3), torch.zeros(3, 2), "shape"),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0 + 1e-5]), r"at \[1\]"),
        ([1, 2], [1, 2, 3], r"\[1, 2\], expected \[1, 2, 3\]$"),
        ({"a": 1}, {"b": 1}, "keys"),
        ({"a": [1, "x"]}, {"a": [1, "y"]}, r"at \['a'\]\[1\] 'x', expected 'y'"),
        (None, 0, r"nothing was returned \(is a `return` missing\?\), expected 0"),
        ([1, None], [1, 0], r"at \[1\] nothing was returned"),
        (True, 1, "True, expected 1"),
        ("ab", b"ab", "'ab', expected b'ab'"),
        (math.nan, 1.0, "nan, expected 1"),
        (np.array([1.0, math.nan]), np.array([1.0, 2.0]), r"at \[1\] nan"),
        (np.array([0.0, 1e-7]), np.array([0.0, 0.0]), r"at \[1\]"),
        (math.inf, -math.inf, "inf, expected -inf"),
        ([], [1], r"\[\], expected \[1\]$"),
        ([1.0], 1.0, r"expected 1\.0"),
        (["a"], "a", "expected 'a'"),
        ({"a": 1}, [1], "expected"),
        ("a", {"a": 1}, "expected"),
        (["a", "b"], ["a", "c"], r"at \[1\] 'b', expected 'c'"),
        (np.zeros((2, 3)), np.array([[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]]), r"at \[1\]\[1\] 0\.0, expected 5\.0"),
        (torch.tensor([True, False]), torch.tensor([True, True]), r"at \[1\] False, expected True"),
    ])
    def test_differences(self, found, expected, told):
        with pytest.raises(check.Refused, match=told):
            check.same(lambda: found, lambda: expected, {"it": ()})

    @pytest.mark.parametrize("found, expected, told", [  # the whole of it
        (14.51680001, 14.5168, "14.51680001, expected 14.5168"),
        (0.00681843, 0.00679766, "0.00681843, expected 0.00679766"),
        (0.999998, 1.0, "0.999998, expected 1.0"),
        (0.99999997, 1.0, "0.99999997, expected 1.0"),
        (np.float32(0.1), 0.25, "0.1, expected 0.25"),
        ([[0.5, 14.51682]], torch.tensor([[0.5, 14.516801]], dtype=torch.float64),
         "at [0][1] 14.51682, expected 14.5168"),
        ([258], [97, 256], "[258], expected [97, 256]"),
        ([], list(range(9)), "[], expected [0, 1, 2, 3, 4, 5, 6, 7, ...]"),
        ([1, 2, 3, 97, *range(14)], [1, 2, 3, 256, *range(8)],
         "18 entries, expected 12; the first that differs: at [3] 97, expected 256"),
        ({"ids": [5] * 18}, {"ids": [5] * 12}, "at ['ids'] 18 entries, expected 12; the first 12 agree"),
        ([(1, 2)] * 14, [(1, 2)] * 12 + [(1, 3)],
         "14 entries, expected 13; the first that differs: at [12][1] 2, expected 3"),
        ([(1, 2), (3, 4)], [(1, 2, 3), (3, 4, 5)], "at [0] [1, 2], expected [1, 2, 3]"),
        ([[1], [2, 3]], [[1], [2]], "at [1] [2, 3], expected [2]"),
        (np.arange(3), [1, 2], "the shape (3,), expected (2,)"),
        ([0, 1, 2], torch.zeros(2), "the shape (3,), expected (2,)"),
        ([[268], (271, 97)], np.array([1, 2]), "at [0] [268], expected 1"),
        ([[268], [271, 97]], [[268], [271, 97], [np.int64(5)]], "[[268], [271, 97]], expected [[268], [271, 97], [5]]"),
        (["a", np.int64(2)], ["a"], "['a', 2], expected ['a']"),
        ({np.int64(2): np.int64(3)}, [], "{2: 3}, expected []"),
        ({2: torch.tensor(3)}, {np.int64(2): 4}, "at [2] 3, expected 4"),
        ("a", [torch.tensor(2), "b"], "'a', expected [2, 'b']"),
        (np.int64(2), "2", "2, expected '2'"),
        (None, torch.tensor([True, False]), "nothing was returned (is a `return` missing?), expected [True, False]"),
        (None, torch.zeros(9, 9), "nothing was returned (is a `return` missing?), expected numbers of the shape (9, 9)"),
        ([np.zeros((2, 9))], np.zeros((1, 2, 8)), "the shape (1, 2, 9), expected (1, 2, 8)"),
        ([np.zeros((2, 9))], [(np.zeros((2, 9)), np.ones((2, 9)))], "at [0] the shape (2, 9), expected (2, 2, 9)"),
        (Windows(*np.arange(8).reshape(4, 2)), Windows(*np.array([0, 1, 2, 3, 4, 5, 6, 8]).reshape(4, 2)),
         "at skip[1] 7, expected 8"),
        (Windows(*np.zeros((4, 2), int)), (*np.zeros((3, 2), int), np.zeros(3, int)),
         "at skip the shape (2,), expected (3,)"),
        ([Windows(*np.zeros((4, 2), int))], [(*np.zeros((3, 2), int), np.zeros(3, int))],
         "at [0].skip the shape (2,), expected (3,)"),
        (KeyError("x"), [{"ids": [5] * 9}] * 9, "KeyError: 'x', expected [{'ids': [5, 5, 5, 5, 5, 5, 5, 5, ...]}, "
         "{'ids': [5, 5, 5, 5, 5, 5, 5, 5, ...]}, {'ids': [5, 5, 5..."),
        (NameError("name 'twise' is not defined"), 4,
         "NameError: name 'twise' is not defined; run the cells above first, or is the name misspelt?"),
        (UnboundLocalError("no value"), 4, "UnboundLocalError: no value, expected 4"),
    ])
    def test_the_words_of_a_difference(self, found, expected, told):
        assert check.difference(found, expected, 1e-12) == told

    @pytest.mark.parametrize("found, expected", [
        ([1.0, 2.0], torch.tensor([1.0, 2.0])), ((1, [2, 3]), [1, (2, 3)]), (math.nan, math.nan), (2, 2.0),
        ("ab", "ab"), (None, None), (True, True), (["a", "b"], ("a", "b")), (np.array([math.nan, 1.0]), [math.nan, 1.0]),
        (np.float64(0.5), 0.5), (1.0, 1.0 + 1e-9), ([], ()), ({"a": [1.0]}, {"a": np.array([1.0])}),
        (torch.tensor([True, False]), torch.tensor([True, False])),
        (np.array([-math.inf, 1e-20, 1.0]), np.array([-math.inf, 0.0, 1.0])),
    ])
    def test_what_counts_as_the_same(self, found, expected):
        check.same(lambda: found, lambda: expected, {"it": ()})

    def test_a_dataclass_is_its_fields(self):
        @dataclass
        class Pair:
            value: float
            error: float
        check.same(lambda: (1.0, 2.0), lambda: Pair(1.0, 2.0), {"it": ()})
        with pytest.raises(check.Refused, match=r"at error 2\.5, expected 2"):
            check.same(lambda: (1.0, 2.5), lambda: Pair(1.0, 2.0), {"it": ()})

    def test_an_error_is_expected_where_gptcore_raises_one_and_only_there(self):
        def refuses(x):
            raise ValueError("no")
        check.same(refuses, refuses, {"it": (1,)})
        with pytest.raises(check.Refused, match=r"\(1\): no error, expected ValueError: no$"):
            check.same(twice, refuses, {"it": (1,)})
        with pytest.raises(check.Refused, match=r"ValueError: no, raised in `.*`, expected 2"):
            check.same(refuses, twice, {"it": (1,)})
        with pytest.raises(check.Refused, match="KeyError"):
            check.same(lambda x: {}[x], refuses, {"it": (1,)})

    def test_a_refusal_that_did_not_come_misses_no_return(self):
        with pytest.raises(check.Refused, match=": no error, expected IndexError"):
            check.same(lambda x: [].sort(), stumbles, {"it": (1,)})

    def test_an_error_names_the_readers_own_line(self):
        with pytest.raises(check.Refused, match=r"IndexError: .*, raised in `return \[\]\[x\]`, expected 2"):
            check.same(stumbles, twice, {"it": (1,)})

    def test_of_several_lines_the_readers_innermost_is_named(self):
        def outer(x):
            return stumbles(x)

        def asks_gptcore(x):
            return NGram(-1, x)
        with pytest.raises(check.Refused, match=r"raised in `return \[\]\[x\]`"):
            check.same(outer, twice, {"it": (1,)})
        with pytest.raises(check.Refused, match=r"raised in `return NGram\(-1, x\)`"):
            check.same(asks_gptcore, twice, {"it": (1,)})

    def test_long_arguments_are_left_out(self):
        with pytest.raises(check.Refused) as refusal:
            check.same(lambda x: 0, lambda x: 1, {"long": ([np.zeros(50)] * 9,)})
        assert str(refusal.value).endswith("differ on the case 'long': 0, expected 1")

    def test_a_dict_among_the_arguments_keeps_its_order(self):
        many = {letter: 1 for letter in "hgfedcbaz"}
        assert check.asked(({b"zy": 1, b"ab": 1}, 2), twice) == " ({b'zy': 1, b'ab': 1}, 2)"
        assert check.asked((many,), twice).endswith("'b': 1, 'a': 1, ...})")
        assert check.asked(([{}, {"a": {"b": 1}}],), twice) == " ([{}, {'a': {'b': 1}}])"

    def test_a_use_is_shown_as_a_notebook_can_repeat_it(self):
        class TokenizerByHand:
            def __init__(self, *args, **kwargs):
                raise TypeError
        with pytest.raises(check.Refused) as refusal:
            check.same(TokenizerByHand, CharTokenizer, {"two letters": lambda Tokenizer: Tokenizer(
                "ab").encode("b\n")})
        assert "the case 'two letters' (TokenizerByHand('ab').encode('b\\n')): TypeError" in str(refusal.value)
        assert check.asked(cases.BPE["encode nothing"], TokenizerByHand) == (
            " (cases.train(TokenizerByHand, [cases.SHELLS], 260).encode(''))")
        assert check.asked(cases.BATCHES["a document of one token"], twice) == (
            " (twice([np.array([7])], block_size=3, batch_size=2, seed=0).batch(0))")

    def test_a_long_use_is_cut(self):
        shown = check.asked(lambda function: function("a long text", "a long text", "a long text", "a long text",
                                                      "a long text", "a long text", "a long text", "a long text",
                                                      "a long text", "a long text", "a long text", "a long text",
                                                      "a long text", "a long text", "a long text"), twice)
        assert shown.startswith(" (twice('a long text', ") and shown.endswith("...)") and len(shown) < 210

    def test_a_use_without_a_source_of_its_own_has_its_name_alone(self):
        def given(function):
            return function(1)
        one, other = lambda function: function(1), lambda function: function(2)
        unknown = eval("lambda function: function(3)")
        assert [check.asked(each, twice) for each in (given, one, other, unknown, len)] == [""] * 5

    @pytest.mark.parametrize("given, spoil, told", [
        (np.zeros(2), lambda x: x.fill(1), "at [0][0] 1.0, expected 0.0"),
        (torch.zeros(2, 3), lambda x: x.add_(1), "at [0][0][0] 1.0, expected 0.0"),
        ([2, 1], lambda x: x.sort(), "at [0][0] 1, expected 2"),
        ([2, 1], lambda x: x.append(3), "at [0] [2, 1, 3], expected [2, 1]"),
        ({"a": [1]}, lambda x: x["a"].clear(), "at [0]['a'] [], expected [1]"),
        ({"a": 1}, lambda x: x.clear(), "at [0] the keys [], expected ['a']"),
        (Windows(*np.zeros((4, 2), int)), lambda x: x.skip.fill(1), "at [0]['skip'][0] 1, expected 0"),
        (nn.LayerNorm(3), lambda x: nn.init.zeros_(x.weight), "at [0]['weight'][0] 0.0, expected 1.0"),
    ])
    def test_the_arguments_are_spared(self, given, spoil, told):
        def spoils(x):
            spoil(x)
            return 1
        case = (given,)
        with pytest.raises(check.Refused, match="the input is changed") as refusal:
            check.same(spoils, lambda x: 1, {"it": case})
        assert told in str(refusal.value)
        check.spared(case, case)
        check.same(lambda x: 1, lambda x: 1, {"again": case})  # they were copied
        with pytest.raises(check.Refused, match="the input is changed"):
            check.same(spoils, spoils, {"it": case})

    def test_what_else_an_argument_remembers_is_its_own(self):
        def trains(model, tokenizer, nothing):
            model.train()
            tokenizer.cache = 3
            return math.nan
        given = (nn.Linear(2, 3).eval(), CharTokenizer("ab"), None, )
        check.same(trains, lambda *given: math.nan, {"it": given})

    def test_a_case_can_be_a_use(self):
        check.same(CharTokenizer, CharTokenizer, {"use": lambda Tokenizer: Tokenizer.train(["ab"]).encode("ba")})

    def test_interrupting_is_no_answer(self):
        def interrupted(x):
            raise KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt):
            check.same(interrupted, twice, {"it": (1,)})

    def test_no_cases_no_comparison(self):
        with pytest.raises(ValueError, match="without cases"):
            check.same(twice, twice, {})

    def test_what_is_not_written_does_not_pass(self, capsys):
        def later(x): ...
        check.same(later, twice, {"it": (1,)})
        check.same(your_turn("gptcore.ngram.NGram")(Empty), NGram, cases.NGRAM)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "not done yet: later" and lines[-1] == "not done yet: Empty.fit"

    def test_notebooks_show_the_message_alone(self):
        assert check.Refused("one\ntwo")._render_traceback_() == ["one", "two"]


class Empty:
    def __init__(self, order, vocab_size): ...

    def fit(self, documents): ...


class Line(nn.Module):
    """A module as a learner might write it: other names than its twin's."""

    def __init__(self, slope=1.0):
        super().__init__()
        self.a, self.b, self.slope = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2)), slope

    def forward(self, x):
        return self.slope * (x @ self.a) + self.b


class Twin(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(2))

    def forward(self, x):
        return x @ self.weight + self.bias


NAMES = {"a": "weight", "b": "bias"}
INPUTS = {"five by three": (torch.randn(5, 3),)}


class TestSameModule:
    def test_copies_the_weights_and_compares_outputs_and_gradients(self, capsys):
        ours, theirs = Line(), Twin()
        before = ours.a.detach().clone()
        check.same_module(ours, theirs, INPUTS, NAMES)
        assert capsys.readouterr().out == "same: Line and Twin agree on 1 case, outputs and gradients\n"
        assert torch.equal(ours.a, before) and ours.a.grad is None and ours.a.dtype == torch.float32

    def test_two_inputs_and_an_unwritten_module(self, capsys):
        class Later(Twin):
            def forward(self, x): ...
        check.same_module(Twin(), Twin(), INPUTS | {"two by three": (torch.randn(2, 3),)})
        check.same_module(Later(), Twin(), INPUTS)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].endswith("agree on 2 cases, outputs and gradients") and lines[1] == "not done yet: Later.forward"

    def test_a_module_that_raises_is_refused(self):
        class Broken(Twin):
            def forward(self, x):
                raise IndexError("far away")
        with pytest.raises(check.Refused, match="IndexError: far away"):
            check.same_module(Broken(), Twin(), INPUTS)

    def test_a_module_that_returns_nothing(self):
        class Forgetful(Twin):
            def forward(self, x):
                x @ self.weight
        with pytest.raises(check.Refused, match="nothing was returned"):
            check.same_module(Forgetful(), Twin(), INPUTS)

    def test_what_a_module_makes_on_the_way_is_double_too(self, capsys):
        class Filled(Twin):
            def forward(self, x):
                scores = torch.zeros(len(x), 2)
                for i, row in enumerate(x):
                    scores[i] = row @ self.weight + self.bias
                return scores
        check.same_module(Filled(), Twin(), INPUTS)
        assert capsys.readouterr().out.startswith("same: ") and torch.get_default_dtype() == torch.float32

    def test_a_wrong_output(self):
        with pytest.raises(check.Refused, match="the output"):
            check.same_module(Line(slope=1.001), Twin(), INPUTS, NAMES)

    def test_a_right_output_with_a_wrong_gradient(self):
        class Detached(Line):
            def forward(self, x):
                return x @ self.a.detach() + self.b + 0 * self.a.sum()
        with pytest.raises(check.Refused, match="gradient of a"):
            check.same_module(Detached(), Twin(), INPUTS, NAMES)

    def test_a_wrong_gradient_of_an_input(self):
        class Deaf(Line):
            def forward(self, x):
                return x.detach() @ self.a + self.b + 0 * x.sum()
        with pytest.raises(check.Refused, match="gradient of input 0"):
            check.same_module(Deaf(), Twin(), INPUTS, NAMES)

    def test_weights_that_do_not_correspond(self):
        with pytest.raises(check.Refused, match="say with `names`"):
            check.same_module(Line(), Twin(), INPUTS)
        with pytest.raises(check.Refused, match=r"a has the shape \(3, 2\), .*bias has \(2,\)"):
            check.same_module(Line(), Twin(), INPUTS, {"a": "bias", "b": "weight"})

    def test_on_the_attention_of_the_package(self):
        x = {"two of five": (torch.randn(2, 5, 12),)}
        check.same_module(CausalSelfAttention(12, 3), CausalSelfAttention(12, 3), x)

        class Unscaled(CausalSelfAttention):
            def forward(self, x, *args, **kwargs):
                return super().forward(2 * x, *args, **kwargs)
        with pytest.raises(check.Refused):
            check.same_module(Unscaled(12, 3), CausalSelfAttention(12, 3), x)


class TestExercise:
    @pytest.mark.parametrize("name", exercises.EXERCISES)
    def test_wrong_answers_get_their_own_hint(self, name):
        task = exercises.EXERCISES[name]
        assert len(task.wrong) >= 2
        for hint, wrong in task.wrong.items():
            with pytest.raises(check.Refused) as refusal:
                check.exercise(name, wrong)
            assert hint in str(refusal.value) and f"{name}, case" in str(refusal.value)

    def test_a_right_answer(self, capsys):
        check.exercise("surprisal", lambda p: -math.log2(p))
        assert capsys.readouterr().out == "right: surprisal, 4 cases\n"

    def test_another_mistake_gets_no_foreign_hint(self):
        with pytest.raises(check.Refused) as refusal:
            check.exercise("surprisal", lambda p: 17.0)
        assert "Hint" not in str(refusal.value)
        with pytest.raises(check.Refused, match="ZeroDivisionError"):
            check.exercise("surprisal", lambda p: 1 / 0)

    def test_a_mistake_without_a_hint_of_its_own_gets_the_general_one(self):
        with pytest.raises(check.Refused, match="Hint: Most likely first"):
            check.exercise("kept_by_top_p", lambda probabilities, p: len(probabilities))
        for answer, told in ((lambda probabilities, p: unheard_of, "run the cells above first"),
                             (lambda probabilities, p: probabilities.sort(), "the input is changed")):
            with pytest.raises(check.Refused, match=told) as refusal:
                check.exercise("kept_by_top_p", answer)
            assert "Hint" not in str(refusal.value)

    @pytest.mark.parametrize("rule", [
        lambda spread, difference: math.ceil(9 * (spread / difference) ** 2),
        lambda spread, difference: math.ceil(9 * spread ** 2 / difference ** 2),
        lambda spread, difference: math.ceil((spread / (difference / 3)) ** 2),
        lambda spread, difference: next(n for n in range(1, 999) if spread / math.sqrt(n) <= difference / 3),
    ])
    def test_no_right_rule_fails_by_rounding(self, rule):
        check.exercise("windows_needed", rule)

    def test_an_empty_answer(self, capsys):
        def surprisal(p):
            """To be written."""
        check.exercise("surprisal", surprisal)
        check.exercise("surprisal", ...)
        assert capsys.readouterr().out == "not done yet: surprisal\n" * 2

    def test_a_value(self, monkeypatch, capsys):
        task = exercises.Exercise({"the answer": ((), 42)}, {"Half of it is missing.": 21}, rtol=0.01)
        monkeypatch.setitem(exercises.EXERCISES, "value", task)
        check.exercise("value", 42.1)
        assert capsys.readouterr().out == "right: value, 1 case\n"
        with pytest.raises(check.Refused, match="21, expected 42\nHint: Half of it"):
            check.exercise("value", 21)

    def test_a_riddle_keeps_its_answer(self, monkeypatch):
        right = {"A": "mask", "B": "norm", "C": "scale"}
        task = exercises.Exercise({"the room": ((), right)}, {"These two?": right | {"A": "norm", "B": "mask"}}, riddle=True,
                                  signs={"B": "Look at B.", "C": "Look at C."})
        monkeypatch.setitem(exercises.EXERCISES, "riddle", task)
        check.exercise("riddle", right)
        keys = "; wanted is a dict with the keys A, B, C"
        rotated = {"A": "norm", "B": "scale", "C": "mask"}
        for answer, said in (({**right, "A": "norm", "B": "mask"}, "1 of 3 right\nHint: These two?"),
                             ({"A": "mask"}, f"1 of 3 right{keys}"), ({**right, "D": "start"}, f"3 of 3 right{keys}"),
                             ("mask", f"0 of 3 right{keys}"), (rotated, "0 of 3 right\nHint: Look at B."),
                             ({**right, "B": "start"}, "2 of 3 right\nHint: Look at B.")):
            with pytest.raises(check.Refused) as refusal:
                check.exercise("riddle", answer)
            assert str(refusal.value) == f"riddle, case 'the room': {said}"

    def test_an_unknown_name(self):
        with pytest.raises(ValueError, match="did you mean 'surprisal'"):
            check.exercise("suprisal", twice)


class TestYourTurn:
    def test_lends_the_function_until_it_is_written(self, capsys):
        @your_turn("gptcore.evaluation.bits_per_byte")
        def bits_by_hand(nats):
            """Mean in bits."""
        assert bits_by_hand([np.ones(4) * math.log(2)]).value == pytest.approx(1)
        assert bits_by_hand.lent == "bits_by_hand" == bits_by_hand.__name__
        assert capsys.readouterr().out.startswith("not done yet: bits_by_hand; until then gptcore.evaluation")

    def test_leaves_what_is_written(self, capsys):
        assert your_turn("gptcore.ngram.NGram")(twice) is twice and capsys.readouterr().out == ""

    def test_lends_a_class_while_one_method_is_empty(self, capsys):
        @your_turn("gptcore.tokenizer.CharTokenizer")
        class ByHand:
            def encode(self, text): ...

            def decode(self, ids):
                return "?"
        assert ByHand.train(["ab"]).decode([1, 0]) == "ba" and ByHand.lent == "ByHand.encode"
        assert capsys.readouterr().out == ("not done yet: ByHand.encode; until all of ByHand is written, gptcore.tokenizer."
                                           "CharTokenizer stands in for it, and what you wrote is not used\n")
        assert not hasattr(CharTokenizer, "lent")

    def test_an_empty_classmethod_is_noticed(self):
        class ByHand:
            @classmethod
            def train(cls, texts): ...
        assert turn.unwritten(ByHand) == turn.unwritten(ByHand()) == "ByHand.train"

    @pytest.mark.parametrize("empty", [True, False])
    def test_what_is_empty(self, empty):
        def dots(x): ...
        def nothing(x, y=3): pass
        def told(x):
            """Says what it will do."""
        def none(x):
            return None
        def constant(x):
            return 3
        def first(x):
            return x
        def calls(x):
            print(x)
        def nested(x):
            return [x for _ in range(3)]
        for function in (dots, nothing, told, none) if empty else (constant, first, calls, nested, len, np.mean):
            assert turn.is_empty(function) == empty, function


class TestDial:
    def test_is_turned_by_hand(self, monkeypatch):
        for setting, value in (("cpu", 1), ("gpu", 2)):
            monkeypatch.setenv("GPTCORE_DIAL", setting)
            assert dial.scaled(cpu=1, gpu=2) == value and dial.setting() == setting
        monkeypatch.setenv("GPTCORE_DIAL", "tpu")
        with pytest.raises(ValueError, match="write cpu or gpu"):
            dial.setting()

    def test_follows_the_device(self, monkeypatch):
        monkeypatch.delenv("GPTCORE_DIAL", raising=False)
        dial.found.cache_clear()
        assert dial.setting() == ("gpu" if torch.cuda.is_available() else "cpu")


def test_cases_cannot_be_passed_by_luck():
    """Somewhere all dimensions differ and there are more than two positions; both roads to an error bar are taken."""
    shapes = [logits.shape for logits, _ in cases.LOGITS.values()]
    assert any(len(set(shape)) == 3 and shape[1] > 2 for shape in shapes)
    assert any(len(nats) < 10 for nats, in cases.NATS.values()) and any(len(nats) == 10 for nats, in cases.NATS.values())
    assert any(len({*q.shape, k.shape[2]}) == 5 for q, k in cases.QUERIES_AND_KEYS.values())
    assert all((q.shape, k.shape) == (other.shape, keys.shape) and v.shape == k.shape for (q, k), (other, keys, v) in zip(
        cases.QUERIES_AND_KEYS.values(), cases.QUERIES_KEYS_VALUES.values(), strict=True))


class AlwaysDropping(MLP):
    def forward(self, x):
        return F.dropout(self.contract(self.activation(self.expand(x))), self.dropout.p)


class Deaf(MLP):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class InPlace(Block):
    def forward(self, x, cache=None):
        x += self.attention(self.norm_1(x), cache)
        return x + self.mlp(self.norm_2(x))


class Cut(Block):
    def forward(self, x, cache=None):
        x = x.detach() + self.attention(self.norm_1(x), cache)
        return x + self.mlp(self.norm_2(x))


class NoisyStart(GPT):
    def embed(self, ids, past=0):
        places = past + torch.arange(ids.shape[1])
        return F.dropout(self.token_embedding(ids) + self.position_embedding(places), self.config.dropout)


class Clamped(GPT):
    def embed(self, ids, past=0):
        places = (past + torch.arange(ids.shape[1])).clamp(max=self.config.block_size - 1)
        return self.dropout(self.token_embedding(ids) + self.position_embedding(places))


class Sliced(GPT):
    def embed(self, ids, past=0):  # the slice may be too short, and one position is broadcast to two
        return self.dropout(self.token_embedding(ids) + self.position_embedding.weight[past:past + ids.shape[1]])


class HalfTied(GPT):
    def forward(self, ids, cache=None):
        with mock.patch("gptcore.gpt.linear", lambda x, weight: x @ weight.data.T):
            return super().forward(ids, cache)


class Forgetful(KeyValueCache):
    def extend(self, k, v):
        super().extend(k, v)


def below_no_floor(step, config, reduction=1.0):
    return max(config.floor, learning_rate(step, config, reduction))


def with_copies(model, weight_decay):
    groups = decay_groups(model, weight_decay)
    return [group | {"params": [weight.clone() for weight in group["params"]]} for group in groups]


def reversed_order(config):
    return dict(reversed(count_parameters(config).items()))


def of_lists(documents, block_size, stride=None):
    windows = validation_windows(documents, block_size, stride)
    return Windows(*(getattr(windows, name).tolist() for name in ("ids", "begin", "length", "skip")))


def of_floats(documents, block_size, stride=None):
    windows = validation_windows(documents, block_size, stride)
    return Windows(windows.ids, windows.begin, windows.length, windows.skip.astype(float))


def bare(documents, block_size, stride=None):
    windows = validation_windows(documents, block_size, stride)
    return windows.ids, windows.begin, windows.length, windows.skip


def no_stride_refused(documents, block_size, stride=None):
    begin = 0
    while begin + block_size < max(map(len, documents)) - 1:
        begin += block_size if stride is None else stride
    return []


def only_large_strides_refused(documents, block_size, stride=None):
    return validation_windows(documents, block_size, stride) if stride else no_stride_refused(documents, block_size, stride)


def awake(model, windows, mode=torch.no_grad):
    with mode():
        y = np.array([cross_entropy(model(inputs), targets).sum().item()
                      for inputs, targets in (windows.rows([i]) for i in range(len(windows)))])
    x, n = windows.length - windows.skip, len(y)
    ratio = y.sum() / x.sum()
    return ratio, math.sqrt(n / (n - 1) * ((y - ratio * x) ** 2).sum()) / x.sum()


def with_gradients(model, windows):
    training = model.training
    loss = awake(model.eval(), windows, nullcontext)
    model.train(training)
    return loss


def left_in_eval(model, windows):
    return window_loss(model.eval(), windows)


def left_in_training(model, windows):
    loss = window_loss(model, windows)
    model.train()
    return loss


def from_the_highest(logits, *settings, **named):
    logits -= logits.max()
    return next_distribution(logits, *settings, **named)


def whole(logits, temperature=1.0, *settings, **named):
    p = next_distribution(logits, temperature, *settings, **named)
    return p.long() if temperature == 0 else p


def numpys(*given, **named):
    return next_distribution(*given, **named).numpy()


def only_no_number_refused(logits, *settings, **named):
    if logits.max() == math.inf:
        return torch.full_like(logits, math.nan)
    return next_distribution(logits, *settings, **named)


def at_once(*given, **settings):
    return list(generate(*given, **settings))


def as_floats(*given, **settings):
    yield from map(float, generate(*given, **settings))


def never_at_0(*given, stop=None, **settings):
    yield from generate(*given, stop=stop or None, **settings)


def asleep_outside(model, *given, **settings):
    with evaluating(model):
        yield from generate(model, *given, **settings)


def woken_up(model, *given, **settings):
    for token in generate(model, *given, **settings):
        model.train()
        yield token


def into_the_prompt(model, ids, *given, **settings):
    for token in generate(model, ids, *given, **settings):
        if isinstance(ids, list):
            ids.append(token)
        yield token


def over_the_prompt(model, ids, *given, **settings):
    yield from generate(model, ids, *given, **settings)
    if isinstance(ids, torch.Tensor):
        ids.zero_()


def in_single_precision(*given, **settings):
    with mock.patch("gptcore.sampling.next_distribution", lambda x, **named: next_distribution(x.float(), **named).double()):
        yield from generate(*given, **settings)


def writing_with_gradients(model, *given, **settings):
    with mock.patch("gptcore.sampling.sleeping", lambda modules: nullcontext()):
        yield from generate(model, *given, **settings)


def adding_up(micro_batches, model, device, processes, scaler, inputs_there, targets_there):
    """accumulate_gradients, which brings to the model's device what it is told to."""
    count = int(processes.sum(sum((targets != IGNORE).sum() for _, targets in micro_batches)))
    total = 0
    for i, (inputs, targets) in enumerate(micro_batches):
        with model.no_sync() if processes.count > 1 and i < len(micro_batches) - 1 else nullcontext():
            with device.autocast():
                scores = model(inputs.to(device.device) if inputs_there else inputs)
            loss = cross_entropy(scores, targets.to(device.device) if targets_there else targets).sum() / count
            total += loss.detach()
            loss = loss * processes.count
            (scaler.scale(loss) if scaler else loss).backward()
    return processes.sum(total), count


def inputs_left_behind(model, micro_batches, device, scaler=None, processes=ALONE):
    return adding_up(micro_batches, model, device, processes, scaler, False, True)


def targets_left_behind(model, micro_batches, device, scaler=None, processes=ALONE):
    return adding_up(micro_batches, model, device, processes, scaler, True, False)


def both_left_behind(model, micro_batches, device, scaler=None, processes=ALONE):
    return adding_up(micro_batches, model, device, processes, scaler, False, False)


WRONG = [  # what readers of chapters 05 and 09 might write, and what they are told
    (AlwaysDropping, MLP, cases.MLPS, "'not in training, with dropout'"),
    (Deaf, MLP, cases.MLPS, "'the gradients'"),
    (InPlace, Block, cases.BLOCKS, "the input is changed"),
    (Cut, Block, cases.BLOCKS, "at ['the input']"),
    (NoisyStart, GPT, cases.GPTS, "'not in training, with dropout'"),
    (Clamped, GPT, cases.GPTS, "'not refused', expected 'refused'"),
    (Sliced, GPT, cases.GPTS, "'six positions, then two more, one too many'"),
    (HalfTied, GPT, cases.GPTS, "at ['token_embedding.weight']"),
    (Forgetful, KeyValueCache, cases.CACHES, "is a `return` missing?"),
    (below_no_floor, learning_rate, cases.RATES, "'a warm-up that begins below the floor'"),
    (with_copies, decay_groups, cases.DECAY, "\"none of the model's own\", expected 'weight'"),
    (reversed_order, count_parameters, cases.CONFIGS, "'the order of the six kinds'"),
    (of_lists, validation_windows, cases.FIXED_WINDOWS, "at ['ids'] 'list of whole numbers'"),
    (of_floats, validation_windows, cases.FIXED_WINDOWS, "at ['skip'] 'ndarray of other numbers'"),
    (bare, validation_windows, cases.FIXED_WINDOWS, "'tuple', expected 'Windows'"),
    (no_stride_refused, validation_windows, cases.FIXED_WINDOWS, "'stride 4, which would skip'"),
    (only_large_strides_refused, validation_windows, cases.FIXED_WINDOWS, "'stride 0, which would stand still'"),
    (awake, window_loss, cases.MODEL_WINDOWS, "at ['in training inside'] 'always', expected 'never'"),
    (with_gradients, window_loss, cases.MODEL_WINDOWS, "at ['gradients inside'] 'always', expected 'never'"),
    (left_in_eval, window_loss, cases.MODEL_WINDOWS, "at ['in training afterwards'] False, expected True"),
    (left_in_training, window_loss, cases.MODEL_WINDOWS, "at ['in training afterwards'] True, expected False"),
    (from_the_highest, next_distribution, cases.DISTRIBUTIONS, "the input is changed"),
    (whole, next_distribution, cases.DISTRIBUTIONS, "'torch.int64', expected 'torch.float64'"),
    (numpys, next_distribution, cases.DISTRIBUTIONS, "'float64', expected 'torch.float64'"),
    (only_no_number_refused, next_distribution, cases.DISTRIBUTIONS, "'an infinite logit'"),
    (at_once, generate, cases.GENERATIONS, "at ['positions asked for'] [3, 1, 1, 1, 1], expected [3]"),
    (as_floats, generate, cases.GENERATIONS, "at ['their type'][0] 'float', expected 'int'"),
    (never_at_0, generate, cases.GENERATIONS, "'until 0 is drawn'"),
    (asleep_outside, generate, cases.GENERATIONS, "at ['in training outside'] 'sometimes', expected 'always'"),
    (woken_up, generate, cases.GENERATIONS, "'a model that is not in training'"),
    (into_the_prompt, generate, cases.GENERATIONS, "the input is changed"),
    (over_the_prompt, generate, cases.GENERATIONS, "the input is changed"),
    (in_single_precision, generate, cases.GENERATIONS, "'single precision, at a temperature that is 0 in it'"),
    (writing_with_gradients, generate, cases.GENERATIONS, "inside'] 'always', expected 'never'"),
    (inputs_left_behind, accumulate_gradients, cases.ACCUMULATED, "all tensors to be on the same device"),
    (targets_left_behind, accumulate_gradients, cases.ACCUMULATED, "all tensors to be on the same device"),
    (both_left_behind, accumulate_gradients, cases.ACCUMULATED, "all tensors to be on the same device"),
]
SHIPPED = {shipped: given for _, shipped, given, _ in WRONG}


class TestCases:
    @pytest.fixture(autouse=True)
    def as_in_a_notebook(self):
        """Without a type checker, which would refuse first."""
        jaxtyping.config.update("jaxtyping_disable", True)
        yield
        jaxtyping.config.update("jaxtyping_disable", False)

    @pytest.mark.parametrize("wrong, shipped, given, told", WRONG, ids=[wrong.__name__ for wrong, *_ in WRONG])
    def test_what_is_nearly_right_is_refused(self, wrong, shipped, given, told):
        with pytest.raises(check.Refused) as refusal:
            check.same(wrong, shipped, given)
        assert told in str(refusal.value)
        check.same(shipped, shipped, given)  # nothing was spoilt for those who try again

    @pytest.mark.parametrize("shipped", SHIPPED, ids=[each.__name__ for each in SHIPPED])
    def test_gptcore_raises_only_what_it_means_to_raise(self, shipped):
        """An error in a case would be raised for both, which would then agree."""
        for case, given in SHIPPED[shipped].items():
            found = check.outcome(shipped, given)
            assert not isinstance(found, Exception) or type(found) is ValueError, (case, found)

    def test_a_prompt_may_be_a_list_of_which_only_lists_know(self):
        def by_hand(model, ids, *given, **settings):
            return generate(model, ids.copy() if isinstance(ids, list) else ids.tolist(), *given, **settings)
        check.same(by_hand, generate, cases.GENERATIONS)
