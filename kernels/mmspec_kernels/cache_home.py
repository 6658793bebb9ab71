"""Where compiled code is kept between runs.

numba notices edits to a function's own file, not to those of the functions compiled into it. So
each state of the sources gets a folder of its own, named after them all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

_VARIABLE = "NUMBA_CACHE_DIR"
_STALE_SECONDS = 7 * 24 * 3600.0


def set_cache_home(*packages: Path) -> None:
    """Point numba at a folder for exactly these compiled sources, unless the user chose one.

    Must run before numba is imported. Falls back to the user's cache folder where the package's
    own is not writable.
    """
    if _VARIABLE in os.environ:
        return
    digest = hashlib.sha256()
    for package in packages:
        for source in sorted(package.rglob("*.py")):
            text = source.read_bytes()
            # Constants are compiled in, so every file of the first package counts.
            if package == packages[0] or b"numba" in text:
                digest.update(text)
    parent = packages[0] / "__pycache__"
    if not os.access(parent if parent.exists() else packages[0], os.W_OK):
        parent = Path.home() / ".cache" / "mmspec"
    home = parent / f"numba-{digest.hexdigest()[:16]}"
    if not home.exists():
        _drop_stale(parent)
    os.environ[_VARIABLE] = str(home)


def _drop_stale(parent: Path) -> None:
    """Remove folders of sources that nobody has run for a week."""
    for old in parent.glob("numba-*"):
        if time.time() - old.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
