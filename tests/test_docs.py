"""What the pages say of configuration is what the code has; links lead somewhere."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from mmspec.core.config import Config, Drafters
from mmspec.engine.build import WINGS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS, DRAFTERS = re.findall(
    r"```toml\n(.*?)```",
    (ROOT / "docs/serving.md").read_text(encoding="utf-8").partition("## Configuration")[2],
    re.DOTALL,
)


def named(block: str) -> dict[str, set[str]]:
    """Of every table the keys that stand in it, also those without a value."""
    keys: dict[str, set[str]] = {}
    for line in block.splitlines():
        if line.startswith("["):
            found = keys.setdefault(line[1 : line.index("]")], set())
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            found.add(key[1])
    return keys


def test_every_setting_is_described_with_its_default():
    told = named(SETTINGS)
    wanted = msgspec.to_builtins(Config())
    inherited = told["files"] - told["documents"]
    assert told.pop("documents") | inherited == wanted.pop("documents").keys()
    del wanted["drafters"]
    assert told == {table: set(keys) for table, keys in wanted.items()}
    assert msgspec.convert(tomllib.loads(SETTINGS), Config) == Config()


def test_drafters_are_described_with_their_defaults():
    tables = msgspec.convert(tomllib.loads(DRAFTERS)["drafters"], Drafters)
    there = [
        (path.parent.name, path.stem)
        for path in (ROOT / "mmspec").glob("*/*.py")
        if path.parent.name in WINGS and "\nclass Config(" in path.read_text(encoding="utf-8")
    ]
    assert sorted(there) == sorted((wing, name) for wing in tables for name in tables[wing])
    for wing, drafters in tables.items():
        for name, told in drafters.items():
            config = importlib.import_module(f"mmspec.{wing}.{name}").Config
            fields = {one.name: one for one in msgspec.structs.fields(config)}
            for key, value in told.items():
                if key != "path" or not fields[key].required:
                    assert msgspec.convert(value, fields[key].type) == fields[key].default, key
            assert {key for key, one in fields.items() if one.required} <= told.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not ("://" in link or (page.parent / link).exists())] == []
