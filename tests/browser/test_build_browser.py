"""Step 2-1 in a real browser: counts and refusals without the server equal the library's; choices, undo, links."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from lessons import words
from llmkit.assembly import saved
from llmkit.assembly.fitting import misfits, nearest_divisor
from llmkit.assembly.plan import EMPTY, LIMITS, Plan, from_config
from llmkit.assembly.size import count_plan, parameters
from llmkit.parts import bert, gpt2, llama
from tests.browser.conftest import wait_until_drawn
from tests.llmkit.test_assembly import SCALED, plans

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
BENCH = ".view.builder"
SCRIPT = Path(__file__).parents[2] / "components/js/build_count.js"
HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def script(browser: Browser) -> Page:
    """A blank page that knows the bench's formulas."""
    page = browser.new_page()
    page.add_script_tag(content=SCRIPT.read_text(encoding="utf-8"))
    return page


def test_the_browser_counts_as_the_library_does(script: Page) -> None:
    dice = random.Random(11)
    every = [
        *plans(150),
        *map(from_config, (gpt2(), bert(), llama(), SCALED)),
        EMPTY,
        Plan(d_model=65_536, n_layers=24),
    ]
    every += [Plan(missing=tuple(dice.sample(("embedding", "norm", "attention", "feed_forward"), 2))) for _ in range(8)]
    given = [plan.to_dict() for plan in every]
    rows = script.evaluate("plans => plans.map(countPlan)", given)
    for plan, found in zip(every, rows, strict=True):
        told = [
            {
                "name": row.name,
                "places": row.places,
                "parameters": row.parameters,
                "flops": row.flops,
                "flopsFull": row.flops_full,
                "kvNumbers": row.kv_numbers,
            }
            for row in count_plan(plan)
        ]
        assert found == told, plan
    sums = script.evaluate("plans => plans.map((plan) => totals(countPlan(plan)).parameters)", given)
    assert sums == [parameters(plan) for plan in every]


def test_the_browser_refuses_and_mends_as_the_library_does(script: Page) -> None:
    dice = random.Random(4)
    every = [
        Plan(
            d_model=dice.randint(1, 3_000),
            n_heads=dice.randint(1, 130),
            n_kv_heads=dice.randint(1, 40),
            head_dim=dice.choice([None, None, None, 4_095, 5, 2]),
            positions=dice.choice(["rotary", "rotary", "alibi", "learned"]),
            causal=dice.random() < 0.5,
            rope_scaling=dice.choice([None, (("factor", 2.0), ("kind", "dynamic"), ("original_max_seq_len", 8))]),
            missing=dice.choice([(), (), ("positions",), ("attention",)]),
        )
        for _ in range(500)
    ]
    limits = {name: list(bounds) for name, bounds in LIMITS.items()}
    found = script.evaluate(
        "([plans, limits]) => plans.map((plan) => misfits(plan, limits))", [[plan.to_dict() for plan in every], limits]
    )
    for plan, ours in zip(every, found, strict=True):
        told = [{"code": o.code, "slot": o.slot, "values": dict(o.values), "mend": dict(o.mend)} for o in misfits(plan)]
        assert ours == told, plan
    assert {one["code"] for row in found for one in row} == {
        "heads",
        "kv_heads",
        "rotary",
        "alibi",
        "scaling",
        "dynamic",
    }
    for number, wish in ((768, 10), (7, 3), (12, 12), (97, 50)):
        assert script.evaluate(f"nearestDivisor({number}, {wish}, 1024)") == nearest_divisor(number, wish, 1024)


def address_plan(page: Page) -> str:
    return parse_qs(urlsplit(page.url).query).get("plan", [""])[0]


