"""mmspec: lossless tree speculation for vision-language and long-context models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mmspec_kernels  # noqa: F401  # says where compiled code is kept, before numba is imported

if TYPE_CHECKING:
    from mmspec.core.request import Sampling, Speculation
    from mmspec.llm import LLM

__version__ = "0.1.0"
__all__ = ("LLM", "Sampling", "Speculation", "__version__")


def __getattr__(name: str) -> Any:
    """Load the public face on first use: ``import mmspec`` itself loads no torch."""
    if name == "LLM":
        from mmspec.llm import LLM  # noqa: PLC0415

        return LLM
    if name in {"Sampling", "Speculation"}:
        from mmspec.core import request  # noqa: PLC0415

        return getattr(request, name)
    raise AttributeError(f"module 'mmspec' has no attribute {name!r}")
