"""Who watches a request: rules on what it holds, then what was measured, once, at its admission.

A drafter that runs a model costs memory and time whether it speaks or not, so one watches, and who
is decided before anything is read. The rules know wings, never drafters: pictures go to the vision
wing, long prompts to the longctx wing, words to the text wing; a prompt with a document may go to
either of the last two. What runs no model, such as what quotes, stands beside whoever was chosen.
Among those whom the rules allow the ledger knows who has paid best for such requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from mmspec.core.request import Request

SEEING, READING, FAR = "vision", "text", "longctx"
NAMES = {SEEING: "vision", READING: "text", FAR: "long"}


class Route(NamedTuple):
    """What was decided.

    Attributes:
        name: ``vision``, ``text`` or ``long``; ``text, blind`` where a request has pictures and the
            family no drafter that sees; ``asked`` where the request named its drafters itself;
            ``off``.
        off: address -> why it does not watch.
        eta: how far a drafter's law tilts the target's; None: the text is the target's own.
    """

    name: str
    off: dict[str, str]
    eta: float | None = None


UNROUTED = Route("", {})


class Rules(NamedTuple):
    """What the rules say of a request.

    Attributes:
        name: of the route, where nobody is chosen by what is measured. off: as of a ``Route``.
        wings: that may draft for it, the first choice first; none where it named its drafters.
    """

    name: str
    off: dict[str, str]
    wings: tuple[str, ...] = ()


def choose(request: Request, addresses: Collection[str], long_from: int) -> Rules:
    """Which wings of ``addresses`` (wing.name) may draft for a request.

    Args:
        long_from: tokens of a prompt that is long. One whose law is to be tilted counts as long:
            the drafters with laws are those of long prompts, and know themselves for which.
    """
    asked = request.speculation
    if not asked.enabled:
        return Rules("off", {})
    if asked.drafters is not None:
        return Rules("asked", {})
    wings: dict[str, list[str]] = {SEEING: [], READING: [], FAR: []}
    for address in addresses:
        wings.setdefault(address.partition(".")[0], []).append(address)
    pictured = bool(request.prompt.media)
    near = SEEING if pictured and wings[SEEING] else READING
    if len(request.prompt.ids) >= long_from or asked.transfer is not None:
        order: tuple[str, ...] = (FAR, near)
    elif request.prompt.shared or not wings[near]:
        order = (near, FAR)
    else:
        order = (near,)
    if pictured and near == SEEING:
        order = tuple(sorted(order, key=(SEEING, FAR).index))  # what it holds, before its length
    reasons = {
        SEEING: "routed: no picture",
        READING: "routed: the vision drafter speaks",
        FAR: f"routed: a prompt of fewer than {long_from} tokens",
    }
    off = {one: why for wing, why in reasons.items() if wing not in order for one in wings[wing]}
    return Rules("text, blind" if pictured and near == READING else NAMES[near], off, order)
