"""Inputs on which what is built by hand is held to gptcore: shared by the notebooks and the tests.

Each is a dict from the name of a case to its arguments, or to a function that uses what it is given. The cases are chosen so
that a wrong implementation cannot pass by luck: no two dimensions of an array are equal, no text has just one letter. A
function gives copies of what the next case needs, too: who writes x += 1 must not spoil it.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from gptcore import playhouse
from gptcore.attention import KeyValueCache, attention_weights
from gptcore.batches import Batches, validation_windows
from gptcore.corpora import Corpus
from gptcore.course.check import spared
from gptcore.device import Device
from gptcore.distributed import ALONE, Processes
from gptcore.evaluation import cross_entropy
from gptcore.gpt import GPT, PRESETS, GPTConfig
from gptcore.mlp import MLPConfig, MLPModel
from gptcore.quantization import Scheme
from gptcore.schedule import TrainConfig
from gptcore.splits import Span
from gptcore.tokenizer import GPT2_PATTERN, BPETokenizer, encode_document

__all__ = ["ACCUMULATED", "ATTENTION_LAYERS", "BATCHES", "BLOCKS", "BPE", "BYTE_NATS", "CACHES", "CHARACTERS", "CHUNKS",
           "CONFIGS", "COPIES", "DECAY", "DEQUANTIZED", "DISTRIBUTIONS", "ENTROPIES", "FIRING", "FIXED_WINDOWS",
           "GENERATIONS", "GPTQ", "GPTS", "INT8_LAYERS", "LOGITS", "MASKS", "MEMORY", "MERGES", "MLPS",
           "MODEL_DOCUMENTS", "MODEL_WINDOWS", "NATS", "NATS_IN_PAIRS", "NGRAM", "OPERATIONS", "PACKED", "PEAKS",
           "QUERIES_AND_KEYS", "QUERIES_KEYS_VALUES", "RATES", "RATES_OF_UNITS", "RECOMPUTED", "REPLAYS", "ROUNDED",
           "SCALES", "SHARED", "SIMILAR", "SPLITS", "STATISTICS", "TOKENS", "UNPACKED", "pile_of_books"]

CHARACTERS = {
    "train(['hello']).encode('hole')": lambda Tokenizer: Tokenizer.train(["hello"]).encode("hole"),
    "a text of two, encoded": lambda Tokenizer: Tokenizer.train(["banana", " band\n"]).encode("a bad\n"),
    "train(['zebra', '\\t!']).characters": lambda Tokenizer: Tokenizer.train(["zebra", "\t!"]).characters,
    "letters beyond ASCII, there and back":
        lambda Tokenizer: Tokenizer.train(["Ünïcödé ☂"]).decode(Tokenizer.train(["Ünïcödé ☂"]).encode("☂ Üé")),
    "train(['abc', 'cd']).vocab_size": lambda Tokenizer: Tokenizer.train(["abc", "cd"]).vocab_size,
    "train(['abc', 'cd']).end_of_text": lambda Tokenizer: Tokenizer.train(["abc", "cd"]).end_of_text,
    "train(['abc']).decode([3, 1, 0, 2, 2, 3]), where 3 is <|endoftext|>":
        lambda Tokenizer: Tokenizer.train(["abc"]).decode([3, 1, 0, 2, 2, 3]),
    "train(['abc']).encode('abcd'), where d is unknown": lambda Tokenizer: Tokenizer.train(["abc"]).encode("abcd"),
    "nothing, encoded": lambda Tokenizer: Tokenizer.train(["abc"]).encode(""),
    "nothing, decoded": lambda Tokenizer: Tokenizer.train(["abc"]).decode([]),
}

rng = np.random.default_rng(0)
NATS = {
    "twelve documents of different sizes": ([rng.exponential(size=size) for size in range(3, 15)],),
    "ten, just enough": ([rng.exponential(size=4 + size % 3) for size in range(10)],),
    "nine, too few": ([rng.exponential(size=20 + size) for size in range(9)],),
    "one long text": ([rng.exponential(size=333)],),
    "three, one of them short": ([rng.exponential(size=size) for size in (50, 7, 31)],),
}

generator = torch.Generator().manual_seed(0)
LOGITS = {
    "two sequences, three positions, five tokens": (
        torch.randn(2, 3, 5, generator=generator, dtype=torch.float64), torch.tensor([[4, 0, 1], [2, 2, 3]])),
    "equal scores": (torch.zeros(3, 2, 7, dtype=torch.float64), torch.tensor([[0, 1], [2, 3], [6, 5]])),
    "large scores": (100 * torch.randn(4, 3, 2, generator=generator, dtype=torch.float64),
                     torch.tensor([[0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1]])),
    "scores 0, 200 and 1000": (torch.tensor([[[0.0, 200.0, 1000.0]] * 2], dtype=torch.float64), torch.tensor([[0, 2]])),
}

DOCUMENTS = [[4, 0, 1, 2, 0, 1, 3, 0, 1, 2], [4, 2, 2, 2, 2, 2], [4, 1], [4]]  # a start token, then a text
HELD_OUT = [[4, 0, 1, 2, 2, 3, 3, 0, 1], [4, 3, 1]]
NGRAM = {
    "order 0, the uniform guess": lambda NGram: NGram(0, 5).fit(DOCUMENTS).token_nats(HELD_OUT),
    "order 1, the unigram": lambda NGram: NGram(1, 5).fit(DOCUMENTS).token_nats(HELD_OUT),
    "order 2, the bigram": lambda NGram: NGram(2, 5).fit(DOCUMENTS).token_nats(HELD_OUT),
    "order 4": lambda NGram: NGram(4, 5).fit(DOCUMENTS).token_nats(HELD_OUT),
    "a whole distribution": lambda NGram: NGram(3, 6).fit(DOCUMENTS).probabilities([0, 1]),
    "a context longer than the model's": lambda NGram: NGram(2, 5).fit(DOCUMENTS).probability([2, 2, 2, 0], 1),
    "the context [3, 3], never seen": lambda NGram: NGram(3, 5).fit(DOCUMENTS).probabilities([3, 3]),
    "the empty context": lambda NGram: NGram(3, 5).fit(DOCUMENTS).probabilities([]),
    "counted twice": lambda NGram: NGram(2, 5).fit(DOCUMENTS).fit(HELD_OUT).probabilities([1]),
}

WINDOWS = [np.array(document)
           for document in ([7, 5, 2, 6, 0, 3, 1, 4, 2, 5, 6, 7], [7, 3, 1, 0], [7, 6], [7, 0, 4, 4, 1, 2, 7])]
BATCHES = {
    "step 0": lambda Batches: Batches(WINDOWS, block_size=3, batch_size=5, seed=0).batch(0),
    "step 4 of another seed": lambda Batches: Batches(WINDOWS, block_size=3, batch_size=5, seed=2).batch(step=4),
    "micro-batch 2 of step 1": lambda Batches: Batches(WINDOWS, block_size=3, batch_size=5, seed=0).batch(step=1, micro=2),
    "twenty windows, some of documents that are too short":
        lambda Batches: Batches(WINDOWS, block_size=6, batch_size=20, seed=1).batch(3),
    "whole documents": lambda Batches: Batches(WINDOWS, block_size=40, batch_size=7, seed=0).batch(0),
    "one token at a time": lambda Batches: Batches(WINDOWS, block_size=1, batch_size=4, seed=0).batch(0),
    "the shortest document": lambda Batches: Batches([np.array([3, 8])], block_size=4, batch_size=2, seed=0).batch(0),
    "no window": lambda Batches: Batches(WINDOWS, block_size=3, batch_size=0, seed=0).batch(0),
    "a document of one token": lambda Batches: Batches([np.array([7])], block_size=3, batch_size=2, seed=0).batch(0),
}

TOKENS = {  # for a model with a vocabulary of 9
    "two rows of four": (torch.tensor([[8, 1, 7, 0], [2, 2, 5, 3]]),),
    "five rows of six": (torch.randint(9, (5, 6), generator=generator),),
    "one token": (torch.tensor([[6]]),),
    "a token that there is not": (torch.tensor([[6, 1], [0, 10]]),),
    "one among many that there is not": (torch.tensor([[6, 1, 3, 4, 0], [0, 10, 2, 2, 7]]),),
}

with torch.random.fork_rng([]):
    torch.manual_seed(0)
    judge = MLPModel(MLPConfig(vocab_size=9, context=2, n_embd=3, n_hidden=5, block_size=6)).double()
long_and_short = [rng.integers(9, size=size) for size in (23, 4, 7, 2, 40, 6)]
MODEL_DOCUMENTS = {
    "documents longer and shorter than a window": (judge, long_and_short),
    "forty documents, more than are read at once": (judge, [rng.integers(9, size=2 + i % 5) for i in range(40)]),
    "one document": (judge, long_and_short[:1]),
    "a document of one token": (judge, [np.array([8])]),
}

harder, easier = ([scale * rng.exponential(size=size) for size in range(3, 15)] for scale in (1.5, 1.0))
NATS_IN_PAIRS = {
    "twelve documents": (harder, easier),
    "the other way round": (easier, harder),
    "three documents": ([nats[:9] for nats in harder[7:10]], [nats[:9] for nats in easier[7:10]]),
    "documents of other sizes": (harder, easier[::-1]),
    "a document less": (harder, easier[:-1]),
    "a document of one number, a pair of four": ([np.ones(1), np.ones(5)], [np.ones(4), np.ones(5)]),
}

CHUNKS = {
    "abab abab as one chunk": ({b"abab abab": 1}, 3),
    "two chunks, the second more often": ({b"zy": 1, b"ab": 2}, 1),
    "equally often, so the first": ({b"zy": 1, b"ab": 1}, 2),
    "the first ab goes, so that cd comes before the next": ({b"xab": 1, b"xa": 4, b"cd": 2, b"ab": 2}, 3),
    "the first ab goes, and the second comes before cd": ({b"xab": 1, b"xa": 3, b"ab": 1, b"cd": 2, b"abe": 1}, 3),
    "in aaaa the pair aa is counted three times": ({b"bc": 2, b"aaaa": 1}, 1),
    "one letter, again and again": ({b"aaaaaaa": 2, b"aa": 1}, 4),
    "fewer merges than asked for": ({b"abc": 2, b"bc": 1}, 9),
    "no merges": ({b"abc": 1}, 0),
    "no chunks": ({}, 3),
    "a sentence of words": ({b"she": 1, b" sells": 2, b" sea": 1, b" shells": 3, b" by": 1, b" the": 2, b" shore": 1}, 14),
    "bytes from 0 to 255": ({bytes([0, 255, 0, 255, 1]): 2, bytes([255, 0]): 3}, 4),
}

JOINED = {(97, 98): 257, (256, 256): 259, (98, 99): 256, (257, 99): 258, (97, 97): 260, (260, 260): 261, (258, 258): 262,
          (120, 256): 263}
REPLAYS = {
    "abc: bc was learned before ab": (b"abc", JOINED),
    "abab": (b"abab", JOINED),
    "bcbcabcaab": (b"bcbcabcaab", JOINED),
    "a, five times": (b"aaaaa", JOINED),
    "nothing to join": (b"cba", JOINED),
    "no merges": (b"abc", {}),
    "one byte": (b"a", JOINED),
    "nothing": (b"", JOINED),
    "a long chunk": (b"abcbcaab" * 17 + b"a", JOINED),
    "a longer one": (b"aab" * 60 + b"bc" * 45, JOINED),
    "a long one with the bytes 0 and 1": (b"xbc\x00\x01" * 21, JOINED),
    "a long one with nothing to join": (b"cba" * 40, {(97, 98): 256}),
}

def pile_of_books(text: str) -> list[str]:
    """Nine books of 30,000 characters, eight of them of the text. Which one is not, and what it is, the reader finds out."""
    books = [text[i * 30_000:(i + 1) * 30_000] for i in range(9)]
    paths = [Path(playhouse.__file__).parent / f"{name}.py" for name in ("engine", "grammar", "reader")]
    books[5] = "".join(path.read_text(encoding="utf-8") for path in paths)[:30_000]
    return books


SHELLS = "she sells sea shells by the sea shore; the shells she sells are sea shells, I'm sure.\n"
TWO = ["<|user|>", "[INST]"]


def train(BPE, *arguments, **options):
    """Without gptcore's progress bar, which nobody builds by hand."""
    return BPE.train(*arguments, **options | ({"progress": False} if issubclass(BPE, BPETokenizer) else {}))


