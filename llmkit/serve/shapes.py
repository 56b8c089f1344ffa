"""What requests may hold and answers hold: OpenAI's shapes, as far as a box here can keep what they promise.

Source: OpenAI's API reference (chat completions, legacy completions, embeddings, models, errors). A setting that would
change the answer and is not built here is refused, not passed over.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmkit.serve.errors import RefusedError

MOST_TEXTS = 64
"""Texts of one request for vectors or labels."""

HARMLESS = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "encoding_format", "prompt_cache_key"}
)
"""Settings of OpenAI's that change nothing in an answer."""

NEUTRAL: tuple[Any, ...] = (None, False, 0, 0.0, "", [], {}, "text", {"type": "text"}, "none", "auto")


class Asked(BaseModel):
    """What every request may hold."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None

    @model_validator(mode="after")
    def _refuse_unknown(self) -> Asked:
        for name, value in (self.model_extra or {}).items():
            if name not in HARMLESS and value not in NEUTRAL:
                raise RefusedError(400, "unsupported_parameter", f"“{name[:60]}” is not built here.", param=name[:60])
        return self


class StreamOptions(BaseModel):
    """How a stream ends."""

    include_usage: bool = False


class Writing(Asked):
    """How a text is to be written."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    n: Literal[1] | None = 1
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    @property
    def tells_logprobs(self) -> bool:
        """Whether each token's log-probability is to be told."""
        return False

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end it, at most four."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if len(stops) > 4:
            raise RefusedError(400, "too_many_stops", f"At most 4 stops, not {len(stops)}.", param="stop")
        return stops

    @property
    def draws(self) -> int:
        """The seed: the one given, else one of chance."""
        return secrets.randbits(31) if self.seed is None else self.seed


class ContentPart(BaseModel):
    """A piece of a message; only text is read here."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ContentPart]

    def plain(self) -> dict[str, str]:
        """The turn as a chat template reads it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class Chat(Writing):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None

    @property
    def tells_logprobs(self) -> bool:
        """Whether each token's log-probability is to be told; others than the chosen one are not."""
        return bool(self.logprobs)


class Completion(Writing):
    """``POST /v1/completions``: one prompt, as text or as tokens."""

    prompt: str | list[int] | list[str]
    max_tokens: Annotated[int, Field(ge=1)] | None = 16
    logprobs: int | None = None

    @property
    def tells_logprobs(self) -> bool:
        """Whether each token's log-probability is to be told: 0 asks for the chosen one's alone."""
        if self.logprobs:
            told = "Alternatives are not built here: “logprobs” is 0, for the chosen token alone, or left out."
            raise RefusedError(400, "unsupported_parameter", told, param="logprobs")
        return self.logprobs is not None


class Embeddings(Asked):
    """``POST /v1/embeddings``: texts, or one text's tokens."""

    input: str | Annotated[list[str], Field(min_length=1, max_length=MOST_TEXTS)]
    encoding_format: Literal["float", "base64"] | None = "float"


class Classify(Asked):
    """``POST /classify``: texts to sort."""

    input: str | Annotated[list[str], Field(min_length=1, max_length=MOST_TEXTS)]


Told = tuple[bytes, float]
"""A token's bytes, and the natural logarithm of the probability that the model itself gave it."""


class Answer:
    """One answer's envelope, whole or in chunks.

    Args:
        kind: ``chat`` or ``completions``. model: its name.
    """

    def __init__(self, kind: Literal["chat", "completions"], model: str) -> None:
        self._chat = kind == "chat"
        self._head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid.uuid4().hex}",
            "object": "",
            "created": int(time.time()),
            "model": model,
        }

    def whole(
        self, text: str, finish: str, usage: dict[str, int], told: Sequence[Told] | None = None
    ) -> dict[str, Any]:
        """The answer in one piece. told: its tokens; None where they are not to be told."""
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        choice = {"index": 0, **said, "logprobs": self._logprobs(told), "finish_reason": finish}
        kind = "chat.completion" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": [choice], "usage": usage}

    def chunk(
        self,
        text: str | None,
        *,
        finish: str | None = None,
        first: bool = False,
        told: Sequence[Told] | None = None,
    ) -> dict[str, Any]:
        """A piece of the answer. first: the one that says who speaks; text None: nothing new; told: its tokens."""
        logprobs = self._logprobs(told)
        if self._chat:
            delta = {**({"role": "assistant"} if first else {}), **({} if text is None else {"content": text})}
            choice: dict[str, Any] = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        else:
            choice = {"index": 0, "text": text or "", "logprobs": logprobs, "finish_reason": finish}
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": [choice]}

    def _logprobs(self, told: Sequence[Told] | None) -> dict[str, Any] | None:
        if told is None:
            return None
        rows = [(data.decode(errors="replace"), logprob, data) for data, logprob in told]
        if not self._chat:
            return {"tokens": [text for text, _, _ in rows], "token_logprobs": [logprob for _, logprob, _ in rows]}
        content = [
            {"token": text, "logprob": logprob, "bytes": list(data), "top_logprobs": []} for text, logprob, data in rows
        ]
        return {"content": content}

    def last(self, usage: dict[str, int]) -> dict[str, Any]:
        """The chunk that says what it took."""
        return {**self.chunk(None), "choices": [], "usage": usage}


def usage(prompt: int, completion: int) -> dict[str, int]:
    """What an answer took, in tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
