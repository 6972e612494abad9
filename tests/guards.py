"""What must be true of every notebook, read from its tags, syntax trees and stored outputs; tests/bites.py runs cells.

Each guard returns a list of complaints: no complaint, no fault. A complaint names the notebook and the cell (counted as a
reader counts, text cells too, from 1), and says what to do.
"""
import ast
import functools
import importlib
import io
import itertools
import json
import re
import statistics
import tokenize
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from tools import notebooks

TEACH = ("tokenizer", "bpe", "batches", "ngram", "mlp", "attention", "gpt", "sampling", "evaluation", "schedule",
         "training", "diagnostics", "planning", "quantization")

# Public names of these modules that no parity cell checks, and why. "chapter NN" is a promise: it has to be kept as soon as
# that notebook exists, and no earlier chapter can use the name. With any other reason a name can be used everywhere.
UNCHECKED = {
    "gptcore.tokenizer.GPT2_PATTERN": "a constant, published with GPT-2",
    "gptcore.tokenizer.GPT4_PATTERN": "a constant, published with tiktoken",
    "gptcore.tokenizer.Tokenizer": "what the two tokenizers share; it is checked, and mutated, with each of them",
    "gptcore.tokenizer.encode_document": "one expression: the special token, the ids, the special token",
    "gptcore.tokenizer.load_tokenizer": "a file format",
    "gptcore.batches.IGNORE": "a constant that torch has chosen",
    "gptcore.batches.Windows": "a container; its rows are compared, as validation_windows lays them out",
    "gptcore.mlp.MLPConfig": "a container of settings",
    "gptcore.attention.ATTENTION": "a table of two functions that are checked themselves",
    "gptcore.attention.head_width": "a division; the rest of it refuses bad input",
    "gptcore.gpt.GPTConfig": "a container of settings",
    "gptcore.gpt.PRESETS": "a table of settings",
    "gptcore.gpt.evaluating": "model.eval() and torch.no_grad(), and the way back",
    "gptcore.gpt.load_weights": "a file format",
    "gptcore.gpt.save_weights": "a file format",
    "gptcore.sampling.sample_text": "generate, decoded piece by piece",
    "gptcore.evaluation.Score": "a container: a number, its error, and how they are printed",
    "gptcore.evaluation.shared_window_loss": "window_loss, each of several processes reading its part of the windows",
    "gptcore.schedule.TrainConfig": "a container of settings",
    "gptcore.training.Diverged": "an exception",
    "gptcore.diagnostics.KINDS": "a list of names",
    "gptcore.diagnostics.Tape": "what record fills; chapter 06 sets hooks by hand and holds its tables to them",
    "gptcore.diagnostics.measure_memory": "what torch keeps, counted; chapter 06 holds the prediction to it",
    "gptcore.diagnostics.record": "hooks and their removal; chapter 06 sets them by hand and holds its tables to them",
    "gptcore.planning.CARDS": "a table of published rates",
    "gptcore.planning.Card": "a container of published rates",
    "gptcore.planning.PUBLISHED": "a table of published runs",
    "gptcore.planning.Published": "a container: a published run",
    "gptcore.planning.UTILISATION": "a constant that a published run had",
    "gptcore.planning.details": "what the functions that are checked say, printed",
    "gptcore.planning.duration": "a number of seconds in words",
    "gptcore.planning.largest_batch": "peak_memory, solved for the batch",
    "gptcore.planning.overview": "what the functions that are checked say, printed",
    "gptcore.planning.time_estimate": "a product and a division",
    "gptcore.planning.training_tokens": "a look into a table",
    "gptcore.planning.utilisation": "a product and a division",
    "gptcore.quantization.KERNELS": "a table of three ways to compute the same",
    "gptcore.quantization.QuantizedEmbedding": "a lookup in a QuantizedMatrix",
    "gptcore.quantization.QuantizedLinear": "a product with a QuantizedMatrix, by one of the kernels",
    "gptcore.quantization.QuantizedMatrix": "a container; what it holds is made by functions that are checked",
    "gptcore.quantization.SCHEMES": "a table of settings",
    "gptcore.quantization.Scheme": "a container of settings",
    "gptcore.quantization.choose_kernels": "a stopwatch",
    "gptcore.quantization.load_quantized": "a file format",
    "gptcore.quantization.quantize": "the functions that are checked, applied to each layer",
    "gptcore.quantization.save_quantized": "a file format",
    "gptcore.quantization.size_table": "a count of bytes; chapter 07 counts them by hand and holds its totals to it",
    "gptcore.training.Interrupted": "an exception",
    "gptcore.training.make_optimizers": "decay_groups of chapter 05, handed to optimizers of torch",
    "gptcore.training.train": "its loop is written out in chapter 05, which asserts that both end alike; the rest is files",
}

