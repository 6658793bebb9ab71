"""The routes: litestar carries the bytes, everything about their meaning is elsewhere."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import HTTPException

from mmspec import __version__
from mmspec.core.errors import MmspecError
from mmspec.serve.attached import MARK
from mmspec.serve.chat import ROUTE as CHAT
from mmspec.serve.completions import ROUTE as COMPLETIONS
from mmspec.serve.documents import document_routes
from mmspec.serve.door import VISIT
from mmspec.serve.errors import HttpError, from_exception, overloaded, unknown_model
from mmspec.serve.files import file_routes
from mmspec.serve.generate import JSON, generate, reply
from mmspec.serve.pictures import pictures
from mmspec.serve.read import Named
from mmspec.serve.ticket import ClientGoneError
from mmspec.serve.tokens import detokenize, token_names, tokenize

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from litestar.types import ControllerRouterHandler

    from mmspec.serve.service import Service
    from mmspec.serve.visit import Visit
    from mmspec.vision.prompt import PictureSource

log = logging.getLogger(__name__)


def create_app(service: Service) -> Litestar:
    """The application without its door; the bridge starts and stops with it."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        if service.files is not None:
            await service.files.open()
        if service.documents is not None:
            await service.documents.open()
        service.bridge.start()
        try:
            yield
        finally:
            await service.bridge.close()
            service.workers.shutdown(wait=False, cancel_futures=True)
            if service.fetcher is not None:
                service.fetcher.close()
            if service.files is not None:
                await service.files.close()
            if service.documents is not None:
                await service.documents.close()

    return Litestar(
        route_handlers=[
            *generation_routes(service),
            *token_routes(service),
            *model_routes(service),
            *health(service),
            *(file_routes(service, service.files) if service.files else ()),
            *(document_routes(service, service.documents) if service.documents else ()),
        ],
        lifespan=[lifespan],
        exception_handlers={HTTPException: explain, Exception: explain},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,  # the door has counted it
        debug=False,
    )


def generation_routes(service: Service) -> list[ControllerRouterHandler]:
    """The two routes that generate."""

    @post("/v1/chat/completions", status_code=200)
    async def chat(request: Request[Any, Any, Any]) -> Response[Any]:
        return await generate(service, request, CHAT)

    @post("/v1/completions", status_code=200)
    async def completions(request: Request[Any, Any, Any]) -> Response[Any]:
        return await generate(service, request, COMPLETIONS)

    return [chat, completions]


def token_routes(service: Service) -> list[ControllerRouterHandler]:
    """The tokenizer, for clients that count or cut by tokens."""

    async def work(
        request: Request[Any, Any, Any], task: Callable[[Service, bytes, PictureSource], object]
    ) -> Response[Any]:
        visit: Visit = request.scope[VISIT]  # type: ignore[literal-required]
        named = Named()
        if task is tokenize and visit.mentions(MARK):
            named = await service.heavy(lambda: token_names(service, visit.body()))
        async with pictures(service, visit.owner, named) as source:
            return reply(await service.heavy(lambda: task(service, visit.take_body(), source)))

    @post("/tokenize", status_code=200)
    async def to_tokens(request: Request[Any, Any, Any]) -> Response[Any]:
        return await work(request, tokenize)

    @post("/detokenize", status_code=200)
    async def to_text(request: Request[Any, Any, Any]) -> Response[Any]:
        return await work(request, detokenize)

    @get("/tokenizer_info")
    async def info() -> Response[Any]:
        return reply(service.processor.card)

    return [to_tokens, to_text, info]


def model_routes(service: Service) -> list[ControllerRouterHandler]:
    """What is served."""
    processor = service.processor
    card = {
        "id": processor.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "mmspec",
        "root": service.root or processor.name,
        "parent": None,
        "max_model_len": service.max_context,
        "mmspec": {
            "modalities": ["text", "image"] if processor.accepts_images else ["text"],
            "drafters": list(service.drafters),
        },
    }

    @get("/v1/models")
    async def models() -> Response[Any]:
        return reply({"object": "list", "data": [card]})

    @get("/v1/models/{name:path}")
    async def model(request: Request[Any, Any, Any]) -> Response[Any]:
        name = str(request.path_params["name"]).removeprefix("/")
        if name != processor.name:
            raise unknown_model(name)
        return reply(card)

    @get("/version")
    async def version() -> Response[Any]:
        return reply({"version": __version__})

    @get("/metrics")
    async def metrics() -> Response[Any]:
        text = service.metrics.render()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @get(["/get_server_info", "/server_info"])
    async def state() -> Response[Any]:
        now = {"avg_spec_accept_length": service.metrics.tau()}  # where SGLang's clients look
        about = {"model_path": card["root"], "served_model_name": processor.name}
        return reply({**about, "version": __version__, "internal_states": [now]})

    return [models, model, version, metrics, state]


def health(service: Service) -> list[ControllerRouterHandler]:
    """For supervisors and balancers; these need no key."""
    bridge = service.bridge

    @get("/live")
    async def live() -> Response[Any]:
        return reply({"status": "ok"})

    @get("/health")
    async def healthy() -> Response[Any]:
        if not bridge.alive or bridge.heartbeat_age > service.dead_seconds:
            raise overloaded("the engine is not running", 10.0)
        return reply({"status": "ok"})

    @get("/ready")
    async def ready() -> Response[Any]:
        if bridge.draining or not bridge.alive or bridge.open_calls >= service.max_calls:
            raise overloaded("not ready for more requests", 1.0)
        return reply({"status": "ok"})

    return [live, healthy, ready]


def explain(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Any exception as an answer in OpenAI's shape."""
    if isinstance(error, ClientGoneError):
        return Response(b"", status_code=499)  # goes nowhere
    if isinstance(error, HTTPException):
        known = HttpError(error.status_code, error.detail, headers=error.headers)
    else:
        known = from_exception(error)
        if not isinstance(error, MmspecError | HttpError):
            log.error("unexpected failure", exc_info=error)
    return Response(
        known.body.encode(), status_code=known.status, media_type=JSON, headers=known.headers
    )
