"""What ``/metrics`` says of pictures."""

from __future__ import annotations

from types import SimpleNamespace

from mmspec.engine.stats import EngineStats
from mmspec.serve.metrics import Metrics


def test_pictures_are_counted_with_the_hits_among_the_queries():
    stats = EngineStats(picture_hits=3, picture_misses=2, picture_bytes=4096, vision_seconds=1.5)
    engine, bridge = SimpleNamespace(stats=stats), SimpleNamespace(heartbeat_age=0.0)
    told = Metrics(engine, bridge, "m").render().decode().splitlines()
    assert "mmspec_mm_cache_queries_total 5.0" in told
    assert "mmspec_mm_cache_hits_total 3.0" in told
    assert "mmspec_mm_cache_bytes 4096.0" in told
    assert "mmspec_engine_vision_seconds_total 1.5" in told
