"""The Tokens page, picture by picture: each takes the sheet, asks the engine and draws."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd
import streamlit as st

from components import engine, tokens_engine
from components.frame import Page, Verdict, section
from components.moving import Slider, draw_moving, place
from components.source import draw_source
from components.theme import own_style
from components.tokens_picture import SHOWN_TOKENS, bars, columns, describe_step, note, step_data, token_row
from components.workbench import DEFAULT_BOX
from llmkit.tokens import ByteLevelBPE, Cost, Encoding, Merge, Tokenizer, WordPiece, split_characters, visible

COMPARED = 3
"""Boxes side by side: more would not fit on a screen."""


def draw_cut(page: Page) -> None:
    """Draw the sentence as the workbench's box cuts it."""
    bench = page.bench
    specials = st.toggle(page.say("tokens.specials"), value=True, key="tokens_specials")
    made = tokens_engine.encode(bench.box_id, bench.sentence, specials=specials)
    encoding = made.value
    page.count("part.token", len(encoding))
    if bench.sentence != page.say("common.sentence.default"):
        page.tick("do.cut")
    alt = _in_words(page, encoding)
    with page.shown(key="cut", badge=made.badge, alt=alt, data=token_table(encoding)):
        st.html(own_style("tokens") + token_row(encoding, bench.say) + note(_counts(page, encoding)))
    st.html(note(page.say("tokens.legend")))


@section
def draw_steps(page: Page) -> None:
    """Draw the sentence on its way from first pieces to tokens, with a slider."""
    bench = page.bench
    kind = tokens_engine.open_tokenizer(bench.box_id).kind
    st.header(page.say(f"tokens.steps.title.{kind}"))
    made = tokens_engine.steps(bench.box_id, bench.sentence)
    views = made.value
    last = len(views) - 1
    page.count("part.merge", last)
    slider = Slider(name="tokens_step", label=page.say("tokens.steps.slider"), low=0, high=last, start=0)
    step = place(slider)
    if step:
        page.tick("do.merge")
    say = bench.say
    told = [describe_step(view, say, step=number, last=last) for number, view in enumerate(views)]
    ranks = [view.event.rank if isinstance(view.event, Merge) else None for view in views]
    table = pd.DataFrame({"step": range(len(views)), "rank": ranks, "what": told})
    with page.shown(key="steps", badge=made.badge, alt=told[step], data=table):
        draw_moving(
            "tokens",
            "steps",
            key="tokens_steps",
            name=page.say(f"tokens.steps.title.{kind}"),
            sliders=[slider] if last else [],
            words={},
            told=told,
            **step_data(views),
        )
    st.html(note(page.say(f"tokens.steps.legend.{kind}")))
    if len(bench.sentence) > tokens_engine.STEP_CHARACTERS:
        st.html(note(page.say("tokens.steps.beginning", n=tokens_engine.STEP_CHARACTERS)))
    draw_source(page, WordPiece if kind == "wordpiece" else ByteLevelBPE)


@section
def draw_boxes(page: Page) -> None:
    """Draw the sentence as up to three boxes cut it, and what texts cost in each of them."""
    _draw_cost(page, _draw_side_by_side(page))


def _draw_side_by_side(page: Page) -> tuple[str, ...]:
    """Draw the same sentence cut by up to three boxes; return the boxes."""
    bench = page.bench
    st.header(page.say("tokens.compare.title"))
    boxes = engine.boxes_here(DEFAULT_BOX, bench.box_id)
    chosen = tuple(
        st.multiselect(
            page.say("tokens.compare.boxes"),
            boxes,
            default=[bench.box_id],
            max_selections=COMPARED,
            key=f"tokens_boxes_{bench.box_id}",
        )
    )
    if len(boxes) == 1:
        st.info(page.say("tokens.compare.alone"))
    if not chosen:
        return (bench.box_id,)
    if len(chosen) > 1:
        page.tick("do.compare")
    made = {box_id: tokens_engine.encode(box_id, bench.sentence, specials=False) for box_id in chosen}
    cards = [
        (box_id, _card_line(page, box_id, one.value), token_row(one.value, bench.say)) for box_id, one in made.items()
    ]
    table = pd.concat([token_table(one.value).assign(box=box_id) for box_id, one in made.items()])
    alt = " ".join(f"{title}: {line}" for title, line, _ in cards)
    with page.shown(key="compare", badge=tokens_engine.origin(made.values()), alt=alt, data=table):
        st.html(columns(cards))
    return chosen


