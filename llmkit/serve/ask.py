"""How a deployment is: what it can be asked for, and what it counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from llmkit.serve import kserve
from llmkit.serve.client import Client
from llmkit.serve.deployment import Deployment, address_of

LOOK_S = 2.0
"""A page that looks how a server is does not wait for it longer."""


def can(one: Deployment) -> tuple[str, ...]:
    """What a server that is ready can be asked for; nothing while it is not, or is silent."""
    client = Client(one.address, timeout_s=LOOK_S)
    if one.engine == "triton":
        return kserve.can(client.get(f"/v2/models/{one.model}").data)
    reply = client.get("/ready")
    return tuple(reply.data.get("can", ())) if reply.ok else ()


def figures(one: Deployment) -> dict[str, float]:
    """What a server counts: ``requests``, ``queue``, ``mean_ms`` where it has answered, and of our own server
    ``tokens`` and ``running``; nothing where it is silent."""
    address = one.address if one.metrics_port is None else address_of(one.host, one.metrics_port)
    reply = Client(address, timeout_s=LOOK_S).get("/metrics")
    if not reply.ok:
        return {}
    return (_triton if one.engine == "triton" else _ours)(_sums(reply.text))


def _ours(sums: Mapping[str, float]) -> dict[str, float]:
    requests = sums["llmkit_request_seconds_count"]
    found = {
        "requests": requests,
        "tokens": sums["llmkit_tokens_total"],
        "running": sums["llmkit_running"],
        "queue": sums["llmkit_queue"],
    }
    if requests:
        found["mean_ms"] = 1000 * sums["llmkit_request_seconds_sum"] / requests
    return found


def _triton(sums: Mapping[str, float]) -> dict[str, float]:
    answered = sums["nv_inference_request_success"]
    found = {
        "requests": answered + sums["nv_inference_request_failure"],
        "batches": sums["nv_inference_exec_count"],
        "queue": sums["nv_inference_pending_request_count"],
    }
    if answered:
        found["mean_ms"] = sums["nv_inference_request_duration_us"] / 1000 / answered
    return found


def _sums(text: str) -> defaultdict[str, float]:
    """What Prometheus reads, by name, whatever the labels; a line that is no number is left out."""
    sums: defaultdict[str, float] = defaultdict(float)
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name and not line.startswith("#"):
            try:
                sums[name.partition("{")[0]] += float(value)
            except ValueError:
                continue
    return sums
