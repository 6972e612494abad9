"""How to train: the settings of a run and its learning rate. Built by hand in notebooks/05_gpt.ipynb."""

import dataclasses
import math
from dataclasses import dataclass

__all__ = ["TrainConfig", "learning_rate"]

SCHEDULES = ("cosine", "plateau", "constant")
OPTIMIZERS = ("adamw", "muon")
SWITCHES = ("compile", "recompute")  # they decide how a step is computed, not what: a resumed run may change them


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides how a model is trained, apart from the model and its text.

    One step reads accumulation * batch_size windows. `warmup` counts steps; `min_learning_rate` None means a tenth of
    learning_rate. Under "plateau" the rate is multiplied by `factor` when more than `patience` evaluations in a row
    brought no better validation loss. `clip` bounds the gradient norm; 0 switches that off. Under "muon" the matrices of
    the blocks are trained by Muon and the rest by AdamW, both at `learning_rate`; `betas` are AdamW's. `compile` lets
    torch.compile make kernels for the model, `recompute` keeps of each block its input alone and computes the rest anew in
    the backward pass (activation checkpointing): less memory for about a third more time, and the same gradients.

    >>> TrainConfig(steps=50, warmup=100)
    Traceback (most recent call last):
    ValueError: warmup=100 must be below steps=50, or the cosine never begins
    """

    steps: int
    batch_size: int = 32
    accumulation: int = 1
    learning_rate: float = 1e-3
    min_learning_rate: float | None = None
    warmup: int = 0
    schedule: str = "cosine"
    optimizer: str = "adamw"
    factor: float = 0.1
    patience: int = 5
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    eval_every: int = 100
    eval_windows: int = 200
    seed: int = 1
    compile: bool = False
    recompute: bool = False

    def __post_init__(self):
        least = {"steps": 1, "batch_size": 1, "accumulation": 1, "warmup": 0, "patience": 0, "eval_every": 1,
                 "eval_windows": 2, "seed": 0}
        rules = {name: (getattr(self, name) >= low, f"{low} or more") for name, low in least.items()} | {
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0; 1e-3 is a good first try"),
            "min_learning_rate": (0 <= self.floor <= self.learning_rate,
                                  f"between 0 and learning_rate={self.learning_rate}; None means a tenth of that"),
            "schedule": (self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
            "optimizer": (self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
            "factor": (0 < self.factor < 1, "between 0 and 1; 0.5 halves the rate"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "betas": (all(0 <= beta < 1 for beta in self.betas), "two numbers from 0 to below 1"),
            "clip": (0 <= self.clip < math.inf, "above 0, or 0 to switch clipping off"),
        }
        for name, (fine, rule) in rules.items():
            if not fine:
                raise ValueError(f"{name}={getattr(self, name)} must be {rule}")
        if self.schedule == "cosine" and self.warmup >= self.steps:
            raise ValueError(f"warmup={self.warmup} must be below steps={self.steps}, or the cosine never begins")

    @property
    def floor(self) -> float:
        """The rate at which the cosine ends and below which a plateau does not go."""
        return self.learning_rate / 10 if self.min_learning_rate is None else self.min_learning_rate

    def to_dict(self) -> dict:
        """Return the fields as a dict that JSON can hold."""
        return dataclasses.asdict(self) | {"betas": list(self.betas)}

    @classmethod
    def from_dict(cls, fields: dict) -> "TrainConfig":
        """Undo `to_dict`; unknown fields are refused by name."""
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := sorted(set(fields) - set(known)):
            raise ValueError(f"unknown training settings: {', '.join(unknown)}; known: {', '.join(known)}")
        return cls(**fields | {"betas": tuple(fields.get("betas", cls.betas))})


def learning_rate(step: int, config: TrainConfig, reduction: float = 1.0) -> float:
    """Return the rate used in step `step`, counted from 0.

    Warm-up rises in equal parts and reaches learning_rate in its last step; the cosine leaves from there and is exactly
    at the floor in the last step of the run. `reduction` is what a plateau has done to the rate so far.

    >>> config = TrainConfig(steps=7, warmup=3, learning_rate=0.3, min_learning_rate=0.1)
    >>> [round(learning_rate(step, config), 3) for step in range(7)]
    [0.1, 0.2, 0.3, 0.271, 0.2, 0.129, 0.1]
    """
    top = max(config.warmup - 1, 0)  # the step with the highest rate
    if step <= top:
        return config.learning_rate * ((step + 1) / max(config.warmup, 1))
    if config.schedule == "cosine":
        share = 0.5 + 0.5 * math.cos(math.pi * (step - top) / (config.steps - 1 - top))
        return config.floor + share * (config.learning_rate - config.floor)
    if config.schedule == "plateau":
        return max(config.learning_rate * reduction, config.floor)
    return config.learning_rate
