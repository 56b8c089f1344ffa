"""Boxes that are broken, a full disk, no network, sessions side by side: a message, never a traceback."""

from __future__ import annotations

import html
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lessons import registry, words
from llmkit import shelf
from tests.llmkit.random_box import random_box
from tests.pages.conftest import OpenPage, seen, shown_text

STEPS = registry.available()
PARTS = STEPS[1:]
SENTENCE = "The movie was good, and I liked it."
HOSTILE = "</script><img src=x onerror=alert(1)>"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def only_a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


BREAK: dict[str, Callable[[Path], object]] = {
    "config is no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "config of another kind": lambda folder: (folder / "config.json").write_text('{"model_type": "mamba"}'),
    "config is a list": lambda folder: (folder / "config.json").write_text("[]"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "weights cut off": lambda folder: truncate(folder / "model.safetensors"),
    "weights of nothing": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "a pickle": only_a_pickle,
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "tokenizer is no JSON": lambda folder: (folder / "tokenizer.json").write_text("nonsense"),
    "tokenizer cut off": lambda folder: truncate(folder / "tokenizer.json"),
}


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
@pytest.mark.parametrize("broken", BREAK)
@pytest.mark.parametrize("step", PARTS, ids=lambda step: step.slug)
def test_a_broken_box_is_a_message(
    open_page: OpenPage, tmp_path: Path, step: registry.Step, broken: str, lang: str
) -> None:
    folder = random_box(tmp_path / "box", "gpt2", seed=5)
    BREAK[broken](folder)
    box_id = f"folder:{folder}"
    app = open_page(step.slug, lang=lang, box=box_id, sentence=SENTENCE)
    assert not app.exception
    assert app.text_area(key="sentence").value == SENTENCE
    assert words(lang)(step.key("title")) in seen(app)
    said = [element.value for element in (*app.error, *app.warning)]
    no_use = ("notebook", "papers", "community")  # "pretrain" makes a box from nothing
    opens_box = step.slug not in ("pretrain", *no_use)
    if opens_box and (step.slug != "tokens" or "tokenizer" in broken):  # cutting needs the tokenizer alone
        assert said
    assert not [text for text in said if words(lang)("common.error.other", code="")[:6] in text]
    app.selectbox(key="box").set_value("gpt2-starter").run()
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.slug)
def test_a_folder_that_is_no_box_is_said_and_replaced(open_page: OpenPage, tmp_path: Path, step: registry.Step) -> None:
    app = open_page(step.slug, lang="en", box=f"folder:{tmp_path}", sentence=SENTENCE)
    assert not app.exception
    assert app.selectbox(key="box").value == "gpt2-starter"
    assert len(app.warning) >= 1


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.slug)
def test_markup_stays_text(open_page: OpenPage, tmp_path: Path, step: registry.Step) -> None:
    folder = random_box(tmp_path / "<img src=x onerror=alert(1)>", "gpt2", seed=3)
    app = open_page(step.slug, lang="en", box=f"folder:{folder}", sentence=HOSTILE)
    assert not app.exception
    for element in app.get("html"):
        assert "<img src=x" not in element.proto.body
        assert "</script>" not in element.proto.body
    assert "](javascript" not in shown_text(app)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.slug)
def test_nonsense_in_the_address_changes_nothing(open_page: OpenPage, step: registry.Step) -> None:
    nonsense = {"lang": "🇹🇼" * 500, "box": "../../etc/passwd", "head": "NaN", "tokens_step": "-1e9", "x[]": HOSTILE}
    app = open_page(step.slug, **nonsense)
    assert not app.exception
    assert app.segmented_control(key="lang").value == "zh-TW"
    assert app.selectbox(key="box").value == "gpt2-starter"
    assert HOSTILE not in html.unescape(shown_text(app))


@pytest.mark.parametrize("step", PARTS, ids=lambda step: step.slug)
def test_two_sessions_with_different_boxes_do_not_mix(open_page: OpenPage, tmp_path: Path, step: registry.Step) -> None:
    other = f"folder:{random_box(tmp_path / 'box', 'gpt2', seed=7)}"
    first = open_page(step.slug, lang="en", sentence=SENTENCE)
    before = seen(first)
    second = open_page(step.slug, lang="zh-TW", box=other, sentence="這本書很好看。")
    first.run()
    assert not first.exception
    assert not second.exception
    assert first.text_area(key="sentence").value == SENTENCE
    assert second.selectbox(key="box").value == other
    badges = [words("en")(f"common.badge.{kind}") for kind in ("live", "cached")]
    for app_text in (before, seen(first)):
        assert any(badge in app_text for badge in badges)
    assert seen(first) != seen(second)


@pytest.fixture
def own_downloads() -> Iterator[None]:
    """Downloads that no other test has begun."""
    shelf.downloads.cache_clear()
    yield
    shelf.downloads.cache_clear()


def settled(app: AppTest) -> AppTest:
    """Run the page again once no download is going on."""
    deadline = time.monotonic() + 20
    while any(one.active for one in shelf.downloads().all()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return app.run()


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_a_full_disk_is_said(
    open_page: OpenPage, own_home: Path, own_downloads: None, monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    app = open_page("unbox", lang=lang)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    app.button(key="unbox_get_kit").click().run()
    settled(app)
    assert not app.exception
    errors = [error.value for error in app.error]
    assert errors
    assert all(words(lang)("common.error.no_space", box="@", detail="@").split("@")[0] in text for text in errors)
    assert app.button(key="unbox_again_minilm-l6")


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_no_network_is_said(
    open_page: OpenPage, own_home: Path, own_downloads: None, monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    monkeypatch.setenv("LLMKIT_OFFLINE", "1")
    app = open_page("unbox", lang=lang)
    app.button(key="unbox_get_kit").click().run()
    settled(app)
    assert not app.exception
    assert words(lang)("common.error.offline", box="minilm-l6") in [error.value for error in app.error]


@pytest.mark.parametrize(
    "typed", [HOSTILE, "a b c", "hub:", "folder:", "/no/such/folder", "owner/na<me", "..", "x" * 5000]
)
def test_any_name_of_a_box_of_ones_own_is_answered(
    open_page: OpenPage, own_home: Path, own_downloads: None, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.setenv("LLMKIT_OFFLINE", "1")
    app = open_page("unbox", lang="en")
    app.text_input(key="unbox_own").set_value(typed).run()
    app.button(key="unbox_use_own").click().run()
    assert not app.exception
    said = [error.value for error in app.error]
    said += [error.value for error in settled(app).error]
    assert not app.exception
    assert said
    assert not [text for text in said if re.search(r"(?<!\\)<img", text)]
