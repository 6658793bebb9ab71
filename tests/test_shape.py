"""The house keeps its shape: small files, names that say something, floors that look down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for folder in ("mmspec", "kernels", "evals") for path in (ROOT / folder).rglob("*.py")
)
SAYS_NOTHING = {"utils", "util", "helpers", "common", "misc"}


def test_files_stay_short():
    long = {str(p.relative_to(ROOT)): n for p in SOURCES if (n := _lines(p)) > 300}
    assert not long


def test_names_say_something():
    assert not [path for path in SOURCES if {path.stem, *path.parts} & SAYS_NOTHING]


def test_kernels_and_evals_never_become_packages():
    assert not (ROOT / "kernels" / "__init__.py").exists()
    assert not (ROOT / "evals" / "__init__.py").exists()


def test_functions_stay_small():
    large = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                statements = sum(isinstance(part, ast.stmt) for part in ast.walk(node)) - 1
                if statements > 60:
                    large.append(f"{path.relative_to(ROOT)}:{node.name} has {statements}")
    assert not large


def test_modules_hold_no_mutable_state():
    found = []
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            value = getattr(node, "value", None)
            named = isinstance(node, ast.Assign) and isinstance(value, ast.List | ast.Set)
            if named and not value.elts:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


def test_importing_mmspec_loads_no_torch():
    code = "import sys, mmspec; assert 'torch' not in sys.modules and 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "tests")


def test_floors_look_down_only():
    pytest.importorskip("importlinter")
    code = "from importlinter.cli import lint_imports_command as main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())
