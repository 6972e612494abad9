"""Weights in 8 or 4 bits, and what that costs. Built by hand in notebooks/07_quantization.ipynb.

A weight becomes a small whole number, its code: weight = scale * (code - zero). The weights that share a scale are the
whole tensor, one row (a channel) or a group of neighbours in a row. O outputs (or rows of an embedding), I inputs, G
groups in a row.
"""

import copy
import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors
import torch
from jaxtyping import Float, Int, Int8, UInt8
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from gptcore.files import atomic_write
from gptcore.gpt import GPT, GPTConfig, evaluating
from gptcore.linear import linear

__all__ = [
    "KERNELS", "SCHEMES", "QuantizedEmbedding", "QuantizedLinear", "QuantizedMatrix", "Scheme", "choose_kernels",
    "choose_scales", "dequantize", "gptq", "int8_linear", "load_quantized", "pack", "quantize", "round_to_codes",
    "save_quantized", "size_table", "unpack",
]


@dataclass(frozen=True)
class Scheme:
    """How a matrix is quantized.

    `bits` of a code, from 2 to 8; up to 4, two codes share a byte. `per` says which weights share a scale: "tensor",
    "channel" (a row), or so many neighbours in a row. Symmetric codes lie evenly around 0; others (affine) have a zero
    point, so that they reach from the least to the greatest weight. `calibrated` rounds by `gptq`. `int8_activations`
    rounds what comes in as well.

    >>> Scheme(bits=16)
    Traceback (most recent call last):
    ValueError: bits=16 must be a whole number from 2 to 8
    """

    bits: int = 8
    per: str | int = "channel"
    symmetric: bool = True
    scales: str = "float32"
    calibrated: bool = False
    int8_activations: bool = False

    def __post_init__(self) -> None:
        whole = isinstance(self.bits, int) and not isinstance(self.bits, bool)
        if not (whole and 2 <= self.bits <= 8):
            raise ValueError(f"bits={self.bits!r} must be a whole number from 2 to 8")
        if self.per not in ("tensor", "channel") and not (type(self.per) is int and self.per > 0):
            raise ValueError(f'per={self.per!r} must be "tensor", "channel" or the size of a group, such as 32')
        if self.scales not in ("float32", "float16"):
            raise ValueError(f"scales={self.scales!r} must be float32 or float16")
        if self.int8_activations and not (self.bits == 8 and self.symmetric and type(self.per) is str):
            raise ValueError("int8_activations multiplies whole rows of codes: it needs bits=8, symmetric=True and one "
                             "scale for each channel or for the tensor")

    @property
    def lowest(self) -> int:
        """The lowest code; -128 is left out where codes are symmetric, since 128 does not exist."""
        return -(2 ** (self.bits - 1)) + self.symmetric

    @property
    def highest(self) -> int:
        return 2 ** (self.bits - 1) - 1


SCHEMES = {
    "int8-tensor": Scheme(per="tensor"),
    "int8": Scheme(),
    "int8-affine": Scheme(symmetric=False),
    "int8-activations": Scheme(int8_activations=True),
    "int4-channel": Scheme(bits=4, scales="float16"),
    "int4": Scheme(bits=4, per=32, scales="float16"),
    "int4-gptq": Scheme(bits=4, per=32, scales="float16", calibrated=True),
}


def groups(weight: Float[Tensor, "O I"], per: str | int) -> Float[Tensor, "_ G _"]:
    """The weights that share a scale, side by side; a last group that is not full is filled with zeros."""
    if per == "tensor":
        return weight.reshape(1, 1, -1)
    if per == "channel":
        return weight.unsqueeze(1)                                                      # (O, 1, I)
    return F.pad(weight, (0, -weight.size(1) % per)).unflatten(1, (-1, per))            # (O, G, per)


