"""Answers while they come, from a box here and from servers good and rough: read, stopped, left alone, never followed
elsewhere, and the key nowhere."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmkit.chat.conversation import Token
from llmkit.chat.hearing import Heard, Speaking
from llmkit.generate import stream
from llmkit.generate.answering import Asked as BoxAsked
from llmkit.generate.answering import LocalAnswer
from llmkit.generate.decode import Step
from llmkit.reference.box import open_folder
from llmkit.serve import process
from llmkit.serve.client import AsyncClient, Client
from llmkit.serve.deployment import Deployment
from llmkit.serve.destination import look_up, reach
from llmkit.serve.request import Request
from llmkit.serve.socket_errors import SocketError
from llmkit.serve.speaking import Asked, ServedAnswer
from tests.llmkit.random_box import random_box
from tests.llmkit.rough_server import RoughServer, http
from tests.llmkit.serve_boxes import TEMPLATE, is_ready, long_llama, wait_for

KEY = "sk-key-of-the-chat-3141592653"
HI = ({"role": "user", "content": "Hi"},)


def ended(answer: Speaking, seconds: float = 30.0) -> Heard:
    until = time.monotonic() + seconds
    while (heard := answer.read()).writing:
        assert time.monotonic() < until
        time.sleep(0.01)
    return heard


# ---- a box of this machine


class Scripted:
    """Tokens as a test wants them, one each time it is let through; without a script, at once."""

    def __init__(self, ids: list[int], *, held: bool = False, fails: bool = False) -> None:
        self.ids, self.fails = ids, fails
        self.let, self.closed = threading.Semaphore(0 if held else 10_000), threading.Event()

    def __iter__(self) -> Iterator[Step]:
        for one in self.ids:
            self.let.acquire()
            if self.closed.is_set():
                return
            yield Step(token_id=one, logprob=-1.0)
        if self.fails:
            raise RuntimeError("no more")

    def close(self) -> None:
        self.closed.set()
        self.let.release()


@pytest.fixture
def tiny(tmp_path: Path) -> Any:
    return open_folder(random_box(tmp_path, "gpt2", seed=1))


def asked(box: Any, **more: Any) -> BoxAsked:
    """A box whose tokens are bytes."""
    given = {"by": "tiny", "prompt_ids": (1, 2), "tokenizer": box.tokenizer, "stop_ids": frozenset[int](), "limit": 64}
    return BoxAsked(**{**given, **more})


def as_ids(box: Any, text: str) -> list[int]:
    return list(box.tokenizer.encode(text, specials=False).ids)


def test_it_says_what_the_box_writes_with_its_surprise(tiny: Any) -> None:
    prompt = (10, 20, 30)
    steps = list(stream(tiny, prompt, max_new_tokens=12))
    heard = ended(LocalAnswer(asked(tiny, prompt_ids=prompt), lambda: Scripted([step.token_id for step in steps])))
    assert [token.token_id for token in heard.answer.tokens] == [step.token_id for step in steps]
    assert heard.answer.tokens[0].data == tiny.tokenizer.token_bytes(steps[0].token_id)
    assert (heard.answer.end, heard.answer.new_tokens, heard.answer.prompt_tokens) == ("full", 12, 3)
    assert heard.answer.tokens[0].bits == pytest.approx(1 / 0.6931471805599453)


def test_it_ends_where_it_begins_to_write_the_other_side(tiny: Any) -> None:
    steps = Scripted(as_ids(tiny, " Yes, 書.\nUser: and then"))
    heard = ended(LocalAnswer(asked(tiny, stops=("\nUser:",)), lambda: steps))
    assert heard.text == "Yes, 書."
    assert b"".join(token.data for token in heard.answer.tokens).decode() == " Yes, 書."
    assert heard.answer.end == "ended"
    assert steps.closed.is_set()


def test_a_token_that_ends_it_is_counted_and_says_nothing(tiny: Any) -> None:
    heard = ended(LocalAnswer(asked(tiny, stop_ids=frozenset({7})), lambda: Scripted([*as_ids(tiny, "ab"), 7])))
    assert (heard.text, heard.answer.end, heard.answer.new_tokens) == ("ab", "ended", 3)
    assert heard.answer.tokens[-1] == Token(data=b"", logprob=-1.0, token_id=7)


def test_half_a_character_is_not_said(tiny: Any) -> None:
    heard = ended(LocalAnswer(asked(tiny), lambda: Scripted(as_ids(tiny, "書"[:1])[:2])))
    assert heard.text == ""
    assert len(heard.answer.tokens) == 2


def test_it_is_stopped_at_once(tiny: Any) -> None:
    steps = Scripted(as_ids(tiny, "abcdef"), held=True)
    answer = LocalAnswer(asked(tiny), lambda: steps)
    steps.let.release(2)
    wait_for(lambda: len(answer.read().answer.tokens) == 2)
    answer.stop()
    heard = answer.read()
    assert (heard.writing, heard.text, heard.answer.end) == (False, "ab", "stopped")
    steps.let.release(3)
    answer.join(5)
    assert answer.read().text == "ab"


def test_what_was_said_before_an_error_stays(tiny: Any) -> None:
    heard = ended(LocalAnswer(asked(tiny), lambda: Scripted(as_ids(tiny, "ab"), fails=True)))
    assert (heard.text, heard.answer.end) == ("ab", "failed")
    assert isinstance(heard.error, RuntimeError)


def test_an_answer_that_nobody_reads_ends(tiny: Any) -> None:
    steps = Scripted(as_ids(tiny, "abcdef"), held=True)
    answer = LocalAnswer(asked(tiny), lambda: steps, left_s=0.05)
    time.sleep(0.1)
    steps.let.release(6)
    answer.join(5)
    assert steps.closed.is_set()
    assert answer.read().answer.end == "stopped"
    assert len(answer.read().answer.tokens) <= 1


# ---- a server


def chunk(text: str, *, logprobs: Any = None, finish: str | None = None) -> str:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


USAGE = 'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n'
DONE = "data: [DONE]\n\n"


def events(body: str) -> bytes:
    return http(body, kind="text/event-stream")


def said_by(answer: bytes | Callable[[socket.socket], None], **more: Any) -> Heard:
    with RoughServer(answer) as server:
        return ended(ServedAnswer(Asked(address=server.address, model="m", messages=HI, **more), stall_s=2.0))


def test_a_stream_with_logprobs() -> None:
    told = [
        {"token": "\u66f8", "logprob": -0.5, "bytes": list("書".encode())[:2]},
        {"token": "x", "logprob": -3.0, "bytes": list("書".encode())[2:]},
    ]
    body = chunk("書", logprobs={"content": told}) + chunk("", finish="length") + USAGE + DONE
    heard = said_by(events(body), limit=100)
    assert heard.text == "書"
    assert heard.answer.tokens == (
        Token(data="書".encode()[:2], logprob=-0.5),
        Token(data="書".encode()[2:], logprob=-3.0),
    )
    answer = heard.answer
    assert (answer.end, answer.prompt_tokens, answer.new_tokens, answer.limit) == ("full", 9, 2, 100)
    assert answer.first_s is not None


@pytest.mark.parametrize(
    ("answer", "text", "error"),
    [
        (events(chunk("a") + chunk("b", finish="stop") + DONE), "ab", ""),
        (events(chunk("a")), "a", "stream_cut"),
        (events(chunk("a") + 'data: {"error":{"code":"boom","message":"x"}}\n\n'), "a", "boom"),
        (events(chunk("a") + "data: <html>\n\n"), "a", "not_json"),
        (events(chunk("x" * 50_000) + chunk("y" * 50_000) + DONE), "x" * 50_000 + "y" * 10_000, "answer_too_large"),
        (http("<html><script>alert(1)</script></html>", kind="text/html"), "", "not_json"),
        (http("<h1>Bad</h1>", status="502 No", kind="text/html"), "", "http_502"),
        (http(json.dumps({"choices": [{"message": {"content": "whole"}}]})), "whole", ""),
        (http("{}"), "", "no_answer_in_it"),
        (http(b"x" * 9_000_000), "", "answer_too_large"),
        (b"no HTTP\r\n\r\n", "", "connection_lost"),
        (http("", status="401 No"), "", "http_401"),
    ],
)
def test_whatever_comes_has_a_name_and_what_was_said_stays(answer: bytes, text: str, error: str) -> None:
    heard = said_by(answer)
    assert (heard.text, heard.answer.error) == (text, error)
    assert heard.answer.end == ("failed" if error else "ended")
    assert all(token.logprob is None for token in heard.answer.tokens)


def test_a_redirect_is_said_and_not_followed() -> None:
    with RoughServer(http("{}")) as elsewhere:
        there = f"Location: {elsewhere.address}/v1/chat/completions\r\n"
        heard = said_by(http("", status="307 Go", more=there), key=KEY)
        assert heard.answer.error == "redirected"
        assert heard.message == f"{elsewhere.address}/v1/chat/completions"
        assert not elsewhere.heard


def test_a_server_that_stalls_is_given_up() -> None:
    def stalls(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + chunk("a").encode())
        time.sleep(4)

    with RoughServer(stalls) as server:
        heard = ended(ServedAnswer(Asked(address=server.address, model="m", messages=HI), stall_s=0.3))
    assert (heard.text, heard.answer.error) == ("a", "timeout")


@pytest.mark.parametrize("way", ["stopped", "left"])
@pytest.mark.parametrize("begun", [True, False], ids=["in the middle", "before it has answered"])
def test_stopping_hangs_up_at_once(way: str, begun: bool) -> None:
    hung_up = threading.Event()

    def holds(connection: socket.socket) -> None:
        if begun:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + chunk("a").encode())
        connection.settimeout(20)
        if connection.recv(1) == b"":
            hung_up.set()

    with RoughServer(holds) as server:
        left_s = 0.2 if way == "left" else 60.0
        answer = ServedAnswer(Asked(address=server.address, model="m", messages=HI), left_s=left_s)
        wait_for(lambda: bool(server.heard))
        if begun and way == "stopped":
            wait_for(lambda: answer.read().text == "a")
        if way == "stopped":
            answer.stop()
            assert not answer.read().writing
        assert hung_up.wait(3)
        answer.join(3)
        assert answer.read().answer.end == "stopped"


def in_turn(*answers: bytes) -> Callable[[socket.socket], None]:
    left = list(answers)
    return lambda connection: connection.sendall(left.pop(0))


def bodies(server: RoughServer) -> list[dict[str, Any]]:
    return [json.loads(one.partition(b"\r\n\r\n")[2]) for one in server.heard]


def test_a_server_without_logprobs_is_asked_again_without() -> None:
    refusal = json.dumps({"error": {"message": "x", "code": "unsupported_parameter", "param": "logprobs"}})
    refusal = refusal.replace('"x"', '"“logprobs” is not built here."')
    good = events(chunk("ok", finish="stop") + DONE)
    with RoughServer(in_turn(http(refusal, status="400 No"), good)) as server:
        heard = ended(ServedAnswer(Asked(address=server.address, model="m", messages=HI)))
        assert heard.text == "ok"
        assert [one.get("logprobs") for one in bodies(server)] == [True, None]


def test_a_conversation_that_is_too_long_loses_its_oldest_turns() -> None:
    long = http(json.dumps({"error": {"code": "context_length_exceeded", "message": "x"}}), status="400 No")
    talk = [{"role": "system", "content": "s"}]
    for at in range(2):
        talk += [{"role": "user", "content": f"u{at}"}, {"role": "assistant", "content": f"a{at}"}]
    talk.append({"role": "user", "content": "u2"})
    with RoughServer(in_turn(long, long, events(chunk("ok") + DONE))) as server:
        heard = ended(ServedAnswer(Asked(address=server.address, model="m", messages=tuple(talk))))
        assert (heard.text, heard.answer.fallen) == ("ok", 4)
        assert [one["content"] for one in bodies(server)[-1]["messages"]] == ["s", "u2"]
    with RoughServer(long) as server:
        heard = ended(ServedAnswer(Asked(address=server.address, model="m", messages=tuple(talk))))
        assert heard.answer.error == "context_length_exceeded"
        assert len(server.heard) == 3


def test_settings_that_such_a_server_knows_are_sent() -> None:
    with RoughServer(events(chunk("ok") + DONE)) as server:
        more = {"temperature": 0.25, "top_p": 0.5, "seed": 7, "max_tokens": 11}
        ended(ServedAnswer(Asked(address=server.address, model="m", messages=HI, **more)))
        (sent,) = bodies(server)
    assert {name: sent[name] for name in more} == more
    assert sent["messages"] == list(HI)
    assert sent["stream"] is True


def test_a_server_that_only_goes_on_gets_the_plain_format() -> None:
    body = 'data: {"choices":[{"text":" Hello","logprobs":{"tokens":[" Hello"],"token_logprobs":[-1.0]}}]}\n\n'
    with RoughServer(events(body + DONE)) as server:
        heard = ended(ServedAnswer(Asked(address=server.address, model="m", messages=HI, ask="completion")))
        (sent,) = bodies(server)
    assert (sent["prompt"], sent["stop"]) == ("User: Hi\nAssistant:", ["\nUser:"])
    assert (heard.text, heard.answer.tokens) == ("Hello", (Token(data=b" Hello", logprob=-1.0),))


def test_the_key_goes_to_the_server_and_nowhere_else(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    with RoughServer(events(chunk("ok") + DONE)) as server:
        given = Asked(address=server.address, model="m", messages=HI, key=KEY)
        answer = ServedAnswer(given)
        heard = ended(answer)
        assert f"Authorization: Bearer {KEY}".encode().lower() in server.heard[0].lower()
    assert KEY not in server.heard[0].split(b"\r\n")[0].decode()
    assert KEY not in repr(given)
    assert KEY not in repr(heard)
    assert KEY not in caplog.text
    answer.join(5)
    assert KEY not in repr(vars(answer))


def test_a_bad_address_or_key_is_said_at_once() -> None:
    for given, code in (
        ({"address": "ftp://example.org"}, "address_scheme"),
        ({"address": "http://user:pw@example.org"}, "address_bad"),
        ({"address": "http://127.0.0.1:1", "key": "a\r\nX: y"}, "key_bad"),
    ):
        with pytest.raises(SocketError) as caught:
            ServedAnswer(Asked(model="m", messages=HI, **given))
        assert caught.value.code == code


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    place = tmp_path_factory.mktemp("speaking")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_HOME", str(place / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")
        running = process.start(long_llama(place / "box", seed=3), key=KEY)
        try:
            wait_for(lambda: is_ready(running), 60)
            yield running
        finally:
            process.stop(running.id)
            process.leave()


def test_our_own_server_answers_as_its_box_does(deployed: Deployment) -> None:
    talk = ({"role": "system", "content": "s"}, {"role": "user", "content": "Hi"})
    given = Asked(address=deployed.address, model=deployed.box, messages=talk, key=KEY, max_tokens=8, temperature=0.0)
    heard = ended(ServedAnswer(given))
    box = open_folder(Path(deployed.box.removeprefix("folder:")))
    prompt = box.tokenizer.encode("<system>s\n<user>Hi\n<assistant>", specials=False).ids
    assert TEMPLATE.endswith("{% if add_generation_prompt %}<assistant>{% endif %}")
    steps = list(stream(box, prompt, max_new_tokens=8))
    data = b"".join(box.tokenizer.token_bytes(step.token_id) for step in steps)
    assert heard.text == data.decode(errors="replace").strip()
    answer = heard.answer
    assert (answer.end, answer.error, answer.prompt_tokens, answer.new_tokens) == ("full", "", len(prompt), 8)
    assert b"".join(token.data for token in answer.tokens) == data
    told = [token.logprob for token in answer.tokens]
    assert told == pytest.approx([step.logprob for step in steps], abs=1e-4)
    wrong = ended(ServedAnswer(Asked(address=deployed.address, model=deployed.box, messages=talk, key="wrong")))
    assert wrong.answer.error == "invalid_api_key"
    home = Path(deployed.box.removeprefix("folder:")).parent
    assert not [path for path in home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


# ---- where an address leads


@pytest.mark.parametrize(
    ("ip", "where"),
    [
        ("1.1.1.1", "public"),
        ("2606:4700::1111", "public"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.0.1", "private"),
        ("100.64.0.1", "private"),
        ("224.0.0.1", "private"),
        ("fd00::1", "private"),
        ("198.18.0.1", "private"),
        ("169.254.169.254", "link_local"),
        ("fe80::1", "link_local"),
        ("127.0.0.1", "this_machine"),
        ("127.8.9.1", "this_machine"),
        ("::1", "this_machine"),
        ("::", "this_machine"),
        ("0.0.0.0", "this_machine"),
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:169.254.169.254", "link_local"),
        ("64:ff9b::7f00:1", "this_machine"),
        ("2002:c0a8:1::", "private"),
    ],
)
def test_how_far_an_address_is(ip: str, where: str) -> None:
    assert reach(ip) == where


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::1]", "127.1"])
def test_this_machine_by_any_name(host: str) -> None:
    assert look_up(f"http://{host}:8000").reach == "this_machine"


def test_of_several_machines_the_nearest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("1.1.1.1", "10.0.0.1", "8.8.8.8")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: told)
    found = look_up("http://example.org/v1")
    assert (found.ip, found.reach, found.address) == ("10.0.0.1", "private", "http://example.org")


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SocketError) as caught:
        look_up("http://no-such-host.example")
    assert caught.value.code == "address_unresolved"


@pytest.mark.parametrize("kind", ["one by one", "in pieces"])
def test_it_connects_to_the_machine_that_was_looked_at(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is not looked up again, and goes along for the server to read."""
    real, asked_for = socket.getaddrinfo, []

    def watched(host: Any, *rest: Any, **more: Any) -> Any:
        asked_for.append(host)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", watched)
    with RoughServer(http("{}")) as server:
        port = server.address.rpartition(":")[2]
        address = f"http://rebound.example:{port}/base"
        request = Request(path="/v1/models", method="GET")
        if kind == "one by one":
            Client(address, ip="127.0.0.1").send(request)
        else:

            async def ask() -> None:
                client = AsyncClient(address, ip="127.0.0.1")
                async with client.opened(1):
                    await client.send(request)

            asyncio.run(ask())
        head = server.heard[0].decode().lower()
    assert head.startswith("get /base/v1/models ")
    assert f"host: rebound.example:{port}\r\n" in head
    assert not [host for host in asked_for if "rebound" in str(host)]
