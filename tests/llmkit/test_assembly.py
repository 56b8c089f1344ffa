"""A plan on the bench: what is counted is what is built, what is refused cannot run, what is kept comes back."""

from __future__ import annotations

import contextlib
import io
import json
import random
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from llmkit.assembly import saved
from llmkit.assembly.build import build, numel, run
from llmkit.assembly.errors import PlanError
from llmkit.assembly.fitting import mended, misfits
from llmkit.assembly.plan import CHOICES, EMPTY, LIMITS, SLOTS, SWITCHES, Plan, from_config, from_dict, to_config
from llmkit.assembly.size import count_plan, parameters, require_room
from llmkit.jobs.report import DirectReport
from llmkit.parts import RopeScaling, assemble, bert, gpt2, llama

PRESETS = {"gpt2": gpt2(), "llama": llama(), "bert": bert()}
SCALED = llama(rope_scaling=RopeScaling(kind="yarn", factor=4.0, original_max_seq_len=64), max_seq_len=256)


def random_plan(dice: random.Random, *, fits: bool = True) -> Plan:
    """A small plan of any kind of parts; ``fits`` mends it."""
    values: dict[str, object] = {name: dice.choice(known) for name, known in CHOICES.items()}
    values |= {name: dice.random() < 0.5 for name in SWITCHES}
    plan = Plan(
        **values,  # type: ignore[arg-type]
        vocab_size=dice.randint(2, 60),
        d_model=dice.randint(1, 40),
        n_layers=dice.randint(0, 3),
        n_heads=dice.randint(1, 9),
        n_kv_heads=dice.randint(1, 9),
        head_dim=dice.choice([None, None, 3, 4, 6]),
        d_mlp=dice.randint(1, 50),
        max_seq_len=dice.randint(1, 20),
        n_segments=dice.choice([0, 0, 2]),
    )
    return mended(plan) if fits else plan


def plans(count: int, *, fits: bool = True) -> list[Plan]:
    dice = random.Random(7)
    return [random_plan(dice, fits=fits) for _ in range(count)]


def test_what_is_counted_is_what_is_built() -> None:
    for plan in plans(60):
        machine = assemble(to_config(plan))
        assert parameters(plan) == sum(weight.numel() for weight in machine.parameters()), plan
        assert sum(numel(plan).values()) == parameters(plan)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_counted_as_they_are_built(name: str) -> None:
    config = PRESETS[name]
    with torch.device("meta"):
        machine = assemble(config)
    assert parameters(from_config(config)) == sum(weight.numel() for weight in machine.parameters())


def test_work_is_what_torch_counts() -> None:
    for plan in plans(12):
        machine = assemble(to_config(plan)).eval()
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            machine(torch.zeros(1, 1, dtype=torch.long), tap=lambda _name, value: value)
        assert sum(row.places * row.flops for row in count_plan(plan)) == counter.get_total_flops(), plan


def test_parts_that_are_missing_are_not_counted() -> None:
    assert count_plan(EMPTY) == ()
    plan = Plan()
    for slot in SLOTS:
        without = {row.name for row in count_plan(replace(plan, missing=(slot,)))}
        assert {row.name for row in count_plan(plan)} > without
    only = replace(plan, missing=tuple(slot for slot in SLOTS if slot != "attention"))
    assert {row.name for row in count_plan(only)} == {"attention", "add_1"}


def test_every_misfit_is_refused_and_can_be_mended() -> None:
    found = set()
    for plan in plans(400, fits=False):
        wrong = misfits(plan)
        found |= {one.code for one in wrong}
        if wrong:
            with pytest.raises(PlanError) as refused:
                to_config(plan)
            assert refused.value.code == "plan_misfit"
            for one in wrong:
                assert one.code not in [other.code for other in misfits(replace(plan, **one.mend))]
        whole = mended(plan)
        out = assemble(to_config(whole))(torch.zeros(1, 1, dtype=torch.long))
        assert out.shape[-1] == (whole.vocab_size if whole.unembedding else whole.d_model)
    assert found == {"heads", "kv_heads", "rotary", "alibi"}


