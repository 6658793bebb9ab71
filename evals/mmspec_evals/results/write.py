"""Writing ``results.json``: checked against its schema first, never half written."""

from __future__ import annotations

import importlib.resources
import json
import math
from typing import TYPE_CHECKING, Any

from mmspec_evals.errors import DataError
from mmspec_evals.results.assemble import assemble
from mmspec_evals.running.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path


def write_results(root: Path) -> dict[str, Any]:
    """Aggregate the run in ``root`` into its ``results.json``.

    Returns:
        What was written.

    Raises:
        DataError: the folder holds no run, or what came out does not fit the schema (then nothing
            is written).
    """
    found: dict[str, Any] = finite(assemble(root))
    check(found)
    save(Layout(root).results, found)
    return found


def save(path: Path, value: Any) -> None:
    """Put a file in place in one go."""
    partial = path.with_suffix(path.suffix + ".part")
    partial.write_text(pretty(value) + "\n", encoding="utf-8")
    partial.replace(path)


def load(path: Path) -> dict[str, Any]:
    """A result: a file, or a run's folder (made anew if samples are newer than its file).

    Raises:
        DataError: there is none, or it does not fit the schema.
    """
    if path.is_dir():
        layout = Layout(path)
        if layout.plan.is_file() and _stale(layout):
            found: dict[str, Any] = finite(assemble(path))
            check(found)
            return found
        path = layout.results
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"no results: {error}") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    check(value)
    loaded: dict[str, Any] = value
    return loaded


def check(value: Any) -> None:
    """Hold a result to the packaged JSON Schema.

    Raises:
        DataError: where it does not fit, and how.
    """
    import jsonschema  # noqa: PLC0415  # an extra's; the command's help must not need it

    validator = jsonschema.Draft202012Validator(schema())
    worst = jsonschema.exceptions.best_match(validator.iter_errors(value))
    if worst is not None:
        place = ".".join(str(part) for part in worst.absolute_path) or "the top"
        raise DataError(f"not a valid result, at {place}: {worst.message[:300]}")


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``results.json``."""
    file = importlib.resources.files("mmspec_evals.results") / "schema.json"
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return value


def finite(value: Any) -> Any:
    """The same with None for numbers that JSON cannot hold, and lists for tuples."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def pretty(value: Any, indent: int = 0) -> str:
    """JSON that is read and compared by line, in which a list of scalars is one line."""
    inner = " " * (indent + 1)
    if isinstance(value, dict) and value:
        rows = [f"{inner}{_json(key)}: {pretty(item, indent + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        rows = [inner + pretty(item, indent + 1) for item in value]
        return "[\n" + ",\n".join(rows) + "\n" + " " * indent + "]"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _stale(layout: Layout) -> bool:
    """Whether there is no result, or a sample was written after it."""
    if not layout.results.is_file():
        return True
    made = layout.results.stat().st_mtime_ns
    return any(p.stat().st_mtime_ns > made for p in layout.root.glob("samples/*/*.jsonl"))
