"""What a model can learn from so much text, said before it is trained.

The bounds are rough, and said to be: that four passes over a text are nearly as good as new text and that about forty add
nothing more was measured with larger models (Muennighoff et al., "Scaling data-constrained language models", 2023).
"""

from dataclasses import replace
from textwrap import fill

from .corpora import Corpus
from .gpt import GPTConfig, count_parameters
from .schedule import TrainConfig
from .tokenizer import Tokenizer

__all__ = ["advice"]

SAMPLE = 200_000  # characters that a tokenizer's bytes per token are measured on
AS_NEW, WORN_OUT = 4, 40  # passes over a text
FEW_WINDOWS = 50  # of validation text
HOPES = {  # bytes of training text below which this is what to hope for
    100_000: "spelling, the commonest words, and lines learned by heart if it is read often; an n-gram model is a fair rival"
             " (see evaluate)",
    3_000_000: "the words, names and layout of this text, and sentences that hold together for some words; hardly a meaning",
    100_000_000: "well-formed sentences in the style of this text; their thread is soon lost",
    float("inf"): "paragraphs that keep to their subject; facts only where the text often repeats them",
}


def advice(
    corpus: Corpus, tokens_per_byte: Tokenizer | float | int, config: GPTConfig, train_config: TrainConfig,
    train_bytes: int | None = None,
) -> str:
    """A few lines derived from numbers: text, model, plan, and what to expect of them.

    `tokens_per_byte` is a number, or the tokenizer, whose vocabulary the model then has. `train_bytes` says how much text
    there is where `corpus` holds only its beginning, as with shards.
    """
    if isinstance(tokens_per_byte, Tokenizer):
        config = replace(config, vocab_size=tokens_per_byte.vocab_size)
        tokens_per_byte = _measured(tokens_per_byte, corpus)
    size = sum(len(text.encode()) for text in corpus.train) if train_bytes is None else train_bytes
    tokens, windows = size * tokens_per_byte, corpus.validation_bytes * tokens_per_byte / config.block_size
    parameters = sum(count_parameters(config).values())
    step = train_config.batch_size * train_config.accumulation * config.block_size
    passes, read = train_config.steps * step / tokens, train_config.steps * step / parameters
    said = {
        "text": f"{size:,} bytes to learn from, about {tokens:,.0f} tokens of {1 / tokens_per_byte:.2f} bytes",
        "model": f"{parameters:,} parameters, {_short(parameters / tokens)} for each token of the text",
        "plan": f"{train_config.steps:,} steps of {step:,} tokens: the text {_short(passes)} times",
        "hope": next(hope for bound, hope in HOPES.items() if size < bound),
        "expect": _overfitting(passes, parameters / tokens, config.dropout, tokens / step),
        "rule": "20 tokens for each parameter are for large models and text without end; a small model on a small text "
                f"reads it again and again: here {_short(read)} tokens for each parameter",
    }
    if windows < FEW_WINDOWS:
        said["judged"] = (f"by about {_short(windows)} windows of validation text: too few to tell models apart that "
                          "differ by some percent")
    return "\n".join(fill(text, 110, initial_indent=f"{name:8}", subsequent_indent=" " * 8) for name, text in said.items())


def _measured(tokenizer: Tokenizer, corpus: Corpus) -> float:
    """Tokens for each byte at the beginning of the training text."""
    sample, left = [], SAMPLE
    for text in corpus.train:
        sample.append(text[:left])
        left -= len(sample[-1])
        if left <= 0:
            break
    return sum(len(tokenizer.encode(text)) for text in sample) / sum(len(text.encode()) for text in sample)


def _overfitting(passes: float, capacity: float, dropout: float | int, steps_a_pass: float) -> str:
    """What repeating a text so often does to a model with so many parameters for each of its tokens."""
    if passes <= 1:
        return "no overfitting: nothing is read twice; more steps help most"
    if passes <= AS_NEW:
        return f"little overfitting: up to about {AS_NEW} passes teach nearly as much as new text; more steps help"
    if passes <= WORN_OUT:
        said = f"each pass teaches less than the one before, and beyond about {WORN_OUT} none teaches much"
    else:
        said = (f"overfitting: beyond about {WORN_OUT} passes, {WORN_OUT * steps_a_pass:,.0f} steps, little is learned but "
                "the text by heart; the validation loss may rise, and the model that is kept is the one where it was lowest")
    if capacity > 1:
        said += "; with more parameters than tokens the model can learn the text by heart, and " + (
            f"dropout ({dropout:g}) delays that" if dropout else "--dropout 0.2 or a smaller model delays that")
    return said


def _short(number: float | int) -> str:
    """Two digits that count, and no more than the number has.

    >>> _short(703.4), _short(11.86), _short(0.3774)
    ('700', '12', '0.38')
    """
    return f"{float(f'{number:.2g}'):,.10g}"