BPE = {
    "train on one sentence, vocab_size=270": lambda BPE: train(BPE, [SHELLS], 270).merges,
    "train on two texts without a pattern": lambda BPE: train(BPE, [SHELLS, "sea sea"], 268, pattern=None).merges,
    "train with GPT-2's pattern": lambda BPE: train(BPE, ["it'S 10000 1's", SHELLS], 275, pattern=GPT2_PATTERN).merges,
    "train with a pattern of our own": lambda BPE: train(BPE, [SHELLS], 270, pattern=r"[aeiou]+|[^aeiou]+").merges,
    "train with special tokens: fewer merges": lambda BPE: train(BPE, [SHELLS], 270, special_tokens=TWO).merges,
    "special_tokens": lambda BPE: train(BPE, [SHELLS], 270, special_tokens=TWO).special_tokens,
    "special_tokens, <|endoftext|> among them":
        lambda BPE: BPE([], special_tokens=["<|endoftext|>", "<|a|>"]).special_tokens,
    "vocab_size": lambda BPE: BPE([(97, 98)], special_tokens=["<|a|>"]).vocab_size,
    "end_of_text": lambda BPE: BPE([(97, 98)], special_tokens=["<|a|>"]).end_of_text,
    "train on three texts: no pair crosses": lambda BPE: train(BPE, ["ab", "ba", "ba"], 258, pattern=None).merges,
    "train with <|endoftext|> among the special tokens":
        lambda BPE: train(BPE, [SHELLS], 270, special_tokens=["<|endoftext|>", "<|a|>"]).merges,
    "a training text that holds <|endoftext|>": lambda BPE: train(BPE, ["a<|endoftext|>"], 300),
    "a training text that holds a special token": lambda BPE: train(BPE, ["fine", "a [INST]"], 300, special_tokens=TWO),
    "encode": lambda BPE: train(BPE, [SHELLS], 275).encode("she shall sell seashells!\n\n"),
    "encode without a pattern": lambda BPE: train(BPE, [SHELLS], 275, pattern=None).encode("she sells the sea"),
    "encode by GPT-2's pattern": lambda BPE: train(BPE, ["12345 12345"], 261, GPT2_PATTERN).encode(" 12345'S 45"),
    "encode where the merges do not stop at the chunks": lambda BPE: train(BPE, ["12345 12345"], 260).encode("2345 45"),
    "encode letters beyond ASCII": lambda BPE: train(BPE, ["é☂ é☂"], 259).encode("É é☂\u2003😀"),
    "encode a long word": lambda BPE: train(BPE, [SHELLS], 280, pattern=None).encode("shells" * 20),
    "encode nothing": lambda BPE: train(BPE, [SHELLS], 260).encode(""),
    "a text that holds <|endoftext|>": lambda BPE: BPE([(97, 98)]).encode("ab<|endoftext|>"),
    "a text that holds [INST], which is not allowed":
        lambda BPE: BPE([(97, 98)], special_tokens=TWO).encode("<|user|>ab [INST]", allowed_special=["<|user|>"]),
    "one special token allowed":
        lambda BPE: BPE([], special_tokens=TWO).encode("a[INST]b[INST]", allowed_special=["[INST]"]),
    "all of them allowed":
        lambda BPE: BPE([], special_tokens=TWO).encode("<|user|>a[INST]<|endoftext|>I", allowed_special="all"),
    "one begins as another: the longest": lambda BPE: BPE([], special_tokens=["<a", "<a>", "b"]).encode("<a><ab", "all"),
    "decode": lambda BPE: BPE([(97, 98), (256, 256)]).decode([257, 99, 256]),
    "decode half a character": lambda BPE: BPE([]).decode([65, 0xE2, 0x82, 66]),
    "decode special tokens, which have no text":
        lambda BPE: BPE([(97, 98)], special_tokens=TWO).decode([257, 256, 258, 259]),
    "decode special tokens by name":
        lambda BPE: BPE([(97, 98)], special_tokens=TWO).decode([257, 256, 258, 259], special_tokens=True),
    "decode nothing": lambda BPE: BPE([]).decode([]),
    "decode id 258 of 258 (0 to 257)": lambda BPE: BPE([(97, 98)]).decode([258]),
    "decode id -1": lambda BPE: BPE([(97, 98)]).decode([97, -1]),
}

