"""Sliders that live in the browser: where they stand, whatever an address or a browser says."""

from __future__ import annotations

import pytest

from components.moving import Slider
from tests.pages.conftest import OpenPage
from tests.pages.moving import sent, settle

SLIDER = Slider(name="a", label="A", low=8, high=64, start=16, step=8)


@pytest.mark.parametrize(
    ("asked", "place"),
    [("24", 24), (30, 24), ("7", 8), ("99999", 64), ("9999999", 16), ("-1", 16), ("٣", 16), ("<b>", 16), (None, 16)],
)
def test_a_slider_stands_on_one_of_its_places(asked: object, place: int) -> None:
    assert SLIDER.within(asked) == place


def test_numbers_are_sent_once(open_page: OpenPage) -> None:
    """What is sent stays the same where a slider settles, so that nothing of it travels again."""
    app = open_page("positions", lang="en", box="gpt2-starter", sentence="The movie was good.")
    before = {key: sent(app, f"positions_{key}") for key in ("waves", "alike", "learned", "clocks", "scores", "slopes")}
    app = settle(app, positions_length=128, positions_row=9, positions_turn=3, positions_heads=2)
    assert {key: sent(app, f"positions_{key}") for key in before} == before


def test_the_address_says_where_a_slider_stands(open_page: OpenPage) -> None:
    app = open_page("tokens", lang="en", box="gpt2-starter", sentence="the movie", tokens_step="2")
    assert [slider["start"] for slider in sent(app, "tokens_steps")["sliders"]] == [2]