def choose_scales(
    weight: Float[Tensor, "O I"], scheme: Scheme
) -> tuple[Float[Tensor, "_ G"], Int8[Tensor, "_ G"] | None]:
    """Return the scales and zero points with which no weight is cut off.

    Symmetric: the largest weight in size gets the highest code, and there are no zero points (None). Affine: least and
    greatest weight get the lowest and the highest code; 0 is always in their range and stays exact. The scale of a
    group of zeros is 1.

    >>> choose_scales(torch.tensor([[0.5, -1.27], [0.0, 0.0]]), Scheme())[0]
    tensor([[0.0100],
            [1.0000]])
    """
    if not weight.isfinite().all():
        raise ValueError("a weight is NaN or infinite, and no scale reaches it; look at the training of this model")
    together = groups(weight, scheme.per)                                               # (O, G, size)
    low, high = together.amin(-1).clamp(max=0), together.amax(-1).clamp(min=0)          # (O, G)
    if scheme.symmetric:
        scales = torch.maximum(-low, high) / scheme.highest
    else:
        scales = (high - low) / (scheme.highest - scheme.lowest)
    number = torch.finfo(getattr(torch, scheme.scales))
    scales = scales.where(scales > 0, 1).clamp(number.tiny, number.max).to(getattr(torch, scheme.scales))
    if scheme.symmetric:
        return scales, None
    return scales, (scheme.lowest - low / scales).round().clamp(scheme.lowest, scheme.highest).to(torch.int8)


def round_to_codes(
    weight: Float[Tensor, "O I"], scales: Float[Tensor, "_ G"], zeros: Int8[Tensor, "_ G"] | None, scheme: Scheme
) -> Int8[Tensor, "O I"]:
    """Return the code nearest to each weight; of two as near, the even one.

    >>> round_to_codes(torch.tensor([[0.5, -1.27]]), torch.tensor([[0.01]]), None, Scheme())
    tensor([[  50, -127]], dtype=torch.int8)
    """
    steps = weight / spread(scales, weight.size(1), scheme.per)
    if zeros is not None:
        steps = steps + spread(zeros, weight.size(1), scheme.per)
    return steps.round().clamp(scheme.lowest, scheme.highest).to(torch.int8)


def dequantize(
    codes: Int8[Tensor, "O I"], scales: Float[Tensor, "_ G"], zeros: Int8[Tensor, "_ G"] | None, scheme: Scheme
) -> Float[Tensor, "O I"]:
    """Return the weights that the codes stand for, in fp32.

    >>> dequantize(torch.tensor([[50, -127]], dtype=torch.int8), torch.tensor([[0.01]]), None, Scheme())
    tensor([[ 0.5000, -1.2700]])
    """
    steps = codes.float()
    if zeros is not None:
        steps = steps - spread(zeros, codes.size(1), scheme.per)
    return steps * spread(scales, codes.size(1), scheme.per)


def spread(of_group: Tensor, width: int, per: str | int) -> Tensor:
    """Give each weight of a row what its group has; what belongs to a row or to the tensor is spread by torch itself."""
    return of_group if isinstance(per, str) else of_group.repeat_interleave(per, dim=1)[:, :width]


def pack(codes: Int8[Tensor, "O I"]) -> UInt8[Tensor, "O half"]:
    """Put two codes from -8 to 7 into each byte, the first in the lower four bits; an odd row ends with a code of 0.

    >>> pack(torch.tensor([[1, -8, 7]], dtype=torch.int8))
    tensor([[  9, 143]], dtype=torch.uint8)
    """
    unsigned = F.pad(codes + 8, (0, codes.size(1) % 2), value=8).to(torch.uint8)        # 0 to 15
    return unsigned[:, ::2] | unsigned[:, 1::2] << 4


def unpack(packed: UInt8[Tensor, "O half"], width: int) -> Int8[Tensor, "O {width}"]:
    """Take the codes out again, so many in a row.

    >>> unpack(torch.tensor([[9, 143]], dtype=torch.uint8), width=3)
    tensor([[ 1, -8,  7]], dtype=torch.int8)
    """
    pairs = torch.stack((packed & 15, packed >> 4), dim=-1).flatten(1)                  # (O, 2 * half)
    return pairs[:, :width].to(torch.int8) - 8


