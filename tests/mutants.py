"""Mutants of gptcore: a function or a class with one operator, comparison or constant changed, or one body emptied.

A check that compares something built by hand with gptcore is worth as much as the mutants that it tells from the original.
"""
import ast
import copy
import importlib
import signal
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

__all__ = ["Mutant", "Stillborn", "TimeUp", "installed", "mutants", "time_limit"]

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITION = (*FUNCTION, ast.ClassDef)
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.And: ast.Or, ast.Or: ast.And,
}
COMPARISONS = {  # each boundary moved, each direction turned round
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
# What says too little when it is read alone.
PARTS = (ast.Constant, ast.FormattedValue, ast.Slice, ast.Starred, ast.Tuple, ast.UnaryOp, ast.keyword)


@dataclass(frozen=True)
class Mutant:
    """One change: top-level statements of a module, one node in them, and what stands in its place."""

    description: str
    module: str
    statements: tuple[ast.stmt, ...]
    node: ast.AST | None = None
    new: ast.AST | None = None


def mutants(target: str, skip: Collection[str] = ()) -> list[Mutant]:
    """All mutants of a function or a class `gptcore.module.name`, and of what it rests on in its module.

    It rests on its base classes and on every function, class and literal constant that it names and the module does not
    publish. `skip` holds the dotted names of functions, classes and methods to be left alone. Left alone are, too:
    methods of a base class in whose place the class has its own, docstrings, annotations, decorators, assertions, and the
    refusal of bad input.
    """
    module, _, name = target.rpartition(".")
    tree = ast.parse(Path(importlib.import_module(module).__file__).read_text(encoding="utf-8"))
    top = {bound: node for node in tree.body for bound in bound_names(node)}
    if not isinstance(top.get(name), DEFINITION):
        raise ValueError(f"{target} is no function or class of {module}; there are "
                         f"{', '.join(bound for bound, node in top.items() if isinstance(node, DEFINITION))}")
    alone = {node for each, node in definitions(tree) if f"{module}.{each}" in skip} | overridden(top[name], top)
    owners = rests_on(name, top, public_names(tree), alone)
    statements = tuple(node for node in tree.body if owners & set(bound_names(node)))
    found, repeats = [], Counter()
    for statement in statements:
        for node, trail in sites(statement, alone):
            around = [each.name for each in (*trail, node) if isinstance(each, DEFINITION)]
            for new in replacements(node):
                description = ".".join([module.removeprefix("gptcore."), *around]) + ": " + told(node, new, trail)
                repeats[description] += 1
                number = f" ({repeats[description]})" if repeats[description] > 1 else ""
                found.append(Mutant(description + number, module, statements, node, new))
    return found


def changed(tree: ast.AST, node: ast.AST | None, new: ast.AST | None) -> ast.AST:
    """A copy of the tree with `new` in place of `node`: a deep copy that believes it has copied the node already."""
    return copy.deepcopy(tree, {id(node): new})


def definitions(node: ast.Module | ast.ClassDef, owner: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """The dotted names within a module of its functions and classes, and of what its classes hold."""
    for each in node.body:
        if isinstance(each, DEFINITION):
            yield owner + each.name, each
        if isinstance(each, ast.ClassDef):
            yield from definitions(each, f"{owner}{each.name}.")


def bound_names(node: ast.stmt) -> list[str]:
    """The names that a top-level statement of interest binds: a definition, or a constant written out."""
    if isinstance(node, DEFINITION):
        return [node.name]
    if isinstance(node, ast.Assign) and is_literal(node.value):
        return [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    return []


def is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def public_names(tree: ast.Module) -> set[str]:
    return {name for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            for name in ast.literal_eval(node.value)}


def rests_on(name: str, top: dict[str, ast.stmt], public: set[str], alone: set[ast.stmt]) -> set[str]:
    """The names of the statements to mutate: this one, its base classes, and the private names that they use."""
    owners, waiting = set(), [name]
    while waiting:
        owner = waiting.pop()
        if owner in owners or top[owner] in alone:
            continue
        owners.add(owner)
        bases = {ast.unparse(base) for base in getattr(top[owner], "bases", [])}
        used = {node.id for node, _ in sites(top[owner], alone) if isinstance(node, ast.Name)}
        waiting.extend(each for each in top if each in bases or (each in used and each not in public))
    return owners


def overridden(node: ast.stmt, top: dict[str, ast.stmt]) -> set[ast.stmt]:
    """The methods of a class's bases that are never called: the class has its own, which do not ask super() for them."""
    if not isinstance(node, ast.ClassDef):
        return set()
    bases = [top[name] for name in map(ast.unparse, node.bases) if isinstance(top.get(name), ast.ClassDef)]
    own = {each.name for each in node.body if isinstance(each, FUNCTION)}
    asked = {each.attr for each in ast.walk(node)
             if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "super()"}
    return {each for base in bases for each in base.body if isinstance(each, FUNCTION) and each.name in own - asked}


def sites(node: ast.AST, alone: Collection[ast.AST] = (), trail: tuple = ()) -> Iterator[tuple[ast.AST, tuple]]:
    """Every node that takes part in the computation, each with the trail of the nodes around it, the nearest last."""
    if node in alone or isinstance(node, ast.Raise | ast.Assert):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.ExceptHandler) and refuses(node.body):
        return
    if isinstance(node, FUNCTION) and all(map(only_refuses, node.body)):
        return
    yield node, trail
    for part, value in ast.iter_fields(node):
        if part in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        if part in ("test", "body") and isinstance(node, ast.If) and refuses(node.body):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                yield from sites(each, alone, (*trail, node))


def refuses(body: list[ast.stmt]) -> bool:
    """Do these statements nothing but raise or warn, with what they say put together before?"""
    def warns(node: ast.stmt) -> bool:
        return isinstance(node, ast.Expr) and ast.unparse(node.value).startswith(("warnings.warn(", "warn("))
    return ((isinstance(body[-1], ast.Raise) or warns(body[-1]))
            and all(isinstance(node, ast.Assign) or warns(node) for node in body[:-1]))


def only_refuses(node: ast.stmt) -> bool:
    """Does a function of such statements nothing but refuse bad input? A docstring and local names may stand beside."""
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name | ast.Tuple) for target in node.targets)
    return (isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            or (isinstance(node, ast.If) and refuses(node.body) and all(map(only_refuses, node.orelse))))


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """What a node is replaced by, one at a time."""
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        yield with_field(node, "op", OPERATORS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp):
        yield with_field(node, "op", ast.USub()) if isinstance(node.op, ast.UAdd) else node.operand
    elif isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in COMPARISONS[type(op)]:
                yield with_field(node, "ops", [*node.ops[:i], other(), *node.ops[i + 1:]])
    elif isinstance(node, FUNCTION):
        yield with_field(node, "body", [ast.Pass()])
    elif isinstance(node, ast.Constant):
        for value in other_values(node.value):
            yield with_field(node, "value", value)


