"""The doctor's facts against psutil, shutil, the packages' own metadata, and torch's own timer."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from torch.utils.benchmark import Timer

from llmkit import doctor, shelf

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "not" / "there" / "yet"
    monkeypatch.setenv("LLMKIT_HOME", str(home))
    monkeypatch.delenv("LLMKIT_OFFLINE", raising=False)
    doctor.find_gpus.cache_clear()
    return home


def test_facts_are_the_systems(own_home: Path, tmp_path: Path) -> None:
    found = doctor.describe_machine()
    assert found.memory_bytes == psutil.virtual_memory().total
    assert 0 < found.memory_free_bytes <= found.memory_bytes
    process = psutil.Process()  # macOS has no affinity
    assert found.cores == (len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count())
    assert found.disk_free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, abs=500e6)
    assert found.python == platform.python_version()
    assert found.system.startswith(platform.system())
    assert found.home == str(own_home)
    assert found.writable
    assert not found.offline
    assert not own_home.exists()  # looking leaves nothing behind


def test_offline_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_OFFLINE", "1")
    assert doctor.describe_machine().offline


def test_facts_need_no_torch() -> None:
    code = (
        "import sys; from llmkit import doctor; doctor.describe_machine(), doctor.packages(), doctor.boxes();"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


DRIVERS = {
    "two": ("echo 'NVIDIA H100 80GB HBM3, 81559'; echo 'NVIDIA A2, 15356'", (81559 * 2**20, 15356 * 2**20)),
    "no device": ("echo 'No devices were found'; exit 6", ()),
    "not known": ("echo 'NVIDIA GB10, [N/A]'", ()),
    "hangs": ("exec sleep 30", ()),
}


@pytest.mark.skipif(os.name == "nt", reason="the driver's stand-in is a shell script")
@pytest.mark.parametrize(("script", "memories"), DRIVERS.values(), ids=DRIVERS)
def test_the_driver_is_asked(
    script: str, memories: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "GPU_QUERY_S", 0.5)
    assert tuple(gpu.memory_bytes for gpu in doctor.find_gpus()) == memories
    doctor.find_gpus.cache_clear()


def test_packages_are_those_of_requirements() -> None:
    lines = [line for line in doctor.REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    found = doctor.packages()
    assert [f"{package.name}=={package.pinned}" for package in found] == lines
    for package in found:
        assert package.installed == importlib.metadata.version(package.name)


def test_what_is_missing_or_other_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text("# words\nno-such-package-at-all==1.0\ntorch==0.1  # old\ntyper[all]==9.9 ; python_version > '3'\n")
    monkeypatch.setattr(doctor, "REQUIREMENTS", pins)
    found = doctor.packages()
    assert [(package.name, package.pinned, package.fits) for package in found] == [
        ("no-such-package-at-all", "1.0", False),
        ("torch", "0.1", False),
        ("typer", "9.9", False),
    ]
    assert found[0].installed is None
    monkeypatch.setattr(doctor, "REQUIREMENTS", tmp_path / "nowhere.txt")
    assert doctor.packages() == ()


def test_a_local_build_of_the_pinned_version_fits() -> None:
    assert doctor.Package(name="torch", pinned="2.13.0", installed="2.13.0+cpu").fits
    assert not doctor.Package(name="torch", pinned="2.13.0", installed="2.13.01").fits


def test_boxes_are_the_shelfs() -> None:
    found = {box.id: box for box in doctor.boxes()}
    assert set(found) == set(shelf.catalogue())
    assert {box.id for box in found.values() if box.standard} == set(shelf.standard_kit())
    assert {box.id for box in found.values() if box.here} == {"gpt2-starter"}  # an empty home: the bundled one
    assert found["minilm-l6"].command == "python -m llmkit get minilm-l6"


def test_the_speed_is_what_torchs_own_timer_finds() -> None:
    found = doctor.measure()
    assert [speed.dtype for speed in found.speeds] == list(doctor.DTYPES)
    assert found.torch == torch.__version__
    assert found.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert found.seconds < 10  # about 1 s; a busy machine takes longer
    speed = found.speeds[0]
    assert speed.gflops is not None
    assert speed.runs >= doctor.FEWEST_RUNS
    matrix = torch.ones(speed.width, speed.width, device=found.device)
    timer = Timer("a @ a", globals={"a": matrix}, num_threads=torch.get_num_threads())
    reference = 2 * speed.width**3 / timer.blocked_autorange(min_run_time=0.2).median / 1e9
    assert reference / 4 < speed.gflops < reference * 4  # the same order: the machine is shared


def test_the_fastest_has_the_most() -> None:
    found = doctor.measure()
    assert max((speed.gflops or 0.0, speed.dtype) for speed in found.speeds)[1] == found.fastest


def test_a_dtype_that_cannot_be_multiplied_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    matmul = torch.matmul

    def refuse_half(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        if left.dtype is torch.float16:
            raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")
        return matmul(left, right)

    monkeypatch.setattr(torch, "matmul", refuse_half)
    found = {speed.dtype: speed for speed in doctor.measure().speeds}
    assert found["float16"].gflops is None
    assert found["float32"].gflops is not None