def gptq(
    weight: Float[Tensor, "O I"], hessian: Float[Tensor, "I I"], scheme: Scheme, damping: float = 0.01
) -> tuple[Int8[Tensor, "O I"], Float[Tensor, "_ G"], Int8[Tensor, "_ G"] | None]:
    """Return codes, scales and zero points that keep what the layer computes, not each of its weights.

    `hessian` is the sum of x x^T over the inputs x that the layer gets. Input by input a column is rounded, and the
    columns that are still free are moved to where the outputs are again as right as they can be (Frantar et al. 2022,
    "GPTQ", algorithm 1). The scales of a group are chosen when its turn comes. `damping`, as a share of the mean of the
    diagonal, is added to it.
    """
    free, hessian = weight.double().clone(), hessian.double().clone()                   # (O, I), (I, I)
    mean = hessian.diagonal().mean()
    hessian.diagonal().add_(damping * mean if mean > 0 else 1.0)        # 0: nothing comes in, and any Hessian will do
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    rest = torch.linalg.cholesky(inverse, upper=True)       # row j: how the columns after j answer to an error in column j
    codes, chosen, width = torch.empty_like(weight, dtype=torch.int8), [], weight.size(1)
    size = scheme.per if isinstance(scheme.per, int) else width
    for first in range(0, width, size):
        part = dataclasses.replace(scheme, per="channel" if size < width else scheme.per)
        scales, zeros = choose_scales(free[:, first:first + size].to(weight.dtype), part)
        chosen.append((scales, zeros))
        for j in range(first, min(first + size, width)):
            codes[:, j:j + 1] = round_to_codes(free[:, j:j + 1], scales, zeros, part)
            error = free[:, j] - dequantize(codes[:, j:j + 1], scales, zeros, part)[:, 0]       # (O)
            free[:, j:] -= torch.outer(error / rest[j, j], rest[j, j:])
    scales, zeros = zip(*chosen)
    return codes, torch.cat(scales, dim=1), None if scheme.symmetric else torch.cat(zeros, dim=1)


def int8_linear(
    x: Float[Tensor, "*B I"], codes: Int8[Tensor, "O I"], scales: Float[Tensor, "_ 1"]
) -> Float[Tensor, "*B O"]:
    """Round each row of x to int8 as well, multiply whole numbers, and scale the int32 sums at the end.

    >>> codes = torch.tensor([[1, 2], [-3, 4]], dtype=torch.int8)
    >>> int8_linear(torch.tensor([[127.0, 1.0]]), codes, torch.tensor([[1.0], [0.5]]))
    tensor([[ 129.0000, -188.5000]])
    """
    rows = x.reshape(-1, x.size(-1)).float()                                            # (N, I)
    steps = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127                 # (N, 1)
    sums = multiply((rows / steps).round().to(torch.int8), codes)                       # (N, O), int32
    return (sums * steps * scales.t()).view(*x.shape[:-1], len(codes))


@functools.cache
def exact() -> bool:
    """Does torch multiply int8 without losing anything here?

    Where a processor lacks the instructions for it (VNNI), oneDNN adds pairs of products in 16 bits: too few for large ones.
    """
    most = torch.full((2, 64), 127, dtype=torch.int8)
    try:
        return torch.equal(torch._int_mm(most, most.t()), torch.full((2, 2), 64 * 127 * 127, dtype=torch.int32))
    except (AttributeError, RuntimeError):
        return False


def multiply(x: Int8[Tensor, "N I"], codes: Int8[Tensor, "O I"]) -> Int[Tensor, "N O"]:
    """Whole numbers times whole numbers, summed exactly, in int32 (or in floating-point numbers that hold such sums)."""
    width = x.size(1)
    if x.device.type == "cpu" and width > 1 and exact():
        return torch._int_mm(x, codes.t())
    wide = torch.float32 if width * 128 * 128 <= 2**24 else torch.float64
    return (x.to(wide) @ codes.t().to(wide)).int()


Kernel = Callable[[Tensor], Tensor]


