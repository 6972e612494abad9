"""Is what you built right? Parity with gptcore, and checks of the exercises, one line each in a notebook.

A check prints one line when all is well, says "not done yet" of what is still empty, and otherwise raises `Refused`,
which names the first case that differs.
"""

import ast
import copy
import dataclasses
import difflib
import inspect
import linecache
import math
import numbers
import reprlib
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gptcore.course.exercises import EXERCISES, Exercise
from gptcore.course.turn import unwritten

__all__ = ["Refused", "Spoilt", "exercise", "same", "same_module", "spared"]

RTOL = 1e-6  # relative; float64 keeps about 1e-15, so this leaves room for any order of summing and for nothing else


class Brief(reprlib.Repr):
    """Values in few words: a dict in its own order, which reprlib would sort, and scalars of any kind as Python's."""

    def repr1(self, x: Any, level: int) -> str:
        scalar = isinstance(x, np.generic | np.ndarray | Tensor) and x.ndim == 0
        return super().repr1(x.item() if scalar else x, level)

    def repr_function(self, x: Callable, level: int) -> str:
        return x.__name__

    def repr_dict(self, x: dict, level: int) -> str:
        shown = list(x.items())[:self.maxdict if level > 0 else 0]
        pairs = [f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in shown]
        return "{" + ", ".join(pairs + ["..."] * (len(x) > len(shown))) + "}"


FEW = 8  # numbers that a message may show one by one
MANY = 24  # more numbers than that, in more than one dimension, are told by their shape
SHORT = 100  # characters of what was expected, where an error came in its place
BRIEF = Brief()
BRIEF.maxstring = BRIEF.maxother = 70
BRIEF.maxlist = BRIEF.maxtuple = BRIEF.maxdict = 8


