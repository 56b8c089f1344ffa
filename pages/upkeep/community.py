"""Step 5-2, Community and courses: where to ask about a sheet, where to learn more, and a question to post."""

from components import community_places as places
from components import community_question as question
from components.frame import sheet

with sheet("community") as page:
    step = places.draw_choice(page)
    places.draw_wall(page, step)
    places.draw_list(page, step)
    question.draw_template(page, step)
    page.warn()
    question.draw_check(page)
