"""What a box went through on this machine: the jobs that made and measured it and its parents, and its servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmkit import jobs, shelf
from llmkit.compress.onnx_engine import PLAIN
from llmkit.jobs import Job
from llmkit.serve import process
from llmkit.serve.deployment import Deployment
from llmkit.shelf.store import read_manifest

Kind = Literal[
    "box", "fit", "pretrain", "data", "classify", "finetune", "adapter", "prune", "quantise", "form", "bench", "deploy"
]  # fmt: skip
Number = float | int | str
PARENTS = ("tuned_from", "made_from")
"""What a made box's manifest calls the box that it was made from."""

MOST_GENERATIONS = 20


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One thing that was done.

    Args:
        kind: what.
        at: when it was done; seconds since 1970, 0 where nobody wrote it down.
        box: of which box.
        figures: name → what was measured or counted, as the job says it; a share is 0 to 1, sizes are bytes.
        made_with: "device", "date", "versions" of the process that measured; empty where nothing was measured.
        makes: the box that it put on the shelf; empty where none.
    """

    kind: Kind
    at: float
    box: str
    figures: Mapping[str, Number]
    made_with: Mapping[str, str] = field(default_factory=dict)
    makes: str = ""


KINDS: tuple[Kind, ...] = (
    "box", "fit", "pretrain", "data", "classify", "finetune", "adapter", "prune", "quantise", "form", "bench", "deploy",
)  # fmt: skip
"""In the order of the guide."""


def parents(box_id: str) -> tuple[str, ...]:
    """Return a box and what it was made from, the oldest first: `("minilm-l6", "made:minilm-l6-lora")`.

    Raises:
        ShelfError: no box can be called so.
    """
    chain = [box_id]
    while len(chain) < MOST_GENERATIONS:
        folder = shelf.locate(chain[-1])
        facts = {} if folder is None else read_manifest(folder)
        older = next((str(facts[name]) for name in PARENTS if facts.get(name)), None)
        if older is None or older in chain:
            break
        chain.append(older)
    return tuple(reversed(chain))


def history(box_id: str) -> tuple[Stage, ...]:
    """Return what was done with a box and its parents, in the order of the guide; of each kind the last.

    Raises:
        ShelfError: no box can be called so. JobError: the list of jobs cannot be read.
    """
    chain = parents(box_id)
    found: dict[Kind, Stage] = {"box": Stage(kind="box", at=0.0, box=chain[0], figures=_weights(chain[0]))}
    for job in sorted(jobs.all_jobs(), key=lambda one: one.ended_at or 0.0):
        reader = READERS.get(job.kind)
        if job.state != "done" or reader is None or not _is_about(job, chain):
            continue
        stage = reader(jobs.get(job.id))
        if stage is None or (stage.makes and stage.makes not in chain):
            continue  # it made another box
        found[stage.kind] = stage
        if stage.kind == "finetune":
            found["data"] = _data(job, stage)
    for server in process.deployments():
        if server.box in chain and ("deploy" not in found or server.started >= found["deploy"].at):
            found["deploy"] = _deployed(server)
    return tuple(found[kind] for kind in KINDS if kind in found)


def trained_share(stages: tuple[Stage, ...]) -> float:
    """Return which share of the machine's weights was learned on this machine, 0 to 1."""
    share = 0.0
    for stage in stages:
        if stage.kind == "pretrain":
            share = 1.0
        elif stage.kind in ("finetune", "adapter") and stage.figures.get("total"):
            share = max(share, float(stage.figures["learning"]) / float(stage.figures["total"]))
    return share


def _is_about(job: Job, chain: tuple[str, ...]) -> bool:
    """Whether a job is about one of the boxes; one that made a box from nothing names none, and is looked into."""
    box = job.settings.get("box_id", job.settings.get("box"))
    return box in chain if box is not None else job.kind == "pretrain"


def _weights(box_id: str) -> dict[str, Number]:
    from llmkit.reference import BoxError
    from llmkit.tune.box_facts import read_facts

    try:
        facts = read_facts(box_id)
    except BoxError:
        return {}
    return {
        "family": facts.family,
        "layers": facts.n_layers,
        "width": facts.d_model,
        "parameters": facts.parameters,
        "size_bytes": facts.size_bytes,
    }


def _stage(kind: Kind, job: Job, figures: Mapping[str, Number | None], *, makes: object = "") -> Stage:
    return Stage(
        kind=kind,
        at=job.ended_at or 0.0,
        box=str(job.settings.get("box_id", job.settings.get("box", ""))),
        figures={name: value for name, value in figures.items() if value is not None},
        made_with=job.made_with,
        makes=str(makes or ""),
    )


