"""Small Python programs: classes and functions to be written, and classes to be changed.

The wording of a request varies with the seed; the program is a function of what is asked alone,
so that a greedy answer can be marked right or wrong.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from mmspec.train.data import names
from mmspec.train.data.documents import Pair
from mmspec.train.data.seeds import generator
from mmspec.train.data.wording import joined

_TYPES = ("int", "str", "float", "bool")
_FIELDS = (
    "age", "amount", "area", "author", "balance", "captain", "city", "code", "colour", "cost",
    "country", "count", "date", "depth", "distance", "email", "floor", "grade", "height", "hour",
    "label", "language", "length", "level", "limit", "mass", "model", "month", "name", "number",
    "owner", "pages", "phone", "place", "port", "price", "quantity", "rank", "rate", "score",
    "seats", "size", "speed", "state", "street", "tax", "title", "total", "version", "volume",
    "weight", "width", "year",
)  # fmt: skip
_THINGS = (
    "account", "bill", "book", "box", "bridge", "car", "city", "clock", "device", "event", "flight",
    "garden", "hotel", "house", "invoice", "job", "lamp", "letter", "machine", "market", "member",
    "message", "order", "parcel", "person", "picture", "player", "product", "report", "river",
    "road", "room", "school", "sensor", "ship", "shop", "song", "student", "task", "team", "ticket",
    "tool", "town", "train", "user", "vehicle", "window", "worker",
)  # fmt: skip
METHODS = ("__repr__", "__eq__", "to_dict", "from_dict", "copy", "describe")


@dataclass(frozen=True, slots=True)
class Model:
    """A class to be written: (name, type) of its fields, and its methods in METHODS' order."""

    name: str
    fields: tuple[tuple[str, str], ...]
    methods: tuple[str, ...]

    def code(self) -> str:
        """The class, without a line break at its end."""
        listed = ", ".join(f"{field}: {kind}" for field, kind in self.fields)
        lines = [f"class {self.name}:", f"    def __init__(self, {listed}) -> None:"]
        lines += [f"        self.{field} = {field}" for field, _ in self.fields]
        for method in METHODS:
            if method in self.methods:
                lines += ["", *_method(method, self)]
        return "\n".join(lines)


def write(seed: int, _tokens: int) -> tuple[str, list[Pair]]:
    """Two classes and two functions to be written; there is no document."""
    rng = generator(seed, "programs")
    pairs: list[Pair] = []
    for _ in range(2):
        model = _model(rng)
        pairs.append(Pair("class", _asked(rng, model), fenced(model.code()), model.code()))
        question, code = _function(rng)
        pairs.append(Pair("function", question, fenced(code), code))
    return "", pairs


def change(seed: int, _tokens: int) -> tuple[str, list[Pair]]:
    """A class, and changes to it that are to be made each on its own."""
    rng = generator(seed, "changes")
    model = _model(rng)
    old, kind = rng.choice(model.fields)
    new = rng.choice([field for field in _FIELDS if field not in dict(model.fields)])
    added = (*model.fields, (new, rng.choice(_TYPES)))
    renamed = tuple((new, k) if f == old else (f, k) for f, k in model.fields)
    left = tuple((f, k) for f, k in model.fields if f != old)
    other = rng.choice([k for k in _TYPES if k != kind])
    retyped = tuple((f, other if f == old else k) for f, k in model.fields)
    called = rng.choice(_THINGS).capitalize() + rng.choice(("Item", "Record", "Entry", "Info"))
    again = rng.choice(("Give the whole class.", "Write the class again.", "Show all of it."))
    name, methods = model.name, model.methods
    wanted = (
        ("rename", f"Rename the field {old} to {new}.", Model(name, renamed, methods)),
        ("add", f"Add the field {new} ({added[-1][1]}).", Model(name, added, methods)),
        ("remove", f"Remove the field {old}.", Model(name, left, methods)),
        ("retype", f"Change the type of {old} to {other}.", Model(name, retyped, methods)),
        ("class name", f"Call the class {called}.", Model(called, model.fields, methods)),
    )
    pairs = [
        Pair(kind, f"{ask} {again}", fenced(made.code()), made.code()) for kind, ask, made in wanted
    ]
    return fenced(model.code()), rng.sample(pairs, len(pairs))


def fenced(code: str) -> str:
    """The code as a chat shows it."""
    return f"```python\n{code}\n```"


def _model(rng: random.Random) -> Model:
    thing = rng.choice(_THINGS).capitalize()
    if rng.random() < 0.3:
        thing = names.name(rng) + thing
    fields = rng.sample(_FIELDS, rng.randint(2, 5))
    methods = rng.sample(METHODS, rng.randint(1, 3))
    return Model(thing, tuple((f, rng.choice(_TYPES)) for f in fields), tuple(methods))


