"""Watch a run from another process: its log while it is being written, whether it still goes on, and a figure that follows.

In a notebook, in JupyterLab, Colab and Kaggle alike:

    process = subprocess.Popen([sys.executable, "-m", "gptcore", "train", "--out", "runs/mine"])
    monitor.watch("runs/mine", process=process)
"""

import dataclasses
import io
import json
import math
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from safetensors import SafetensorError, safe_open

from gptcore import plots
from gptcore.experiment import Experiment
from gptcore.planning import duration
from gptcore.runs import COLUMNS, RunFolder

__all__ = ["Look", "Units", "figure", "follow", "look", "looks", "read_log", "watch"]

PATIENCE, LEAST = 4, 60.0  # a run is quiet when a row takes four times as long as those before it, and a minute at least


def read_log(path: str | Path) -> pd.DataFrame:
    """Read the rows that are whole: the last line of a log that is being written may be half a line."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: no training has begun in {path.parent} yet, or it is no run folder")
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    try:
        log = pd.read_csv(io.StringIO(whole or ",".join(COLUMNS)))
        return log.astype({"step": int, "val_loss": float})
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is no log of a training ({error})") from None


@dataclass(frozen=True)
class Look:
    """A run as its folder shows it at one moment; `state` is waiting, training, quiet, stopped or ended."""

    log: pd.DataFrame
    steps: int                # of the whole run
    state: str
    age: float                # seconds since the last sign of life
    seconds_per_step: float   # with the evaluations; nan before there is a pace

    @property
    def over(self) -> bool:
        return self.state in ("stopped", "ended")

    @property
    def step(self) -> int:
        return int(self.log["step"].iloc[-1]) if len(self.log) else 0

    @property
    def prospect(self) -> str:
        """Whether it goes on, and for how long."""
        left = self.seconds_per_step * (self.steps - self.step)
        return {"waiting": "no row yet", "training": "no pace yet" if math.isnan(left) else f"{duration(left)} left",
                "quiet": f"no row for {duration(self.age)}, where {PATIENCE} used to come: slow, or stopped",
                "stopped": "stopped", "ended": "ended"}[self.state]


def look(folder: str | Path, now: float | None = None) -> Look:
    """Look at a run. Its files say whether it goes on, so that it may run on another machine.

    `ended`: the last row is that of the last step. `stopped`: by Ctrl-C or an error that left a checkpoint later than the
    last row. A process that was killed says nothing; `quiet` is all that can be known of it, when no row has come for four
    times as long as rows used to take. It may still be a slow one.
    """
    run, now = RunFolder(folder), time.time() if now is None else now
    log = read_log(run.log)
    last = int(log["step"].iloc[-1]) if len(log) else 0
    steps = json.loads(run.config.read_text(encoding="utf-8"))["train"]["steps"] if run.config.exists() else last
    signs = {file: file.stat().st_mtime for file in (run.log, run.config, run.last) if file.exists()}
    seen = Look(log, steps, "waiting", max(0.0, now - max(signs.values())), pace(log, signs, run))
    if not len(log):
        return seen
    per_row = seen.seconds_per_step * (seen.step - int(log["step"].iloc[-2]) if len(log) > 1 else math.nan)
    if seen.step >= steps:
        state = "ended"
    elif saved_step(run.last) > seen.step and signs[run.last] >= signs[run.config]:  # a run that goes on writes its config
        state = "stopped"
    else:
        state = "quiet" if seen.age > LEAST and seen.age > PATIENCE * per_row else "training"  # never before there is a pace
    return dataclasses.replace(seen, state=state)


def pace(log: pd.DataFrame, signs: dict[Path, float], run: RunFolder) -> float:
    """Seconds for a step: by the speed of the training alone, or by the clock with all between, whichever is more.

    The clock runs from the time at which the settings were written, which a resumed run does again; so it says too little
    then, and never too much.
    """
    if len(log) < 2 or run.config not in signs:
        return math.nan
    before, last = log.iloc[-2], log.iloc[-1]
    training = (last["tokens"] - before["tokens"]) / last["tokens_per_second"] / (last["step"] - before["step"])
    clock = (signs[run.log] - signs[run.config]) / last["step"]
    return float(max(clock, training if training > 0 else 0.0))


def saved_step(path: Path) -> int:
    """The step of a checkpoint, from its first bytes; -1 where there is none to be read."""
    with suppress(OSError, SafetensorError, KeyError, TypeError, ValueError), safe_open(path, framework="pt") as file:
        return int(json.loads(file.metadata()["gptcore"])["state"]["step"])
    return -1


def looks(folder: str | Path, every: float | int = 10, process: subprocess.Popen | None = None) -> Iterator[Look | None]:
    """Look every few seconds and yield what is new, until the run is over; None while there is no log yet.

    With `process` it is over as soon as that process is.
    """
    shown: tuple | None = ()
    while True:
        gone = process is not None and process.poll() is not None  # before the look, which then sees its last row
        try:
            seen = look(folder)
        except FileNotFoundError:
            seen = None
        if gone and seen is not None and not seen.over:
            seen = dataclasses.replace(seen, state="stopped")
        news = (len(seen.log), seen.step, seen.state) if seen is not None and len(seen.log) else None
        if news != shown:
            yield seen
        if gone or (seen is not None and seen.over):
            return
        shown = news
        time.sleep(every)


class Units:
    """What a run's losses are drawn in: bits per byte, beside the floor where it is known, once its text can be read."""

    def __init__(self, folder: str | Path) -> None:
        self.bytes_per_token: float | None = None
        self.floor: float | None = None
        with suppress(ValueError, OSError):  # made by `train` alone, or its text is not on this machine: nats per token
            experiment = Experiment.open(folder)
            self.bytes_per_token = experiment.bytes_per_token
            self.floor = experiment.floor

    def line(self, seen: Look) -> str:
        """A look in one line."""
        last = seen.log.iloc[-1]
        scale, unit = plots.loss_unit(self.bytes_per_token)
        parts = {"val_loss": f"loss {last['val_loss'] * scale:.3f} {unit}",
                 "train_loss": f"in training {last['train_loss'] * scale:.3f}",
                 "learning_rate": f"rate {last['learning_rate']:.2g}",
                 "grad_norm": f"gradient norm {last['grad_norm']:.2g}",
                 "tokens_per_second": f"{last['tokens_per_second']:,.0f} tokens/s"}
        known = [text for column, text in parts.items() if not math.isnan(last[column])]
        return ", ".join([f"step {seen.step:,} of {seen.steps:,}", *known, seen.prospect])


