"""Step 2-3, Task A, classify: the same held-out rows through six ways; which is right how often, how sure, how dear."""

from components import classify_sections as sections
from components.frame import sheet

with sheet("classify") as page:
    rows = sections.draw_data(page)
    page.warn()
    if rows is not None:
        choice = sections.draw_choice(page, rows)
        sections.draw_board(page, rows, choice)
        sections.draw_typed(page, rows, choice)
        sections.draw_check(page, rows, choice)