class Refused(AssertionError):
    """An answer that is not right; the message says where. Notebooks show the message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


class Spoilt(Exception):
    """What a case gives if its input is another one afterwards; the message says where."""


def same(by_hand: Callable, shipped: Callable, cases: Mapping[str, Any], rtol: float = RTOL) -> None:
    """Hold a function or a class built by hand to gptcore's, case by case.

    A case is a tuple of arguments, or a function that is given one of both and uses it. Where gptcore raises an error,
    the hand-built one must raise the same kind; and arguments must be left as they were. Raises Refused at the first case
    that differs.

    >>> same(abs, math.fabs, {"below 0": (-2,), "a half": (0.5,)})
    same: abs and fabs agree on 2 cases
    """
    if not cases:
        raise ValueError("without cases nothing is compared; take some from gptcore.course.cases")
    if missing := unwritten(by_hand):
        print(f"not done yet: {missing}")
        return
    for case, given in cases.items():
        found, expected = outcome(by_hand, given), outcome(shipped, given)
        if where := difference(found, expected, rtol):
            raise Refused(f"{name(by_hand)} and {name(shipped)} differ on the case {case!r}{asked(given, by_hand)}: {where}")
    print(f"same: {name(by_hand)} and {name(shipped)} agree on {len(cases)} case{'s' * (len(cases) > 1)}")


def same_module(
    by_hand: nn.Module,
    shipped: nn.Module,
    inputs: Mapping[str, Sequence[Tensor]],
    names: Mapping[str, str] | None = None,
    rtol: float = RTOL,
) -> None:
    """Hold a module built by hand to gptcore's: with the same weights, the same outputs and the same gradients.

    `names` maps each parameter and buffer of `by_hand` to its name in `shipped`, where they differ. Weights are copied
    and compared in float64, so that only a real difference shows; neither module is changed. The gradients are
    those of a fixed random combination of the outputs, with respect to every parameter and every floating-point input.
    """
    if not inputs:
        raise ValueError("without inputs nothing is compared; take some from gptcore.course.cases")
    if missing := unwritten(by_hand):
        print(f"not done yet: {missing}")
        return
    names = {key: (names or {}).get(key, key) for key in by_hand.state_dict()}
    weights = shipped.state_dict()
    if sorted(names.values()) != sorted(weights):
        raise Refused(f"{name(by_hand)} has {sorted(names)} and {name(shipped)} has {sorted(weights)}: "
                      "the weights do not correspond; say with `names` which is which")
    for mine, theirs in names.items():
        if by_hand.state_dict()[mine].shape != weights[theirs].shape:
            raise Refused(f"{mine} has the shape {tuple(by_hand.state_dict()[mine].shape)}, "
                          f"{name(shipped)}.{theirs} has {tuple(weights[theirs].shape)}")
    ours, theirs = copy.deepcopy(by_hand).double().eval(), copy.deepcopy(shipped).double().eval()
    ours.load_state_dict({mine: theirs.state_dict()[other] for mine, other in names.items()})
    for case, given in inputs.items():
        with in_double():
            found, expected = outcome(run_module, (ours, given)), outcome(run_module, (theirs, given))
        parameters = {mine: names[mine] for mine, _ in ours.named_parameters()}
        if isinstance(found, dict) and isinstance(expected, dict):
            for mine, other in parameters.items():
                found[f"gradient of {mine}"] = found.pop(f"d {mine}")
                expected[f"gradient of {mine}"] = expected.pop(f"d {other}")
        if where := difference(found, expected, rtol):
            raise Refused(f"{name(by_hand)} and {name(shipped)} differ on the case {case!r}: {where}")
    print(f"same: {name(by_hand)} and {name(shipped)} agree on {len(inputs)} case{'s' * (len(inputs) > 1)}, "
          f"outputs and gradients")


def exercise(name: str, answer: Any) -> None:
    """Check the answer to an exercise, a function or a value; a mistake that others have made before gets its own hint.

    >>> exercise("surprisal", ...)
    not done yet: surprisal
    """
    if name not in EXERCISES:
        close = difflib.get_close_matches(name, EXERCISES, n=1, cutoff=0.3)
        raise ValueError(f"there is no exercise {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    if answer is ... or unwritten(answer):
        print(f"not done yet: {name}")
        return
    task = EXERCISES[name]
    for case, (given, expected) in task.cases.items():
        found = outcome(answer, given) if callable(answer) else answer
        if where := difference(found, expected, task.rtol):
            own = (hint for hint, wrong in task.wrong.items() if agree(answer, wrong, task))
            hint = "" if isinstance(found, NameError | Spoilt) else next(own, task.hint)
            if task.riddle:
                right = [key for key in expected if isinstance(found, Mapping) and found.get(key) == expected[key]]
                where = f"{len(right)} of {len(expected)} right"
                if isinstance(found, Mapping) and found.keys() == expected.keys():
                    hint = hint or next((task.signs[key] for key in task.signs if key not in right), "")
                else:
                    where += f"; wanted is a dict with the keys {', '.join(expected)}"
            raise Refused(f"{name}, case {case!r}{asked(given, answer)}: {where}" + (f"\nHint: {hint}" if hint else ""))
    print(f"right: {name}, {len(task.cases)} case{'s' * (len(task.cases) > 1)}")


def agree(answer: Any, wrong: Any, task: Exercise) -> bool:
    """Does the answer make the same mistake in every case?"""
    one, other = ([outcome(each, given) if callable(each) else each for given, _ in task.cases.values()]
                  for each in (answer, wrong))
    return not difference(one, other, task.rtol)


def outcome(function: Callable, given: Any) -> Any:
    """What a case gives: a value, or the error that it raises. It gets copies of the arguments, and must spare them."""
    before = () if callable(given) else given
    arguments = copy.deepcopy(before)
    try:
        found = given(function) if callable(given) else function(*arguments)
    except Exception as error:
        return error
    try:
        spared(arguments, before)
    except Spoilt as spoilt:
        return spoilt
    return found


def spared(now: Any, before: Any) -> None:
    """Raise Spoilt if an input is not what it was before; for cases that are uses and hand over a copy themselves."""
    if where := difference(contents(now), contents(before), rtol=0.0):
        raise Spoilt(f"the input is changed (afterwards {where}): `x = x + y` makes a new x, but `x += y` and x.sort() "
                     "change what the caller has")


def contents(value: Any) -> Any:
    """What of an argument could be spoilt: numbers, texts and weights, through lists, dicts and dataclasses."""
    if isinstance(value, nn.Module):
        return dict(value.state_dict())
    if is_record(value):
        return {field.name: contents(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: contents(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [contents(each) for each in value]
    return value if isinstance(value, Tensor | np.ndarray | numbers.Number | str | bytes | set) else None


@contextmanager
def in_double() -> Iterator[None]:
    """What a module makes on the way, say by torch.zeros, is float64 as its weights are."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def run_module(module: nn.Module, given: Sequence[Tensor]) -> dict[str, Any] | None:
    """Output, and gradients by name, of one forward and backward pass."""
    given = [x.detach().double().requires_grad_() if x.is_floating_point() else x for x in given]
    module.zero_grad()
    output = module(*given)
    if output is None:
        return None
    mix = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (output * mix).sum().backward()
    return ({"the output": output} | {f"gradient of input {i}": x.grad for i, x in enumerate(given) if x.requires_grad}
            | {f"d {key}": parameter.grad for key, parameter in module.named_parameters()})


