"""Pictures drawn with Pillow on a 6 x 6 grid of 16-pixel patches, and the facts they show.

Three kinds: scenes (coloured shapes in a 3 x 3 grid of cells), charts (coloured bars) and words
(a few characters). A picture is a pure function of its seed.
"""

import math
import random
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from mmspec.train.data.seeds import generator

SIDE = 96
PATCH = 16
GRID = SIDE // PATCH
CELL = SIDE // 3

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 30),
    "orange": (250, 140, 10),
    "yellow": (245, 225, 20),
    "green": (30, 150, 50),
    "cyan": (20, 210, 220),
    "blue": (30, 60, 220),
    "purple": (130, 40, 160),
    "black": (15, 15, 15),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "grey": (165, 165, 165),
    "pink": (250, 200, 210),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "ring", "stripe")
SIZES = ("small", "large")
PLACES = (
    "top left", "top centre", "top right",
    "middle left", "centre", "middle right",
    "bottom left", "bottom centre", "bottom right",
)  # fmt: skip
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
WORDS = (
    "APPLE", "BOAT", "BREAD", "BRIDGE", "CANDLE", "CASTLE", "CHAIR", "CLOCK", "CLOUD", "DOOR",
    "EAGLE", "EXIT", "FISH", "FLAG", "FOREST", "GATE", "GLASS", "GOLD", "HARBOR", "HOUSE",
    "ISLAND", "JACKET", "KEY", "KITE", "LAMP", "LEMON", "LION", "MAP", "MARKET", "MILK",
    "MOON", "NIGHT", "OPEN", "ORANGE", "PAPER", "PEACE", "PIANO", "PILOT", "QUEEN", "QUIET",
    "RADIO", "RIVER", "ROAD", "SALT", "SHIP", "SILVER", "SNOW", "STOP", "SUN", "TABLE",
    "TIGER", "TRAIN", "UNCLE", "VALLEY", "VIOLIN", "WATER", "WHEEL", "WINTER", "YELLOW",
    "ZEBRA",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape of a scene; `cell` counts 0..8 in reading order."""

    colour: str
    shape: str
    size: str
    cell: int

    @property
    def place(self) -> str:
        """Name of the cell."""
        return PLACES[self.cell]

    @property
    def phrase(self) -> str:
        """`large red circle`."""
        return f"{self.size} {self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart: its patch column (0..5) and height in patches (1..5)."""

    colour: str
    height: int
    column: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What a picture shows; exactly one of `things`, `bars`, `word` is filled."""

    kind: Literal["scene", "chart", "word"]
    background: str
    things: tuple[Thing, ...] = ()
    bars: tuple[Bar, ...] = ()
    word: str = ""
    word_colour: str = ""
    word_row: int = 0
    word_column: int = 0


Picture = tuple[Image.Image, Facts]


def scene(seed: int, objects: int | None = None) -> Picture:
    """A scene of `objects` shapes (drawn from 1..5 when not given) in distinct cells."""
    rng = generator(seed, "scene")
    count = rng.randint(1, 5)
    count = count if objects is None else objects
    cells = sorted(rng.sample(range(9), count))
    colours = rng.sample(list(COLOURS), rng.randint(2, len(COLOURS)))
    things = tuple(
        Thing(rng.choice(colours), rng.choice(SHAPES), rng.choice(SIZES), cell) for cell in cells
    )
    facts = Facts("scene", rng.choice(list(BACKGROUNDS)), things=things)
    image, pen = _canvas(facts, rng)
    for thing in things:
        _draw_thing(pen, thing, rng)
    return image, facts


def chart(seed: int) -> Picture:
    """A chart of 2..5 bars of different colours standing on the bottom edge."""
    rng = generator(seed, "chart")
    columns = sorted(rng.sample(range(GRID), rng.randint(2, 5)))
    colours = rng.sample(list(COLOURS), len(columns))
    bars = tuple(Bar(c, rng.randint(1, 5), k) for c, k in zip(colours, columns, strict=True))
    facts = Facts("chart", rng.choice(list(BACKGROUNDS)), bars=bars)
    image, pen = _canvas(facts, rng)
    for bar in bars:
        left, top = bar.column * PATCH + rng.randint(1, 3), SIDE - bar.height * PATCH
        right = (bar.column + 1) * PATCH - rng.randint(2, 4)
        pen.rectangle((left, top, right, SIDE), fill=_shade(COLOURS[bar.colour], rng))
    return image, facts


def word(seed: int) -> Picture:
    """A word of a short list, or 3..5 digits, one character a patch."""
    rng = generator(seed, "word")
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(3, 5)))
    text = digits if rng.random() < 0.4 else rng.choice(WORDS)
    facts = Facts(
        "word",
        rng.choice(list(BACKGROUNDS)),
        word=text,
        word_colour=rng.choice(["red", "green", "blue", "purple", "black"]),
        word_row=rng.randrange(GRID),
        word_column=rng.randint(0, GRID - len(text)),
    )
    image, pen = _canvas(facts, rng)
    font = ImageFont.load_default(rng.choice([15, 16]))
    colour, drop = _shade(COLOURS[facts.word_colour], rng), rng.randint(-1, 1)
    for place, character in enumerate(text):
        centre = ((facts.word_column + place) * PATCH + 8, facts.word_row * PATCH + 8 + drop)
        pen.text(centre, character, fill=colour, font=font, anchor="mm")
    return image, facts


def draw(kind: str, seed: int, objects: int) -> Picture:
    """A picture of a kind; ``objects`` is for scenes alone."""
    if kind == "scene":
        return scene(seed, objects)
    return chart(seed) if kind == "chart" else word(seed)


def blank(background: str = "white") -> Image.Image:
    """A picture of nothing: what a model that does not look would need."""
    return Image.new("RGB", (SIDE, SIDE), BACKGROUNDS[background])


def _canvas(facts: Facts, rng: random.Random) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (SIDE, SIDE), _shade(BACKGROUNDS[facts.background], rng))
    return image, ImageDraw.Draw(image)


def _shade(colour: tuple[int, int, int], rng: random.Random) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, c + rng.randint(-8, 8))) for c in colour)
    return red, green, blue


def _draw_thing(pen: ImageDraw.ImageDraw, thing: Thing, rng: random.Random) -> None:
    radius = rng.randint(6, 7) if thing.size == "small" else rng.randint(11, 13)
    x = thing.cell % 3 * CELL + CELL // 2 + rng.randint(-2, 2)
    y = thing.cell // 3 * CELL + CELL // 2 + rng.randint(-2, 2)
    fill = _shade(COLOURS[thing.colour], rng)
    box = (x - radius, y - radius, x + radius, y + radius)
    third = max(2, radius // 3)
    match thing.shape:
        case "circle":
            pen.ellipse(box, fill=fill)
        case "square":
            pen.rectangle(box, fill=fill)
        case "ring":
            pen.ellipse(box, outline=fill, width=third)
        case "stripe":
            pen.rectangle((x - radius, y - third, x + radius, y + third), fill=fill)
        case "cross":
            pen.rectangle((x - radius, y - third, x + radius, y + third), fill=fill)
            pen.rectangle((x - third, y - radius, x + third, y + radius), fill=fill)
        case "triangle":
            pen.polygon(_corners(x, y, [radius * 1.15] * 3), fill=fill)
        case "diamond":
            pen.polygon(_corners(x, y, [radius] * 4), fill=fill)
        case "star":
            pen.polygon(_corners(x, y, [radius * 1.1, radius * 0.45] * 5), fill=fill)
        case unknown:
            raise ValueError(f"no way to draw a {unknown!r}")


def _corners(x: int, y: int, radii: list[float]) -> list[tuple[float, float]]:
    turn = 2 * math.pi / len(radii)
    return [(x + r * math.sin(k * turn), y - r * math.cos(k * turn)) for k, r in enumerate(radii)]