class QuantizedMatrix(nn.Module):
    """A matrix as it is stored: codes (two to a byte up to 4 bits), scales and, where codes are not symmetric, zero points.

    >>> QuantizedMatrix.of(torch.tensor([[0.5, -1.27]]), Scheme()).weight()
    tensor([[ 0.5000, -1.2700]])
    """

    def __init__(
        self, codes: Int8[Tensor, "O I"], scales: Float[Tensor, "_ G"], zeros: Int8[Tensor, "_ G"] | None, scheme: Scheme
    ) -> None:
        super().__init__()
        self.scheme, self.shape = scheme, tuple(codes.shape)
        self.register_buffer("codes", pack(codes) if scheme.bits <= 4 else codes)
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", zeros)

    @classmethod
    def of(
        cls, weight: Float[Tensor, "O I"], scheme: Scheme, hessian: Float[Tensor, "I I"] | None = None
    ) -> "QuantizedMatrix":
        """Quantize a matrix, by `gptq` where there is a Hessian."""
        if hessian is not None:
            return cls(*gptq(weight, hessian, scheme), scheme)
        scales, zeros = choose_scales(weight, scheme)
        return cls(round_to_codes(weight, scales, zeros, scheme), scales, zeros, scheme)

    @classmethod
    def empty(cls, rows: int, width: int, scheme: Scheme) -> "QuantizedMatrix":
        """A matrix of this shape without numbers, to be filled from a file."""
        count = -(-width // scheme.per) if isinstance(scheme.per, int) else 1
        codes = torch.empty(rows, width, dtype=torch.int8, device="meta")
        dtype = getattr(torch, scheme.scales)
        scales = torch.empty(1 if scheme.per == "tensor" else rows, count, dtype=dtype, device="meta")
        return cls(codes, scales, None if scheme.symmetric else torch.empty_like(scales, dtype=torch.int8), scheme)

    def weight(self, rows: Int[Tensor, "N"] | None = None) -> Float[Tensor, "N I"]:
        """Widen the matrix, or some of its rows, to fp32."""
        codes, scales, zeros = self.codes, self.scales, self.zeros
        if rows is not None:
            codes = codes[rows]
            if self.scheme.per != "tensor":
                scales, zeros = scales[rows], None if zeros is None else zeros[rows]
        codes = unpack(codes, self.shape[1]) if self.scheme.bits <= 4 else codes
        return dequantize(codes, scales, zeros, self.scheme)


# Each kernel prepares what it can once, and returns the function of x that the layer calls.

def widened(matrix: QuantizedMatrix) -> Kernel:
    """Make the fp32 weights at each call: exact, and slow where there are few rows."""
    return lambda x: linear(x, matrix.weight().to(x.dtype))


def in_int8(matrix: QuantizedMatrix) -> Kernel:
    """Multiply int8 by int8: what comes in is rounded as well."""
    codes, scales = matrix.codes, matrix.scales
    return lambda x: int8_linear(x, codes, scales)


def in_bf16(matrix: QuantizedMatrix) -> Kernel:
    """Multiply bf16 by int8: what comes in keeps 8 bits of precision, and the codes are widened on their way."""
    codes, scales, (rows, width) = matrix.codes, matrix.scales[:, 0].bfloat16(), matrix.shape
    return lambda x: torch._weight_int8pack_mm(x.reshape(-1, width).bfloat16(), codes, scales).view(*x.shape[:-1], rows)


KERNELS = {"widened": widened, "int8": in_int8, "bf16": in_bf16}


def usable(matrix: QuantizedMatrix) -> list[str]:
    """Which kernels compute with such a matrix where it lies; the first is used where nothing was measured."""
    scheme = matrix.scheme
    if scheme.int8_activations:
        return ["int8"]
    if scheme.bits < 5 or not scheme.symmetric or isinstance(scheme.per, int):
        return ["widened"]
    # torch's kernel for bf16 reads past the end of rows whose width is no multiple of 16.
    bf16 = scheme.per == "channel" and matrix.shape[1] % 16 == 0 and matrix.codes.device.type == "cpu"
    return ["widened", "int8"] + ["bf16"] * bf16


class QuantizedLinear(nn.Module):
    """Multiply by a quantized matrix and add the bias, by one kernel for a single row and by one for more."""

    def __init__(self, matrix: QuantizedMatrix, bias: Tensor | None = None) -> None:
        super().__init__()
        self.matrix, self.bias = matrix, bias
        self.use()

    def use(self, one: str | None = None, many: str | None = None) -> None:
        """Compute with these kernels from now on."""
        first = usable(self.matrix)[0]
        self.one, self.many = (KERNELS[name or first](self.matrix) for name in (one, many))

    def _apply(self, function: Callable, *rest: Any) -> "QuantizedLinear":
        super()._apply(function, *rest)
        self.use()          # what was prepared belongs to the device where the matrix was
        return self

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        out = (self.one if x.numel() == x.size(-1) else self.many)(x)
        return out.to(x.dtype) if self.bias is None else (out + self.bias).to(x.dtype)


class QuantizedEmbedding(nn.Module):
    """Look rows up in a quantized matrix; only these are widened."""

    def __init__(self, matrix: QuantizedMatrix) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, ids: Int[Tensor, "*B"]) -> Float[Tensor, "*B I"]:
        return self.matrix.weight(ids.flatten()).view(*ids.shape, -1)


