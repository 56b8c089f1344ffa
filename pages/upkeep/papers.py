"""Step 5-1, Papers: what changed which part of the machine, and what is new this week."""

from components import papers_history as history
from components import papers_week as week
from components.frame import sheet
from components.papers_reading import open_desk

with sheet("papers") as page:
    desk = open_desk(page)
    history.draw_map(page, desk)
    history.draw_table(page)
    if desk is not None:
        week.draw_shelf(page, desk)
    week.draw_new(page, desk)
    page.warn()
    history.draw_check(page)
