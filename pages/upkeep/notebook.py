"""Step 5-3, the notebook: the days, the week's plan, the notes, the error log, the partners; all of it to take away."""

from components import notebook_desk as desk
from components import notebook_sharing as sharing
from components.frame import sheet

with sheet("notebook") as page:
    me = desk.draw_profile(page)
    if me is not None:
        desk.draw_days(page, me)
        desk.draw_plan(page, me)
        desk.draw_notes(page, me)
        desk.draw_mistakes(page, me)
        sharing.draw_partners(page, me)
        sharing.draw_files(page, me)
    page.warn()
    if me is not None:
        desk.draw_check(page, me)
