"""Run the notebooks, stamp what is generated in them and write the exercise editions: what make's targets call."""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from gptcore.files import atomic_write
from tools import stamps
from tools.editions import dumps, exercise_edition, ignored_share, normalise, tags

__all__ = ["change_address", "complete_editions", "dumps", "environment", "execute", "exercise_edition", "ignored_share",
           "normalise", "read", "run", "stale", "tags", "wanted", "write"]

ROOT = Path(__file__).parents[1]
LIMIT = 120  # seconds that a chapter may compute on two CPU cores
OPTIONAL = ("datasets", "torchao")  # imported where they are used, and not installed by make
# Not there at all: some packages ask whether another one can be found, and use it only then.
HIDE = """import sys
from importlib.machinery import PathFinder


class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {} else super().find_spec(name, path, target)


sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""
GENERATED = ("context.csv", "ladder.json")  # files in data/ that `make context` and the notebooks write


class Failed(Exception):
    """A notebook could not be run; the message shows where."""


def complete_editions(root: Path = ROOT) -> list[Path]:
    """The complete notebooks, in the order of the course."""
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def read(path: Path) -> NotebookNode:
    """A notebook as an object; one that is no notebook raises ValueError."""
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise ValueError(f"{path} is no notebook: {error}") from None


def write(files: dict[Path, str | None]) -> list[Path]:
    """Write what differs from what is there, each file whole or not at all; None removes a file. Gives the changed ones."""
    changed = [path for path, text in files.items() if text != (stored(path) if path.exists() else None)]
    for path in changed:
        if (text := files[path]) is None:
            path.unlink()
            continue
        with atomic_write(path) as temporary:
            temporary.write_bytes(text.encode())
    return changed


def stored(path: Path) -> str:
    return path.read_bytes().decode()  # not read_text, which would hide other line ends


def wanted(root: Path = ROOT) -> dict[Path, str | None]:
    """Every generated text as it must be now, from the notebooks' sources and the address; None for what must go."""
    url = stamps.address(stored(root / "pyproject.toml"))
    files, rows = {}, []
    for path in complete_editions(root):
        nb = normalise(stamps.stamp(read(path), f"notebooks/{path.name}", url))
        exercise = stamps.stamp(exercise_edition(nb, path.stem), f"notebooks/exercises/{path.name}", url)
        files[path] = dumps(nb)
        files[root / "notebooks/exercises" / path.name] = dumps(normalise(exercise))
        rows.append(stamps.chapter_row(nb, path.stem, url))
    orphans = set((root / "notebooks/exercises").glob("*.ipynb")) - set(files)
    files |= {path: None for path in sorted(orphans)}
    files[root / "README.md"] = stamps.readme(stored(root / "README.md"), rows)
    for path in (root / "data" / name for name in GENERATED):
        if path.exists():
            readme = root / "data/README.md"
            files[readme] = stamps.data_readme(files.get(readme) or stored(readme), path.name, path.read_bytes())
    return files


def stale(root: Path = ROOT) -> list[str]:
    """The generated files that are not as they must be; `make exercises` mends them."""
    return [path.relative_to(root).as_posix() for path, text in wanted(root).items()
            if text != (stored(path) if path.exists() else None)]


def change_address(url: str, root: Path = ROOT) -> list[Path]:
    """Write the repository's address into pyproject.toml and stamp everything that holds it."""
    pyproject = root / "pyproject.toml"
    changed = write({pyproject: stamps.with_address(stored(pyproject), url)})
    return changed + write(wanted(root))


