"""Step 1-5, Feed-forward: the neurons, what bends them, what they write towards, what fires them, what is lost."""

from components import feed_forward_changes as changes
from components import feed_forward_firing as firing
from components import feed_forward_more as more
from components import feed_forward_sections as sections
from components.fit import draw_fit
from components.frame import Page, section, sheet


@section
def draw_neuron(page: Page) -> None:
    """Draw all that follows the neuron; where it settles, the rest of the page stays as it is."""
    layer, token, neuron = sections.draw_machine(page)
    more.draw_curves(page)
    sections.draw_strongest(page, layer, token)
    firing.draw_firing(page, layer, neuron)
    page.warn()
    changes.draw_off(page, layer, neuron)


with sheet("feed_forward") as page:
    draw_neuron(page)
    more.draw_share(page)
    draw_fit(page, "feed_forward")
