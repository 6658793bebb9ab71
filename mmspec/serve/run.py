"""``mmspec serve``: build, listen, and leave in good order."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import uvicorn

from mmspec.engine.build import build
from mmspec.model.load import locate
from mmspec.serve.app import create_app
from mmspec.serve.bridge import Bridge
from mmspec.serve.document_desk import DocumentDesk
from mmspec.serve.documents import PATH as DOCUMENTS
from mmspec.serve.door import Door
from mmspec.serve.fetch import Fetcher
from mmspec.serve.file_desk import FileDesk
from mmspec.serve.files import PATH as FILES
from mmspec.serve.intake import Intake
from mmspec.serve.metrics import Metrics
from mmspec.serve.service import GuardedProcessor, Service
from mmspec.vision.media import MediaLimits

if TYPE_CHECKING:
    from types import FrameType

    from mmspec.core.config import Config
    from mmspec.engine.engine import Engine
    from mmspec.serve.service import WireProcessor

log = logging.getLogger(__name__)
DRAIN_SECONDS = 30.0


def serve(config: Config) -> int:
    """Serve one model until told to stop; returns the process's exit status.

    Raises:
        MmspecError: the model cannot be built from this configuration.
    """
    engine, processor = build(config)
    service = service_of(config, engine, processor)
    # Here, so that a wrong folder is told like any wrong setting.
    if service.files is not None:
        service.files.store.start()
    if service.documents is not None:
        service.documents.files.store.start()
    server = DrainingServer(
        uvicorn.Config(
            door_of(config, service),
            host=config.serve.host,
            port=config.serve.port,
            log_config=None,
            access_log=False,  # the door writes one line a visit, without any prompt
            lifespan="on",
            ws="none",
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        ),
        service.bridge,
    )
    server.run()
    return 0 if server.started else 1


def service_of(config: Config, engine: Engine, processor: WireProcessor) -> Service:
    """The service of an engine; the engine belongs to its bridge from now on."""
    limits = config.serve
    bridge = Bridge(engine, call_seconds=limits.request_seconds)
    return Service(
        bridge=bridge,
        processor=GuardedProcessor(processor),
        metrics=Metrics(engine, bridge, processor.name),
        max_context=engine.target.max_context,
        root=locate(config.model.path),
        max_calls=config.engine.max_queue + config.engine.max_sequences,
        drafters=tuple(
            f"{wing}.{name}" for wing, names in config.drafters.items() for name in names
        ),
        media=MediaLimits(
            max_bytes=limits.max_image_bytes,
            max_pixels=limits.max_image_pixels,
            max_side=limits.max_image_side,
            max_images=limits.max_images,
        ),
        files=FileDesk(config.files),
        documents=DocumentDesk(config.documents),
        fetcher=Fetcher(config.fetch) if config.fetch.enabled else None,
    )


def door_of(config: Config, service: Service) -> Door:
    """The whole application, door included."""
    files, documents, most = service.files, service.documents, service.media.max_bytes
    intakes = {FILES: Intake(files, config.files, most)} if files is not None else {}
    if documents is not None:
        intakes[DOCUMENTS] = Intake(
            documents.files, config.documents, most, purpose="document", forms_only=True
        )
    return Door(
        create_app(service),
        service.metrics,
        api_keys=config.serve.api_keys,
        max_body_bytes=config.serve.max_body_bytes,
        max_calls=service.max_calls,
        intakes=intakes,
    )


class DrainingServer(uvicorn.Server):
    """Answers what it has begun before it stops; a second signal stops it at once."""

    def __init__(
        self, config: uvicorn.Config, bridge: Bridge, drain_seconds: float = DRAIN_SECONDS
    ) -> None:
        super().__init__(config)
        self._bridge = bridge
        self._drain_seconds = drain_seconds
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list | None = None) -> None:
        """Listen, and remember the loop that signals must wake."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            log.info("serving at http://%s:%d/v1", self.config.host, self.config.port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: refuse new calls (503, not ready), finish open ones, then stop."""
        if self._loop is None or self._bridge.draining:
            super().handle_exit(sig, frame)
            return
        self._bridge.draining = True
        self._loop.call_soon_threadsafe(self._start_draining)

    def _start_draining(self) -> None:
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        log.info("draining: finishing %d open calls", self._bridge.open_calls)
        await self._bridge.drain(self._drain_seconds)
        self.should_exit = True
