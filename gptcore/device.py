"""Which device computes, in which number format, and why. Used from notebooks/00_start_here.ipynb on."""

import os
import platform
import random
import re
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Device", "Gpu", "choose_device", "decide", "environment_report", "seed_everything", "set_threads"]

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Device:
    """A device with the format for its matrix products; `dtype` None means plain float32.

    >>> Device(torch.device("cuda"), torch.float16, "a T4").needs_scaler
    True
    """

    device: torch.device
    dtype: torch.dtype | None
    reason: str

    @property
    def precision(self) -> str:
        """The short name of the format: fp32, bf16 or fp16."""
        return next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)

    @property
    def needs_scaler(self) -> bool:
        """Only fp16 does: its smallest numbers are too large for many gradients (bf16 has the range of fp32)."""
        return self.dtype == torch.float16

    def autocast(self) -> AbstractContextManager:
        """The context for forward pass and loss; weights, gradients and optimizer stay in float32."""
        return nullcontext() if self.dtype is None else torch.autocast(self.device.type, dtype=self.dtype)

    def __str__(self) -> str:
        return f"{self.device} in {self.precision}: {self.reason}"


@dataclass(frozen=True)
class Gpu:
    """All that the decision needs to know of an accelerator; `trouble` is empty when a real operation succeeded."""

    name: str = "no GPU"
    capability: tuple[int, int] = (0, 0)
    trouble: str = "torch sees no GPU"


def choose_device(name: str = "auto", precision: str = "auto") -> Device:
    """Choose device and number format; the answer carries its reason.

    `name`: auto, cpu, cuda, cuda:N or mps; auto takes a CUDA device that passes a real operation, else the CPU. Apple's
    mps is taken only when asked for, because its numbers differ. `precision`: auto, fp32, bf16 or fp16. What was asked
    for by name and cannot be had raises ValueError.

    >>> print(choose_device("cpu"))
    cpu in fp32: asked for
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError(f"device {name!r} is unknown; choose auto, cpu, cuda, cuda:0 (or another number) or mps")
    if precision not in ("auto", *PRECISIONS):
        raise ValueError(f"precision {precision!r} is unknown; choose auto, {', '.join(PRECISIONS)}")
    if name == "mps":
        warnings.warn("mps computes other numbers than CPU and CUDA: expect losses near, not at, the printed ones",
                      stacklevel=2)
    return decide(name, precision, Gpu() if name == "cpu" else probe("cuda" if name == "auto" else name))


def decide(name: str, precision: str, gpu: Gpu) -> Device:
    """The decision itself, from nothing but its arguments, so that it can be tested without any GPU.

    >>> print(decide("auto", "auto", Gpu("Tesla T4", (7, 5), trouble="")))
    cuda in fp16: Tesla T4 has capability 7.5 and bf16 units come with 8.0, so fp16 with a gradient scaler
    """
    if name == "cpu" or (name == "auto" and gpu.trouble):
        if precision == "fp16":
            raise ValueError("fp16 on a CPU is slow and loses small gradients; choose fp32 or bf16")
        return Device(torch.device("cpu"), PRECISIONS.get(precision), gpu.trouble if name == "auto" else "asked for")
    if gpu.trouble:
        raise ValueError(f"{name} was asked for, but {gpu.trouble}; choose auto to fall back to the CPU")
    if name == "mps":
        if precision not in ("auto", "fp32"):
            raise ValueError(f"{precision} on mps is not tested here; choose fp32")
        return Device(torch.device("mps"), None, "asked for")
    return decide_cuda(torch.device("cuda" if name == "auto" else name), precision, gpu)


def decide_cuda(device: torch.device, precision: str, gpu: Gpu) -> Device:
    """Choose by capability; `torch.cuda.is_bf16_supported()` is not asked, since it says True for emulation, too."""
    has = f"{gpu.name} has capability {gpu.capability[0]}.{gpu.capability[1]}"
    if gpu.capability < (8, 0):
        if precision == "bf16":
            raise ValueError(f"{has} and bf16 units come with 8.0: it would be emulated, slower than fp32; choose fp16")
        found, why = "fp16", "and bf16 units come with 8.0, so fp16 with a gradient scaler"
    else:
        found, why = "bf16", "and so bf16 units, which need no gradient scaler"
    if precision not in ("auto", found):
        found, why = precision, f"and {precision} was asked for"
    return Device(device, PRECISIONS[found], f"{has} {why}")


def probe(name: str) -> Gpu:
    """Look at an accelerator and make it compute: some report that they are there and fail at the first operation."""
    if not (torch.backends.mps.is_available() if name == "mps" else torch.cuda.is_available()):
        return Gpu(trouble=f"torch sees no {'mps' if name == 'mps' else 'CUDA'} device")
    try:
        a = torch.full((32, 32), 2.0, device=name)
        total = (a @ a).sum().item()  # 32 products of 4 in each of 32 * 32 sums: exact in every format
        if total != 4 * 32**3:
            return Gpu(trouble=f"{name} computed {total} where {4 * 32**3} is right")
        if name == "mps":
            return Gpu("mps", trouble="")
        return Gpu(torch.cuda.get_device_name(name), torch.cuda.get_device_capability(name), trouble="")
    except (RuntimeError, AssertionError) as error:  # the second: a device number that does not exist
        return Gpu(trouble=f"{name} failed at a first small operation ({str(error).strip().splitlines()[0]})")


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch (all devices), for the first cell of a notebook; functions take a `generator`.

    >>> seed_everything(1); a = torch.rand(3); seed_everything(1); bool((a == torch.rand(3)).all())
    True
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} is out of range; numpy takes 0 to {2**32 - 1}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def set_threads(n: int | None = None) -> int:
    """Let torch compute on `n` threads and return n; None means OMP_NUM_THREADS, else the cores we may use.

    More threads than cores wait for each other: two processes of two threads on two cores are many times slower.
    """
    if n is None:
        asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        n = int(asked) if asked.isdigit() and int(asked) > 0 else cores
    if n < 1:
        raise ValueError(f"threads={n}: at least 1 is needed")
    torch.set_num_threads(n)
    return n


def environment_report(device: Device | None = None) -> dict[str, str]:
    """What a reader of a result wants to know of the machine; holds no path, name or address of it."""
    device = device or choose_device()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "device": str(device.device),
        "precision": device.precision,
        "reason": device.reason,
        "threads": str(torch.get_num_threads()),
    }
