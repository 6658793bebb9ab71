"""What can be asked and told about a picture: questions with true answers, and descriptions.

The wording of a question varies with the seed; the wording of an answer is a function of the
facts and the question alone, so that a greedy answer can be marked right or wrong.
"""

import random
from collections import Counter
from dataclasses import dataclass

from mmspec.train.data.pictures import COLOURS, PLACES, SHAPES, Facts, Thing
from mmspec.train.data.seeds import generator
from mmspec.train.data.wording import joined

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, its true answer, and the kind that the probe reports it under."""

    kind: str
    question: str
    answer: str


def questions(facts: Facts, seed: int, count: int = 8) -> list[Asked]:
    """`count` questions about one picture; a small picture may repeat some in other words."""
    rng = generator(seed, "questions")
    ask = {"scene": _scene_questions, "chart": _chart_questions, "word": _word_questions}
    asked: list[Asked] = []
    while len(asked) < count:
        asked += ask[facts.kind](facts, rng)
    return rng.sample(asked, len(asked))[:count]


def describe(facts: Facts) -> str:
    """Everything the picture shows, in reading order, with neighbours related to each other."""
    if facts.kind == "chart":
        return _describe_chart(facts)
    if facts.kind == "word":
        return (
            f'The picture shows the word "{facts.word}" in {facts.word_colour} letters on a '
            f"{facts.background} background. It has {NUMBERS[len(facts.word)]} characters: "
            f"{spelled(facts.word)}."
        )
    things = facts.things
    parts = [f"The picture shows {objects(len(things))} on a {facts.background} background."]
    for index, thing in enumerate(things):
        parts.append(_SENTENCES[index % 3].format(place=thing.place, phrase=thing.phrase))
        if index:
            before = things[index - 1]
            parts.append(f"It is {_side(thing, before)} the {before.phrase}.")
    colours = Counter(thing.colour for thing in things)
    tally = [f"{NUMBERS[colours[colour]]} {colour}" for colour in COLOURS if colours[colour]]
    parts.append(f"By colour there are {joined(tally)}.")
    large = sum(thing.size == "large" for thing in things)
    parts.append(f"In all, {NUMBERS[large]} large and {NUMBERS[len(things) - large]} small.")
    return " ".join(parts)


def listed(facts: Facts) -> str:
    """A scene in one line: `large red circle (top left), small blue star (centre)`."""
    return ", ".join(f"{thing.phrase} ({thing.place})" for thing in facts.things) + "."


def objects(count: int) -> str:
    """`one object`, `three objects`."""
    return f"{NUMBERS[count]} object" + ("s" if count != 1 else "")


def spelled(text: str) -> str:
    """`S T O P`."""
    return " ".join(text)


_SENTENCES = (
    "At the {place} there is a {phrase}.",
    "The {place} holds a {phrase}.",
    "A {phrase} is at the {place}.",
)


def _side(thing: Thing, other: Thing) -> str:
    """Where `thing` is seen from `other`; their cells differ."""
    down, across = thing.cell // 3 - other.cell // 3, thing.cell % 3 - other.cell % 3
    words = [("above", "", "below")[(down > 0) - (down < 0) + 1]]
    words.append(("left of", "", "right of")[(across > 0) - (across < 0) + 1])
    return " and ".join(word for word in words if word)


def _scene_questions(facts: Facts, rng: random.Random) -> list[Asked]:
    things = facts.things
    target = rng.choice(things)
    cells = {thing.cell: thing for thing in things}
    names = Counter((thing.colour, thing.shape) for thing in things)
    colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
    if rng.random() < 0.5:
        colour, shape = target.colour, target.shape
    there = names[(colour, shape)] > 0
    cell = target.cell if rng.random() < 0.7 else rng.randrange(9)
    at = cells.get(cell)
    place = PLACES[cell]
    seen = Counter(thing.colour for thing in things)
    counted = rng.choice([*seen, rng.choice(list(COLOURS))])
    asked = [
        Asked(
            "count",
            rng.choice(_COUNT),
            f"There {'is' if len(things) == 1 else 'are'} {objects(len(things))}.",
        ),
        Asked(
            "count colour",
            f"How many {counted} objects are there?",
            NUMBERS[seen[counted]].capitalize() + ".",
        ),
        Asked(
            "existence", rng.choice(_EXISTS).format(f"{colour} {shape}"), "Yes." if there else "No."
        ),
        Asked("lookup", rng.choice(_AT).format(place), f"A {at.phrase}." if at else "Nothing."),
        Asked("background", rng.choice(_BACKGROUND), facts.background.capitalize() + "."),
    ]
    one = [thing for thing in things if names[(thing.colour, thing.shape)] == 1]
    if one:
        thing = rng.choice(one)
        asked.append(
            Asked(
                "place",
                rng.choice(_WHERE).format(f"{thing.colour} {thing.shape}"),
                f"At the {thing.place}.",
            )
        )
        asked.append(
            Asked(
                "size",
                f"Is the {thing.colour} {thing.shape} small or large?",
                thing.size.capitalize() + ".",
            )
        )
    shapes = Counter(thing.shape for thing in things)
    if lone := [thing for thing in things if shapes[thing.shape] == 1]:
        thing = rng.choice(lone)
        asked.append(
            Asked(
                "colour", rng.choice(_COLOUR).format(thing.shape), thing.colour.capitalize() + "."
            )
        )
    if lone := [thing for thing in things if seen[thing.colour] == 1]:
        thing = rng.choice(lone)
        asked.append(Asked("shape", rng.choice(_SHAPE).format(thing.colour), f"A {thing.shape}."))
    if len(one) >= 2:
        first, second = rng.sample(one, 2)
        names_both = f"{first.colour} {first.shape}", f"{second.colour} {second.shape}"
        asked.append(
            Asked(
                "relation",
                "Where is the {} relative to the {}?".format(*names_both),
                _side(first, second).capitalize() + " it.",
            )
        )
    return asked


def _chart_questions(facts: Facts, rng: random.Random) -> list[Asked]:
    bars = facts.bars
    bar = rng.choice(bars)
    heights = [bar.height for bar in bars]
    asked = [
        Asked(
            "bar count",
            rng.choice(("How many bars are there?", "How many bars does the chart have?")),
            NUMBERS[len(bars)].capitalize() + ".",
        ),
        Asked(
            "bar height",
            rng.choice(
                (
                    "How tall is the {} bar?",
                    "What is the height of the {} bar?",
                    "What is the value of the {} bar?",
                )
            ).format(bar.colour),
            f"{bar.height}.",
        ),
        Asked(
            "bar order",
            "What colour is the first bar from the left?",
            bars[0].colour.capitalize() + ".",
        ),
        Asked("bar order", "What colour is the last bar?", bars[-1].colour.capitalize() + "."),
    ]
    for word, extreme in (("tallest", max(heights)), ("shortest", min(heights))):
        if heights.count(extreme) == 1:
            colour = bars[heights.index(extreme)].colour
            asked.append(
                Asked(
                    "bar extreme",
                    rng.choice(("Which bar is the {}?", "What colour is the {} bar?")).format(word),
                    colour.capitalize() + ".",
                )
            )
    return asked


def _word_questions(facts: Facts, rng: random.Random) -> list[Asked]:
    read = (
        "What is written in the picture?",
        "Read the text.",
        "What does the picture say?",
        "Which word is in the picture?",
    )
    return [
        Asked("read", rng.choice(read), f'It says "{facts.word}".'),
        Asked("spell", "Spell the word in the picture.", spelled(facts.word) + "."),
        Asked(
            "letter colour", "What colour are the letters?", facts.word_colour.capitalize() + "."
        ),
        Asked(
            "letter count",
            "How many characters are written?",
            NUMBERS[len(facts.word)].capitalize() + ".",
        ),
    ]


def _describe_chart(facts: Facts) -> str:
    bars = facts.bars
    heights = [bar.height for bar in bars]
    parts = [
        f"The picture shows a bar chart with {NUMBERS[len(bars)]} bars on a "
        f"{facts.background} background."
    ]
    parts.append(f"From left to right: {', '.join(f'{bar.colour} {bar.height}' for bar in bars)}.")
    for word, extreme in (("tallest", max(heights)), ("shortest", min(heights))):
        best = [bar.colour for bar in bars if bar.height == extreme]
        noun = "bar is" if len(best) == 1 else "bars are"
        parts.append(f"The {word} {noun} {joined(best)} with a height of {extreme}.")
    return " ".join(parts)


DESCRIBE = (
    "Describe the picture.",
    "Describe this image in detail.",
    "What do you see?",
    "What is in the picture?",
    "Describe the image.",
    "Tell me what the picture shows.",
)
LIST = ("List the objects.", "List everything in one line.", "Name all objects and where they are.")
_COUNT = (
    "How many objects are there?",
    "How many objects are in the picture?",
    "Count the objects.",
    "How many shapes do you see?",
)
_EXISTS = ("Is there a {}?", "Do you see a {}?", "Does the picture show a {}?")
_AT = ("What is at the {}?", "What do you see at the {}?", "Which object is at the {}?")
_WHERE = ("Where is the {}?", "In which place is the {}?", "Find the {}.")
_BACKGROUND = ("What colour is the background?", "Which background does the picture have?")
_COLOUR = (
    "What colour is the {}?",
    "What is the colour of the {}?",
    "Which colour does the {} have?",
)
_SHAPE = ("What shape is the {} object?", "Which shape is {}?", "What is the {} object?")
