"""Keyed Gumbel noise G(seed, choice, absolute position, token id), the same on every device.

Two forms with the same bits: numba on the host, eager torch anywhere. The counter generator is
SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) whose state is a hash of seed, choice and position and
whose step is the token id. Both logarithms are made of IEEE + - * / and bit operations in float64
(no libm, no fused multiply-add) and the result is rounded once to float32.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit

_GAMMA, _MIX_A, _MIX_B = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1

_G, _A, _B, _ONE = np.uint64(_GAMMA), np.uint64(_MIX_A), np.uint64(_MIX_B), np.uint64(1)
_S27, _S30, _S31, _S12 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(12)
_FRACTION, _UNIT = (1 << 52) - 1, 1023 << 52
_FRACTION_BITS, _UNIT_BITS = np.uint64(_FRACTION), np.uint64(_UNIT)
_SQRT2, _LN2, _HALF_STEP = 1.4142135623730951, 0.6931471805599453, 2.0**-53
_SLACK = 1e-3  # more than float32 can lose of a sum below 40
# 2 atanh(f) = f * (2 + 2/3 f^2 + 2/5 f^4 + ...); f^2 < 0.0295, so seven terms leave 2e-12.
_C1, _C2, _C3, _C4, _C5, _C6 = (2.0 / (2 * n + 1) for n in range(1, 7))


def key(seed: int, choice: int, position: int) -> int:
    """The 64-bit generator state of one position; ``seed`` is taken modulo 2**64."""
    state = _finish((seed + _GAMMA) & _MASK)
    state = _finish(((state ^ (choice & _MASK)) + _GAMMA) & _MASK)
    return _finish(((state ^ (position & _MASK)) + _GAMMA) & _MASK)


def gumbel(seed: int, choice: int, position: int, vocabulary: int) -> np.ndarray:
    """Noise of every token id at one absolute position: float32 [vocabulary]."""
    out = np.empty(vocabulary, np.float32)
    _fill(np.uint64(key(seed, choice, position)), out)
    return out


def gumbel_at(seed: int, choice: int, position: int, tokens: np.ndarray) -> np.ndarray:
    """Noise of some token ids (int64 [N]) at one absolute position: float32 [N]."""
    out = np.empty(len(tokens), np.float32)
    _gather(np.uint64(key(seed, choice, position)), np.ascontiguousarray(tokens, np.int64), out)
    return out


def race(
    row: np.ndarray, top: int, temperature: float, seed: int, choice: int, position: int
) -> int:
    """The argmax of row / temperature + G over all token ids, the lowest id on ties.

    The bits are those of adding :func:`gumbel` to ``(row - row[top]) / temperature`` in float32;
    logarithms are taken only for the few ids that may win.

    Args:
        row: float32 [V], at least one finite.
        top: where its largest value is.
        temperature: positive in float32.
        seed: see :func:`key`, as for the next two.
        choice: choice index.
        position: absolute position.
    """
    state = np.uint64(key(seed, choice, position))
    return int(_race(row, top, np.float32(temperature), state))


def gumbel_tensor(
    seed: int | torch.Tensor,
    choice: int | torch.Tensor,
    positions: torch.Tensor,
    tokens: torch.Tensor,
) -> torch.Tensor:
    """The same noise in eager torch on any device with float64; every argument broadcasts.

    Args:
        seed: 64-bit key, int or int64 tensor.
        choice: choice index, int or int64 tensor.
        positions: int64, absolute positions.
        tokens: int64, target token ids.

    Returns:
        float32 of the broadcast shape.
    """
    gamma = _signed(_GAMMA)
    if isinstance(seed, int):
        seed = torch.full_like(positions, _signed(seed))
    state = _finish_tensor(seed + gamma)
    state = _finish_tensor((state ^ choice) + gamma)
    state = _finish_tensor((state ^ positions) + gamma)
    bits = _finish_tensor(state + (tokens + 1) * gamma)
    unit = (_shift(bits, 12) | _UNIT).view(torch.float64)
    exponential = -_log_tensor((unit - 1.0) + _HALF_STEP)
    return (-_log_tensor(exponential)).to(torch.float32)


def _finish(state: int) -> int:
    state = ((state ^ (state >> 30)) * _MIX_A) & _MASK
    state = ((state ^ (state >> 27)) * _MIX_B) & _MASK
    return state ^ (state >> 31)


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift(value: torch.Tensor, places: int) -> torch.Tensor:
    """Logical shift to the right; torch's own copies the sign bit."""
    return (value >> places) & (_MASK >> places)


