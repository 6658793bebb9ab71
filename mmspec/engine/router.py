"""Who watches a request: rules on what it holds, decided once, at its admission.

A drafter that watches costs memory and time whether it speaks or not, so the router decides before
anything is read. It knows wings, never drafters: pictures go to the vision wing, words to the text
wing, and what quotes (the other wings) stands beside either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from mmspec.core.request import Request

SEEING, READING = "vision", "text"


class Route(NamedTuple):
    """What was decided.

    Attributes:
        name: ``vision`` or ``text``; ``text, blind`` where a request has pictures and the family
            no drafter that sees; ``asked`` where the request named its drafters itself; ``off``.
        off: address -> why it does not watch.
        eta: how far a drafter's law tilts the target's; None: the text is the target's own.
    """

    name: str
    off: dict[str, str]
    eta: float | None = None


UNROUTED = Route("", {})


def choose(request: Request, addresses: Collection[str]) -> Route:
    """Decide who of ``addresses`` (wing.name) watches a request."""
    asked = request.speculation
    if not asked.enabled:
        return Route("off", {})
    if asked.drafters is not None:
        return Route("asked", {})
    wings: dict[str, list[str]] = {SEEING: [], READING: []}
    for address in addresses:
        wings.setdefault(address.partition(".")[0], []).append(address)
    if not request.prompt.media:
        return Route("text", dict.fromkeys(wings[SEEING], "routed: no picture"))
    if not wings[SEEING]:
        return Route("text, blind", {})
    return Route("vision", dict.fromkeys(wings[READING], "routed: the vision drafter speaks"))
