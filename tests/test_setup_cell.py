"""The setup cell as it stands in the notebooks: at home, in the cloud, with and without a network.

The cell has no switch for tests. It is run in empty folders, and git is told that the public address lies on this disk.
"""
import hashlib
import os
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from gptcore.course import setup
from tools.notebooks import ROOT
from tools.stamps import address, setup_cell

URL = address((ROOT / "pyproject.toml").read_text())
CELL = setup_cell(URL)
WHERE = "\nimport gptcore\nprint(gptcore.__file__)"
DEAD = "http://127.0.0.1:9"  # nobody listens there


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """The working tree as git would add it, in a repository of its own."""
    folder = tmp_path_factory.mktemp("tree") / "gptcore-main"
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "notebooks/exercises").mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def published(tree, tmp_path_factory) -> dict[str, str]:
    """Environment in which the public address is a bare repository on this disk, and nothing else can be reached."""
    return serve(tree, tmp_path_factory.mktemp("served") / "gptcore.git")


def serve(tree: Path, bare: Path) -> dict[str, str]:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "as it is"]):
        subprocess.run([*git, *command], cwd=tree, check=True)
    subprocess.run(["git", "clone", "--quiet", "--bare", tree, bare], check=True)
    (tree / ".git").rename(bare.with_name("git-of-tree"))  # as a download has none
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{bare.as_uri()}.insteadOf", "GIT_CONFIG_VALUE_0": URL,
            **OFFLINE}


OFFLINE = {"https_proxy": DEAD, "http_proxy": DEAD, "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"{DEAD}/simple",
           "PIP_NO_CACHE_DIR": "1"}


def run(cell: str, folder: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a cell as a kernel that was started in `folder` would."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([sys.executable, "-c", cell], cwd=folder, env=environment | variables,
                          capture_output=True, text=True)


@pytest.fixture
def empty(tmp_path) -> Path:
    folder = tmp_path / "an empty folder"
    folder.mkdir()
    return folder


