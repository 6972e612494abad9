"""A tolerant reader of scenes: how much of the play's structure does a text keep, line by line?

The grammar scores a text only up to its first slip. A model's sample slips early, and what follows can still be worth
reading: this reader understands what it can, asks of each line whether it keeps the rules, and counts.
"""
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .grammar import KINDS, NUMBER, PREPOSITIONS, TALK
from .lexicon import DESCRIBED, NAMES, PRONOUNS, RHYME_GROUP, WORDS
from .lines import ANSWERS, DETERMINERS, FACT_QUESTIONS, LINES

__all__ = ["Verdict", "judge"]

TAG = re.compile(r"([A-Z]\w*): ")
FACTS = re.compile(r"\[(\w+) has the (.+?)\. (\w+) has the (.+?)\. The (.+?) lies (.+?)\.\]")
GIVES = re.compile(r"\[(\w+) gives the (?:.* )?(\S+) to (\w+)\.\]")
HIDES = re.compile(r"\[\w+ hides the (\S+) (.+)\.\]")
CLOCK = re.compile(r"The clock strikes (\w+): ([bong, ]+)")
COUNT = re.compile(r"I count my .+?: ([\w, ]+)\. I see (\w+)")
SUM = re.compile(r"Yesterday I had (\w+) .+? and \w+ ate (\w+)\. Now I have (\w+)")


def beginnings(parts: Iterable[str]) -> tuple[str, ...]:
    """The fixed words with which the lines of these parts begin."""
    return tuple(line.split("{")[0] for part in parts for line in LINES[part].strip().split("\n"))


SPEECHES = beginnings(TALK)
REPLIES = (*beginnings(ANSWERS.values()), "I have the ", "I am the ", "In the ",
           *(f"{name} {verb} the " for name in NAMES for verb in ("has", "is")), *(f"{p} the " for p in PREPOSITIONS))
