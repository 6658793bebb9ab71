"""Our metrics a second time under vLLM's names, for tools and dashboards that look for those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

_OURS, _THEIRS = "mmspec_", "vllm:"
# Only what means the same on both sides.
_STEMS = frozenset(
    {"num_requests_running", "num_requests_waiting", "kv_cache_usage_perc",
     "prompt_tokens", "prompt_tokens_cached", "generation_tokens", "request_success",
     "prefix_cache_queries", "prefix_cache_hits", "mm_cache_queries", "mm_cache_hits",
     "time_to_first_token_seconds", "request_time_per_output_token_seconds",
     "e2e_request_latency_seconds",
     "spec_decode_num_drafts", "spec_decode_num_draft_tokens", "spec_decode_num_accepted_tokens",
     "spec_decode_num_accepted_tokens_per_pos"}
)  # fmt: skip


class Mirror(Collector):
    """Reads a registry and tells the shared part of it in vLLM's words.

    Args:
        registry: what is read, at every scrape.
        model: value of the label ``model_name``, by which dashboards choose.
    """

    def __init__(self, registry: CollectorRegistry, model: str) -> None:
        self._registry = registry
        self._labels = {"model_name": model, "engine": "0"}

    def collect(self) -> Iterator[Metric]:
        """The same numbers, renamed and labelled."""
        for ours in self._registry.collect():
            stem = ours.name.removeprefix(_OURS)
            if stem not in _STEMS:
                continue
            theirs = Metric(_THEIRS + stem, ours.documentation, ours.type)
            for sample in ours.samples:
                name = _THEIRS + sample.name.removeprefix(_OURS)
                theirs.add_sample(name, sample.labels | self._labels, sample.value)
            yield theirs
