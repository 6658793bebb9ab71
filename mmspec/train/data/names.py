"""Invented names, and the small closed lists that documents draw their values from."""

import random

_STARTS = ("b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z",
           "br", "dr", "gr", "kr", "st", "tr", "sh", "th")  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
_ENDS = ("", "", "n", "l", "r", "s", "m", "nd", "rk", "lt")

JOBS = ("baker", "carpenter", "doctor", "engineer", "farmer", "gardener", "judge", "lawyer",
        "miller", "nurse", "painter", "pilot", "sailor", "singer", "tailor", "teacher",
        "watchmaker", "weaver", "writer", "glassblower")  # fmt: skip
PRODUCTS = ("apples", "barrels", "books", "bricks", "carpets", "cheese", "clocks", "coal", "copper",
            "flour", "glass", "honey", "iron", "lamps", "leather", "linen", "paper", "pepper",
            "pottery", "rope", "salt", "silk", "soap", "sugar", "tea", "timber", "tin", "wheat",
            "wine", "wool")  # fmt: skip
ANIMALS = ("bees", "cats", "chickens", "dogs", "doves", "ducks", "geese", "goats", "horses",
           "pigs", "rabbits", "sheep")  # fmt: skip
OBJECTS = ("bag", "book", "box", "candle", "coat", "hat", "key", "knife", "lamp", "mirror", "ring",
           "rope", "scarf", "spoon", "umbrella", "whistle")  # fmt: skip
SHADES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "black", "white", "grey",
          "brown", "pink", "silver", "golden")  # fmt: skip
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December")  # fmt: skip
METALS = ("brass", "bronze", "copper", "iron", "lead", "nickel", "silver", "steel", "tin", "zinc")


def name(rng: random.Random) -> str:
    """One invented word of two or three syllables, capitalised."""
    syllables = rng.choice((2, 2, 3))
    parts = [rng.choice(_STARTS) + rng.choice(_VOWELS) for _ in range(syllables)]
    return ("".join(parts) + rng.choice(_ENDS)).capitalize()


def person(rng: random.Random) -> str:
    """First name and family name."""
    return f"{name(rng)} {name(rng)}"


def number(rng: random.Random) -> str:
    """A number of two to four digits."""
    return str(rng.randint(10, 10 ** rng.randint(2, 4) - 1))


def year(rng: random.Random) -> str:
    """A year of the last few centuries."""
    return str(rng.randint(1600, 1999))


def digits(rng: random.Random, count: int) -> str:
    """`count` digits, leading zeros included."""
    return "".join(rng.choice("0123456789") for _ in range(count))


def code(rng: random.Random, count: int) -> str:
    """`count` lower-case letters and digits."""
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(count))
