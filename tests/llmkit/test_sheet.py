"""The sheet: told from real jobs' records, on one page of paper, as a card that YAML reads, as a parcel that opens."""

from __future__ import annotations

import base64
import json
import re
import zipfile
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM

from llmkit import jobs, shelf
from llmkit.jobs import store
from llmkit.sheet import history, parcel
from llmkit.sheet.model_card import model_card
from llmkit.sheet.paper import Line, pdf
from llmkit.shelf import made
from llmkit.tune.adapter_job import NOTE, adapters
from tests.llmkit.random_box import random_box


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMKIT_JOBS", str(tmp_path / "jobs"))
    return tmp_path


@pytest.fixture
def box_id(tmp_path: Path) -> str:
    return f"folder:{random_box(tmp_path / 'box', 'gpt2', seed=3)}"


def record(kind: str, settings: dict[str, object], result: object, *, at: float, state: str = "done") -> None:
    """Write down a job as its worker does."""
    with store.database(make=True) as connection:
        connection.execute(
            "INSERT INTO jobs (id, kind, settings, state, place, created_at, started_at, ended_at, result, made_with)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (f"{kind}-{int(at):016x}", kind, json.dumps(settings), state, int(at), at, at, at, json.dumps(result),
             '{"device": "cpu"}'),
        )  # fmt: skip


def child_of(parent: str, name: str) -> str:
    folder = shelf.locate(parent)
    assert folder is not None

    def build(to: Path) -> None:
        for path in folder.iterdir():
            if path.is_file():
                (to / path.name).write_bytes(path.read_bytes())

    return made.put(name, build, tuned_from=parent)


def adapter_of(box: str, name: str) -> Path:
    """A folder as an adapter's training leaves it; what is in its files is not looked at here."""
    folder = adapters() / name
    folder.mkdir(parents=True)
    (folder / NOTE).write_text(json.dumps({"box_id": box, "made_at": 1.0}))
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(name.encode())
    return folder


def tuned(box: str, makes: str | None, *, learning: int = 10, total: int = 1000) -> dict[str, object]:
    return {
        "step": 5, "seconds": 2.0, "learning": learning, "total": total, "box": makes,
        "test": {"n": 40, "before": {"accuracy": 0.5}, "after": {"accuracy": 0.9}},
        "rows": {"train": 100, "validation": 20, "test": 40},
    }  # fmt: skip


def test_a_box_alone_has_one_stage_counted_from_its_files(box_id: str) -> None:
    (stage,) = history.history(box_id)
    folder = shelf.locate(box_id)
    assert folder is not None
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert stage.figures["parameters"] == sum(tensor.numel() for tensor in model.parameters())
    assert (stage.kind, stage.figures["family"]) == ("box", "gpt2")
    assert history.trained_share((stage,)) == 0.0


def test_the_line_of_parents_is_followed_and_what_made_another_box_is_left_out(box_id: str) -> None:
    child, other = child_of(box_id, "child"), child_of(box_id, "other")
    settings = {"box_id": box_id, "data": "reviews-en", "config": {"method": "lora"}}
    record("finetune", settings, tuned(box_id, child), at=100)
    record("finetune", {**settings, "seed": 2}, tuned(box_id, other, learning=999), at=200)
    record("finetune", {**settings, "seed": 3}, tuned(box_id, None), at=300)
    record("finetune", {**settings, "seed": 4}, tuned(box_id, child), at=400, state="failed")
    record("fit_box", {"box_id": box_id}, {"whole": {"delta": 3e-6, "limit": 1e-4}}, at=50)
    record("fit_box", {"box_id": "gpt2-starter"}, {"whole": {"delta": 9.0, "limit": 1e-4}}, at=60)
    record("pretrain", {"source": "x"}, {"box": "made:else", "text": {}, "step": 1, "seconds": 1, "best_loss": 1,
                                         "tokens_per_second": 1}, at=70)  # fmt: skip
    assert history.parents(child) == (box_id, child)
    stages = history.history(child)
    assert [stage.kind for stage in stages] == ["box", "fit", "data", "finetune"]
    found = {stage.kind: stage for stage in stages}
    assert found["fit"].figures["delta"] == 3e-6
    assert found["finetune"].makes == child
    assert (found["finetune"].figures["accuracy_before"], found["finetune"].figures["accuracy"]) == (0.5, 0.9)
    assert found["data"].figures == {"data": "reviews-en", "train": 100, "validation": 20, "test": 40}
    assert history.trained_share(stages) == pytest.approx(0.01)
    assert history.trained_share(history.history(other)) == pytest.approx(0.999)


def test_the_last_bench_counts_and_forms_that_did_not_run_do_not(box_id: str) -> None:
    def row(form: str, size: int | None, speed: float, **more: object) -> dict[str, object]:
        spread = {"median": speed, "low": speed, "high": speed, "n": 3}
        plain = {"missing": None, "perplexity": {"median": 80.0}, "decode_tokens_s": {"1": spread}}
        return {"form": form, "size_bytes": size, "prefill_tokens_s": {}, **plain, **more}

    rows = [row("torch-float32", 100, 5.0), row("quanto-int8", 40, 2.0), row("onnx-int4", 60, 9.0)]
    record("bench", {"box": box_id}, {"rows": [row("torch-float32", 1, 1.0)]}, at=10)
    record("bench", {"box": box_id, "n": 2}, {"rows": [*rows, row("nf4", 1, 0.0, missing={"code": "x"})]}, at=20)
    bench = history.history(box_id)[-1]
    assert bench.figures == {
        "forms": 3, "size_bytes": 100, "smallest": "quanto-int8", "smallest_bytes": 40, "quickest": "onnx-int4",
        "tokens_s": 5.0, "quickest_tokens_s": 9.0, "perplexity": 80.0,
    }  # fmt: skip


