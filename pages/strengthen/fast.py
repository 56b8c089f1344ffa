"""Step 3-3, Fast inference: the box as an ONNX graph, fused, raced, and taken along."""

from components import fast_race as race
from components import fast_sections as sections
from components.deploy_engine import require_whole
from components.frame import sheet

with sheet("fast") as page:
    shown = None
    with page.guard():
        require_whole(page.bench)
        shown = sections.draw_export(page)
        if shown is not None:
            sections.draw_graph(page, shown)
            sections.draw_fusion(page, shown)
        race.draw_race(page)
        race.draw_providers(page, shown)
        if shown is not None:
            sections.draw_take(page, shown)
        sections.draw_other(page)
    page.warn()
    sections.draw_check(page, shown)
