"""NVIDIA's real Triton server on our repositories, asked by our client and by NVIDIA's own; and what should not work.

The server's environment (about 110 MB to fetch) is made once in LLMKIT_HOME; where no source answers, or the machine
cannot run it, these tests are skipped.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import onnxruntime
import psutil
import pytest
import torch
import transformers
import tritonclient.http as triton

from llmkit.compress import made
from llmkit.generate import decode
from llmkit.reference import open_box
from llmkit.serve import ask, kserve, process, smoke
from llmkit.serve.client import Client
from llmkit.serve.deployment import Deployment
from llmkit.serve.errors import ServeError
from llmkit.serve.nvidia import repository
from llmkit.serve.nvidia.server import SHARED_MEMORY
from llmkit.serve.request import Request, request_for
from tests.llmkit.random_box import random_box
from tests.llmkit.real_server import lend_tritonserver
from tests.llmkit.serve_boxes import LONG, long_llama, wait_for

ROOT = Path(__file__).parents[2]
STARTER, FORM = "gpt2-starter", "onnx-float32"
TEXTS = ("The movie was", "I", "It is one of the best films that I have seen, and", "這本書 🙂", "a b c", "Not")
TYPES = {"tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}

pytestmark = [pytest.mark.slow, pytest.mark.registry, pytest.mark.timeout(600)]


def silent(done: float, total: float, note: str = "") -> None:
    """Take no notice."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of the tests' own with the server's environment; forms are kept beside it."""
    place = tmp_path_factory.mktemp("nvidia")
    lend_tritonserver(place / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_HOME", str(place / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("LLMKIT_SERVE_GRACE_S", "2")
        yield place
        for one in process.deployments():
            process.stop(one.id)
        process.leave()
        assert not list(SHARED_MEMORY.glob("llmkit-*-onnx-*"))


@pytest.fixture(scope="module")
def boxes(home: Path) -> SimpleNamespace:
    """The bundled box, an encoder, and a decoder that never ends a text; each with its graph."""
    found = SimpleNamespace(
        starter=STARTER,
        encoder=f"folder:{random_box(home / 'bert', 'bert', seed=2)}",
        endless=long_llama(home / "llama", seed=2),
    )
    for box in vars(found).values():
        made.make(box, FORM, silent)
    return found


def is_ready(one: Deployment) -> bool:
    found = process.get(one.id)
    assert found.alive, process.log(one.id)[-2000:]
    return found.state == "ready"


def started(box: str, **settings: object) -> Deployment:
    one = process.start(box, FORM, engine="triton", **settings)  # type: ignore[arg-type]
    wait_for(lambda: is_ready(one), 90)
    return process.get(one.id)


@pytest.fixture(scope="module")
def servers(boxes: SimpleNamespace) -> SimpleNamespace:
    """A server for each: three at once."""
    return SimpleNamespace(**{name: started(box) for name, box in vars(boxes).items()})


def infer(one: Deployment, text: str, *, most: int | None = None, timeout_s: float = 60.0) -> object:
    return Client(one.address, timeout_s=timeout_s).send(
        Request(path=kserve.infer_path("box"), body=kserve.body(text, max_tokens=most))
    )


def nvidia(one: Deployment) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(one.address.partition("://")[2])


def asked_by_nvidia(one: Deployment, texts: tuple[str, ...], most: int | None = None) -> triton.InferResult:
    prompt = triton.InferInput("prompt", [len(texts), 1], "BYTES")
    prompt.set_data_from_numpy(np.array([[text.encode()] for text in texts], dtype=object))
    inputs = [prompt]
    if most is not None:
        inputs.append(triton.InferInput("max_tokens", [len(texts), 1], "INT32"))
        inputs[1].set_data_from_numpy(np.full((len(texts), 1), most, dtype=np.int32))
    return nvidia(one).infer("box", inputs)


def greedy(box_id: str, text: str, most: int) -> tuple[str, int, int]:
    box = open_box(box_id)
    ids = box.tokenizer.before + box.tokenizer.encode(text, specials=False).ids
    stops = {token.token_id for token in box.tokenizer.added if token.special}
    found = [step.token_id for step in decode.stream(box, ids, max_new_tokens=most, stop_ids=stops)]
    return box.tokenizer.decode(found), len(ids), len(found)


def test_texts_are_those_of_our_own_generation_alone_and_in_one_batch(servers: SimpleNamespace) -> None:
    one = servers.starter
    wanted = [greedy(STARTER, text, 12) for text in TEXTS]
    before = ask.figures(one)
    with ThreadPoolExecutor(len(TEXTS)) as pool:
        replies = list(pool.map(lambda text: infer(one, text, most=12), TEXTS))
    found = [(reply.text, reply.prompt_tokens, reply.completion_tokens) for reply in replies]
    assert found == wanted
    after = ask.figures(one)
    assert after["requests"] - before["requests"] == len(TEXTS)
    assert after["batches"] - before["batches"] <= len(TEXTS)
    theirs = asked_by_nvidia(one, TEXTS, most=12)
    assert [text.decode() for text in theirs.as_numpy("text").ravel()] == [text for text, _, _ in wanted]
    assert theirs.as_numpy("completion_tokens").ravel().tolist() == [n for _, _, n in wanted]
    usual = infer(one, TEXTS[0])
    assert usual.text.startswith(wanted[0][0])


def test_vectors_are_the_references(servers: SimpleNamespace, boxes: SimpleNamespace) -> None:
    encoder = transformers.AutoModel.from_pretrained(boxes.encoder.removeprefix("folder:"), local_files_only=True)
    tokenizer = open_box(boxes.encoder).tokenizer
    found = asked_by_nvidia(servers.encoder, TEXTS).as_numpy("embedding")
    for text, vector in zip(TEXTS, found, strict=True):
        with torch.no_grad():
            mean = encoder(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)
        reply = Client(servers.encoder.address).send(
            request_for("embeddings", text, model=servers.encoder.model, protocol="kserve")
        )
        np.testing.assert_allclose(reply.data["outputs"][0]["data"], vector, atol=1e-6)


@pytest.mark.parametrize("name", ["starter", "encoder"])
def test_the_server_reads_our_configuration_as_onnx_runtime_reads_the_graph(
    servers: SimpleNamespace, name: str
) -> None:
    one: Deployment = getattr(servers, name)
    client = nvidia(one)
    assert client.is_server_ready()
    assert client.is_model_ready("box")
    assert client.is_model_ready("graph")
    models = process.folder_of(one.id) / "models"
    session = onnxruntime.InferenceSession(str(models / "graph" / "1" / "model.onnx"))
    config = client.get_model_config("graph")
    assert config["backend"] == "python"  # this server has no other
    assert config["max_batch_size"] == 8
    for kind, tensors in (("input", session.get_inputs()), ("output", session.get_outputs())):
        wanted = [
            (one.name, TYPES[one.type], [size if isinstance(size, int) else -1 for size in one.shape[1:]])
            for one in tensors
        ]
        assert [(one["name"], one["data_type"], one["dims"]) for one in config[kind]] == wanted
    box = client.get_model_config("box")
    assert box["dynamic_batching"]["default_queue_policy"]["max_queue_size"] == repository.MAX_QUEUE
    limit = open_box(one.box).config.max_seq_len
    assert kserve.parameter(box, "context_length") == str(limit)


def test_the_bare_graph_gives_the_references_numbers(servers: SimpleNamespace, boxes: SimpleNamespace) -> None:
    ids = (np.arange(14, dtype=np.int64).reshape(2, 7) * 31 + 3) % 256
    inputs = []
    for name, values in (("input_ids", ids), ("attention_mask", np.ones_like(ids)), ("token_type_ids", 0 * ids)):
        inputs.append(triton.InferInput(name, list(ids.shape), "INT64"))
        inputs[-1].set_data_from_numpy(values)
    found = nvidia(servers.encoder).infer("graph", inputs).as_numpy("last_hidden_state")
    encoder = transformers.AutoModel.from_pretrained(boxes.encoder.removeprefix("folder:"), local_files_only=True)
    with torch.no_grad():
        np.testing.assert_allclose(found, encoder(torch.from_numpy(ids)).last_hidden_state.numpy(), atol=2e-4)
    wrong = triton.InferInput("input_ids", [1, 3], "INT64")
    wrong.set_data_from_numpy(np.full((1, 3), 10**6, dtype=np.int64))
    with pytest.raises(triton.InferenceServerException):
        nvidia(servers.encoder).infer("graph", [wrong])
    assert nvidia(servers.encoder).is_server_ready()


def test_what_it_can_do_and_the_smoke_test(servers: SimpleNamespace) -> None:
    assert ask.can(servers.starter) == ("completions",)
    assert ask.can(servers.encoder) == ("embeddings",)
    for one, limit in ((servers.starter, 256), (servers.encoder, 64)):
        checks = smoke.usual("box", can=ask.can(one), context_length=limit, has_key=False, protocol="kserve")
        done = smoke.run_all(checks, Client(one.address))
        assert [checked.check.name for checked in done if not checked.passed] == []
    opened = smoke.from_json(smoke.to_json(checks).encode())
    assert opened == checks


BAD = {
    "ten megabytes": (kserve.body("x" * 10_000_000), 400, "body_too_large"),
    "too long": (kserve.body("word " * 3000), 400, "context_length_exceeded"),
    "too much wanted": (kserve.body("a", max_tokens=10**6), 400, "context_length_exceeded"),
    "nothing wanted": (kserve.body("a", max_tokens=0), 400, "invalid_request"),
    "nothing": (kserve.body(""), 400, "prompt_empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_named(servers: SimpleNamespace, name: str) -> None:
    body, status, code = BAD[name]
    reply = Client(servers.starter.address).send(Request(path=kserve.infer_path("box"), body=body))
    assert (reply.status, reply.error) == (status, code)
    assert infer(servers.starter, "a", most=1).ok


def test_what_triton_itself_refuses(servers: SimpleNamespace) -> None:
    """Its own words, and the server lives on. It calls unreadable JSON its own mistake: newer ones say 400."""
    client = Client(servers.starter.address)
    for raw in ('{"inputs": ', "[1, 2]", '{"inputs": [{"name": "prompt"}]}', "[" * 100_000, "\ud800"):
        reply = client.send(Request(path=kserve.infer_path("box"), raw=raw))
        assert reply.status in (400, 500)
        assert reply.error in ("http_400", "http_500")
        assert reply.message
    reply = client.send(Request(path=kserve.infer_path("no-such-model"), body=kserve.body("a")))
    assert (reply.status, reply.error) == (404, "http_404")
    assert "no-such-model" in reply.message
    assert infer(servers.starter, "a", most=1).ok


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v2/repository/models/box/unload", None),
        ("POST", "/v2/repository/models/box/load", {"parameters": {}}),
        ("POST", "/v2/logging", {"log_verbose_level": 1}),
        ("POST", "/v2/trace/setting", {"trace_file": "/tmp/trace"}),
        ("GET", "/v2/systemsharedmemory/status", None),
    ],
)
def test_a_client_can_only_ask(servers: SimpleNamespace, method: str, path: str, body: object) -> None:
    answer = httpx.request(method, servers.starter.address + path, json=body)
    assert answer.status_code >= 400
    assert "restricted" in answer.json()["error"]


def test_who_hangs_up_does_not_stop_the_others(servers: SimpleNamespace) -> None:
    """This server writes the text to its end: the next one waits for it, and then is answered."""
    reply = infer(servers.endless, "a", most=LONG - 10, timeout_s=0.5)
    assert reply.error == "timeout"
    after = infer(servers.endless, "b", most=3, timeout_s=120)
    assert after.completion_tokens == 3
    wait_for(lambda: ask.figures(servers.endless)["queue"] == 0, 60)


def test_a_server_that_is_killed_from_outside_is_seen_and_leaves_nothing(boxes: SimpleNamespace) -> None:
    one, two = started(boxes.encoder), started(boxes.encoder)  # two at once, of one box
    assert one.port != two.port
    for victim, state in ((one, "failed"), (two, "dead")):
        family = psutil.Process(victim.pid).children(recursive=True)
        assert {member.name() for member in family} >= {"tritonserver"}
        # once Triton itself, once the process that watches it
        (family[0] if state == "failed" else psutil.Process(victim.pid)).kill()
        wait_for(lambda victim=victim, state=state: process.get(victim.id).state == state)
        wait_for(lambda family=family: not any(alive(member) for member in family))
    error = process.get(one.id).error
    assert error is not None
    assert "signal 9" in error["values"]["detail"]
    for victim in (one, two):
        assert process.stop(victim.id).state in ("failed", "stopped")
        process.forget(victim.id)
        assert not (process.deployments_home() / victim.id).exists()


def alive(member: psutil.Process) -> bool:
    try:
        return member.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_stop_and_forget_leave_nothing(boxes: SimpleNamespace) -> None:
    one = started(boxes.encoder)
    family = psutil.Process(one.pid).children(recursive=True)
    assert list(SHARED_MEMORY.glob(f"llmkit-{one.id[-40:]}-*"))
    assert process.stop(one.id).state == "stopped"
    assert not any(alive(member) for member in family)
    assert not list(SHARED_MEMORY.glob(f"llmkit-{one.id[-40:]}-*"))
    process.forget(one.id)
    with pytest.raises(ServeError):
        process.get(one.id)


APP = """
import sys
from llmkit.serve import process
print(process.start(sys.argv[1], "onnx-float32", engine="triton").id, flush=True)
sys.stdin.readline()
"""


def test_without_the_app_it_ends(boxes: SimpleNamespace) -> None:
    process.leave()  # this process attends no longer; deployments that stand already end, too, so it comes back below
    try:
        app = subprocess.Popen(
            [sys.executable, "-c", APP, boxes.encoder],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert app.stdout is not None
        one = process.get(app.stdout.readline().strip())
        wait_for(lambda: is_ready(one), 60)
        family = psutil.Process(one.pid).children(recursive=True)
        app.kill()
        app.wait()
        wait_for(lambda: process.get(one.id).state == "stopped")
        wait_for(lambda: not any(alive(member) for member in family))
    finally:
        process.attend()


def test_what_cannot_be_started_is_said_at_once(boxes: SimpleNamespace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for settings, code in (
            ({"port": port}, "port_in_use"),
            ({"host": "203.0.113.7"}, "host_unknown"),
            ({"key": "a"}, "key_unsupported"),
        ):
            with pytest.raises(ServeError) as refused:
                process.start(STARTER, FORM, engine="triton", **settings)
            assert refused.value.code == code
    for form, code in (("onnx-int8", "form_not_made"), ("torch-float32", "repository_unsupported")):
        with pytest.raises(ServeError) as refused:
            process.start(boxes.encoder, form, engine="triton")
        assert refused.value.code == code


def test_a_graph_that_is_broken_fails_with_its_reason(boxes: SimpleNamespace, home: Path) -> None:
    broken = f"folder:{random_box(home / 'broken', 'gpt2', seed=9)}"
    folder = made.make(broken, FORM, silent)
    size = (folder / "model.onnx").stat().st_size
    (folder / "model.onnx").write_bytes(b"x" * size)
    one = process.start(broken, FORM, engine="triton")
    wait_for(lambda: process.get(one.id).state == "failed", 60)
    error = process.get(one.id).error
    assert error is not None
    assert error["values"]["detail"]
    assert not (process.folder_of(one.id) / "models").exists()  # nothing half-written
    process.forget(one.id)


def test_the_command_serves_until_it_is_interrupted(boxes: SimpleNamespace) -> None:
    command = [sys.executable, "-m", "llmkit", "serve", STARTER, "--engine", "triton", "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        loading, ready = (json.loads(shell.stdout.readline()) for _ in range(2))
        assert [loading["state"], ready["state"]] == ["loading", "ready"]
        one = process.get(ready["id"])
        assert (one.engine, one.form, one.address) == ("triton", FORM, ready["address"])
        assert infer(one, TEXTS[0], most=4).ok
        shell.send_signal(2)
        assert json.loads(shell.stdout.read())["state"] == "stopped"
        assert shell.wait(20) == 0
