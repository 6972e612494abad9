"""What the setup cell of every notebook calls, before anything heavy is imported: are all packages there?"""

import importlib
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["install_missing"]

ROOT = Path(__file__).parents[2]
KAGGLE_INPUT = Path("/kaggle/input")
# torch must fit the machine's driver, and jupyter is running already; nbval only serves those who test the notebooks.
NEVER = {"torch", "jupyter", "nbval"}


def install_missing(requirements: Path = ROOT / "requirements.txt") -> None:
    """Install those packages of requirements.txt that cannot be found, in the cloud; never torch, jupyter or nbval.

    A package that is there stays as it is, whatever its version. Wheels in an attached data set are used, too, so that
    Kaggle without a network can do. At home, where the notebook lies in the repository, nothing is installed unasked. What
    cannot be had raises RuntimeError or ConnectionError with the way out.
    """
    missing = [line for name, line in required(requirements).items() if name not in NEVER and not is_there(name)]
    if not missing:
        return
    names = ", ".join(re.split(r"[<>=!~;\[ ]", line)[0] for line in missing)
    if Path.cwd().is_relative_to(ROOT):
        raise RuntimeError(f"this Python lacks {names}; start the notebooks with `make lab`, or install what is missing "
                           "into the environment that you use: pip install -r requirements.txt")
    print(f"installing {names}")
    wheels = sorted({str(wheel.parent) for wheel in KAGGLE_INPUT.rglob("*.whl")})
    found = [f"--find-links={folder}" for folder in wheels]
    pip = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--retries=2", *found, *missing],
                         capture_output=True, text=True)
    if pip.returncode:
        raise ConnectionError(f"{names} could not be installed. Switch the internet on (Kaggle: Settings), or attach a data "
                              f"set with the wheels; then run this cell again. pip says:\n{pip.stderr}")
    importlib.invalidate_caches()  # a running Python remembers which files its folders had


def required(requirements: Path) -> dict[str, str]:
    """The lines of a requirements file by the name of the package."""
    lines = (line.split("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines())
    return {re.split(r"[<>=!~;\[ ]", line)[0].lower(): line for line in lines if line}


def is_there(name: str) -> bool:
    """Can a package be imported by its name, or is it at least known under it (some are imported under another one)?

    >>> is_there("numpy"), is_there("no-such-package")
    (True, False)
    """
    if importlib.util.find_spec(name.replace("-", "_")):
        return True
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False
