"""What a job is: a record of work that was asked for, where it stands, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
ACTIVE: frozenset[State] = frozenset(("queued", "running"))

Code = Literal[
    "job_unknown",
    "job_active",
    "job_database",
    "job_database_newer",
    "job_failed",
    "job_memory",
    "job_killed",
    "job_crashed",
    "job_interrupted",
    "record_nothing",
    "record_plan",
    "record_broken",
    "record_newer",
    "record_unsafe",
    "record_large",
]


class JobError(Exception):
    """Something about a job that its reader can be told.

    Args:
        code: one of `Code`: ``job_unknown`` (no such job), ``job_active`` (it is not over yet), ``job_database`` (the
            list of jobs cannot be read or written), ``job_database_newer`` (a newer guide wrote it), ``job_failed``
            (its task raised), ``job_memory`` (memory ran out), ``job_killed`` (the system killed it), ``job_crashed``
            (its process ended), ``job_interrupted`` (the app or the machine stopped); of a recording ``record_nothing``
            (none of its jobs is done), ``record_plan`` (no list of jobs), ``record_broken``, ``record_newer``,
            ``record_unsafe`` (a file that none should hold), ``record_large``. A job's own ``error`` has
            the code of the exception that its task raised, where that has one.
        values: what the sentence names.
    """

    def __init__(self, code: str, **values: Any) -> None:
        listed = ", ".join(f"{name}={value}" for name, value in values.items())
        super().__init__(f"{code}: {listed}" if listed else code)
        self.code = code
        self.values = values


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where one job stands.

    Args:
        id: its name: the kind and the first digits of the settings' hash; a folder is called so.
        kind: which task, a key of `llmkit.jobs.kinds.KINDS`. settings: what it is given; with the kind, its identity.
        state: ``queued``, ``running``, ``done``, ``failed``, ``cancelled`` or ``interrupted``.
        done, total: progress as the task counts it; total 0 where it has said nothing yet.
        note: what is being done.
        position: its place among those that wait, from 1; None unless queued.
        created_at, started_at, ended_at: seconds since 1970; None where it has not come to that.
        seconds_left: from the progress so far; None where it cannot be told.
        error: why it failed or was interrupted; raise it inside `page.guard()`.
        result: what the task returned (plain data); None unless done, and in `all_jobs`.
        partial: the last of what the task showed meanwhile; None when done, and in `all_jobs`.
        cancelling: a cancel has been asked for and the process has not ended yet.
        made_with: "device", "dtype", "versions", "date" of the process that computed the result.
        size_bytes: of its files.
    """

    id: str
    kind: str
    settings: Mapping[str, Any]
    state: State
    done: float = 0
    total: float = 0
    note: str = ""
    position: int | None = None
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    seconds_left: float | None = None
    error: JobError | None = None
    result: Any = None
    partial: Any = None
    cancelling: bool = False
    made_with: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int = 0

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return min(max(self.done / self.total, 0.0), 1.0) if self.total > 0 else 0.0

    @property
    def seconds(self) -> float | None:
        """How long it ran; None while it has not ended, and where it never began."""
        return None if self.started_at is None or self.ended_at is None else max(self.ended_at - self.started_at, 0.0)
