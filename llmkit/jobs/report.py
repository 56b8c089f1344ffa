"""How a task says how far it is, and learns that nobody wants its result any more."""

from pathlib import Path
from typing import Any, Protocol


class Cancelled(BaseException):
    """The job was cancelled: let it pass. Not an `Exception`, so that no task's `except Exception` eats it."""


class Report(Protocol):
    """What a task is given to report with: ``report(3, 20, "what is being done")``.

    Attributes:
        folder: an empty folder for big files (.npz); kept as it is when the task returns, thrown away otherwise.
            Name files in the result by their name alone: `llmkit.jobs.folder(id)` is where they lie in the end.
    """

    folder: Path

    def __call__(self, done: float, total: float, note: str = "", partial: Any = None) -> None:
        """Say how far the work is; call it often, it is cheap.

        Args:
            done, total: in any unit that grows evenly; time left is told from them.
            note: what is being done: a name as it is, or "reading" for the text ``["note.reading"]`` of ``jobs.toml``.
            partial: plain data that a page can draw meanwhile; the last one stands.

        Raises:
            Cancelled: nobody wants the result any more.
        """

    def log(self, text: str) -> None:
        """Write a line into the job's log."""


class DirectReport:
    """A report for a task that is called directly, by a test or a command; it keeps what was said.

    Args:
        folder: where the task may put its files.

    Attributes:
        said: each report as (done, total, note). partials: what was shown meanwhile. lines: the log.
        cancelled: set it, and the next report raises `Cancelled`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[tuple[float, float, str]] = []
        self.partials: list[Any] = []
        self.lines: list[str] = []
        self.cancelled = False

    def __call__(self, done: float, total: float, note: str = "", partial: Any = None) -> None:
        self.said.append((done, total, note))
        if partial is not None:
            self.partials.append(partial)
        if self.cancelled:
            raise Cancelled

    def log(self, text: str) -> None:
        self.lines.append(text)
