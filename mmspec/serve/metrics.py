"""Prometheus metrics under vLLM's stems, prefixed ``mmspec_``, in a registry of their own.

Derived by whoever reads them: mean acceptance length = 1 + accepted / drafts; acceptance rate =
accepted / draft tokens; tau = 1 + accepted / passes. ``num_drafts`` counts verified trees with a
drafted node, ``num_draft_tokens`` the drafted nodes of those trees, ``engine_passes`` all target
passes after prefill, one a sequence. The common ones are told under vLLM's own names too.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mmspec.serve.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmspec.engine.stats import EngineStats
    from mmspec.serve.bridge import Bridge
    from mmspec.serve.visit import Visit

_FIRST_TOKEN = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40,
    80, 160, 640, 2560,
)  # fmt: skip
_LATENCY = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920)
_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1)
# Paths that may be label values; anything else a stranger asks for is "other".
_ROUTES = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/files", "/v1/documents",
     "/v1/documents/questions", "/metrics"}
)  # fmt: skip
_QUESTIONS = re.compile(r"(/v1/documents)/[^/]+(/questions)/?\Z")


class Gauged(Protocol):
    """The engine, as far as it is measured."""

    @property
    def stats(self) -> EngineStats:
        """Running totals, and gauges of now; safe to read from any thread."""
        ...


class Metrics:
    """Counts what visits did; engine totals are read when somebody asks.

    Args:
        engine: measured. bridge: drives it. model: the name clients know the model by.
    """

    def __init__(self, engine: Gauged, bridge: Bridge, model: str) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(engine, bridge))
        self._mirror = CollectorRegistry()
        self._mirror.register(Mirror(self._registry, model))
        self._engine = engine

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"mmspec_{name}", text, labels, registry=self._registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"mmspec_{name}", text, buckets=buckets, registry=self._registry)

        self._visits = counter("http_requests", "Visits by route and status", ("route", "status"))
        self._disconnects = counter("client_disconnects", "Clients that hung up early")
        self._success = counter("request_success", "Choices by end", ("finished_reason",))
        self._prompt = counter("prompt_tokens", "Prompt tokens of answered calls")
        self._generation = counter("generation_tokens", "Tokens that clients saw")
        self._first = histogram("time_to_first_token_seconds", "From arrival", _FIRST_TOKEN)
        self._token = histogram(
            "request_time_per_output_token_seconds", "After the first news", _TOKEN
        )
        self._whole = histogram("e2e_request_latency_seconds", "From arrival", _LATENCY)

    def visited(self, visit: Visit, path: str) -> None:
        """Count one visit that has ended."""
        path = _QUESTIONS.sub(r"\1\2", path)  # one label for all documents
        route = path if path in _ROUTES else "other"
        self._visits.labels(route, visit.status if visit.complete else 499).inc()
        if not visit.complete:
            self._disconnects.inc()
        answer = visit.answer
        if answer is None or answer.first_news is None:
            return
        usage = answer.usage()
        self._prompt.inc(usage.prompt_tokens)
        self._generation.inc(usage.completion_tokens)
        self._first.observe(answer.first_news - visit.started)
        self._whole.observe(time.monotonic() - visit.started)
        later = usage.completion_tokens - len(answer.choices)
        if later > 0:
            self._token.observe((answer.last_news - answer.first_news) / later)
        for choice in answer.choices:
            self._success.labels(choice.finish_reason or "abort").inc()

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self._registry) + generate_latest(self._mirror)

    def tau(self) -> float:
        """Tokens a target pass since the start, the target's own included; 1.0 without drafts."""
        stats = self._engine.stats
        return 1.0 + stats.accepted / stats.passes if stats.passes else 1.0


class _EngineCollector(Collector):
    """The engine's own totals."""

    def __init__(self, engine: Gauged, bridge: Bridge) -> None:
        self._engine = engine
        self._bridge = bridge

    def collect(self) -> Iterator[Metric]:
        """Read the engine now."""
        stats = self._engine.stats
        used = stats.cache_used / stats.cache_slots if stats.cache_slots else 0.0
        gauges = {
            "num_requests_running": ("Sequences in the batch", stats.running),
            "num_requests_waiting": ("Sequences in the queue", stats.waiting),
            "kv_cache_usage_perc": ("Share of the key-value slots in use, 0 to 1", used),
            "drafter_bytes": ("Set aside for drafters' own memory", stats.drafter_bytes),
            "mm_cache_bytes": ("Features of pictures held", stats.picture_bytes),
            "engine_heartbeat_age_seconds": ("Since the last step", self._bridge.heartbeat_age),
        }
        counters = {
            "engine_steps": ("Steps", stats.steps),
            "engine_step_seconds": ("Time in steps", stats.step_seconds),
            "engine_model_seconds": ("Time in the model, of that", stats.model_seconds),
            "engine_passes": ("Target passes after prefill, one a sequence", stats.passes),
            "prompt_tokens_cached": ("Prompt tokens from the prefix cache", stats.reused_tokens),
            "prefix_cache_queries": ("Prompt tokens looked for there", stats.prompt_tokens),
            "prefix_cache_hits": ("Prompt tokens found there", stats.reused_tokens),
            "mm_cache_queries": ("Pictures looked for", stats.picture_hits + stats.picture_misses),
            "mm_cache_hits": ("Pictures that needed no run of the tower", stats.picture_hits),
            "engine_vision_seconds": ("Time in the vision tower", stats.vision_seconds),
            "spec_decode_num_drafts": ("Verified trees with a drafted node", stats.drafts),
            "spec_decode_num_draft_tokens": ("Drafted nodes of those trees", stats.drafted),
            "spec_decode_num_accepted_tokens": ("Accepted of those", stats.accepted),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"mmspec_{name}", text, value=value)
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(f"mmspec_{name}", text, value=value)
        routed = CounterMetricFamily(
            "mmspec_requests_routed", "Choices by who watches them", labels=["route"]
        )
        for route, choices in list(stats.routed.items()):  # the engine may add one meanwhile
            routed.add_metric([route], choices)
        yield routed
        silenced = CounterMetricFamily(
            "mmspec_drafters_silenced", "Drafters found not to pay, by choice", labels=["drafter"]
        )
        for drafter, times in list(stats.silenced.items()):
            silenced.add_metric([drafter], times)
        yield silenced
        kept = CounterMetricFamily(
            "mmspec_spec_decode_num_accepted_tokens_per_pos",
            "Verified trees that kept a drafted token at this depth, 0 the first",
            labels=["position"],
        )
        for position, count in enumerate(list(stats.accepted_at)):
            kept.add_metric([str(position)], count)
        yield kept
