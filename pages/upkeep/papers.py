"""Step 5-1, Papers: what changed which part of the machine, and what is new this week."""

from components import papers_history as history
from components import papers_week as week
from components.frame import sheet
from components.papers_reading import reader

with sheet("papers") as page:
    me = reader(page)
    history.draw_map(page, me)
    history.draw_table(page)
    if me is not None:
        week.draw_shelf(page, me)
    week.draw_new(page, me)
    page.warn()
    history.draw_check(page)