def _draw_cost(page: Page, boxes: Sequence[str]) -> None:
    """Draw tokens per character, Chinese against English, and say which texts were counted."""
    st.header(page.say("tokens.cost.title"))
    sources = tokens_engine.sources_here()
    source = st.radio(
        page.say("tokens.cost.source"),
        sources,
        format_func=lambda name: page.say(f"tokens.cost.{name}"),
        horizontal=True,
        key="tokens_source",
    )
    made = {
        (box_id, lang): tokens_engine.cost(box_id, lang, source) for box_id in boxes for lang in tokens_engine.REVIEWS
    }
    costs = {key: one.value for key, one in made.items()}
    rows = [
        (
            box_id,
            _same_meaning(page, [costs[box_id, lang] for lang in tokens_engine.REVIEWS])
            if source == "parallel"
            else "",
            [
                (page.say(f"tokens.cost.{lang}"), cost.tokens_per_character, _remark(page, cost))
                for lang in tokens_engine.REVIEWS
                for cost in [costs[box_id, lang]]
            ],
        )
        for box_id in boxes
    ]
    alt = " ".join(_cost_line(page, box_id, lang, cost) for (box_id, lang), cost in costs.items())
    table = pd.DataFrame(
        [
            {
                "box": box_id,
                "language": lang,
                "texts": cost.texts,
                "characters": cost.characters,
                "tokens": cost.tokens,
                "unknown": cost.unknown,
                "split_characters": cost.split,
                "tokens_per_character": cost.tokens_per_character,
            }
            for (box_id, lang), cost in costs.items()
        ]
    )
    with page.shown(key="cost", badge=tokens_engine.origin(made.values()), alt=alt, data=table):
        st.html(bars(rows) + note(page.say(f"tokens.cost.{source}.from", n=costs[boxes[0], page.bench.lang].texts)))


@section
def draw_chat(page: Page) -> None:
    """Show the special tokens of the workbench's box, and what is really sent to an instruct box."""
    bench = page.bench
    with st.expander(page.say("tokens.chat.title")):
        tokenizer = tokens_engine.open_tokenizer(bench.box_id)
        st.html(_special_row(page, tokenizer))
        speaker = tokens_engine.speaker((bench.box_id, *engine.boxes_here(DEFAULT_BOX)))
        if speaker is None or speaker[0] != bench.box_id:
            st.write(page.say("tokens.chat.none", box=bench.box_id))
        if speaker is None:
            return
        box_id, template = speaker
        sent = template.render([{"role": "user", "content": bench.sentence}])
        made = tokens_engine.encode(box_id, sent, specials=False)
        st.write(page.say("tokens.chat.sent", box=box_id, n=len(made.value)))
        with page.shown(key="chat", badge=made.badge, alt=_in_words(page, made.value), data=token_table(made.value)):
            st.html(f'<pre class="tok-sent"><bdi>{escape(sent)}</bdi></pre>' + token_row(made.value, bench.say))


