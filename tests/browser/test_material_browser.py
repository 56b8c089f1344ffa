"""Step 2-2 in a real browser: a file is brought, counted by a job, mended, split, kept and found after a reload."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lessons import words
from tests.browser.conftest import serve, wait_until_drawn

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a shelf of its own; nothing is written to the reader's."""
    folder = tmp_path_factory.mktemp("material")
    with serve(folder / "server.log", LLMKIT_HOME=str(folder / "home"), LLMKIT_OFFLINE="1") as address:
        yield address
    assert "Please replace" not in (folder / "server.log").read_text()


def bring(page: Page, say, path: Path) -> None:
    page.get_by_text(say("material.from.file"), exact=True).click()
    page.locator("[data-testid=stFileUploader] input[type=file]").set_input_files(path)


def test_from_a_file_to_the_shelf(visit, address: str, tmp_path: Path) -> None:
    say = words("en")
    rows = [f"review number {at} of a long and winding film,{'good' if at % 2 else 'bad'}" for at in range(4000)]
    path = tmp_path / "mine.csv"
    path.write_text("text,label\n" + "\n".join([*rows, *rows[:7], f'"{HOSTILE}",good']), encoding="utf-8")
    window = visit(locale="en", address=address)
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("material", lang="en", box=BOX)
    bring(page, say, path)
    expect(page.get_by_text("mine.csv · csv · 4,008 rows × 2 columns")).to_be_visible(timeout=30_000)
    page.locator(".st-key-material_check button").click()
    expect(page.get_by_text(say("material.found.duplicates", count=7)).first).to_be_visible(timeout=30_000)
    page.locator(".st-key-material_lengths_start button").click()
    expect(page.get_by_text(re.compile("half the texts have at most"))).to_have_count(2, timeout=60_000)
    page.locator(".st-key-material_mend_drop_duplicates button").click()
    expect(page.get_by_text(re.compile("4,001 of 4,008|4,001 of 4008"))).to_be_visible(timeout=30_000)
    expect(page.get_by_text(re.compile("half the texts have at most"))).to_have_count(2, timeout=30_000)
    page.locator(".st-key-material_undo button").click()
    expect(page.locator(".st-key-material_mend_drop_duplicates button")).to_be_visible(timeout=30_000)
    page.locator(".st-key-material_mend_drop_duplicates button").click()
    expect(page.locator(".st-key-material_undo button")).to_be_visible(timeout=30_000)
    wait_until_drawn(page)
    page.locator(".st-key-material_keep button").click()
    kept = page.locator("[class*=st-key-material_set_mine-]")
    expect(kept).to_be_visible(timeout=30_000)
    expect(kept).to_contain_text("4,001 rows (3,20", timeout=30_000)
    assert re.search(r"data=mine-[0-9a-f]{8}", page.url)
    with page.expect_download() as taken:
        kept.get_by_role("button", name=say("material.kept.csv")).click()
    body = Path(taken.value.path()).read_text(encoding="utf-8-sig")
    assert body.splitlines()[0] == "text,label,part,row"
    assert len(body.splitlines()) == 4002
    page.reload()
    wait_until_drawn(page)
    expect(page.locator("[class*=st-key-material_set_mine-]")).to_be_visible(timeout=30_000)
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []
    page.context.close()


def test_too_large_a_file_is_refused_before_it_travels(visit, address: str, tmp_path: Path) -> None:
    say = words("zh-TW")
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    page = visit(width=375, address=address).open("material", lang="zh-TW", box=BOX)
    bring(page, say, path)
    expect(page.get_by_text(say("material.pile.file", mb=50))).to_be_visible(timeout=30_000)
    expect(page.locator("[data-testid=stFileUploader]")).to_contain_text(re.compile("50"))
    wait_until_drawn(page)
    expect(page.locator(".st-key-material_check")).to_have_count(0, timeout=30_000)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 375
    page.context.close()


@pytest.mark.parametrize("dark", [False, True])
def test_a_hostile_file_fits_a_phone(visit, address: str, tmp_path: Path, dark: bool) -> None:
    say = words("zh-TW")
    path = tmp_path / "壞.csv"
    names = HOSTILE + "x" * 300
    body = f'"{HOSTILE}{"長" * 400}","{names}"\n' + f"很好看,{names}\n不好看,\u202eabc\n" * 8
    path.write_bytes(("文字,標籤\n" + body).encode("utf-8"))
    page = visit(width=375, dark=dark, address=address).open("material", lang="zh-TW", box=BOX)
    bring(page, say, path)
    page.locator(".st-key-material_check button").click()
    expect(page.get_by_text(say("material.found.title"))).to_be_visible(timeout=30_000)
    wait_until_drawn(page)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 375
    assert page.locator("img[src=x]").count() == 0
    page.context.close()


def test_a_box_is_chosen_by_keyboard(visit, address: str) -> None:
    say = words("en")
    page = visit(locale="en", address=address).open("material", lang="en", box=BOX)
    expect(page.get_by_text(say("material.pile.no_box"))).to_be_visible(timeout=30_000)
    page.locator(".st-key-material_measure button").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("tokens a second")).first).to_be_visible(timeout=30_000)
    page.context.close()
