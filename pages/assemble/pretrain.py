"""Step 2-6, Train one from nothing: a text, one dial, a run to watch, and a box on the shelf."""

from components import pretrain_plan, pretrain_run, pretrain_text
from components.frame import sheet
from components.source import draw_source

with sheet("pretrain") as page:
    from llmkit.tune.from_nothing import FromNothing
    from llmkit.tune.recipe import Recipe
    from llmkit.tune.shards import Shards

    pretrain_run.dress()
    source = pretrain_text.draw_text(page)
    plan = pretrain_plan.draw_plan(page, source) if source is not None else None
    result = pretrain_run.draw_run(page, plan) if plan is not None else None
    if plan is not None and result is not None:
        pretrain_run.draw_result(page, plan, result)
    draw_source(page, FromNothing, Recipe, Shards)
    page.warn()
    pretrain_run.draw_check(page, result)
