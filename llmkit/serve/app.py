"""The server: OpenAI's way of asking, answered by a box of this machine. ``create_app`` is what uvicorn runs."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Literal

import anyio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmkit.generate.sampling import Sampling
from llmkit.serve.engine import Engine
from llmkit.serve.errors import RefusedError
from llmkit.serve.limits import BodyLimit, Gate, Limits, require_key
from llmkit.serve.metrics import Metrics
from llmkit.serve.refusals import answer_refusals, as_refused, refusal
from llmkit.serve.shapes import Answer, Chat, Classify, Completion, Embeddings, Told, Writing, usage
from llmkit.serve.task import Task

OPEN = frozenset({"/health", "/ready", "/metrics"})
"""What whoever watches the server may ask without the key: it tells counts, no texts."""

CHAT_TOKENS = 256
"""As long is an answer at most when the request does not say."""


class Server:
    """What the endpoints share: the engine once it is loaded, limits, gate and metrics.

    Args:
        load: opens the engine; called once, in a thread. model: the name that it is asked for by.
        key: the ``digest`` of the key; None for none. limits: what it takes on.
        on_state: told ``ready`` or ``failed``, with what went wrong.
    """

    def __init__(
        self,
        load: Callable[[], Engine],
        *,
        model: str,
        form: str,
        key: str | None,
        limits: Limits,
        on_state: Callable[[str, Exception | None], None],
    ) -> None:
        self.model, self.form, self.key, self.limits = model, form, key, limits
        self.engine: Engine | None = None
        self.error: Exception | None = None
        self.gate = Gate(limits)
        self.threads = anyio.CapacityLimiter(limits.max_running + limits.max_queue + 8)
        self._load, self._on_state = load, on_state

        def count(name: Literal["waiting", "running"]) -> float:
            writer = None if self.engine is None else self.engine.writer
            return 0.0 if writer is None else float(getattr(writer, name))

        self.metrics = Metrics(queue=lambda: count("waiting"), running=lambda: count("running"))

    async def load(self) -> None:
        """Open the engine; say how it went."""
        try:
            self.engine = await anyio.to_thread.run_sync(self._load)
        except Exception as error:  # noqa: BLE001  (told to whoever started the server, and to who asks)
            self.error = error
            self._on_state("failed", error)
        else:
            self._on_state("ready", None)

    def opened(self, model: str | None = None) -> Engine:
        """The engine.

        Raises:
            RefusedError: 503 while it is loaded; 404 when another model is asked for.
        """
        if self.engine is None:
            why = "The model is being loaded." if self.error is None else f"The model cannot be loaded: {self.error}"
            raise RefusedError(503, "not_ready", why, kind="server_error", headers={"Retry-After": "2"})
        if model is not None and model != self.model:
            told = f"There is no model “{model[:100]}” here. This server answers as “{self.model}”."
            raise RefusedError(404, "model_not_found", told, param="model")
        return self.engine

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        """Compute something without holding up the others, at most as long as a request may take.

        Raises:
            RefusedError: 504.
        """
        try:
            with anyio.fail_after(self.limits.timeout_s):
                return await anyio.to_thread.run_sync(work, limiter=self.threads, abandon_on_cancel=True)
        except TimeoutError:
            raise self.too_slow() from None

    def too_slow(self) -> RefusedError:
        """The answer to a request that takes too long."""
        told = f"The answer took longer than {self.limits.timeout_s:g} s. Ask for fewer tokens."
        return RefusedError(504, "timeout", told, kind="server_error")


def create_app(
    load: Callable[[], Engine],
    *,
    model: str,
    form: str = "torch-float32",
    key: str | None = None,
    limits: Limits | None = None,
    on_state: Callable[[str, Exception | None], None] = lambda _state, _error: None,
) -> FastAPI:
    """Build the server's application.

    Args:
        load: opens the engine; called once the server listens, so that ``/health`` answers meanwhile.
        model: the box's id, by which it is asked for. form: its form.
        key: ``llmkit.serve.limits.digest`` of the key that requests need; None: none.
        limits: what the server takes on. on_state: told ``ready``, or ``failed`` and why.
    """
    server = Server(load, model=model, form=form, key=key, limits=limits or Limits(), on_state=on_state)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(server.load())
        yield
        loading.cancel()
        if server.engine is not None:
            await anyio.to_thread.run_sync(server.engine.close)

    # its documentation pages would fetch scripts from another machine
    app = FastAPI(title="llmkit", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.server = server
    answer_refusals(app)
    _about(app, server)
    _texts(app, server)
    _states(app, server)
    app.add_middleware(BodyLimit, body_bytes=server.limits.body_bytes)
    paths = frozenset(str(getattr(route, "path", "")) for route in app.routes)
    app.add_middleware(Watch, server=server, paths=paths)
    return app


class Watch:
    """Asks for the key, and counts and times what is asked.

    Args:
        app: what stands behind. server: whose key and metrics. paths: those that are counted by name.
    """

    def __init__(self, app: ASGIApp, *, server: Server, paths: frozenset[str]) -> None:
        self._app, self._server, self._paths = app, server, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        scope.setdefault("state", {})["began"] = began
        path = scope["path"] if scope["path"] in self._paths else "other"
        status = 499  # what nginx writes down for a client that has hung up

        async def noticed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if path not in OPEN:
                require_key(self._server.key, Headers(scope=scope).get("authorization"))
            await self._app(scope, receive, noticed)
        except RefusedError as refused:
            await refusal(refused)(scope, receive, noticed)
        except Exception:
            status = 500
            raise
        finally:
            self._server.metrics.requests.labels(path, str(status)).inc()
            if path not in OPEN:
                self._server.metrics.seconds.labels(path).observe(time.perf_counter() - began)


def _about(app: FastAPI, server: Server) -> None:
    """Whether it lives, whether it is ready, what it counts, and which model answers."""

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> dict[str, Any]:
        engine = server.opened()
        return {"status": "ready", "model": server.model, "form": server.form, "can": engine.can}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        engine = server.opened()
        about = {"form": server.form, "can": engine.can, "context_length": engine.limit}
        listed = {"id": server.model, "object": "model", "created": 0, "owned_by": "llmkit", **about}
        return {"object": "list", "data": [listed]}


def _texts(app: FastAPI, server: Server) -> None:
    """What is written: a conversation's next turn, or how a text goes on."""

    @app.post("/v1/chat/completions")
    async def chat(request: Request, asked: Chat) -> Response:
        engine = server.opened(asked.model)
        _require_writer(engine)
        if engine.template is None:
            why = f"“{server.model}” has no chat template. Use /v1/completions."
            raise RefusedError(400, "no_chat_template", why)
        template, turns = engine.template, [message.plain() for message in asked.messages]

        def encode() -> tuple[int, ...]:
            return engine.tokenizer.encode(template.render(turns), specials=False).ids

        wanted = asked.max_completion_tokens or asked.max_tokens
        return await _write(request, engine, server, asked, "chat", encode, wanted)

    @app.post("/v1/completions")
    async def completions(request: Request, asked: Completion) -> Response:
        engine = server.opened(asked.model)
        _require_writer(engine)
        prompt = asked.prompt
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], str):
            if len(prompt) > 1:
                raise RefusedError(400, "one_prompt", "One prompt a request.", param="prompt")
            prompt = prompt[0]
        given: Any = prompt

        def encode() -> tuple[int, ...]:
            return engine.encode(given) if isinstance(given, str) else tuple(given)

        return await _write(request, engine, server, asked, "completions", encode, asked.max_tokens)