ABC = BPETokenizer([(97, 98), (256, 99), (98, 99), (257, 100), (99, 99)], pattern=None)
with torch.random.fork_rng([]):
    torch.manual_seed(0)
    GUESSER = MLPModel(MLPConfig(ABC.vocab_size, context=3, n_embd=4, n_hidden=5, block_size=11)).double()
    GUESSER.output.weight.data *= 5  # far from a uniform guess
BYTE_NATS = {
    "one text": (GUESSER, [encode_document(ABC, "abcabcd")], ABC),
    "texts of several lengths": (
        GUESSER, [encode_document(ABC, text) for text in ("abcd", "cabbcac", "a", "bccab", "abdcb")], ABC),
    "a text with é and ☂": (GUESSER, [encode_document(ABC, "é ab☂")], ABC),
    "a text of nothing": (GUESSER, [encode_document(ABC, ""), encode_document(ABC, "ab")], ABC),
    "<|endoftext|> within a document": (GUESSER, [np.array([261, 256, 261, 97, 258, 261])], ABC),
    "<|endoftext|> twice at the end": (GUESSER, [np.array([261, 97, 261, 261])], ABC),
    "a byte that is no text": (GUESSER, [np.array([261, 255, 97, 261])], ABC),
    "forty texts": (GUESSER, [encode_document(ABC, "abcd" * (i % 3) + "cb" * (i % 4) + "a") for i in range(40)], ABC),
}

MASKS = {
    "three positions": (3, 3),
    "the last two of five": (2, 5),
    "the last of four": (1, 4),
    "one position": (1, 1),
    "what kind of numbers it holds": lambda mask: str(mask(2, 5).dtype),
}


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


HEADS = {  # queries and keys; B, H, T, S and D differ, but for T = S
    "two texts, three heads, five positions": (normal(2, 3, 5, 4), normal(2, 3, 5, 4)),
    "the last two of seven positions": (normal(4, 3, 2, 5), normal(4, 3, 7, 5)),
    "the last of six positions": (normal(3, 2, 1, 4), normal(3, 2, 6, 4)),
    "large queries": (30 * normal(1, 2, 6, 3), normal(1, 2, 6, 3)),
    "a single position": (normal(3, 2, 1, 5), normal(3, 2, 1, 5)),
    "keys that are wider than the queries": (normal(2, 3, 5, 4), normal(2, 3, 5, 6)),
}
QUERIES_AND_KEYS = dict(HEADS)
QUERIES_KEYS_VALUES = {case: (q, k, normal(*k.shape)) for case, (q, k) in HEADS.items()}
SPLITS = {
    "twelve channels, three heads": (normal(2, 5, 12), 3),
    "six channels, one head": (normal(3, 2, 6), 1),
    "ten channels, five heads": (normal(1, 4, 10), 5),
    "eight channels, three heads": (normal(2, 5, 8), 3),
}
MERGES = {
    "three heads of four": (normal(2, 3, 5, 4),),
    "one head": (normal(3, 1, 2, 6),),
    "five heads of two": (normal(1, 5, 4, 2),),
    "no heads at all": (normal(2, 5, 4),),
}


def fix_weights(module: nn.Module) -> torch.Generator:
    """Give a module weights that depend on their names and shapes only; return the generator for what is drawn next."""
    draw = torch.Generator().manual_seed(0)
    for _, parameter in sorted(module.named_parameters()):
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    return draw


def layer(method: str, *arguments: int, training: bool = True) -> Callable:
    """A case that builds a layer, gives it fixed weights, whatever it drew, and calls one of its methods."""
    def use(Attention: type) -> Tensor | tuple[Tensor, ...]:
        module = Attention(*arguments).double().train(training)
        draw = fix_weights(module)
        x = torch.randn(2, 5, arguments[0], generator=draw, dtype=torch.float64)
        return getattr(module, method)(x)
    return use


ATTENTION_LAYERS = {
    "12 channels, 3 heads, forward": layer("forward", 12, 3),
    "12 channels, 3 heads, forward, not in training": layer("forward", 12, 3, training=False),
    "12 channels, 3 heads, weights": layer("weights", 12, 3),
    "12 channels, 3 heads, heads": lambda Attention: torch.stack(layer("heads", 12, 3)(Attention)),
    "10 channels, 3 heads of width 4": layer("forward", 10, 3, 4),
    "one head": layer("forward", 6, 1),
    "10 channels, 4 heads": layer("forward", 10, 4),
}


SIZES = {"vocab_size": 11, "block_size": 7, "n_layer": 2, "n_head": 3, "n_embd": 12}  # a GPT for the cases


def built(use: Callable, *, training: bool = False, fixed: bool = True, **fields: Any) -> Callable:
    """A case that builds a module from a configuration, gives it fixed weights unless told otherwise, and uses it."""
    def case(module_class: type) -> Any:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)  # what dropout draws, and the weights that are not fixed
            module = module_class(GPTConfig(**SIZES | fields)).double().train(training)
            if fixed:
                fix_weights(module)
            torch.manual_seed(1)
            return use(module)
    return case


STREAM, IDS = normal(2, 5, 12), torch.randint(11, (2, 6), generator=generator)
EIGHT = torch.cat([IDS, IDS[:, :2]], dim=1)  # one id more than there are positions


def fed(module: nn.Module, x: Tensor, *more: Any) -> Any:
    """What a module makes of x, of which it gets a copy: the next case needs the same x."""
    given = x.clone()
    made = module(given, *more)
    spared(given, x)
    return made


