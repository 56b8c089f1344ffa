"""What a server says of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """Counters, histograms and gauges of one server, in a registry of its own.

    Args:
        queue, running: how many texts wait, and are being written, now.
    """

    def __init__(self, *, queue: Callable[[], float], running: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("llmkit_requests", "Requests answered", ["endpoint", "status"], registry=self._registry)
        self.tokens = Counter("llmkit_tokens", "Tokens read and written", ["kind"], registry=self._registry)
        self.seconds = Histogram(
            "llmkit_request_seconds",
            "From a request to the end of its answer",
            ["endpoint"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.first_token = Histogram(
            "llmkit_first_token_seconds", "From a request to its first token", buckets=SECONDS, registry=self._registry
        )
        Gauge("llmkit_queue", "Texts that wait", registry=self._registry).set_function(queue)
        Gauge("llmkit_running", "Texts that are being written", registry=self._registry).set_function(running)
        for kind in ("prompt", "completion"):
            self.tokens.labels(kind)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)