def _asked(rng: random.Random, model: Model) -> str:
    fields = joined([f"{field} ({kind})" for field, kind in model.fields])
    methods = joined([method for method in METHODS if method in model.methods])
    return rng.choice(
        (
            "Write a Python class {n} with the fields {f}. Give it {m}.",
            "Write a class {n} that holds {f}, with the methods {m}.",
            "I need a Python class called {n}: fields {f}; methods {m}.",
        )
    ).format(n=model.name, f=fields, m=methods)


def _method(method: str, model: Model) -> list[str]:
    fields, name = [field for field, _ in model.fields], model.name
    match method:
        case "__repr__":
            shown = ", ".join(f"{field}={{self.{field}!r}}" for field in fields)
            return ["    def __repr__(self) -> str:", f'        return f"{name}({shown})"']
        case "__eq__":
            both = " and ".join(f"self.{field} == other.{field}" for field in fields)
            return [
                "    def __eq__(self, other: object) -> bool:",
                f"        if not isinstance(other, {name}):",
                "            return False",
                f"        return {both}",
            ]
        case "to_dict":
            items = ", ".join(f'"{field}": self.{field}' for field in fields)
            return ["    def to_dict(self) -> dict:", f"        return {{{items}}}"]
        case "from_dict":
            items = ", ".join(f'data["{field}"]' for field in fields)
            return [
                "    @classmethod",
                f'    def from_dict(cls, data: dict) -> "{name}":',
                f"        return cls({items})",
            ]
        case "copy":
            items = ", ".join(f"self.{field}" for field in fields)
            return [f'    def copy(self) -> "{name}":', f"        return {name}({items})"]
        case _:
            lines = ["    def describe(self) -> None:"]
            return lines + [f'        print("{field}:", self.{field})' for field in fields]


def _function(rng: random.Random) -> tuple[str, str]:
    """A request and the function that fulfils it."""
    thing, field = rng.choice(_THINGS), rng.choice(_FIELDS)
    ask, make = rng.choice(_FUNCTIONS)
    many = f"{thing}s" if not thing.endswith(("s", "x", "y")) else f"{thing}_list"
    question = ask.format(many=many, field=field)
    lead = rng.choice(("Write a Python function", "Write a function", "I need a function"))
    return f"{lead} {question}", "\n".join(make(thing, many, field))


def _sum(thing: str, many: str, field: str) -> list[str]:
    return [
        f"def total_{field}({many}: list) -> float:",
        "    total = 0",
        f"    for {thing} in {many}:",
        f"        total += {thing}.{field}",
        "    return total",
    ]


def _mean(thing: str, many: str, field: str) -> list[str]:
    return [
        f"def mean_{field}({many}: list) -> float:",
        f"    if not {many}:",
        "        return 0.0",
        f"    return sum({thing}.{field} for {thing} in {many}) / len({many})",
    ]


def _largest(thing: str, many: str, field: str) -> list[str]:
    return [
        f"def largest_{field}({many}: list) -> object:",
        "    best = None",
        f"    for {thing} in {many}:",
        f"        if best is None or {thing}.{field} > best.{field}:",
        f"            best = {thing}",
        "    return best",
    ]


def _above(thing: str, many: str, field: str) -> list[str]:
    return [
        f"def {field}_above({many}: list, limit: float) -> list:",
        "    found = []",
        f"    for {thing} in {many}:",
        f"        if {thing}.{field} > limit:",
        f"            found.append({thing})",
        "    return found",
    ]


def _grouped(thing: str, many: str, field: str) -> list[str]:
    return [
        f"def by_{field}({many}: list) -> dict:",
        "    groups = {}",
        f"    for {thing} in {many}:",
        f"        if {thing}.{field} not in groups:",
        f"            groups[{thing}.{field}] = []",
        f"        groups[{thing}.{field}].append({thing})",
        "    return groups",
    ]


def _sorted(_thing: str, many: str, field: str) -> list[str]:
    return [
        f"def sorted_by_{field}({many}: list) -> list:",
        f"    return sorted({many}, key=lambda one: one.{field})",
    ]


def _counted(thing: str, many: str, field: str) -> list[str]:
    return [
        f"def count_{field}({many}: list) -> dict:",
        "    counts = {}",
        f"    for {thing} in {many}:",
        f"        counts[{thing}.{field}] = counts.get({thing}.{field}, 0) + 1",
        "    return counts",
    ]


def _printed(thing: str, many: str, field: str) -> list[str]:
    return [
        f"def print_{field}({many}: list) -> None:",
        f"    for number, {thing} in enumerate({many}, 1):",
        f"        print(number, {thing}.{field})",
    ]


_Make = Callable[[str, str, str], list[str]]
_FUNCTIONS: tuple[tuple[str, _Make], ...] = (
    ("that adds up the {field} of all {many}.", _sum),
    ("that gives the mean {field} of some {many}.", _mean),
    ("that finds the one of the {many} with the largest {field}.", _largest),
    ("that keeps the {many} whose {field} is above a limit.", _above),
    ("that groups {many} by {field}.", _grouped),
    ("that sorts {many} by {field}.", _sorted),
    ("that counts how often each {field} occurs among {many}.", _counted),
    ("that prints the {field} of all {many} with numbers.", _printed),
)
