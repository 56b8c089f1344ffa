"""Step 1-8, Prompts: instruction, examples and question, what they change, what is really sent, what it costs."""

from components import prompts_more as more
from components import prompts_sections as sections
from components.frame import sheet

with sheet("prompts") as page:
    choice = sections.draw_choice(page)
    if choice is not None:
        sections.draw_accuracy(page, choice)
        page.warn()
        text = sections.draw_review(page, choice)
        if text is not None:
            sections.draw_one(page, choice, text)
            more.draw_template(page, choice, text)
            more.draw_pair(page, choice, text)
        more.draw_costs(page, choice)
        sections.draw_check(page, choice)
    else:
        page.warn()
