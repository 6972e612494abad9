"""What a model writes while it learns, from the same prompts each time: samples.csv in the folder of its run."""

import csv
from collections.abc import Sequence
from pathlib import Path

import torch

from gptcore.files import atomic_write
from gptcore.gpt import GPT
from gptcore.sampling import sample_text
from gptcore.tokenizer import Tokenizer

__all__ = ["SAMPLES", "read_samples", "write_samples"]

SAMPLES = "samples.csv"
COLUMNS = ("step", "prompt", "text")
TOKENS, SEED = 200, 1  # the same seed each time, so that what changes is the model's doing


def write_samples(path: str | Path, step: int, model: GPT, tokenizer: Tokenizer, prompts: Sequence[str]) -> None:
    """Let the model continue each prompt, and put that into the table as the rows of `step`.

    Rows of this step or a later one, which a run wrote before it was killed, make room: no step is there twice. The draws
    have a generator of their own and the model comes back as it was, so training does not notice.
    """
    rows = [row for row in read_samples(path) if row["step"] < step]
    for prompt in prompts:
        generator = torch.Generator().manual_seed(SEED)
        text = "".join(sample_text(model, tokenizer, prompt, TOKENS, generator=generator))
        rows.append({"step": step, "prompt": prompt, "text": text})
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def read_samples(path: str | Path) -> list[dict]:
    """Read the rows, each with `step`, `prompt` and `text`; none where nothing was written yet."""
    path = Path(path)
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:  # newline="": line breaks in a text stay what they are
        rows = list(csv.DictReader(file))
    try:
        return [{"step": int(row["step"]), "prompt": row["prompt"], "text": row["text"]} for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no table of samples ({error!r}); move it away, and the run begins a new one") from None
