"""What is said in the Playhouse: templates of lines, by the part that they play.

{animal} is a word of that list of the lexicon, {a animal} has its article, {animals} is a plural; any of them may be
described ({animal}: `shy parrot`). {animal=}, {act=} and {is=} agree with the number that stands before them, {some animal}
brings a number of its own. The other slots are methods of `grammar.Scene`. The fixed words that open a template are chosen
first, so within a part none may begin another.
"""
__all__ = ["ANSWERS", "DETERMINERS", "FACT_QUESTIONS", "LINES"]

# Whether what follows is plural; None: it may be either.
DETERMINERS = {"another": False, "each": False, "every": False, "no": False, "one": False, "that": False, "this": False,
               "both": True, "few": True, "many": True, "most": True, "several": True, "some": True, "these": True,
               "those": True, "two": True, "my": None, "our": None, "the": None, "your": None}

LINES = {
    "claim": "\n".join(f"{word.capitalize()} {{being=}} {{predicate}}" for word in DETERMINERS),
    "predicate": """
always {act=} and {verb=} {food}
and {some being} {act} {manner}
from {a setting} {act=} {manner}
in {a look} {thing} {act=} {manner}
never {act=} but {verb=} {its} {food}
now {verb=} {its} {thing} {place}
often {act=} like {a being} {place}
rarely {verb=} {its} {relative} {manner}
still {act=} and {act=} {manner}
who {act=} {place} {verb=} {its} {food}
who {verb=} {food} {act=} {manner}
will {verb} {some thing} {manner}
with {things} {act=} {manner}
""",
    "remark": """
Alas, {some thing} {is=} {look}
As {a role} I {verb} {some thing} {manner}
Ask {name} why {he} {act=} {manner}
Beware when {some role} {verb=} {things}
Clearly {some being} {act=} and {verb=} {its} {animal}
Dear {name}, {some animal} {act=} like {a being}
Do not {verb} {a animal}, {name}
For {food} I {act} and {verb} {food}
Forgive me, {name}, I {did} your {animal}
Give me the {prop}, {name}
Half of my {relative} is {food}
See how {name} {verb=} {his} {thing} {manner}
If {some being} {act=} {manner}, {name} will {act}
It is {fault} that {verb=} {a being}
Let us {act} {manner} and {verb} the {food}
Listen, {some being} {verb=} {its} {thing}
Look how {some animal} {verb=} {a thing}
Love {act=} {place} and {verb=} {some being} {manner}
Never {verb} {some role} {hour}
Nobody in this {scenery} can {act} like {name}
Neither {food} nor {fault} {verb=} {some role} {hour}
On {day} {name} {did} {his} {animal} {place}
Once {name} and {his} {relative} {did} {a being}
Only {fault} {verb=} {a being}
Perhaps {name} will {act} when {he} {verb=} {his} {thing}
Please {verb} {some thing} {manner}
Remember, {name}, {fault} is {a thing}
So {name} {did} {his} {relative} {place}
Then {some being} {act=} and {name} {act=} {manner}
They say {name} {verb=} {his} {thing} {manner}
Tonight {some being} {act=} and {verb=} {its} {relative}
Truly, {fault} {verb=} {a being}
Under {food} lies {fault}
We {verb} the {prop} {hour}
What {weather} weather for {a role}
Whenever {name} {act=} {he} {verb=} {a being}
Why, {name} {verb=} {some being} {place}
With {fault} {name} {verb=} {his} {animal} {manner}
Without {fault} {some being} {act=} {manner}
You {verb} {a thing}, {name}, and {act} {manner}
""",
    "why": """
Why did you {verb} my {thing}
Why does {name} {act} with {his} {thing}
Why is your {thing} so {look}
Why must {some being} {act} {manner}
""",
    "because": """
Since I {did} {a being}
Because {some being} {act=} {manner}
For want of {fault} and {food}
Out of {fault}
""",
    "where": """
Where did you {verb} the {animal}
Where do {roles} {act}
Where shall we {verb} {a thing}
""",
    "there": """
I hope not {place}
In {a setting}
Look {place}
Usually {place}
""",
    "who": """
Who put {a thing} {place}
Who stole my {thing}
Who taught {some being} to {act} {manner}
Who will {verb} the {animal}
""",
    "someone": """
It was {name} with {his} {thing}
My {relative}, I fear
Only {name} and {his} {relative}
Doubtless {a role}
""",
    "when": """
When do {animals} {act}
When shall I {verb} {a thing}
When will the {role} {act}
""",
    "then": """
Every {day} {hour}
Not before {day}
Only {hour}
""",
    "whether": """
Did I hear {a animal} {place}
Do you think {name} can {act} {manner}
Is it true that {name} {did} {a role}
""",
    "perhaps": """
Alas, yes
Certainly, with {food}
Certainly not
Yes, {hour}
""",
    "who has": "Who has the {held}",
    "where is": "Where is the {hidden}",
    "who is": "Who is the {part}",
    "where are": "Where are we",
    "direction": "({acts}",
    "song": "Sing:",
    "saying": 'My {relative} says: "{proverb}',
    "counting": "I count my {animals}: {count}",
    "sum": "Yesterday I had {sum}",
    "proverb": """
every {being=} {act=} {manner}
never {verb} {a being} {hour}
no {thing} without {fault}
the {being=} {act=} {place}
two {being=} {act=} {manner}
after {food} {fault} {act=} {hour}
""",
    "action": """
drops {his} {thing} on {his} {relative}
has {did} {his} {thing} with {his} {thing}
looks for {his} {animal} {place}
offers {his} {snack} to {other}
puts {a thing} {place}
takes {his} {relative} by the {thing}
trips over {his} {animal} and {verb=} {his} {thing}
whispers to {his} {thing} and {act=} {manner}
""",
    "give": "gives the {gift} to {other}",
    "hide": "hides the {stash}",
    "first line": """
Beware the {animal} who {verb=} the {look} {first rhyme}
I {did} {a being} beside the {first rhyme}
Lo, {some being} {act=} {manner} past the {first rhyme}
My {relative} {did} {a animal} on the {first rhyme}
Oh, {verb} {a role} and {act} upon the {first rhyme}
Sing, {name}, of {fault} and of {a look} {first rhyme}
The {being=} {act=} {manner} by the {first rhyme}
Three {animals} {did} {a look} {first rhyme}
Tonight {some role} {verb=} {a look} {first rhyme}
Here {some being} {act=} {manner} near the {first rhyme}
""",
    "second line": """
All {roles} {verb} {a look} {rhyme}
And {fault} {act=} {manner} on the {rhyme}
But {name} {verb=} {some thing} by the {rhyme}
For {fault} {verb=} {a look} {rhyme}
Let {some being} {verb} the {look} {rhyme}
So {verb} your {thing} and {act} upon the {rhyme}
They {did} {a thing} inside the {rhyme}
While {some being} {act=} {manner} in the {rhyme}
Who {act=} {manner} {verb=} the {rhyme}
With {food} and {food} upon the {rhyme}
""",
}
FACT_QUESTIONS = ("who has", "where is", "who is", "where are")  # their answers were told before
ANSWERS = {"why": "because", "where": "there", "who": "someone", "when": "then", "whether": "perhaps"}
