"""The Triton server's environment, made of tiny packages from a fake index: whole, or not there at all."""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmkit.jobs import Cancelled
from llmkit.serve import process
from llmkit.serve.errors import ServeError
from llmkit.serve.nvidia import environment
from tests.llmkit.fakes.package_index import FakeIndex

PROGRAM = "#!/bin/sh\necho '  --model-repository <string>'\nexit 1\n"

pytestmark = pytest.mark.skipif(environment.why_not() is not None, reason=str(environment.why_not()))


def silent(done: float, total: float, note: str = "") -> None:
    """Take no notice."""


def wheel(name: str, version: str, files: dict[str, str]) -> bytes:
    """A wheel with these files, each of which may be run."""
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    described = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path, text in {**files, f"{about}/METADATA": metadata, f"{about}/WHEEL": described}.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
        archive.writestr(f"{about}/RECORD", "")
    return written.getvalue()


@pytest.fixture
def index(package_index: FakeIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeIndex:
    """An index that holds what the server's environment wants, as tiny packages."""
    for name, value in {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_CACHE_DIR": "1", "PIP_FIND_LINKS": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    place = "pytriton/tritonserver"
    stub = f"{place}/python_backend_stubs/{sys.version_info[0]}.{sys.version_info[1]}/triton_python_backend_stub"
    files = {f"{place}/bin/tritonserver": PROGRAM, f"{place}/backends/python/libtriton_python.so": "x", stub: "stub"}
    for pin in environment.PINS:
        name, _, version = pin.partition("==")
        module = name.replace("-", "_")
        held = files if name == "nvidia-pytriton" else {f"{module}/__init__.py": ""}
        package_index.put(name, f"{module}-{version}-py3-none-any.whl", wheel(module, version, held))
    return package_index


def nothing_left(home: Path) -> bool:
    return not [path for path in home.glob("*") if path.name.startswith((".tritonserver-", "tritonserver"))]


def test_it_is_made_once_and_broken_when_a_file_is_lost(index: FakeIndex, own_home: Path) -> None:
    assert environment.state() == "absent"
    with pytest.raises(ServeError) as missing:
        environment.require_ready()
    assert missing.value.code == "tritonserver_missing"
    said: list[str] = []
    lines: list[str] = []
    environment.make(lambda _done, _total, note="": said.append(note), lines.append)
    assert environment.state() == "ready"
    environment.require_ready()
    assert list(dict.fromkeys(said)) == ["venv", *environment.PINS, "trying"]
    assert any("nvidia" in line for line in lines)
    assert environment.program().is_file()
    assert (environment.backends() / "python" / "triton_python_backend_stub").read_text() == "stub"
    asked = len(index.asked)
    environment.make(silent)
    assert len(index.asked) == asked  # it is there already
    (environment.backends() / "python" / "triton_python_backend_stub").write_text("cut")
    assert environment.state() == "broken"
    with pytest.raises(ServeError):
        environment.require_ready()
    environment.remove()
    assert environment.state() == "absent"


def test_a_half_made_one_is_never_taken_for_ready(index: FakeIndex, own_home: Path) -> None:
    """Cancelled at each step; then what a killed process would have left is swept away."""
    for last in ("venv", environment.PINS[1]):

        def report(_done: float, _total: float, note: str = "", last: str = last) -> None:
            if note == last:
                raise Cancelled

        with pytest.raises(Cancelled):
            environment.make(report)
        assert environment.state() == "absent"
        assert nothing_left(own_home)
    (own_home / ".tritonserver-killed" / "bin").mkdir(parents=True)
    assert environment.state() == "absent"
    with pytest.raises(Cancelled):
        environment.make(report)
    assert nothing_left(own_home)


def full_disk(monkeypatch: pytest.MonkeyPatch, _index: FakeIndex) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=environment.ROOM_BYTES - 1))


def no_network(monkeypatch: pytest.MonkeyPatch, _index: FakeIndex) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")


def switched_off(monkeypatch: pytest.MonkeyPatch, _index: FakeIndex) -> None:
    monkeypatch.setenv("LLMKIT_OFFLINE", "1")


def full_in_between(monkeypatch: pytest.MonkeyPatch, _index: FakeIndex) -> None:
    said = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    monkeypatch.setattr(sys, "executable", script(_index, f"echo '{said}' >&2; exit 1"))


def broken_venv(monkeypatch: pytest.MonkeyPatch, _index: FakeIndex) -> None:
    monkeypatch.setattr(sys, "executable", script(_index, "echo 'Error: something else'; exit 1"))


def script(_index: FakeIndex, text: str) -> str:
    path = environment.home() / "python"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (full_disk, "disk_full"),
        (full_in_between, "disk_full"),
        (no_network, "tritonserver_unreachable"),
        (switched_off, "tritonserver_offline"),
        (broken_venv, "tritonserver_failed"),
    ],
)
def test_what_goes_wrong_is_named_and_leaves_nothing(
    index: FakeIndex,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[pytest.MonkeyPatch, FakeIndex], None],
    code: str,
) -> None:
    trouble(monkeypatch, index)
    with pytest.raises(ServeError) as caught:
        environment.make(silent)
    assert caught.value.code == code
    assert environment.state() == "absent"
    assert nothing_left(own_home)


def test_a_machine_that_cannot_run_it_is_told(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.platform, "machine", lambda: "arm64")
    assert environment.state() == "impossible"
    for refused in (environment.require_ready, lambda: environment.make(silent)):
        with pytest.raises(ServeError) as caught:
            refused()
        assert caught.value.code == "tritonserver_impossible"
        assert "arm64" in str(caught.value.values["detail"])


def test_a_deployment_wants_all_of_it_before_it_begins(own_home: Path) -> None:
    for key, code in (("a-key", "key_unsupported"), (None, "tritonserver_missing")):
        with pytest.raises(ServeError) as caught:
            process.start("gpt2-starter", "onnx-float32", engine="triton", key=key)
        assert caught.value.code == code
    assert process.deployments() == ()
