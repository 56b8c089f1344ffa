"""A journal as a file: it comes back whole, merges without doubles, and nothing hostile gets in."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmkit import journal
from llmkit.journal import archive, store
from tests.llmkit.test_journal import PNG, BrokenError, refused

ATTENTION = journal.Work(
    id="1706.03762",
    title="Attention *Is* All You <Need>",
    authors="A. Vaswani",
    address="https://arxiv.org/abs/1706.03762",
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a journal of its own."""
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


@pytest.fixture
def me(place: Path) -> str:
    profile = journal.profiles()[0].id
    figure = journal.Figure(kind="png", name="heads", content=PNG, key="tokens_cut", badge="live", left_out=3)
    journal.add_note(profile, "tokens", "第一則 <s> `<script>`", link="layer=2", settings={"a": 1}, figure=figure)
    journal.delete_note(profile, journal.add_note(profile, "tokens", "gone").id)
    journal.offer(profile, BrokenError(), page="attention")
    journal.add_mistake(profile, "tokens", "what", why="why", mended="mended")
    journal.add_planned(profile, "1706.03762")
    journal.pass_by(profile, "tokens", "step", "do.cut")
    journal.set_state(profile, ATTENTION, "done")
    journal.pick(profile, ATTENTION)
    journal.follow(profile, "rotary embedding")
    return profile


