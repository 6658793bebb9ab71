"""How fast long prompts may be read while others stream.

On a processor a chunk of a prompt takes as long as many steps of decoding. Read one after the
other, they would let whoever streams wait for all of a long prompt; so reading owes: after a chunk
it pauses until decoding has had its share of the time. A prompt of one step never waits.

Seconds are those the host waits for. Where a device works behind its back, a chunk's time shows in
the decoding that waits for it, and little is owed.
"""

from __future__ import annotations


class Pace:
    """An account of seconds between reading prompts and decoding.

    Args:
        share: of the time, that reading long prompts may take while somebody streams; 1: any.

    A stream's mean time between tokens grows to at most 1 / (1 - share) of what it was.
    """

    def __init__(self, share: float) -> None:
        self._weight = (1 - share) / share
        self._owed = 0.0

    @property
    def due(self) -> bool:
        """Whether a long prompt may be read on."""
        return self._owed <= 0

    def spent(self, reading: float, decoding: float) -> None:
        """One step's seconds; ``decoding`` is 0 where nobody streamed, and nothing is owed."""
        if not decoding:
            self._owed = 0.0
            return
        # Decoding of before is not saved up: a pause need not be longer than its chunk asks for.
        self._owed = max(0.0, self._owed + reading * self._weight - decoding)