def gradients(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Of the sum of what a module makes of x: with respect to every parameter, and to x if it holds no ids."""
    x = x.clone().requires_grad_(x.is_floating_point())
    module(x).sum().backward()
    asked = {"the input": x} if x.requires_grad else {}
    return {name: torch.zeros_like(each) if each.grad is None else each.grad
            for name, each in (asked | dict(module.named_parameters())).items()}


def in_two_pieces(block: nn.Module) -> Tensor:
    """What a block makes of three positions and then, from its cache, of two more."""
    cache = KeyValueCache()
    return torch.cat([fed(block, STREAM[:, :3], cache), fed(block, STREAM[:, 3:], cache)], dim=1)


def from_a_cache(model: nn.Module, first: int = 4, ids: Tensor = IDS) -> Tensor:
    """The logits of the first positions, and then, from the cache, of the others."""
    cache = [KeyValueCache() for _ in model.blocks]
    return torch.cat([fed(model, ids[:, :first], cache), fed(model, ids[:, first:], cache)], dim=1)


def refusal(use: Callable) -> Callable:
    """A use that tells whether it is refused, by whichever error: gptcore has its own, an embedding of torch another."""
    def tried(module: nn.Module) -> str:
        try:
            use(module)
        except (IndexError, RuntimeError, ValueError):
            return "refused"
        return "not refused"
    return tried


MLPS = {
    "GELU": built(lambda mlp: fed(mlp, STREAM)),
    "ReLU": built(lambda mlp: fed(mlp, STREAM), activation="relu"),
    "without biases": built(lambda mlp: fed(mlp, STREAM), bias=False),
    "in training, with dropout": built(lambda mlp: fed(mlp, STREAM), dropout=0.3, training=True),
    "not in training, with dropout": built(lambda mlp: fed(mlp, STREAM), dropout=0.3),
    "the gradients": built(lambda mlp: gradients(mlp, STREAM)),
}
BLOCKS = {
    "twelve channels, three heads": built(lambda block: fed(block, STREAM)),
    "three heads of five": built(lambda block: fed(block, STREAM), head_size=5),
    "ReLU, without biases": built(lambda block: fed(block, STREAM), activation="relu", bias=False),
    "three positions, then two more from the cache": built(in_two_pieces),
    "in training, with dropout": built(lambda block: fed(block, STREAM), dropout=0.3, training=True),
    "not in training, with dropout": built(lambda block: fed(block, STREAM), dropout=0.3),
    "the gradients": built(lambda block: gradients(block, STREAM)),
}
GPTS = {
    "two layers": built(lambda model: fed(model, IDS)),
    "an output layer of its own": built(lambda model: fed(model, IDS), tied=False),
    "its own output, without biases": built(lambda model: fed(model, IDS), tied=False, bias=False),
    "one layer, ReLU": built(lambda model: fed(model, IDS), n_layer=1, activation="relu"),
    "in training, with dropout": built(lambda model: fed(model, IDS), dropout=0.3, training=True),
    "not in training, with dropout": built(lambda model: fed(model, IDS), dropout=0.3),
    "all seven positions": built(lambda model: fed(model, EIGHT[:, :7])),
    "eight positions, one too many": built(refusal(lambda model: fed(model, EIGHT))),
    "four positions, then two more from the cache": built(from_a_cache),
    "one layer, from the cache": built(from_a_cache, n_layer=1),
    "six positions, then two more, one too many": built(refusal(lambda model: from_a_cache(model, 6, EIGHT))),
    "the gradients": built(lambda model: gradients(model, IDS)),
    "how it starts": built(lambda model: dict(model.named_parameters()), fixed=False),
    "how it starts, untied": built(lambda model: dict(model.named_parameters()), fixed=False, tied=False, n_embd=150),
    "how a wide one starts": built(lambda model: dict(model.named_parameters()), fixed=False, n_embd=150, n_layer=1),
    "how it starts with its tokens spread":
        built(lambda model: dict(model.named_parameters()), fixed=False, init="spread"),
    "with its tokens spread, untied":
        built(lambda model: dict(model.named_parameters()), fixed=False, init="spread", tied=False),
    "how torch would start it": built(lambda model: dict(model.named_parameters()), fixed=False, init="torch"),
}

CONFIGS = {name: (config,) for name, config in PRESETS.items()} | {
    "untied, heads of another width": (GPTConfig(**SIZES, head_size=5, tied=False),),
    "no biases but for queries, keys and values": (GPTConfig(**SIZES, bias=False, qkv_bias=True),),
    "the order of the six kinds": lambda count_parameters: list(count_parameters(GPTConfig(**SIZES))),
}

RATES = {
    "warm-up and cosine": lambda rate: [rate(step, TrainConfig(9, warmup=3, learning_rate=0.3)) for step in range(9)],
    "without warm-up": lambda rate: [rate(step, TrainConfig(6, learning_rate=0.2)) for step in range(6)],
    "a warm-up that begins below the floor":
        lambda rate: [rate(step, TrainConfig(15, warmup=12)) for step in range(15)],
    "one step of warm-up, down to 0":
        lambda rate: [rate(step, TrainConfig(5, warmup=1, min_learning_rate=0.0)) for step in range(5)],
    "constant": lambda rate: [rate(step, TrainConfig(6, warmup=2, schedule="constant")) for step in range(6)],
    "plateau": lambda rate: [rate(step, TrainConfig(6, warmup=2, schedule="plateau")) for step in range(6)],
    "plateau, reduced to a half":
        lambda rate: [rate(step, TrainConfig(6, warmup=2, schedule="plateau"), 0.5) for step in range(6)],
    "plateau, reduced below its least":
        lambda rate: [rate(step, TrainConfig(4, warmup=2, schedule="plateau"), 0.001) for step in range(4)],
}


def groups_of(module: nn.Module) -> Callable:
    """A case that shows of each group its decay and the names of its parameters: a copy of one would train nothing."""
    def name_of(weight: Tensor) -> str:
        return next((name for name, each in module.named_parameters() if each is weight), "none of the model's own")

    def case(decay_groups: Callable) -> list[dict[str, Any]]:
        return [{"weight_decay": group["weight_decay"], "params": list(map(name_of, group["params"]))}
                for group in decay_groups(module, 0.3)]
    return case


with torch.random.fork_rng([]):
    torch.manual_seed(0)
    WRITER = GPT(GPTConfig(**SIZES | {"dropout": 0.4})).double()
    fix_weights(WRITER)
    NARROW = GPT(GPTConfig(**SIZES | {"block_size": 1, "n_layer": 1})).double()
    fix_weights(NARROW)
DECAY = {
    "a linear layer": groups_of(nn.Linear(3, 2)),
    "a GPT": groups_of(NARROW),
    "no matrix": groups_of(nn.LayerNorm(4)),
}


def kinds(validation_windows: Callable) -> dict[str, str]:
    """What is returned, and what it holds."""
    windows = validation_windows(WINDOWS, 3)
    fields = {field: getattr(windows, field, None) for field in ("ids", "begin", "length", "skip")}
    return {"the result": type(windows).__name__} | {
        field: f"{type(each).__name__} of {'whole' if np.asarray(each).dtype.kind in 'iu' else 'other'} numbers"
        for field, each in fields.items()}


FIXED_WINDOWS = {  # first what is refused: without that a loop might not come to its end
    "stride 4, which would skip": (WINDOWS, 3, 4),
    "stride 0, which would stand still": (WINDOWS, 40, 0),  # so long that no document needs a second window
    "stride 1": (WINDOWS, 3, 1),
    "half a window": (WINDOWS, 4),
    "an odd window": (WINDOWS, 5),
    "no overlap": (WINDOWS, 3, 3),
    "as long as the longest document": (WINDOWS, 11, 4),
    "longer than all": (WINDOWS, 40),
    "one token at a time": (WINDOWS, 1),
    "a document of one token": ([np.array([7])], 3),
    "what it is made of": kinds,
}


class Watched(GPT):
    """A GPT that notes, call by call, how many positions it is asked for, and whether it trains and makes gradients."""

    def forward(self, ids: Tensor, cache: list[KeyValueCache] | None = None) -> Tensor:
        self.asked.append(ids.shape[1])
        self.trained.append(self.training)
        self.graded.append(torch.is_grad_enabled())
        return super().forward(ids, cache)


def watched(model: GPT, training: bool) -> Watched:
    """The same model, watched."""
    twin = Watched(model.config).to(model.token_embedding.weight.dtype).train(training)
    twin.load_state_dict(model.state_dict())
    twin.asked, twin.trained, twin.graded = [], [], []
    return twin


def how_often(flags: Sequence[bool]) -> str:
    return "always" if all(flags) else "sometimes" if any(flags) else "never"


def measured(training: bool) -> Callable:
    """A case that measures a model with dropout, and looks at its mode within and afterwards."""
    def case(window_loss: Callable) -> dict[str, Any]:
        model = watched(WRITER, training)
        loss = window_loss(model, validation_windows(long_and_short, 6, 2))
        return {"in training inside": how_often(model.trained), "gradients inside": how_often(model.graded),
                "loss and error": loss, "in training afterwards": model.training}
    return case


MODEL_WINDOWS = {
    "documents longer and shorter than a window": (judge, validation_windows(long_and_short, 6, 2)),
    "forty documents": (judge, validation_windows([rng.integers(9, size=2 + i % 5) for i in range(40)], 6)),
    "two windows": (judge, validation_windows([np.array([8, 1, 0, 4]), np.array([2, 2])], 6)),
    "a model with dropout, in training": measured(training=True),
    "a model with dropout, not in training": measured(training=False),
}

DISTRIBUTIONS = {  # logits, temperature, top_k, top_p
    "five logits": (torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0]).double(),),
    "a low temperature": (torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0]).double(), 0.5),
    "a temperature near 0": (torch.tensor([5.0, -2.0, 0.5, 3.0]).double(), 1e-308),
    "temperature 0": (torch.tensor([1.0, 4.0, 0.5, 4.0, 0.0]).double(), 0),
    "top-k 2": (normal(7), 1.0, 2),
    "top-k 1": (normal(7), 1.3, 1),
    "top-k beyond the vocabulary": (normal(4), 1.0, 9),
    "top-k 2 of equals": (torch.tensor([0.0, 1.0, 1.0, 1.0]).double(), 1.0, 2),
    "top-p 0.6": (normal(9), 1.0, None, 0.6),
    "top-p reached exactly": (torch.tensor([0.125, 0.5, 0.25, 0.125]).double().log(), 1.0, None, 0.75),
    "top-p 1, which cuts nothing": (normal(6), 1.0, None, 1.0),
    "what top-p 1 leaves of 50, 0 and -40":
        lambda distribution: distribution(torch.tensor([50.0, 0.0, -40.0]).double(), top_p=1) > 0,
    "three vectors of four": (normal(3, 4), 0.7, 3, 0.9),
    "temperature 0, two vectors of five": (normal(2, 5), 0),
    "top-k of three hundred equals": (torch.zeros(300).double(), 1.0, 3),
    "top-p so small that one is left": (normal(6), 1.0, None, 1e-9),
    "all three": (torch.tensor([0.5, 0.25, 0.125, 0.125]).double().log(), 1.0, 3, 0.8),
    "all three, hot": (2 * normal(12), 1.7, 6, 0.7),
    "temperature -1": (torch.zeros(3).double(), -1),
    "top-k 0": (torch.zeros(3).double(), 1.0, 0),
    "top-p 0": (torch.zeros(3).double(), 1.0, None, 0.0),
    "top-p 1.5": (torch.zeros(3).double(), 1.0, None, 1.5),
    "a logit that is no number": (torch.tensor([0.0, float("nan"), 1.0]).double(),),
    "an infinite logit": (torch.tensor([0.0, float("inf"), 1.0]).double(),),
    "what kind of numbers it gives": lambda distribution: str(distribution(torch.zeros(3).double()).dtype),
    "what kind at temperature 0": lambda distribution: str(distribution(torch.zeros(3).double(), 0).dtype),
}


def extended(*lengths: int) -> Callable:
    """A case that hands a cache keys and values of so many positions, one after the other."""
    def case(cache_class: type) -> dict[str, list]:
        cache, draw = cache_class(), torch.Generator().manual_seed(0)
        seen = {"length": [cache.length], "what extend returned": []}
        for length in lengths:
            k, v = torch.randn(2, 2, 3, length, 4, generator=draw, dtype=torch.float64)
            seen["what extend returned"].append(cache.extend(k, v))
            seen["length"].append(cache.length)
        return seen
    return case


CACHES = {
    "five positions": extended(5),
    "five, then one": extended(5, 1),
    "one, one and two": extended(1, 1, 2),
    "nothing yet": extended(),
}


def written(
    count: int, model: GPT = WRITER, prompt: Sequence[int] | Tensor = (4, 0, 9), training: bool = True, first: bool = False,
    **settings: Any,
) -> Callable:
    """A case that lets a model write from a seed, all ids or the first alone, and looks at what that does to it."""
    def case(generate: Callable) -> dict[str, Any]:
        watch, draw = watched(model, training), torch.Generator().manual_seed(3)
        before = prompt if isinstance(prompt, Tensor) else list(prompt)
        given, ids, trained, graded = copy.deepcopy(before), [], [], []
        for token in generate(watch, given, count, generator=draw, **settings):
            ids.append(token)
            trained.append(watch.training)
            graded.append(torch.is_grad_enabled())
            if first:
                break
        spared(given, before)
        return {"in training inside": how_often(watch.trained), "gradients inside": how_often(watch.graded),
                "in training outside": how_often([*trained, watch.training]), "gradients outside": how_often(graded),
                "ids": ids, "their type": sorted({type(each).__name__ for each in ids}),
                "positions asked for": watch.asked}
    return case


GENERATIONS = {
    "seven tokens, then a new window": written(12),
    "the first of five ids, before the second is asked for": written(5, first=True),
    "a model that is not in training": written(3, training=False),
    "single precision, at a temperature that is 0 in it":
        written(3, model=copy.deepcopy(WRITER).float(), temperature=1e-300),
    "twenty tokens, more than a window": written(20, temperature=3.0),
    "twenty tokens without a cache": written(20, temperature=3.0, use_cache=False),
    "a long prompt": written(3, prompt=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], temperature=2.0),
    "a prompt as a tensor": written(3, prompt=torch.tensor([7, 1])),
    "cold": written(6, temperature=0.5),
    "the likeliest": written(6, temperature=0),
    "top-k": written(8, temperature=4.0, top_k=2),
    "top-p": written(8, temperature=4.0, top_p=0.6),
    "until 3 is drawn": written(40, temperature=5.0, stop=3),
    "until 0 is drawn": written(40, temperature=3.0, stop=0),
    "a window of one": written(5, model=NARROW, prompt=[2], temperature=3.0),
    "nothing": written(0),
    "temperature -1": written(1, temperature=-1),
    "no prompt": written(1, prompt=[]),
}


def described(*pieces: Tensor, **settings: int) -> Callable:
    """A case that adds tensors one after the other and reads all that is known of them."""
    def case(statistics_class: type) -> dict:
        seen = statistics_class(**settings)
        for piece in pieces:
            seen.add(piece)
        return {name: getattr(seen, name) for name in ("count", "mean", "std", "zeros")} | seen.histogram().to_dict("list")
    return case


def after_backward(statistics_class: type) -> list:
    """Does what was added still take part in the gradient?"""
    x, seen = torch.ones(3, requires_grad=True), statistics_class()
    seen.add(x)
    return [isinstance(getattr(seen, name), float) for name in ("sum", "squares")]


STATISTICS = {
    "five numbers in four bins": described(torch.tensor([0.0, 3.0, -1.0, 0.5, 0.0]), bins=4),
    "one number": described(torch.tensor([2.0]), bins=3),
    "two batches of different shapes": described(normal(3, 4, 5), 2 * normal(2, 7) + 1, bins=10),
    "first zeros, then others": described(torch.zeros(6), normal(2, 3), bins=5),
    "nothing but zeros": described(torch.zeros(2, 3), bins=3),
    "numbers far outside the first": described(normal(9), 100 * normal(9), bins=8),
    "a small spread around a large mean": described(1000 + normal(30, 100), bins=6),
    "small numbers, which are not 0": described(torch.tensor([1e-9, 0.0, 1.0]), bins=4),
    "how many bins there are unless told": described(normal(4)),
    "Python numbers, without a gradient": after_backward,
}


def rates_of(*documents: int, training: bool = False, silent: bool = False, **changes: Any) -> Callable:
    """A case that measures firing rates on documents of these lengths, and looks at the model afterwards."""
    def case(firing_rates: Callable) -> list:
        with torch.random.fork_rng([]):
            torch.manual_seed(5)
            sizes = SIZES | {"init": "torch", "activation": "relu", "dropout": 0.4} | changes
            model = GPT(GPTConfig(**sizes)).train(training)
        for weight in model.blocks[0].mlp.expand.parameters() if silent else ():
            weight.data.zero_()  # exactly 0 goes into the first bend
        draw = np.random.default_rng(0)
        table = firing_rates(model, [draw.integers(model.config.vocab_size, size=size) for size in documents])
        hooks = sum(len(layer._forward_hooks) for layer in model.modules())
        return [list(table.columns), list(table.index.names), table["rate"].to_dict(), model.training, hooks]
    return case


FIRING = {
    "three documents, one longer than a window": rates_of(23, 4, 7),
    "two documents of one window": rates_of(6, 5),
    "a model in training, with dropout": rates_of(30, 9, training=True),
    "GELU": rates_of(12, activation="gelu"),
    "one layer": rates_of(15, n_layer=1),
    "a bend that gets nothing but 0": rates_of(11, silent=True),
    "a document of one token": rates_of(1),
}


def kinds_of(rates: dict[str, list[float]], **settings: float) -> Callable:
    """A case that counts the units of layers with these rates."""
    table = pd.concat({layer: pd.Series(rate) for layer, rate in rates.items()}, names=["layer", "unit"]).to_frame("rate")

    def case(unit_kinds: Callable) -> dict:
        kinds = unit_kinds(table, **settings)
        return {"layers": list(kinds.index)} | {name: kinds[name].tolist() for name in kinds}
    return case


RATES_OF_UNITS = {
    "two layers": kinds_of({"b": [0.0, 0.5, 0.004, 1.0, 0.015], "a": [0.0, 0.0, 1.0, 0.99]}),
    "exactly at the border": kinds_of({"a": [0.01, 0.0099, 0.3]}),
    "another border": kinds_of({"a": [0.0, 0.04, 0.05, 0.06, 1.0, 1.0]}, sparse=0.05),
    "all dead": kinds_of({"a": [0.0, 0.0, 0.0]}),
}

ENTROPIES = {
    "two texts, three heads, four positions": (normal(2, 3, 4, 5).softmax(dim=-1),),
    "one head that looks at one position": (torch.eye(3).double()[None, None],),
    "all alike": (torch.full((1, 2, 3, 8), 1 / 8, dtype=torch.float64),),
    "a head alone": (normal(5, 1, 2, 3).softmax(dim=-1),),
    "with a causal mask": (attention_weights(normal(2, 3, 6, 4), normal(2, 3, 6, 4)),),
    "no weights of heads": (torch.tensor([0.5, 0.5]),),
}


def bytes_by_kind(*given: Any, **changes: Any) -> Callable:
    """A case that predicts the memory of a small model with these changes."""
    config = GPTConfig(**{**SIZES, "n_layer": 3, "n_head": 2, "n_embd": 6, "head_size": 5} | changes)
    return lambda predict_memory: dict(predict_memory(config, *given))


MEMORY = {
    "GELU, one text": bytes_by_kind(1),
    "ReLU, five texts": bytes_by_kind(5, activation="relu"),
    "shorter texts": bytes_by_kind(2, 3),
    "explicit attention, shorter texts": bytes_by_kind(2, 4, attention="explicit"),
    "Muon": bytes_by_kind(2, None, "muon"),
    "AdamW by name": bytes_by_kind(2, None, "adamw"),
    "heads as wide as C, output untied": bytes_by_kind(3, head_size=None, tied=False),
    "no biases, Muon": bytes_by_kind(4, 5, "muon", bias=False),
}


def typed(*given: Any) -> Callable:
    """A case that also looks at the types of the tensors that come back."""
    def case(function: Callable) -> list:
        arguments = copy.deepcopy(given)
        found = function(*arguments)
        spared(arguments, given)
        tensors = found if isinstance(found, tuple) else (found,)
        return {"numbers": found, "types": [str(each.dtype) for each in tensors if isinstance(each, Tensor)]}
    return case


FOUR, AFFINE = Scheme(bits=4), Scheme(symmetric=False)
SCALES = {
    "a scale for each row": typed(normal(3, 5), Scheme()),
    "one for the tensor": typed(normal(4, 6), Scheme(bits=5, per="tensor")),
    "one for two neighbours, five in a row": typed(normal(3, 5), Scheme(bits=4, per=2)),
    "one for three neighbours, six in a row": typed(normal(2, 6).float(), Scheme(bits=3, per=3, scales="float16")),
    "a group wider than the row": typed(normal(2, 3), Scheme(per=9)),
    "affine": typed(normal(4, 7), AFFINE),
    "affine, the tensor": typed(normal(4, 3), Scheme(bits=4, per="tensor", symmetric=False)),
    "affine, two neighbours": typed(normal(2, 7).float(), Scheme(bits=4, per=2, symmetric=False, scales="float16")),
    "affine, all above 0": typed(1 + normal(3, 4).abs(), AFFINE),
    "affine, all below 0": typed(-1 - normal(3, 4).abs(), Scheme(bits=4, symmetric=False)),
    "two bits, the least is the largest in size": typed(torch.tensor([[0.5, -2.0, 1.0]]), Scheme(bits=2)),
    "a row of zeros": typed(torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, -3.0]]), FOUR),
    "affine, a row of zeros": typed(torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, -3.0]]), AFFINE),
    "too small and too large for float16": typed(torch.tensor([[1e-9, 0.0, -2e-9], [1e8, 0.0, 1.0]]),
                                                 Scheme(scales="float16")),
    "affine, too small and too large for float16": typed(torch.tensor([[1e-9, 0.0, -2e-9], [1e8, 0.0, -1e8]]),
                                                         Scheme(symmetric=False, scales="float16")),
    "a weight that is nan": (torch.tensor([[1.0, float("nan")]]), Scheme()),
    "a weight that is infinite": (torch.tensor([[1.0, 2.0], [float("-inf"), 0.0]]), Scheme()),
}

BYTE_ZEROS = torch.tensor([[-128, 3, 127], [5, -6, 0]], dtype=torch.int8)
ROUNDED = {
    "a scale for each row": typed(normal(3, 5), normal(3, 1).abs() / 50, None, Scheme()),
    "one for the tensor": typed(normal(4, 6), torch.tensor([[0.25]]), None, Scheme(bits=4, per="tensor")),
    "one for two neighbours, five in a row": typed(normal(2, 5), normal(2, 3).abs() / 5, None, Scheme(bits=4, per=2)),
    "half a step: the even code": typed(torch.tensor([[0.5, 1.5, 2.5, -0.5, -2.5]]), torch.ones(1, 1), None, FOUR),
    "half a step, and an odd zero point": typed(torch.tensor([[0.5, 1.5, -0.5]]), torch.ones(1, 1),
                                                torch.tensor([[1]], dtype=torch.int8), AFFINE),
    "affine, two neighbours": typed(normal(2, 5), normal(2, 3).abs() / 50 + 0.01, BYTE_ZEROS,
                                    Scheme(per=2, symmetric=False)),
    "out of reach": typed(torch.tensor([[9.0, -9.0, 7.4, -7.6]]), torch.ones(1, 1), None, FOUR),
    "out of reach, affine": typed(torch.tensor([[9.0, -9.0, 7.6]]), torch.ones(1, 1),
                                  torch.tensor([[0]], dtype=torch.int8), Scheme(bits=4, symmetric=False)),
    "scales in float16": typed(normal(2, 3).float(), torch.tensor([[0.01], [0.02]]).half(), None, Scheme(scales="float16")),
}

BYTE_CODES = torch.tensor([[127, -128, 0, 1, -1], [-128, 127, 2, 3, 5]], dtype=torch.int8)
DEQUANTIZED = {
    "a scale for each row": (BYTE_CODES, torch.tensor([[0.5], [0.01]]), None, Scheme()),
    "one for the tensor": (BYTE_CODES, torch.tensor([[0.3]]), None, Scheme(per="tensor")),
    "one for two neighbours, five in a row": (BYTE_CODES, normal(2, 3).float(), None, Scheme(per=2)),
    "affine, two neighbours": (BYTE_CODES, normal(2, 3).float(), BYTE_ZEROS, Scheme(per=2, symmetric=False)),
    "affine, one for each row": typed(BYTE_CODES, torch.tensor([[0.5], [2.0]]).half(), BYTE_ZEROS[:, :1],
                                      Scheme(symmetric=False, scales="float16")),
}

HALF_BYTES = torch.tensor([[-8, 7, 0, -1, 3], [1, 2, -3, 4, -5]], dtype=torch.int8)
PACKED = {
    "five in a row": typed(HALF_BYTES),
    "four in a row": typed(HALF_BYTES[:, :4]),
    "one in a row": typed(HALF_BYTES[:, 1:2]),
}
UNPACKED = {
    "five in a row": typed(torch.tensor([[240, 120, 139], [169, 197, 131]], dtype=torch.uint8), 5),
    "six in a row": typed(torch.tensor([[240, 120, 139], [169, 197, 131]], dtype=torch.uint8), 6),
    "one in a row": typed(torch.tensor([[15], [0]], dtype=torch.uint8), 1),
}


def moments(inputs: int, count: int = 40, never: int | None = None) -> Tensor:
    """The Hessian of a layer that gets so many vectors, which have much in common; one input may always be 0."""
    x = normal(count, inputs) + 2 * normal(count, 1)
    if never is not None:
        x[:, never] = 0
    return x.t() @ x


GPTQ = {
    "three inputs": typed(normal(2, 3), moments(3), FOUR),
    "one scale for the tensor": typed(normal(4, 5), moments(5), Scheme(bits=3, per="tensor")),
    "groups of two, five inputs": typed(normal(3, 5), moments(5), Scheme(bits=3, per=2)),
    "a group wider than the row": typed(normal(2, 3), moments(3), Scheme(bits=3, per=7)),
    "affine": typed(normal(4, 6), moments(6), Scheme(bits=3, symmetric=False)),
    "affine groups, scales in float16": typed(normal(3, 7).float(), moments(7).float(),
                                              Scheme(bits=4, per=3, symmetric=False, scales="float16")),
    "more damping": typed(normal(2, 5), moments(5), Scheme(bits=3), 0.5),
    "no damping": typed(normal(2, 5), moments(5), Scheme(bits=3), 0.0),
    "an input that is always 0": typed(normal(3, 4), moments(4, never=2), Scheme(bits=3)),
    "fewer vectors than inputs": typed(normal(2, 6), moments(6, count=3), Scheme(bits=3)),
    "hardly anything comes in": typed(normal(5, 7), 1e-6 * moments(7), Scheme(bits=3)),
    "nothing comes in": typed(normal(2, 5), torch.zeros(5, 5, dtype=torch.float64), Scheme(bits=3, per=2)),
    "a weight that is nan": (torch.tensor([[1.0, float("nan"), 2.0]]), torch.eye(3), Scheme(bits=3)),
}

INT8_LAYERS = {
    "four vectors": typed(normal(4, 5).float(), BYTE_CODES, torch.tensor([[0.5], [0.01]])),
    "texts of three positions": typed(normal(2, 3, 5).float(), BYTE_CODES, torch.tensor([[0.5], [0.01]])),
    "one scale for the tensor": typed(normal(3, 5).float(), BYTE_CODES, torch.tensor([[0.02]])),
    "one vector of zeros": typed(torch.tensor([[0.0] * 5, [3.0, -1.0, 0.5, 0.25, 2.0]]), BYTE_CODES,
                                 torch.tensor([[0.5], [0.01]])),
    "an outlier": typed(torch.tensor([[0.3, -0.2, 90.0, 0.4, 0.1]]), BYTE_CODES, torch.tensor([[0.5], [0.01]])),
    "in double precision": typed(normal(4, 5), BYTE_CODES, torch.tensor([[0.5], [0.01]])),
    "tiny numbers": typed(1e-29 * normal(4, 5).float(), BYTE_CODES, torch.tensor([[0.5], [0.01]])),
    "tinier than 1e-30": typed(torch.tensor([[6e-31, -3e-31, 0, 1e-31, 0]]), BYTE_CODES, torch.tensor([[0.5], [0.01]])),
}


def operations(*given: Any, **changes: Any) -> Callable:
    """A case that counts the operations of a small model with these changes."""
    config = GPTConfig(**{**SIZES, "n_layer": 3, "n_head": 2, "n_embd": 6, "head_size": 5} | changes)
    return lambda flops_per_token: dict(flops_per_token(config, *given))


OPERATIONS = {
    "whole windows": operations(),
    "windows of four": operations(4),
    "one layer, heads as wide as C": operations(3, n_layer=1, head_size=None),
    "untied": operations(2, tied=False, vocab_size=11),
}


def most_bytes(*given: Any, half: bool = False, accumulation: int = 1, plain: bool = False, **changes: Any) -> Callable:
    """A case that predicts the peak of a small model's memory with these changes; `plain` names neither option."""
    config = GPTConfig(**{**SIZES, "n_layer": 3, "n_head": 2, "n_embd": 6, "head_size": 5} | changes)
    options = {} if plain else {"half": half, "accumulation": accumulation}
    return lambda peak_memory: dict(peak_memory(config, *given, **options))


PEAKS = {
    "several micro-batches": most_bytes(2, accumulation=3),
    "two micro-batches of shorter windows": most_bytes(5, 4, accumulation=2),
    "one micro-batch, many windows": most_bytes(9),
    "one micro-batch, one short window": most_bytes(1, 2),
    "half, several micro-batches": most_bytes(3, accumulation=2, half=True),
    "half, many windows": most_bytes(8, 6, half=True),
    "half, one short window": most_bytes(1, 1, half=True),
    "half, ReLU, one layer, untied": most_bytes(4, 5, half=True, activation="relu", n_layer=1, tied=False),
    "as much in the update as on the way back":
        most_bytes(5, 1, vocab_size=6, n_embd=6, n_layer=3, n_head=2, head_size=3),
    "unless told otherwise": most_bytes(2, plain=True),
    "no window": most_bytes(0),
    "no micro-batch": most_bytes(1, accumulation=0),
}


class Unhurried(GPT):
    """A GPT that can wait with the sum over processes, as torch's wrapper can, and notes during which calls it did."""

    waits, waiting = (), False

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        self.waiting = True
        yield
        self.waiting = False

    def forward(self, ids: Tensor, cache: list[KeyValueCache] | None = None) -> Tensor:
        self.waits = (*self.waits, self.waiting)
        return super().forward(ids, cache)


@dataclasses.dataclass(frozen=True)
class Alike(Processes):
    """Several processes that all hold the same: their sum is so many times what one has."""

    def sum(self, x: Tensor) -> Tensor:
        return self.count * x


class Far(Tensor):
    """Numbers that pretend to lie on another device than the model: they meet others only after `.to(...)`."""

    @classmethod
    def __torch_function__(cls, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        through = super().__torch_function__  # asked directly, since each.ndim would come back here
        arrays = [type(each) for each in (*args, *(kwargs or {}).values())
                  if isinstance(each, Tensor) and through(Tensor.dim, types, (each,))]
        if Far in arrays and set(arrays) != {Far}:
            raise RuntimeError("Expected all tensors to be on the same device")  # torch's words, on a GPU
        found = through(function, types, args, kwargs or {})
        return found.as_subclass(Tensor) if function is Tensor.to else found


MICRO_BATCHES = [Batches([np.arange(length) % 9], 6, size, 0).batch(0) for length, size in ((2, 3), (3, 5), (7, 4))]


def accumulated(
    number: int = 3, dtype: torch.dtype | None = None, scale: float = 0.0, processes: Processes = ALONE, plain: bool = False,
    far: bool = False,
) -> Callable:
    """A case that adds up gradients of some micro-batches, of 3, 10 and 24 targets; `plain` gives no more than it must."""
    def case(accumulate_gradients: Callable) -> dict[str, Any]:
        model = Unhurried(GPTConfig(**SIZES))
        fix_weights(model)
        model.to(torch.float32 if dtype else torch.float64)
        device = Device(torch.device("cpu"), dtype, "a case")
        scaler = torch.amp.GradScaler("cpu", init_scale=scale) if scale else None
        more = () if plain else (scaler, processes)
        given = [tuple(x.as_subclass(Far) if far else x for x in pair) for pair in MICRO_BATCHES[:number]]
        loss, count = accumulate_gradients(model, given, device, *more)
        seen = {"the loss": loss, "it takes part in gradients": loss.requires_grad, "the count": count,
                "calls that wait": list(model.waits)}
        return seen | {f"gradient of {name}": weight.grad for name, weight in model.named_parameters()}
    return case


ACCUMULATED = {
    "three micro-batches": accumulated(),
    "one": accumulated(1),
    "three arguments, and no more": accumulated(2, plain=True),
    "forward in bf16": accumulated(2, dtype=torch.bfloat16),
    "a scaler that multiplies by 1,024": accumulated(scale=1024.0),
    "two processes": accumulated(processes=Alike(0, 2)),
    "three processes, and a scaler": accumulated(2, scale=64.0, processes=Alike(1, 3)),
    "two processes, one micro-batch each": accumulated(1, processes=Alike(0, 2)),
    "a model on another device than the micro-batches": accumulated(2, far=True),
}


def opened(recomputing: Callable, blocks: nn.ModuleList) -> AbstractContextManager:
    """A `with` of what may be a generator, as a reader writes it, or a context manager made of one."""
    made = recomputing(blocks)
    return made if hasattr(made, "__enter__") else contextmanager(lambda: made)()


def own_forwards(model: GPT) -> list[bool]:
    """Of each block: has it a forward of its own, beside that of its class?"""
    return ["forward" in vars(block) for block in model.blocks]


def recomputed(dropout: float = 0.0, fails: bool = False, **changes: Any) -> Callable:
    """A case that takes gradients while blocks recompute, and looks at what is kept for the way back, and left behind."""
    def case(recomputing: Callable) -> dict[str, Any]:
        model = GPT(GPTConfig(**SIZES | {"dropout": dropout, "init": "torch"} | changes)).double()
        fix_weights(model)
        kept: dict[int, Tensor] = {}
        seen = {"before": own_forwards(model)}
        try:
            with opened(recomputing, model.blocks), torch.random.fork_rng([]):
                seen["inside"] = own_forwards(model)
                torch.manual_seed(3)
                if fails:
                    raise InterruptedError
                with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.setdefault(x.data_ptr(), x), lambda x: x):
                    loss = cross_entropy(model(IDS[:, :-1]), IDS[:, 1:]).sum()
                seen |= {"kept bytes": sum(x.nbytes for x in kept.values()), "loss": loss}
                seen["gradients"] = list(torch.autograd.grad(loss, list(model.parameters())))
        except InterruptedError:
            seen["an error"] = "came through"
        return seen | {"afterwards": own_forwards(model)}
    return case


RECOMPUTED = {
    "two blocks": recomputed(),
    "three blocks, dropout": recomputed(dropout=0.4, n_layer=3),
    "an error inside": recomputed(fails=True),
}


def told_apart(shared_passages: Callable, corpus: Corpus, *n: int) -> dict[str, Any]:
    """The columns of a table of shared passages, each as a list."""
    table = shared_passages(corpus, *n)
    return {name: table[name].tolist() for name in table}


SONG = ("Mend the lamp, mend the bell. The bell mends? No! Who mends the bell?\n"
        "Mend the lamp, mend the bell; the bell is back.")
VERSES = [Span(0, 0, 30), Span(0, 50, 70), Span(2, 5, 40)], [Span(0, 30, 50), Span(0, 70, 117), Span(1, 7, 60)]


def sung() -> Corpus:
    """A song in pieces, another one that is held out and repeats lines of it, and the first once more, in capitals."""
    other = "Nobody mends the bell. The bell is lost, the lamp is lost, who is back? The bell is lost."
    documents = SONG, other, SONG.upper()
    sides = ([documents[span.document][span.start:span.stop] for span in side] for side in VERSES)
    return Corpus("song", "memory", *sides, spans=VERSES)


SHARED = {
    "two words": lambda shared_passages: told_apart(shared_passages, sung(), 2),
    "one word": lambda shared_passages: told_apart(shared_passages, sung(), 1),
    "three words": lambda shared_passages: told_apart(shared_passages, sung(), 3),
    "five, as nobody said how many": lambda shared_passages: told_apart(shared_passages, sung()),
    "no words, which is refused": lambda shared_passages: told_apart(shared_passages, sung(), 0),
}
SIMILAR = {
    "two words": ("one two three", "Two three four", 2),
    "case and punctuation": ("Mend it. Do not, ever, throw it away!", "mend it; do NOT ever throw it", 3),
    "one word": ("the bell, the bell, the lamp", "the lamp, the door", 1),
    "five, as nobody said how many": ("a b c d e f g h", "b c d e f g i"),
    "the same": ("a b c", "a b c", 3),
    "nothing in common": ("a b c d", "e f g", 2),
    "both too short": ("a b", "c", 3),
    "no words, which is refused": ("a b", "a b c", 0),
}
COPIES = {
    "in the second source": ("put the teapot lid on", ["a teapot", "the teapot lids", "the top"]),
    "two of a length": ("one two", ["two", "one"]),
    "not across a border": ("red green", ["red ", "green"]),
    "all of it": ("a lid", ["", "is a lid on?"]),
    "one character": ("xyz", ["zoo"]),
    "capitals are other letters": ("The End", ["the end"]),
    "nothing": ("xyz", ["abc"]),
    "no text": ("", ["abc"]),
    "no sources": ("abc", []),
    "one text for a list, which is refused": ("abc", "abc"),
}
