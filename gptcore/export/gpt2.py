"""Our GPT as a GPT-2, the architecture that other programs know: what has a place in it, and what is refused."""

import dataclasses

import torch
from torch import Tensor

from gptcore.gpt import GPT, GPTConfig, plain_name
from gptcore.tokenizer import Tokenizer

__all__ = ["EPSILON", "gpt2_weights", "places", "refuse_other_vocabulary", "renamed"]

EPSILON = 1e-5  # what torch's LayerNorm, and ours, adds to the variance


def gpt2_weights(model: GPT) -> dict[str, Tensor]:
    """All weights of a GPT-2, in float32 and under our names; a bias that the model lacks is one of zeros.

    Raises ValueError where GPT-2 computes something else. With a tied output layer there is no "output.weight".
    """
    config = model.config
    if (inner := config.n_head * config.head_width) != config.n_embd:
        raise ValueError(f"the {config.n_head} heads of {config.head_width} channels make {inner} together, and those of a "
                         f"GPT-2 must make n_embd={config.n_embd}; train one that leaves head_size out, as --preset "
                         "exportable does")
    weights = {plain_name(name): weight.detach().cpu().float() for name, weight in model.state_dict().items()}
    if "output.bias" in weights and weights["output.bias"].any():
        raise ValueError("the output layer has a bias, for which a GPT-2 has no place; train one with tied=True, as "
                         "--preset exportable does, or with bias=False")
    zeros = {name: torch.zeros(place.shape) for name, place in places(dataclasses.replace(config, bias=True, qkv_bias=True))}
    return {name: weights.get(name, zero) for name, zero in zeros.items() if name != "output.bias"}


def places(config: GPTConfig) -> list[tuple[str, Tensor]]:
    """The names of a model's weights, with tensors that have shapes but no content."""
    with torch.device("meta"):
        return list(GPT(config).state_dict().items())


def renamed(name: str, parts: dict[str, str]) -> str:
    """Replace those parts of a dotted name that have another name elsewhere.

    >>> renamed("blocks.0.norm_1.bias", {"blocks": "h", "norm_1": "ln_1"})
    'h.0.ln_1.bias'
    """
    return ".".join(parts.get(part, part) for part in name.split("."))


def refuse_other_vocabulary(model: GPT, tokenizer: Tokenizer) -> None:
    """Raise ValueError when the tokenizer is not the model's."""
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(f"the tokenizer has {tokenizer.vocab_size} tokens, the model {model.config.vocab_size}; "
                         "use the tokenizer that was saved with the model")
