"""Step 4-2, Content generation: a brief, the prompt that it becomes, drafts side by side, checked, edited, exported."""

from components import content_editor as editor
from components import content_sections as sections
from components.frame import sheet

with sheet("content") as page:
    brief = sections.draw_brief(page)
    page.warn()
    if brief is not None:
        task = sections.draw_writer(page, brief)
        if task is not None:
            sections.draw_drafts(page, task, brief)
        editor.draw_editor(page, brief)
        sections.draw_check(page, brief)
