"""Looking up and copying: random strings, key-value lists and pass keys in long text."""

import random
from collections.abc import Callable

from mmspec.train.data import names
from mmspec.train.data.documents import Pair, filler
from mmspec.train.data.picture_language import NUMBERS
from mmspec.train.data.seeds import generator
from mmspec.train.data.source import common_words

FILLER_CHARACTERS_A_TOKEN = 4.55


def repeat(seed: int, tokens: int) -> tuple[str, list[Pair]]:
    """A random string of about `tokens` tokens to be repeated exactly; the document is empty."""
    rng = generator(seed, "repeat")
    draw = rng.choice(_PIECES)
    text = draw(rng)
    while len(text) < tokens * (1.0 if draw is _digits else 2.2):
        text += " " + draw(rng)
    ask = rng.choice(
        (
            "Repeat this: {}",
            "Say exactly this: {}",
            "Copy the following text: {}",
            "Repeat after me: {}",
        )
    )
    return "", [Pair("repeat", ask.format(text), text, text)]


def echo(seed: int, _tokens: int) -> tuple[str, list[Pair]]:
    """A few pieces to be said several times over: what makes copying heads grow early."""
    rng = generator(seed, "echo")
    pairs: list[Pair] = []
    for _ in range(2):
        draw = rng.choice((_common, _common, _common, *_PIECES[:4]))
        text = " ".join(draw(rng) for _ in range(rng.randint(3, 16) if draw is _common else 3))
        times = rng.randint(2, 4)
        answer = "\n".join([text] * times)
        pairs.append(Pair("echo", f"Repeat this {NUMBERS[times]} times: {text}", answer, text))
    return "", pairs


def key_values(seed: int, tokens: int) -> tuple[str, list[Pair]]:
    """Lines of `key: value` and a question for each key."""
    rng = generator(seed, "key_values")
    value = rng.choice(_VALUES)
    keys: dict[str, str] = {}
    room = tokens * 1.6
    while room > 0 or not keys:
        key = names.name(rng).lower()
        keys[key] = value(rng)
        room -= len(key) + len(keys[key]) + 3
    mark = rng.choice((": ", " = ", " -> "))
    text = "\n".join(f"{key}{mark}{told}" for key, told in keys.items())
    ask = rng.choice(("What is the value of {}?", "Look up {}.", "Which value does {} have?"))
    pairs = [
        Pair("lookup", ask.format(key), f"The value of {key} is {told}.", told)
        for key, told in keys.items()
    ]
    return text, rng.sample(pairs, len(pairs))


def passkey(seed: int, tokens: int) -> tuple[str, list[Pair]]:
    """One to six pass keys hidden in about `tokens` tokens of idle sentences."""
    rng = generator(seed, "passkey")
    sentences: list[str] = []
    room = tokens * FILLER_CHARACTERS_A_TOKEN
    while room > 0:
        sentences.append(filler(rng))
        room -= len(sentences[-1]) + 1
    pairs: list[Pair] = []
    # A long text is dear, so it hides many; the number drawn for it is not used then.
    some = rng.choice((1, 2, 4, 6))
    for kind in rng.sample(_SECRETS, some if tokens < 1500 else len(_SECRETS)):
        secret = _secret(rng)
        told = f"The {kind} is {secret}. Remember it."
        sentences.insert(rng.randint(0, len(sentences)), told)
        ask = rng.choice(("What is the {}?", "Tell me the {}.", "Which number is the {}?"))
        pairs.append(Pair("passkey", ask.format(kind), f"The {kind} is {secret}.", secret))
    return " ".join(sentences), pairs


def _secret(rng: random.Random) -> str:
    """Five to seven digits; every third time ten, half of them doubles of a neighbour."""
    if rng.random() < 2 / 3:
        return names.digits(rng, rng.randint(5, 7))
    digits = list(names.digits(rng, 5))
    while len(digits) < 10:
        place = rng.randrange(len(digits))
        digits.insert(place, digits[place])
    return "".join(digits)


def _words(rng: random.Random) -> str:
    return rng.choice((*names.JOBS, *names.PRODUCTS, *names.ANIMALS, *names.OBJECTS, *names.SHADES))


def _common(rng: random.Random) -> str:
    return rng.choice(common_words())


def _digits(rng: random.Random) -> str:
    return names.digits(rng, rng.randint(1, 6))


def _codes(rng: random.Random) -> str:
    return names.code(rng, rng.randint(3, 8))


_PIECES: tuple[Callable[[random.Random], str], ...] = (
    _words, _digits, _codes, names.name, filler, _common
)  # fmt: skip
_VALUES: tuple[Callable[[random.Random], str], ...] = (_digits, _codes, _words, names.name)
_SECRETS = ("pass key", "door code", "secret number", "locker number", "phone number",
            "ticket number", "room number", "bank code")  # fmt: skip