async def _write(
    request: Request,
    engine: Engine,
    server: Server,
    asked: Writing,
    kind: Literal["chat", "completions"],
    encode: Callable[[], tuple[int, ...]],
    wanted: int | None,
) -> Response:
    """Write one text, whole or in chunks."""
    sampling = Sampling(temperature=asked.temperature, top_p=asked.top_p, seed=asked.draws)
    stops, tells, answer = asked.stops, asked.tells_logprobs, Answer(kind, server.model)
    with ExitStack() as place:
        place.enter_context(server.gate.enter())
        ids = await server.in_thread(encode)
        engine.require_room(len(ids), wanted or 1)
        most = wanted or min(CHAT_TOKENS, engine.limit - len(ids))
        task = Task(engine, ids, most=most, sampling=sampling, stops=stops, server=server, began=request.state.began)
        place.callback(task.close)
        if asked.stream:
            first = await task.first(request)  # an error before the first token has a status of its own
            return _Events(_events(task, answer, first, asked), place=place.pop_all())
        text = await task.whole(request)
    told = task.told() if tells else None
    return JSONResponse(answer.whole(text, task.text.finish or "length", usage(len(ids), task.text.count), told))


async def _events(task: Task, answer: Answer, first: str, asked: Writing) -> AsyncIterator[str]:
    """A text in OpenAI's chunks, as server-sent events."""

    def told() -> list[Told] | None:
        return task.told() if asked.tells_logprobs else None

    yield _event(answer.chunk(first, first=True, told=told()))
    try:
        async for piece in task.rest():
            tokens = told()
            if piece or tokens:
                yield _event(answer.chunk(piece, told=tokens))
    except Exception as error:  # noqa: BLE001  (the status is sent already: the stream says it)
        yield _event(as_refused(error).body())
        return
    yield _event(answer.chunk(None, finish=task.text.finish))
    if asked.stream_options is not None and asked.stream_options.include_usage:
        yield _event(answer.last(usage(task.prompt, task.text.count)))
    yield "data: [DONE]\n\n"


