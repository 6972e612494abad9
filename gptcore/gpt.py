"""The GPT: its configuration, its layers, its weights on disk. Built by hand in notebooks/05_gpt.ipynb."""

import dataclasses
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn

from gptcore.attention import ATTENTION, CausalSelfAttention, KeyValueCache, head_width
from gptcore.files import atomic_write
from gptcore.linear import Linear, linear

__all__ = [
    "GPT", "MLP", "PRESETS", "Block", "GPTConfig", "count_parameters", "evaluating", "load_weights", "save_weights",
]

CHOICES = {"activation": ("gelu", "relu"), "attention": tuple(ATTENTION), "init": ("scaled", "spread", "torch")}


@dataclass(frozen=True)
class GPTConfig:
    """Everything that decides a model's shape and its start; what is not here does not change the model.

    `head_size=None` means n_embd // n_head, `qkv_bias=None` the same as `bias`. An untied output layer has a bias when
    `bias` is on, a tied one never. "gelu" is the tanh form, as in GPT-2. "scaled" draws the weights as GPT-2 does; "spread"
    begins with tokens far apart and places close together, so that attention can look things up early.

    >>> GPTConfig(vocab_size=65, n_embd=100, n_head=3)
    Traceback (most recent call last):
    ValueError: n_embd=100 does not split into n_head=3 equal heads; try n_embd=99, or give head_size yourself
    """

    vocab_size: int
    block_size: int = 256
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    head_size: int | None = None
    dropout: float | int = 0.0
    activation: str = "gelu"
    bias: bool = True
    qkv_bias: bool | None = None
    tied: bool = True
    attention: str = "sdpa"
    init: str = "scaled"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "head_size"):
            value = getattr(self, name)
            if value is None and name == "head_size":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number, 1 or more")
        for name in ("bias", "qkv_bias", "tied"):
            value = getattr(self, name)
            if not (isinstance(value, bool) or (value is None and name == "qkv_bias")):
                raise ValueError(f"{name}={value!r} must be True or False")
        if not (isinstance(self.dropout, (int, float)) and 0 <= self.dropout < 1):
            raise ValueError(f"dropout={self.dropout!r} must be at least 0 and below 1; 0.2 is common on small data")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(allowed)}")
        _ = self.head_width         # refuses heads that do not come out even

    @property
    def head_width(self) -> int:
        """D, with the default filled in."""
        return self.head_size or head_width(self.n_embd, self.n_head)

    def to_dict(self) -> dict:
        """Return the fields as a dict that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "GPTConfig":
        """Undo `to_dict`; a field that this version does not know is refused, since it may change the model.

        >>> GPTConfig.from_dict({"vocab_size": 65, "rotary": True})
        Traceback (most recent call last):
        ValueError: unknown configuration fields: rotary; known: vocab_size, block_size, n_layer, n_head, n_embd, \
head_size, dropout, activation, bias, qkv_bias, tied, attention, init
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := [str(name) for name in fields if name not in known]:
            raise ValueError(f"unknown configuration fields: {', '.join(unknown)}; known: {', '.join(known)}")
        if "vocab_size" not in fields:
            raise ValueError("the configuration lacks vocab_size; set it to the vocab_size of your tokenizer")
        return cls(**fields)


# The vocabulary of a preset is a default: dataclasses.replace(PRESETS["small"], vocab_size=tokenizer.vocab_size).
PRESETS = {
    # ours
    "tiny": GPTConfig(512, block_size=128, n_layer=4, n_head=4, n_embd=64),                             # 0.24 M
    "playhouse": GPTConfig(4096, block_size=256, n_layer=2, n_head=4, n_embd=128),                      # 0.95 M
    "small": GPTConfig(4096, block_size=256, n_layer=4, n_head=4, n_embd=128),                          # 1.35 M
    "medium": GPTConfig(65, block_size=256, n_layer=6, n_head=6, n_embd=384, dropout=0.2, bias=False),  # 10.7 M
    # what transformers and llama.cpp can run; at home with GPT-2's pattern, --tokenizer bpe:2048:gpt2
    "exportable": GPTConfig(2048, block_size=128, n_layer=3, n_head=3, n_embd=96),                      # 0.54 M
    # published; "medium" has the shape of nanoGPT's model for Tiny Shakespeare by characters
    "shakespeare-bpe": GPTConfig(500, block_size=256, n_layer=5, n_head=6, n_embd=232, head_size=38, dropout=0.2,
                                 activation="relu", qkv_bias=False, tied=False, init="torch"),          # 3.51 M
    "books-bpe": GPTConfig(8256, block_size=256, n_layer=6, n_head=6, n_embd=256, head_size=42, dropout=0.2,
                           activation="relu", qkv_bias=False, tied=False),                              # 9.01 M
    "wikipedia-bpe": GPTConfig(50281, block_size=1024, n_layer=8, n_head=8, n_embd=768, qkv_bias=False,
                               tied=False),                                                             # 134.75 M
    "gpt2": GPTConfig(50257, block_size=1024, n_layer=12, n_head=12, n_embd=768, dropout=0.1),          # 124.44 M
}


