"""Fictional documents: numbered sections about invented people, towns, ships and the like.

Every fact stands in one sentence that names its subject, so that an answer can quote its evidence.
"""

# ruff: noqa: E501 - the tables are read a row at a time

import random
from collections.abc import Callable
from dataclasses import dataclass

from mmspec.train.data import names
from mmspec.train.data.names import person
from mmspec.train.data.seeds import generator

CHARACTERS_A_TOKEN = 3.3
CHAPTER = 4  # sections in one
Draw = Callable[[random.Random], str]


@dataclass(frozen=True, slots=True)
class Pair:
    """A question about a document, its answer, and the short value that decides (may be empty)."""

    kind: str
    question: str
    answer: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A paragraph about one subject and the questions on its facts."""

    subject: str
    paragraph: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A titled list of sections."""

    title: str
    sections: tuple[Section, ...]

    @property
    def text(self) -> str:
        """The document as the model reads it."""
        parts = [self.title]
        for place, section in enumerate(self.sections, 1):
            parts.append(f"Section {place}: {section.subject}\n{section.paragraph}")
        return "\n\n".join(parts)


def document(seed: int, tokens: int) -> tuple[Document, list[Pair]]:
    """A document of about `tokens` tokens and everything that can be asked about it, shuffled."""
    rng = generator(seed, "document")
    sections: list[Section] = []
    room = tokens * CHARACTERS_A_TOKEN - 40
    while not sections or room > 250:
        section = _section(rng, min(6, max(2, int(room // 70))))
        room -= len(section.paragraph) + len(section.subject) + 15
        sections.append(section)
    made = Document(f"{rng.choice(_TITLES)} {names.name(rng)}", tuple(sections))
    pairs = [pair for section in sections for pair in section.pairs]
    for place, section in enumerate(sections, 1):
        pairs.append(
            Pair("section subject", f"What is section {place} about?", f"{section.subject}.")
        )
        if rng.random() < 0.5:
            ask = rng.choice(
                ("Quote section {}.", "Repeat section {}.", "Give the text of section {}.")
            )
            pairs.append(Pair("quote", ask.format(place), section.paragraph))
        else:
            ask = rng.choice(
                (
                    "Repeat the paragraph about {}.",
                    "Quote what the text says about {}.",
                    "What does the text say about {}?",
                )
            )
            pairs.append(Pair("quote", ask.format(section.subject), section.paragraph))
    rng.shuffle(pairs)
    return made, pairs


def chapter(seed: int, tokens: int) -> tuple[Document, Pair]:
    """A document in which one section is as long as four, and the wish to have it repeated."""
    plain, _ = document(seed, tokens)
    rng, sections = generator(seed, "chapter"), list(plain.sections)
    place = rng.randrange(max(1, len(sections) - CHAPTER))
    merged = sections[place : place + CHAPTER]
    text = " ".join(section.paragraph for section in merged)
    sections[place : place + CHAPTER] = [Section(merged[0].subject, text, ())]
    ask = f"Repeat the paragraph about {merged[0].subject}."
    return Document(plain.title, tuple(sections)), Pair("chapter", ask, text)


def filler(rng: random.Random) -> str:
    """One sentence that carries no fact anyone asks about."""
    return rng.choice(_FILLERS).format(
        thing=rng.choice(names.OBJECTS),
        shade=rng.choice(names.SHADES),
        month=rng.choice(names.MONTHS),
        animals=rng.choice(names.ANIMALS),
        product=rng.choice(names.PRODUCTS),
        job=rng.choice(names.JOBS),
    )


def _section(rng: random.Random, facts: int) -> Section:
    kind = rng.choice(list(_KINDS))
    naming, templates = _KINDS[kind]
    subject = naming(rng)
    sentences: list[str] = []
    pairs: list[Pair] = []
    for sentence, value, asks in rng.sample(templates, min(facts, len(templates))):
        drawn = value(rng)
        told = sentence.format(n=subject, v=drawn)
        sentences.append(told)
        answer = f'The text says: "{told}" The answer is {drawn}.'
        pairs.append(Pair("fact", rng.choice(asks).format(n=subject), answer, drawn))
        if rng.random() < 0.2:
            sentences.append(filler(rng))
    return Section(subject, " ".join(sentences), tuple(pairs))


def _pick(values: tuple[str, ...]) -> Draw:
    return lambda rng: rng.choice(values)


def _ship(rng: random.Random) -> str:
    return f"the {names.name(rng)}"


def _company(rng: random.Random) -> str:
    return f"{names.name(rng)} {rng.choice(('Works', 'Brothers', 'and Sons', 'Company'))}"


def _machine(rng: random.Random) -> str:
    return f"machine {names.name(rng)}-{rng.randint(1, 99)}"


_TITLES = (
    "A short history of",
    "Notes from",
    "The register of",
    "A report on",
    "Records of",
    "A guide to",
)
_Template = tuple[str, Draw, tuple[str, ...]]
_KINDS: dict[str, tuple[Draw, tuple[_Template, ...]]] = {
    "person": (person, (
        ("{n} was born in the town of {v}.", names.name, ("Where was {n} born?", "In which town was {n} born?")),
        ("{n} was born in the year {v}, in winter.", names.year, ("In which year was {n} born?", "When was {n} born?")),
        ("{n} works as a {v} in the old town.", _pick(names.JOBS), ("What is the job of {n}?", "What does {n} work as?")),
        ("{n} keeps {v} {n2} in the garden.".replace("{n2}", "animals"), names.number, ("How many animals does {n} keep?",)),
        ("The favourite colour of {n} is {v}.", _pick(names.SHADES), ("What is the favourite colour of {n}?",)),
        ("Every day {n} carries a {v} to work.", _pick(names.OBJECTS), ("What does {n} carry to work?",)),
        ("{n} learned everything from {v}.", person, ("Who taught {n}?", "From whom did {n} learn everything?")),
        ("{n} is married to {v}.", person, ("Who is {n} married to?",)),
        ("The house of {n} has the number {v}.", names.number, ("What is the house number of {n}?",)),
    )),
    "town": (names.name, (
        ("{n} lies on the river {v}.", names.name, ("On which river does {n} lie?", "Which river flows through {n}?")),
        ("{n} has {v} inhabitants.", names.number, ("How many inhabitants does {n} have?", "How many people live in {n}?")),
        ("The mayor of {n} is {v}.", person, ("Who is the mayor of {n}?",)),
        ("{n} is known for its {v}.", _pick(names.PRODUCTS), ("What is {n} known for?",)),
        ("The stone bridge of {n} was built in {v}.", names.year, ("When was the bridge of {n} built?",)),
        ("The market of {n} opens every {v}.", _pick(names.MONTHS), ("When does the market of {n} open?",)),
        ("The towers of {n} are painted {v}.", _pick(names.SHADES), ("What colour are the towers of {n}?",)),
    )),
    "ship": (_ship, (
        ("The captain of {n} is {v}.", person, ("Who is the captain of {n}?",)),
        ("In summer {n} carries {v}.", _pick(names.PRODUCTS), ("What does {n} carry?",)),
        ("The home port of {n} is {v}.", names.name, ("What is the home port of {n}?",)),
        ("The crew of {n} counts {v} sailors.", names.number, ("How many sailors are on {n}?",)),
        ("The sails of {n} are {v}.", _pick(names.SHADES), ("What colour are the sails of {n}?",)),
        ("The first voyage of {n} was in {v}.", names.year, ("When was the first voyage of {n}?",)),
    )),
    "company": (_company, (
        ("{n} makes {v}.", _pick(names.PRODUCTS), ("What does {n} make?",)),
        ("{n} was founded in {v}.", names.year, ("When was {n} founded?",)),
        ("The owner of {n} is {v}.", person, ("Who owns {n}?", "Who is the owner of {n}?")),
        ("{n} employs {v} people.", names.number, ("How many people does {n} employ?",)),
        ("The main office of {n} is in {v}.", names.name, ("Where is the main office of {n}?",)),
        ("The sign of {n} is a {v}.", _pick(names.OBJECTS), ("What is the sign of {n}?",)),
    )),
    "machine": (_machine, (
        ("The {n} is made of {v}.", _pick(names.METALS), ("What is the {n} made of?",)),
        ("The {n} was invented by {v}.", person, ("Who invented the {n}?",)),
        ("The serial number of the {n} is {v}.", lambda rng: names.digits(rng, 6), ("What is the serial number of the {n}?",)),
        ("The {n} weighs {v} kilograms.", names.number, ("How much does the {n} weigh?",)),
        ("The {n} stands in {v}.", names.name, ("Where does the {n} stand?",)),
        ("The lid of the {n} is {v}.", _pick(names.SHADES), ("What colour is the lid of the {n}?",)),
    )),
}  # fmt: skip
_FILLERS = (
    "It rained for most of {month}.",
    "Nobody remembers why the {thing} was {shade}.",
    "People still talk about it in {month}.",
    "The {animals} were asleep by then.",
    "There was plenty of {product} that year.",
    "A {job} once wrote a song about it.",
    "The old {thing} still hangs on the wall.",
    "Some say that the {job} knew more.",
    "The path is lined with {shade} stones.",
    "In {month} the days are quiet.",
)
