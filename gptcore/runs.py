"""The folder of a run: what lies where, and how it stays whole. Used in notebooks/09_training_at_scale.ipynb.

    config.json       the settings, and the machine
    log.csv           one row per evaluation; step, tokens and skipped (fp16 steps left out) count from the beginning
    last.safetensors  all that is needed to go on (`checkpoint`)
    best.safetensors  the weights with the lowest validation loss (`gpt.load_weights`)
"""

import json
import math
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from gptcore.files import atomic_write

__all__ = ["COLUMNS", "RunFolder"]

COLUMNS = ("step", "tokens", "train_loss", "val_loss", "val_error", "learning_rate", "grad_norm", "skipped",
           "tokens_per_second")


class RunFolder:
    """The files of one run.

    >>> RunFolder("runs/my first").how_to_resume
    "python -m gptcore train --resume 'runs/my first', or train(..., resume=True)"
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config, self.log = self.path / "config.json", self.path / "log.csv"
        self.last, self.best = self.path / "last.safetensors", self.path / "best.safetensors"

    @property
    def how_to_resume(self) -> str:
        """What to type to go on, as a piece of a sentence."""
        return f"python -m gptcore train --resume {shlex.quote(str(self.path))}, or train(..., resume=True)"

    def refuse_if_used(self, overwrite: bool) -> None:
        """Raise FileExistsError when a run is here that may not be overwritten."""
        found = [file.name for file in (self.last, self.best, self.log) if file.exists()]
        if found and not overwrite:
            raise FileExistsError(f"{self.path} already holds a run ({', '.join(found)}). To go on with it: "
                                  f"{self.how_to_resume}. To replace it: --overwrite, or overwrite=True. To keep it: "
                                  "another folder")

    def empty(self, overwrite: bool) -> None:
        """Make room for a new run, where `refuse_if_used` allows it."""
        self.refuse_if_used(overwrite)
        for file in (self.last, self.best, self.log):  # in this order: without the first they are no run to resume
            file.unlink(missing_ok=True)
        self._write(self.log, ",".join(COLUMNS) + "\n")

    def refuse_without_checkpoint(self) -> None:
        """Raise FileNotFoundError when a checkpoint is missing though the log has gone past its first row."""
        if self.log.exists() and self.log.read_text().count("\n") > 2:
            raise FileNotFoundError(f"{self.last} is missing, though {self.log.name} tells of a run. Bring it back, or "
                                    "begin anew with overwrite=True and without resume")

    def sweep(self) -> None:
        """Remove the temporary files of a process that was killed while it was saving."""
        for leftover in self.path.glob(".*"):  # ours are .NAME.tmp.SUFFIX, those of safetensors .tmpXXXXXX
            if ".tmp" in leftover.name:
                leftover.unlink()

    def write_config(self, settings: dict) -> None:
        """Write the settings for people, and for whoever rebuilds the model."""
        self._write(self.config, json.dumps(settings, indent=2) + "\n")

    def append(self, *row: int | float) -> None:
        """Add a row to the log; what is not a number (nothing to average yet) becomes an empty field."""
        values = dict(zip(COLUMNS, row, strict=True)).values()  # a row that lacks a number would shift all that follow
        fields = ["" if math.isnan(value) else repr(value) for value in values]  # repr: floats read back exactly
        with self.saving(), open(self.log, "a") as file:
            file.write(",".join(fields) + "\n")
            file.flush()
            os.fsync(file.fileno())  # the row before the checkpoint of its step, also on the disk

    def cut_log(self, step: int) -> None:
        """Drop the rows after `step`, and a last line that was never finished; a log of older columns gets today's."""
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        whole = [line.rstrip("\n").split(",") for line in lines if line.endswith("\n")]
        rows = [dict(zip(whole[0], row)) for row in whole[1:] if int(row[0]) <= step]
        kept = [",".join(row.get(name, "") for name in COLUMNS) for row in rows]
        self._write(self.log, "".join(f"{line}\n" for line in [",".join(COLUMNS), *kept]))

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Turn what a full disk raises into an OSError that says what it means for the run."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            raise OSError(f"could not save into {self.path} ({error}). What was saved before is whole: make room, then "
                          f"{self.how_to_resume}") from error

    def _write(self, file: Path, text: str) -> None:
        with self.saving(), atomic_write(file) as temporary:
            temporary.write_text(text)
