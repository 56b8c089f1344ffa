"""Step 1-3, Positional encoding: waves, a learned table, turning pairs, slopes; and the model without them."""

from components import positions_sections as sections
from components.fit import draw_fit
from components.frame import sheet

with sheet("positions") as page:
    sections.draw_waves(page)
    sections.draw_learned(page)
    sections.draw_rotary(page)
    sections.draw_alibi(page)
    page.warn()
    sections.draw_experiment(page)
    draw_fit(page, "positions")
