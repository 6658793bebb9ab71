"""How large the Triton programs are, by head shape and dtype alone.

Never by the batch: at the ``bitwise`` level a row's sums must not know their company. The numbers
are where compiled code for compute capability 9.0 spills nothing (``tests/kernels``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

LEAST = 256  # keys in a part of a prefix, at least; a multiple of every block of keys
PROGRAMS = 256  # parts times key heads: about two a multiprocessor for one window
NARROWEST = 16  # rows or columns of a matrix product, at least


@dataclass(frozen=True, slots=True)
class Heads:
    """A model's attention shape."""

    kv_heads: int
    group: int
    dim: int
    dtype: torch.dtype

    @property
    def wide(self) -> int:
        """Head dimension as programs hold it."""
        return max(NARROWEST, _power(self.dim))

    @property
    def parts(self) -> int:
        """Parts of a prefix, at most."""
        return min(64, max(4, _power(PROGRAMS // self.kv_heads)))


def prefix_shape(heads: Heads, reach: int) -> dict[str, int]:
    """Settings of ``triton_prefix.prefix`` for windows of ``reach`` folded rows."""
    tile = min(_largest(heads), max(NARROWEST, _power(reach)))
    return {
        **_heads(heads),
        **_pipeline(heads, tile),
        "reach": reach,
        "tile": tile,
        "parts": heads.parts,
        "least": LEAST,
    }


def finish_shape(heads: Heads, reach: int, most: int, extras: int) -> dict[str, int]:
    """Settings of ``triton_tail.finish`` for tails of ``most`` keys."""
    return {
        **_heads(heads),
        "reach": reach,
        "tile": max(NARROWEST, _power(heads.group)),
        "block": max(NARROWEST, min(64, 16384 // heads.wide // heads.dtype.itemsize)),
        "parts": heads.parts,
        "least": LEAST,
        "most": most,
        "extras": extras,
        "step": 4 if heads.wide <= 128 else 2,
        "num_warps": 8 if heads.dtype == torch.float32 else 4,
        "num_stages": 1,  # no loop has a product to feed
    }


def chunk_shape(heads: Heads) -> dict[str, int]:
    """Settings of ``triton_chunk.chunk``."""
    tile = _largest(heads)
    return {**_heads(heads), **_pipeline(heads, tile), "tile": tile}


def _heads(heads: Heads) -> dict[str, int]:
    return {
        "kv_heads": heads.kv_heads,
        "group": heads.group,
        "dim": heads.dim,
        "wide": heads.wide,
    }


def _largest(heads: Heads) -> int:
    """Rows of a program, at most, so that its sums stay in registers."""
    room = 16384 if heads.dtype.itemsize == 2 else 4096
    return max(NARROWEST, room // heads.wide)


def _pipeline(heads: Heads, tile: int) -> dict[str, int]:
    """Keys at once, warps, and blocks of keys in flight."""
    large = tile * heads.wide > 64 * 128
    half = heads.dtype.itemsize == 2
    return {
        "block": 64 if half else max(NARROWEST, 4096 // heads.wide),
        "num_warps": 8 if large else 4,
        "num_stages": 3 if half and not large else 2,
    }


def _power(count: int) -> int:
    """The power of two at or above ``count``."""
    return 1 << max(0, count - 1).bit_length()