def dump(profile: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of a profile, without whose it is and where it lies."""
    figure = "figure, figure_kind, figure_name, figure_key, figure_badge, figure_left_out"
    tables = {"notes": f"id, page, text, link, settings, {figure}, created_at, changed_at"}
    with store.database() as connection:
        return {
            table: sorted(
                tuple(row)
                for row in connection.execute(
                    f"SELECT {tables.get(table, '*')} FROM {table} WHERE profile = ?", (profile,)
                ).fetchall()
            )
            for table in ("notes", "mistakes", "plan", "progress", "days", "papers", "topics")
        }


def bare(profile: str) -> str:
    return json.dumps(dump(profile), default=bytes.hex).replace(profile, "")


def test_an_export_comes_back_whole_and_can_be_taken_back(me: str) -> None:
    other = journal.make_profile("other").id
    empty = bare(other)
    file = journal.export_all(me)
    shown = journal.read_import(other, file)
    assert bare(other) == empty  # nothing is written before it is said
    assert (shown.added["notes"], sum(shown.replaced.values()), shown.same) == (2, 0, 0)
    number = journal.apply_import(other, shown)
    assert bare(other) == bare(me)
    again = journal.read_import(other, file)
    assert not any(again.added.values())
    assert not any(again.replaced.values())
    assert again.same == sum(shown.added.values())
    assert journal.undo_import(other, number) == sum(shown.added.values())
    assert bare(other) == empty
    with refused("journal_no_undo"):
        journal.undo_import(other, number)


def test_the_newer_wording_wins_and_undo_spares_later_work(me: str) -> None:
    other = journal.make_profile("other").id
    journal.apply_import(other, journal.read_import(other, journal.export_all(me)))
    (note,) = journal.notes(me)
    journal.edit_note(me, note.id, "newer")
    file = journal.export_all(me)
    shown = journal.read_import(other, file)
    assert shown.replaced["notes"] == 1
    number = journal.apply_import(other, shown)
    assert journal.note(other, note.id).text == "newer"
    assert journal.undo_import(other, number) == 1
    assert journal.note(other, note.id).text.startswith("第一則")
    assert journal.figure(other, note.id).content == PNG  # type: ignore[union-attr]
    number = journal.apply_import(other, journal.read_import(other, file))
    journal.edit_note(other, note.id, "mine since")
    assert journal.undo_import(other, number) == 0
    assert journal.note(other, note.id).text == "mine since"
    assert not any(journal.read_import(other, file).replaced.values())  # older than what is here


def test_what_was_shown_is_what_is_done(me: str) -> None:
    other = journal.make_profile("other").id
    shown = journal.read_import(other, journal.export_all(me))
    journal.apply_import(other, shown)
    with refused("journal_file_changed"):
        journal.apply_import(other, shown)


def test_markdown_says_it_all(me: str) -> None:
    text = journal.export_markdown(me)
    told = r"Attention \*Is\* All You \<Need\>"
    for piece in ("## tokens", "第一則", "(/tokens?layer=2)", "mended", "1706.03762", told, "- rotary embedding"):
        assert piece in text
    assert "gone" not in text


def test_partners_stand_beside_and_never_inside(me: str) -> None:
    friend = journal.make_profile("小美").id
    journal.add_note(friend, "attention", "hers")
    before = bare(me)
    kept = journal.keep_partner(me, journal.export_for_partner(friend))
    assert (kept.name, [note.text for note in kept.notes]) == ("小美", ["hers"])
    assert bare(me) == before
    assert journal.keep_partner(me, journal.export_for_partner(friend, with_notes=False)).notes == ()
    assert len(journal.partners(me)) == 1
    mine = journal.export_for_partner(me)
    assert b"1706.03762" not in zipfile.ZipFile(io.BytesIO(mine)).read("journal.json")  # nor what is read
    assert b"mended" not in zipfile.ZipFile(io.BytesIO(mine)).read("journal.json")  # the error log stays at home
    with refused("journal_partner_self"):
        journal.keep_partner(me, mine)
    with refused("journal_file_kind"):
        journal.keep_partner(me, journal.export_all(friend))
    with refused("journal_file_kind"):
        journal.read_import(me, mine)
    journal.forget_partner(me, friend)
    assert journal.partners(me) == ()


def changed(file: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The same export with another book."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename == "journal.json":
                book = json.loads(content)
                change(book)
                content = json.dumps(book).encode()
            new.writestr(info.filename, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda book: book.update(version=4), "journal_file_newer"),
        (lambda book: book.update(version="1"), "journal_file"),
        (lambda book: book.update(format="other"), "journal_file"),
        (lambda book: book.update(notes={}), "journal_file"),
        (lambda book: book.update(profile=3), "journal_file"),
        (lambda book: book["notes"].append(book["notes"][0]), "journal_file"),
        (lambda book: book["notes"][0].update(text="<img src=x onerror=alert(1)>"), "journal_html"),
        (lambda book: book["notes"][0].update(text="x" * 20_001), "journal_long"),
        (lambda book: book["notes"][0].update(id="../../x"), "journal_field"),
        (lambda book: book["notes"][0].update(page="//evil.example"), "journal_field"),
        (lambda book: book["notes"][0].update(created_at=1e999), "journal_field"),
        (lambda book: book["notes"][0].update(figure_kind="csv"), "journal_file"),
        (lambda book: book["notes"][0].update(figure_left_out=-1), "journal_field"),
        (lambda book: book["notes"][0].pop("figure_badge"), "journal_field"),
        (lambda book: book["mistakes"][0].update(state="loud"), "journal_field"),
        (lambda book: book["mistakes"][0].update(details="[1]"), "journal_field"),
        (lambda book: book["days"][0].update(day="2026-02-30"), "journal_field"),
        (lambda book: book["days"][0].update(actions=True), "journal_field"),
        (lambda book: book["plan"][0].update(week="2026-W99"), "journal_field"),
        (lambda book: book.pop("papers"), "journal_file"),
        (lambda book: book["papers"][0].update(id="a b"), "journal_field"),
        (lambda book: book["papers"][0].update(address="javascript:alert(1)"), "journal_field"),
        (lambda book: book["papers"][0].update(address='https://a.example/"onclick='), "journal_field"),
        (lambda book: book["papers"][0].update(state="read"), "journal_field"),
        (lambda book: book["papers"][0].update(week="2026-W99"), "journal_field"),
        (lambda book: book["topics"][0].update(words="x" * 81), "journal_long"),
    ],
)
def test_a_wrong_book_is_refused(me: str, change: Callable[[dict[str, Any]], object], code: str) -> None:
    before = bare(me)
    with refused(code):
        journal.read_import(me, changed(journal.export_all(me), change))
    assert bare(me) == before


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "/etc/passwd", "C:\\evil", "figures/../../x.png", "figures\\x.png", "notes.html", "journal.json/"],
)
def test_path_tricks_are_refused(me: str, place: Path, name: str) -> None:
    out = io.BytesIO(journal.export_all(me))
    with zipfile.ZipFile(out, "a") as packed:
        packed.writestr(name, "x")
    before = sorted(place.parent.rglob("*"))
    with refused("journal_file_unsafe"):
        journal.read_import(me, out.getvalue())
    assert sorted(place.parent.rglob("*")) == before


def test_links_doubles_bombs_and_noise_are_refused(me: str) -> None:
    link = zipfile.ZipInfo(f"figures/{'a' * 32}.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO(journal.export_all(me))
    with zipfile.ZipFile(out, "a") as packed:
        packed.writestr(link, "/etc/passwd")
    with refused("journal_file_unsafe"):
        journal.read_import(me, out.getvalue())
    out = io.BytesIO(journal.export_all(me))
    with zipfile.ZipFile(out, "a") as packed, pytest.warns(UserWarning, match="Duplicate"):
        packed.writestr("journal.json", "{}")
    with refused("journal_file_unsafe"):
        journal.read_import(me, out.getvalue())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("journal.json", b" " * 40_000_000)
    with refused("journal_file_large"):
        journal.read_import(me, out.getvalue())
    lying = bytearray(out.getvalue())  # the same bomb, but its heads tell a small size
    size = (40_000_000).to_bytes(4, "little")
    with refused("journal_file"):
        journal.read_import(me, bytes(lying).replace(size, (1000).to_bytes(4, "little")))
    for noise in (b"", b"PK", b"hello", out.getvalue()[:-30]):
        with refused("journal_file"):
            journal.read_import(me, noise)
    with refused("journal_file_large"):
        journal.read_import(me, b"x" * (archive.MOST_BYTES + 1))
