"""The grammar of the Playhouse: how a little play is made, one choice after another.

A scene announces its title, its cast and a few facts. Then its people talk: they remark, ask each other for the facts, hand
things over, count, sing. It ends with a rhyme. Every choice has a kind, the structure that a reader must have seen to
expect what comes:

    spelling   which word of a class, letter by letter       cast     who is in this play, who speaks now
    order      which words stand in which place              recall   what was told before: who holds what, where it lies
    agreement  one parrot sings, two parrots sing            counts   how many: voices, strokes of a clock, plums
    closing    what was opened is closed, by its own sign    rhyme    the second line of a couplet rhymes with the first

Each choice of the last six kinds also says what a reader expects who is blind to that kind: any name instead of the cast,
any rhyme word instead of the partners of the first.
"""
from collections.abc import Callable, Iterable
from functools import cache
from string import Formatter

from .engine import Options, only
from .lexicon import DESCRIBED, NAMES, NUMBERS, PRONOUNS, REGULAR, RHYME_GROUP, WORDS, with_article
from .lines import ANSWERS, DETERMINERS, FACT_QUESTIONS, LINES

__all__ = ["KINDS", "LONGEST", "scene"]

KINDS = ("spelling", "order", "agreement", "closing", "cast", "recall", "counts", "rhyme")
LONGEST = 1000  # characters; what MUST_END leaves of them is enough for the longest turn and the longest ending
MAY_END, MUST_END = 540, 650  # from here on a scene may end, from here on it must
DESCRIPTION = 0.75  # how often a noun has an adjective

CLOCK, EPILOGUE = "The clock strikes ", "Epilogue:\n"
NUMBER = list(NUMBERS)
TITLES = Options(f"{title} the " for title in ("After", "Before", "Beware", "Bury", "Hail", "Hide", "Kiss", "Marry", "Mind",
                                               "Praise", "Save", "Sell", "Steal", "Swallow", "Teach", "Trust"))
WHOSE = Options({" the ": 4, " my ": 1, " your ": 1, " our ": 1, " this ": 1, " that ": 1, " every ": 1})
VOICES = Options({"two": 1, "three": 2, "four": 1})
DETERMINER = Options(f"{word} " for word in DETERMINERS)
REGULAR_WORDS = {name: Options(words) for name, words in REGULAR.items()}
TALK = {"claim": 9, "remark": 4, "direction": 1.2, "song": 5.4, "why": 0.3, "where": 0.3, "who": 0.3, "when": 0.3,
        "whether": 0.3, "who has": 0.7, "where is": 0.5, "who is": 0.5, "where are": 0.2, "saying": 0.5, "counting": 1.5,
        "sum": 0.8}
TALK_ON = {part: weight for part, weight in TALK.items() if part not in ("direction", "song")}
STATEMENT = Options({".\n": 2, "!\n": 1})
REMARK = Options({".\n": 5, "!\n": 2, ". ": 3})
STAGE_VERB = Options({"s) ": 2, "s ": 1})

# What a reader expects who is blind to one kind.
PREPOSITIONS = Options(preposition.capitalize() for preposition in WORDS["preposition"])
HOLDERS = Options({**{f"{name} ": 1 for name in NAMES}, "I ": 24})
TURNS = Options({**{f"{name}: ": 1 / len(NAMES) for name in NAMES}, "[": 0.3, EPILOGUE: 0.1})
ACTORS = Options({**NAMES, CLOCK: 0.4})
PROPS = Options({**{f"{look} ": p for look, p in WORDS["look"].items()}, **WORDS["thing"]})
RHYMES = Options(f"{word}.\n" for word in RHYME_GROUP)
FIRST_RHYMES = Options(f"{word},\n" for word in RHYME_GROUP)
CLOSINGS = Options({".\n": 28, "!\n": 14, "?\n": 12, ". ": 15, ".]\n": 9, ") ": 4, '."\n': 3})
ENDINGS = Options({"s ": 1, " ": 1})
BE, HAVE = Options({"is ": 2, "are ": 1, "am ": 1}), Options({"has ": 2, "have ": 1})
PRONOUN, POSSESSIVE = Options(["she", "he", "they"]), Options(["her", "his", "its", "their"])
CAST_GOES_ON = Options({"; ": 2, ".\n": 1})
BONG_GOES_ON = Options({", bong": 3, ".]\n": 1})
COUNT_GOES_ON = Options({", ": 3, ". ": 1})


@cache
def parse(template: str) -> list[tuple[str, str | None]]:
    """The parts of a template: fixed text and the slot behind it. A slot that agrees writes the space behind it itself.

    >>> parse("This {thing=} {is=} heavy")
    [('This ', 'thing='), ('', 'is='), ('heavy', None)]
    """
    parts, space_written = [], False
    for text, slot, _, _ in Formatter().parse(template):
        parts.append((text.removeprefix(" ") if space_written else text, slot))
        space_written = slot is not None and (slot.endswith("=") or slot.startswith("some "))
    return parts


