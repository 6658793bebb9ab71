"""What loaders are asked for in tests."""

from __future__ import annotations

import json

from mmspec_evals.task import Want


def want(data=None, **changes):
    base = {"limit": None, "seed": 0, "tokens": (), "count": lambda text: len(text.split())}
    return Want(data=data, **(base | changes))


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return path
