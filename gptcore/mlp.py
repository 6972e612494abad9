"""A network over the last few tokens, after Bengio et al. (2003). Built by hand in notebooks/02_longer_context.ipynb."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["MLPConfig", "MLPModel"]


@dataclass(frozen=True)
class MLPConfig:
    """Sizes of an MLPModel; `block_size` is only the length of the windows that it is trained and judged on."""

    vocab_size: int
    context: int = 8      # tokens that the network sees, the last one included
    n_embd: int = 32
    n_hidden: int = 256
    block_size: int = 128

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name}={value}: at least 1 is needed")


class MLPModel(nn.Module):
    """Predict each next token from the `context` tokens before it: look up a vector for each, join them, one hidden layer.

    What stands before a window's first token is unknown; a vector of its own says so.

    >>> import torch
    >>> MLPModel(MLPConfig(vocab_size=5, context=3))(torch.zeros(2, 7, dtype=torch.long)).shape
    torch.Size([2, 7, 5])
    """

    def __init__(self, config: MLPConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size + 1, config.n_embd)  # the last row: nothing is known
        self.hidden = nn.Linear(config.context * config.n_embd, config.n_hidden)
        self.output = nn.Linear(config.n_hidden, config.vocab_size)

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Return the scores of the token after each position."""
        config = self.config
        padded = F.pad(ids, (config.context - 1, 0), value=config.vocab_size)
        contexts = padded.unfold(1, config.context, 1)                        # (B, T, n)
        if ids.numel() <= config.vocab_size:
            hidden = self.hidden(self.embedding(contexts).flatten(2))         # (B, T, n, C) -> (B, T, n * C)
        else:
            hidden = self.hidden_by_table(contexts)
        return self.output(hidden.tanh())

    def hidden_by_table(self, contexts: Int[Tensor, "B T n"]) -> Float[Tensor, "B T H"]:
        """Return the same sums, cheaper where tokens come often: what each adds at each place is computed only once.

        With 67 tokens and 1,024 positions a step of training takes half as long on one core of a CPU. Where the positions
        are fewer than the tokens, `forward` does without.
        """
        n, rows = self.config.context, self.config.vocab_size + 1
        if contexts.min() < 0 or contexts.max() >= rows:  # or the row of another place would be looked up
            raise IndexError(f"token {int(contexts.max())} or {int(contexts.min())}: they go from 0 to {rows - 2}")
        weights = self.hidden.weight.unflatten(1, (n, -1))                        # (H, n * C) -> (H, n, C)
        table = (self.embedding.weight @ weights.permute(1, 2, 0)).flatten(0, 1)  # (n, V + 1, H) -> (n * (V + 1), H)
        places = contexts + rows * torch.arange(n, device=contexts.device)
        sums = F.embedding_bag(places.flatten(0, 1), table, mode="sum")           # (B * T, H)
        return sums.unflatten(0, contexts.shape[:2]) + self.hidden.bias