@cache
def openings(parts: tuple[tuple[str, float | int], ...]) -> tuple[Options, dict[str, tuple[str, str]]]:
    """The choice between the opening words of all lines of some parts; and for each opening, its part and what follows."""
    weights, lines = {}, {}
    for part, weight in parts:
        templates = LINES[part].strip().split("\n")
        for template in templates:
            opening = parse(template)[0][0]
            weights[opening], lines[opening] = weight / len(templates), (part, template.removeprefix(opening))
    return Options(weights), lines


@cache
def nouns(name: str, article: bool, regular: bool) -> tuple[Options, set[str]]:
    """The choice between the words of a list and the adjectives that may stand before them; and which are adjectives."""
    words = REGULAR[name] if regular else list(WORDS[name])
    adjectives = [f"{word} " for word in WORDS[DESCRIBED[name]]] if name in DESCRIBED else []
    if article:
        words, adjectives = with_article(words), with_article(adjectives)
    weights = dict.fromkeys(words, 1 / len(words))
    if adjectives:
        weights = {word: (1 - DESCRIPTION) * p for word, p in weights.items()}
        weights |= dict.fromkeys(adjectives, DESCRIPTION / len(adjectives))
    return Options(weights), set(adjectives)


class Scene:
    """One play in the making: its people, who holds what, and the one choice that all its text goes through."""

    def __init__(self, choose: Callable[..., str]):
        self.choose = choose
        self.roles: dict[str, str] = {}  # who is in the cast -> what they are
        self.looks: dict[str, str] = {}  # thing -> its look
        self.holders: dict[str, str] = {}  # thing -> who holds it
        self.hidden, self.place = "", ("", "")  # the thing that nobody holds, and where it is
        self.voices = self.setting = ""
        self.speaker = ""  # who spoke or acted last
        self.subject = ""  # whom he and his mean
        self.other = ""  # who was named last beside the speaker
        self.plural: bool | None = False  # whether the noun at hand is plural; None: it may be either
        self.person = False  # whether that noun is a person: people have "their" hats, an animal has "its"
        self.asked = ""  # the thing or the role that was named last
        self.rhyme = ""  # the word to rhyme with

    # How choices are made.

    def say(self, text: str) -> None:
        self.choose(only(text), "order")

    def word(self, options: Options) -> str:
        return self.choose(options, "spelling")

    def close(self, sign: str) -> None:
        self.choose(only(sign), "closing", CLOSINGS)

    def recall(self, text: str, blind: Options) -> str:
        return self.choose(only(text), "recall", blind)

    def agree(self, text: str, blind: Options) -> None:
        self.choose(only(text), "agreement", blind)

    def count(self, text: str, blind: Options = NUMBERS) -> None:
        self.choose(only(text), "counts", blind)

    def line(self, parts: dict[str, float | int]) -> str:
        """Write a line of one of these parts, drawn by weight, up to its closing sign; the part that it was."""
        options, lines = openings(tuple(parts.items()))
        opening = self.choose(options, "order")
        part, rest = lines[opening]
        if part != "predicate":
            self.plural = DETERMINERS.get(opening.split()[0].lower(), False)
        for text, slot in parse(rest):
            if text:
                self.say(text)
            if slot:
                self.fill(slot)
        return part

    # How slots are filled: with words,

    def fill(self, slot: str) -> None:
        name = slot.rstrip("=")
        if method := getattr(self, "fill_" + name.replace(" ", "_"), None):
            method()
        elif name.startswith("some "):
            self.plural = DETERMINERS[self.choose(DETERMINER, "order").strip()]
            self.noun(name.removeprefix("some "))
        elif name.startswith("a "):
            self.described(name.removeprefix("a "), article=True)
        elif slot in ("act=", "verb="):
            self.word(REGULAR_WORDS[name])
            self.agree(" " if self.plural else "s ", ENDINGS)
        elif slot.endswith("="):
            self.noun(name)
        elif slot in WORDS:
            self.described(slot)
        else:
            self.described(slot.removesuffix("s"), regular=True)
            self.say("s")

    def described(self, name: str, article: bool = False, regular: bool = False) -> str:
        """A word, perhaps with one adjective or two before it; the word."""
        options, adjectives = nouns(name, article, regular)
        word = self.word(options)
        if word in adjectives:
            options, adjectives = nouns(name, False, regular)
            word = self.word(options)
        if word in adjectives:
            word = self.word(REGULAR_WORDS[name] if regular else WORDS[name])
        return word.removeprefix("an ").removeprefix("a ")

    def noun(self, name: str) -> None:
        """A noun in the number that its determiner asks for; the noun decides where the determiner leaves it open."""
        self.person = self.described(name, regular=True) in WORDS["role"]
        if self.plural is None:
            self.plural = self.choose(ENDINGS, "order") == "s "
        else:
            self.agree("s " if self.plural else " ", ENDINGS)

    def fill_place(self) -> None:
        self.fill("preposition")
        self.choose(WHOSE, "order")
        self.fill("furniture")

    def fill_acts(self) -> None:
        self.word(REGULAR_WORDS["act"])
        if self.choose(STAGE_VERB, "order") == "s ":
            self.fill("manner")
            self.close(") ")

    def fill_predicate(self) -> None:
        self.line({"predicate": 1})

    def fill_proverb(self) -> None:
        self.line({"proverb": 1})

    # with words that agree,

    def fill_is(self) -> None:
        self.agree("are " if self.plural else "is ", BE)

    def fill_he(self) -> None:
        self.plural = False
        self.agree(PRONOUNS[self.subject][0], PRONOUN)

    def fill_its(self) -> None:
        self.agree("their" if self.plural or self.person else "its", POSSESSIVE)

    def fill_his(self) -> None:
        self.agree(PRONOUNS[self.subject][1], POSSESSIVE)

    # with the cast and with what was told before,

    def fill_other(self) -> None:
        self.other = self.choose(Options(name for name in self.roles if name != self.speaker), "cast", NAMES)

    def fill_name(self) -> None:
        self.fill_other()
        self.subject, self.plural = self.other, False

    def fill_scenery(self) -> None:
        self.recall(self.setting, WORDS["setting"])

    def fill_part(self) -> None:
        self.asked = self.choose(Options(self.roles.values()), "recall", WORDS["role"])

    def fill_prop(self) -> None:
        self.prop(self.looks)

    def fill_held(self) -> None:
        self.prop(self.holders)

    def fill_gift(self) -> None:
        self.prop([thing for thing, name in self.holders.items() if name == self.speaker])

    def fill_hidden(self) -> None:
        self.recall(self.hidden, WORDS["thing"])

    def fill_stash(self) -> None:
        self.fill_hidden()
        self.say(" ")
        self.hide()

    def prop(self, things: Iterable[str]) -> None:
        """Name one of these things, with its look or without."""
        described = {f"{self.looks[thing]} ": thing for thing in things}
        chosen = self.choose(Options({**dict.fromkeys(described, 1), **dict.fromkeys(things, 2)}), "recall", PROPS)
        self.asked = self.recall(described[chosen], WORDS["thing"]) if chosen in described else chosen

    def hide(self) -> None:
        preposition = self.word(WORDS["preposition"])
        self.say(" the ")
        self.place = preposition, self.word(WORDS["furniture"])

    # with numbers,

    def fill_count(self) -> None:
        for i, number in enumerate(NUMBER):
            self.count(number)
            if i == 0:
                self.say(", ")
            elif i == len(NUMBER) - 1:
                self.count(". ", COUNT_GOES_ON)
            elif self.choose(COUNT_GOES_ON, "order") == ". ":
                break
        self.say("I see ")
        self.count(number)

    def fill_sum(self) -> None:
        had = NUMBER.index(self.word(Options(NUMBER[2:])))
        self.say(" ")
        self.fill("snacks")
        self.say(" and ")
        self.fill_other()
        self.say(" ate ")
        eaten = NUMBER.index(self.word(Options(NUMBER[:had])))
        self.close(". ")
        self.say("Now I have ")
        self.count(NUMBER[had - eaten - 1])

    # and with rhymes.

    def fill_first_rhyme(self) -> None:
        self.rhyme = self.word(FIRST_RHYMES).removesuffix(",\n")

    def fill_rhyme(self) -> None:
        partners = Options(f"{word}.\n" for word in RHYME_GROUP[self.rhyme] if word != self.rhyme)
        self.choose(partners, "rhyme", RHYMES)

    def couplet(self) -> None:
        for part in ("first line", "second line"):
            self.say("  ")
            self.line({part: 1})

    # The parts of a scene.

    def fresh(self, name: str, used: Iterable[str]) -> str:
        """A word of a list that this scene has not used yet."""
        return self.word(Options(word for word in WORDS[name] if word not in used))

    def new_prop(self) -> str:
        look = self.fresh("look", self.looks.values())
        self.say(" ")
        thing = self.fresh("thing", self.looks)
        self.looks[thing] = look
        return thing

    def opening(self) -> None:
        """Title, cast, who carries what, and what lies where."""
        self.choose(TITLES, "order")
        title = self.new_prop()
        self.say("\n\nA ")
        self.fill("genre")
        self.say(" for ")
        self.voices = self.choose(VOICES, "order")
        self.say(" in ")
        self.setting = self.described("setting", article=True)
        self.say(" ")
        self.fill("hour")
        self.say(".\nCast: ")
        for left in reversed(range(NUMBER.index(self.voices) + 1)):
            name = self.word(Options(name for name in NAMES if name not in self.roles))
            self.say(", ")
            self.word(nouns("nature", True, False)[0])
            self.say(" ")
            self.roles[name] = self.fresh("role", self.roles.values())
            self.count("; " if left else ".\n", CAST_GOES_ON)
        self.say("[")
        self.fill_other()
        self.holders[title] = self.speaker = self.other
        self.say(" has the ")
        self.prop([title])
        self.close(". ")
        self.fill_other()
        self.say(" has the ")
        self.holders[self.new_prop()] = self.other
        self.close(". ")
        self.say("The ")
        self.hidden = self.new_prop()
        self.say(" lies ")
        self.hide()
        self.close(".]\n")
        self.say("\n")
        self.speaker = ""

    def turn(self) -> bool:
        """Someone speaks, or something happens, or the scene ends; whether it goes on."""
        turns = {f"{name}: ": 1 / len(self.roles) for name in self.roles if name != self.speaker} | {"[": 0.25}
        if self.choose.length >= MAY_END:
            turns[EPILOGUE] = 0.25
        if self.choose.length >= MUST_END:
            turns = [EPILOGUE]
        turn = self.choose(Options(turns), "cast", TURNS)
        if turn == "[":
            self.action()
        elif turn != EPILOGUE:
            self.speaker = turn.removesuffix(": ")
            self.speech(TALK)
        return turn != EPILOGUE

    def action(self) -> None:
        actor = self.choose(Options({**dict.fromkeys(self.roles, 1 / len(self.roles)), CLOCK: 0.4}), "cast", ACTORS)
        if actor == CLOCK:
            strokes = NUMBER.index(self.word(Options(NUMBER[1:5])))
            self.say(": bong")
            for left in reversed(range(strokes + 1)):
                self.count(", bong" if left else ".]\n", BONG_GOES_ON)
            return
        self.say(" ")
        self.speaker = self.subject = actor
        part = self.line({"action": 2, "hide": 0.6} | ({"give": 2} if actor in self.holders.values() else {}))
        if part == "give":
            self.holders[self.asked] = self.other
        self.close(".]\n")

    def speech(self, parts: dict[str, float | int]) -> None:
        part = self.line(parts)
        if part == "direction":
            self.speech(TALK_ON)
        elif part == "song":
            self.say("\n")
            self.couplet()
        elif part == "saying":
            self.close('."\n')
        elif part in ANSWERS or part in FACT_QUESTIONS:
            self.close("?\n")
            self.answer(part)
        elif part in ("remark", "claim") and self.choose(REMARK, "closing", CLOSINGS) == ". ":
            self.line({"claim": 2, "remark": 1})
            self.choose(STATEMENT, "closing", CLOSINGS)
        elif part in ("counting", "sum"):
            self.choose(STATEMENT, "closing", CLOSINGS)

    def answer(self, question: str) -> None:
        turns = Options(f"{name}: " for name in self.roles if name != self.speaker)
        self.speaker = self.choose(turns, "cast", TURNS).removesuffix(": ")
        if question == "who has":
            self.identify(self.holders[self.asked], "have ", "has ", HAVE)
            self.recall(self.asked, WORDS["thing"])
        elif question == "who is":
            self.identify(next(name for name, role in self.roles.items() if role == self.asked), "am ", "is ", BE)
            self.recall(self.asked, WORDS["role"])
        elif question == "where is":
            self.recall(self.place[0].capitalize(), PREPOSITIONS)
            self.say(" the ")
            self.recall(self.place[1], WORDS["furniture"])
        elif question == "where are":
            self.say("In the ")
            self.fill_scenery()
        else:
            self.line({ANSWERS[question]: 1})
        self.choose(STATEMENT, "closing", CLOSINGS)

    def identify(self, name: str, verb_of_me: str, verb_of_others: str, blind: Options) -> None:
        """`I have the` or `Ada has the`: the person is recalled, the verb agrees."""
        me = name == self.speaker
        self.recall("I " if me else f"{name} ", HOLDERS)
        self.agree(verb_of_me if me else verb_of_others, blind)
        self.say("the ")

    def ending(self) -> None:
        self.couplet()
        self.say("[The ")
        self.count(self.voices)
        self.say(" bow.]\n")


def scene(choose: Callable[..., str]) -> None:
    """One play, to be written, read or foreseen by the interpreter `choose`."""
    play = Scene(choose)
    play.opening()
    while play.turn():
        pass
    play.ending()