def count_parameters(config: GPTConfig) -> dict[str, int]:
    """Count the parameters by kind from the configuration alone; their sum is the size of the model.

    >>> sum(count_parameters(PRESETS["gpt2"]).values())
    124439808
    """
    V, C, L, inner = config.vocab_size, config.n_embd, config.n_layer, config.n_head * config.head_width
    qkv_bias = config.bias if config.qkv_bias is None else config.qkv_bias
    attention = 3 * inner * (C + qkv_bias) + C * (inner + config.bias)
    mlp = 4 * C * (C + config.bias) + C * (4 * C + config.bias)
    return {
        "token embedding": V * C,
        "position embedding": config.block_size * C,
        "attention": L * attention,
        "mlp": L * mlp,
        "norms": (2 * L + 1) * C * (1 + config.bias),
        "output": 0 if config.tied else V * (C + config.bias),
    }


class MLP(nn.Module):
    """Think about each position on its own: widen four times, bend, narrow again.

    >>> MLP(PRESETS["tiny"])(torch.zeros(2, 5, 64)).shape
    torch.Size([2, 5, 64])
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.expand = Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.activation = nn.ReLU() if config.activation == "relu" else nn.GELU(approximate="tanh")
        self.contract = Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        return self.dropout(self.contract(self.activation(self.expand(x))))


class Block(nn.Module):
    """Add to the residual stream first what attention gathers, then what the MLP makes of it.

    Each reads a normalised copy (pre-norm), so the stream itself runs from the embeddings to the output unchanged.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attention = CausalSelfAttention(
            config.n_embd, config.n_head, config.head_size, dropout=config.dropout, bias=config.bias,
            qkv_bias=config.qkv_bias, kind=config.attention)
        self.norm_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Float[Tensor, "B T C"], cache: KeyValueCache | None = None) -> Float[Tensor, "B T C"]:
        x = x + self.attention(self.norm_1(x), cache)
        return x + self.mlp(self.norm_2(x))


