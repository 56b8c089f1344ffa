"""Step 2-2: boxes as their files are, any file a table or a message, findings, mendings, undo, the kept split."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from components.material_check import bin_edges
from lessons import words
from llmkit import shelf
from llmkit.tune.data import prepared, source
from llmkit.tune.data.split import split
from tests.llmkit.random_box import random_box
from tests.pages.conftest import OpenPage, done, seen, shown_text

BOX = "gpt2-starter"
HOSTILE = "</script><img src=x onerror=alert(1)>"
LANGS = pytest.mark.parametrize("lang", ["zh-TW", "en"])
ROWS = [(f"text number {at} is fine", "pos" if at % 2 else "neg") for at in range(60)]
FAULTS = [
    (" text number 1 is fine ", "pos"),
    ("TEXT number 2 is fine!", "neg"),
    ("", "pos"),
    ("lost", ""),
    ("=1+1", "neg"),
]


def as_lines(rows: list[tuple[str, str]]) -> bytes:
    return "\n".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows).encode()


def bring(app: AppTest, content: bytes, name: str = "mine.jsonl") -> AppTest:
    """Bring a file as the uploader does: kept on this machine, its source name in the session."""
    app.session_state["_material_file"] = source.keep_file(content, name)
    app.session_state["material_kind"] = "file"
    return app.run()


@pytest.fixture
def checked(open_page: OpenPage, own_home: Path):
    """Return a function that opens the page with a file and has it checked."""

    def open_checked(content: bytes, *, lang: str = "en", box: str = BOX, name: str = "mine.jsonl") -> AppTest:
        app = bring(open_page("material", lang=lang, box=box), content, name)
        return app.button(key="material_check").click().run()

    return open_checked


def keys(app: AppTest) -> list[str]:
    return [button.key for button in app.button]


@LANGS
def test_boxes_are_what_their_files_say(open_page: OpenPage, own_home: Path, tmp_path: Path, lang: str) -> None:
    from safetensors import safe_open

    boxes = {family: random_box(tmp_path / family, family, seed=1) for family in ("gpt2", "bert", "llama")}
    say = words(lang)
    for family, folder in boxes.items():
        app = open_page("material", lang=lang, box=f"folder:{folder}", sentence="abc")
        assert not app.exception
        assert not app.error
        with safe_open(folder / "model.safetensors", "pt") as file:
            count = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
        size = f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f} MB"
        text = seen(app)
        assert say("material.card.size", count=f"{count:,}", size=size) in text
        assert say("material.card.context", n="64") in text
        assert say("material.card.build", layers=2, d=24) in text
        assert say("material.card.tokens", n=3) in text
        assert say("material.way.both" if family == "bert" else "material.way.right") in text


def test_a_box_is_put_on_the_workbench(open_page: OpenPage, own_home: Path, tmp_path: Path) -> None:
    other = f"folder:{random_box(tmp_path / 'box', 'bert', seed=2)}"
    app = open_page("material", lang="en", box=other)
    assert done(app)[0] == "open"
    pills = next(one for one in app.get("button_group") if BOX in one.options)
    app = pills.set_value(BOX).run()
    assert not app.exception
    assert app.selectbox(key="box").value == BOX
    assert done(app)[0] == "done"


def test_speed_is_measured_on_demand(open_page: OpenPage, own_home: Path) -> None:
    app = open_page("material", lang="en", box=BOX)
    assert "tokens a second" not in seen(app)
    app = app.button(key="material_measure").click().run()
    assert not app.exception
    assert "tokens a second" in seen(app)
    assert words("en")("common.badge.live") in seen(app)


@LANGS
def test_faults_are_found_mended_and_undone(checked, lang: str) -> None:
    say = words(lang)
    app = checked(as_lines([*ROWS, *FAULTS]), lang=lang)
    assert not app.exception
    assert not app.error
    text = seen(app)
    for code, row, mend in (
        ("text_empty", 63, "drop_empty"),
        ("label_missing", 64, "drop_unlabelled"),
        ("blanks", 61, "trim"),
    ):
        assert say(f"material.found.{code}", count=1, column="label") in text
        assert say("material.found.rows", rows=row) in text
        assert f"material_mend_{mend}" in keys(app)
    assert say("material.found.near_duplicates", count=2) in text
    app = app.button(key="material_mend_trim").click().run()
    assert say("material.found.blanks", count=1) not in seen(app)
    assert say("material.found.duplicates", count=1) in seen(app)
    app = app.button(key="material_mend_drop_duplicates").click().run()
    app = app.button(key="material_mend_drop_near_duplicates").click().run()
    app = app.button(key="material_mend_drop_empty").click().run()
    app = app.button(key="material_mend_drop_unlabelled").click().run()
    listed = " → ".join(say(f"material.mend.{name}") for name in ("trim", "drop_duplicates"))
    assert listed in seen(app)
    assert not [key for key in keys(app) if key.startswith("material_mend_")]
    app = app.button(key="material_undo").click().run()
    assert "material_mend_drop_unlabelled" in keys(app)
    assert done(app)[1] == "done"


def test_a_split_is_kept_and_found_again(checked, open_page: OpenPage) -> None:
    app = checked(as_lines(ROWS))
    app = app.number_input(key="m_seed").set_value(5).run()
    app = app.button(key="material_keep").click().run()
    assert not app.exception
    assert not app.error
    (about,) = prepared.prepared()
    rows = prepared.open_prepared(about.id).rows
    assert [(row.text, row.label) for row in rows] == ROWS
    assert tuple(row.part for row in rows) == split([text for text, _ in ROWS], [label for _, label in ROWS], seed=5)
    assert (about.seed, about.name, about.labels) == (5, "mine.jsonl", ("neg", "pos"))
    assert app.query_params["data"] == about.id
    assert done(app)[1:3] == ["done", "done"]
    again = open_page("material", lang="zh-TW", data=about.id)
    assert about.id in shown_text(again).replace("\\\\", "")
    assert f"material_use_{about.id}" not in keys(again)  # it is the one in use
    again = again.button(key=f"material_remove_{about.id}").click().run()
    assert prepared.prepared() == ()
    assert "data" not in again.query_params


def test_what_is_current(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def script() -> None:
        import streamlit as st

        from components.material_choice import choose_data, current_data

        st.text(str(current_data()))
        if st.button("choose"):
            choose_data(st.query_params["other"])
            st.text(str(current_data()))

    row = prepared.PreparedRow(text="a", label=None, part="train", row=1)
    more = {"text": "t", "label": None, "threshold": None, "mendings": (), "seed": 1, "shares": (0.8, 0.1, 0.1)}
    about = prepared.keep([row], name="x", **more)  # type: ignore[arg-type]
    app = AppTest.from_function(script)
    assert app.run().text[0].value == "None"
    app.query_params["data"] = "../../etc"
    assert app.run().text[0].value == "None"
    app.query_params["data"] = about.id
    assert app.run().text[0].value == about.id
    app.query_params["other"] = about.id
    del app.query_params["data"]
    app = app.button[0].click().run()
    assert app.text[1].value == about.id
    assert app.query_params["data"] == about.id


FILES = {
    "big5": ("文字,標籤\n很好看,正面\n不好看,負面\n".encode("cp950") * 1, "a.csv", None),
    "markup": (f"text,label\n{HOSTILE},{HOSTILE}\nb,c\n".encode(), f"{HOSTILE}.csv", None),
    "a long label": (b"text,label\na," + b"x" * 1000 + b"\nb,c\n", "a.csv", None),
    "one class": (b"text,label\n" + b"a,x\nb,x\n" * 20, "a.csv", None),
    "one column": ("句子\n一\n二\n三\n".encode(), "a.txt", None),
    "numbers alone": (b"1,2\n3,4\n5,6\n", "a.csv", None),
    "emoji and arabic": ("text\n😀👩‍👩‍👧\nمرحبا\n\u202eabc\n".encode(), "a.txt", None),
    "open quote": (b'text,label\n"a,b\nc,d\n', "a.csv", "data_quote_open"),
    "nul": (b"a\x00,b\nc,d\n", "a.csv", "data_nul"),
    "no csv": (bytes(range(1, 32)) * 20, "a.csv", "data_not_table"),
}


@LANGS
@pytest.mark.parametrize("name", list(FILES))
def test_any_file_is_shown_or_answered(open_page: OpenPage, own_home: Path, name: str, lang: str) -> None:
    content, called, code = FILES[name]
    app = bring(open_page("material", lang=lang), content, called)
    assert not app.exception
    if code:
        texts = words(lang)(f"common.error.{code}", name="@", row="@", n="@", limit="@").split("@")
        assert len(app.error) == 1
        assert all(text in app.error[0].value.replace("\\", "") for text in texts)
        return
    app = app.button(key="material_check").click().run()
    assert not app.exception
    body = "\n".join(element.proto.body for element in app.get("html"))
    assert "<img src=x" not in body
    assert not [
        element for element in (*app.markdown, *app.caption, *app.error) if "<img" in element.value.replace("\\<", "")
    ]


def test_pasted_lines_become_a_pile(open_page: OpenPage, own_home: Path) -> None:
    app = open_page("material", lang="en")
    app.session_state["material_kind"] = "paste"
    app = app.run()
    app.text_area(key="material_paste").set_value("text\tlabel\nI like it, a lot\tgood\nI do not\tbad\n").run()
    app = app.button(key="material_use").click().run()
    assert not app.exception
    assert "pasted text · tsv · 2 rows × 2 columns" in seen(app)
    app = app.button(key="material_forget").click().run()
    assert not app.exception
    assert "pasted text" not in seen(app)
    assert not list((own_home / "data" / ".files").iterdir())


def test_another_reading_is_asked_for(open_page: OpenPage, own_home: Path) -> None:
    app = bring(open_page("material", lang="en"), "很好看,正面\n不好看,負面\n".encode("cp950"), "a.csv")
    assert "Big5" in seen(app)
    key = app.session_state["_material_file"][5:13]
    app = app.selectbox(key=f"m_enc_{key}").set_value("UTF-8").run()
    assert words("en")("common.error.data_encoding", encoding="UTF-8", row=1) in [
        error.value.replace("\\", "") for error in app.error
    ]
    app = app.selectbox(key=f"m_enc_{key}").set_value("").run()
    app = app.selectbox(key=f"m_head_{key}").set_value("no").run()
    assert "2 rows × 2 columns" in seen(app)
    assert not app.error


@pytest.mark.parametrize("guess", ["none", "few", "some", "many"])
def test_how_many_repeat_is_counted(open_page: OpenPage, own_home: Path, guess: str) -> None:
    app = bring(open_page("material", lang="en"), as_lines([*ROWS, ("TEXT number 1 is fine!", "pos")]))
    name = f"material_twice_{app.session_state['_material_file']}"
    app.radio(key=f"guess_{name}").set_value(guess).run()
    app = app.button(key=f"run_{name}").click().run()
    assert not app.exception
    verdict = (app.success if guess == "some" else app.info)[0].value
    assert "1 of 61 rows repeat an earlier one: 1.6%" in verdict.replace("\\", "")


def test_how_many_another_seed_moves_is_counted(checked) -> None:
    app = checked(as_lines(ROWS))
    app.radio(key="guess_material_seed").set_value("third").run()
    app = app.button(key="run_material_seed").click().run()
    texts, labels = [text for text, _ in ROWS], [label for _, label in ROWS]
    first, second = (split(texts, labels, seed=seed) for seed in (1, 2))
    moved = sum(one != two for one, two in zip(first, second, strict=True))
    assert f"{moved} rows changed parts, {moved / 60:.1%}" in seen(app).replace("\\", "")


@pytest.mark.parametrize(
    ("longest", "context"), [(0, 64), (1, 64), (65, 64), (64, 64), (2396, 256), (9, 0), (90_000, 8192)]
)
def test_bins_hold_every_text_and_none_straddles_the_limit(longest: int, context: int) -> None:
    edges = bin_edges(longest, context)
    lengths = np.arange(1, longest + 1)
    counts, _ = np.histogram(lengths, bins=edges)
    assert counts.sum() == longest
    assert counts[edges[:-1] > context].sum() == max(longest - context, 0)


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_texts_too_long_for_the_box_are_counted(checked, tmp_path: Path, family: str) -> None:
    box = f"folder:{random_box(tmp_path / family, family, seed=4)}"
    app = checked(as_lines([*ROWS, ("x" * 65, "pos"), ("y" * 64, "neg"), ("z" * 900, "pos")]), box=box)
    assert not app.exception
    assert words("en")("material.found.too_long", count=2, context=64, longest=900) in seen(app)
    app = app.button(key="material_mend_drop_long").click().run()
    assert "material_mend_drop_long" not in keys(app)
    assert words("en")("material.mended", listed="Drop long rows", before=63, left=61) in seen(app)


@pytest.mark.registry
@LANGS
def test_the_review_boxes_and_their_job(
    open_page: OpenPage, standard_kit: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    say = words(lang)
    app = open_page("material", lang=lang, box=BOX)
    app = app.button(key="material_check").click().run()
    assert not app.exception
    assert not app.error
    box_id = {"zh-TW": "reviews-zh-tw", "en": "reviews-en"}[lang]
    rows = shelf.open_data(box_id).rows
    again = sum(count - 1 for count in Counter(row.text for row in rows).values())
    assert say("material.found.duplicates", count=f"{again:,}") in seen(app)
