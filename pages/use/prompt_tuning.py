"""Step 4-4, Tune the prompt: two versions on the same rows, a winner by numbers, and nonsense made visible."""

from components import prompt_tuning_nonsense as nonsense
from components import prompt_tuning_set as sets
from components import prompt_tuning_trial as trials
from components import prompt_tuning_versions as versions
from components.frame import sheet

with sheet("prompt_tuning") as page:
    box_id = sets.draw_box(page)
    if box_id is not None:
        nonsense.draw_nonsense(page, box_id)
    page.warn()
    trial = sets.draw_set(page, box_id)
    pair = versions.draw_versions(page, trial) if trial is not None else None
    if box_id is not None and trial is not None and pair is not None:
        trials.draw_trial(page, box_id, trial, pair)
    trials.draw_check(page, box_id, trial, pair)
