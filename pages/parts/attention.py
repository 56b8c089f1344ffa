"""Step 1-4, Self-attention: who looks at whom, what each head does, how, and what is lost without it."""

from components import attention_more as more
from components import attention_sections as sections
from components.fit import draw_fit
from components.frame import sheet

with sheet("attention") as page:
    layer, head = sections.draw_explorer(page)
    sections.draw_gallery(page)
    sections.draw_steps(page, layer, head)
    page.warn()
    more.draw_off(page, layer, head)
    more.draw_families(page)
    more.draw_views(page, layer, head)
    draw_fit(page, "attention", "attention_weights")
