"""From a notebook to the same notebook in its one normal form, and from the complete edition to the exercise edition."""

import ast
import copy
import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterator

import nbformat
from nbformat import NotebookNode

__all__ = ["dumps", "exercise_edition", "ignored_share", "normalise", "relink", "tags"]

YOUR_TURN = "...  # your turn"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell, which say what part it has in the course (CONTRIBUTING.md lists them)."""
    return list(cell.metadata.get("tags", []))


def dumps(nb: NotebookNode) -> str:
    """The text of a notebook as it is stored: Jupyter's own layout, keys in a fixed order."""
    return nbformat.writes(nb, version=4) + "\n"


def ignored_share(nb: NotebookNode) -> tuple[int, int]:
    """How many of the cells with output nbval does not compare, and how many have output."""
    shown = [cell for cell in nb.cells if cell.cell_type == "code" and cell.outputs]
    return sum("nbval-ignore-output" in tags(cell) or "NBVAL_IGNORE_OUTPUT" in cell.source for cell in shown), len(shown)


def normalise(nb: NotebookNode) -> NotebookNode:
    """A copy that depends on nothing but what was written and printed: running twice gives the same bytes.

    A cell's id is made from its content, so it changes only when the cell does. Progress bars and warnings (stderr), the
    state of widgets and what editors leave in the metadata are dropped; cells that were run are counted 1..n.
    """
    nb = copy.deepcopy(nb)
    nb.nbformat, nb.nbformat_minor = 4, 5
    nb.metadata = NotebookNode(
        {key: nb.metadata[key] for key in ("accelerator",) if key in nb.metadata}
        | ({"colab": {"gpuType": gpu}} if (gpu := nb.metadata.get("colab", {}).get("gpuType")) else {})
        | {"kernelspec": KERNEL, "language_info": {"name": "python"}})
    nb.cells = [cell for cell in nb.cells if cell.source.strip()]
    seen, count = Counter(), 0
    for cell in nb.cells:
        cell.source = cell.source.rstrip()
        cell.metadata = NotebookNode({"tags": tags(cell)} if tags(cell) else {})
        digest = hashlib.sha256((cell.cell_type + cell.source).encode()).hexdigest()[:8]
        seen[digest] += 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        if cell.cell_type == "code":
            count += cell.execution_count is not None
            cell.execution_count = None if cell.execution_count is None else count
            cell.outputs = list(normal_outputs(cell.outputs, cell.execution_count))
    return nb


def normal_outputs(outputs: list[NotebookNode], count: int | None) -> Iterator[NotebookNode]:
    """The outputs of one cell: what is printed in one go stands together, of the metadata only alternative texts stay."""
    printed = None
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stdout" and printed:
                printed.text += output.text
            elif output.name == "stdout":
                yield (printed := output)
            continue
        printed = None
        if "data" in output:
            output.data.pop("application/vnd.jupyter.widget-view+json", None)  # an error message without its state
            if "image/png" in output.data:
                output.data["image/png"] = output.data["image/png"].strip()
            alt = output.metadata.get("image/png", {}).get("alt")
            output.metadata = NotebookNode({"image/png": {"alt": alt}} if alt else {})
        if "execution_count" in output:
            output.execution_count = count
        yield output


def exercise_edition(nb: NotebookNode, name: str) -> NotebookNode:
    """The edition to work in, made from the complete edition `name`.ipynb: what the reader builds is empty, nothing is run.

    In a `builds:` cell the function (of a class: the methods named after the colon) is emptied and put under
    `@your_turn`; in an `exercise:` cell every function is emptied and every assigned value becomes `...`. ValueError says
    what a cell must look like that does not fit.
    """
    nb = copy.deepcopy(nb)
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            cell.source = relink(cell.source, "notebooks", "notebooks/exercises")
            continue
        cell.outputs, cell.execution_count = [], None
        try:
            for tag in tags(cell):
                kind, _, rest = tag.partition(":")
                if kind == "builds":
                    cell.source = emptied_build(cell.source, rest)
                elif kind == "exercise":
                    cell.source = emptied_exercise(cell.source)
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"{name}, cell {i + 1} ({', '.join(tags(cell))}): {error}\n\n{cell.source}") from None
    title = re.search(r"^# .*$", nb.cells[0].source, re.MULTILINE)
    if not title:
        raise ValueError(f"{name}: the first cell has no title; write one as `# NN · Title`")
    told = ("\n\n*This is the exercise edition: what you build is marked `# your turn` and empty, and it runs as it is. "
            f"[The complete edition](../{name}.ipynb) has the answers and all outputs.*")
    nb.cells[0].source = nb.cells[0].source[:title.end()] + told + nb.cells[0].source[title.end():]
    return normalise(nb)