@section
def draw_check(page: Page) -> None:
    """Ask how many tokens a sentence gives in a box; the answer is counted when the learner runs it."""
    boxes = engine.boxes_here(DEFAULT_BOX, page.bench.box_id)
    others = [box_id for box_id in boxes if box_id != page.bench.box_id]
    box_id = st.selectbox(page.say("tokens.check.box"), [*others, page.bench.box_id], key="tokens_check_box")
    text = st.text_input(
        page.say("tokens.check.text"),
        value=page.say("tokens.check.sentence"),
        max_chars=200,
        key=f"tokens_check_text_{page.bench.lang}",
    ) or page.say("tokens.check.sentence")
    half, whole = max(len(text) // 2, 1), max(len(text), 2)
    page.check(
        "count",
        question=page.say("tokens.check.question", box=box_id, characters=len(text)),
        options={
            "few": page.say("tokens.check.few", n=half),
            "some": page.say("tokens.check.some", low=half + 1, high=whole),
            "many": page.say("tokens.check.many", low=whole + 1, high=2 * whole),
            "most": page.say("tokens.check.most", n=2 * whole),
        },
        run=lambda: _verdict(page, box_id, text, (half, whole, 2 * whole)),
    )


def token_table(encoding: Encoding) -> pd.DataFrame:
    """Return every token as a row: number, id, piece, bytes, span, word, group."""
    group_of = [number for number, (start, end) in enumerate(encoding.groups) for _ in range(start, end)]
    return pd.DataFrame(
        {
            "token": range(len(encoding)),
            "id": encoding.ids,
            "shown": encoding.labels,
            "piece": encoding.pieces,
            "bytes": [data.hex(" ").upper() for data in encoding.token_bytes],
            "start": [start for start, _ in encoding.offsets],
            "end": [end for _, end in encoding.offsets],
            "special": encoding.special,
            "word": encoding.word_ids,
            "group": group_of,
        }
    )


def _verdict(page: Page, box_id: str, text: str, limits: tuple[int, int, int]) -> Verdict:
    encoding = tokens_engine.encode(box_id, text, specials=False).value
    answer = next(
        (name for name, limit in zip(("few", "some", "many"), limits, strict=True) if len(encoding) <= limit),
        "most",
    )
    tokenizer = tokens_engine.open_tokenizer(box_id)
    lines = [_counts(page, encoding)]
    unknown = _unknown(tokenizer, encoding)
    split = split_characters(encoding.offsets)
    longest = max(encoding.token_bytes, key=len, default=b"")
    if unknown:
        lines.append(page.say("tokens.check.because.unknown", n=unknown))
    if split:
        shown = visible("".join(dict.fromkeys(text[at] for at in split[:8])).encode())
        lines.append(page.say("tokens.check.because.split", n=len(split), characters=_plain(shown)))
    lines.append(page.say("tokens.check.because.longest", token=_plain(visible(longest)), bytes=len(longest)))
    return Verdict(answer=answer, explanation="  \n".join(lines))


def _counts(page: Page, encoding: Encoding) -> str:
    text = encoding.text
    return page.say(
        "tokens.counts",
        tokens=len(encoding),
        characters=len(text),
        bytes=len(text.encode()),
        ratio=f"{len(encoding) / max(len(text), 1):.2f}",
    )


def _card_line(page: Page, box_id: str, encoding: Encoding) -> str:
    tokenizer = tokens_engine.open_tokenizer(box_id)
    line = page.say(
        "tokens.compare.line",
        kind=page.say(f"tokens.kind.{tokenizer.kind}"),
        vocab=f"{tokenizer.vocab_size:,}",
        tokens=len(encoding),
    )
    unknown = _unknown(tokenizer, encoding)
    return f"{line} {page.say('tokens.compare.unknown', n=unknown)}" if unknown else line


def _same_meaning(page: Page, costs: Sequence[Cost]) -> str:
    """How much more the first language costs than the second where both say the same."""
    chinese, english = costs
    return page.say("tokens.cost.same_meaning", ratio=f"{chinese.tokens / max(english.tokens, 1):.2f}")


def _remark(page: Page, cost: Cost) -> str:
    remark = page.say("tokens.cost.remark", characters=f"{cost.characters:,}", tokens=f"{cost.tokens:,}")
    return f"{remark} {page.say('tokens.cost.unknown', n=cost.unknown)}" if cost.unknown else remark


def _cost_line(page: Page, box_id: str, lang: str, cost: Cost) -> str:
    line = page.say(
        "tokens.cost.line",
        box=box_id,
        language=page.say(f"tokens.cost.{lang}"),
        texts=cost.texts,
        characters=f"{cost.characters:,}",
        tokens=f"{cost.tokens:,}",
        ratio=f"{cost.tokens_per_character:.2f}",
    )
    return f"{line} {page.say('tokens.cost.unknown', n=cost.unknown)}" if cost.unknown else line


def _unknown(tokenizer: Tokenizer, encoding: Encoding) -> int:
    unk_token = tokenizer.model.unk_token
    return sum(piece == unk_token for piece in encoding.pieces)


def _in_words(page: Page, encoding: Encoding) -> str:
    """The picture in words: the first tokens with their ids."""
    listed = page.say("common.comma").join(
        f"{label} = {token_id}" for label, token_id in zip(encoding.labels[:60], encoding.ids[:60], strict=True)
    )
    return page.say("tokens.cut.alt", n=len(encoding), listed=listed)


def _special_row(page: Page, tokenizer: Tokenizer) -> str:
    """The box's special tokens with their ids, as HTML."""
    specials = [token for token in tokenizer.added if token.special]
    chips = "".join(
        f'<span class="tok tok-special"><bdi>{escape(visible(token.content.encode()))}</bdi>'
        f"<small>{token.token_id}</small></span>"
        for token in specials[:SHOWN_TOKENS]
    )
    head = page.say("tokens.special.title" if specials else "tokens.special.none", n=len(specials))
    return f'{note(head)}<div class="tok-row">{chips}</div>'


def _plain(text: str) -> str:
    """Text that Markdown leaves alone."""
    return "".join(f"\\{char}" if char.isascii() and not char.isalnum() and char != " " else char for char in text)
