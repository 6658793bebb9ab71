"""Tensors as compiled code sees them: numpy views of the same memory."""

from __future__ import annotations

import numpy as np
import torch


def stored(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's memory as numpy, bfloat16 as uint16."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def arithmetic(dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Empty arrays that fix the arithmetic type of a stored dtype, and that of its bits."""
    if dtype == torch.float64:
        return np.empty(0, np.float64), np.empty(0, np.uint64)
    return np.empty(0, np.float32), np.empty(0, np.uint32)
