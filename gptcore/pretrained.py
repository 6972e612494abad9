"""The stored model, which several chapters study: trained on fresh scenes of the Playhouse by `make pretrained`.

    data/pretrained/weights.safetensors     the weights, with the configuration of the model
    data/pretrained/tokenizer.json          its tokenizer
    data/pretrained/log.csv                 the log of its training, one row per evaluation
    data/pretrained/about.json              how it was made, what it measures, sha256 of all this and of gptcore's sources
"""

import hashlib
import json
from pathlib import Path

import torch
from tqdm import tqdm

from gptcore.corpora import REPOSITORY_DATA
from gptcore.gpt import GPT, load_weights
from gptcore.playhouse import Verdict, judge
from gptcore.sampling import sample_text
from gptcore.tokenizer import Tokenizer, load_tokenizer

__all__ = ["PRETRAINED", "judge_samples", "load_pretrained"]

PRETRAINED = REPOSITORY_DATA / "pretrained"


def load_pretrained(folder: str | Path = PRETRAINED, device: torch.device | str = "cpu") -> tuple[GPT, Tokenizer]:
    """Load the model, in eval mode, and its tokenizer. Raises ValueError when a file is missing or not the one it was.

    >>> model, tokenizer = load_pretrained()
    >>> model.config.vocab_size == tokenizer.vocab_size
    True
    """
    folder, way_out = Path(folder), "bring it back with git checkout data/pretrained, or make it anew with make pretrained"
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        for name, expected in about["sha256"].items():
            if (folder / name).is_file() and hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
                raise ValueError(f"{name} is not the file whose sha256 stands in {folder.name}/about.json: {way_out}")
        return load_weights(folder / "weights.safetensors", device).eval(), load_tokenizer(folder / "tokenizer.json")
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"the stored model is not whole ({type(error).__name__}: {error}): {way_out}") from error


def judge_samples(
    model: GPT, tokenizer: Tokenizer, scenes: int, seed: int = 1, progress: bool = False, **settings: float | int
) -> Verdict:
    """Let the model write scenes and judge them all: for each kind of structure, how often it was kept.

    Scene i is drawn with the seed `seed + i`; `settings` are those of `generate`. A scene ends where the model ends it, at
    the latest where its block is full.
    """
    verdict = Verdict()
    for scene in tqdm(range(scenes), unit="scene", disable=not progress):
        generator = torch.Generator().manual_seed(seed + scene)
        longest = model.config.block_size - 1  # the first place is that of <|endoftext|>
        verdict += judge("".join(sample_text(model, tokenizer, max_new_tokens=longest, generator=generator, **settings)))
    return verdict
