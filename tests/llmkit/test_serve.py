"""The server, asked over real HTTP by the official client and by clients that misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
import torch
import transformers
from prometheus_client.parser import text_string_to_metric_families

from llmkit.generate import decode
from llmkit.reference import Assembled, open_box
from llmkit.serve import process
from llmkit.serve.deployment import Deployment
from llmkit.serve.reply import tokens_of
from llmkit.tokens import ChatTemplate
from tests.llmkit.serve_boxes import LONG, is_ready, long_llama, wait_for

STARTER, KEY = "gpt2-starter", "key-of-the-test"
PROMPT = "The movie was"


@dataclass
class Running:
    """Three servers: the bundled box; a tiny one with a key and little room; a tiny one without time."""

    starter: Deployment
    tiny: Deployment
    hasty: Deployment


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("serve")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_HOME", str(place / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")
        tiny = long_llama(place / "tiny", seed=3)
        running = Running(
            starter=process.start(STARTER),
            tiny=process.start(tiny, key=KEY, limits={"max_running": 2, "max_queue": 1}),
            hasty=process.start(tiny, limits={"timeout_s": 0.5}),
        )
        all_of_them = (running.starter, running.tiny, running.hasty)
        try:
            for one in all_of_them:
                wait_for(lambda one=one: is_ready(one), 60)
            yield running
        finally:
            stopped = [process.stop(one.id) for one in all_of_them]
            process.leave()
        assert {one.state for one in stopped} == {"stopped"}


def client(deployment: Deployment, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{deployment.address}/v1", api_key=key, max_retries=0, timeout=30)


def raw(deployment: Deployment, key: str | None = KEY) -> httpx.Client:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=deployment.address, headers=headers, timeout=30)


def figure(deployment: Deployment, name: str, **labels: str) -> float:
    text = httpx.get(f"{deployment.address}/metrics").text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def greedy_ids(box: Assembled, ids: tuple[int, ...], most: int) -> list[int]:
    stops = {token.token_id for token in box.tokenizer.added if token.special}
    return [step.token_id for step in decode.stream(box, ids, max_new_tokens=most, stop_ids=stops)]


@pytest.mark.parametrize("name", ["starter", "tiny"])
def test_greedy_text_is_that_of_generate_and_of_the_reference(servers: Running, name: str) -> None:
    deployment: Deployment = getattr(servers, name)
    box = open_box(deployment.box)
    ids = box.tokenizer.encode(PROMPT).ids
    ours = greedy_ids(box, ids, 12)
    model = transformers.AutoModelForCausalLM.from_pretrained(box.folder, local_files_only=True)
    theirs = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=12, pad_token_id=0)[0, len(ids) :]
    assert ours == theirs.tolist()

    asked = dict(model=deployment.box, prompt=PROMPT, max_tokens=12, temperature=0)
    said = client(deployment).completions.create(**asked)
    assert said.choices[0].text == box.tokenizer.decode(ours)
    assert said.usage is not None
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (len(ids), len(ours))
    assert said.choices[0].finish_reason == ("length" if name == "tiny" else "stop")
    as_ids = client(deployment).completions.create(**{**asked, "prompt": list(ids)})
    assert as_ids.choices[0].text == said.choices[0].text

    chunks = list(client(deployment).completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == said.choices[0].text
    assert chunks[-1].usage == said.usage
    assert chunks[-2].choices[0].finish_reason == said.choices[0].finish_reason


def test_a_conversation_is_written_into_the_template(servers: Running) -> None:
    tiny = servers.tiny
    box, template = open_box(tiny.box), ChatTemplate.from_folder(open_box(tiny.box).folder)
    assert template is not None
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "這本書 🙂"}]
    ids = box.tokenizer.encode(template.render(turns), specials=False).ids
    wanted = box.tokenizer.decode(greedy_ids(box, ids, 9))
    asked = dict(model=tiny.box, messages=turns, max_tokens=9, temperature=0)
    said = client(tiny).chat.completions.create(**asked)
    assert said.choices[0].message.content == wanted
    assert said.choices[0].message.role == "assistant"
    parts = [*turns[:1], {"role": "user", "content": [{"type": "text", "text": "這本書 🙂"}]}]
    assert client(tiny).chat.completions.create(**{**asked, "messages": parts}).choices[0].message.content == wanted
    chunks = list(client(tiny).chat.completions.create(**asked, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == wanted
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_seed_draws_the_same_again(servers: Running) -> None:
    def drawn(seed: int) -> str:
        asked = dict(model=servers.tiny.box, prompt="a", max_tokens=20, temperature=1.5, top_p=0.9)
        return client(servers.tiny).completions.create(**asked, seed=seed).choices[0].text

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_text_ends_before_its_stop(servers: Running) -> None:
    asked = dict(model=STARTER, prompt=PROMPT, max_tokens=20, temperature=0)
    whole = client(servers.starter).completions.create(**asked).choices[0].text
    stop = whole[len(whole) // 2 :][:2]
    chunks = list(client(servers.starter).completions.create(**asked, stop=["never", stop], stream=True))
    said = "".join(chunk.choices[0].text for chunk in chunks)
    assert said == whole[: whole.index(stop)]
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_each_tokens_probability_is_told_to_whoever_asks(servers: Running, kind: str) -> None:
    """Whole and in pieces, in bytes: the tiny box's tokens are seldom whole characters."""
    tiny = servers.tiny
    box = open_box(tiny.box)
    prompt = PROMPT if kind == "completions" else f"<user>{PROMPT}\n<assistant>"
    steps = list(decode.stream(box, box.tokenizer.encode(prompt, specials=False).ids, max_new_tokens=9))
    wanted = [box.tokenizer.token_bytes(step.token_id) for step in steps]
    asked: dict[str, Any] = {"model": tiny.box, "max_tokens": 9, "temperature": 0}
    if kind == "chat":
        asked |= {"messages": [{"role": "user", "content": PROMPT}], "logprobs": True}
        path = "/v1/chat/completions"
    else:
        asked |= {"prompt": PROMPT, "logprobs": 0}
        path = "/v1/completions"
    with raw(tiny) as http:
        whole = tokens_of(http.post(path, json=asked).json())
        lines = http.post(path, json={**asked, "stream": True}).text.splitlines()
        silent = http.post(path, json={name: value for name, value in asked.items() if name != "logprobs"}).json()
    pieces = [token for line in lines if line.startswith("data: {") for token in tokens_of(json.loads(line[6:]))]
    for told in (whole, pieces):
        assert [logprob for _, logprob in told] == pytest.approx([step.logprob for step in steps], abs=1e-4)
        if kind == "chat":
            assert [data for data, _ in told] == wanted
    assert silent["choices"][0]["logprobs"] is None


