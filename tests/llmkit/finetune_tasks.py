"""Fine-tuning as a job that takes its time, so that a test can end it in the middle."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from llmkit.jobs import Report
from llmkit.tune import finetune, finetune_job


def slow(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``finetune``, a tenth of a second a step, its state written at every measurement."""
    finetune.SAVE_SHARE = 0
    real, steps = finetune.Finetuning._learn, []

    def learn(self: finetune.Finetuning, rows: Any) -> float:
        time.sleep(0.1)
        loss = real(self, rows)
        steps.append(self.step)
        return loss

    finetune.Finetuning._learn = learn  # type: ignore[method-assign]
    return {**finetune_job.run(settings, report), "first_step_of_this_sitting": steps[0]}
