"""Step 2-5, Fine-tune: all weights, a frozen body, LoRA; side by side on the same data, before and after."""

from components import finetune_bench as bench
from components import finetune_more as more
from components.frame import sheet

with sheet("finetune") as page:
    chosen = bench.draw_choice(page)
    page.warn()
    if chosen is not None:
        bench.draw_bench(page, *chosen)
        more.draw_checks(page, *chosen)
    more.draw_shelf(page)