def quantize(
    model: GPT, scheme: Scheme | str | Mapping[str, Scheme | str], calibration: Int[Tensor, "N T"] | None = None,
    progress: bool = False,
) -> GPT:
    """Return a quantized copy, in eval mode; the model itself is left as it is.

    `scheme` is one for all matrices (embeddings and output layer too) or, by the name of the layer, one for each; what
    is not named stays in fp32, as norms and biases do. A tied output layer shares the codes of the token embedding, and
    its name. Calibrated schemes need `calibration`, windows of ids like those the model was trained on: layer by layer
    they go through the model as far as it is quantized, and each layer is rounded for the inputs that it then gets. The
    rows of an embedding are looked up, not summed, so those are rounded plainly, unless an output layer uses them too.

    >>> from gptcore.gpt import PRESETS
    >>> int(size_table(quantize(GPT(PRESETS["tiny"]), "int8"))["codes"].sum())
    237568
    """
    if any(isinstance(module, QuantizedMatrix) for module in model.modules()):
        raise ValueError("this model is quantized already, and rounding twice adds up: quantize the fp32 model it came from")
    schemes = by_layer(model, scheme)
    if calibration is None and any(chosen.calibrated for chosen in schemes.values()):
        raise ValueError("a calibrated scheme needs calibration=, windows of token ids from the training text (32 will do)")
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for name, chosen in tqdm(schemes.items(), unit="layer", disable=not progress):
        layer, hessian = model.get_submodule(name), None
        if chosen.calibrated and (isinstance(layer, nn.Linear) or is_tied(model, name)):
            hessian = second_moments(model, name, calibration)
        put(model, name, QuantizedMatrix.of(layer.weight, chosen, hessian))
    return model


