"""What can go wrong before anything is sent, each with a code. What a server does wrong is no error but a ``Reply``."""

from __future__ import annotations

from typing import Any, Literal

Code = Literal[
    "address_empty",
    "address_scheme",
    "address_bad",
    "address_unresolved",
    "key_bad",
    "smoke_file_too_big",
    "smoke_file_bad",
    "load_no_answer",
    "load_key_gone",
]


class SocketError(Exception):
    """A server cannot be asked so.

    Args:
        code: ``address_empty``, ``address_scheme`` (neither http nor https), ``address_bad`` (no host, no port, a name
            or a question in it), ``address_unresolved`` (nobody knows the host), ``key_bad`` (a character that no
            header may hold), ``smoke_file_too_big``, ``smoke_file_bad`` (no such test; ``detail`` says where),
            ``load_no_answer`` (not even the first request of a load test was answered), ``load_key_gone`` (a load
            test's key is used once and not kept).
        values: what the sentence names.
    """

    def __init__(self, code: Code, **values: Any) -> None:
        super().__init__(f"{code}: " + ", ".join(f"{name}={value}" for name, value in values.items()))
        self.code: Code = code
        self.values = values