def difference(found: Any, expected: Any, rtol: float, where: str = "") -> str:
    """Say in what two results differ, numbers by more than `rtol`; empty when they do not.

    Lists, tuples and arrays of the same numbers are the same, as are a dataclass and a tuple of its fields. An input that
    was spoilt differs from everything.

    >>> difference([1, [2.0, 3.0]], (1, np.array([2.0, 4.0])), 1e-6)
    'at [1][1] 3.0, expected 4.0'
    """
    lists = not any(isinstance(each, np.ndarray | Tensor) for each in (found, expected))
    fields = next((dataclasses.fields(each) for each in (expected, found) if is_record(each)), ())
    as_given = found, expected
    found, expected = plain(found), plain(expected)
    if isinstance(found, Spoilt):
        return f"{prefix(where)}{found}"
    if isinstance(found, NameError) and not isinstance(found, UnboundLocalError):
        return f"{prefix(where)}{told(found)}{raised_at(found)}; run the cells above first, or is the name misspelt?"
    if isinstance(found, Exception) or isinstance(expected, Exception):
        if isinstance(expected, Exception) and isinstance(found, type(expected)):
            return ""
        if not isinstance(found, Exception):
            return f"{prefix(where)}no error, expected {told(expected)}"
        wanted = f"numbers of the shape {expected.shape}" if isinstance(expected, np.ndarray) else shortened(told(expected))
        return f"{prefix(where)}{told(found)}{raised_at(found)}, expected {wanted}"
    if found is None and expected is not None:
        return f"{prefix(where)}nothing was returned (is a `return` missing?), expected {shortened(told(expected))}"
    arrays = isinstance(found, np.ndarray) and isinstance(expected, np.ndarray)
    if arrays and found.shape != expected.shape and not lists:
        return f"{prefix(where)}the shape {found.shape}, expected {expected.shape}"
    if arrays and found.shape == expected.shape:
        if {found.dtype.kind, expected.dtype.kind} <= set("iuf"):
            scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0))  # so that a 0 may be off by rounding
            equal = np.isclose(found, expected, rtol=rtol, atol=1e-3 * rtol * scale, equal_nan=True)
        else:
            equal = found == expected
        if equal.all():
            return ""
        place = tuple(int(i) for i in np.argwhere(~equal)[0])
        inside = step(where, place[0], fields) + "".join(f"[{i}]" for i in place[1:])
        return f"{prefix(inside)}{against(found[place].item(), expected[place].item())}"
    if isinstance(found, list | np.ndarray) and isinstance(expected, list | np.ndarray):  # both are read one by one
        found, expected = map(entries, as_given)
    if isinstance(found, dict) and isinstance(expected, dict):
        if found.keys() != expected.keys():
            return f"{prefix(where)}the keys {told(list(found))}, expected {told(list(expected))}"
        pairs = [(found[key], expected[key], f"{where}[{told(key)}]") for key in expected]
    elif isinstance(found, list) and isinstance(expected, list):
        pairs = [(one, other, step(where, i, fields)) for i, (one, other) in enumerate(zip(found, expected))]
        if len(found) != len(expected) and (not pairs or max(len(found), len(expected)) <= BRIEF.maxlist):
            return f"{prefix(where)}{against(found, expected)}"
    elif both(numbers.Real, found, expected):
        if math.isclose(found, expected, rel_tol=rtol, abs_tol=1e-12) or (found != found and expected != expected):
            return ""
        return f"{prefix(where)}{against(found, expected)}"
    else:
        equal = type(found) is type(expected) and found == expected
        return "" if equal else f"{prefix(where)}{against(found, expected)}"
    first = next((text for one, other, inside in pairs if (text := difference(one, other, rtol, inside))), "")
    if len(found) != len(expected):
        first = f"the first that differs: {first}" if first else f"the first {len(pairs)} agree"
        return f"{prefix(where)}{len(found)} entries, expected {len(expected)}; {first}"
    return first