def with_field(node: ast.AST, field: str, value: Any) -> ast.AST:
    new = copy.copy(node)
    setattr(new, field, value)
    return new


def other_values(value: Any) -> list:
    """The values that stand for a constant; None and ... have none."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 0] if value == 1 else [value + 1]
    if isinstance(value, float):
        return [2 * value or 1.0]
    if isinstance(value, str):
        return [value + "X"]
    return [value + b"X"] if isinstance(value, bytes) else []


def told(node: ast.AST, new: ast.AST, trail: tuple) -> str:
    """What changes when `node` becomes `new`, as a reader of the source would say it."""
    if isinstance(node, DEFINITION):
        return "emptied"
    shown = shown_part(node, trail)
    return " -> ".join(shortened(*(text_of(changed(shown, node, each)) for each in (node, new))))


def shown_part(node: ast.AST, trail: tuple) -> ast.AST:
    """The smallest part around a change that says something when it is read alone."""
    around = [*trail, node]
    while isinstance(around[-1], PARTS) and isinstance(around[-2], ast.expr | ast.keyword):
        around.pop()
    if isinstance(around[-2], ast.arguments):  # a default value: shown with its name
        arguments, value = around[-2:]
        names = [*arguments.posonlyargs, *arguments.args]
        pairs = [*zip(names[len(names) - len(arguments.defaults):], arguments.defaults),
                 *zip(arguments.kwonlyargs, arguments.kw_defaults)]
        return ast.keyword(next(name.arg for name, default in pairs if default is value), value)
    short = isinstance(around[-2], ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Return)
    return around[-2] if short and isinstance(around[-1], PARTS) else around[-1]


def text_of(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def shortened(before: str, after: str, most: int = 90, around: int = 25) -> tuple[str, str]:
    """Of two long texts only what differs, with a little around it."""
    if max(len(before), len(after)) <= most:
        return before, after
    start = next((i for i, (one, other) in enumerate(zip(before, after)) if one != other), min(len(before), len(after)))
    rest = min(len(before), len(after)) - start
    end = next((i for i in range(rest) if before[-1 - i] != after[-1 - i]), rest)
    left, right = max(0, start - around), max(0, end - around)
    return tuple("..." * (left > 0) + text[left:len(text) - right] + "..." * (right > 0) for text in (before, after))


@contextmanager
def installed(mutant: Mutant, *namespaces: dict[str, Any]) -> Iterator[None]:
    """Let gptcore and these namespaces use the mutant; afterwards everything is as it was.

    The changed statements are executed in the module's own namespace. A class keeps its identity and is given the
    mutant's attributes, so subclasses, instances, `isinstance` and every reference see the change. A function is
    exchanged under every name that it has in a module of gptcore, in a table of one (`ATTENTION`) and in `namespaces`.
    What is executed here has not gone through jaxtyping's import hook: no type checker helps a check to see the mutant.
    """
    module = vars(importlib.import_module(mutant.module))
    names = [name for statement in mutant.statements for name in bound_names(statement)]
    real = {name: module[name] for name in names}
    tree = changed(ast.Module(list(mutant.statements), type_ignores=[]), mutant.node, mutant.new)
    for node in [each for each in tree.body if isinstance(each, ast.ClassDef)]:
        node.body.append(ast.parse("def __its_cell__(self): return __class__").body[0])
    undo = []
    try:
        try:
            exec(compile(ast.fix_missing_locations(tree), f"<mutant of {mutant.module}>", "exec", dont_inherit=True), module)
        except Exception as error:
            raise Stillborn(mutant.description) from error
        made = {name: module[name] for name in names}
        module.update(real)
        for name, new in made.items():
            if isinstance(new, type):
                transplant(new, real[name], undo)
            elif callable(new):
                exchange(real[name], new, namespaces, undo)
            else:
                put(module, name, new, undo)
        yield
    finally:
        for step in reversed(undo):
            step()
        module.update(real)


class Stillborn(Exception):
    """A mutant whose definition alone raises an error."""


def transplant(new: type, old: type, undo: list) -> None:
    """Give the class `old` the attributes of `new`; `super()` in its methods then means `old`, too."""
    if "__slots__" in vars(new) or type(new) is not type:
        raise ValueError(f"{old.__qualname__} has slots or a metaclass, so its attributes cannot be exchanged")
    new.__its_cell__.__closure__[0].cell_contents = old
    for name, value in vars(new).items():
        if name in ("__dict__", "__weakref__", "__its_cell__", "__module__", "__firstlineno__"):
            continue  # the last two say where a class was written; since Python 3.13 setting the one removes the other
        undo.append(partial(setattr, old, name, vars(old)[name]) if name in vars(old) else partial(delattr, old, name))
        setattr(old, name, value)


def exchange(old: Any, new: Any, namespaces: tuple[dict, ...], undo: list) -> None:
    """Put `new` wherever gptcore or a namespace holds `old`."""
    places = [vars(module) for name, module in list(sys.modules.items()) if name.split(".")[0] == "gptcore"]
    for place in (*places, *namespaces):
        for table in [place, *(value for value in place.values() if isinstance(value, dict))]:
            for name in [name for name, value in table.items() if value is old]:
                put(table, name, new, undo)


def put(table: dict, name: Any, new: Any, undo: list) -> None:
    undo.append(partial(table.__setitem__, name, table[name]))
    table[name] = new


class TimeUp(BaseException):
    """No Exception, so that a check which compares errors cannot take it for one."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeUp in the block when it lasts longer. Works in the main thread, by a signal."""
    def ring(*_):
        raise TimeUp(f"not done after {seconds:g} s")
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # once more each second, should the first be swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