def relink(text: str, old: str, new: str) -> str:
    """Make the relative links of a Markdown text that moves from folder `old` to `new` point where they pointed.

    Links from one chapter to another stay: in the folder of exercise editions they lead to exercise editions.

    >>> relink("[a](../data/README.md), [b](01_x.ipynb), [c](https://x.org), [d](#e)", "notebooks", "notebooks/exercises")
    '[a](../../data/README.md), [b](01_x.ipynb), [c](https://x.org), [d](#e)'
    """
    def moved(match: re.Match) -> str:
        before, link, after = match.groups()
        chapter = re.fullmatch(r"\d\d_\w+\.ipynb(#.*)?", link) and new.startswith(old)
        if chapter or re.match(r"#|/|[a-z]+:", link):
            return match[0]
        return before + posixpath.relpath(posixpath.normpath(posixpath.join(old, link)), new) + after
    return re.sub(r"""(\]\(|(?:src|href)=["'])([^)"'\s]+)([)"'\s])""", moved, text)


def emptied_build(source: str, what: str) -> str:
    """The source of a `builds:` cell for the reader to fill; `what` follows the tag's first colon."""
    shipped, _, named = what.partition(":")
    methods = [name for name in re.split(r"[,+]", named) if name]
    built = [node for node in ast.parse(source).body if isinstance(node, (*FUNCTION, ast.ClassDef))]
    if len(built) != 1:
        raise ValueError(f"it must hold exactly one function or class, not {len(built)}")
    node = built[0]
    if isinstance(node, ast.ClassDef):
        found = {item.name: item for item in node.body if isinstance(item, FUNCTION)}
        if wrong := [name for name in methods if name not in found]:
            raise ValueError(f"{node.name} has no method {', '.join(wrong)}; it has {', '.join(found)}")
        if not methods or "__init__" in methods:
            raise ValueError("name the methods to be written, never __init__, after a second colon: "
                             "builds:gptcore.module.Class:encode,decode")
        holes = [found[name] for name in methods]
    elif methods:
        raise ValueError(f"{node.name} is a function: no second colon")
    else:
        holes = [node]
    lines = emptied(source, [cut for hole in holes if (cut := body(source, hole))]).split("\n")
    # Nothing above is cut: the first decorator, or the definition itself, stands where it stood.
    lines.insert(first_line(node) - 1, f'@your_turn("{shipped}")')
    return "\n".join(lines)


def emptied_exercise(source: str) -> str:
    """The source of an `exercise:` cell for the reader to fill."""
    cuts = []
    for node in ast.parse(source).body:
        if isinstance(node, FUNCTION) and (cut := body(source, node)):
            cuts.append(cut)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if not all(isinstance(target, ast.Name) for target in targets):
                raise ValueError(f"line {node.lineno}: assign one name at a time, so that it can become `name = ...`")
            # From behind the sign, since a value's own position leaves out its brackets; a comment behind it goes, too.
            left = getattr(node, "annotation", targets[-1])
            sign = source.split("\n")[left.end_lineno - 1].index("=", column(source, left.end_lineno, left.end_col_offset))
            cuts.append(((left.end_lineno, sign + 2), node.end_lineno))
        elif isinstance(node, ast.ClassDef):
            raise ValueError(f"line {node.lineno}: a class cannot be emptied here; ask for a function or a value")
    if not cuts:
        raise ValueError("it holds no function and no `name = value` for the reader to write")
    return emptied(source, cuts)


def first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])


def column(source: str, line: int, offset: int) -> int:
    """The place in a line in characters; ast counts bytes."""
    return len(source.split("\n")[line - 1].encode()[:offset].decode())


def body(source: str, function: ast.stmt) -> tuple[tuple[int, int], int] | None:
    """Where the part for the reader begins (line, column) and the line that ends it; docstring and first comments stay."""
    rest = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    if not rest:
        return None
    lines, start, end = source.split("\n"), first_line(rest[0]), function.end_lineno
    indent = column(source, rest[0].lineno, rest[0].col_offset)
    # Comments under the last line of the body belong to it: they may tell the answer.
    for number, line in enumerate(lines[end:], start=end + 1):
        if not line.strip():
            continue
        if not (line.lstrip().startswith("#") and len(line) - len(line.lstrip()) >= indent):
            break
        end = number
    return (start, indent), end


def emptied(source: str, cuts: list[tuple[tuple[int, int], int]]) -> str:
    """Write `...  # your turn` in place of each cut, and leave everything else as it is formatted."""
    lines = source.split("\n")
    for (start, indent), end in sorted(cuts, reverse=True):
        lines[start - 1:end] = [lines[start - 1][:indent] + YOUR_TURN]
    return "\n".join(lines)
