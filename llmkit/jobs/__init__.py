"""Background jobs: work that belongs to the app, not to the tab.

    job = jobs.submit("few_shot", {"box_id": "gpt2-starter", "shots": 4})
    jobs.get(job.id).state, jobs.get(job.id).result

A task is ``def run(settings, report)``, named in `llmkit.jobs.kinds.KINDS`; it runs in a process of its own, calls
``report(done, total, note)`` often, and returns plain data.
"""

from llmkit.jobs.job import Job, JobError, State
from llmkit.jobs.queue import all_jobs, attend, cancel, find, folder, forget, get, log, retry, set_aside, stop, submit
from llmkit.jobs.report import Cancelled, DirectReport, Report

__all__ = [
    "Cancelled",
    "DirectReport",
    "Job",
    "JobError",
    "Report",
    "State",
    "all_jobs",
    "attend",
    "cancel",
    "find",
    "folder",
    "forget",
    "get",
    "log",
    "retry",
    "set_aside",
    "stop",
    "submit",
]
