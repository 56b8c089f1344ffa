"""Step 3-1, Quantise: one matrix rounded to a few bits, and what rounding costs the box."""

from components import quantise_sections as sections
from components.frame import sheet
from components.quantise_bench import draw_bench

with sheet("quantise") as page:
    sections.draw_inside(page)
    sections.draw_head(page)
    draw_bench(page)
    sections.draw_check(page)
