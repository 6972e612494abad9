"""tools.notebooks, conftest.py and the Makefile, each tried on a tiny course in a temporary folder."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import nbformat.v4 as v4
import pytest
from nbformat import NotebookNode

from tools import end, notebooks, stamps
from tools.editions import emptied_build, emptied_exercise, relink

ROOT = notebooks.ROOT
URL = "https://github.com/ada/gptcore"
HEADER = ("badges\n\n# 98 · A trial\n\nWhat you | build, see\n[this](../data/README.md).\n\n"
          "Time: ? on two CPU cores.\n\nMore.")


def code(source: str, *tags: str, **more) -> NotebookNode:
    return v4.new_code_cell(source, metadata={"tags": list(tags)} if tags else {}, **more)


def chapter(*cells: NotebookNode, header: str = HEADER) -> NotebookNode:
    return v4.new_notebook(cells=[v4.new_markdown_cell(header), code("setup", "setup"), *cells])


@pytest.fixture
def course(tmp_path) -> Path:
    """A repository with all that the tools look at and one tiny chapter."""
    for name in ("gptcore", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "requirements-dev.txt", "constraints.txt", "conftest.py", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "README.md").write_text("# A course\n\n<!-- chapters -->\n<!-- /chapters -->\n\nThe end.\n")
    (tmp_path / "data").mkdir()
    tables = f"| file |\n|---|\n| `a.txt` | x | `{'0' * 64}` |\n\nThe end.\n\n| another table |\n|---|\n| `b` | y |\n"
    (tmp_path / "data/README.md").write_text(tables)
    put(tmp_path, chapter(code("print('one')\nprint('two')"), code("def f(x):\n    return x + 1", "exercise:f")))
    return tmp_path


def put(course: Path, nb: NotebookNode, name: str = "98_trial") -> Path:
    path = course / f"notebooks/{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_text(notebooks.dumps(nb), encoding="utf-8")
    return path


def everything(course: Path) -> dict[str, bytes]:
    return {path.relative_to(course).as_posix(): path.read_bytes() for path in sorted(course.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts and path.parts[-2] != ".pytest_cache"}


def tool(course: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "tools.notebooks", *arguments], cwd=course, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": ""} | variables)


# ------------------------------------------------------------------------------------------------------ one normal form

def messy() -> NotebookNode:
    stream = [v4.new_output("stream", name=name, text=text)
              for name, text in zip(["stdout", "stderr", *["stdout"] * 3], ["a", "12 % 3.4 s", "b\n", "c", "d"])]
    figure = v4.new_output("display_data", {"image/png": "iVBO\n", "text/plain": "<Figure>"},
                           metadata={"image/png": {"alt": "a line", "width": 3}, "needs_background": "light"})
    widget = v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "W"})
    value = v4.new_output("execute_result", {"text/plain": "3"}, execution_count=40)
    nb = v4.new_notebook(metadata={
        "kernelspec": {"name": "my-env", "display_name": "My"}, "language_info": {"name": "python", "version": "3.12.1"},
        "widgets": {"state": {}}, "jupytext": {"a": 1}, "accelerator": "GPU", "colab": {"gpuType": "T4", "provenance": []}})
    nb.cells = [v4.new_markdown_cell("# x\n\n", metadata={"editable": True}),
                code("1", execution_count=7, outputs=stream[:3]),
                code("1", "check:x", execution_count=31, outputs=[stream[4], figure, widget, stream[3]]), code("  \n"),
                code("later"), code("1 + 2\n", execution_count=40, outputs=[value])]
    nb.cells[1].metadata["collapsed"] = True
    return nb


def test_normalise_leaves_what_was_written_and_printed():
    given = messy()
    nb = notebooks.normalise(given)
    assert given == messy_like(given), "the notebook given stays as it was"
    assert nb.metadata == {"accelerator": "GPU", "colab": {"gpuType": "T4"}, "language_info": {"name": "python"},
                           "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    assert [cell.source for cell in nb.cells] == ["# x", "1", "1", "later", "1 + 2"], "an empty cell is dropped"
    assert [cell.metadata for cell in nb.cells] == [{}, {}, {"tags": ["check:x"]}, {}, {}]
    assert [cell.execution_count for cell in nb.cells[1:]] == [1, 2, None, 3], "what was not run is not counted"
    assert [(each.name, each.text) for each in nb.cells[1].outputs] == [("stdout", "ab\n")]
    before, figure, widget, text = nb.cells[2].outputs
    assert figure.metadata == {"image/png": {"alt": "a line"}} and figure.data["image/png"] == "iVBO"
    assert widget.data == {"text/plain": "W"} and (before.text, text.text) == ("d", "c")
    assert nb.cells[4].outputs[0].execution_count == 3


def messy_like(nb: NotebookNode) -> NotebookNode:
    """The same with the random ids of `nb`."""
    other = messy()
    for mine, theirs in zip(other.cells, nb.cells, strict=True):
        mine.id = theirs.id
    return other


def test_normalise_is_idempotent_and_its_bytes_do_not_depend_on_the_ids():
    once = notebooks.normalise(messy())
    assert notebooks.dumps(notebooks.normalise(once)) == notebooks.dumps(once)
    assert notebooks.dumps(notebooks.normalise(messy())) == notebooks.dumps(once)
    text = notebooks.dumps(chapter(v4.new_markdown_cell("Ünï · ∂")))
    assert "Ünï · ∂" in text and text.endswith("}\n") and not text.endswith("\n\n") and text.startswith('{\n "cells": [')


def test_an_id_changes_only_with_its_cell():
    cells = [code("a"), code("b"), v4.new_markdown_cell("a"), code("a"), code("a")]
    before = notebooks.normalise(v4.new_notebook(cells=cells))
    ids = [cell.id for cell in before.cells]
    assert all(re.fullmatch("[0-9a-f]{8}", each) for each in ids[:3]) and len(set(ids)) == 5
    assert ids[3:] == [f"{ids[0]}-2", f"{ids[0]}-3"], "repeats are numbered"
    before.cells[1].source = "c"
    before.cells[0].outputs = [v4.new_output("stream", text="new")]
    after = [cell.id for cell in notebooks.normalise(before).cells]
    assert [one == other for one, other in zip(ids, after, strict=True)] == [True, False, True, True, True]


def test_what_is_no_notebook_is_named(tmp_path):
    (tmp_path / "x.ipynb").write_text("{")
    with pytest.raises(ValueError, match=r"x\.ipynb is no notebook"):
        notebooks.read(tmp_path / "x.ipynb")


# -------------------------------------------------------------------------------------------------- the exercise edition

FUNCTIONS = {
    "a function": ("def f(x):\n    return x", "def f(x):\n    ...  # your turn"),
    "a docstring": ('def f(x):\n    """Says.\n\n    More.\n    """\n    return x',
                    'def f(x):\n    """Says.\n\n    More.\n    """\n    ...  # your turn'),
    "first comments are hints, later ones answers": (
        "def f(x):  # (B, T)\n    # a hint\n\n    y = x  # none\n    # none\n    return y\n    # none\n\n# outside",
        "def f(x):  # (B, T)\n    # a hint\n\n    ...  # your turn\n\n# outside"),
    "a signature of many lines": (
        "def f(\n    x: int,  # one\n    *,\n    y={'a': (1, 2)},\n) -> dict[str, int]:\n    return {}",
        "def f(\n    x: int,  # one\n    *,\n    y={'a': (1, 2)},\n) -> dict[str, int]:\n    ...  # your turn"),
    "decorators": ("@cache\n@other(1)\ndef f(x):\n    return x", "@cache\n@other(1)\ndef f(x):\n    ...  # your turn"),
    "nested, the first of it decorated": (
        "def f(x):\n    @cache\n    def g(y):\n        return y\n    return g(x)", "def f(x):\n    ...  # your turn"),
    "one line": ("def ü(x='ü'): return x", "def ü(x='ü'): ...  # your turn"),
    "a string of many lines": ('def f():\n    return """\na\n"""\n', "def f():\n    ...  # your turn\n"),
    "async": ("async def f():\n    return 1", "async def f():\n    ...  # your turn"),
    "imports stay": ("import math\n\n\ndef f(x):\n    return math.exp(x)\n",
                     "import math\n\n\ndef f(x):\n    ...  # your turn\n"),
}


@pytest.mark.parametrize("given, expected", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_body_of_a_function_is_emptied_and_all_else_stays(given, expected):
    assert emptied_exercise(given) == expected
    lines = expected.split("\n")
    top = next(i for i, line in enumerate(lines) if line.startswith(("def", "async", "@")))
    lines.insert(top, '@your_turn("gptcore.m.f")')
    assert emptied_build(given, "gptcore.m.f") == "\n".join(lines)


CLASS = dedent('''\
    @dataclass
    class ThingByHand(Module):
        """A thing."""
        size: int = 3  # stays

        def __init__(self, x):
            self.x = x  # stays

        @staticmethod
        def make(x):
            """Make one."""
            # a hint
            return Thing(x)

        @property
        def double(self): return 2 * self.x

        def helper(self):
            return 1  # stays
    ''')


@pytest.mark.parametrize("tag", ["gptcore.m.Thing:make,double", "gptcore.m.Thing:double+make"])
def test_of_a_class_the_named_methods_are_emptied(tag):
    expected = CLASS.replace("        return Thing(x)\n", "        ...  # your turn\n")
    expected = expected.replace("def double(self): return 2 * self.x", "def double(self): ...  # your turn")
    assert emptied_build(CLASS, tag) == '@your_turn("gptcore.m.Thing")\n' + expected
    assert "return 1  # stays" in expected and "self.x = x  # stays" in expected


def test_values_are_emptied():
    given = "k = 3\n# say\nanswer: int = (\n    k +\n    1  # why\n)  # because\nfor i in range(2):\n    t = i\nü = 'ü'"
    assert emptied_exercise(given) == ("k = ...  # your turn\n# say\nanswer: int = ...  # your turn\nfor i in range(2):\n"
                                       "    t = i\nü = ...  # your turn")
    assert emptied_exercise("x = y = (1,\n  2)") == "x = y = ...  # your turn"
    assert emptied_exercise("# first\nanswer = 'a = b'  # the answer") == "# first\nanswer = ...  # your turn"


@pytest.mark.parametrize("source, tag, message", [
    ("x = 1", "builds:gptcore.m.f", "exactly one function or class, not 0"),
    ("def f(): return 1\ndef g(): return 2", "builds:gptcore.m.f", "exactly one function or class, not 2"),
    ("class A:\n    def f(self): return 1", "builds:gptcore.m.A", "name the methods to be written"),
    ("class A:\n    def __init__(self): self.x = 1", "builds:gptcore.m.A:__init__", "never __init__"),
    ("class A:\n    def f(self): return 1", "builds:gptcore.m.A:g", "A has no method g; it has f"),
    ("def f(): return 1", "builds:gptcore.m.f:g", "f is a function"),
    ("%time f()", "builds:gptcore.m.f", "invalid syntax"),
    ("a, b = 1, 2", "exercise:x", "assign one name at a time"),
    ("x.y = 1", "exercise:x", "assign one name at a time"),
    ("class A: pass", "exercise:x", "a class cannot be emptied here"),
    ("print(1)", "exercise:x", "no function and no `name = value`"),
])
def test_what_cannot_be_emptied_is_named_with_its_cell(source, tag, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        notebooks.exercise_edition(chapter(code(source, tag)), "98_trial")
    assert "98_trial, cell 3" in str(caught.value) and source in str(caught.value)


def test_the_edition_tells_what_it_is_and_its_links_lead_where_they_led():
    text = v4.new_markdown_cell('[a](../gptcore/gpt.py) [b](01_bigram.ipynb#x) ![c](../figures/c.png "t") '
                                '<img src="../figures/d.png"> [e](#e) [f](https://a.org/../b)')
    given = chapter(text, code("print(1)", execution_count=2, outputs=[v4.new_output("stream", text="1\n")]))
    nb = notebooks.exercise_edition(given, "98_trial")
    assert "exercise edition" in nb.cells[0].source and "[The complete edition](../98_trial.ipynb)" in nb.cells[0].source
    assert "[this](../../data/README.md)" in nb.cells[0].source and given.cells[0].source == HEADER
    assert nb.cells[2].source == ('[a](../../gptcore/gpt.py) [b](01_bigram.ipynb#x) ![c](../../figures/c.png "t") '
                                  '<img src="../../figures/d.png"> [e](#e) [f](https://a.org/../b)')
    assert (nb.cells[3].outputs, nb.cells[3].execution_count) == ([], None) and given.cells[3].outputs
    assert relink("[b](01_b.ipynb) [d](../data/x)", "notebooks", ".") == "[b](notebooks/01_b.ipynb) [d](data/x)"


# ------------------------------------------------------------------------------------------------------ stamps, address

def test_stamps():
    nb = stamps.stamp(chapter(), "notebooks/98_trial.ipynb", URL)
    first, rest = nb.cells[0].source.split("\n", 1)
    assert "(https://colab.research.google.com/github/ada/gptcore/blob/main/notebooks/98_trial.ipynb)" in first
    assert "(https://kaggle.com/kernels/welcome?src=https://github.com/ada/gptcore/blob/main/notebooks/98_trial.ipynb)" \
        in first
    assert rest == HEADER.removeprefix("badges\n")
    assert nb.cells[1].source == stamps.setup_cell(URL) and f'"{URL}"' in nb.cells[1].source
    assert stamps.stamp(nb, "notebooks/98_trial.ipynb", URL) == nb
    compile(nb.cells[1].source, "setup", "exec")


@pytest.mark.parametrize("cells, message", [
    ([], "the first cell must be Markdown"),
    ([v4.new_markdown_cell("# None\n\nTime: ? on two CPU cores."), code("", "setup")], "the first cell must be Markdown"),
    ([v4.new_markdown_cell(HEADER), code("x")], "the second cell must be a code cell with the tag `setup`"),
    ([v4.new_markdown_cell(HEADER.replace("Time", "Tim")), code("x", "setup")], "needs the line `Time: ?"),
])
def test_a_notebook_without_its_first_cells_is_refused(cells, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        stamps.stamp(v4.new_notebook(cells=cells), "notebooks/98_trial.ipynb", URL)


def test_the_time_is_rounded_and_steady():
    def after(*runs: float) -> str:
        nb = chapter()
        for seconds in runs:
            nb = stamps.stamp_time(nb, seconds)
        return re.search(r"^Time: (.*) of computing on two CPU cores\.$", nb.cells[0].source, re.MULTILINE)[1]
    assert [after(t) for t in (3, 44, 46, 89, 91, 150.1)] == [
        "under a minute", "under a minute", "about 1 minute", "about 1 minute", "about 2 minutes", "about 3 minutes"]
    assert after(44, 50) == "under a minute" and after(50, 44) == "about 1 minute", "near the border nothing changes"
    assert after(44, 60) == "about 1 minute" and after(50, 30) == "under a minute"


def test_the_readmes_table():
    nb = stamps.stamp_time(chapter(), 70)
    row = stamps.chapter_row(nb, "98_trial", URL)
    assert row.startswith(
        "| 98 | [A trial](notebooks/98_trial.ipynb) | What you \\| build, see [this](data/README.md). | 1 | ")
    assert "/github/ada/gptcore/blob/main/notebooks/exercises/98_trial.ipynb)" in row and "kaggle.com" in row
    assert "| under 1 |" in stamps.chapter_row(stamps.stamp_time(chapter(), 7), "98_trial", URL)
    text = stamps.readme("a\n<!-- chapters -->\nold\n<!-- /chapters -->\nb\n", [row])
    assert text.startswith("a\n<!-- chapters -->\n|") and text.endswith(f"\n{row}\n<!-- /chapters -->\nb\n")
    assert "old" not in text
    with pytest.raises(ValueError, match=r"README\.md needs the lines"):
        stamps.readme("nothing", [])


def test_checksums_of_generated_data(course):
    (course / "data/ladder.json").write_text("{}")
    assert "data/README.md" in notebooks.stale(course)
    notebooks.write(notebooks.wanted(course))
    first = (course / "data/README.md").read_text()
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert first.count(digest) == 1 and f"| `a.txt` | x | `{'0' * 64}` |\n| `ladder.json` |" in first
    own = first.replace("what the notebooks measured", "my words")
    (course / "data/README.md").write_text(own.replace(digest, "1" * 64))
    notebooks.write(notebooks.wanted(course))
    assert (course / "data/README.md").read_text() == own


@pytest.mark.parametrize("url", [
    "http://github.com/a/b", "https://gitlab.com/a/b", "https://github.com/a", "https://github.com/a/b/c", "", "a/b",
    "https://github.com/-a/b", "https://github.com/a-/b", "https://github.com/a/b c", 'https://github.com/a/b"',
    "https://github.com/a/b?x=1"])
def test_what_is_no_address_changes_nothing(course, url):
    before = everything(course)
    with pytest.raises(ValueError, match=r"write it as https://github\.com/owner/name"):
        notebooks.change_address(url, course)
    assert everything(course) == before


def test_one_command_changes_the_address_everywhere(course):
    old = stamps.address((course / "pyproject.toml").read_text())
    notebooks.write(notebooks.wanted(course))
    before = {name for name, text in everything(course).items() if old.encode() in text}
    assert before >= {"pyproject.toml", "README.md", "notebooks/98_trial.ipynb", "notebooks/exercises/98_trial.ipynb"}
    done = tool(course, "address", "https://github.com/grace-h/a.course/")
    assert done.returncode == 0 and "wrote pyproject.toml\n" in done.stdout and "wrote README.md\n" in done.stdout
    after = everything(course)
    assert not [name for name, text in after.items() if old.encode() in text or b"owner-not-decided" in text]
    assert before == {name for name, text in after.items() if b"https://github.com/grace-h/a.course" in text}
    assert notebooks.stale(course) == []
    changed = (course / "pyproject.toml").read_text().replace("https://github.com/grace-h/a.course", old)
    assert changed == (ROOT / "pyproject.toml").read_text(), "nothing else in pyproject.toml changes"


def test_stale_names_what_is_not_as_it_must_be(course):
    assert notebooks.stale(course) == ["notebooks/98_trial.ipynb", "notebooks/exercises/98_trial.ipynb", "README.md"]
    changed = [path.name for path in notebooks.write(notebooks.wanted(course))]
    assert changed == ["98_trial.ipynb", "98_trial.ipynb", "README.md"]
    assert notebooks.stale(course) == [] and notebooks.write(notebooks.wanted(course)) == []
    path, edition = course / "notebooks/98_trial.ipynb", course / "notebooks/exercises/98_trial.ipynb"
    nb = notebooks.read(path)
    nb.cells[3].source = nb.cells[3].source.replace("(x)", "(y)")
    path.write_text(notebooks.dumps(notebooks.normalise(nb)), encoding="utf-8")
    assert notebooks.stale(course) == ["notebooks/exercises/98_trial.ipynb"]
    notebooks.write(notebooks.wanted(course))
    shutil.copy(edition, edition.with_name("97_gone.ipynb"))
    assert notebooks.stale(course) == ["notebooks/exercises/97_gone.ipynb"]
    assert tool(course, "exercises").returncode == 0 and not edition.with_name("97_gone.ipynb").exists()
    edition.unlink()
    assert notebooks.stale(course) == ["notebooks/exercises/98_trial.ipynb"]


# -------------------------------------------------------------------------------------------------------------- running

def test_running_twice_gives_the_same_bytes(course):
    cells = [code("import os, sys\nprint({k: os.environ[k] for k in ('GPTCORE_DIAL', 'GPTCORE_OFFLINE', 'GPTCORE_KEEP')})"),
             code("print(os.listdir(os.environ['GPTCORE_DATA']), hash('a'), os.path.basename(os.getcwd()))"),
             code("import time\nprint(time.time(), file=sys.stderr)"),
             code("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"), code("3")]
    path = put(course, chapter(*cells))
    done = tool(course, "run")
    assert done.returncode == 0, done.stderr
    assert "98_trial: cell 6 of 6, " in done.stdout and "wrote README.md" in done.stdout
    assert "minute of computing on two CPU cores." in notebooks.read(path).cells[0].source
    once = everything(course)
    first, second, stderr, figure, value = [cell.outputs for cell in notebooks.read(path).cells[2:]]
    assert first[0].text == "{'GPTCORE_DIAL': 'cpu', 'GPTCORE_OFFLINE': '1', 'GPTCORE_KEEP': '1'}\n"
    assert second[0].text.startswith("[] ") and second[0].text.endswith(" notebooks\n") and stderr == []
    assert set(figure[0].data) == {"image/png", "text/plain"} and value[0].data["text/plain"] == "3"
    assert notebooks.stale(course) == []
    assert tool(course, "run", "98", GPTCORE_DIAL="gpu", MPLBACKEND="agg").returncode == 0
    assert everything(course) == once


def test_a_failing_notebook_stays_as_it_was(course):
    put(course, chapter(code("a = 1"), v4.new_markdown_cell("text"), code("print('before')\nb = a / 0")))
    put(course, chapter(code("print('never')")), "99_after")
    before = everything(course)
    done = tool(course, "run")
    assert done.returncode == 1 and everything(course) == before
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)
    assert "98_trial, cell 3 of 3 (number 5 with the text cells) failed" in plain and "b = a / 0" in plain
    assert "ZeroDivisionError: division by zero" in plain and "Traceback (most recent call last)\n  File" not in plain


def test_a_stopped_notebook_stays_as_it_was(course):
    put(course, chapter(code("import time\ntime.sleep(60)")))
    before = everything(course)
    with subprocess.Popen([sys.executable, "-m", "tools.notebooks", "run"], cwd=course, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert next(line for line in running.stdout if "cell 2 of 2" in line)
        running.send_signal(signal.SIGINT)
        message = running.communicate(timeout=30)[1]
    assert running.returncode and "98_trial, cell 2 of 2: stopped by Ctrl-C" in message
    assert everything(course) == before


def test_only_the_chapters_asked_for_are_run(course):
    other = put(course, chapter(code("print('never')")), "99_after")
    done = tool(course, "run", "98")
    assert done.returncode == 0 and "99_after: cell" not in done.stdout
    assert all(cell.execution_count is None for cell in notebooks.read(other).cells if cell.cell_type == "code")
    done = tool(course, "run", "97")
    assert done.returncode == 1 and "there is no chapter 97; there are 98, 99" in done.stderr


def test_a_slow_chapter_is_warned_of(course, monkeypatch, capsys):
    monkeypatch.setattr(notebooks, "execute", lambda *_, **__: 130.0)
    notebooks.run((), course)
    assert "warning: 98_trial took 130 s, a chapter may take 120 s" in capsys.readouterr().out


def test_a_course_without_notebooks_says_so(course):
    (course / "notebooks/98_trial.ipynb").unlink()
    for command in ("run", "exercises", "stamp"):
        done = tool(course, command)
        assert done.returncode == 1 and "there is no notebook" in done.stderr
    for target in ("test", "test-portable", "test-colab"):
        made = subprocess.run(["make", "--dry-run", target], cwd=course, capture_output=True, text=True)
        assert made.returncode and "there is no notebook" in made.stderr


def test_optional_packages_are_hidden_from_notebooks(course, tmp_path):
    """An installed one would take the branch of a cell whose output nobody else gets."""
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed/torchao.py").write_text("found = True\n")
    source = ("from importlib.util import find_spec\n\nprint(find_spec('torchao'))\n"
              "try:\n    import torchao\n    print(torchao.found)\nexcept ModuleNotFoundError as why:\n    print(why)")
    path = put(course, chapter(code(source)))
    assert tool(course, "run", PYTHONPATH=str(tmp_path / "installed")).returncode == 0
    assert notebooks.read(path).cells[2].outputs[0].text == "None\nNo module named 'torchao'\n"


def test_what_make_installs_is_not_hidden():
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert not pinned & set(notebooks.OPTIONAL)


# --------------------------------------------------------------------------------------------------- pytest and conftest

def nbval(course: Path, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "notebooks", "-p", "no:cacheprovider", *more], cwd=course,
        capture_output=True, text=True, env=os.environ | {"GPTCORE_DIAL": "gpu", "GPTCORE_KEEP": "1", "UNDER_TEST": "1"})


def test_nbval_compares_the_complete_editions_in_their_environment(course):
    path = put(course, chapter(
        code("import os, sys\nassert os.environ['GPTCORE_KEEP'] == '0' or 'UNDER_TEST' not in os.environ\nprint(id({}))",
             "nbval-ignore-output"),
        code("print(os.environ['GPTCORE_DIAL'], os.listdir(os.environ['GPTCORE_DATA']))"),
        code("import time\nprint(time.time(), file=sys.stderr)"), code("print(1)", "nbval-ignore-output")))
    assert tool(course, "run").returncode == 0
    before = everything(course)
    done = nbval(course)
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout
    assert "notebooks/98_trial.ipynb: 2 of 3 (67%)" in done.stdout, "the share of what is not compared"
    assert everything(course) == before
    nb = json.loads(path.read_text())
    nb["cells"][3]["outputs"][0]["text"] = ["gpu []\n"]
    path.write_text(json.dumps(nb))
    done = nbval(course, "-n", "1", "--dist", "loadfile")
    assert done.returncode == 1 and "1 failed, 4 passed" in done.stdout, "a changed output is found"
    assert "98_trial.ipynb: 2 of 3 (67%)" in done.stdout


def test_a_tool_that_trains_ends_with_its_status_or_a_word_on_what_was_saved():
    from gptcore.training import Interrupted
    with pytest.raises(SystemExit) as ended:
        end(lambda: 3)
    assert ended.value.code == 3

    def stopped() -> int:
        raise Interrupted("after step 5")

    with pytest.raises(SystemExit, match="the same command goes on"):
        end(stopped)
