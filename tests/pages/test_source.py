"""See the code: what is shown is the real source, with its real place."""

from __future__ import annotations

import inspect
import json

import pytest

from components.source import draw_source, locate
from lessons import registry
from llmkit import parts
from llmkit.tokens.byte_level_bpe import ByteLevelBPE
from llmkit.tokens.chat import ChatTemplate
from llmkit.tokens.wordpiece import WordPiece
from tests.pages.conftest import OpenPage

SHOWN = [
    parts.Attention,
    parts.ALiBiPositions,
    parts.Block,
    parts.FeedForward,
    parts.LearnedPositions,
    parts.RotaryPositions,
    parts.SinusoidalPositions,
    parts.SwiGLU,
    parts.TokenEmbedding,
    parts.Transformer,
    ByteLevelBPE,
    WordPiece,
    ChatTemplate,
]


@pytest.mark.parametrize("part", SHOWN, ids=lambda part: part.__name__)
def test_the_place_is_where_the_part_stands(part: type) -> None:
    source = locate(part)
    lines = (registry.ROOT / source.path).read_text(encoding="utf-8").splitlines(keepends=True)
    own = "".join(lines[source.line - 1 : source.end])
    assert own == inspect.getsource(part)
    assert f"class {part.__name__}" in own
    assert source.text == "".join(lines)
    assert source.name == part.__name__


@pytest.mark.parametrize("part", SHOWN, ids=lambda part: part.__name__)
def test_the_paper_is_what_the_docstring_names(part: type) -> None:
    paper = locate(part).paper
    assert paper
    assert "``" not in paper
    assert paper.replace(" ", "") in "".join((inspect.getdoc(part) or "").replace("``", "").split())


def test_a_function_and_a_class_without_a_paper() -> None:
    assert locate(draw_source).path == "components/source.py"
    assert locate(draw_source).paper == ""


def test_what_is_not_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="subpath"):
        locate(json.JSONDecoder)


ON_PAGES = {
    "tokens": ["ByteLevelBPE"],
    "embeddings": ["TokenEmbedding"],
    "positions": ["SinusoidalPositions", "LearnedPositions", "RotaryPositions", "ALiBiPositions"],
    "attention": ["Attention"],
    "feed_forward": ["FeedForward", "SwiGLU"],
    "engine": ["Transformer", "Block"],
    "how": ["stream"],
    "prompts": ["ChatTemplate"],
}


@pytest.mark.parametrize("slug", ON_PAGES)
def test_the_page_shows_its_parts(open_page: OpenPage, slug: str) -> None:
    app = open_page(slug, lang="en")
    assert not app.exception
    sent = [json.loads(one.proto.json) for one in app.get("bidi_component")]
    shown = [part["name"] for data in sent if "files" in data for part in data["parts"]]
    assert shown == ON_PAGES[slug]


@pytest.mark.registry
@pytest.mark.parametrize(
    ("slug", "box", "first"),
    [("tokens", "minilm-l6", "WordPiece"), ("feed_forward", "smollm2-135m-instruct", "SwiGLU")],
)
def test_the_first_part_is_the_boxs_own(
    open_page: OpenPage, standard_kit: tuple[str, ...], slug: str, box: str, first: str
) -> None:
    app = open_page(slug, lang="en", box=box)
    assert not app.exception
    sent = [json.loads(one.proto.json) for one in app.get("bidi_component")]
    assert next(data for data in sent if "files" in data)["parts"][0]["name"] == first