def test_an_exported_graph_is_a_form(box_id: str) -> None:
    result = {"files": {"model.onnx": 900, "model.onnx.data": 100}, "made_s": 2.5,
              "max_delta": {"whole": 3e-5, "cached": 4e-5}}  # fmt: skip
    record("onnx", {"box": box_id, "fingerprint": "x"}, result, at=5)
    stage = history.history(box_id)[-1]
    assert (stage.kind, dict(stage.made_with)) == ("form", {"device": "cpu"})
    assert stage.figures == {"form": "onnx-float32", "size_bytes": 1000, "seconds": 2.5, "delta": 3e-5}


def test_what_pruning_took_is_told(box_id: str) -> None:
    child = child_of(box_id, "pruned")
    point = {"loss": 4.5, "parameters": 900}
    others = {name: {**point, "loss": loss} for name, loss in (("original", 4.0), ("before", 5.0))}
    result = {"share": 0.5, **others, "after": point, "box": child}
    record("prune_recover", {"box": box_id, "kind": "heads"}, result, at=5)
    stage = history.history(child)[-1]
    assert (stage.kind, stage.makes) == ("prune", child)
    assert stage.figures == {
        "what": "heads", "share": 0.5, "loss_whole": 4.0, "loss_before": 5.0, "loss": 4.5, "parameters": 900,
    }  # fmt: skip


def test_a_ring_of_manifests_ends(box_id: str) -> None:
    first = child_of(box_id, "a")
    child_of(first, "b")
    folder = shelf.locate("made:a")
    assert folder is not None
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "tuned_from": "made:b"}))
    assert set(history.parents("made:b")) == {"made:a", "made:b"}


LINES = [
    Line(
        number="2-5",
        title="微調 Fine-tuned 😀 <b>",
        facts=[("正確率", "90.2 %"), ("a|b", "x" * 400)],
        when="2026-01-01",
    ),
    Line(number="", title="\x00control\ntitle", facts=[]),
]


@pytest.mark.parametrize("lines", [[], LINES, LINES * 20], ids=["none", "two", "forty"])
def test_paper_is_one_page_of_a4(lines: list[Line]) -> None:
    made_pdf = pdf("箱子 " + "長" * 200, "sub", lines, foot="foot")
    assert made_pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", made_pdf)) == 1
    assert b"595.2756 841.8898" in made_pdf
    assert b"MSung-Light" in made_pdf
    assert pdf("箱子 " + "長" * 200, "sub", lines, foot="foot") == made_pdf


def test_the_card_is_yaml_and_markup_stays_text() -> None:
    card = model_card(
        'na"me\n---\nlicense: evil',
        LINES,
        licence="Apache-2.0",
        languages=("en", "zh-TW"),
        family="bert",
        base="hub:a/b: c",
        about="<script>alert(1)</script>",
    )
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "license": "apache-2.0", "language": ["en", "zh"], "library_name": "transformers",
        "pipeline_tag": "feature-extraction", "tags": ["bert", "teaching"], "base_model": "hub:a/b: c",
    }  # fmt: skip
    assert "license: evil" not in body.splitlines()
    assert "<script>" not in body.replace("\\<", "")
    assert "90.2 %" in body


def test_the_parcel_opens_and_holds_the_box_byte_for_byte(box_id: str, tmp_path: Path) -> None:
    folder = shelf.locate(box_id)
    assert folder is not None
    (folder / "outside").symlink_to("/etc/hostname")
    mine, others = (adapter_of(box, name) for box, name in ((box_id, "mine"), ("gpt2-starter", "others")))
    paper = pdf("t", "s", [], foot="f")
    settings = {
        "box_id": box_id, "fingerprint": shelf.fingerprint(box_id), "card": "# card 卡",
        "paper": base64.b64encode(paper).decode(),
    }  # fmt: skip
    (tmp_path / "out").mkdir()
    report = jobs.DirectReport(tmp_path / "out")
    result = parcel.run(settings, report)
    with zipfile.ZipFile(report.folder / parcel.FILE) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert result == {"size_bytes": (report.folder / parcel.FILE).stat().st_size, "files": len(names)}
        top = parcel.name_of(box_id)
        assert all(name.startswith(f"{top}/") and ".." not in name for name in names)
        assert opened.read(f"{top}/box/model.safetensors") == (folder / "model.safetensors").read_bytes()
        assert opened.read(f"{top}/README.md").decode() == "# card 卡"
        assert opened.read(f"{top}/assembly-sheet.pdf") == paper
        assert f"{top}/server/Dockerfile" in names
        assert opened.read(f"{top}/adapters/{mine.name}/adapter_model.safetensors") == b"mine"
        assert not [name for name in names if others.name in name]
        assert f"{top}/box/outside" not in names
    (folder / "config.json").write_text("{}")
    with pytest.raises(shelf.ShelfError, match="box_changed"):
        parcel.run(settings, report)