@contextlib.contextmanager
def environment() -> Iterator[dict[str, str]]:
    """The variables under which notebooks are run and compared, whatever the machine holds, with their temporary folders.

    The dial stands at cpu and a GPU is not seen; no network, no downloads of earlier days, no settings of IPython's user, no
    packages beyond those that make installs.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data, ipython, hidden = (Path(folder, name) for name in ("data", "ipython", "hidden"))
        for each in (data, ipython, hidden):
            each.mkdir()
        (hidden / "sitecustomize.py").write_text(HIDE.format(OPTIONAL))  # Python runs a file of this name when it starts
        yield {
            "GPTCORE_DIAL": "cpu", "CUDA_VISIBLE_DEVICES": "", "GPTCORE_OFFLINE": "1", "GPTCORE_DATA": str(data),
            "GPTCORE_KEEP": "0", "PYTHONHASHSEED": "0", "IPYTHONDIR": str(ipython),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(hidden), os.environ.get("PYTHONPATH")])),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        }


def execute(nb: NotebookNode, folder: Path, name: str, **variables: str) -> float:
    """Run all cells in a fresh kernel that stands in `folder`, put the outputs into `nb` and return the seconds taken.

    Shows its progress. Raises Failed with the cell and its error when one fails.
    """
    code = [i for i, cell in enumerate(nb.cells) if cell.cell_type == "code" and cell.source.strip()]
    begun, at = time.monotonic(), 0
    end = "\r" if sys.stdout.isatty() else "\n"

    def show(cell: NotebookNode, cell_index: int) -> None:
        nonlocal at
        if cell_index in code:
            at = code.index(cell_index)
            print(f"{name}: cell {at + 1} of {len(code)}, {time.monotonic() - begun:.0f} s", end=end, flush=True)

    client = NotebookClient(nb, kernel_name="python3", resources={"metadata": {"path": str(folder)}}, timeout=None,
                            store_widget_state=False, on_cell_start=show)
    with environment() as fixed:
        try:
            # The kernel itself only warns there, of things that do not matter here; errors of cells come as outputs.
            client.execute(env=os.environ | fixed | variables, stderr=subprocess.DEVNULL)
        except CellExecutionError as error:
            where = f"{name}, cell {at + 1} of {len(code)} (number {code[at] + 1} with the text cells)"
            raise Failed(f"{where} failed:\n\n{nb.cells[code[at]].source}\n\n{error.traceback}") from None
        except (DeadKernelError, AssertionError):  # at Ctrl-C nbclient stops its kernel and then stumbles over that
            raise Failed(f"{name}, cell {at + 1} of {len(code)}: stopped by Ctrl-C, or for want of memory") from None
    return time.monotonic() - begun


def run(names: Sequence[str] = (), root: Path = ROOT) -> None:
    """Run the complete notebooks (all, or those with the given numbers), store their outputs and stamp what depends on them.

    Each notebook is written when all its cells have run, and else stays as it was.
    """
    url = stamps.address(stored(root / "pyproject.toml"))
    for path in chosen(names, root):
        nb = normalise(stamps.stamp(read(path), f"notebooks/{path.name}", url))
        exercise_edition(nb, path.stem)  # what cannot be emptied is refused before minutes are spent
        seconds = execute(nb, path.parent, path.stem, GPTCORE_KEEP="1")
        print(f"{path.stem}: {seconds:.0f} s in all{' ' * 20}")
        if seconds > LIMIT:
            print(f"warning: {path.stem} took {seconds:.0f} s, a chapter may take {LIMIT} s on two cores: make it smaller")
        write({path: dumps(normalise(stamps.stamp_time(nb, seconds)))})
    report(write(wanted(root)), root)


def chosen(names: Sequence[str], root: Path) -> list[Path]:
    """The complete notebooks with the given numbers, or all; ValueError when there is none."""
    paths = {path.stem[:2]: path for path in complete_editions(root)}
    if not paths:
        raise ValueError("there is no notebook; a chapter is notebooks/NN_topic.ipynb (see CONTRIBUTING.md)")
    if wrong := [name for name in names if name.zfill(2) not in paths]:
        raise ValueError(f"there is no chapter {', '.join(wrong)}; there are {', '.join(paths)}")
    return [paths[name.zfill(2)] for name in names] or list(paths.values())


def report(changed: Sequence[Path], root: Path = ROOT) -> None:
    print("\n".join(f"wrote {path.relative_to(root).as_posix()}" for path in changed) or "everything is up to date")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tools.notebooks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = "run the complete notebooks from fresh kernels and store their outputs, then do what `stamp` does"
    commands.add_parser("run", help=about, description=about).add_argument(
        "chapters", nargs="*", metavar="NN", help="numbers of chapters, like 01 (all chapters when none is given)")
    about = "write the exercise editions anew from the complete ones"
    commands.add_parser("exercises", help=about, description=about)
    about = "write anew all that is generated: badges, setup cells, exercise editions, the README's table, checksums"
    commands.add_parser("stamp", help=about, description=about)
    about = "change the public address of the repository and stamp everything that holds it"
    commands.add_parser("address", help=about, description=about).add_argument(
        "url", metavar="URL", help="https://github.com/owner/name")
    options = parser.parse_args(arguments)
    try:
        if options.command == "run":
            run(options.chapters)
        elif options.command == "address":
            report(change_address(options.url))
        else:
            chosen((), ROOT)
            only = ROOT / "notebooks/exercises" if options.command == "exercises" else ROOT
            report(write({path: text for path, text in wanted().items() if path.is_relative_to(only)}))
    except KeyboardInterrupt:
        print("\nstopped; the notebook that was running stays as it was", file=sys.stderr)
        return 130
    except (Failed, ValueError, tomllib.TOMLDecodeError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