def plain(value: Any) -> Any:
    """Tensors as arrays, dataclasses and sequences as lists; a list of equally long lists of numbers as an array.

    Other lists keep their entries as they are, and numpy's scalars are Python's.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu().double().numpy() if value.is_floating_point() else value.detach().cpu().numpy()
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        return value.item()
    if isinstance(value, tuple | list) or is_record(value):
        value = entries(value)
        try:
            array = np.array([plain(each) for each in value])
        except ValueError:  # unequal lengths
            return value
        return array if array.dtype.kind in "iuf" else value
    return value


def entries(value: Any) -> list:
    """What a sequence, an array or a dataclass holds, one by one and as it is."""
    if is_record(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return value.tolist() if isinstance(value, np.ndarray | Tensor) else list(value)


def is_record(value: Any) -> bool:
    """Is it a dataclass's instance?"""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def both(kind: type, *values: Any) -> bool:
    """Are all of this kind, with truth values apart from numbers?"""
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)


def name(thing: Any) -> str:
    """gptcore.module.name of what is shipped, the plain name of what was built in a notebook."""
    thing = thing if hasattr(thing, "__name__") else type(thing)
    return f"{thing.__module__}.{thing.__name__}" if thing.__module__.startswith("gptcore.") else thing.__name__


def against(found: Any, expected: Any) -> str:
    """What was found and what was expected: two numbers with as many digits as it takes to tell them apart."""
    digits = 6
    while (both(numbers.Real, found, expected) and digits < 17
           and float(f"{float(found):.{digits}g}") == float(f"{float(expected):.{digits}g}")):
        digits += 1
    return f"{told(found, digits)}, expected {told(expected, digits)}"


def told(value: Any, digits: int = 6) -> str:
    """A value, short enough for a message."""
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {value}"
    if isinstance(value, np.ndarray) and value.ndim > 1 and value.size > MANY:
        return f"numbers of the shape {value.shape}"
    if isinstance(value, np.ndarray):
        value = (value.round(4) if value.dtype.kind == "f" else value).tolist()
    return f"{value:.{digits}g}" if isinstance(value, float) and value != int_or_nan(value) else BRIEF.repr(value)


def int_or_nan(value: float) -> float:
    return float(int(value)) if math.isfinite(value) else value


def raised_at(value: Any) -> str:
    """The line of the reader's own that raised an error; nothing for another value or where there is no such line."""
    steps = traceback.extract_tb(value.__traceback__) if isinstance(value, Exception) else []
    own = [step for step in steps if step.line and not {"gptcore", "site-packages"} & set(Path(step.filename).parts)]
    return f", raised in `{own[-1].line}`" if own else ""


def asked(given: Any, function: Any) -> str:
    """What a case asks of a function, in brackets: its arguments, if they are short, or the use that is made of it."""
    shown = ", ".join(f"a tensor of the shape {tuple(each.shape)}" if isinstance(each, Tensor) and each.numel() > FEW
                      else BRIEF.repr(each) for each in given) if isinstance(given, tuple) else use(given, function)
    return f" ({shown})" if shown and len(shown) < 240 and "\n" not in shown else ""


def use(given: Callable, function: Any) -> str:
    """The body of a lambda, in names that a notebook knows; empty for another function and where there is no source."""
    code = getattr(given, "__code__", None)
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename)) if code else "")
    except SyntaxError:
        return ""
    here = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno]
    if len(here) != 1:  # of two in one line, it might be either
        return ""
    ours = given.__globals__ if given.__module__ == "gptcore.course.cases" else {}
    for each in ast.walk(here[0].body):
        if isinstance(each, ast.Name) and each.id in code.co_varnames[:code.co_argcount]:
            each.id = name(function)
        elif isinstance(each, ast.Name) and each.id in ours and not inspect.ismodule(ours[each.id]):
            each.id = f"cases.{each.id}"
    body = ast.unparse(here[0].body)
    return body if len(body) < 200 else f"{body[:197]}..."


def step(where: str, i: int, fields: Sequence[dataclasses.Field]) -> str:
    """One step further inside, to entry number i; of a dataclass to the field with this number, by its name."""
    return f"{where}.{fields[i].name}" if fields else f"{where}[{i}]"


def prefix(where: str) -> str:
    return f"at {where.removeprefix('.')} " if where else ""


def shortened(text: str) -> str:
    """A text in one line, cut where it is too long for a message that says something else."""
    text = " ".join(text.split())
    return text if len(text) <= SHORT else f"{text[:SHORT - 3]}..."
