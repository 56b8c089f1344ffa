"""Step 3-2, Prune: single weights, heads, neurons, layers; how far it goes, what it saves, and how a box recovers."""

from components import prune_costs as costs
from components import prune_sections as sections
from components.frame import sheet

with sheet("prune") as page:
    page.warn()
    kind = sections.draw_kind(page)
    sections.draw_cliff(page, kind)
    costs.draw_cost(page)
    costs.draw_recover(page, kind)
    sections.draw_check(page, kind)
