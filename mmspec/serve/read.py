"""From a body to a call: what the two generation routes have in common."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from mmspec.core.errors import BadRequestError
from mmspec.core.request import Request
from mmspec.serve.protocol import Ask, StreamOptions
from mmspec.serve.sampling import check_stream, prediction_of, sampling_of, speculation_of
from mmspec.serve.stream import Call, Wording

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mmspec.core.request import Prompt
    from mmspec.serve.decode import Body, BodyDecoder
    from mmspec.serve.service import Service
    from mmspec.vision.prompt import PictureSource

A = TypeVar("A", bound=Ask)
MAX_CHOICES = 128  # prompts times n


class Wishes(NamedTuple):
    """A route's own reading of the fields that the two routes spell differently."""

    max_tokens: int | None
    logprobs: int | None
    prompt_logprobs: int | None


@dataclass(frozen=True, slots=True)
class Named:
    """What a body names and does not hold; nothing of it is checked yet.

    Attributes:
        links: URL -> dotted path, of pictures that are to be fetched.
        files: dotted path -> file, of uploaded files and of encoded ones.
    """

    links: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route(Generic[A]):
    """What one route does in its own way; everything blocking, nothing on the event loop.

    Attributes:
        prefix: of the answer's id.
        decoder: reads the body.
        wishes: limits and log-probabilities asked for; refuses what the route does not support.
        names: what has to be brought before the body can be read.
        prompts: tokenises, one prompt a choice times ``n``.
        wording: how choices are told.
        progress: whether a stream tells how far the prompt is read.
        any_model: whether a body may name no model.
    """

    prefix: str
    decoder: BodyDecoder[A]
    wishes: Callable[[A], Wishes]
    names: Callable[[A, Service], Named]
    prompts: Callable[[A, Service, PictureSource | None], list[Prompt]]
    wording: Callable[[A, Service, list[Request]], Wording]
    progress: Callable[[A], bool] = lambda _ask: False
    any_model: bool = False


def names(route: Route[A], service: Service, data: bytes) -> Named:
    """What a body names and does not hold. Blocking.

    Raises:
        BadRequestError: 400, naming the field.
        HttpError: another model was asked for.
    """
    ask = route.decoder.decode(data).ask
    service.check_model(ask.model)
    return route.names(ask, service)


def read(
    route: Route[A],
    service: Service,
    data: bytes,
    id: str,
    source: PictureSource | None = None,
    *,
    tenant: str = "",
) -> tuple[Call, Wording]:
    """Decode, check and tokenise one body. Blocking: run it off the event loop.

    Args:
        route: whose body it is.
        service: the model's facts and limits.
        data: the body.
        id: unique, so never the client's choice; names the answer and the engine's requests.
        source: of what the body only names.
        tenant: who asks.

    Raises:
        BadRequestError: 400, naming the field.
        HttpError: another model or a file that is not there was asked for.
    """
    body = route.decoder.decode(data)
    ask = body.ask
    if ask.model or not route.any_model:
        service.check_model(ask.model)
    check_stream(ask)
    speculation = speculation_of(ask)
    wishes = route.wishes(ask)
    sampling = sampling_of(
        ask,
        service.processor,
        max_tokens=wishes.max_tokens,
        logprobs=wishes.logprobs,
        prompt_logprobs=wishes.prompt_logprobs,
        max_context=service.max_context,
    )
    prompts = route.prompts(ask, service, source)
    if len(prompts) * sampling.n > MAX_CHOICES:
        raise BadRequestError(f"a call may have up to {MAX_CHOICES} choices", "prompt")
    prediction = prediction_of(
        ask,
        service.processor,
        choices=len(prompts) * sampling.n,
        max_context=service.max_context,
    )
    name = f"{route.prefix}-{id}"
    progress = bool(ask.stream) and route.progress(ask)
    requests = [
        Request(
            f"{name}-{index}",
            prompt,
            sampling,
            speculation,
            tenant=tenant,
            progress=progress,
            prediction=prediction,
        )
        for index, prompt in enumerate(prompts)
    ]
    call = _call(body, name, requests, service.processor.name)
    return call, route.wording(ask, service, requests)


def _call(body: Body[A], id: str, requests: list[Request], model: str) -> Call:
    """What both routes' bodies say about the shape of the answer."""
    ask, asked = body.ask, requests[0].speculation
    options = ask.stream_options or StreamOptions()
    return Call(
        id=id,
        model=model,
        created=int(time.time()),
        requests=requests,
        stream=bool(ask.stream),
        usage=options.include_usage,
        running_usage=options.include_usage and options.continuous_usage_stats,
        # What is not the target's own text says so, asked or not.
        report=asked.report or asked.transfer is not None,
        skip_special=ask.skip_special_tokens is not False,
        ignored=body.ignored,
    )
