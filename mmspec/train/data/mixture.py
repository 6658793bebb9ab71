"""The mixture: which conversations a training step reads, and how they share its rows."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from mmspec.train.data import (
    chat,
    copying,
    documents,
    picture_language,
    pictures,
    programs,
    source,
    two_pictures,
)
from mmspec.train.data.conversation import Conversation, Encoded, Encoder
from mmspec.train.data.documents import Pair
from mmspec.train.data.picture_language import Asked
from mmspec.train.data.seeds import example_seed, generator

Text = Callable[[int, int], tuple[Any, list[Pair]]]


def _chapter(seed: int, tokens: int) -> tuple[documents.Document, list[Pair]]:
    """A document, and one wish: a long section of it, word for word."""
    read, asked = documents.chapter(seed, tokens)
    return read, [asked]


TEXTS: dict[str, Text] = {
    "document": documents.document,
    "chapter": _chapter,
    "repeat": copying.repeat,
    "echo": copying.echo,
    "lookup": copying.key_values,
    "passkey": copying.passkey,
    "talk": chat.talk,
    "program": programs.write,
    "change": programs.change,
}
# Kinds of questions that tie a place to a thing: learned late, so asked more often.
HARD = frozenset({
    "place", "relation", "lookup", "count colour", "existence", "bar height", "bar extreme",
    "read", "spell",
})  # fmt: skip
PICTURE = (pictures.SIDE, pictures.SIDE, 3)
PICTURES = ("scene", "quiz", "chart", "word", "two")


class Mixture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Share of tokens of every kind; `objects` and `tokens` are inclusive ranges.

    `paired`: things in each of two pictures.
    `quiz` is at most how many hard and how many easy questions a quiz asks about its scene.
    `alone`: a row holds one conversation whose turns follow one another, so that attention is
    plainly causal (long rows are dear otherwise).
    """

    shares: dict[str, float]
    objects: tuple[int, int] = (1, 5)
    paired: tuple[int, int] = (1, 3)
    tokens: tuple[int, int] = (60, 300)
    quiz: tuple[int, int] = (10, 6)
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Packed rows, int64/float32 [B, T]; `conversation` is -1 on padding.

    A token sees earlier tokens of its own conversation whose turn is 0 or its own.
    `images`, uint8 [P, 96, 96, 3], are in the order of their places in the rows. `causal`: that
    is every earlier token of the row.
    """

    tokens: np.ndarray
    positions: np.ndarray
    conversation: np.ndarray
    turn: np.ndarray
    weight: np.ndarray
    images: np.ndarray
    kinds: np.ndarray
    causal: bool = False


def converse(kind: str, seed: int, mixture: Mixture) -> Conversation:
    """One training conversation of a kind; raises KeyError for a kind that does not exist."""
    rng = generator(seed, f"converse {kind}")
    system = rng.choice(chat.SYSTEMS) if rng.random() < 0.15 else ""
    if kind == "source":
        return Conversation(kind, source=source.excerpt(seed, rng.randint(*mixture.tokens)))
    if kind in PICTURES:
        return _about_picture(kind, seed, mixture, system)
    size = _size(kind, rng, mixture.tokens)
    read, pairs = TEXTS[kind](seed, size)
    text = read.text if isinstance(read, documents.Document) else read
    turns: list[tuple[str, str]] = []
    room = min(max(900, 2 * size), 3 * mixture.tokens[1])  # characters
    for pair in pairs:
        room -= len(pair.question) + len(pair.answer)
        if turns and room < 0:
            break
        turns.append((pair.question, pair.answer))
    return Conversation(
        kind, tuple(turns), document=text, system=system, parallel=rng.random() < 0.7
    )


def pack(encoder: Encoder, mixture: Mixture, step: int, rows: int, width: int) -> Rows:
    """The rows of a step: a pure function of its arguments, filled first-fit by size."""
    if mixture.alone:
        return _one_a_row(encoder, mixture, step, rows, width)
    used = dict.fromkeys(mixture.shares, 0)
    drawn: list[Encoded] = []
    spare = 1.15 if width < 1024 else 1.6  # few long texts leave large gaps
    while sum(used.values()) < rows * width * spare:
        kind = min(used, key=lambda k: used[k] / mixture.shares[k] if mixture.shares[k] else np.inf)
        seed = example_seed("train", step * 4096 + len(drawn))
        made = encoder.encode(converse(kind, seed, mixture)).shortened(width)
        used[kind] += len(made.tokens)
        if len(made.tokens) <= width:
            drawn.append(made)
    return _fill(_first_fit(drawn, rows, width), width, tuple(mixture.shares))


def _one_a_row(encoder: Encoder, mixture: Mixture, step: int, rows: int, width: int) -> Rows:
    """Rows of one conversation each, of kinds drawn by their shares."""
    placed: list[list[Encoded]] = []
    tried = 0
    while len(placed) < rows:
        seed = example_seed("train", step * 4096 + tried)
        tried += 1
        kind = generator(seed, "kind").choices(*zip(*mixture.shares.items(), strict=True))[0]
        said = replace(converse(kind, seed, mixture), parallel=False)
        made = encoder.encode(said).shortened(width)
        if len(made.tokens) <= width:
            placed.append([made])
    filled = _fill(placed, width, tuple(mixture.shares))
    # Positions go on in the padding: a row that starts over would be taken for two texts.
    positions = np.broadcast_to(np.arange(width), (rows, width)).copy()
    return replace(filled, positions=positions, causal=True)


def _size(kind: str, rng: random.Random, tokens: tuple[int, int]) -> int:
    """Repeats are more often short: each teaches only once where a copy begins.

    So are texts of which a chapter is asked: long ones are dear, and one length is as good as
    twice as much.
    """
    if kind in ("repeat", "chapter"):
        least = tokens[0] / 2 if kind == "repeat" else tokens[0]
        return round(math.exp(rng.uniform(math.log(least), math.log(tokens[1]))))
    return rng.randint(*tokens)


def _about_picture(kind: str, seed: int, mixture: Mixture, system: str) -> Conversation:
    rng = generator(seed, "about")
    if kind == "two":
        images, both = two_pictures.two_pictures(seed, mixture.paired)
        turns = [(asked.question, asked.answer) for asked in both]
        return Conversation("two", tuple(turns), images, system=system)
    if kind == "quiz":
        return _quiz(seed, rng.randint(*mixture.objects), mixture.quiz, system)
    image, facts = pictures.draw(kind, seed, rng.randint(*mixture.objects))
    asked = _each_once(picture_language.questions(facts, seed, 20))
    if kind == "word":  # one a kind: what differs is the word, so rather another picture
        asked = list({a.kind: a for a in asked}.values())
    hard = [a for a in asked if a.kind in HARD][:6]
    easy = [a for a in asked if a.kind not in HARD][: 8 - len(hard)]
    turns = [(a.question, a.answer) for a in rng.sample(hard + easy, len(hard + easy))]
    told = [(rng.choice(picture_language.DESCRIBE), picture_language.describe(facts))]
    if kind == "scene" and rng.random() < 0.3:
        told.append((rng.choice(picture_language.LIST), picture_language.listed(facts)))
    parallel = rng.random() < 0.7
    # In one thread the description mostly comes last: questions after it need no picture.
    turns = told + turns if not parallel and rng.random() < 0.25 else turns + told
    return Conversation(kind, tuple(turns), (image,), system=system, parallel=parallel)


def _quiz(seed: int, objects: int, most: tuple[int, int], system: str) -> Conversation:
    """Hard and easy questions, none of which sees the others: all of the loss is on them."""
    image, facts = pictures.scene(seed, objects)
    asked = _each_once(picture_language.questions(facts, seed, 80))
    hard = [a for a in asked if a.kind in HARD][: most[0]]
    easy = [a for a in asked if a.kind not in HARD][: most[1]]
    turns = tuple((a.question, a.answer) for a in hard + easy)
    return Conversation("quiz", turns, (image,), system=system)


def _each_once(asked: list[Asked]) -> list[Asked]:
    return list({a.question: a for a in asked}.values())


def _first_fit(drawn: list[Encoded], rows: int, width: int) -> list[list[Encoded]]:
    placed: list[list[Encoded]] = [[] for _ in range(rows)]
    room = [width] * rows
    for made in sorted(drawn, key=lambda e: -len(e.tokens)):
        for row in range(rows):
            if len(made.tokens) <= room[row]:
                placed[row].append(made)
                room[row] -= len(made.tokens)
                break
    return placed


def _fill(placed: list[list[Encoded]], width: int, kinds: tuple[str, ...]) -> Rows:
    shape = (len(placed), width)
    tokens, positions, turn = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    conversation, kind = np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    weight = np.zeros(shape, dtype=np.float32)
    images: list[np.ndarray] = []
    for row, members in enumerate(placed):
        start = 0
        for place, made in enumerate(members):
            cut = slice(start, start + len(made.tokens))
            tokens[row, cut], positions[row, cut] = made.tokens, made.positions
            turn[row, cut], weight[row, cut] = made.turn, made.weight
            conversation[row, cut], kind[row, cut] = place, kinds.index(made.kind)
            images += [np.asarray(image) for image in made.images]
            start = cut.stop
    seen = np.stack(images) if images else np.zeros((0, *PICTURE), dtype=np.uint8)
    return Rows(tokens, positions, conversation, turn, weight, seen, kind)


def token_counts(rows: Rows, kinds: Mapping[int, str]) -> dict[str, int]:
    """Tokens of each kind in the rows."""
    real = rows.conversation >= 0
    return {name: int((real & (rows.kinds == place)).sum()) for place, name in kinds.items()}
