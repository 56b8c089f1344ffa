"""How a deployment is: what it can be asked for, and what it counts."""

from __future__ import annotations

from llmkit.serve.client import Client

LOOK_S = 2.0
"""A page that looks how a server is does not wait for it longer."""


def can(address: str) -> tuple[str, ...]:
    """What a server that is ready can be asked for; nothing while it is not, or is silent."""
    reply = Client(address, timeout_s=LOOK_S).get("/ready")
    return tuple(reply.data.get("can", ())) if reply.ok else ()


def figures(address: str) -> dict[str, float]:
    """What a server counts: ``requests``, ``tokens``, ``running``, ``queue``, and ``mean_ms`` where it has answered;
    nothing where it is silent."""
    reply = Client(address, timeout_s=LOOK_S).get("/metrics")
    if not reply.ok:
        return {}
    sums: dict[str, float] = {}
    for line in reply.text.splitlines():
        name, _, value = line.rpartition(" ")
        if not line.startswith("#"):
            base = name.partition("{")[0]
            sums[base] = sums.get(base, 0.0) + float(value)
    requests = sums.get("llmkit_request_seconds_count", 0.0)
    found = {
        "requests": requests,
        "tokens": sums.get("llmkit_tokens_total", 0.0),
        "running": sums.get("llmkit_running", 0.0),
        "queue": sums.get("llmkit_queue", 0.0),
    }
    if requests:
        found["mean_ms"] = 1000 * sums.get("llmkit_request_seconds_sum", 0.0) / requests
    return found