def test_scaling_without_rotary_is_refused() -> None:
    plan = replace(from_config(SCALED), positions="learned")
    assert [one.code for one in misfits(plan)] == ["scaling"]
    assert mended(plan).rope_scaling is None
    dynamic = (("factor", 2.0), ("kind", "dynamic"), ("original_max_seq_len", 8))
    tiny = Plan(d_model=8, n_heads=4, positions="rotary", rope_scaling=dynamic)
    assert [one.code for one in misfits(tiny)] == ["dynamic"]


def test_why_alibi_both_ways_is_refused() -> None:
    """The reason given is true: a text read backwards gives the very same states, backwards."""
    config = replace(to_config(Plan(positions="alibi", unembedding=False)), causal=False)
    machine = assemble(config).double().eval()
    ids = torch.randint(0, 1000, (1, 9))
    with torch.inference_mode():
        assert torch.allclose(machine(ids), machine(ids.flip(1)).flip(1), atol=1e-12)


def test_plans_come_back_as_they_were() -> None:
    every = [*plans(100, fits=False), EMPTY, from_config(SCALED), *map(from_config, PRESETS.values())]
    for plan in every:
        link = saved.to_link(plan)
        assert saved.from_link(link) == plan
        assert len(link) < saved.MOST_LINK / 2
        assert all(char.isalnum() or char in "-._~" for char in link)
        assert saved.from_json(saved.to_json(saved.Saved(name="名", plan=plan)).encode()).plan == plan
        assert from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    for config in (*PRESETS.values(), SCALED):
        assert to_config(from_config(config)) == config