def by_layer(model: GPT, scheme: Scheme | str | Mapping[str, Scheme | str]) -> dict[str, Scheme]:
    """The scheme of each layer, in the order in which the model uses them."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Embedding)]
    chosen = scheme if isinstance(scheme, Mapping) else dict.fromkeys(names, scheme)
    if unknown := sorted(chosen.keys() - set(names)):
        raise ValueError(f"there is no layer {unknown[0]!r} to quantize; there are {', '.join(names)}")
    if wrong := [value for value in chosen.values() if isinstance(value, str) and value not in SCHEMES]:
        raise ValueError(f"there is no scheme {wrong[0]!r}; choose one of {', '.join(SCHEMES)}, or give a Scheme")
    return {name: SCHEMES.get(chosen[name], chosen[name]) for name in names if name in chosen}


def is_tied(model: GPT, name: str) -> bool:
    return name == "token_embedding" and model.config.tied


def put(model: GPT, name: str, matrix: QuantizedMatrix) -> None:
    """Put a quantized matrix where the model had a layer; both uses of tied weights get the same one."""
    layer = model.get_submodule(name)
    if isinstance(layer, nn.Embedding):
        model.set_submodule(name, QuantizedEmbedding(matrix))
        if is_tied(model, name):
            model.output = QuantizedLinear(matrix)
    else:
        model.set_submodule(name, QuantizedLinear(matrix, layer.bias))


def second_moments(model: GPT, name: str, ids: Int[Tensor, "N T"]) -> Float[Tensor, "I I"]:
    """The sum of x x^T over all inputs x that a layer gets when the model reads these windows."""
    total = torch.zeros((), dtype=torch.float64)

    def add(module: nn.Module, inputs: tuple[Tensor], out: Tensor | None = None) -> None:
        nonlocal total
        x = (inputs[0] if out is None else out).flatten(0, -2)                          # (N, I)
        total = total + (x.t() @ x).double()

    tied = is_tied(model, name)  # then the input of the output layer is what the last norm makes
    hook = model.final_norm.register_forward_hook(add) if tied else model.get_submodule(name).register_forward_pre_hook(add)
    try:
        with evaluating(model):
            for batch in ids.split(8):
                model(batch.to(model.final_norm.weight.device))
    finally:
        hook.remove()
    return total


def size_table(model: nn.Module) -> pd.DataFrame:
    """Count the bytes of a model, of any kind: one row for each layer, one column for each kind, shared weights once.

    `codes` are packed weights, `scales` also zero points; `parameters` what stayed as it was; `buffers` what is saved
    or moved along though nobody trains it, such as masks.
    """
    rows: dict[str, dict[str, int]] = {}
    kinds = {"codes": "codes", "scales": "scales", "zeros": "scales"}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        layer, _, last = name.rpartition(".")
        kind = kinds[last] if layer.endswith("matrix") else "parameters" if isinstance(tensor, nn.Parameter) else "buffers"
        row = rows.setdefault(layer.removesuffix(".matrix"), dict.fromkeys(("codes", "scales", "parameters", "buffers"), 0))
        row[kind] += tensor.numel() * tensor.element_size()
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")
    return table.assign(total=table.sum(axis=1))


def save_quantized(model: GPT, path: str | Path) -> None:
    """Write codes, scales and all that stayed in fp32 as safetensors, with configuration and schemes in the metadata."""
    schemes = {name.removesuffix(".matrix"): dataclasses.asdict(module.scheme)
               for name, module in model.named_modules() if isinstance(module, QuantizedMatrix)}
    if not schemes:
        raise ValueError("nothing in this model is quantized; save_weights stores models in fp32")
    tensors = {name: tensor.contiguous() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    metadata = {"config": json.dumps(model.config.to_dict()), "schemes": json.dumps(schemes)}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_quantized(path: str | Path, device: torch.device | str = "cpu", measure: bool = True) -> GPT:
    """Build the model that `save_quantized` wrote, in eval mode, without ever making its weights in fp32.

    With `measure`, `choose_kernels` finds the fastest way to compute on this machine. Anything but a whole file of a
    quantized model raises ValueError with the reason.
    """
    try:
        with safetensors.safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file ({error}); fetch it again or quantize anew") from error
    if "schemes" not in metadata:
        raise ValueError(f"{path} holds no quantized model; load_weights loads those in fp32")
    try:
        with torch.device("meta"):                              # shapes only: the numbers come from the file
            model = GPT(GPTConfig.from_dict(json.loads(metadata["config"])))
            for name, fields in json.loads(metadata["schemes"]).items():
                put(model, name, QuantizedMatrix.empty(*model.get_submodule(name).weight.shape, Scheme(**fields)))
        for name, expected in [*model.named_parameters(), *model.named_buffers()]:
            found = tensors.get(name)
            if found is None or (found.shape, found.dtype) != (expected.shape, expected.dtype):
                raise ValueError(f"{name} should be {expected.dtype} {tuple(expected.shape)}, not " + (
                    "missing" if found is None else f"{found.dtype} {tuple(found.shape)}"))
        shared = {name.replace("token_embedding", "output"): tensor for name, tensor in tensors.items()
                  if name.startswith("token_embedding.matrix.") and model.config.tied}
        model.load_state_dict(tensors | shared, assign=True)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: configuration, schemes and numbers do not make a model ({error}); was the file written "
                         "by another version, or changed by hand?") from error
    for module in model.modules():
        if isinstance(module, QuantizedLinear):
            module.use()
    if measure:
        choose_kernels(model)
    return model.eval().requires_grad_(False)


def choose_kernels(model: GPT, rows: int = 32, repeats: int = 30) -> pd.DataFrame:
    """Time each usable kernel in each quantized layer, with one row and with `rows`, and let the layer use the faster ones.

    Returns what was measured: for each layer and number of rows the median of so many calls in microseconds, and the
    `chosen` one. Layers of one shape are measured once. "int8" and "bf16" round what comes in, which costs a little
    accuracy.
    """
    table, known = [], {}
    for name, layer in model.named_modules():
        if isinstance(layer, QuantizedLinear):
            matrix, chosen = layer.matrix, []
            for count in (1, rows):
                key = matrix.shape, matrix.scheme, count
                if key not in known:
                    x = torch.randn(count, matrix.shape[1], device=matrix.codes.device)
                    known[key] = {kernel: timed(kernel, x, matrix, repeats) for kernel in usable(matrix)}
                chosen.append(min(known[key], key=known[key].__getitem__))
                table.append({"layer": name, "rows": count, **known[key], "chosen": chosen[-1]})
            layer.use(*chosen)
    return pd.DataFrame(table).set_index(["layer", "rows"])


@torch.no_grad()
def timed(name: str, x: Tensor, matrix: QuantizedMatrix, repeats: int) -> float:
    """The median of some calls in microseconds, the first ones left out; infinite where this machine cannot do it."""
    kernel, seconds = KERNELS[name](matrix), []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        try:
            kernel(x)
        except (AttributeError, NotImplementedError, RuntimeError):
            return float("inf")
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 1e6 * statistics.median(seconds[3:])
