"""Tokens put together while they come: whole characters, true bytes, never the replacement character."""

from __future__ import annotations

import pytest

from llmkit.tokens.written import pieces, to_read

TEXTS = ["你好，world", "👩‍👩‍👧‍👦🏳️‍🌈 é", "a\u0301\u200b\r\n\x07", "مرحبا", "\ufffd is a character, too"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_cut_gives_whole_characters(text: str, size: int) -> None:
    data = text.encode()
    tokens = [data[at : at + size] for at in range(0, len(data), size)]
    made = pieces(tokens)
    assert b"".join(piece.data for piece in made) == data
    assert [piece.data.decode() for piece in made]  # each is whole
    assert [piece.start for piece in made] == [0, *(piece.end for piece in made[:-1])]
    assert made[-1].end == len(tokens)
    shown = [glyph for piece in made for glyph in to_read(piece.data)]
    assert not [glyph for glyph in shown if glyph.kind == "byte"]
    assert not [glyph for glyph in shown if "\ufffd" in glyph.shown]


def test_what_is_not_yet_whole_is_its_bytes() -> None:
    tokens = [b"a", b"\xe4", b"\xbd"]
    assert [piece.data for piece in pieces(tokens)] == [b"a", b"\xe4\xbd"]
    assert [(glyph.kind, glyph.shown) for glyph in to_read(b"\xe4\xbd")] == [("byte", "E4"), ("byte", "BD")]


def test_what_can_never_be_whole_holds_nothing_back() -> None:
    assert [piece.data for piece in pieces([b"\xff", b"a", b"\xe4", b"b", b"c"])] == [b"\xff", b"a", b"\xe4b", b"c"]
    assert [glyph.shown for glyph in to_read(b"\xe4b")] == ["E4", "b"]


def test_blanks_are_blanks_and_controls_are_named() -> None:
    assert "".join(glyph.shown for glyph in to_read(b"a b\n\tc")) == "a b\n\tc"
    assert [glyph.kind for glyph in to_read("\u202e\x1b".encode())] == ["control", "control"]
    assert "".join(glyph.shown for glyph in to_read("👩\u200d👩".encode())) == "👩\u200d👩"
    assert pieces([]) == ()
