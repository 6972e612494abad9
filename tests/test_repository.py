"""What the README, the data folder and the requirements say is so."""
import ast
import hashlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = sorted(path.relative_to(ROOT / "gptcore").with_suffix("").as_posix().removesuffix("/__init__")
                 for path in (ROOT / "gptcore").rglob("*.py") if path != ROOT / "gptcore" / "__init__.py")


def packages(file: str) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines()]
    return {re.split(r"[<>=!~ ]", line)[0].lower().replace("_", "-"): line for line in lines if line}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def listing(folder: Path) -> bytes:
    """What `LC_ALL=C sha256sum *` prints in `folder`, alike on all systems."""
    files = sorted(folder.iterdir(), key=lambda path: path.name)
    return "".join(f"{sha256(path.read_bytes())}  {path.name}\n" for path in files).encode()


def test_every_module_is_in_the_readme_and_every_module_there_exists():
    listed = re.findall(r"^\| `([\w/]+)` \|", README, re.MULTILINE)
    top = [name for name in MODULES if "/" not in name]
    assert sorted(listed) == sorted(set(top))


def test_modules_import_only_from_above():
    """The README lists the modules in the order in which text flows; an import may only point upwards."""
    order = re.findall(r"^\| `([\w/]+)` \|", README, re.MULTILINE)
    for path in (ROOT / "gptcore").rglob("*.py"):
        room = path.relative_to(ROOT / "gptcore").parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gptcore":
                rest = node.module.split(".")[1:]
                names = rest[:1] or [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 1 and path.parent.name == "gptcore":
                names = [(node.module or node.names[0].name).split(".")[0]]
            for name in names:
                if name in order and name != room:
                    assert order.index(name) < order.index(room), f"{room} imports {name}, which stands below it"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_its_one_job_first(name):
    path = ROOT / "gptcore" / f"{name}.py"
    path = path if path.exists() else ROOT / "gptcore" / name / "__init__.py"
    summary = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
    assert 20 < len(summary) and summary[-1] in ".:?"


def test_commands_in_the_readme_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)) | set(re.findall(r"`make ([a-z-]+)`", README))
    assert {"run", "test"} <= named <= targets
    commands = set(re.findall(r"python -m gptcore ([a-z]+)", README))
    main = (ROOT / "gptcore" / "__main__.py").read_text()
    assert commands and all(f'"{command}"' in main for command in commands)


def test_files_and_pictures_in_the_readme_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert link.startswith("http") or (ROOT / link).exists(), link
    for alt in re.findall(r"!\[(.*?)\]", README):
        assert len(alt) > 20, "a picture needs a description"


def test_checksums_in_the_data_folder_are_right():
    table = re.findall(r"^\| `([^`]+)` \|.*`([0-9a-f]{64})` \|$", (ROOT / "data" / "README.md").read_text(), re.MULTILINE)
    files = {path.relative_to(ROOT / "data").as_posix() for path in (ROOT / "data").rglob("*") if path.is_file()}
    folders = {name for name, _ in table if name.endswith("/")}
    assert {name for name, _ in table} - folders == {file for file in files if not file.startswith((*folders, "README.md"))}
    for name, digest in table:
        path = ROOT / "data" / name
        assert sha256(listing(path) if name in folders else path.read_bytes()) == digest, name


def test_what_users_install_has_ranges_and_what_make_installs_has_pins():
    required, pinned = packages("requirements.txt"), packages("constraints.txt")
    for name, line in (required | packages("requirements-dev.txt")).items():
        assert name in pinned, f"{name} is not in constraints.txt"
        assert "==" not in line and "<" not in line, f"{line}: a bound from above would replace what Colab has"
    assert all("==" in line for line in pinned.values())
    assert pinned["torch"] == "torch==2.13.0"


def test_the_package_is_complete():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = (path.parent.relative_to(ROOT) for path in (ROOT / "gptcore").rglob("__init__.py"))
    folders = {folder.as_posix().replace("/", ".") for folder in found}
    assert set(project["tool"]["setuptools"]["packages"]) == folders


def test_nothing_is_unpickled():
    for path in (ROOT / "gptcore").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not {"pickle", "dill", "joblib", "shelve"} & {*imported, getattr(node, "module", None)}, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}, path
            assert not (isinstance(node, ast.keyword) and node.arg == "allow_pickle"), path


def test_make_help_names_every_target():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)).split()
    assert len(phony) > 10 and all(f"make {target}" in shown for target in phony)