def figure(seen: Look | None, units: Units | None) -> Figure:
    """Draw a look, of a run that goes on or of one that has ended."""
    if seen is None or units is None or not len(seen.log):
        return plots.run_panels(pd.DataFrame(columns=COLUMNS, dtype=float), "Waiting for the first row of the log", 1)
    scale, unit = plots.loss_unit(units.bytes_per_token)
    loss = seen.log["val_loss"].iloc[-1] * scale
    above = f", {100 * (loss / units.floor - 1):.0f} % above the floor" if units.floor else ""
    return plots.run_panels(seen.log, f"Step {seen.step:,} of {seen.steps:,}: {loss:.3f} {unit}{above} ({seen.prospect})",
                            seen.steps, units.bytes_per_token, units.floor)


def follow(folder: str | Path, *, every: float | int = 10, once: bool = False) -> None:
    """Print a line and write monitor.png into the folder whenever the log has grown, until the run is over, or once."""
    units = None
    for seen in [look(folder)] if once else looks(folder, every):
        if seen is None or not len(seen.log):
            print(f"waiting for the first row of {RunFolder(folder).log} (Ctrl-C stops the waiting)", flush=True)
            continue
        units = units or Units(folder)
        print(units.line(seen), flush=True)
        plots.save(figure(seen, units), Path(folder) / "monitor.png")


def watch(folder: str | Path, *, every: float | int = 10, process: subprocess.Popen | None = None) -> None:
    """Draw a run in a notebook and draw it anew whenever its log has grown, until it is over.

    The cell waits for that; its stop button ends it, and the training in another process goes on. Give that `process`, if
    this notebook has started it, so that its end is seen at once. A run that has ended is drawn once.
    """
    units, seen = None, None
    alt = "Panels over the steps of a training: loss, learning rate, gradient norm and tokens per second"
    with suppress(KeyboardInterrupt), plots.live(lambda: figure(seen, units), alt) as draw:
        for seen in looks(folder, every, process):
            units = Units(folder) if seen is not None and len(seen.log) and units is None else units
            draw()
