"""The workshop on the pages: a room is opened, guests predict and ask for help, steps stay closed, the stage."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from streamlit.testing.v1 import AppTest

from components import audience
from lessons import words
from llmkit import workshop
from llmkit.workshop import store
from tests.pages.conftest import OpenPage, seen

LANGS = ("zh-TW", "en")


def keys(app: AppTest) -> set[str]:
    return {button.key or "" for button in app.button}


@pytest.fixture
def as_guest(open_page: OpenPage) -> Callable[..., AppTest]:
    """Open a page as a guest of the room that is open; what the browser tells of itself is put in its place."""

    def come(slug: str, device: str, *, lang: str = "en", key: str = "") -> AppTest:
        room = workshop.room()
        assert room is not None
        app = open_page(slug, lang=lang)
        app.session_state["_room_code"] = room.code
        if key:
            app.session_state[audience.KEY] = key
        else:
            app.session_state[audience.GUEST] = workshop.join(room.code, device).id
        return app.run()

    return come


@pytest.mark.parametrize("lang", LANGS)
def test_a_room_is_opened_and_closed(open_page: OpenPage, own_home: object, lang: str) -> None:
    app = open_page("tokens", lang=lang)
    app.button(key="room_open").click().run()
    assert not app.exception
    room = workshop.room()
    assert room is not None
    assert words(lang)("workshop.room", code=room.code) in seen(app)
    assert app.query_params["room"] == room.code
    assert words(lang)("workshop.nobody") in seen(app)
    app.button(key="room_close").click().run()
    assert not app.exception
    assert workshop.room() is None
    assert "room_open" in keys(app)
    assert "room" not in app.query_params


@pytest.mark.parametrize("lang", LANGS)
def test_what_the_room_predicts_is_shown_to_the_instructor_alone(
    open_page: OpenPage, own_home: object, as_guest: Callable[..., AppTest], lang: str
) -> None:
    _, key = workshop.open_room()
    options: list[str] = []
    for device, which in (("a", 0), ("b", 1), ("c", 1)):
        guest = as_guest("tokens", device, lang=lang)
        radio = next(one for one in guest.radio if (one.key or "").startswith("guess_tokens_"))
        assert radio.key is not None
        options = list(radio.options)
        radio.set_value(_values(radio)[which]).run()
        assert not guest.exception
        assert "<ul class=" not in seen(guest)
    teacher = as_guest("tokens", "t", key=key, lang=lang)
    assert not teacher.exception
    shown = seen(teacher)
    assert "<ul class=" in shown
    assert words(lang)("workshop.bars.told", n=3) in shown
    assert "width:67%" in shown
    assert "width:33%" in shown
    assert len(options) >= 2


def _values(radio: object) -> list[str]:
    """The radio's answers, not their texts: what `format_func` hides from AppTest."""
    return list(radio.options)  # type: ignore[attr-defined]


def test_a_step_that_is_closed_is_not_drawn(own_home: object, as_guest: Callable[..., AppTest]) -> None:
    say = words("en")
    _, key = workshop.open_room()
    workshop.set_closed(key, ["tokens"])
    guest = as_guest("tokens", "a")
    assert say("workshop.step.closed") in seen(guest)
    assert "<header" not in seen(guest)
    teacher = as_guest("tokens", "t", key=key)
    assert "<header" in seen(teacher)
    teacher.button(key="room_all").click().run()
    assert workshop.room().closed == frozenset()  # type: ignore[union-attr]
    assert "<header" in seen(guest.run())
    teacher.button(key="room_only").click().run()
    closed = workshop.room().closed  # type: ignore[union-attr]
    assert "tokens" not in closed
    assert "attention" in closed


