"""What Prometheus reads of a server. Labels are routes, statuses and names of adapters, never what a client wrote."""

from __future__ import annotations

import contextlib

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "loraloom_requests", "Requests by route and status.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "loraloom_request_seconds", "From arrival to answer.", ("route",), buckets=_SECONDS, registry=self.registry
        )
        self.texts = Counter("loraloom_texts", "Texts classified.", ("adapter",), registry=self.registry)
        self.rejected = Counter(
            "loraloom_rejected", "Requests turned away, by reason.", ("reason",), registry=self.registry
        )
        self.waiting = Gauge("loraloom_waiting_texts", "Texts that wait or are computed.", registry=self.registry)
        self.adapters = Gauge("loraloom_adapters", "Adapters served.", registry=self.registry)
        self._batch_texts = Histogram(
            "loraloom_batch_texts", "Texts of a batch.", buckets=_COUNTS, registry=self.registry
        )
        self._batch_adapters = Histogram(
            "loraloom_batch_adapters", "Adapters of a batch.", buckets=_COUNTS, registry=self.registry
        )
        self._model_seconds = Histogram(
            "loraloom_batch_seconds", "The model's time for a batch.", buckets=_SECONDS, registry=self.registry
        )

    def batch(self, texts: int, adapters: int, seconds: float) -> None:
        """Notes a batch that was computed."""
        self._batch_texts.observe(texts)
        self._batch_adapters.observe(adapters)
        self._model_seconds.observe(seconds)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Notes an answer; `route` is a template of the interface."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def forget(self, adapter: str) -> None:
        """Drops the line of an adapter that is served no more."""
        with contextlib.suppress(KeyError):
            self.texts.remove(adapter)

    def as_text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
