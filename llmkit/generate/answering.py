"""An answer of a box on this machine while it is being written: read from anywhere, stopped at once, ended when it is
left alone."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmkit.chat.conversation import Answer, End, Token
from llmkit.chat.hearing import LEFT_S, Heard
from llmkit.generate.live import Live, Steps, Written

if TYPE_CHECKING:
    from llmkit.generate.decode import Step
    from llmkit.tokens import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an answer is an answer to.

    Args:
        by: the box. prompt_ids: what it reads. prompt_roles: for each of them whose words it is; "" for nobody's.
        tokenizer: of the box.
        stop_ids: tokens that end the answer. stops: texts that do; they are no part of it.
        limit: tokens of the window. fallen: turns that are not sent. sampling: settings, for the record.
    """

    by: str
    prompt_ids: tuple[int, ...]
    prompt_roles: tuple[str, ...] = ()
    tokenizer: Tokenizer
    stop_ids: frozenset[int]
    stops: tuple[str, ...] = ()
    limit: int
    fallen: int = 0
    sampling: Mapping[str, float] = field(default_factory=dict)


class LocalAnswer:
    """Writes in a thread of its own. Who no longer reads it has left: then it ends by itself.

    Args:
        asked: what it is an answer to. begin: begins to write; called in the thread.
        left_s: so long nobody may read it.
    """

    def __init__(self, asked: Asked, begin: Callable[[], Steps], *, left_s: float = LEFT_S) -> None:
        self._asked, self._left_s = asked, left_s
        self._seen = time.monotonic()
        self._live = Live(lambda: _Reined(begin(), self))

    def read(self) -> Heard:
        """Return how far it is."""
        self._seen = time.monotonic()
        written = self._live.read()
        asked = self._asked
        tokens, data, stopped = _cut(written.steps, asked)
        answer = Answer(
            by=asked.by,
            tokens=tokens,
            prompt_tokens=len(asked.prompt_ids),
            new_tokens=len(written.steps),
            limit=asked.limit,
            first_s=written.first_s,
            seconds=written.seconds[-1] if written.seconds else None,
            end=_end(written, asked, stopped=stopped),
            error=str(getattr(written.error, "code", "")) if written.error is not None else "",
            fallen=asked.fallen,
            prompt_ids=asked.prompt_ids,
            prompt_roles=asked.prompt_roles,
            sampling=asked.sampling,
        )
        text = codecs.getincrementaldecoder("utf-8")(errors="replace").decode(data)  # half a character is not said
        return Heard(answer=answer, text=text.strip(), writing=written.state == "writing", error=written.error)

    def stop(self) -> None:
        """Add nothing from now on."""
        self._live.stop()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the thread has ended."""
        self._live.join(timeout_s)

    @property
    def is_left(self) -> bool:
        """Whether nobody has read it for a while."""
        return time.monotonic() - self._seen > self._left_s


class _Reined:
    """Steps that end where a stop is written, or when nobody reads any more."""

    def __init__(self, steps: Steps, owner: LocalAnswer) -> None:
        self._steps, self._owner = steps, owner

    def __iter__(self) -> Iterator[Step]:
        asked = self._owner._asked
        said: list[Step] = []
        for step in self._steps:
            if self._owner.is_left:
                self._owner.stop()
                return
            yield step
            if asked.stops:
                said.append(step)
                if _cut(said, asked)[2]:
                    return

    def close(self) -> None:
        """Want no more."""
        self._steps.close()


def _cut(steps: list[Step] | tuple[Step, ...], asked: Asked) -> tuple[tuple[Token, ...], bytes, bool]:
    """The tokens before a stop, their bytes up to it, and whether there was one."""
    tokens: list[Token] = []
    data, starts = b"", []
    for step in steps:
        starts.append(len(data))
        own = b"" if step.token_id in asked.stop_ids else _bytes(asked.tokenizer, step.token_id)
        tokens.append(Token(data=own, logprob=step.logprob, token_id=step.token_id))
        data += own
    found = [at for stop in asked.stops if (at := data.find(stop.encode())) >= 0]
    if not found:
        return tuple(tokens), data, False
    end = min(found)
    return tuple(token for token, start in zip(tokens, starts, strict=True) if start < end), data[:end], True


def _bytes(tokenizer: Tokenizer, token_id: int) -> bytes:
    try:
        return tokenizer.token_bytes(token_id)
    except KeyError:  # the vocabulary is rounded up: a token that stands for nothing
        return b""


def _end(written: Written, asked: Asked, *, stopped: bool) -> End:
    if written.state in ("stopped", "failed"):
        return "failed" if written.state == "failed" else "stopped"
    ended = stopped or (bool(written.steps) and written.steps[-1].token_id in asked.stop_ids)
    return "ended" if ended else "full"
