"""Step 3-5, Deploy: the box in its place, a server that others can ask."""

from components import deploy_sections as sections
from components.frame import sheet

with sheet("deploy") as page:
    sections.draw_settings(page)
    seen = sections.draw_running(page)
    sections.draw_first(page, seen)
    sections.draw_commands(page, seen)
    page.warn()
    sections.draw_check(page, seen)
