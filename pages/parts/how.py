"""Step 1-7, How it works: guess the next token, what pre-training and fine-tuning change, and three uses."""

from components import how_canvas
from components import how_sections as sections
from components import how_uses as uses
from components.frame import sheet

with sheet("how") as page:
    how_canvas.dress()
    sections.draw_game(page)
    sections.draw_surprise(page)
    sections.draw_growth(page)
    uses.draw_tuning(page)
    page.warn()
    uses.draw_understanding(page)
    uses.draw_reasoning(page)
    sections.draw_check(page)
