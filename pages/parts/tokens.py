"""Step 1-1, Tokens: how the box cuts the sentence, merge by merge, beside other boxes."""

from components import tokens_sections as sections
from components.frame import sheet

with sheet("tokens") as page:
    sections.draw_cut(page)
    sections.draw_steps(page)

    with page.guard():  # a broken box among the others must not take the rest of the page with it
        boxes = sections.draw_side_by_side(page)
        sections.draw_cost(page, boxes)

    page.warn()
    with page.guard():
        sections.draw_chat(page)
    with page.guard():
        sections.draw_check(page)