NAMED = ("builds", "parity", "exercise", "check")  # tags with a name behind a colon
TAGS = {"setup", "cases", "nbval-ignore-output", *NAMED}
HIDING = {"importlib", "pkgutil", "pydoc", "runpy"}  # modules that import what a string names

CODE_CELLS, MEDIAN_LINES, MOST_LINES = 45, 8, 30
IGNORED_SHARE, SHORTEST_ALT = 0.15, 20
# GitHub shows a notebook slowly, and then not at all, beyond a few megabytes; and a clone holds every version of it.
CELL_BYTES, NOTEBOOK_BYTES = 300_000, 2_500_000
ROOTS = "home|root|tmp|work|mnt|opt|usr|var|etc|srv|data|content|kaggle|Users|private|Volumes|workspace"
ABSOLUTE = re.compile(rf"(?<![\w./~-])/(?:{ROOTS})/\S+|(?<!\w)[A-Za-z]:\\\w\S*|file:///\S+")
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")


def guard(function: Callable[..., Iterator[str]]) -> Callable[..., list[str]]:
    """Make a list of what a generator of complaints yields, each complaint once."""
    @functools.wraps(function)
    def collected(*args, **kwargs):
        return list(dict.fromkeys(function(*args, **kwargs)))
    return collected


@dataclass(frozen=True)
class Cell:
    """A code cell and where it stands."""

    where: str
    node: NotebookNode

    @property
    def source(self) -> str:
        return self.node.source

    @property
    def tags(self) -> list[str]:
        return notebooks.tags(self.node)

    @property
    def kinds(self) -> set[str]:
        return {tag.partition(":")[0] for tag in self.tags}

    @property
    def ignored(self) -> bool:
        return "nbval-ignore-output" in self.tags

    def named(self, kind: str) -> list[str]:
        """What stands after `kind:` in its tags; of `builds:gptcore.module.Class:method` only the class."""
        return [tag.split(":")[1] for tag in self.tags if tag.startswith(f"{kind}:")]

    def tree(self) -> ast.Module:
        """Its syntax tree; empty when it is no Python, which `form` complains of."""
        try:
            return ast.parse(self.source)
        except SyntaxError:
            return ast.Module([], [])

    def text(self) -> str:
        """All that it printed or shows as text."""
        texts = []
        for output in self.node.outputs:
            data = output.get("data", {})
            texts += [output.get("text", ""), *(data[mime] for mime in data if mime.startswith("text/"))]
        return "\n".join("".join(text) for text in texts)


@dataclass(frozen=True)
class Chapter:
    """A complete notebook, by the name of its file without the ending."""

    name: str
    notebook: NotebookNode

    @classmethod
    def read(cls, path: Path) -> "Chapter":
        return cls(path.stem, notebooks.read(path))

    @property
    def number(self) -> str:
        return self.name[:2]

    @property
    def code(self) -> list[Cell]:
        return [Cell(f"{self.name}, cell {i}", cell) for i, cell in enumerate(self.notebook.cells, start=1)
                if cell.cell_type == "code"]

    def named(self, kind: str) -> dict[str, Cell]:
        """What the tags of this kind name, each with the first cell that does."""
        return {name: cell for cell in reversed(self.code) for name in cell.named(kind)}


