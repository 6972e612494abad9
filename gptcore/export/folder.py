"""The folder of an export: all of it or nothing, and nobody's files lost."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

__all__ = ["MANIFEST", "filling"]

MANIFEST, FORMAT = "export.json", "gptcore export"


@contextmanager
def filling(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder; the files written there move into `folder` when the block ends well.

    What an earlier export left there unchanged, as its list of checksums (export.json) says, is replaced. FileExistsError
    is raised at once where any other file lies, unless `overwrite` is set: then files of the same names are replaced, and
    the others stay. If the block raises, `folder` stays as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     with filling(Path(place) / "new") as temporary:
    ...         _ = (temporary / "note.txt").write_text("whole")
    ...     sorted(file.name for file in (Path(place) / "new").iterdir()), len(list(Path(place).iterdir()))
    (['export.json', 'note.txt'], 1)
    """
    folder = Path(folder)
    near = next(each for each in folder.absolute().parents if each.exists())
    for each in (folder, near):
        if each.exists() and not each.is_dir():
            raise FileExistsError(f"{each} is a file, so no export can go into {folder}; choose another --out")
    known = read_manifest(folder)
    present = [each for each in sorted(folder.glob("*")) if not each.name.startswith(".")]
    ours = {MANIFEST} if known else set()
    foreign = [each.name for each in present
               if each.name not in ours and not (each.name in known and checksum(each) == known[each.name])]
    if foreign and not overwrite:
        raise FileExistsError(f"{folder} holds what no export wrote, or what was changed since: {', '.join(foreign)}. "
                              "Choose another --out, or --overwrite, which replaces files of the same names and leaves "
                              "the others")
    for leftover in near.glob(f".{folder.absolute().name}.*.partial"):  # of a process that was killed
        shutil.rmtree(leftover)
    temporary = near / f".{folder.absolute().name}.{secrets.token_hex(4)}.partial"
    try:
        temporary.mkdir()
        yield temporary
        settle(temporary, folder, known)
    except SafetensorError as error:
        raise OSError(f"could not write into {near} ({error}); make room there, or choose another --out") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def settle(temporary: Path, folder: Path, known: dict[str, str]) -> None:
    """Move the files; the list of them goes first and comes last, so that a folder which has it is complete."""
    written = {path.name: checksum(path) for path in sorted(temporary.iterdir())}
    kept = {name: value for name, value in known.items() if (folder / name).exists()}
    manifest = {"format": FORMAT, "sha256": kept | written}
    (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for name in (*written, MANIFEST):
        shutil.copymode(temporary / MANIFEST, temporary / name)  # safetensors lets nobody else read what it writes
        with open(temporary / name, "rb+") as file:
            os.fsync(file.fileno())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in (*written, MANIFEST):
        os.replace(temporary / name, folder / name)


def read_manifest(folder: Path) -> dict[str, str]:
    """The checksums of what an earlier export wrote; none where there was none."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return dict(content["sha256"]) if content["format"] == FORMAT else {}
    except (OSError, KeyError, TypeError, ValueError):
        return {}


def checksum(path: Path) -> str:
    """The sha256 of a file; nothing for what is none."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
