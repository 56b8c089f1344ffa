"""A journal to read: one Markdown text."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any


def as_markdown(content: Mapping[str, Any]) -> str:
    """Return an export's content as Markdown: notes by page, error log, plan, papers, days. Deleted rows stay out.

    Titles are the names that the file itself uses, for it is read by people of either language.
    """
    about = content["profile"]
    lines = [f"# journal · {about['name'] or about['id'][:8]} · {_when(about['made_at'])}", ""]
    notes = [row for row in content.get("notes", ()) if row["deleted_at"] is None]
    for page in sorted({row["page"] for row in notes}):
        lines += [f"## {page}", ""]
        for row in sorted((row for row in notes if row["page"] == page), key=lambda row: row["created_at"]):
            link = f" · [{page}](/{page}?{row['link']})" if row["link"] else ""
            lines += [f"### {_when(row['created_at'])}{link}", "", row["text"], ""]
            if row["figure_kind"]:
                file = f"figures/{row['id']}.{row['figure_kind']}"
                words = [_inert(row[name]) for name in ("figure_name", "figure_badge") if row[name]]
                lines += [" · ".join((f"[{file}]({file})", *words)), ""]
    kept = [row for row in content.get("mistakes", ()) if row["state"] == "kept" and row["deleted_at"] is None]
    if kept:
        lines += ["## error log", ""]
        for row in kept:
            told = " ".join(piece for piece in (row["code"], row["what"]) if piece)
            lines += [f"- {_when(row['last_at'])} · {row['page']} · {told}"]
            lines += [f"  - {name}: {' '.join(row[name].split())}" for name in ("why", "mended") if row[name]]
        lines.append("")
    planned = [row for row in content.get("plan", ()) if row["deleted_at"] is None]
    if planned:
        lines += ["## plan", ""]
        for row in sorted(planned, key=lambda row: row["week"]):
            lines.append(f"- [{'x' if row['done_at'] else ' '}] {row['week']} · {row['title']}")
        lines.append("")
    papers = [row for row in content.get("papers", ()) if row["state"] != "unread" or row["week"]]
    if papers:
        lines += ["## papers", ""]
        for row in sorted(papers, key=lambda row: row["created_at"]):
            told = " · ".join(_inert(row[name]) for name in ("week", "title", "authors", "id") if row[name])
            lines.append(f"- [{'x' if row['state'] == 'done' else ' '}] {told}")
        lines.append("")
    followed = [row["words"] for row in content.get("topics", ()) if row["deleted_at"] is None]
    if followed:
        lines += ["## topics", "", *(f"- {_inert(words)}" for words in followed), ""]
    if content.get("days"):
        lines += ["## days", ""]
        lines += [f"- {row['day']}: {row['actions']}" for row in content["days"]]
        lines.append("")
    return "\n".join(lines)


def _inert(text: str) -> str:
    """A stranger's text, so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_\[\]<>#|~])", r"\\\1", text)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