def test_the_tokens_of_a_stop_are_not_told(servers: Running) -> None:
    asked = dict(model=STARTER, prompt=PROMPT, max_tokens=20, temperature=0, logprobs=0)
    whole = client(servers.starter).completions.create(**asked).choices[0]
    stop = whole.text[len(whole.text) // 2 :][:2]
    chunks = client(servers.starter).completions.create(**asked, stop=[stop], stream=True)
    told = [token for chunk in chunks for token in (chunk.choices[0].logprobs or SimpleNamespace(tokens=[])).tokens]
    assert whole.text[: whole.text.index(stop)].startswith("".join(told))
    assert told == whole.logprobs.tokens[: len(told)]
    assert "".join(whole.logprobs.tokens) == whole.text


BAD: dict[str, tuple[object, int, str]] = {
    "no JSON": (b'{"prompt": ', 400, "invalid_json"),
    "no UTF-8": (b'{"prompt": "\xff"}', 400, "invalid_request"),
    "a list": ([1, 2], 400, "invalid_request"),
    "nothing": ({}, 400, "invalid_request"),
    "an empty prompt": ({"prompt": ""}, 400, "prompt_empty"),
    "a lone surrogate": (b'{"prompt": "\\ud800"}', 400, "text_not_unicode"),
    "no such token": ({"prompt": [10**9]}, 400, "prompt_unknown_token"),
    "two prompts": ({"prompt": ["a", "b"]}, 400, "one_prompt"),
    "no such model": ({"prompt": "a", "model": "gpt-9"}, 404, "model_not_found"),
    "too long": ({"prompt": "a b " * 1000}, 400, "context_length_exceeded"),
    "too much wanted": ({"prompt": "a", "max_tokens": 10**6}, 400, "context_length_exceeded"),
    "nothing wanted": ({"prompt": "a", "max_tokens": 0}, 400, "invalid_request"),
    "too hot": ({"prompt": "a", "temperature": 1000}, 400, "sampling_out_of_range"),
    "no number": (b'{"prompt": "a", "temperature": NaN}', 400, "sampling_out_of_range"),
    "top_p 0": ({"prompt": "a", "top_p": 0}, 400, "sampling_out_of_range"),
    "two answers": ({"prompt": "a", "n": 2}, 400, "invalid_request"),
    "five stops": ({"prompt": "a", "stop": list("abcde")}, 400, "too_many_stops"),
    "not built": ({"prompt": "a", "logprobs": 3}, 400, "unsupported_parameter"),
    "deep": (b'{"prompt": ' + b"[" * 100_000, 400, "invalid_request"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_told_why(servers: Running, name: str) -> None:
    content, status, code = BAD[name]
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    with raw(servers.starter, None) as http:
        answer = http.post("/v1/completions", content=data, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    if name == "too long":
        assert "256" in answer.json()["error"]["message"]


def test_what_a_box_cannot_do_is_said(servers: Running) -> None:
    with raw(servers.starter, None) as http:
        chat = http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "a"}]})
        assert (chat.status_code, chat.json()["error"]["code"]) == (400, "no_chat_template")
        classify = http.post("/classify", json={"input": "a"})
        assert (classify.status_code, classify.json()["error"]["code"]) == (400, "no_head")
        assert http.get("/nowhere").json()["error"]["code"] == "unknown_url"
        assert http.get("/v1/completions").json()["error"]["code"] == "method_not_allowed"
        assert http.get("/v1/models").json()["data"][0]["id"] == STARTER
        assert http.get("/ready").json()["can"] == ["completions", "embeddings"]


