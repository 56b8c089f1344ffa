"""Step 3-5, Deploy: the box in its place, a server that others can ask."""

from components import deploy_sections as sections
from components import deploy_take as take
from components.frame import sheet

with sheet("deploy") as page:
    kind = sections.draw_settings(page)
    seen = sections.draw_running(page)
    sections.draw_first(page, seen)
    take.draw_commands(page, seen, kind)
    page.warn()
    sections.draw_check(page, seen)
