"""What a learner keeps: notes, days, what was read and what went wrong, in SQLite.

    me = journal.profiles()[0].id
    journal.add_note(me, "attention", "Head 3 looks at *the*", link="box=gpt2-starter&layer=2")
    journal.streak(journal.days(me)).current

A function that writes takes ``now``, a moment in the learner's zone: it tells which day is counted.
"""

from llmkit.journal.bundle import Import, apply_import, export_all, export_markdown, read_import, undo_import
from llmkit.journal.calendar_file import daily_event
from llmkit.journal.days import Streak, days, streak
from llmkit.journal.errors import JournalError
from llmkit.journal.mistakes import (
    Mistake,
    add_mistake,
    adopt,
    delete_mistake,
    dismiss,
    mistake,
    mistakes,
    offer,
    undelete_mistake,
)
from llmkit.journal.notes import (
    Figure,
    Note,
    add_note,
    delete_note,
    edit_note,
    figure,
    note,
    notes,
    set_figure,
    undelete_note,
)
from llmkit.journal.partners import Partner, export_for_partner, forget_partner, keep_partner, partners
from llmkit.journal.profiles import Profile, make_profile, profile, profiles, rename, set_daily
from llmkit.journal.progress import (
    Passed,
    Planned,
    add_planned,
    delete_planned,
    pass_by,
    planned,
    progress,
    set_done,
    undelete_planned,
)
from llmkit.journal.reading import (
    Reading,
    Work,
    follow,
    pick,
    picked,
    readings,
    set_state,
    topics,
    unfollow,
    unpick,
)
from llmkit.journal.store import backups, restore, set_aside

__all__ = [
    "Figure",
    "Import",
    "JournalError",
    "Mistake",
    "Note",
    "Partner",
    "Passed",
    "Planned",
    "Profile",
    "Reading",
    "Streak",
    "Work",
    "add_mistake",
    "add_note",
    "add_planned",
    "adopt",
    "apply_import",
    "backups",
    "daily_event",
    "days",
    "delete_mistake",
    "delete_note",
    "delete_planned",
    "dismiss",
    "edit_note",
    "export_all",
    "export_for_partner",
    "export_markdown",
    "figure",
    "follow",
    "forget_partner",
    "keep_partner",
    "make_profile",
    "mistake",
    "mistakes",
    "note",
    "notes",
    "offer",
    "partners",
    "pass_by",
    "pick",
    "picked",
    "planned",
    "profile",
    "profiles",
    "progress",
    "read_import",
    "readings",
    "rename",
    "restore",
    "set_aside",
    "set_daily",
    "set_done",
    "set_figure",
    "set_state",
    "streak",
    "topics",
    "undelete_mistake",
    "undelete_note",
    "undelete_planned",
    "undo_import",
    "unfollow",
    "unpick",
]
