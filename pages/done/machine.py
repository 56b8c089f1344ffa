"""Done: the machine that was really built, and how to take it away."""

from components import done_sections as sections
from components.frame import sheet

with sheet("done") as page:
    stages = sections.draw_machine(page)
    sections.draw_paper(page, stages)
    page.warn()
    sections.draw_check(page, stages)
