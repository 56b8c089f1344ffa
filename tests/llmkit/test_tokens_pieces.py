"""What a reader sees of a token: bytes, blanks and controls, never the replacement character."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.tokens.pieces import glyphs, group_tokens, join, visible


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b" the", "·the"),
        (b"\n", "⏎"),
        (b"\r\n", "⟨CR⟩⏎"),
        (b"\t", "⇥"),
        (b"\x00\x1b\x7f", "⟨NUL⟩⟨ESC⟩⟨DEL⟩"),
        ("\u3000".encode(), "␣"),
        ("\u00a0".encode(), "⟨U+00A0⟩"),
        ("\u200b".encode(), "⟨U+200B⟩"),
        ("\u202e".encode(), "⟨U+202E⟩"),
        ("\ufe0f".encode(), "⟨U+FE0F⟩"),
        ("\ufffd".encode(), "⟨U+FFFD⟩"),
        ("\u0301".encode(), "◌\u0301"),
        ("e\u0301".encode(), "e\u0301"),
        ("好".encode(), "好"),
        ("好".encode()[:2], "⟨E5⟩⟨A5⟩"),
        ("好".encode()[2:], "⟨BD⟩"),
        (" 好".encode()[:2], "·⟨E5⟩"),
        (b"\xff", "⟨FF⟩"),
        (b"", ""),
        (b"</script><img src=x onerror=alert(1)>", "</script><img·src=x·onerror=alert(1)>"),
    ],
)
def test_visible(data: bytes, shown: str) -> None:
    assert visible(data) == shown


@given(st.binary(max_size=40))
def test_every_byte_is_shown_and_nothing_is_invisible(data: bytes) -> None:
    made = glyphs(data)
    assert all(glyph.shown for glyph in made)
    for char in "".join(glyph.shown for glyph in made):
        assert char != "\ufffd"
        assert unicodedata.category(char)[0] != "Z"
        assert unicodedata.category(char) not in (
            "Cc",
            "Cf",
            "Co",
            "Cs",
        )
    stray = sum(glyph.kind == "byte" for glyph in made)
    assert stray == len(data) - len(data.decode(errors="ignore").encode())


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))
def test_whole_text_has_no_stray_byte(text: str) -> None:
    assert not any(glyph.kind == "byte" for glyph in glyphs(text.encode()))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20), st.data())
def test_cutting_bytes_anywhere_groups_back_to_the_text(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    places = sorted(data.draw(st.sets(st.integers(1, max(1, len(raw) - 1)), max_size=8)) if len(raw) > 1 else ())
    bounds = [0, *places, len(raw)]
    tokens = [raw[a:b] for a, b in pairwise(bounds)]
    char_at = [at for at, char in enumerate(text) for _ in char.encode()]
    offsets = [(char_at[a], char_at[b - 1] + 1) if a < b else (0, 0) for a, b in pairwise(bounds)]
    for start, end in group_tokens(offsets):
        whole = b"".join(tokens[start:end])
        whole.decode()
        assert join(tokens[start:end]) == visible(whole)
        for inner in range(start + 1, end):
            with pytest.raises(UnicodeDecodeError):
                b"".join(tokens[start:inner]).decode()


def test_tokens_that_span_nothing_stand_alone() -> None:
    assert group_tokens([(0, 0), (0, 1), (0, 1), (0, 0)]) == ((0, 1), (1, 3), (3, 4))
    assert group_tokens([]) == ()
