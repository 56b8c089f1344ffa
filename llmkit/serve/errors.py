"""What can go wrong with a deployment, each with a code; and what a server answers when it refuses a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Code = Literal[
    "port_in_use",
    "port_forbidden",
    "host_unknown",
    "deployment_unknown",
    "deployment_active",
    "deployment_failed",
    "deployment_silent",
    "key_unreadable",
    "box_broken",
    "box_unsupported",
    "form_not_made",
    "repository_unsupported",
    "repository_exists",
    "disk_full",
    "key_unsupported",
    "tritonserver_missing",
    "tritonserver_impossible",
    "tritonserver_offline",
    "tritonserver_unreachable",
    "tritonserver_failed",
]


class ServeError(Exception):
    """A deployment cannot be started, found, asked or forgotten.

    Args:
        code: ``port_in_use`` (another program answers there), ``port_forbidden`` (the system keeps it for others),
            ``host_unknown`` (no address of this machine), ``deployment_unknown``, ``deployment_active`` (it runs, so
            it cannot be forgotten), ``deployment_failed`` (its process ended by itself), ``deployment_silent`` (it
            did not answer), ``key_unreadable`` (the key's file holds none), ``box_broken`` and ``box_unsupported`` (a
            glance at the box's files tells that no server can open it), ``form_not_made`` (Triton wants a form of
            ONNX Runtime's), ``repository_unsupported`` (no model repository can be made of it), ``repository_exists``,
            ``disk_full``, ``key_unsupported`` (Triton knows no key that is not on its command line),
            ``tritonserver_missing`` (its environment is not made), ``tritonserver_impossible`` (it cannot be, here),
            ``tritonserver_offline``, ``tritonserver_unreachable``, ``tritonserver_failed`` (why it
            could not be made).
        values: what the sentence names (``host``, ``port``, ``deployment``, ``detail``).
    """

    def __init__(self, code: Code, **values: Any) -> None:
        super().__init__(f"{code}: " + ", ".join(f"{name}={value}" for name, value in values.items()))
        self.code: Code = code
        self.values = values


class RefusedError(Exception):
    """A request that gets no answer but a status and why, in the shape of OpenAI's errors.

    Args:
        status: of HTTP. code: for programs. message: for people, with the numbers. kind: OpenAI's ``type``.
        param: the setting that is wrong, where it is one. headers: such as ``Retry-After``.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.kind, self.param = status, code, message, kind, param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's clients read it."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}