def executed(code: str) -> tuple[int, tuple[int, ...]]:
    """Run the printed Python and return what it prints: parameters and the output's shape."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "assembly.py", "exec"), {})
    count, _, shape = said.getvalue().partition(" ")
    return int(count.replace(",", "")), tuple(int(n) for n in shape.strip().strip("()").split(",") if n.strip())


def test_the_code_runs() -> None:
    for plan in [*plans(40), Plan(), replace(from_config(SCALED), n_layers=1, d_model=64, n_heads=4, n_kv_heads=2)]:
        config = to_config(plan)
        count, shape = executed(saved.to_python(plan))
        assert count == parameters(plan)
        assert shape == (1, min(8, plan.max_seq_len), plan.vocab_size if config.unembedding else plan.d_model)


@pytest.mark.parametrize("name", PRESETS)
def test_the_code_of_every_preset_runs(name: str) -> None:
    """On the meta device: every line runs, no gigabytes are made."""
    plan = from_config(PRESETS[name])
    with torch.device("meta"):
        count, shape = executed(saved.to_python(plan))
    assert count == parameters(plan)
    assert shape == (1, 8, plan.vocab_size)


def test_a_machine_of_a_trillion_parameters_is_counted_and_refused() -> None:
    plan = Plan(d_model=65_536, n_layers=24, n_heads=512, n_kv_heads=512, d_mlp=262_144, vocab_size=100_000)
    assert parameters(plan) > 10**12
    with pytest.raises(PlanError) as refused:
        require_room(plan, free_bytes=64 * 2**30)
    assert refused.value.code == "plan_too_big"
    assert refused.value.values["have"] == "64.0"
    assert float(str(refused.value.values["need"]).replace(",", "")) > 4_000
    with pytest.raises(PlanError):
        build(plan)


def test_a_fresh_machine_knows_nothing() -> None:
    found = build(Plan(vocab_size=500))
    assert found["built"] == found["counted"]
    assert found["shape"] == [1, 8, 500]
    assert abs(found["surprise"] - found["ignorance"]) < 0.3
    assert build(Plan(causal=False))["surprise"] is None


def test_the_job_builds_what_its_link_says(tmp_path) -> None:
    found = run({"plan": saved.to_link(Plan())}, DirectReport(tmp_path))
    assert found["built"] == parameters(Plan())
    with pytest.raises(PlanError) as refused:
        run({"plan": saved.to_link(EMPTY)}, DirectReport(tmp_path))
    assert refused.value.code == "plan_unfinished"


GOOD = {"format": saved.FORMAT, "version": 1, "name": "x", "plan": {}}


def with_plan(**plan: object) -> bytes:
    return json.dumps({**GOOD, "plan": plan}).encode()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "plan_json"),
        (b"{", "plan_json"),
        (b"\xff\xfe\x00", "plan_json"),
        (b"[" * 50_000, "plan_json"),
        (b'{"format": ' + b"9" * 5_000 + b"}", "plan_json"),
        (json.dumps({**GOOD, "name": "\ud800"}).encode(), "plan_json"),
        (b"[]", "plan_foreign"),
        (b"null", "plan_foreign"),
        (b'{"model_type": "gpt2", "n_embd": 768}', "plan_foreign"),
        (json.dumps({**GOOD, "version": 99}).encode(), "plan_foreign"),
        (json.dumps({**GOOD, "plan": []}).encode(), "plan_foreign"),
        (with_plan(colour="red"), "plan_foreign"),
        (with_plan(d_model=10**30), "plan_number"),
        (with_plan(d_model=-1), "plan_number"),
        (with_plan(d_model="64"), "plan_number"),
        (with_plan(d_model=True), "plan_number"),
        (with_plan(d_model=None), "plan_number"),
        (with_plan(d_model=1.5), "plan_number"),
        (with_plan(norm_eps=float("nan")), "plan_number"),
        (with_plan(rope_theta=float("inf")), "plan_number"),
        (with_plan(rope_theta=10**400), "plan_number"),
        (with_plan(positions="<script>"), "plan_choice"),
        (with_plan(positions=["learned"]), "plan_choice"),
        (with_plan(causal=1), "plan_choice"),
        (with_plan(missing="all"), "plan_choice"),
        (with_plan(missing=["roof"]), "plan_choice"),
        (with_plan(rope_scaling=[]), "plan_choice"),
        (with_plan(rope_scaling={"kind": "magic"}), "plan_choice"),
        (with_plan(rope_scaling={"kind": "linear", "factor": 2, "original_max_seq_len": 8, "x": 1}), "plan_foreign"),
        (b" " * (saved.MOST_BYTES + 1), "plan_big_file"),
    ],
    ids=range(30),
)
def test_bad_files_are_refused_with_the_reason(content: bytes, code: str) -> None:
    with pytest.raises(PlanError) as refused:
        saved.from_json(content)
    assert refused.value.code == code
    assert all(len(str(value)) < 100 for value in refused.value.values.values())


@pytest.mark.parametrize(
    "text", ["", "x", "1~2~3", "1" + "~9" * 40, "~" * 19, saved.to_link(Plan()) + "0", "9" * 5_000]
)
def test_nonsense_in_a_link_is_refused(text: str) -> None:
    with pytest.raises(PlanError):
        saved.from_link(text)


def test_a_link_with_one_piece_changed_is_read_or_refused() -> None:
    """Whatever stands in a piece: a plan within its limits, or a reason; never another error."""
    dice, pieces = random.Random(3), saved.to_link(from_config(SCALED)).split("~")
    for at in range(len(pieces)):
        for wild in ("", "-1", "0", "999999999", "1e309", "nan", "<b>", "學", "kind..x", "factor..", "٣", "True"):
            changed = [*pieces[:at], wild, *pieces[at + 1 :]]
            with contextlib.suppress(PlanError):
                plan = saved.from_link("~".join(changed))
                assert all(
                    low <= getattr(plan, name) <= high for name, (low, high) in LIMITS.items() if name != "head_dim"
                )
                mended(plan)
    for _ in range(300):
        text = "".join(dice.choice("01~.-abc9") for _ in range(dice.randint(0, 120)))
        with contextlib.suppress(PlanError):
            saved.from_link(text)
