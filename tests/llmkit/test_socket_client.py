"""The client of any server, beside servers that answer well, badly, without end, and not at all."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from llmkit.jobs import Cancelled, DirectReport
from llmkit.serve import load, process, smoke
from llmkit.serve.client import Client, base_address
from llmkit.serve.deployment import Deployment
from llmkit.serve.load import Visit, measured
from llmkit.serve.reply import MOST_BYTES, Collector, Reply
from llmkit.serve.request import Request, reading, request_for, writing
from llmkit.serve.smoke import Check
from llmkit.serve.snippets import KEY_VARIABLE, as_literal, snippet
from llmkit.serve.socket_errors import SocketError
from tests.llmkit.rough_server import RoughServer, http
from tests.llmkit.serve_boxes import LONG, is_ready, long_llama, wait_for

KEY = "key-of-the-test"
HOSTILE = "it's \"$(touch /tmp/x)\" `id` !! \\ %s 書🙂 </script> \u202e\x00\n'; rm -rf / #"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    place = tmp_path_factory.mktemp("socket")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_HOME", str(place / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")
        running = process.start(long_llama(place / "tiny", seed=5), key=KEY)
        try:
            wait_for(lambda: is_ready(running), 60)
            yield running
        finally:
            process.stop(running.id)
            process.leave()


@pytest.mark.parametrize(
    ("given", "base"),
    [
        (" http://127.0.0.1:8000/ ", "http://127.0.0.1:8000"),
        ("https://example.org/v1", "https://example.org"),
        ("http://[::1]:80/v1/", "http://[::1]:80"),
        ("http://example.org/proxy/v1", "http://example.org/proxy"),
    ],
)
def test_an_address_as_people_write_it(given: str, base: str) -> None:
    assert base_address(given) == base


BAD = {
    "": "address_empty",
    "  ": "address_empty",
    "127.0.0.1:8000": "address_scheme",
    "file:///etc/passwd": "address_scheme",
    "ftp://example.org": "address_scheme",
    "javascript:alert(1)": "address_scheme",
    "http://": "address_bad",
    "http://user:secret@example.org": "address_bad",
    "http://example.org:99999": "address_bad",
    "http://example.org:0": "address_bad",
    "http://example.org:port": "address_bad",
    "http://exa mple.org": "address_bad",
    "http://example.org\r\nX: y": "address_bad",
    "http://example.org/?key=1": "address_bad",
    "http://[::1": "address_bad",
    "http://" + "a" * 400: "address_bad",
    "http://example.org\\@evil": "address_bad",
    "http://a\u202eb": "address_bad",
}


@pytest.mark.parametrize("given", BAD)
def test_an_address_that_is_none(given: str) -> None:
    with pytest.raises(SocketError) as caught:
        Client(given)
    assert caught.value.code == BAD[given]


def test_a_key_that_no_header_can_hold() -> None:
    for key in ("a\r\nX-Other: b", "a\x00", "k" * 501):
        with pytest.raises(SocketError, match="key_bad"):
            Client("http://127.0.0.1:1", key=key)


ASK = writing("completion", "a", model="m")
STREAM = writing("completion", "a", model="m", stream=True)
PIECE = 'data: {"choices":[{"text":"書"}]}\n\n'


def answered(answer: bytes, request: Request = ASK, timeout_s: float = 5.0) -> Reply:
    with RoughServer(answer) as server:
        return Client(server.address, timeout_s=timeout_s).send(request)


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (http("<html><script>alert(1)</script></html>", kind="text/html"), 200, "not_json"),
        (http(b"\xff\xfe\x00garbage"), 200, "not_json"),
        (http("[" * 100_000), 200, "not_json"),
        (http("[1, 2]"), 200, "not_json"),
        (http("{}"), 200, "no_answer_in_it"),
        (http('{"choices": "x"}'), 200, "no_answer_in_it"),
        (http('{"error": {"code": "busy", "message": "later"}}', status="503 No"), 503, "busy"),
        (http('{"error": {"type": "t", "message": 5}}', status="400 No"), 400, "t"),
        (http('{"detail": "gone"}', status="410 No"), 410, "http_410"),
        (http("<h1>Bad gateway</h1>", status="502 No", kind="text/html"), 502, "http_502"),
        (http("", status="302 Found", more="Location: http://evil.example/\r\n"), 302, "redirected"),
        (b"no HTTP at all\r\n\r\n", None, "connection_lost"),
        (b"", None, "connection_lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", 200, "connection_lost"),
        (http(b"x" * (MOST_BYTES + 1)), 200, "answer_too_large"),
    ],
)
def test_an_answer_that_is_none_has_a_name(answer: bytes, status: int | None, error: str) -> None:
    reply = answered(answer)
    assert (reply.status, reply.error) == (status, error)
    assert len(reply.message) <= 500
    assert reply.text == ""


def test_a_redirect_is_not_followed() -> None:
    with RoughServer(http("{}")) as other:
        there = http("", status="307 Go", more=f"Location: {other.address}/v1/completions\r\n")
        reply = answered(there)
        assert (reply.error, reply.message) == ("redirected", f"{other.address}/v1/completions")
        assert not other.heard


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        (PIECE * 2 + "data: [DONE]\n\n", None, "書書"),
        (PIECE, "stream_cut", "書"),
        (PIECE + 'data: {"error":{"code":"timeout","message":"late"}}\n\n', "timeout", "書"),
        (PIECE + "data: nonsense\n\n", "not_json", "書"),
        ('data: {"choices":[{"delta":{"content":null}}]}\n\ndata: [DONE]\n\n', None, ""),
    ],
)
def test_a_stream_is_read_piece_by_piece(body: str, error: str | None, text: str) -> None:
    reply = answered(http(body, kind="text/event-stream"), STREAM)
    assert (reply.error, reply.text) == (error, text)
    assert (reply.first_token_ms is None) == (not text)


def test_a_stream_may_be_cut_anywhere() -> None:
    """The same bytes one at a time: half characters and half lines wait for the rest."""
    collector = Collector(streamed=True)
    collector.head(200, {"content-type": "text/event-stream; charset=utf-8"})
    pieces = [piece for byte in (PIECE * 3 + "data: [DONE]\r\n").encode() for piece in collector.feed(bytes([byte]))]
    assert pieces == ["書"] * 3
    assert collector.end().ok


def test_what_never_ends_is_given_up() -> None:
    def forever(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            connection.sendall(PIECE.encode())
            time.sleep(0.05)

    def silent(connection: socket.socket) -> None:
        time.sleep(3)

    for answer in (forever, silent):
        with RoughServer(answer) as server:
            assert Client(server.address, timeout_s=0.5).send(STREAM).error == "timeout"


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    reply = Client(f"http://127.0.0.1:{port}").get("/health")
    assert (reply.status, reply.error) == (None, "connection_refused")


def test_the_client_hears_what_the_official_one_hears(tiny: Deployment) -> None:
    ours = Client(tiny.address, key=KEY)
    theirs = openai.OpenAI(base_url=f"{tiny.address}/v1", api_key=KEY, max_retries=0)
    asked = dict(model=tiny.box, max_tokens=12, temperature=0)
    said = theirs.completions.create(prompt="a b", **asked)
    whole, pieces = ours.complete("a b", model=tiny.box, max_tokens=12), []
    streamed = ours.stream("a b", model=tiny.box, max_tokens=12, on_piece=pieces.append)
    assert whole.text == streamed.text == "".join(pieces) == said.choices[0].text
    assert said.usage is not None
    for reply in (whole, streamed):
        assert (reply.prompt_tokens, reply.completion_tokens) == (said.usage.prompt_tokens, 12)
        assert (reply.status, reply.error) == (200, None)
    assert streamed.first_token_ms is not None
    assert 0 < streamed.first_token_ms < streamed.latency_ms
    chat = theirs.chat.completions.create(messages=[{"role": "user", "content": "Hi"}], **asked)
    assert ours.chat("Hi", model=tiny.box, max_tokens=12).text == chat.choices[0].message.content
    vector = theirs.embeddings.create(model=tiny.box, input="Hi").data[0].embedding
    assert np.allclose(ours.embeddings("Hi", model=tiny.box).data["data"][0]["embedding"], vector, atol=1e-6)
    assert ours.classify("Hi", model=tiny.box).error == "no_head"


def test_the_usual_smoke_test_passes_and_tells_a_broken_server(tiny: Deployment) -> None:
    checks = smoke.usual(tiny.box, can=("chat", "completions", "embeddings"), context_length=LONG, has_key=True)
    assert [check.name for check in checks][:4] == ["health", "ready", "completion", "stream"]
    opened = smoke.from_json(smoke.to_json(checks).encode())
    assert opened == checks
    came = smoke.run_all(opened, Client(tiny.address, key=KEY))
    assert [one.check.name for one in came if not one.passed] == []
    keyless = smoke.run_all(checks, Client(tiny.address))
    assert {"completion", "chat", "too_long"} <= {one.check.name for one in keyless if not one.passed}
    with RoughServer(http('{"status": "ok"}')) as server:
        wrong = smoke.run_all(checks, Client(server.address))
    assert [one.check.name for one in wrong if one.passed] == ["health"]


def test_each_expectation_can_fail() -> None:
    reply = Reply(status=200, latency_ms=50.0, text="blue", data={"choices": [{"text": "blue"}]})

    def wrong(**expected: Any) -> tuple[str, ...]:
        return smoke.judge(Check(name="x", request=ASK, **expected), reply).wrong

    assert wrong(field="choices.0.text", value="blue", contains="lu", max_latency_ms=60) == ()
    assert wrong(status=201) == ("status",)
    assert wrong(field="choices.1.text") == wrong(field="choices.0.text", value="red") == ("field",)
    assert wrong(contains="red") == ("contains",)
    assert wrong(max_latency_ms=40) == ("slow",)


GOOD = json.loads(smoke.to_json([Check(name="a", request=ASK)]))


def changed(**values: Any) -> bytes:
    return json.dumps({**GOOD, "checks": [{**GOOD["checks"][0], **values}]}).encode()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"x" * (smoke.MOST_BYTES + 1), "smoke_file_too_big"),
        (b"", "smoke_file_bad"),
        (b"\xff\xfe", "smoke_file_bad"),
        (b"[" * 100_000, "smoke_file_bad"),
        (b"[]", "smoke_file_bad"),
        (b'{"smoke_test": 1, "checks": []}', "smoke_file_bad"),
        (json.dumps({"smoke_test": 1, "checks": GOOD["checks"] * 51}).encode(), "smoke_file_bad"),
        (changed(other=1), "smoke_file_bad"),
        (changed(status="200"), "smoke_file_bad"),
        (changed(status=True), "smoke_file_bad"),
        (changed(name="n" * 61), "smoke_file_bad"),
        (changed(max_latency_ms=-1), "smoke_file_bad"),
        (changed(value=[1]), "smoke_file_bad"),
        (changed(request=None), "smoke_file_bad"),
        (changed(request={"path": "//evil.example/"}), "smoke_file_bad"),
        (changed(request={"path": "@evil.example/"}), "smoke_file_bad"),
        (changed(request={"path": "/a\r\nX: y"}), "smoke_file_bad"),
        (changed(request={"path": "/a", "method": "DELETE"}), "smoke_file_bad"),
        (changed(request={"path": "/a", "key": "mine"}), "smoke_file_bad"),
        (changed(request={"path": "/a", "body": [1]}), "smoke_file_bad"),
    ],
)
def test_a_file_that_is_no_smoke_test(data: bytes, code: str) -> None:
    with pytest.raises(SocketError) as caught:
        smoke.from_json(data)
    assert caught.value.code == code


def ran(command: list[str], tmp_path: Path) -> str:
    done = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", KEY_VARIABLE: KEY, "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not list(tmp_path.iterdir())  # nothing that stood in the text was run
    return done.stdout


def commands(code: dict[str, str | None]) -> dict[str, list[str]]:
    made = {
        "curl": ["bash", "-c", code["curl"]],
        "openai": [sys.executable, "-c", code["openai"]],
        "httpx": [sys.executable, "-c", code["httpx"]],
        "javascript": ["node", "--input-type=module", "-e", code["javascript"]],
    }
    return {name: [part for part in made[name] if part is not None] for name in made if code[name] is not None}


@pytest.mark.parametrize("stream", [False, True])
def test_the_lines_to_copy_run_and_say_the_same(tiny: Deployment, tmp_path: Path, stream: bool) -> None:
    request = request_for("completion", HOSTILE, model=tiny.box, max_tokens=6, stream=stream)
    said = Client(tiny.address, key=KEY).send(request)
    assert said.ok, said
    languages = ("curl", "openai", "httpx", "javascript")
    lines = {language: snippet(language, tiny.address, request, key=True) for language in languages}
    assert all(KEY not in text for text in lines.values() if text)
    for language, command in commands(lines).items():
        if language == "javascript" and subprocess.run(["which", "node"], capture_output=True).returncode:
            continue
        out = ran(command, tmp_path)
        if language == "openai":
            assert out.rstrip("\n") == said.text.rstrip("\n")
        elif not stream and language == "curl":
            assert json.loads(out)["choices"][0]["text"] == said.text
        elif stream:
            assert "[DONE]" in out
        else:
            assert "choices" in out


def test_the_text_of_the_lines_is_the_text_that_was_typed(tmp_path: Path) -> None:
    """What each program really sends, whatever the text holds."""
    for text in (HOSTILE, "'" * 9, "\u2028\u2029", "@/etc/passwd", "{{x}} {y} ${z}"):
        request = reading("classify", text, model="m")
        with RoughServer(http("{}")) as server:
            lines = {
                name: snippet(name, server.address, request, key=False) for name in ("curl", "httpx", "javascript")
            }
            assert snippet("openai", server.address, request, key=False) is None
            for command in commands({**lines, "openai": None}).values():
                ran(command, tmp_path)
            assert len(server.heard) == len(lines)
            for heard in server.heard:
                assert json.loads(heard.partition(b"\r\n\r\n")[2] or "{}") == request.body, heard
                assert b"authorization" not in heard.lower()


def test_what_cannot_be_seen_is_written_as_an_escape() -> None:
    text = as_literal({"a": HOSTILE + "\ud800\u2066"})
    assert text.isprintable()
    assert json.loads(text) == {"a": HOSTILE + "\ud800\u2066"}


def visit(began: float, ended: float, **reply: Any) -> Visit:
    made = Reply(**{"status": 200, "latency_ms": (ended - began) * 1000, "completion_tokens": 10, **reply})
    return Visit(began=began, ended=ended, reply=made)


def test_a_window_counts_what_lies_in_it() -> None:
    """Ten tokens, five of which came in time; a request of which a quarter lies inside; an error; one that is late."""
    visits = [
        visit(1.0, 2.0, arrivals_ms=tuple(100.0 * at for at in range(10)), first_token_ms=5.0),
        visit(9.5, 10.5, arrivals_ms=tuple(100.0 * at for at in range(10)), first_token_ms=15.0),
        visit(8.0, 16.0, arrivals_ms=()),
        visit(3.0, 3.1, error="timeout"),
        visit(10.1, 11.0),
    ]
    level = measured(visits, users=2, began=0.0, ended=10.0)
    assert (level.answered, level.errors) == (3, {"timeout": 1})
    assert level.requests_per_s == pytest.approx((1 + 0.5 + 0.25) / 10)
    assert level.tokens_per_s == pytest.approx((10 + 5 + 2.5) / 10)
    latencies = [1000.0, 1000.0, 8000.0]
    assert level.latency_ms == pytest.approx({f"p{share}": np.percentile(latencies, share) for share in (50, 95, 99)})
    assert level.first_token_ms["p50"] == pytest.approx(10.0)


def settings(address: str, request: Request, **more: Any) -> dict[str, Any]:
    asked = {"method": request.method, "path": request.path, "body": request.body}
    return {"address": address, "request": asked, "users": [1, 4], "seconds": 0.6, "timeout_s": 20, "key": None, **more}


def test_a_load_test_counts_what_the_server_counts(tiny: Deployment, tmp_path: Path) -> None:
    handle = load.lend_key(KEY)
    assert (load._keys() / handle).stat().st_mode & 0o777 == 0o600
    request = request_for("completion", "a", model=tiny.box, max_tokens=8, stream=True)
    report = DirectReport(tmp_path)
    result = load.run(settings(tiny.address, request, key=handle), report)
    assert json.loads(json.dumps(result)) == result
    assert [level["users"] for level in result["levels"]] == [1, 4]
    for level in result["levels"]:
        assert level["answered"]
        assert not level["errors"]
        assert level["tokens_per_s"] == pytest.approx(8 * level["requests_per_s"], rel=0.2)
        assert level["latency_ms"]["p50"] >= level["first_token_ms"]["p50"] > 0
    assert report.partials[-1]["levels"][0] == result["levels"][0]
    assert load.knee(result["levels"]) in (1, 4)
    assert not (load._keys() / handle).exists()
    with pytest.raises(SocketError, match="load_key_gone"):
        load.run(settings(tiny.address, request, key=handle), report)
    with pytest.raises(SocketError, match="load_key_gone"):
        load.run(settings(tiny.address, request, key="../../etc/passwd"), report)


def test_a_load_test_that_nobody_wants_ends(tiny: Deployment, tmp_path: Path) -> None:
    request = request_for("embeddings", "a", model=tiny.box)
    report = DirectReport(tmp_path)
    report.cancelled = True
    with pytest.raises(Cancelled):
        load.run(settings(tiny.address, request, seconds=60), report)


def test_a_server_that_dies_during_a_load_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path / "home"))
    running = process.start(long_llama(tmp_path / "tiny", seed=5))
    try:
        wait_for(lambda: is_ready(running), 60)
        request = request_for("completion", "a", model=running.box, max_tokens=8, stream=True)
        killed = False

        class Killing(DirectReport):
            def __call__(self, done: float, total: float, note: str = "", partial: Any = None) -> None:
                nonlocal killed
                super().__call__(done, total, note, partial)
                if done >= 1 and not killed:
                    killed = True
                    process.stop(running.id)

        result = load.run(settings(running.address, request, users=[1, 2, 4, 8]), Killing(tmp_path))
        assert result["broken"]
        assert len(result["levels"]) < 4
        assert set(result["levels"][-1]["errors"]) <= {"connection_refused", "connection_lost", "stream_cut"}
        assert result["levels"][-1]["errors"]
        with pytest.raises(SocketError) as caught:
            load.run(settings(running.address, request), DirectReport(tmp_path))
        assert (caught.value.code, caught.value.values["error"]) == ("load_no_answer", "connection_refused")
    finally:
        process.stop(running.id)
        process.leave()