@pytest.mark.parametrize("announced", [True, False])
def test_ten_megabytes_are_refused_at_once(servers: Running, announced: bool) -> None:
    body = json.dumps({"prompt": "x" * 10_000_000}).encode()
    pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
    with raw(servers.starter, None) as http:
        answer = http.post("/v1/completions", content=body if announced else pieces)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        assert http.get("/health").status_code == 200


def test_a_body_that_is_too_long_is_not_waited_for(servers: Running) -> None:
    with socket.create_connection((servers.starter.host, servers.starter.port), timeout=10) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n{")
        assert b" 413 " in connection.recv(4096)


def test_without_the_key_nothing_is_answered(servers: Running) -> None:
    for key in (None, "other", KEY[:-1], "鑰"):
        headers = {} if key is None else {"Authorization": f"Bearer {key}".encode()}
        for path in ("/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/classify", "/nowhere"):
            answer = httpx.post(servers.tiny.address + path, json={"prompt": "a"}, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert httpx.get(f"{servers.tiny.address}/v1/models").status_code == 401
    assert httpx.get(f"{servers.tiny.address}/health").status_code == 200
    with pytest.raises(openai.AuthenticationError):
        client(servers.tiny, "other").completions.create(model="x", prompt="a")


def test_the_key_is_in_no_file(servers: Running) -> None:
    folder = process.folder_of(servers.tiny.id)
    for path in folder.iterdir():
        assert KEY not in path.read_text(encoding="utf-8"), path
        if path.suffix == ".json":
            assert path.stat().st_mode & 0o777 == 0o600


def test_an_answer_that_takes_too_long_is_given_up(servers: Running) -> None:
    asked = {"prompt": "a", "max_tokens": LONG - 10}
    with raw(servers.hasty, None) as http:
        answer = http.post("/v1/completions", json=asked)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        streamed = http.post("/v1/completions", json={**asked, "stream": True}).text
    assert json.loads(streamed.strip().splitlines()[-1].removeprefix("data: "))["error"]["code"] == "timeout"
    wait_for(lambda: figure(servers.hasty, "llmkit_running") == 0)


def test_who_hangs_up_frees_the_row(servers: Running) -> None:
    tiny = servers.tiny
    asked = {"prompt": "a", "max_tokens": LONG - 10}
    before = figure(tiny, "llmkit_tokens_total", kind="completion")
    with raw(tiny) as http:
        with http.stream("POST", "/v1/completions", json={**asked, "stream": True}) as answer:
            lines = answer.iter_lines()  # let go, it would close the connection
            next(lines)
            wait_for(lambda: figure(tiny, "llmkit_running") == 1)
        wait_for(lambda: figure(tiny, "llmkit_running") == 0)  # in mid-stream
        with pytest.raises(httpx.ReadTimeout):
            http.post("/v1/completions", json=asked, timeout=0.3)
        wait_for(lambda: figure(tiny, "llmkit_running") == 0)  # before anything was sent
    assert figure(tiny, "llmkit_tokens_total", kind="completion") - before < LONG
    assert client(tiny).completions.create(model=tiny.box, prompt="a", max_tokens=2).usage is not None


def test_a_full_queue_says_when_to_come_back(servers: Running) -> None:
    tiny = servers.tiny
    asked = {"prompt": "a", "max_tokens": LONG - 10, "stream": True}
    with (
        raw(tiny) as http,
        raw(tiny) as second,
        http.stream("POST", "/v1/completions", json=asked) as first,
        second.stream("POST", "/v1/completions", json=asked) as other,
    ):
        kept = first.iter_lines(), other.iter_lines()
        for lines in kept:
            next(lines)
        with socket.create_connection((tiny.host, tiny.port)) as waiting:  # the third waits in the queue
            body = json.dumps({**asked, "stream": False}).encode()
            head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            waiting.sendall(
                f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            wait_for(lambda: figure(tiny, "llmkit_queue") == 1)
            refused = httpx.post(
                f"{tiny.address}/v1/completions",
                json={**asked, "stream": False},
                headers={"Authorization": f"Bearer {KEY}"},
            )
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
            assert int(refused.headers["Retry-After"]) >= 1
        wait_for(lambda: figure(tiny, "llmkit_queue") == 0)  # it has hung up
    wait_for(lambda: figure(tiny, "llmkit_running") == 0)


def test_many_at_once_come_out_as_if_alone(servers: Running) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{servers.starter.address}/v1", api_key="x") as http:
            asked = [
                http.completions.create(model=STARTER, prompt=f"{PROMPT} {n}", max_tokens=16, temperature=0)
                for n in range(8)
            ]
            return [answer.choices[0].text for answer in await asyncio.gather(*asked)]

    alone = [
        client(servers.starter).completions.create(model=STARTER, prompt=f"{PROMPT} {n}", max_tokens=16, temperature=0)
        for n in range(8)
    ]
    assert asyncio.run(ask()) == [one.choices[0].text for one in alone]


def test_metrics_add_up(servers: Running) -> None:
    before = figure(servers.starter, "llmkit_requests_total", endpoint="/v1/completions", status="200")
    timed = figure(servers.starter, "llmkit_request_seconds_count", endpoint="/v1/completions")
    client(servers.starter).completions.create(model=STARTER, prompt="a", max_tokens=2)
    list(client(servers.starter).completions.create(model=STARTER, prompt="a", max_tokens=2, stream=True))
    wait_for(
        lambda: figure(servers.starter, "llmkit_requests_total", endpoint="/v1/completions", status="200") == before + 2
    )
    assert figure(servers.starter, "llmkit_request_seconds_count", endpoint="/v1/completions") == timed + 2
    httpx.get(f"{servers.starter.address}/{time.time()}")  # names from outside make no new series
    assert figure(servers.starter, "llmkit_requests_total", endpoint="other", status="404") >= 1


def test_the_log_names_what_was_asked_and_when(servers: Running) -> None:
    assert "POST /v1/completions" in process.log(servers.starter.id)


def test_embeddings_are_the_reference_models_mean_state(servers: Running) -> None:
    texts = ["a good film", "這本書"]
    found = client(servers.starter).embeddings.create(model=STARTER, input=texts)
    box = open_box(STARTER)
    body = transformers.AutoModel.from_pretrained(box.folder, local_files_only=True, dtype=torch.float32)
    for text, one in zip(texts, found.data, strict=True):
        with torch.no_grad():
            mean = body(torch.tensor([box.tokenizer.encode(text).ids])).last_hidden_state[0].mean(0)
        assert torch.allclose(torch.tensor(one.embedding), mean / mean.norm(), atol=1e-5)


def test_files_of_a_deployment_are_gone_when_it_is_forgotten(servers: Running, tmp_path: Path) -> None:
    with pytest.raises(process.ServeError) as refused:
        process.forget(servers.starter.id)
    assert refused.value.code == "deployment_active"