class GPT(nn.Module):
    """A decoder-only transformer: token ids in, one logit per token of the vocabulary and position out.

    The weights are drawn from torch's global generator: call torch.manual_seed before.

    >>> GPT(PRESETS["tiny"])(torch.zeros(2, 5, dtype=torch.long)).shape
    torch.Size([2, 5, 512])
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.n_embd)
        self.position_embedding = nn.Embedding(config.block_size, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.final_norm = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.output = None if config.tied else Linear(config.n_embd, config.vocab_size, bias=config.bias)
        if config.init != "torch":
            self._scale_weights()

    @torch.no_grad()
    def _scale_weights(self) -> None:
        """Draw the weights as GPT-2 does, but start every width close to a uniform guess over the vocabulary.

        Logits of variance n_embd * std**2 cost half of it over ln V: 0.15 nats at 768 channels with GPT-2's 0.02. The
        bound on std holds it at 0.02. A block's two last matrices shrink with the depth (GPT-2 paper, section 2.3).

        "spread" draws token vectors ten times as long, so that what a token is outweighs where it stands. Where the output
        layer is tied, the last norm then begins so small that the first guess is as even as it was, but for the token
        itself: exp(0.2 * sqrt(n_embd)) times as likely as another one, which tells in small vocabularies only.
        """
        edge = min(0.02, 0.2 / math.sqrt(self.config.n_embd))
        deep = 0.02 / math.sqrt(2 * self.config.n_layer)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif name.startswith(("token_embedding", "position_embedding", "output")):
                parameter.normal_(std=edge)
            elif "norm" not in name:
                parameter.normal_(std=deep if name.endswith(("projection.weight", "contract.weight")) else 0.02)
        if self.config.init == "spread":
            self.token_embedding.weight.normal_(std=0.2)
            if self.config.tied:
                self.final_norm.weight.fill_(1 / math.sqrt(self.config.n_embd))

    def check_ids(self, ids: Int[Tensor, "*shape"]) -> None:
        """Raise ValueError when an id has no row in the embedding."""
        low, high = (int(bound) for bound in ids.aminmax())
        if low < 0 or high >= self.config.vocab_size:
            raise ValueError(f"token id {low if low < 0 else high} is outside 0..{self.config.vocab_size - 1}; "
                             "was the text encoded with the tokenizer this model was made for?")

    def embed(self, ids: Int[Tensor, "B T"], past: int = 0) -> Float[Tensor, "B T C"]:
        """Start the residual stream: what each token is plus where it stands, `past` positions being cached."""
        T = ids.size(1)
        if not 0 < T <= self.config.block_size - past:
            raise ValueError(f"{T} tokens after {past} cached ones do not fit block_size={self.config.block_size} "
                             "(at least one is needed); shorten the window, or build a model with a larger block_size")
        # A look at ids on a GPU would make the host wait for it at every step.
        if ids.device.type == "cpu" and not torch.compiler.is_compiling():
            self.check_ids(ids)
        positions = torch.arange(past, past + T, device=ids.device)                     # (T)
        return self.dropout(self.token_embedding(ids) + self.position_embedding(positions))

    def new_cache(self) -> list[KeyValueCache]:
        """Return an empty cache for `forward`, one for each layer; it grows with each call it is given to."""
        return [KeyValueCache() for _ in self.blocks]

    def forward(self, ids: Int[Tensor, "B T"], cache: list[KeyValueCache] | None = None) -> Float[Tensor, "B T V"]:
        """Score every possible next token at every position; with a cache, `ids` are only the tokens not yet in it."""
        x = self.embed(ids, past=cache[0].length if cache else 0)                       # (B, T, C)
        for block, layer_cache in zip(self.blocks, cache or [None] * len(self.blocks)):
            x = block(x, layer_cache)
        x = self.final_norm(x)
        return linear(x, self.token_embedding.weight) if self.output is None else self.output(x)      # (B, T, V)

    def attention_maps(self, ids: Int[Tensor, "B T"]) -> list[Float[Tensor, "B H T T"]]:
        """Return the attention weights of every layer, for heat maps; row t says where position t looks."""
        maps = []
        with evaluating(self):
            x = self.embed(ids)
            for block in self.blocks:
                maps.append(block.attention.weights(block.norm_1(x)))
                x = block(x)
        return maps


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout and gradients off inside a `with`; afterwards each submodule is in the mode it was in.

    >>> model = GPT(PRESETS["tiny"])
    >>> with evaluating(model):
    ...     model.training, torch.is_grad_enabled()
    (False, False)
    >>> model.training, torch.is_grad_enabled()
    (True, True)
    """
    with sleeping(list(model.modules())):
        yield


@contextmanager
def sleeping(modules: list[nn.Module]) -> Iterator[None]:
    """Do so to modules that were looked up before: finding those of a model takes as long as a layer takes for a token."""
    awake = [module for module in modules if module.training]
    try:
        for module in awake:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module in awake:
            module.training = True


def plain_name(name: str) -> str:
    """Drop what torch.compile puts before the names of the weights."""
    return name.replace("_orig_mod.", "")


def save_weights(model: GPT, path: str | Path) -> None:
    """Write the weights as safetensors, with the configuration as JSON in the file's metadata."""
    weights = {plain_name(name): weight.contiguous() for name, weight in model.state_dict().items()}
    with atomic_write(path) as temporary:
        save_file(weights, temporary, metadata={"config": json.dumps(model.config.to_dict())})


def load_weights(path: str | Path, device: torch.device | str = "cpu") -> GPT:
    """Build the model that `save_weights` wrote; anything else raises ValueError with the reason.

    The model comes in training mode, as a new one does; torch's global generator is not touched.
    """
    try:
        with safetensors.safe_open(path, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            text = metadata.get("config")
            weights = {plain_name(name): file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file ({error}); fetch it again or go back to an older "
                         "checkpoint") from error
    if "schemes" in metadata:
        raise ValueError(f"{path} holds a quantized model; gptcore.quantization.load_quantized loads it")
    if text is None:
        raise ValueError(f"{path} holds weights but no GPT configuration; load files that save_weights wrote")
    try:
        with torch.device("meta"):                              # shapes only: the weights come from the file
            model = GPT(GPTConfig.from_dict(json.loads(text)))
        model.load_state_dict(weights, assign=True)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: configuration and weights do not make a model ({error}); was the file written by "
                         "another version, or changed by hand?") from error
    return model
