"""Step 1-6, The engine: the whole transformer as one drawing, its stream flowing, read off and taken apart."""

from components import exploded_sections as sections
from components.fit import draw_fit
from components.frame import sheet

with sheet("engine") as page:
    sections.draw_machine(page)
    page.warn()
    sections.draw_lens(page)
    sections.draw_adds(page)
    draw_fit(
        page,
        "embedding",
        "positions",
        "norm",
        "attention",
        "feed_forward",
        "block",
        "unembedding",
        "hidden_states",
        "attention_weights",
        "logits",
    )
    sections.draw_checks(page)
