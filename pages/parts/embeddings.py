"""Step 1-2, Embeddings: an id picks a row, rows have neighbours, and layers make them depend on the sentence."""

from components import embeddings_sections as sections
from components.fit import draw_fit
from components.frame import sheet

with sheet("embeddings") as page:
    token_id = sections.draw_row(page)
    sections.draw_neighbours(page, token_id)
    page.warn()
    with page.guard():
        sections.draw_cloud(page)
    with page.guard():
        sections.draw_arithmetic(page)
    with page.guard():  # a sentence too long for a heatmap must not take the rest of the page with it
        sections.draw_likeness(page)
    with page.guard():
        sections.draw_two_uses(page)
    with page.guard():
        draw_fit(page, "embedding", "hidden_states")