QUESTIONS = beginnings([*ANSWERS, *FACT_QUESTIONS])
VERSES = beginnings(("first line", "second line"))
ACTIONS = beginnings(("action", "give", "hide"))
NOUNS = {word for name in DESCRIBED if name != "food" for word in WORDS[name]}
ADJECTIVES = {word for name in set(DESCRIBED.values()) for word in WORDS[name]}


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[\w'-]+", text.lower()))


def known_words() -> set[str]:
    listed = words_of(" ".join([*(word for options in WORDS.values() for word in options), *NAMES, *RHYME_GROUP, *NUMBER]))
    fixed = words_of(re.sub(r"\{.*?\}", " ", "\n".join(LINES.values())))
    return listed | {f"{word}s" for word in listed} | fixed | set(DETERMINERS) | set(FIXED_WORDS.split())


FIXED_WORDS = """after before beware bury hail hide kiss marry mind praise save sell steal swallow teach trust the a an for
in at on cast ate has have lies clock strikes bong epilogue bow voices he she his her its their is are am i this that
every"""
KNOWN_WORDS = known_words()


@dataclass
class Verdict:
    """For each kind of structure: how often the text was asked for it, and how often it was right."""

    right: Counter = field(default_factory=Counter)
    asked: Counter = field(default_factory=Counter)

    def note(self, kind: str, right: bool) -> None:
        self.asked[kind] += 1
        self.right[kind] += bool(right)

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(self.right + other.right, self.asked + other.asked)

    def share(self, kind: str) -> float:
        """Share of right answers, from 0 to 1; not a number when the text was never asked."""
        return self.right[kind] / self.asked[kind] if self.asked[kind] else float("nan")

    def __str__(self) -> str:
        return "\n".join(f"{kind:10} {self.right[kind]:4} of {self.asked[kind]:4} right" for kind in KINDS)


def number(word: str) -> int | None:
    return NUMBER.index(word) + 1 if word in NUMBER else None


class Reader:
    """What a reader keeps in mind while the lines go by."""

    def __init__(self) -> None:
        self.verdict = Verdict()
        self.note = self.verdict.note
        self.roles: dict[str, str] = {}
        self.holders: dict[str, str] = {}
        self.hidden = self.place = self.setting = self.question = ""
        self.voices: int | None = None
        self.verse: str | None = None  # the last word of a line that waits for its rhyme

    def read(self, text: str) -> Verdict:
        title, *lines = text.rstrip("\n").split("\n")
        self.note("order", re.fullmatch(r"[A-Z][a-z]+ the [\w-]+ [\w-]+", title) is not None)
        for line in lines:
            if line:
                self.line(line)
        for word in re.findall(r"[A-Za-z'-]+", text):
            self.note("spelling", word.lower() in KNOWN_WORDS)
        return self.verdict

    def line(self, line: str) -> None:
        self.closing(line)
        self.determiners(line)
        verse = line.startswith("  ")
        if self.verse and not verse:
            self.note("rhyme", False)
            self.verse = None
        if verse:
            self.rhyme(line.strip())
        elif line.startswith(("A ", "An ")):
            self.header(line)
        elif line.startswith("Cast: "):
            self.cast(line)
        elif line.startswith("["):
            self.action(line)
        elif line == "Epilogue:":
            self.note("order", True)
        elif tag := TAG.match(line):
            self.speech(tag[1], line[tag.end():])
        else:
            self.note("order", False)
        for name in re.findall(r"\b[A-Z][a-z]+\b", line):
            if name in NAMES and self.roles and not line.startswith("Cast: "):
                self.note("cast", name in self.roles)

    def closing(self, line: str) -> None:
        opened = []
        for sign in line:
            if sign in "([" or (sign == '"' and '"' not in opened):
                opened.append(sign)
            elif sign in ')]"':
                if not opened or opened.pop() + sign not in ("()", "[]", '""'):
                    return self.note("closing", False)
        asks = TAG.match(line) is not None and re.sub(r"^\w+: (\(.*?\) )?", "", line).startswith(QUESTIONS)
        self.note("closing", not opened and asks == line.endswith("?"))

    def determiners(self, line: str) -> None:
        words = re.findall(r"[\w'-]+", line)
        for i, word in enumerate(words):
            if word in ("his", "her", "he", "she") and (names := [word for word in words[:i] if word in PRONOUNS]):
                self.note("agreement", word in PRONOUNS[names[-1]])
            plural = None if word == "that" else DETERMINERS.get(word.lower())  # "fear that swallows ..."
            noun = next((word for word in words[i + 1:i + 4] if word not in ADJECTIVES), "")
            if plural is not None and (noun in NOUNS or noun.removesuffix("s") in NOUNS):
                self.note("agreement", plural == (noun not in NOUNS))

    def rhyme(self, line: str) -> None:
        self.note("order", line.startswith(VERSES))
        last = (re.findall(r"[\w-]+", line) or [""])[-1]
        if self.verse is None:
            self.verse = last
            return
        self.note("rhyme", last != self.verse and last in RHYME_GROUP.get(self.verse, ()))
        self.verse = None

    def header(self, line: str) -> None:
        found = re.match(r"An? \w+ for (\w+) in an? (.+)\.", line)
        self.note("order", found is not None)
        if found:
            self.voices = number(found[1])
            self.setting = next((word for word in found[2].split() if word in WORDS["setting"]), "")

    def cast(self, line: str) -> None:
        people = re.findall(r"(\w+), an? [\w-]+ ([\w-]+)(?=[;.])", line)
        self.roles = dict(people)
        self.note("order", bool(people))
        self.note("counts", len(people) == self.voices)

    def action(self, line: str) -> None:
        if facts := FACTS.match(line):
            self.holders = {facts[2].split()[-1]: facts[1], facts[4].split()[-1]: facts[3]}
            self.hidden, self.place = facts[5].split()[-1], facts[6]
        elif gives := GIVES.match(line):
            self.note("recall", self.holders.get(gives[2]) == gives[1])
            self.holders[gives[2]] = gives[3]
        elif hides := HIDES.match(line):
            self.note("recall", hides[1] == self.hidden)
            self.hidden, self.place = hides[1], hides[2]
        elif clock := CLOCK.match(line.removeprefix("[")):
            self.note("counts", clock[2].count("bong") == number(clock[1]))
        elif bow := re.match(r"\[The (\w+) bow\.\]", line):
            self.note("counts", number(bow[1]) == self.voices)
        else:
            self.note("order", re.match(r"\[[A-Z]\w+ ", line) is not None and line.split(" ", 1)[1].startswith(ACTIONS))
            return
        self.note("order", True)

    def speech(self, speaker: str, text: str) -> None:
        self.note("cast", speaker in self.roles)
        text = re.sub(r"^\(.*?\) ", "", text)
        self.note("order", text.startswith(REPLIES if self.question else SPEECHES))
        if self.question:
            self.answer(speaker, text.rstrip(".!"))
        self.question = text if text.endswith("?") else ""
        if count := COUNT.match(text):
            counted = count[1].split(", ")
            self.note("counts", counted == NUMBER[:len(counted)])
            self.note("counts", counted[-1] == count[2])
        if told := SUM.match(text):
            had, ate, left = map(number, told.groups())
            self.note("counts", None not in (had, ate, left) and had - ate == left)

    def answer(self, speaker: str, reply: str) -> None:
        if asked := re.match(r"Who has the (?:.* )?(\S+)\?", self.question):
            holder = self.holders.get(asked[1])
            self.note("recall", reply == (f"I have the {asked[1]}" if holder == speaker else f"{holder} has the {asked[1]}"))
        elif asked := re.match(r"Who is the (\S+)\?", self.question):
            person = next((name for name, role in self.roles.items() if role == asked[1]), None)
            self.note("recall", reply == (f"I am the {asked[1]}" if person == speaker else f"{person} is the {asked[1]}"))
        elif asked := re.match(r"Where is the (\S+)\?", self.question):
            self.note("recall", asked[1] == self.hidden and reply.lower() == self.place)
        elif self.question == "Where are we?":
            self.note("recall", reply == f"In the {self.setting}")


def judge(text: str) -> Verdict:
    """Read a scene, or what a model takes for one, and count how often it keeps each kind of structure."""
    return Reader().read(text)
