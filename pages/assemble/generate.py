"""Step 2-4, Task B, generate: the next token chosen again and again, in the open, step by step and side by side."""

from components import generate_more as more
from components import generate_sections as sections
from components import generate_settings as settings
from components import generate_tree as tree
from components.frame import sheet

with sheet("generate") as page:
    task = settings.draw_prompt(page)
    settings.draw_pipeline(page, task)
    sections.draw_writing(page, task)
    page.warn()
    tree.draw_steps(page, task)
    tree.draw_beams(page, task)
    sections.draw_columns(page, task)
    more.draw_cache(page, task)
    more.draw_check(page, task)