def wheel(folder: Path, name: str) -> None:
    """A package of one line, as pip installs it."""
    info = f"{name}-1.0.dist-info"
    files = {f"{name}.py": "here = True\n",
             f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = "".join(f"{path},sha256={urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},"
                     f"{len(text)}\n" for path, text in files.items())
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as file:
        for path, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            file.writestr(path, text)


def test_the_cell_is_short():
    assert len(CELL.splitlines()) <= 16 and all(len(line) <= 125 for line in CELL.splitlines())


def test_in_the_cloud_it_clones_once(published, empty):
    for environment in (published, OFFLINE):  # the second time needs no network
        done = run(CELL + WHERE, empty, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{empty / 'gptcore-clone' / 'gptcore' / '__init__.py'}\n"
    assert [path.name for path in empty.iterdir()] == ["gptcore-clone"]
    assert (empty / "gptcore-clone/.git/shallow").is_file()


def test_twice_in_one_kernel(published, empty):
    done = run(f"{CELL}\n{CELL}{WHERE}", empty, **published)
    assert (done.returncode, done.stderr) == (0, "") and "gptcore-clone" in done.stdout


def test_another_gptcore_on_the_path_does_not_get_in_the_way(published, empty, tmp_path):
    (tmp_path / "site/gptcore").mkdir(parents=True)
    (tmp_path / "site/gptcore/__init__.py").touch()
    done = run(CELL + WHERE, empty, **published, PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 0 and "gptcore-clone" in done.stdout


@pytest.mark.parametrize("place", ["notebooks", "notebooks/exercises"])
def test_at_home_it_prints_nothing_and_reaches_for_nothing(tree, place):
    done = run(CELL, tree / place, **OFFLINE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run(CELL + WHERE, tree / place, **OFFLINE).stdout == f"{tree / 'gptcore/__init__.py'}\n"
    assert not (tree / place / "gptcore-clone").exists()


def test_without_a_network_it_says_what_to_do(empty):
    done = run(CELL, empty, **OFFLINE)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode and "Switch the internet on" in last and f"attach {URL} as a data set" in last
    assert "CalledProcessError" not in done.stderr and "unable to access" in done.stderr
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("place", ["", "some-name/gptcore-main", "datasets/someone/some-name/gptcore-main"])
def test_an_attached_data_set_is_the_offline_road(tree, empty, tmp_path, place):
    attached = tmp_path / "input"
    (attached / place).parent.mkdir(parents=True, exist_ok=True)
    (attached / place).symlink_to(tree) if place else attached.symlink_to(tree)
    cell = CELL.replace("/kaggle/input", str(attached))
    assert cell != CELL
    done = run(cell + WHERE, empty, **OFFLINE)
    assert (done.returncode, done.stderr) == (0, "") and str(attached) in done.stdout
    assert list(empty.iterdir()) == []


@pytest.fixture(scope="module")
def lacking(tree, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """The same repository, which requires one more package that is not installed."""
    copy = tmp_path_factory.mktemp("lacking") / "gptcore"
    subprocess.run(["cp", "-r", tree, copy], check=True)
    with open(copy / "requirements.txt", "a") as file:
        file.write("gptcore_lacks_this>=1.0  # a fake\n")
    return copy, serve(copy, tmp_path_factory.mktemp("served") / "gptcore.git")


def test_what_is_missing_is_installed_and_nothing_else(lacking, empty, tmp_path):
    wheel(tmp_path / "wheels", "gptcore_lacks_this")
    (site := tmp_path / "site").mkdir()
    environment = lacking[1] | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels"), "PIP_TARGET": str(site)}
    used = f"\nsys.path.append({str(site)!r})\nimport gptcore_lacks_this\nprint(gptcore_lacks_this.here)"
    # The folder is known to this Python before pip fills it, as a kernel knows its site-packages.
    first = f"import sys, importlib.util\nsys.path.append({str(site)!r})\nimportlib.util.find_spec('gptcore_lacks_this')\n"
    done = run(first + CELL + used, empty, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "installing gptcore_lacks_this\nTrue\n"
    assert sorted(path.name for path in site.iterdir() if path.suffix != ".pyc" and path.name != "__pycache__") == [
        "gptcore_lacks_this-1.0.dist-info", "gptcore_lacks_this.py"]
    assert run(first + CELL + used, empty, **environment).stdout == "True\n"


def test_what_cannot_be_installed_is_named_with_the_way_out(lacking, empty):
    done = run(CELL, empty, **lacking[1])
    assert done.returncode and "gptcore_lacks_this could not be installed. Switch the internet on" in done.stderr
    assert "CalledProcessError" not in done.stderr


def test_at_home_nothing_is_installed_unasked(lacking, tmp_path):
    done = run(CELL, lacking[0] / "notebooks", **lacking[1], PIP_TARGET=str(tmp_path / "site"))
    assert done.returncode and "this Python lacks gptcore_lacks_this; start the notebooks with `make lab`" in done.stderr
    assert not (tmp_path / "site").exists()


def test_torch_and_jupyter_are_never_installed_and_wheels_of_a_data_set_are_used(monkeypatch, tmp_path):
    commands = []
    wheel(tmp_path / "input/my wheels", "regex")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(setup, "is_there", lambda name: name == "numpy")
    monkeypatch.setattr(setup, "KAGGLE_INPUT", tmp_path / "input")
    monkeypatch.setattr(setup.subprocess, "run", lambda command, **_: commands.append(command) or
                        subprocess.CompletedProcess(command, 0, "", ""))
    setup.install_missing()
    asked = {part for part in commands[0] if not part.startswith("-")}
    assert {"regex", "matplotlib>=3.8", "jaxtyping>=0.2.34"} <= asked
    assert f"--find-links={tmp_path / 'input/my wheels'}" in commands[0]
    assert not [part for part in asked if part.startswith(("torch", "jupyter", "nbval", "numpy"))]


def test_in_a_real_kernel(published, empty):
    """`make test-colab` runs this with the IPython and ipykernel that Colab has."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (
        CELL, "import gptcore, IPython, ipykernel as k\nprint(gptcore.__file__)\nprint(IPython.__version__, k.__version__)",
        'check.same(lambda x: 2 * x, lambda x: x + x, {"a half": (0.5,)})')])
    client = NotebookClient(nb, kernel_name="python3", resources={"metadata": {"path": str(empty)}})
    client.execute(env=os.environ | published, stderr=subprocess.DEVNULL)
    silent, where, same = (cell.outputs for cell in nb.cells)
    assert silent == []
    assert where[0].text.splitlines()[0] == str(empty / "gptcore-clone/gptcore/__init__.py")
    if ".venv-colab" in sys.prefix:
        assert where[0].text.splitlines()[1] == "7.34.0 6.17.1"
    assert same[0].text.startswith("same: ")
