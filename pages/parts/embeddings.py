"""Step 1-2, Embeddings: an id picks a row, rows have neighbours, and layers make them depend on the sentence."""

from components import embeddings_sections as sections
from components.fit import draw_fit
from components.frame import sheet

with sheet("embeddings") as page:
    sections.draw_table(page)
    page.warn()
    sections.draw_cloud(page)
    sections.draw_arithmetic(page)
    sections.draw_likeness(page)
    sections.draw_two_uses(page)
    draw_fit(page, "embedding", "hidden_states")