def test_a_hand_is_seen_and_lowered_and_names_are_data(own_home: object, as_guest: Callable[..., AppTest]) -> None:
    _, key = workshop.open_room()
    guest = as_guest("tokens", "a")
    guest.button(key="room_hand").click().run()
    guest.text_input(key="room_name").set_value("<img src=x onerror=alert(1)>[x](y)").run()
    assert not guest.exception
    assert words("en")("workshop.bar.hand.up") in seen(guest)
    teacher = as_guest("embeddings", "t", key=key)
    shown = "".join(element.value for element in teacher.markdown)
    assert "img src=x" in shown
    assert not re.search(r"(?<!\\)[<\[]", shown)
    teacher.button(key="room_helped_1").click().run()
    assert workshop.guests()[0].hand_at is None
    links = [link.proto.label for link in guest.run().get("page_link")]
    assert any(label.startswith(words("en")("workshop.bar.instructor")) for label in links)


def test_a_reset_room_is_joined_again(own_home: object, as_guest: Callable[..., AppTest]) -> None:
    _, key = workshop.open_room()
    as_guest("tokens", "a")
    teacher = as_guest("tokens", "t", key=key)
    teacher.button(key="room_reset").click().run()
    assert not teacher.exception
    assert workshop.guests() == ()
    assert workshop.room() is not None


@pytest.mark.parametrize("lang", LANGS)
def test_a_room_that_is_gone_is_said_and_can_be_left(open_page: OpenPage, own_home: object, lang: str) -> None:
    app = open_page("tokens", lang=lang, room="<b>ZZ")
    assert not app.exception
    assert any("ZZ" in warning.value for warning in app.warning)
    assert "<header" in seen(app)
    app.button(key="room_leave").click().run()
    assert "room" not in app.query_params
    assert not app.warning


def test_a_broken_room_stops_no_page(open_page: OpenPage, own_home: object) -> None:
    from llmkit.workshop import store

    store.database_path().parent.mkdir(parents=True)
    store.database_path().write_bytes(b"nonsense" * 100)
    app = open_page("tokens", lang="en")
    assert not app.exception
    assert "<header" in seen(app)
    assert any("room" in error.value for error in app.error)


def test_a_room_that_could_not_be_closed_keeps_its_instructor(open_page: OpenPage, own_home: object) -> None:
    app = open_page("tokens", lang="en")
    app.button(key="room_open").click().run()
    with closing(sqlite3.connect(store.database_path())) as connection, connection:
        connection.execute("CREATE TRIGGER full BEFORE DELETE ON room BEGIN SELECT raise(ABORT, 'disk full'); END")
    app.button(key="room_close").click().run()
    assert not app.exception
    assert workshop.room() is not None
    assert "room_close" in keys(app)
    assert any("disk full" in error.value for error in app.error)
    with closing(sqlite3.connect(store.database_path())) as connection, connection:
        connection.execute("DROP TRIGGER full")
    app.button(key="room_close").click().run()
    assert workshop.room() is None
    assert "room_open" in keys(app)


def test_nobody_becomes_instructor_without_the_key(open_page: OpenPage, own_home: object) -> None:
    room, _ = workshop.open_room()
    app = open_page("tokens", lang="en", room=room.code)
    app.session_state["member"] = {"told": json.dumps(["device", "guessed key"])}
    app.run()
    assert not app.exception
    assert audience.KEY not in app.session_state
    assert "room_close" not in keys(app)


def test_on_the_stage_a_check_is_revealed_without_a_guess(open_page: OpenPage) -> None:
    app = open_page("tokens", lang="en", present="1")
    run = next(button for button in app.button if (button.key or "").startswith("run_tokens_"))
    assert not run.disabled
    app = run.click().run()
    assert not app.exception
    assert any("The answer" in info.value for info in app.info)
    assert "_scores" not in app.session_state  # nobody guessed


def test_who_taught_a_room_that_is_gone_can_join_the_next(own_home: object, as_guest: Callable[..., AppTest]) -> None:
    _, old = workshop.open_room()
    teacher = as_guest("tokens", "t", key=old)
    workshop.close_room(old)
    room, _ = workshop.open_room()
    teacher.run()
    assert audience.KEY not in teacher.session_state
    teacher.button(key="room_join").click().run()
    assert not teacher.exception
    assert not teacher.error
    assert teacher.query_params["room"] == room.code
