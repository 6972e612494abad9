"""The dial: how large the notebooks compute. `cpu` fits two minutes on two cores, `gpu` a free T4.

It stands at `gpu` where torch can use a CUDA device; GPTCORE_DIAL=cpu or =gpu in the environment turns it by hand.
"""

import os
from functools import cache
from typing import TypeVar

from gptcore.device import choose_device

__all__ = ["scaled", "setting"]

T = TypeVar("T")


def setting() -> str:
    """Where the dial stands: `cpu` or `gpu`."""
    asked = os.environ.get("GPTCORE_DIAL", "")
    if asked not in ("", "cpu", "gpu"):
        raise ValueError(f"GPTCORE_DIAL={asked!r} is no setting of the dial; write cpu or gpu, or unset the variable")
    return asked or found()


def scaled(*, cpu: T, gpu: T) -> T:
    """The value for where the dial stands.

    >>> scaled(cpu=400, gpu=5000) == {"cpu": 400, "gpu": 5000}[setting()]
    True
    """
    return {"cpu": cpu, "gpu": gpu}[setting()]


@cache
def found() -> str:
    return "gpu" if choose_device().device.type == "cuda" else "cpu"