def _finish_tensor(state: torch.Tensor) -> torch.Tensor:
    state = (state ^ _shift(state, 30)) * _signed(_MIX_A)
    state = (state ^ _shift(state, 27)) * _signed(_MIX_B)
    return state ^ _shift(state, 31)


def _log_tensor(x: torch.Tensor) -> torch.Tensor:
    bits = x.view(torch.int64)
    exponent = ((bits >> 52) - 1023).to(torch.float64)
    m = ((bits & _FRACTION) | _UNIT).view(torch.float64)
    high = m > _SQRT2
    m = torch.where(high, m * 0.5, m)
    exponent = torch.where(high, exponent + 1.0, exponent)
    f = (m - 1.0) / (m + 1.0)
    s = f * f
    series = s * _C6
    for term in (_C5, _C4, _C3, _C2, _C1):
        series = s * (series + term)
    return exponent * _LN2 + f * (series + 2.0)


# error_model="numpy" drops the check for division by zero: without that branch the loops below run
# in vector registers, 4 ns a token instead of 33.
@njit(cache=True, nogil=True, inline="always", error_model="numpy")
def _log(x: float) -> float:
    bits = np.float64(x).view(np.uint64)
    exponent = np.float64(np.int64(bits >> np.uint64(52)) - 1023)
    m = np.uint64((bits & _FRACTION_BITS) | _UNIT_BITS).view(np.float64)
    high = m > _SQRT2
    m = m * 0.5 if high else m
    exponent = exponent + 1.0 if high else exponent
    f = (m - 1.0) / (m + 1.0)
    s = f * f
    series = s * (s * (s * (s * (s * (s * _C6 + _C5) + _C4) + _C3) + _C2) + _C1)
    return exponent * _LN2 + f * (series + 2.0)


@njit(cache=True, nogil=True, inline="always", error_model="numpy")
def uniform_bits(state: np.uint64, token: int) -> np.uint64:
    """The top 52 random bits of one token, as a uint64."""
    bits = state + (np.uint64(token) + _ONE) * _G
    bits = (bits ^ (bits >> _S30)) * _A
    bits = (bits ^ (bits >> _S27)) * _B
    return (bits ^ (bits >> _S31)) >> _S12


@njit(cache=True, nogil=True, inline="always", error_model="numpy")
def gumbel_of(bits: np.uint64) -> np.float32:
    """Noise made of 52 random bits: float32."""
    unit = np.uint64(bits | _UNIT_BITS).view(np.float64)
    return np.float32(-_log(-_log((unit - 1.0) + _HALF_STEP)))


@njit(cache=True, nogil=True, inline="always", error_model="numpy")
def gumbel_ceiling(bits: np.uint64) -> np.float32:
    """A number no smaller than :func:`gumbel_of`, without a logarithm: float32.

    -log U is at least 1 - U, which is at least 2**e, so the noise is at most -e log 2.
    """
    unit = np.uint64(bits | _UNIT_BITS).view(np.float64)
    rest = np.float64(1.0 - ((unit - 1.0) + _HALF_STEP)).view(np.uint64)
    exponent = np.float64(np.int64(rest >> np.uint64(52)) - 1023)
    return np.float32(_SLACK - exponent * _LN2)


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(state: np.uint64, out: np.ndarray) -> None:
    for token in range(len(out)):
        out[token] = gumbel_of(uniform_bits(state, token))


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(state: np.uint64, tokens: np.ndarray, out: np.ndarray) -> None:
    for index in range(len(tokens)):
        out[index] = gumbel_of(uniform_bits(state, tokens[index]))


@njit(cache=True, nogil=True, error_model="numpy")
def _race(row: np.ndarray, top: int, temperature: np.float32, state: np.uint64) -> int:
    highest, ceilings = row[top], np.empty(len(row), np.float32)
    for token in range(len(row)):
        weight = np.float32(np.float32(row[token] - highest) / temperature)
        ceilings[token] = weight + gumbel_ceiling(uniform_bits(state, token))
    winner, best = top, gumbel_of(uniform_bits(state, top))
    for token in range(len(row)):
        if ceilings[token] >= best:
            weight = np.float32(np.float32(row[token] - highest) / temperature)
            score = np.float32(weight + gumbel_of(uniform_bits(state, token)))
            if score > best or (score == best and token < winner):
                winner, best = token, score
    return winner