def _fit(job: Job) -> Stage | None:
    whole = job.result.get("whole")
    return whole and _stage("fit", job, {"delta": whole["delta"], "limit": whole["limit"]})


def _pretrain(job: Job) -> Stage | None:
    result = job.result
    figures = {
        "text": result["text"].get("name"),
        "steps": result["step"],
        "seconds": result["seconds"],
        "loss": result["best_loss"],
        "loss_before": result.get("untrained_loss"),
        "tokens_s": result["tokens_per_second"],
    }
    return _stage("pretrain", job, figures, makes=result["box"]) if result.get("box") else None


def _finetune(job: Job) -> Stage | None:
    result, test = job.result, job.result["test"]
    figures = {
        "method": job.settings["config"].get("method"),
        "steps": result["step"],
        "seconds": result["seconds"],
        "learning": result["learning"],
        "total": result["total"],
        "accuracy_before": (test.get("before") or {}).get("accuracy"),
        "accuracy": (test.get("after") or {}).get("accuracy"),
        "rows": test["n"],
    }
    return _stage("finetune", job, figures, makes=result["box"]) if result.get("box") else None


def _data(job: Job, stage: Stage) -> Stage:
    rows = jobs.get(job.id).result["rows"]
    counts = {name: rows.get(name) for name in ("train", "validation", "test")}
    figures = {"data": str(job.settings["data"])[:60], **{name: n for name, n in counts.items() if n is not None}}
    return Stage(kind="data", at=stage.at, box=stage.box, figures=figures)


def _adapter(job: Job) -> Stage | None:
    result = job.result
    names = ("learning", "total", "rows", "size_bytes")
    figures = {name: result.get(name) for name in names} | {"loss_before": result["before"], "loss": result["after"]}
    return _stage("adapter", job, figures)


def _prune(job: Job) -> Stage | None:
    result = job.result
    figures = {
        "what": job.settings["kind"],
        "share": result["share"],
        "loss_whole": result["original"]["loss"],
        "loss_before": result["before"]["loss"],
        "loss": result["after"]["loss"],
        "parameters": result["after"]["parameters"],
    }
    return _stage("prune", job, figures, makes=result["box"])


def _quantise(job: Job) -> Stage | None:
    return _stage("quantise", job, {"form": job.settings["form"]}, makes=job.result["box"])


def _form(job: Job) -> Stage | None:
    result = job.result
    return _stage("form", job, {name: result[name] for name in ("form", "size_bytes", "seconds")})


def _onnx(job: Job) -> Stage | None:
    result = job.result
    figures = {
        "form": PLAIN,
        "size_bytes": sum(result["files"].values()),
        "seconds": result["made_s"],
        "delta": result["max_delta"]["whole"],
    }
    return _stage("form", job, figures)


def _bench(job: Job) -> Stage | None:
    rows = [row for row in job.result["rows"] if row["size_bytes"] and not row["missing"]]
    if not rows:
        return None
    smallest, quickest = min(rows, key=lambda row: row["size_bytes"]), max(rows, key=_speed)
    original = rows[0]
    figures = {
        "forms": len(rows),
        "size_bytes": original["size_bytes"],
        "smallest": smallest["form"],
        "smallest_bytes": smallest["size_bytes"],
        "quickest": quickest["form"],
        "tokens_s": _speed(original) or None,
        "quickest_tokens_s": _speed(quickest) or None,
        "perplexity": (original["perplexity"] or {}).get("median"),
    }
    return _stage("bench", job, figures)


def _speed(row: Mapping[str, Any]) -> float:
    """Tokens a second, one text at a time: written where the box writes, else read."""
    one = (row["decode_tokens_s"] or {}).get("1") or (row["prefill_tokens_s"] or {}).get("1")
    return float(one["median"]) if one else 0.0


def _classify(job: Job) -> Stage | None:
    ways = {name: way["scores"][way["place"]] for name, way in job.result["ways"].items()}
    if not ways:
        return None
    best = max(ways, key=lambda name: ways[name]["accuracy"])
    return _stage("classify", job, {"way": best, "accuracy": ways[best]["accuracy"], "rows": ways[best]["n"]})


def _deployed(server: Deployment) -> Stage:
    figures = {"form": server.form, "address": server.address, "state": server.state}
    return Stage(kind="deploy", at=server.started, box=server.box, figures=figures)


READERS: Mapping[str, Callable[[Job], Stage | None]] = {
    "adapter_train": _adapter,
    "bench": _bench,
    "classify": _classify,
    "finetune": _finetune,
    "fit_box": _fit,
    "form": _form,
    "onnx": _onnx,
    "pretrain": _pretrain,
    "prune_recover": _prune,
    "shelve_form": _quantise,
}
"""Kind of job → what of it stands on the sheet."""
