"""Step 2-1, Build bench: parts chosen and counted, a real box's weights fitted onto them, one part exchanged."""

from components import build_fit, build_sections, build_swap
from components.frame import sheet

with sheet("build") as page:
    plan = build_sections.draw_bench(page)
    page.warn()
    build_sections.draw_built(page, plan)
    fits = False
    with page.guard():
        fits = build_fit.draw_weights(page, plan)
    if fits:
        with page.guard():
            build_swap.draw_swap(page)
    build_sections.draw_keep(page, plan)
    build_sections.draw_checks(page, plan)
