"""What can go wrong with a journal, so that its reader can be told."""

from typing import Any, Literal

Code = Literal[
    "journal_database",
    "journal_database_newer",
    "journal_profile",
    "journal_name",
    "journal_unknown",
    "journal_empty",
    "journal_long",
    "journal_html",
    "journal_field",
    "journal_figure",
    "journal_figure_large",
    "journal_file",
    "journal_file_unsafe",
    "journal_file_large",
    "journal_file_newer",
    "journal_file_kind",
    "journal_file_changed",
    "journal_partner_self",
    "journal_no_undo",
    "journal_topics",
]


class JournalError(Exception):
    """Something about the journal that its reader can be told.

    Args:
        code: one of `Code`: ``journal_database`` (it cannot be read or written), ``journal_database_newer`` (a newer
            guide wrote it), ``journal_profile`` (no such profile), ``journal_name`` (no name for a profile),
            ``journal_unknown`` (an entry that is no longer there), ``journal_empty`` and ``journal_long`` (a text),
            ``journal_html`` (HTML that could act stands in a text), ``journal_field`` (a value that cannot be),
            ``journal_figure`` and ``journal_figure_large`` (neither PNG nor CSV; too large), ``journal_file`` (no
            export of a journal), ``journal_file_unsafe``, ``journal_file_large``, ``journal_file_newer``,
            ``journal_file_kind`` (a partner's file where an export is wanted, or the other way round),
            ``journal_file_changed`` (the journal has changed since the import was shown), ``journal_partner_self``
            (one's own file), ``journal_no_undo`` (there is nothing that could be undone),
            ``journal_topics`` (enough searches are followed).
        values: what the sentence names.
    """

    def __init__(self, code: Code, **values: Any) -> None:
        listed = ", ".join(f"{name}={value}" for name, value in values.items())
        super().__init__(f"{code}: {listed}" if listed else code)
        self.code = code
        self.values = values
