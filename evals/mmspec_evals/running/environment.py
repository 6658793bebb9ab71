"""On what a run was measured: ``env.json``; what must match for a run to be resumed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import mmspec
from mmspec_evals.running.plan import digest


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One process start; ``Sample.session`` names it."""

    id: str
    started: str  # UTC, ISO 8601
    argv: list[str]
    commit: str | None
    dirty: bool | None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that must not change within a run, or seconds would not compare."""

    python: str
    torch: str
    transformers: str
    mmspec: str
    system: str
    cpu: str
    cores: int
    threads: int
    device: str
    gpu: str | None
    driver: str | None
    dtype: str
    numerics: str


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """All of ``env.json``. ``mixed`` lists why this run's parts differ (``--force``)."""

    schema: int = 1
    fingerprint: str
    machine: Machine
    sessions: list[Session]
    mixed: list[str] = []


def fingerprint(machine: Machine) -> str:
    """Equal for machines whose seconds may stand side by side."""
    return digest(machine)


def differences(before: Machine, now: Machine) -> list[str]:
    """What changed, each as "name: before -> now"."""
    pairs = [(n, getattr(before, n), getattr(now, n)) for n in Machine.__struct_fields__]
    return [f"{name}: {old} -> {new}" for name, old, new in pairs if old != new]


def machine(device: str, dtype: str, numerics: str) -> Machine:
    """This machine as the run uses it; loads torch."""
    import torch  # noqa: PLC0415  # the command's help must not wait for it

    cuda = torch.device(device).type == "cuda"
    return Machine(
        python=platform.python_version(),
        torch=str(torch.__version__),
        transformers=importlib.metadata.version("transformers"),
        mmspec=mmspec.__version__,
        system=f"{platform.system()} {platform.machine()}",
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        device=device,
        gpu=torch.cuda.get_device_name(device) if cuda else None,
        driver=_driver() if cuda else None,
        dtype=dtype,
        numerics=numerics,
    )


def session(identity: str) -> Session:
    """This process start."""
    commit, dirty = _checkout(Path(__file__).parent)
    return Session(
        id=identity,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        argv=sys.argv[1:],
        commit=commit,
        dirty=dirty,
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").split("\n"):
            key, _, value = line.partition(":")
            if key.strip() in {"model name", "Model"}:
                return value.strip()
    return platform.processor() or platform.machine()


def _driver() -> str | None:
    return _said(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])


def _checkout(folder: Path) -> tuple[str | None, bool | None]:
    """Commit and whether tracked files differ from it; (None, None) outside a checkout."""
    commit = _said(["git", "-C", str(folder), "rev-parse", "HEAD"])
    if commit is None:
        return None, None
    changed = _said(["git", "-C", str(folder), "status", "--porcelain", "-uno", "--", ":/"])
    return commit, None if changed is None else bool(changed)


def _said(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
