"""What is generated from the address in pyproject.toml and from the notebooks: badges, setup cells, the chapter table."""

import copy
import hashlib
import re
import tomllib

from nbformat import NotebookNode

from tools.editions import relink, tags

__all__ = ["address", "badges", "chapter_row", "checked_address", "data_readme", "readme", "setup_cell", "stamp",
           "stamp_time", "with_address"]

BRANCH = "main"
TIME = re.compile(r"^Time: .* on two CPU cores\.$", re.MULTILINE)
CHAPTERS = re.compile(r"(?<=<!-- chapters -->\n).*?(?=<!-- /chapters -->)", re.DOTALL)

# Every notebook's second cell. At home it prints nothing; in the cloud one line, if packages are missing there.
SETUP_CELL = '''\
# At home gptcore lies in a folder above this one. In the cloud it is an attached data set (Kaggle), or git fetches it.
import subprocess
import sys
from pathlib import Path

address, clone = "ADDRESS", Path("gptcore-clone").absolute()
found = [folder for folder in (*clone.parents, clone) if (folder / "gptcore/course").is_dir()]
found = found or [each.parents[1] for n in range(5) for each in Path("/kaggle/input").glob("*/" * n + "gptcore/course")]
if not found:
    git = subprocess.run(["git", "clone", "--depth=1", address, clone], capture_output=True, text=True)
    if git.returncode:
        raise ConnectionError(f"{git.stderr}Switch the internet on (Kaggle: Settings), or attach {address} as a data set.")
sys.path.insert(0, str([*found, clone][0]))
from gptcore.course import setup  # noqa: I001
setup.install_missing()
from gptcore.course import cases, check, your_turn  # noqa: F401'''


def address(pyproject: str) -> str:
    """The public address of the repository, which stands in pyproject.toml and nowhere else.

    >>> address('[project.urls]\\nRepository = "https://github.com/ada/gptcore"')
    'https://github.com/ada/gptcore'
    """
    try:
        return tomllib.loads(pyproject)["project"]["urls"]["Repository"]
    except KeyError:
        raise ValueError("pyproject.toml has no Repository under [project.urls]; write the address there") from None


def checked_address(url: str) -> str:
    """An address as badges need it; one that GitHub cannot have is refused.

    >>> checked_address("https://github.com/ada/gptcore.git")
    'https://github.com/ada/gptcore'
    """
    url = url.strip().removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[A-Za-z0-9]+(-[A-Za-z0-9]+)*/[\w.-]+", url, re.ASCII):
        raise ValueError(f"{url!r} is no address of a repository; write it as https://github.com/owner/name")
    return url


def with_address(pyproject: str, url: str) -> str:
    """pyproject.toml with another address; the rest of it stays as it was written."""
    old = f'"{address(pyproject)}"'
    before, rest = pyproject.split("[project.urls]", 1)
    return before + "[project.urls]" + rest.replace(old, f'"{checked_address(url)}"', 1)


def badges(url: str, path: str, what: str = "this chapter") -> str:
    """The two badges that open the notebook `path` in Colab and in Kaggle."""
    blob = f"{url.removeprefix('https://github.com/')}/blob/{BRANCH}/{path}"
    return (f"[![Open {what} in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
            f"(https://colab.research.google.com/github/{blob}) "
            f"[![Open {what} in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]"
            f"(https://kaggle.com/kernels/welcome?src=https://github.com/{blob})")


def setup_cell(url: str) -> str:
    """The source of the setup cell, the same in every notebook."""
    return SETUP_CELL.replace("ADDRESS", url)


def stamp(nb: NotebookNode, path: str, url: str) -> NotebookNode:
    """A copy of the notebook at `path` with its badges and its setup cell; ValueError says what its first cells lack."""
    nb = copy.deepcopy(nb)
    if not nb.cells or nb.cells[0].cell_type != "markdown" or not re.search(r"^# \d\d · ", nb.cells[0].source, re.MULTILINE):
        raise ValueError(f"{path}: the first cell must be Markdown with the title `# NN · Title`")
    if len(nb.cells) < 2 or tags(nb.cells[1]) != ["setup"]:
        raise ValueError(f"{path}: the second cell must be a code cell with the tag `setup`; its source is stamped")
    if not TIME.search(nb.cells[0].source):
        raise ValueError(f"{path}: the first cell needs the line `Time: ? on two CPU cores.`; the time is stamped")
    title = re.search(r"^# ", nb.cells[0].source, re.MULTILINE).start()
    nb.cells[0].source = badges(url, path) + "\n\n" + nb.cells[0].source[title:]
    nb.cells[1].source = setup_cell(url)
    return nb


def stamp_time(nb: NotebookNode, seconds: float) -> NotebookNode:
    """A copy that says how long it computes, in minutes; a time near the border between two keeps what was said before."""
    nb = copy.deepcopy(nb)
    said = TIME.search(nb.cells[0].source)[0]
    if said not in (near := [sentence(seconds + off) for off in (0, -10, 10)]):
        nb.cells[0].source = nb.cells[0].source.replace(said, near[0])
    return nb


def sentence(seconds: float) -> str:
    minutes = round(seconds / 60)
    amount = "under a minute" if seconds < 45 else f"about {max(minutes, 1)} minute{'s' * (minutes > 1)}"
    return f"Time: {amount} of computing on two CPU cores."


def chapter_row(nb: NotebookNode, name: str, url: str) -> str:
    """The row of the README's table for the complete edition `name`.ipynb."""
    number, title, promise = re.search(r"^# (\d\d) · (.*)\n+((?:.+\n?)*)", nb.cells[0].source, re.MULTILINE).groups()
    promise = relink(" ".join(promise.split()), "notebooks", ".").replace("|", "\\|")
    said = TIME.search(nb.cells[0].source)[0]
    minutes = "under 1" if "under a minute" in said else (re.search(r"\d+", said) or ["?"])[0]
    do = f"notebooks/exercises/{name}.ipynb"
    opened = badges(url, do, f"the exercises of chapter {number}")
    return f"| {number} | [{title}](notebooks/{name}.ipynb) | {promise} | {minutes} | [exercises]({do}) {opened} |"


def readme(text: str, rows: list[str]) -> str:
    """The README with its chapter table made anew."""
    if not CHAPTERS.search(text):
        raise ValueError("README.md needs the lines `<!-- chapters -->` and `<!-- /chapters -->` around the chapter table")
    table = ["|  | read | what it is about | minutes of computing | do |", "|---|---|---|---|---|", *rows]
    return CHAPTERS.sub(lambda _: "\n".join(table) + "\n", text)


def data_readme(text: str, file: str, content: bytes) -> str:
    """data/README.md with the checksum of a generated file in its row; a file without a row gets one."""
    digest = hashlib.sha256(content).hexdigest()
    row = re.compile(rf"^(\| `{re.escape(file)}` \|.*`)[0-9a-f]{{64}}(` \|)$", re.MULTILINE)
    if row.search(text):
        return row.sub(rf"\g<1>{digest}\g<2>", text)
    end = [*re.finditer(r"^\| `.*`[0-9a-f]{64}` \|\n", text, re.MULTILINE)][-1].end()
    return f"{text[:end]}| `{file}` | what the notebooks measured | written by `make notebooks` | `{digest}` |\n{text[end:]}"
