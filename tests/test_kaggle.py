"""What `make kaggle` packs, used as on a Kaggle machine without a network: a bare Python, no index, no repository."""
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import nbformat
import pytest

from tools import kaggle

DEAD = {"PIP_NO_INDEX": "1", "https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}  # nobody listens


@pytest.fixture(scope="module")
def attached(tmp_path_factory) -> Path:
    """The archive as Kaggle shows it: unpacked into a folder of the inputs."""
    folder = tmp_path_factory.mktemp("kaggle")
    try:
        kaggle.build(folder / "course.zip")
    except OSError as error:
        if "No matching distribution" in str(error) or "Could not find a version" in str(error):
            pytest.skip("the package index is out of reach")
        raise
    with zipfile.ZipFile(folder / "course.zip") as packed:
        packed.extractall(folder / "input/datasets/someone/a-name")
    return folder / "input"


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """A Python that has what Kaggle's image has, and neither gptcore nor the packages that the archive brings."""
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", folder / "bare"], check=True)
    (packages := folder / "packages").mkdir()
    brought = {name.replace("-", "_") for name in kaggle.PURE}
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name.split("-")[0].split(".")[0] not in brought | {"pip", "_distutils_hack", "distutils_precedence"}:
            (packages / entry.name).symlink_to(entry)
    site, = (folder / "bare/lib").glob("python*/site-packages")
    (site / "image.pth").write_text(f"{packages}\n")
    return folder / "bare/bin/python"


def run(python: Path, *arguments, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "GPTCORE_DATA") and not name.startswith("PIP_")}
    return subprocess.run([python, *map(str, arguments)], cwd=cwd, text=True, capture_output=True,
                          env=kept | DEAD | {"OMP_NUM_THREADS": "1"} | variables)


def test_the_archive_holds_the_course_and_nothing_of_this_machine(attached):
    course = attached / "datasets/someone/a-name"
    assert {path.name for path in course.iterdir()} == {*kaggle.PARTS, "wheels"}
    assert not [path for path in course.rglob("*") if path.name in ("__pycache__", ".ipynb_checkpoints", "runs")]
    assert {path.name.split("-")[0] for path in (course / "wheels").iterdir()} == {
        "gptcore", *(name.replace("-", "_") for name in kaggle.PURE)}
    assert all(path.name.endswith("-none-any.whl") for path in (course / "wheels").iterdir())


def test_a_chapter_runs_from_the_archive_alone(attached, image, tmp_path):
    """The setup cell finds the data set and installs what is missing from its wheels."""
    before = run(image, "-c", "import jaxtyping", cwd=tmp_path)
    assert before.returncode and "ModuleNotFoundError" in before.stderr, "the image is not bare"
    chapter = attached / "datasets/someone/a-name/notebooks/00_start_here.ipynb"
    text = chapter.read_text(encoding="utf-8").replace("/kaggle/input", str(attached))
    notebook = nbformat.reads(text, 4)
    setup = next(cell for cell in notebook.cells if "setup" in cell.metadata.get("tags", []))
    # The package looks for wheels where Kaggle has its inputs, which is elsewhere here.
    setup.source = setup.source.replace("setup.install_missing()",
                                        f"setup.KAGGLE_INPUT = Path({str(attached)!r})\nsetup.install_missing()")
    nbformat.write(notebook, tmp_path / "chapter.ipynb")
    done = run(image, "-m", "nbconvert", "--to", "notebook", "--execute", "--output", "done.ipynb", "chapter.ipynb",
               cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    cells = [cell for cell in nbformat.read(tmp_path / "done.ipynb", 4).cells if cell.cell_type == "code"]
    printed = "".join(output.get("text", "") for output in cells[0].outputs)
    assert printed.startswith("installing ") and "jaxtyping" in printed
    assert all(cell.execution_count for cell in cells)


def test_the_wheel_installs_without_an_index_and_finds_the_data(attached, image, tmp_path):
    course = attached / "datasets/someone/a-name"
    done = run(image, "-m", "pip", "install", "--quiet", "--target", tmp_path / "site", "--no-deps", "--find-links",
               course / "wheels", "gptcore", *kaggle.PURE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    script = ("import gptcore; from gptcore import corpora; from gptcore.pretrained import load_pretrained\n"
              "load_pretrained(); print(gptcore.__file__, corpora.load('playhouse').source, sep='\\n')")
    done = run(image, "-c", script, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"), GPTCORE_DATA=str(course / "data"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "site/gptcore/__init__.py"), "from the repository"]
    lost = run(image, "-c", script, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert lost.returncode and "stored model is not whole" in lost.stderr