# Everything public is built by hand and checked, and nothing is used before that.

def public() -> dict[str, Any]:
    """The public names of the modules that teach, each under the module that defines it."""
    found = {}
    for module in filter(None, (loaded(f"gptcore.{name}") for name in TEACH)):
        for name in module.__all__:
            thing = getattr(module, name)
            home = thing.__module__ if callable(thing) else module.__name__
            found[f"{home}.{name}"] = thing
    return found


def loaded(module: str) -> types.ModuleType | None:
    return importlib.import_module(module) if find_spec(module) else None


def exists(name: str) -> bool:
    """Does a dotted name in gptcore lead to something?"""
    room, module, *parts = name.split(".")
    thing = loaded(f"{room}.{module}")
    for part in parts:
        thing = getattr(thing, part, None)
    return thing is not None


@guard
def everything_checked(
    chapters: Collection[Chapter], names: Collection[str] | None = None, unchecked: Mapping[str, str] = UNCHECKED
) -> Iterator[str]:
    """Is each public name checked in a notebook, below a cell that builds it, or listed with a reason that still holds?"""
    names = public() if names is None else names
    checked = {name for chapter in chapters for name in chapter.named("parity")}
    for name in names:
        reason = unchecked.get(name, "")
        if name in checked and reason:
            yield f"UNCHECKED, {name}: a parity cell checks it; remove the entry"
        elif name not in checked and not reason:
            yield (f"{name} is public and no notebook builds it; build it by hand (tags builds:{name} and parity:{name}), "
                   "or give a reason in UNCHECKED (tests/guards.py)")
        elif any(reason == f"chapter {chapter.number}" for chapter in chapters):
            yield (f"{name}: {reason} exists and does not check it; build it there by hand (tags builds:{name} and "
                   f"parity:{name}), or correct UNCHECKED (tests/guards.py)")
    for name in unchecked.keys() - set(names):
        yield f"UNCHECKED, {name}: there is no such public name; remove the entry"
    for chapter in chapters:
        place = {cell.where: i for i, cell in enumerate(chapter.code)}
        built, held = chapter.named("builds"), chapter.named("parity")
        for name, cell in held.items():
            if name not in built or place[built[name].where] >= place[cell.where]:
                yield f"{cell.where}: it checks {name}, which no cell above builds; tag that cell builds:{name}"
        for name in built.keys() - held.keys():
            yield f"{built[name].where}: it builds {name}, which no cell holds to gptcore; add one tagged parity:{name}"


@guard
def nothing_used_early(
    chapter: Chapter, chapters: Collection[Chapter], names: Mapping[str, Any] | None = None,
    unchecked: Mapping[str, str] = UNCHECKED,
) -> Iterator[str]:
    """Is nothing imported, or reached through a module, before the reader has built it?"""
    names = public() if names is None else names
    promised = {name: reason[-2:] for name, reason in unchecked.items() if reason.startswith("chapter ")}
    by_hand = {name: thing for name, thing in names.items() if name not in unchecked or name in promised}
    built = {name for other in chapters if other.number < chapter.number for name in other.named("builds")}
    built |= {name for name, number in promised.items() if number < chapter.number}
    modules: dict[str, types.ModuleType] = {}
    for cell in chapter.code:
        for line, what, thing in reached(cell.tree(), modules, by_hand.values()):
            name = next((name for name, other in by_hand.items() if other is thing), None)
            if thing is HIDDEN:
                yield (f"{cell.where}, line {line}: `{what}` hides what is used; import each name by "
                       "`from gptcore.module import name`")
            elif name and name not in built:
                yield (f"{cell.where}, line {line}: `{what}` is {name}, which is not built by hand yet; do that before, in "
                       f"a cell with the tag builds:{name}, or do without it")
        built |= set(cell.named("builds"))


