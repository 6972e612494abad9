"""The course as one file to attach to a Kaggle notebook as a data set, for those who have no network there: `make kaggle`.

    gptcore/ data/ notebooks/ ...   the repository: the setup cell of every notebook finds it
    wheels/                         gptcore itself, and what it needs of pure Python that Kaggle's image may lack
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gptcore.files import atomic_write

__all__ = ["PARTS", "PURE", "build", "main"]

ROOT = Path(__file__).parents[1]
FILE = ROOT / "dist/gptcore-kaggle.zip"
PARTS = ("gptcore", "data", "notebooks", "figures", "README.md", "LICENSE", "pyproject.toml", "requirements.txt")
# Of requirements.txt and of what that needs: the rest is in the image, and as machine code would fit one Python only.
PURE = ("jaxtyping", "wadler-lindig", "pooch", "tqdm")
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info")


def build(path: str | Path) -> None:
    """Write the archive. Needs the package index; raises OSError with pip's own words where that is out of reach."""
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder, "course")
        course.mkdir()
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, course / part, ignore=LEFT_OUT)
            else:
                shutil.copy(ROOT / part, course / part)
        shutil.copytree(course, source := Path(folder, "source"))  # a build leaves things behind
        for what in ([str(source)], [*PURE, "--constraint", str(ROOT / "constraints.txt")]):
            pip = subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir",
                                  str(course / "wheels"), *what], capture_output=True, text=True)
            if pip.returncode:
                raise OSError(f"the wheels could not be had; pip says:\n{pip.stderr}")
        packed = shutil.make_archive(str(Path(folder, "packed")), "zip", course)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            shutil.copy(packed, temporary)


def main() -> int:
    """Build it and say how to use it."""
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    try:
        build(FILE)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{FILE.relative_to(ROOT)}, {FILE.stat().st_size / 1e6:.1f} MB.\nOn Kaggle: Create, New Dataset, drop this file. "
          "In a notebook of the course: Add Input, your data set; then run it, with the internet on or off.\nFor a terminal "
          "there: pip install --no-index --find-links /kaggle/input/NAME/wheels gptcore")
    return 0


if __name__ == "__main__":
    sys.exit(main())
