"""Step 1-1, Tokens: how the box cuts the sentence, merge by merge, beside other boxes."""

from components import tokens_sections as sections
from components.frame import sheet

with sheet("tokens") as page:
    sections.draw_cut(page)
    sections.draw_steps(page)
    sections.draw_boxes(page)
    page.warn()
    sections.draw_chat(page)
    sections.draw_check(page)