HIDDEN = object()


def reached(tree: ast.Module, modules: dict[str, types.ModuleType], by_hand: Collection) -> Iterator[tuple[int, str, Any]]:
    """What a cell takes from gptcore: line, how it is written, and the thing, or HIDDEN when it cannot be followed.

    `modules` are the names that stand for modules of gptcore; it grows with what the cell imports. Things are found by
    identity, so it does not matter under which name, or in which module that imports them, too, they are reached.
    """
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            modules.pop(node.id, None)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from imported(node, modules)
        elif isinstance(node, ast.ImportFrom):
            yield from imported_from(node, modules)
    followed = set()  # the names of modules that an attribute is taken from
    for node in nodes:
        if isinstance(node, ast.Attribute):
            base = node.value
            while isinstance(base, ast.Attribute):
                base = base.value
            if isinstance(base, ast.Name) and base.id in modules:
                followed.add(base)
                yield node.lineno, ast.unparse(node), member(modules[base.id], ast.unparse(node).split(".")[1:])
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in ("sys.modules", "__import__", "eval", "exec"):
            yield node.lineno, ast.unparse(node), HIDDEN
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in modules and node not in followed:
            room = modules[node.id]  # getattr(room, ...), vars(room), other = room
            if room.__name__ == "gptcore" or any(thing is other for thing in vars(room).values() for other in by_hand):
                yield node.lineno, f"{node.id}, a whole module of gptcore,", HIDDEN


def imported(node: ast.Import, modules: dict[str, types.ModuleType]) -> Iterator[tuple[int, str, Any]]:
    for alias in node.names:
        room = alias.name.split(".")[0]
        if room in HIDING:
            yield node.lineno, ast.unparse(node), HIDDEN
        elif room == "gptcore" and (module := loaded(alias.name)):
            modules[alias.asname or room] = module if alias.asname else importlib.import_module(room)


def imported_from(node: ast.ImportFrom, modules: dict[str, types.ModuleType]) -> Iterator[tuple[int, str, Any]]:
    room = (node.module or "").split(".")[0]
    if room in HIDING or node.names[0].name == "*":
        yield node.lineno, ast.unparse(node), HIDDEN
    elif room == "gptcore" and (module := loaded(node.module)):
        for alias in node.names:
            thing = member(module, [alias.name])
            if isinstance(thing, types.ModuleType):
                modules[alias.asname or alias.name] = thing
            yield node.lineno, f"from {node.module} import {alias.name}", thing


def member(thing: Any, parts: list[str]) -> Any:
    """Where attributes of a module lead, as far as they lead through modules; None where there is nothing."""
    for part in parts:
        if not isinstance(thing, types.ModuleType):
            break
        if part == "__dict__":
            return HIDDEN
        inner = getattr(thing, part, None)
        thing = loaded(f"{thing.__name__}.{part}") if inner is None and hasattr(thing, "__path__") else inner
    return thing


# The form of a notebook.

