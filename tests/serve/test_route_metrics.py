"""What ``/metrics`` says of routes, while the engine goes on choosing them."""

from __future__ import annotations

from types import SimpleNamespace

from prometheus_client.core import CounterMetricFamily

from mmspec.engine.stats import EngineStats
from mmspec.serve.metrics import Metrics


def test_routes_are_counted_while_one_is_added(monkeypatch):
    stats = EngineStats()
    stats.send("text", 2)
    stats.send("image", 3)
    add = CounterMetricFamily.add_metric

    def meanwhile(self, labels, *what, **more):
        if labels:
            stats.send(f"after {labels[0]}", 1)
        add(self, labels, *what, **more)

    monkeypatch.setattr(CounterMetricFamily, "add_metric", meanwhile)
    engine, bridge = SimpleNamespace(stats=stats), SimpleNamespace(heartbeat_age=0.0)
    told = Metrics(engine, bridge, "m").render().decode().splitlines()
    assert 'mmspec_requests_routed_total{route="text"} 2.0' in told
    assert 'mmspec_requests_routed_total{route="image"} 3.0' in told


def test_silences_are_counted_by_drafter():
    stats = EngineStats()
    stats.silence(["text.eagle", "retrieval.suffix"])
    stats.silence(["text.eagle"])
    engine, bridge = SimpleNamespace(stats=stats), SimpleNamespace(heartbeat_age=0.0)
    told = Metrics(engine, bridge, "m").render().decode().splitlines()
    assert 'mmspec_drafters_silenced_total{drafter="text.eagle"} 2.0' in told
    assert 'mmspec_drafters_silenced_total{drafter="retrieval.suffix"} 1.0' in told
