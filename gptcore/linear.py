"""x @ weight.T + bias by the faster of two libraries; the numbers are those of `F.linear`, up to rounding.

torch hands a product in float32 on a CPU to MKL. Where AVX-512 is there and Intel did not make the processor, oneDNN, which
torch brings along, is faster.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import flop_registry, register_flop_formula

__all__ = ["Linear", "linear"]

ROWS = 32  # below, oneDNN's preparations cost more than they save


def trusted() -> bool:
    """Does a processor with AVX-512 compute here, and does torch's inner operation do what it did when this was written?"""
    if not (torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"):
        return False
    x, weight, bias = torch.arange(6.0).reshape(2, 3), torch.arange(12.0).reshape(4, 3), torch.arange(4.0)
    try:
        return torch.equal(torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""), F.linear(x, weight, bias))
    except (AttributeError, RuntimeError, TypeError):
        return False


CAN = trusted()


def linear(
    x: Float[Tensor, "*B I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, "O"] | None = None
) -> Float[Tensor, "*B O"]:
    """Multiply each row of x by the matrix, and add the bias.

    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([0.5]))
    tensor([[11.5000]])
    """
    if CAN and x.numel() >= ROWS * x.size(-1) and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" \
            and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling():
        return OneDNN.apply(x, weight, bias)
    return F.linear(x, weight, bias)


class OneDNN(torch.autograd.Function):
    """The product by oneDNN, with its gradients, which are two products of the same kind."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)                                                      # (N, O)
        return (linear(grad, weight.t()) if ctx.needs_input_grad[0] else None,          # (*B, I)
                linear(rows.t(), x.flatten(0, -2).t()) if ctx.needs_input_grad[1] else None,    # (O, I)
                rows.sum(0) if ctx.needs_input_grad[2] else None)                       # (O)


if CAN and torch.ops.mkldnn._linear_pointwise not in flop_registry:
    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _(x: tuple[int, ...], weight: tuple[int, ...], *_: object, **__: object) -> int:
        """Two operations for each number of each row and each output, as torch counts its own products."""
        return 2 * math.prod(x) * weight[0]


class Linear(nn.Linear):
    """`nn.Linear`, its weights and their names, computed by `linear`."""

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        return linear(x, self.weight, self.bias)