@guard
def form(chapter: Chapter) -> Iterator[str]:
    """Title, setup, sections, the number of cells and their lines, tags; Python and nothing else."""
    cells, code = chapter.notebook.cells, chapter.code
    first = cells[0].source if cells and cells[0].cell_type == "markdown" else ""
    if not re.search(rf"^# {chapter.number} · \S", first, re.MULTILINE):
        yield f"{chapter.name}, cell 1: it must be a text cell with the title `# {chapter.number} · Title`"
    if len(re.findall(r"^Time: .* on two CPU cores\.$", first, re.MULTILINE)) != 1:
        yield f"{chapter.name}, cell 1: it needs the line `Time: ? on two CPU cores.`; `make notebooks` fills it in"
    if [cell.where for cell in code if "setup" in cell.tags] != [f"{chapter.name}, cell 2"]:
        yield f"{chapter.name}: cell 2, and no other, must be the setup cell (tag setup)"
    texts = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    if not re.search(r"^#+ .*What could go wrong", texts, re.MULTILINE):
        yield f"{chapter.name}: it needs a section headed `What could go wrong?`, with breakages made on purpose"
    counted = len(code) - for_the_curious(chapter)
    if counted > CODE_CELLS:
        yield (f"{chapter.name}: {counted} code cells, at most {CODE_CELLS}; leave something out, or put it under "
               "`## For the curious` at the end")
    lines = {cell.where: sum(bool(line.strip()) for line in cell.source.splitlines())
             for cell in code if "setup" not in cell.tags}
    if lines and (median := statistics.median(lines.values())) > MEDIAN_LINES:
        yield f"{chapter.name}: the median code cell has {median:g} lines, at most {MEDIAN_LINES}; one idea a cell"
    for where, count in lines.items():
        if count > MOST_LINES:
            yield f"{where}: {count} lines, at most {MOST_LINES}; divide it"
    for cell in code:
        for fault in itertools.chain(source_faults(cell), tag_faults(cell)):
            yield f"{cell.where}: {fault}"


def for_the_curious(chapter: Chapter) -> int:
    """How many code cells stand below the head `For the curious`, up to the next head of its level."""
    count, level = 0, 0
    for cell in chapter.notebook.cells:
        if cell.cell_type == "code":
            count += level > 0
            continue
        for marks, head in re.findall(r"^(#+) (.*)$", cell.source, re.MULTILINE):
            if head.strip() == "For the curious":
                level = len(marks)
            elif len(marks) <= level:
                level = 0
    return count


def source_faults(cell: Cell) -> Iterator[str]:
    try:
        ast.parse(cell.source)
    except SyntaxError as error:
        if re.search(r"^\s*[%!?]|=\s*[%!]|^[^#]*\?$", cell.source, re.MULTILINE):
            yield "magics (`%`, `!`, `?`) are IPython's; write plain Python"
        else:
            yield f"this is no Python, line {error.lineno}: {error.msg}"
        return
    if "get_ipython" in cell.source:
        yield "get_ipython is IPython's; write plain Python"
    if re.search(r"NBVAL_|PYTEST_VALIDATE_", cell.source):
        yield "say by the tag nbval-ignore-output what is not compared, not in the source"
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(cell.source).readline)
              if token.type not in (tokenize.COMMENT, tokenize.NL)]
    for token, after in itertools.pairwise(tokens):
        if (token.type, token.string) == (tokenize.OP, ";") and after.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
            yield f"line {token.start[0]} ends with `;`, which silences nothing in a test; write `_ = ...`"


def tag_faults(cell: Cell) -> Iterator[str]:
    for tag in cell.tags:
        kind, _, name = tag.partition(":")
        if kind not in TAGS or (kind in NAMED) != bool(name):
            yield (f"{tag!r} is no tag of the course; they are setup, cases, nbval-ignore-output, "
                   f"{', '.join(f'{kind}:name' for kind in NAMED)}")
    for name in cell.named("builds"):
        body = [node for node in cell.tree().body if not isinstance(node, ast.Import | ast.ImportFrom)]
        if [str(getattr(node, "name", "")).endswith(("_by_hand", "ByHand")) for node in body] != [True]:
            yield f"it builds {name}: one function or class, named ..._by_hand or ...ByHand, and only imports beside it"
        if not exists(name):
            yield f"it builds {name}, which does not exist; correct the tag"


@guard
def setup_alike(chapters: Collection[Chapter]) -> Iterator[str]:
    """Is the setup cell the same in every notebook?"""
    cells = [cell for chapter in chapters for cell in chapter.code if "setup" in cell.tags]
    for cell in cells:
        if cell.source != statistics.mode(each.source for each in cells):
            yield f"{cell.where}: it is not the setup cell of the other notebooks; run `make notebooks`"


