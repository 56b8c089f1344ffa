"""Step 3-4, LoRA: two thin matrices beside frozen ones, what they change, and the memory that freezing saves."""

from components import lora_sections as sections
from components import lora_share as share
from components import lora_strength as strength
from components import lora_training as training
from components.frame import sheet

with sheet("lora") as page:
    desk = None
    with page.guard():
        desk = sections.draw_desk(page)
    page.warn()
    if desk is not None:
        training.draw_bench(page, desk)
        strength.draw_strength(page, desk)
        strength.draw_merging(page, desk)
        share.draw_share(page, desk)
        sections.draw_check(page, desk)
