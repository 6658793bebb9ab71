"""What a user asks of ``mmspec-eval run``: one value, from defaults, a file and flags, in turn."""

from __future__ import annotations

import importlib
import tomllib
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mmspec_evals.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

DTYPES = {"bf16": "bfloat16", "fp32": "float32", "fp64": "float64"}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run as asked; field names are the flags', with underscores."""

    out: str
    tasks: list[str]
    methods: list[str] = msgspec.field(default_factory=lambda: ["mmspec", "vanilla"])
    model: str | None = None  # None: that of the engine's file, else the bundled one
    assistant: str | None = None
    engine_config: str | None = None
    data: dict[str, str] = {}
    prompts: str | None = None
    profile: Literal["quality", "speed"] = "quality"
    limit: int | float | None = None  # below 1: a share of the documents
    tokens: list[int] = []
    seed: int = 0
    repeats: int = 1
    warm_up: int = 2
    max_new_tokens: int | None = None
    max_context: int | None = None
    truncate: Literal["context", "official"] = "context"
    official_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    ignore_eos: bool = False
    dtype: Literal["auto", "bfloat16", "float32", "float64"] | None = None
    device: str | None = None
    numerics: Literal["bitwise", "near-tie"] | None = None
    threads: int | None = None

    def check(self) -> None:
        """Refuse what no run can do.

        Raises:
            PlanError: naming the flag.
        """
        least = {"repeats": 1, "max_new_tokens": 1, "max_context": 2, "threads": 1, "warm_up": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise PlanError(f"--{name.replace('_', '-')} must be at least {low}")
        if self.limit is not None and self.limit <= 0:
            raise PlanError("--limit must be a number of documents, or a share such as 0.1")
        if not 0.0 <= self.temperature <= 2.0:
            raise PlanError("--temperature must be between 0 and 2")
        if not 0.0 < self.top_p <= 1.0:
            raise PlanError("--top-p must be above 0 and at most 1")
        if not self.tasks or not self.methods:
            raise PlanError("name at least one task and one method")


def settle(given: Mapping[str, Any], file: Path | None) -> Settings:
    """The settings of a file with flags over them; each value may be text as typed.

    Raises:
        PlanError: an unknown name, or a value that cannot be read.
    """
    values = {**(_file(file) if file else {}), **given}
    missing = [name for name in ("tasks", "out") if not values.get(name)]
    if missing:
        raise PlanError(f"missing: {', '.join('--' + name for name in missing)}")
    for name, read in _READERS.items():
        if isinstance(values.get(name), str):
            values[name] = read(values[name])
    try:
        settings = msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise PlanError(f"settings: {error}") from error
    settings.check()
    return settings


def words(text: str) -> list[str]:
    """Items between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def methods(text: str) -> list[str]:
    """Method names between commas, where ``mmspec:a.b,nodes=8`` is one.

    >>> methods("mmspec:retrieval.suffix,nodes=8,vanilla,pld")
    ['mmspec:retrieval.suffix,nodes=8', 'vanilla', 'pld']
    """
    found: list[str] = []
    for word in words(text):
        detail = ":" not in word and ("=" in word or "." in word)
        if detail and found and found[-1].startswith("mmspec:"):
            found[-1] += f",{word}"
        else:
            found.append(word)
    return found


def pairs(text: str) -> dict[str, str]:
    """``NAME=VALUE`` between commas.

    Raises:
        PlanError: a part without ``=``.
    """
    found: dict[str, str] = {}
    for word in words(text):
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise PlanError(f"{word!r} should be NAME=VALUE")
        found[name.strip()] = value.strip()
    return found


def lengths(text: str) -> list[int]:
    """Token counts between commas; ``k`` is times 1024.

    >>> lengths("512,4k")
    [512, 4096]

    Raises:
        PlanError: a part that is no number.
    """
    found = []
    for word in words(text):
        number = word.lower().removesuffix("k")
        if not number.isdecimal() or not int(number):
            raise PlanError(f"{word!r} is not a number of tokens such as 512 or 4k")
        found.append(int(number) * (1024 if number != word.lower() else 1))
    return found


def _number(text: str) -> int | float | None:
    """A count or a share; ``none`` is neither."""
    if text.lower() == "none":
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise PlanError(f"--limit: {text!r} is not a number") from error
    return int(value) if value >= 1 and value.is_integer() else value


def _cap(text: str) -> int | None:
    if text == "task":
        return None
    if not text.isdecimal():
        raise PlanError(f"--max-new-tokens is `task` or a number, not {text!r}")
    return int(text)


def _dtype(text: str) -> str:
    name = text.removeprefix("torch.")
    return DTYPES.get(name, name)


def _whole(text: str) -> int | str | None:
    """A whole number, or none; anything else stays text, which the setting's type refuses."""
    if text.strip().lower() in {"none", "null"}:
        return None
    try:
        return int(text)
    except ValueError:
        return text


def _real(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _switch(text: str) -> bool | str:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)


_READERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(
        ("seed", "repeats", "warm_up", "max_context", "official_tokens", "threads"), _whole
    ),
    "temperature": _real,
    "top_p": _real,
    "ignore_eos": _switch,
    "tasks": words,
    "methods": methods,
    "data": pairs,
    "tokens": lengths,
    "limit": _number,
    "max_new_tokens": _cap,
    "dtype": _dtype,
}


def _file(path: Path) -> dict[str, Any]:
    """Settings of a TOML or YAML file; dashes in names count as underscores.

    Raises:
        PlanError: it is missing or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix in {".yaml", ".yml"}:
            yaml = importlib.import_module("yaml")  # comes with transformers
            try:
                values = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise PlanError(f"{path}: {error}") from error
        else:
            values = tomllib.loads(text)
    except OSError as error:
        raise PlanError(f"no settings at {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise PlanError(f"{path} should hold names and values")
    return {str(name).replace("-", "_"): value for name, value in values.items()}
