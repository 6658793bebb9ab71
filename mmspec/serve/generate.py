"""One call on the event loop, from its body to the bytes of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response
from litestar.response import Stream

from mmspec.serve.attached import MARK
from mmspec.serve.door import VISIT
from mmspec.serve.pictures import pictures
from mmspec.serve.read import Named, names, read
from mmspec.serve.stream import collect, events
from mmspec.serve.ticket import ClientGoneError

if TYPE_CHECKING:
    from litestar import Request

    from mmspec.serve.read import Route
    from mmspec.serve.service import Service
    from mmspec.serve.visit import Visit

JSON = "application/json"


async def generate(
    service: Service,
    request: Request[Any, Any, Any],
    route: Route[Any],
) -> Response[Any]:
    """Read a body, ask the engine, word the answer.

    Raises:
        MmspecError: the body or the engine's answer to it; nothing has been sent yet.
    """
    visit: Visit = request.scope[VISIT]  # type: ignore[literal-required]

    def there() -> Visit:
        if visit.left.is_set():  # while this waited for a worker
            raise ClientGoneError("the client is gone")
        return visit

    named = Named()
    # Read twice where something has to be brought: the body must not wait in memory uncounted.
    if service.fetcher is not None or visit.mentions(MARK):
        named = await service.heavy(lambda: names(route, service, there().body()))
    async with pictures(service, visit.owner, named) as source:
        call, wording = await service.heavy(
            lambda: read(route, service, there().take_body(), visit.key, source, tenant=visit.owner)
        )
    answer = await service.ask(visit, call)
    headers = {"x-mmspec-queue-ms": str(visit.milliseconds)}
    if call.ignored:
        headers["x-mmspec-ignored-fields"] = ",".join(call.ignored)
    if not call.stream:
        reply = await collect(answer, call, wording)
        return Response(msgspec.json.encode(reply), media_type=JSON, headers=headers)
    await answer.first(service.patience)
    headers |= {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return Stream(
        events(answer, call, wording, service.heartbeat),
        media_type="text/event-stream",
        headers=headers,
    )


def reply(value: object) -> Response[Any]:
    """JSON, status 200."""
    return Response(msgspec.json.encode(value), media_type=JSON)