def test_the_machine_grows_without_the_server(visit: Callable) -> None:
    page = visit(locale="en").open("build", lang="en", box=BOX)
    bench = page.locator(BENCH)
    assert bench.get_attribute("data-missing") == "embedding positions norm attention feed_forward unembedding"
    page.context.set_offline(True)
    boards = bench.locator("svg .part:not(.missing)")
    seen = [boards.count()]
    bench.locator("[data-card=embedding] button").click()
    for choice in ("positions.learned", "norm.layer", "attention.mha", "feed_forward.gelu", "unembedding.tied"):
        seen.append(boards.count())
        bench.locator(f"[data-choice='{choice}']").click()
    seen.append(boards.count())
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]
    assert bench.get_attribute("data-missing") == ""
    assert int(bench.get_attribute("data-parameters") or 0) == parameters(Plan())
    slider = bench.locator("input[type=range][name=n_layers]")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert int(bench.get_attribute("data-parameters") or 0) == parameters(Plan(n_layers=3))
    expect(slider).to_be_focused()
    bench.locator(".undo").click()
    assert int(bench.get_attribute("data-parameters") or 0) == parameters(Plan())
    bench.locator(".redo").click()
    assert int(bench.get_attribute("data-parameters") or 0) == parameters(Plan(n_layers=3))
    for _ in range(7):
        bench.locator(".undo").click()
    assert bench.get_attribute("data-missing") == "embedding positions norm attention feed_forward unembedding"
    expect(bench.locator(".undo")).to_be_disabled()
    page.context.set_offline(False)


def test_a_misfit_is_refused_and_mended(visit: Callable) -> None:
    say = words("en")
    page = visit(locale="en").open("build", lang="en", box=BOX, plan=saved.to_link(Plan()))
    bench = page.locator(BENCH)
    field = bench.locator("input[name=n_heads_number]")
    field.fill("7")
    field.press("Tab")
    assert bench.get_attribute("data-misfits") == "heads"
    expect(bench.locator("[data-misfit=heads]")).to_contain_text(
        say("build.bench.misfit.heads", d_model=64, n_heads=7, rest=1)
    )
    assert bench.get_attribute("data-parameters") == ""  # what does not fit is not counted
    assert bench.locator("svg .bad").count() > 0
    bench.locator(".mend").first.click()
    assert bench.get_attribute("data-misfits") == ""
    assert bench.locator("input[name=n_heads_number]").input_value() == "8"
    field = bench.locator("input[name=d_model_number]")
    field.fill("9" * 30)  # a number that no plan holds goes to the limit
    field.press("Tab")
    assert bench.locator("input[name=d_model_number]").input_value() == str(LIMITS["d_model"][1])
    expect(page.locator(".stAlert").first).to_contain_text("GiB")


def test_what_is_settled_is_in_the_address_and_comes_back(visit: Callable) -> None:
    page = visit(locale="en").open("build", lang="en", box=BOX)
    bench = page.locator(BENCH)
    bench.locator("[data-preset=llama]").click()
    page.wait_for_function("() => location.search.includes('plan=')")
    wait_until_drawn(page)
    assert saved.from_link(address_plan(page)) == from_config(llama())
    page.reload()
    wait_until_drawn(page)
    assert int(page.locator(BENCH).get_attribute("data-parameters") or 0) == parameters(from_config(llama()))
    page.locator(
        "[data-testid=stSidebarNav] a[href*=material], [data-testid=stSidebar] a[href*=material]"
    ).first.click()
    page.wait_for_url("**/material**")
    wait_until_drawn(page)
    page.go_back()
    page.wait_for_selector(BENCH)
    wait_until_drawn(page)
    assert int(page.locator(BENCH).get_attribute("data-parameters") or 0) == parameters(from_config(llama()))


def test_a_file_is_opened_and_can_be_undone(visit: Callable) -> None:
    page = visit(locale="zh-TW", width=375).open("build", lang="zh-TW", box=BOX, plan=saved.to_link(Plan()))
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    other = Plan(d_model=96, n_heads=6, n_kv_heads=2)
    content = saved.to_json(saved.Saved(name=HOSTILE, plan=other)).encode()
    page.locator(".st-key-build_open summary").click()
    page.locator(".st-key-build_file input[type=file]").set_input_files(
        {"name": "a.json", "mimeType": "application/json", "buffer": content}
    )
    bench = page.locator(BENCH)
    expect(bench).to_have_attribute("data-parameters", str(parameters(other)))
    expect(page.locator(".stAlert", has_text="<img").first).to_be_visible()
    bench.locator(".undo").click()
    expect(bench).to_have_attribute("data-parameters", str(parameters(Plan())))
    wait_until_drawn(page)
    assert not alerts
    overflow = (
        "() => { const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth - m.clientWidth; }"
    )
    assert page.evaluate(overflow) <= 0
    with page.expect_download() as found:
        page.locator(".st-key-build_save button").click()
    assert json.loads(Path(found.value.path()).read_text())["format"] == saved.FORMAT
