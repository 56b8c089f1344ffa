"""Step 1-4, Self-attention: who looks at whom, what each head does, how, and what is lost without it."""

from components import attention_more as more
from components import attention_sections as sections
from components.fit import draw_fit
from components.frame import Page, section, sheet


@section
def draw_head(page: Page) -> None:
    """Draw all that follows the head; where it settles, the rest of the page stays as it is."""
    layer, head = sections.draw_explorer(page)
    sections.draw_gallery(page)
    sections.draw_steps(page, layer, head)
    page.warn()
    more.draw_off(page, layer, head)
    more.draw_views(page, layer, head)


with sheet("attention") as page:
    draw_head(page)
    more.draw_families(page)
    draw_fit(page, "attention", "attention_weights")
