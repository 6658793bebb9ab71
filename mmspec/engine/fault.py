"""What a client may read of a failure inside the engine."""

from __future__ import annotations

import re

from mmspec.core.errors import MmspecError

OUT_OF_MEMORY = "out of memory"
_FAULT = "the engine could not finish this request"


def public(error: BaseException) -> str:
    """Our own errors as they are; of anything else, whether memory was short and no more."""
    # Torch says it on the GPU and on the CPU in these words, by types of its own.
    if isinstance(error, MemoryError) or re.search(r"out of memory|t allocate memory", str(error)):
        return OUT_OF_MEMORY
    return str(error) if isinstance(error, MmspecError) else _FAULT