class _Events(StreamingResponse):
    """A stream that gives its place back when it ends, whatever way: read to the end, or hung up in the middle."""

    def __init__(self, stream: AsyncIterator[str], *, place: ExitStack) -> None:
        super().__init__(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._place:
            await super().__call__(scope, receive, send)


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _states(app: FastAPI, server: Server) -> None:
    """What is read: vectors, and labels."""

    @app.post("/v1/embeddings")
    async def embeddings(asked: Embeddings) -> dict[str, Any]:
        engine = server.opened(asked.model)
        if engine.vectors is None:
            why = f"{server.form} does not show this box's states. Deploy it as torch-float32."
            raise RefusedError(400, "no_embeddings", why)
        vectors_of, texts = engine.vectors, _listed(asked.input)

        def read() -> tuple[list[list[float]], int]:
            ids = [engine.tokenizer.encode(text).ids for text in texts]
            for one in ids:
                engine.require_room(len(one))
            return vectors_of(ids), sum(map(len, ids))

        with server.gate.enter():
            vectors, tokens = await server.in_thread(read)
        server.metrics.tokens.labels("prompt").inc(tokens)
        packed = [_base64(one) if asked.encoding_format == "base64" else one for one in vectors]
        data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(packed)]
        spent = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": server.model, "usage": spent}

    @app.post("/classify")
    async def classify(asked: Classify) -> dict[str, Any]:
        engine, texts = server.opened(asked.model), _listed(asked.input)
        with server.gate.enter():
            found = await server.in_thread(lambda: engine.classify(texts))
        data = [{"index": at, "label": max(odds, key=odds.__getitem__), "probs": odds} for at, odds in enumerate(found)]
        return {"object": "list", "data": data, "model": server.model}


def _listed(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _require_writer(engine: Engine) -> None:
    if engine.writer is None:
        why = f"“{engine.box_id}” is an encoder: it predicts no next token. Ask /v1/embeddings."
        raise RefusedError(400, "no_next_token", why)
