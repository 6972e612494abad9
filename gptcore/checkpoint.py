"""All that a run needs to go on, in one file. Shown in notebooks/09_training_at_scale.ipynb.

Tensors (weights, optimizer moments, random states) and, as JSON in the file's metadata, the rest. One file, because two
files can be of two different steps after a crash. No pickle: reading a checkpoint runs no code.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gptcore.files import atomic_write
from gptcore.schedule import SWITCHES, TrainConfig

__all__ = ["Checkpoint", "State", "load_checkpoint", "save_checkpoint"]


@dataclass
class State:
    """Where a run stands: everything that changes from step to step and is not a tensor."""

    step: int = 0
    tokens: int = 0              # targets learned from, padding not counted
    best: float = math.inf       # lowest validation loss so far, nats per token
    stale: int = 0               # evaluations since then, or since the plateau last cut the rate
    reduction: float = 1.0       # what the plateau schedule has made of the rate
    loss_sum: float = 0.0        # over the `counted` steps since the last row of the log
    norm_sum: float = 0.0
    counted: int = 0
    skipped: int = 0             # fp16 steps left out because a gradient overflowed
    skipped_in_a_row: int = 0
    scaler: dict = field(default_factory=dict)

    def judge(self, loss: float, config: TrainConfig) -> bool:
        """Take in a validation loss and say whether it is the best so far; on a plateau, cut the rate.

        >>> state, config = State(), TrainConfig(steps=9, schedule="plateau", factor=0.5, patience=1)
        >>> [(state.judge(loss, config), state.reduction) for loss in (3.0, 2.0, 2.5, 2.0, 1.9)]
        [(True, 1.0), (True, 1.0), (False, 1.0), (False, 0.5), (True, 0.5)]
        """
        better = loss < self.best
        self.best, self.stale = (loss, 0) if better else (self.best, self.stale + 1)
        if config.schedule == "plateau" and self.stale > config.patience:
            self.reduction, self.stale = self.reduction * config.factor, 0
        return better


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: `settings` says of which run, `state` where it stood."""

    tensors: dict[str, Tensor]
    state: State
    settings: dict

    def restore(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Put weights, optimizer moments and torch's random states back to where they were."""
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "random": {}}
        for key, tensor in self.tensors.items():
            part, name = key.split(".", 1)
            parts[part][name] = tensor
        model.load_state_dict(parts["model"])
        parameters = dict(model.named_parameters())
        owner = {p: optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
        for key, tensor in parts["optimizer"].items():
            name, slot = key.rsplit(".", 1)
            parameter = parameters[name]
            optimizer = owner[parameter]
            # AdamW keeps its step count on the CPU, whatever the device, unless it is fused.
            stays = slot == "step" and not optimizer.defaults.get("fused")
            optimizer.state[parameter][slot] = tensor if stays else tensor.to(parameter.device)
        torch.set_rng_state(parts["random"]["cpu"])
        place = next(model.parameters()).device
        if place.type == "cuda" and "cuda" in parts["random"]:
            torch.cuda.set_rng_state(parts["random"]["cuda"], place)

    def refuse_changes(self, settings: dict[str, dict]) -> None:
        """Raise ValueError naming each setting that changed; SWITCHES may, and `steps`, but not under a cosine."""
        old, new = ({(part, name): value for part, fields in whole.items() for name, value in fields.items()}
                    for whole in (self.settings, settings))
        steps, schedule = settings["train"]["steps"], settings["train"]["schedule"]
        if schedule != "cosine" and steps >= self.state.step:
            old["train", "steps"] = steps
        for name in SWITCHES:
            old["train", name] = new.get(("train", name))
        changed = [f"{part} {name} was {old.get((part, name))} and is now {new.get((part, name))}"
                   for part, name in sorted(old.keys() | new.keys()) if old.get((part, name)) != new.get((part, name))]
        if changed:
            raise ValueError(f"a run goes on only as it began, but {'; '.join(changed)}. Put that back, or train into "
                             "another folder")


def save_checkpoint(
    path: str | Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], state: State, settings: dict
) -> None:
    """Write a checkpoint atomically; a failure leaves the older one in place."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            for slot, tensor in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{name}.{slot}"] = tensor
    tensors["random.cpu"] = torch.get_rng_state()
    place = next(model.parameters()).device
    if place.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(place)
    # One entry, as several change their order from file to file. JSON writes floats so that they read back exactly.
    about = {"gptcore": json.dumps({"state": dataclasses.asdict(state), "settings": settings})}
    with atomic_write(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata=about)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote; anything else raises ValueError with the reason."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["gptcore"])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        return Checkpoint(tensors, State(**about["state"]), about["settings"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no whole checkpoint of this version ({type(error).__name__}: {error}). Bring back "
                         "a copy of it, or train anew with overwrite; best.safetensors beside it keeps the best "
                         "weights so far") from error
