"""Where and when a result was made."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import argparse


def provenance(options: argparse.Namespace, family: str) -> dict[str, object]:
    """Where and when this ran."""
    commit = ""
    if shutil.which("git") is not None:  # a bare machine may have none
        asked = ["git", "rev-parse", "HEAD"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        commit = done.stdout.strip()
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "model": options.model,
        "family": family,
        "threads": options.threads,
        "device": options.device,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "command": f"evals/bench/{Path(sys.argv[0]).name}",
    }