# The stored outputs.

@guard
def outputs_clean(chapter: Chapter) -> Iterator[str]:
    """Executed once from top to bottom, small, and nothing in it of the machine that it ran on."""
    code = chapter.code
    counts = [cell.node.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        yield f"{chapter.name}: not executed once from top to bottom (the counts are {counts}); run `make notebooks`"
    sizes = [len(json.dumps(cell.node.outputs)) for cell in code]
    if sum(sizes) > NOTEBOOK_BYTES:
        yield f"{chapter.name}: {sum(sizes):,} bytes of output, at most {NOTEBOOK_BYTES:,}; show less, or smaller pictures"
    for cell, size in zip(code, sizes):
        if size > CELL_BYTES:
            yield f"{cell.where}: {size:,} bytes of output, at most {CELL_BYTES:,}; show less, or a smaller picture"
        for fault in output_faults(cell):
            yield f"{cell.where}: {fault}"
    normal = notebooks.normalise(chapter.notebook)
    if [cell.get("id") for cell in chapter.notebook.cells] != [cell.id for cell in normal.cells]:
        yield f"{chapter.name}: the ids of the cells are not those of their content; run `make notebooks`"
    if chapter.notebook.metadata != normal.metadata:
        yield (f"{chapter.name}: metadata {sorted(chapter.notebook.metadata)} instead of {sorted(normal.metadata)} (no "
               "state of widgets, nothing of an editor); run `make notebooks`")


def output_faults(cell: Cell) -> Iterator[str]:
    if found := ABSOLUTE.search(cell.text()):
        yield f"an absolute path in the output, {found[0]!r}; print a relative one"
    if found := ADDRESS.search(cell.text()):
        yield f"an address in memory in the output, `{found[0]}`; print what the object holds"
    for output in cell.node.outputs:
        if output.output_type == "error":
            yield f"a stored error, {output.ename}; mend it, or catch it and assert that it came"
        if output.get("name") == "stderr":
            yield "stored text on stderr (a progress bar, a warning); run `make notebooks`, which drops it"
        data, metadata = output.get("data", {}), output.get("metadata", {})
        if any("widget" in mime for mime in data):
            yield "a widget in the output; show a picture or text beside it and run `make notebooks`, which drops it"
        if set(metadata) - {"image/png"} or set(metadata.get("image/png", {})) - {"alt"}:
            yield f"metadata of an output, {dict(metadata)}, beside the alternative text; run `make notebooks`"
        for mime in data:
            if mime.startswith("image/") and mime != "image/png":
                yield f"a picture of the type {mime}; show it as image/png"
            elif mime == "image/png" and len(metadata.get(mime, {}).get("alt", "")) < SHORTEST_ALT:
                yield f"a picture without an alternative text of {SHORTEST_ALT} characters; give alt=... to plots.show"


@guard
def little_ignored(chapter: Chapter) -> Iterator[str]:
    """Are few outputs left out of the comparison, each followed by a cell that asserts?"""
    count, shown = notebooks.ignored_share(chapter.notebook)
    print(f"{chapter.name}: {count} of {shown} outputs are not compared ({count / max(shown, 1):.0%})")
    if count > IGNORED_SHARE * shown:
        yield (f"{chapter.name}: {count} of {shown} outputs are not compared, at most {IGNORED_SHARE:.0%}; print bands and "
               "verdicts, not digits that another machine does not repeat")
    for cell, after in itertools.zip_longest(chapter.code, chapter.code[1:]):
        if cell.ignored and (after is None or after.ignored or not asserts(after)):
            yield f"{cell.where}: its output is not compared, so the next code cell must assert what it shows"


def asserts(cell: Cell) -> bool:
    return any(isinstance(node, ast.Assert)
               or (isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1].startswith("assert_"))
               for node in ast.walk(cell.tree()))
