"""The exercises' checks: cases with what is expected, and the mistakes that deserve a hint of their own."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["EXERCISES", "Exercise"]


@dataclass(frozen=True)
class Exercise:
    """Cases by name, each with its arguments and what is expected; wrong answers by the hint that they get.

    An answer is a function, or a value when the only case has no arguments. Numbers may differ by `rtol`, relatively. Of a
    `riddle`, whose answer is a dict, a refusal says only how many entries are right, and of the first wrong one what its
    letter's sign is, where there is one.
    """

    cases: Mapping[str, tuple[tuple, Any]]
    wrong: Mapping[str, Any] = field(default_factory=dict)
    hint: str = ""
    rtol: float = 1e-6
    riddle: bool = False
    signs: Mapping[str, str] = field(default_factory=dict)


def never_seen(train: str, text: str, n: int, once: bool = False, short: int = 0) -> float:
    """Two mistakes: with `once` each piece counts once, however often it occurs; with `short` the last is forgotten."""
    known = {train[i:i + n] for i in range(len(train) - n + 1 - short)}
    asked = [text[i:i + n] for i in range(len(text) - n + 1 - short)]
    asked = sorted(set(asked)) if once else asked
    return sum(piece not in known for piece in asked) / len(asked)


def embedding_gradient(ids: list[int], d_vectors: list[list[float]], rows: int, how: str) -> np.ndarray:
    """Two mistakes: with `last` a repeated id keeps only its last gradient, with `mean` it gets the mean of them."""
    gradient = np.zeros((rows, len(d_vectors[0])))
    if how == "last":
        gradient[ids] = d_vectors
    else:
        np.add.at(gradient, ids, np.array(d_vectors))
        gradient /= np.maximum(np.bincount(ids, minlength=rows), 1)[:, None]
    return gradient


def sums_so_far(ids: list[int]) -> list[int]:
    """A model for `sees_ahead`, which is sound: a score for each position, from it and all before it."""
    return np.cumsum(ids).tolist()


def sums_and_next(ids: list[int]) -> list[int]:
    """A mask that is off by one: each position sees the next one, too."""
    return [*np.cumsum(ids)[1:].tolist(), sum(ids)]


def shares(ids: list[int]) -> list[float]:
    """A softmax over the wrong axis: what comes later counts in the sum by which all are divided."""
    return [i / sum(ids) for i in ids]


def far_sight(ids: list[int]) -> list[int]:
    """Only the first position sees ahead, and only the third one."""
    return [ids[0] + sum(ids[2:3]), *ids[1:]]


def near_the_end(ids: list[int]) -> list[int]:
    """Only the last position but one sees ahead."""
    return [*ids[:-2], ids[-2] + ids[-1], ids[-1]]


def cancelling(ids: list[int]) -> list[int]:
    """The first position sees two others ahead, by their difference: it shows only if one of them is changed alone."""
    return [ids[0] + ids[2] - ids[1], *ids[1:]]


def sees_ahead(model: Callable, ids: list[int], change: Collection[int], upto: int = 0) -> bool:
    """Two mistakes: not every token is changed, or the score of the changed one is looked at, too."""
    return any(model([*ids[:t], ids[t] + 1, *ids[t + 1:]])[:t + upto] != model(ids)[:t + upto]
               for t in change if t < len(ids))


def riddle(*names: str, swapped: Mapping[str, tuple[int, int]], signs: tuple[str, ...] = ()) -> Exercise:
    """Which letter stands for which bug; hints for two that are taken for each other, and signs of each letter."""
    right = dict(zip("ABCDEF", names))
    wrong = {hint: right | {"ABCDEF"[i]: names[j], "ABCDEF"[j]: names[i]} for hint, (i, j) in swapped.items()}
    return Exercise({"the letters of this room": ((), right)}, wrong, riddle=True, signs=dict(zip("ABCDEF", signs)))


def softmax(scores: list[float]) -> np.ndarray:
    return np.exp(scores) / np.exp(scores).sum()


def fitted_scale(weights: list[float], highest: int, power: int = 2, clip: bool = True, by: str = "scale",
                 steps: bool = False, tried: int = 51) -> float:
    """Mistakes: another power, codes not cut off, the share for the scale, errors in steps, too few or too many tried."""
    def error(scale):
        codes = [round(w / scale) for w in weights]
        codes = [max(-highest, min(highest, code)) for code in codes] if clip else codes
        return sum(abs(w - code * scale) ** power for w, code in zip(weights, codes)) / (scale**2 if steps else 1)

    largest = max(map(abs, weights)) / highest
    share = min((1 - i / 100 for i in range(tried)), key=lambda share: error(share * largest))
    return share * largest if by == "scale" else share


def lowered(saved: dict[str, int], costs: dict[str, float], needed: int, key: Callable, more: bool = False) -> list[str]:
    """Mistakes: another order, or with `more` one layer beyond what is needed."""
    names, total = [], 0
    for name in sorted(saved, key=key):
        if total > needed or (total == needed and not more):
            break
        names.append(name)
        total += saved[name]
    if total < needed:
        raise ValueError("all of them do not suffice")
    return names


def shingles(text: str, n: int) -> list[str]:
    words = [word.casefold() for word in re.findall(r"\w+", text)]
    return [" ".join(words[i:i + n]) for i in range(len(words) - n + 1)]


def share_held(first: str, second: str, n: int, by: str = "first", once: bool = True, raw: bool = False) -> float:
    """Mistakes: the share of the other text's passages, of both texts', each as often as it comes, or found in raw text."""
    one, other = shingles(first, n), shingles(second, n)
    if raw:
        return sum(each in second for each in set(one)) / max(len(set(one)), 1)
    if not once:
        return sum(each in other for each in one) / max(len(one), 1)
    one, other = set(one), set(other)
    whole = {"first": one, "second": other, "both": one | other}[by]
    return len(one & other) / max(len(whole), 1)


def common_lines(texts: list[str], least: int, once: bool = True, empty: bool = False, above: int = 0) -> set[str]:
    """Mistakes: a line counts as often as a text repeats it, empty ones count, more than `least` are wanted."""
    counts = Counter(line for text in texts for line in (set if once else list)(text.split("\n")))
    return {line for line, n in counts.items() if n >= least + above and (line or empty)}


def held_together(held_out: list[int], pairs: list[tuple[int, int]], rounds: int = 9, back: bool = True,
                  own: bool = True) -> list[int]:
    """Mistakes: one look at each pair only, only from first to second, or without those that were held out before."""
    side = set(held_out)
    for _ in range(rounds):
        for first, second in pairs:
            if first in side or (back and second in side):
                side |= {first, second}
    return sorted(side if own else side - set(held_out))


EXERCISES = {
    "surprisal": Exercise(
        {"a coin": ((0.5,), 1.0), "one in eight": ((1 / 8,), 3.0), "certain": ((1.0,), 0.0),
         "7 in 10": ((0.7,), 0.5145731728)},
        {"Those are nats, from the natural logarithm. Bits count halvings: take the logarithm to base 2.":
            lambda p: -math.log(p),
         "The logarithm of a probability is negative or 0. A surprisal is positive: change the sign.":
            lambda p: math.log2(p)},
    ),
    "bits_per_byte": Exercise(
        {"two coins": (([0.5, 0.5],), 1.0), "three guesses": (([0.5, 0.25, 0.125],), 2.0), "one guess": (([0.25],), 2.0)},
        {"That is the surprisal of the mean probability. Take the surprisal of each, and then the mean.":
            lambda p: -math.log2(sum(p) / len(p)),
         "That is the sum, which grows with the text. Divide by the number of characters.":
            lambda p: -sum(map(math.log2, p)),
         "Those are nats. Use the logarithm to base 2.":
            lambda p: -sum(map(math.log, p)) / len(p)},
    ),
    "perplexity": Exercise(
        {"3 bits": ((3,), 8), "1 bit": ((1,), 2), "no doubt": ((0,), 1), "half a bit": ((0.5,), 1.4142135624)},
        {"That would be nats. A bit is one halving: count how often 1 was halved.": lambda bits: math.exp(bits),
         "Twice as many bits are not twice as many characters. How many outcomes have three coins?": lambda bits: 2 * bits},
    ),
    "add_k": Exercise(
        {"two by three": (([[1, 0, 3], [0, 0, 0]], 1), [[2 / 7, 1 / 7, 4 / 7], [1 / 3, 1 / 3, 1 / 3]]),
         "a little": (([[9, 0]], 0.5), [[0.95, 0.05]]),
         "none": (([[1, 3], [2, 2]], 0), [[0.25, 0.75], [0.5, 0.5]])},
        {"The rows do not add up to 1: if k is added to each count, the sum of a row grows by k for each of its columns.":
            lambda counts, k: (np.array(counts) + k) / (np.sum(counts, axis=1, keepdims=True) + k),
         "The k is added above, but not below: the sum of a row grows by k for each of its columns.":
            lambda counts, k: [[(n + k) / sum(row) for n in row] for row in counts],
         "That divides by the sum of the whole table. Each row is a distribution of its own.":
            lambda counts, k: (np.array(counts) + k) / (np.array(counts) + k).sum(),
         "That divides by the sums of the columns. A row is what came after one character, so rows add up to 1.":
            lambda counts, k: (np.array(counts) + k) / (np.array(counts) + k).sum(axis=0)},
    ),
    "score_gradient": Exercise(
        {"equal scores": (([0.0, 0.0, 0.0, 0.0], 2), [0.25, 0.25, -0.75, 0.25]),
         "one ahead": (([math.log(3), 0.0], 0), [-0.25, 0.25]),
         "one behind": (([0.0, math.log(2), 0.0], 0), [-0.75, 0.5, 0.25])},
        {"The sign is turned round: that is the direction downhill, the gradient points uphill.":
            lambda scores, target: [(i == target) - p for i, p in enumerate(softmax(scores))],
         "That is the softmax alone; from the place of the target subtract 1.":
            lambda scores, target: list(softmax(scores))},
    ),
    "never_seen": Exercise(
        {"all of it seen": (("banana", "ana", 2), 0.0), "half of it": (("abcab", "cabba", 2), 0.5),
         "one piece twice": (("aab", "xbxba", 2), 1.0), "some of it twice": (("the cat", "the the ", 3), 1 / 3)},
        {"Each place counts, also when the same piece stands there again: use a list for the text, not a set.":
            lambda train, text, n: never_seen(train, text, n, once=True),
         "The last piece is missing: a text of 5 characters holds 4 pairs, so the range ends at len(text) - n + 1.":
            lambda train, text, n: never_seen(train, text, n, short=1),
         "That is the share that was seen; the question is for the rest.":
            lambda train, text, n: 1 - never_seen(train, text, n)},
    ),
    "tanh_gradient": Exercise(
        {"in the middle": (([0.0], [3.0]), [3.0]), "three units": (([0.5, -0.5, 0.9], [1.0, 2.0, -1.0]), [0.75, 1.5, -0.19]),
         "at the ends": (([1.0, -1.0], [5.0, 7.0]), [0.0, 0.0])},
        {"That is the slope alone. What arrives from above is multiplied by it: the chain rule.":
            lambda h, d_h: [1 - each ** 2 for each in h],
         "The slope of tanh is 1 - h², with h what came out: the square is missing.":
            lambda h, d_h: [(1 - each) * d for each, d in zip(h, d_h)],
         "The slope belongs to what came out, h: 1 - h², not 1 - d_h².":
            lambda h, d_h: [(1 - d ** 2) * each for each, d in zip(h, d_h)],
         "h has gone through tanh already; the slope is 1 - h², not 1 - tanh(h)².":
            lambda h, d_h: [(1 - math.tanh(each) ** 2) * d for each, d in zip(h, d_h)]},
    ),
    "embedding_gradient": Exercise(
        {"an id twice": (([1, 0, 1], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], 4), [[3.0, 4.0], [6.0, 8.0], [0, 0], [0, 0]]),
         "all the same": (([2, 2, 2], [[1.0], [1.0], [1.0]], 3), [[0.0], [0.0], [3.0]]),
         "all different": (([0, 1], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], 2), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])},
        {"A row that is used twice gets both gradients: add (+=) instead of writing over the first.":
            lambda ids, d_vectors, rows: embedding_gradient(ids, d_vectors, rows, "last"),
         "All rows are one and the same list: make each by itself, [[0] * C for _ in range(rows)].":
            lambda ids, d_vectors, rows: [[sum(column) for column in zip(*d_vectors)]] * rows,
         "That is the mean. Each use of a row moves the loss, so its gradients add up.":
            lambda ids, d_vectors, rows: embedding_gradient(ids, d_vectors, rows, "mean")},
    ),
    "parameters": Exercise(
        {"of the tiny network": ((5, 2, 3, 4), 6 * 3 + (2 * 3 * 4 + 4) + (4 * 5 + 5)),
         "one of each": ((1, 1, 1, 1), 6), "a longer context": ((9, 7, 2, 3), 10 * 2 + (7 * 2 * 3 + 3) + (3 * 9 + 9))},
        {"Two things are missing: the row of the unknown, and the biases of the linear layers.":
            lambda V, n, C, H: V * C + n * C * H + H * V,
         "One bias is missing: both linear layers have one, a number for each of their outputs.":
            lambda V, n, C, H: (V + 1) * C + n * C * H + (H * V + V),
         "The unknown is looked up and never predicted: there are vocab_size scores.":
            lambda V, n, C, H: (V + 1) * C + (n * C * H + H) + (H + 1) * (V + 1),
         "One row of the embedding is missing: that of the unknown.":
            lambda V, n, C, H: V * C + (n * C * H + H) + (H * V + V),
         "Each linear layer has a bias, too: one number for each of its outputs.":
            lambda V, n, C, H: (V + 1) * C + n * C * H + H * V,
         "The hidden layer reads all n vectors side by side, so it has n * n_embd inputs.":
            lambda V, n, C, H: (V + 1) * C + (C * H + H) + (H * V + V)},
    ),
    "utf8_length": Exercise(
        {"a": ((97,), 1), "the last of one byte": ((127,), 1), "the first of two": ((128,), 2), "é": ((233,), 2),
         "the last of two": ((2047,), 2), "the first of three": ((2048,), 3), "☂": ((9730,), 3),
         "the last of three": ((65535,), 3), "the first of four": ((65536,), 4), "😀": ((128512,), 4)},
        {"A byte holds 256 values, but one byte of UTF-8 only reaches up to 127: the first bit says whether more follow.":
            lambda code_point: 1 + (code_point >= 256) + (code_point >= 65536),
         "Look at the borders: 128 itself has two bytes already, 2,048 three and 65,536 four.":
            lambda code_point: 1 + (code_point > 128) + (code_point > 2048) + (code_point > 65536),
         "Look at the borders: 127 and 2,047 still fit into one byte and two.":
             lambda code_point: 1 + (code_point >= 127) + (code_point >= 2047) + (code_point >= 65535),
         "Four bytes begin at 65,536: no character needs more, and some need as many.":
            lambda code_point: 1 + (code_point >= 128) + (code_point >= 2048)},
    ),
    "to_bits_per_byte": Exercise(
        {"one nat for each of 3 tokens, 6 bytes": ((1.0, 3, 6), 0.7213475204),
         "a coin for each byte": ((math.log(2), 5, 5), 1.0),
         "2.9428 nats, 574,057 tokens, 1,115,394 bytes": ((2.9428, 574_057, 1_115_394), 2.1850531200)},
        {"A token is longer than a byte, so a byte costs less than a token: multiply by tokens / size.":
            lambda nats, tokens, size: nats / math.log(2) * size / tokens,
         "Those are nats per byte. One nat is 1 / ln 2 bits.": lambda nats, tokens, size: nats * tokens / size,
         "Those are the bits of the whole text. Bits per byte are shared by its bytes: divide by size.":
             lambda nats, tokens, size: nats / math.log(2) * tokens,
         "Those are bits per token. All tokens of the text pay, and the price is shared by its bytes.":
            lambda nats, tokens, size: nats / math.log(2),
         "A nat is more than a bit, so there are more bits than nats: divide by ln 2.":
            lambda nats, tokens, size: nats * math.log(2) * tokens / size},
    ),
    "never_used": Exercise(
        {"half of four": (([0, 2, 2, 0], 4), 0.5), "none": (([1, 0], 2), 0.0), "nothing was encoded": (([], 5), 1.0),
         "three of five": (([4, 4, 4, 1, 4], 5), 0.6)},
        {"That is how many; a share lies between 0 and 1: divide by vocab_size.":
            lambda ids, vocab_size: vocab_size - len(set(ids)),
         "Each id counts once, however often it occurs: count set(ids).":
            lambda ids, vocab_size: 1 - min(len(ids), vocab_size) / vocab_size,
         "That is the share that is used; the question is for the rest.":
            lambda ids, vocab_size: len(set(ids)) / vocab_size,
         "The vocabulary goes up to vocab_size, also where the largest id of the text is smaller.":
            lambda ids, vocab_size: 1 - len(set(ids)) / (max(ids, default=0) + 1)},
    ),
    "window_mask": Exercise(
        {"five positions, two back": ((5, 2), [[5 > t >= s >= t - 2 for s in range(5)] for t in range(5)]),
         "only itself": ((3, 0), [[True, False, False], [False, True, False], [False, False, True]]),
         "further back than there is": ((2, 7), [[True, False], [True, True]])},
        {"One too few: a reach of 2 means itself and two more, three in all.":
            lambda T, reach: [[t - reach < s <= t for s in range(T)] for t in range(T)],
         "It looks into the future as far as into the past. Nobody may see what comes later.":
            lambda T, reach: [[abs(t - s) <= reach for s in range(T)] for t in range(T)],
         "Rows and columns are exchanged: the row is who looks, the column who is looked at.":
            lambda T, reach: [[s - reach <= t <= s for s in range(T)] for t in range(T)]},
    ),
    "layer_parameters": Exercise(
        {"GPT-2's": ((768, 12, 64), 2362368), "three heads of four": ((10, 3, 4), 526), "one head": ((6, 1, 5), 141)},
        {"The biases are missing: each linear layer also has one number for each channel that comes out.":
            lambda n_embd, n_head, head_size: 4 * n_embd * n_head * head_size,
         "That holds if n_head * head_size is n_embd. They may differ: n_embd goes in, 3 * n_head * head_size comes out.":
            lambda n_embd, n_head, head_size: 4 * n_embd * (n_embd + 1),
         "The output projection is missing: n_head * head_size channels go in, n_embd come out.":
            lambda n_embd, n_head, head_size: 3 * n_head * head_size * (n_embd + 1),
         "Queries, keys and values are three layers, and all heads have their own: is one of these factors missing?":
            lambda n_embd, n_head, head_size: 3 * head_size * (n_embd + 1) + n_embd * (n_head * head_size + 1)},
    ),
    "longest_text": Exercise(
        {"a megabyte": ((1_000_000, 1, 4), 250), "24 gigabytes": ((24 * 10 ** 9, 32, 12), 3952),
         "just enough": ((1600, 2, 2), 10)},
        {"That would be so if memory grew as the length does. It grows with its square: take the root.":
            lambda memory, B, H: memory // (4 * B * H),
         "Each text and each head has a matrix of its own: divide by B and H, too.":
            lambda memory, B, H: math.isqrt(memory // 4),
         "It must still fit: round down.": lambda memory, B, H: round(math.sqrt(memory / (4 * B * H))),
         "An entry takes 4 bytes.":
            lambda memory, B, H: math.isqrt(memory // (B * H))},
    ),
    "cache_bytes": Exercise(
        {"GPT-2's, full": ((12, 12, 64, 1024), 75_497_472), "small": ((2, 3, 5, 7), 1680), "one of each": ((1, 1, 1, 1), 8)},
        {"A cache holds keys and values: twice as much.":
            lambda n_layer, n_head, head_size, positions: 4 * n_layer * n_head * head_size * positions,
         "Each layer has a cache of its own.":
            lambda n_layer, n_head, head_size, positions: 8 * n_head * head_size * positions,
         "A number takes 4 bytes.":
            lambda n_layer, n_head, head_size, positions: 2 * n_layer * n_head * head_size * positions,
         "Scores are kept for no pair of positions; a cache grows with the positions, not with their square.":
            lambda n_layer, n_head, head_size, positions: 8 * n_layer * n_head * head_size * positions ** 2},
    ),
    "windows_needed": Exercise(
        {"a spread of 0.5, a difference of 0.25": ((0.5, 0.25), 36), "just one": ((1.0, 3.0), 1),
         "a spread of three differences": ((0.75, 0.25), 81), "a fine difference": ((0.05, 0.0055), 744),
         "a little more than 18": ((1.0, 0.7), 19)},
        {"The error of a mean falls with the root of the number, so the number grows with the square.":
            lambda spread, difference: math.ceil(3 * spread / difference),
         "That makes the standard error as large as the difference. It should be a third of it.":
            lambda spread, difference: math.ceil((spread / difference) ** 2),
         "Rounded down it is one window too few: round up.":
            lambda spread, difference: max(1, math.floor((3 * spread / difference) ** 2)),
         "Rounded to the nearest number it can be one window too few: round up.":
            lambda spread, difference: round((3 * spread / difference) ** 2)},
    ),
    "kept_by_top_p": Exercise(
        {"two of four": (([0.5, 0.25, 0.125, 0.125], 0.7), 2), "reached exactly": (([0.5, 0.25, 0.125, 0.125], 0.75), 2),
         "in any order": (([0.125, 0.5, 0.125, 0.25], 0.8), 3), "all": (([0.25, 0.25, 0.5], 1.0), 3),
         "always one": (([0.5, 0.5], 0.01), 1)},
        {"Sort first: top-p keeps the most likely ones.":
            lambda probabilities, p: 1 + sum(sum(probabilities[:i]) < p for i in range(1, len(probabilities))),
         "It stops as soon as p is reached, not when it is exceeded.":
            lambda probabilities, p: min(len(probabilities), 1 + sum(
                sum(sorted(probabilities)[::-1][:i]) <= p for i in range(1, len(probabilities)))),
         "That drops the token with which p is reached; it stays.":
            lambda probabilities, p: sum(sum(sorted(probabilities)[::-1][:i]) < p for i in range(1, len(probabilities)))},
        "Most likely first, add until the sum is at least p, and count the one that got there.",
    ),
    "zeros_behind": Exercise(
        {"two units": (([0.5, 0.25],), 0.625), "one of four is dead": (([0.0, 1.0, 0.5, 0.1],), 0.6),
         "all dead": (([0.0, 0.0],), 1.0), "always on": (([1.0],), 0.0)},
        {"That is the share of units that never fire. A number is also 0 where a living unit is silent.":
            lambda rates: rates.count(0) / len(rates),
         "That is the share that is not 0: a unit fires where its number is above 0.": lambda rates: sum(rates) / len(rates),
         "That counts positions. A share lies between 0 and 1: divide by the number of units.":
            lambda rates: len(rates) - sum(rates),
         "A share lies between 0 and 1; those are per cent.": lambda rates: 100 * (1 - sum(rates) / len(rates))},
    ),
    "gradient_before": Exercise(
        {"four positions": (([1.0, -2.0, 0.5, -0.1], [0.3, 0.4, -0.5, -0.6]), [0.3, 0.0, -0.5, 0.0]),
         "at the edge": (([0.0, 1e-9], [2.0, 3.0]), [0.0, 3.0]), "a dead unit": (([-10.0, -9.0], [0.7, -0.8]), [0.0, 0.0])},
        {"It is the input that decides who gets a gradient, not the sign of the gradient.":
            lambda inputs, gradients: [max(gradient, 0.0) for gradient in gradients],
         "At an input of 0 the slope is taken as 0, too.":
            lambda inputs, gradients: [gradient if x >= 0 else 0.0 for x, gradient in zip(inputs, gradients)],
         "The slope of ReLU is 0 or 1, so the gradient is kept or dropped; it is not multiplied by the input.":
            lambda inputs, gradients: [max(x, 0.0) * gradient for x, gradient in zip(inputs, gradients)],
         "That is the gradient behind the bend.": lambda inputs, gradients: gradients},
    ),
    "largest_batch": Exercise(
        {"just enough": ((1000, 400, 150), 4), "a little is left": ((15_000_000_000, 16_000_000, 9_175_040), 1633),
         "nothing fits": ((100, 60, 50), 0), "not even the weights": ((100, 300, 50), 0)},
        {"Weights, gradients and optimizer state need their place first.": lambda room, fixed, per_text: room // per_text,
         "It must still fit: round down.": lambda room, fixed, per_text: max(0, -(-(room - fixed) // per_text)),
         "Whole texts only: round down.": lambda room, fixed, per_text: max(0, (room - fixed) / per_text),
         "The fixed part is needed once, not for each text.": lambda room, fixed, per_text: room // (fixed + per_text),
         "There are no batches of fewer than 0 texts.": lambda room, fixed, per_text: (room - fixed) // per_text},
    ),
    "text_room": riddle("twice", "pattern", "tails", "seams", swapped={
        "Who reads a file twice is judged by what was learned. Whose validation loss is too good?": (0, 1),
        "In one of the two the validation text begins in the middle of a play, and nothing tells what came before.": (0, 2),
        "Windows across seams show the model jumps. In which of the two is the validation text in pieces of a tenth of each "
        "play, and therefore much dearer?": (2, 3)}),
    "model_room": riddle("positions", "mask", "softmax", "scale", "norm", swapped={
        "Both run close to the healthy one. For which of them does a play of one word again and again look the same "
        "everywhere?": (0, 3),
        "The loss of one is below the floor: it reads what it should guess.": (1, 2),
        "For one of them the weights do not add up to 1.": (2, 4)}),
    "training_room": riddle("clip", "cliff", "late", "leftover", "plateau", swapped={
        "Which of the two rates falls again and again?": (1, 4),
        "A rate that comes too late moves the weights though the rate of this step is 0.": (2, 3),
        "Which of the two asks which micro-batch came first? Which one remembers the step before?": (0, 3)}),
    "measuring_room": riddle("modes", "five", "axis", "speed", "nats", "size", swapped={
        "One of the two goes up and down though the model only gets better.": (0, 1),
        "One is too long, or too short, along the step; the other along the loss.": (2, 4),
        "Tokens and bytes: which number is about which?": (3, 5)}),
    "writing_room": riddle("start", "dropout", "healthy", swapped={
        "Who begins badly, and who is worse everywhere?": (0, 1), "The healthy one begins well and goes on well.": (1, 2)}),
    "sees_ahead": Exercise(
        {"sums of all so far": ((sums_so_far, [3, 1, 4, 1, 5]), False),
         "off by one": ((sums_and_next, [3, 1, 4, 1, 5]), True),
         "divided by the sum of all": ((shares, [3, 1, 4, 1, 5]), True), "a single pair": ((far_sight, [2, 7, 1, 8]), True),
         "a pair at the end": ((near_the_end, [2, 7, 1, 8]), True), "a difference": ((cancelling, [2, 7, 1]), True),
         "one token": ((sums_so_far, [6]), False)},
        {"The score of the token that you change may change, and so may all after it. Compare only those before it.":
            lambda model, ids: sees_ahead(model, ids, range(1, len(ids)), upto=1),
         "Somebody may look at one token and not at the next. Change each of them, one at a time.":
            lambda model, ids: sees_ahead(model, ids, [len(ids) - 1]),
         "The question is whether it sees ahead: True if a score changed, False if none did.":
            lambda model, ids: not sees_ahead(model, ids, range(1, len(ids)))},
    ),
    "cliffs": Exercise(
        {"one cliff": (([1.0, 2.0, 2.0, 1.95, 0.2, 0.2],), [3]), "a rise is none": (([0.1, 1.0, 0.99, 0.98],), []),
         "two": (([4, 3, 3, 2.9, 1],), [0, 3]), "small ones at the end": (([10.0, 9.6, 0.4, 0.2, 0.1],), [1]),
         "nothing falls": (([0.5, 0.5],), []), "just 5 %": (([20, 19, 19],), [])},
        {"Small rates may halve without harm: compare the fall with the highest rate of all, not with the one before it.":
            lambda rates: [i for i in range(len(rates) - 1) if rates[i] - rates[i + 1] > 0.05 * rates[i]],
         "A rise is no cliff: warm-up is meant to rise.":
            lambda rates: [i for i in range(len(rates) - 1) if abs(rates[i] - rates[i + 1]) > 0.05 * max(rates)],
         "That is the step after the fall; wanted is the last one before it.":
            lambda rates: [i + 1 for i in range(len(rates) - 1) if rates[i] - rates[i + 1] > 0.05 * max(rates)]},
    ),
    "uniform_price": Exercise(
        {"bytes alone": ((256, 10, 10), 8.0), "twice as long tokens": ((512, 100, 200), 4.5),
         "a large vocabulary": ((65536, 3, 12), 4.0)},
        {"Those are nats. Bits count halvings: the logarithm to base 2.":
            lambda vocab_size, tokens, size: math.log(vocab_size) * tokens / size,
         "Those are bits per token. All tokens of the text pay, and its bytes share the price.":
            lambda vocab_size, tokens, size: math.log2(vocab_size),
         "The other way round: the tokens pay, the bytes share.":
            lambda vocab_size, tokens, size: math.log2(vocab_size) * size / tokens},
    ),
    "never_begun": Exercise(
        {"a sign that begins each text": (([9], [[9, 1, 2, 9], [9, 3, 9]]), []),
         "padding": (([0], [[9, 1, 2, 9], [9, 3, 9]]), [0]), "a line break and an id": (([4, 7], [[1, 4, 2], [2, 1]]), [7]),
         "only ever the last": (([2], [[1, 3, 2], [3, 1, 2]]), [2]), "two": (([7, 0], [[1, 2, 1]]), [7, 0])},
        {"The last token of a text is only ever a target. Nothing was learned of what follows it.":
            lambda start, documents: [i for i in start if i not in set().union(*documents)],
         "Those are the ones that it has learned. Wanted are the others.":
            lambda start, documents: [i for i in start if i in set().union(*(ids[:-1] for ids in documents))],
         "It need not be the first token of a text; to have been an input anywhere is enough.":
            lambda start, documents: [i for i in start if i not in {ids[0] for ids in documents}]},
    ),
    "pack_three": Exercise(
        {"the lowest": (([-4] * 8,), [0, 0, 0]), "the highest": (([3] * 8,), [255, 255, 255]),
         "all eight": (([-4, -3, -2, -1, 0, 1, 2, 3],), [136, 198, 250]), "only the first": (([3] + [-4] * 7,), [7, 0, 0]),
         "across two bytes": (([-4, -4, 3, -4, -4, -4, -4, -4],), [192, 1, 0])},
        {"The other way round: the lowest eight bits are the first byte.":
            lambda codes: list(sum(code + 4 << 3 * i for i, code in enumerate(codes)).to_bytes(3, "big")),
         "The first code belongs in the lowest three bits, the last in the highest.":
            lambda codes: list(sum(code + 4 << 3 * i for i, code in enumerate(codes[::-1])).to_bytes(3, "little")),
         "Add 4 first, so that a code is a number from 0 to 7.":
            lambda codes: list(sum((code & 7) << 3 * i for i, code in enumerate(codes)).to_bytes(3, "little")),
         "Codes have 3 bits; those are 4 for each.":
            lambda codes: list(sum(code + 4 << 4 * i for i, code in enumerate(codes)).to_bytes(4, "little"))},
    ),
    "best_scale": Exercise(
        {"six weights": (([1.0, 0.31, -0.3, 0.36, 0.29, -0.61], 3), 0.3233333333),
         "the largest is best": (([0.7, -0.2, 0.1, 0.3], 7), 0.1),
         "one outlier": (([-2.0, 0.9, 0.95, -0.85, 1.02], 1), 1.14),
         "seven weights": (([-0.9, 0.26, 0.3, 0.22, -0.27, 0.24, 0.55], 3), 0.282),
         "the last one tried is best": (([1.0] + [0.3] * 10, 1), 0.5)},
        {"That is the largest scale. A smaller one cuts off one weight and may serve the others better: try them all.":
            lambda weights, highest: max(map(abs, weights)) / highest,
         "Square the errors: two of 1 are less bad than one of 2.":
            lambda weights, highest: fitted_scale(weights, highest, power=1),
         "There are no codes above `highest` and below -`highest`: cut them off.":
            lambda weights, highest: fitted_scale(weights, highest, clip=False),
         "Measure the errors in weights, not in steps: code * scale is what a weight becomes.":
            lambda weights, highest: fitted_scale(weights, highest, steps=True),
         "The last share to try is 0.5.": lambda weights, highest: fitted_scale(weights, highest, tried=50),
         "No share below 0.5 is to be tried.": lambda weights, highest: fitted_scale(weights, highest, tried=99),
         "That is the share. Multiply it by the largest scale.":
            lambda weights, highest: fitted_scale(weights, highest, by="share")},
    ),
    "go_down": Exercise(
        {"the cheapest a byte": (({"a": 100, "b": 10, "c": 50}, {"a": 1.0, "b": 0.2, "c": 0.1}, 120), ["c", "a"]),
         "exactly enough": (({"a": 100, "b": 10, "c": 50}, {"a": 1.0, "b": 0.2, "c": 0.1}, 50), ["c"]),
         "all are needed": (({"a": 3, "b": 4}, {"a": 0.3, "b": 0.2}, 7), ["b", "a"]),
         "nothing is needed": (({"a": 3, "b": 4}, {"a": 0.3, "b": 0.2}, 0), []),
         "one that even gains": (({"a": 8, "b": 4, "c": 1}, {"a": 0.3, "b": -0.1, "c": 0.01}, 5), ["b", "c"]),
         "all do not suffice": (({"a": 3, "b": 4}, {"a": 0.3, "b": 0.2}, 8), ValueError("all of them save 7"))},
        {"That is the order of the costs alone. A large layer may cost more and still be cheaper for each byte.":
            lambda saved, costs, needed: lowered(saved, costs, needed, lambda name: costs[name]),
         "That takes those first that save most, whatever they cost.":
            lambda saved, costs, needed: lowered(saved, costs, needed, lambda name: -saved[name]),
         "The sum has to be at least what is needed: stop as soon as it is reached.":
            lambda saved, costs, needed: lowered(saved, costs, needed, lambda name: costs[name] / saved[name], more=True),
         "The dearest for each byte came first.":
            lambda saved, costs, needed: lowered(saved, costs, needed, lambda name: -costs[name] / saved[name])},
    ),
    "ward_round": riddle("foreign", "high", "leak", "few", "low", swapped={
        "Both end above the healthy one. Which of the two falls at once, and which hardly moves?": (1, 4),
        "Six plays are soon learned by heart. Who is judged by the same six, and who by others?": (2, 3),
        "In which of the two is the training healthy, and only what it is judged by is not?": (0, 3)}, signs=(
        "Where does the training of A differ from the healthy one's?",
        "B falls at once, and then hardly any more. Which rate does that?",
        "The validation of C follows its training far down. Which texts could it be judged by?",
        "The training of D is far below the healthy one, its validation is not. How much can it have read?",
        "E moves slowly from its first step to its last. Which rate does that?")),
    "evaluation_share": Exercise(
        {"as many batches as steps": ((10, 10), 0.25), "400 every 100 steps": ((100, 400), 4 / 7),
         "one after 33 steps": ((33, 1), 0.01), "none": ((5, 0), 0.0)},
        {"A step goes forth and back: it takes three times as long as reading a batch.":
            lambda every, batches: batches / (every + batches),
         "That is evaluation against training. Wanted is its share of both together.":
            lambda every, batches: batches / (3 * every),
         "The way back takes twice as long as the way forth, so that a step takes three of these, not two.":
            lambda every, batches: batches / (2 * every + batches)},
    ),
    "accumulation": Exercise(
        {"one GPU, exactly": ((524_288, 1024, 16, 1), 32), "four GPUs, a little more": ((524_289, 1024, 16, 4), 36),
         "three GPUs": ((100_000, 256, 32, 3), 15), "a small step": ((100, 256, 8, 2), 2)},
        {"Each process has to take as many: round up to a multiple of their number.":
            lambda tokens, block_size, batch_size, processes: math.ceil(tokens / (block_size * batch_size)),
         "That is for each process. A step has all of them.":
            lambda tokens, block_size, batch_size, processes: math.ceil(tokens / (block_size * batch_size * processes)),
         "At least so many tokens: round up.":
            lambda tokens, block_size, batch_size, processes: tokens // (block_size * batch_size * processes) * processes,
         "That is as many for each process as one alone would need. They share them.":
            lambda tokens, block_size, batch_size, processes: math.ceil(tokens / (block_size * batch_size)) * processes,
         "Where it comes out even, nothing is to be added: 32 micro-batches of 16,384 tokens are 524,288.":
            lambda tokens, block_size, batch_size, processes:
                (tokens // (block_size * batch_size * processes) + 1) * processes,
         "Where it comes out even, nothing is to be added; and each process has to take as many.":
            lambda tokens, block_size, batch_size, processes: tokens // (block_size * batch_size) + 1},
    ),
    "operations_for": Exercise(
        {"a tenth for a hundred times as many": ((0.1, -0.5, 0.0), 100.0), "a steeper line": ((0.25, -2.0, 2.0), 2 * math.e),
         "where the line begins": ((math.e, -0.3, 1.0), 1.0)},
        {"Those are logarithms: take the exponential.": lambda gap, slope, start: (math.log(gap) - start) / slope,
         "That goes from operations to the gap. Solve the line for the operations.":
            lambda gap, slope, start: math.exp(slope * math.log(gap) + start),
         "The line is between logarithms: take that of the gap first.":
            lambda gap, slope, start: math.exp((gap - start) / slope),
         "Bring `start` to the other side first: it is subtracted there.":
            lambda gap, slope, start: math.exp((math.log(gap) + start) / slope)},
    ),
    "contained": Exercise(
        {"a quotation": (("the bell is lost", "We said: the bell is lost, who has it? Nobody has it.", 2), 1.0),
         "a half": (("Mend it, do not throw it away", "do not throw stones", 2), 1 / 3),
         "a long text in a short one": (("a b c d e f g h", "c d e", 3), 1 / 6),
         "repeated": (("the bell the bell the lamp", "the bell", 2), 1 / 3),
         "too short": (("bell", "the bell", 2), 0),
         "capitals and commas": (("the bell", "The, BELL!", 2), 1.0),
         "half a word": (("he bell", "the bell", 2), 0)},
        {"Divide by the passages of the first text alone.":
            lambda first, second, n: share_held(first, second, n, "both"),
         "That is the share of the second text's passages.":
            lambda first, second, n: share_held(first, second, n, "second"),
         "A passage that comes twice is one passage: take sets.":
            lambda first, second, n: share_held(first, second, n, once=False),
         "Compare passages with passages, not with the raw text.":
            lambda first, second, n: share_held(first, second, n, raw=True)},
    ),
    "boilerplate_of": Exercise(
        {"two of three": ((["a\nb", "b\nc", "c\nb"], 2), {"b", "c"}),
         "all of them": ((["a\nb", "b\nc", "c\nb"], 3), {"b"}),
         "one text repeats itself": ((["a\na\na", "b", "c\nb"], 2), {"b"}),
         "empty lines": ((["a\n\nb", "c\n\nd", "\na"], 2), {"a"}),
         "nothing": ((["a", "b"], 2), set()),
         "part of a line": ((["bell", "bells", "the bell"], 2), set()),
         "a space before it": (([" a", "a"], 2), set()),
         "another kind of break": ((["a\x0cb", "c\x0cb"], 2), set())},
        {"A line that one text repeats counts once there: take the set of its lines.":
            lambda texts, least: common_lines(texts, least, once=False),
         "Empty lines stand in every text; leave them out.": lambda texts, least: common_lines(texts, least, empty=True),
         "`least` texts are enough.": lambda texts, least: common_lines(texts, least, above=1),
         "Compare whole lines: `line in text` also finds a part of one.":
            lambda texts, least: {line for text in texts for line in text.split("\n")
                                  if line and sum(line in each for each in texts) >= least},
         "Spaces count: take each line as it is.":
            lambda texts, least: common_lines(["\n".join(map(str.strip, text.split("\n"))) for text in texts], least),
         "Cut with `split(\"\\n\")`; `splitlines` cuts at other signs, too.":
            lambda texts, least: common_lines(["\n".join(text.splitlines()) for text in texts], least)},
    ),
    "same_side": Exercise(
        {"a twin": (([3], [(1, 3)]), [1, 3]),
         "the twin stands second": (([3], [(3, 7), (1, 2)]), [3, 7]),
         "twins of twins": (([5], [(0, 1), (1, 2), (2, 5)]), [0, 1, 2, 5]),
         "no twins": (([4, 2], []), [2, 4]),
         "two families": (([9, 1], [(0, 1), (8, 7), (7, 9), (3, 4)]), [0, 1, 7, 8, 9])},
        {"Twins have twins. Look at the pairs again until nothing is added.":
            lambda held_out, pairs: held_together(held_out, pairs, rounds=1),
         "Two looks are not always enough: go on until one adds nothing.":
            lambda held_out, pairs: held_together(held_out, pairs, rounds=2),
         "A pair has no direction: look at both of its ends.":
            lambda held_out, pairs: held_together(held_out, pairs, back=False),
         "The documents of `held_out` belong to the result, too.":
            lambda held_out, pairs: held_together(held_out, pairs, own=False)},
    ),
}
