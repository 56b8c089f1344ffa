"""The room: who may do what, what is counted, and what two processes and a broken file do to it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from llmkit import workshop
from llmkit.workshop import store

CHILD = """
import sys
from llmkit import workshop
code, start = sys.argv[1], int(sys.argv[2])
for n in range(start, start + 20):
    guest = workshop.join(code, f"device-{n}")
    workshop.predict(guest.id, "tokens.count", "more" if n % 2 else "fewer")
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path))
    return tmp_path


def test_no_room_leaves_no_file(own_home: Path) -> None:
    assert workshop.room() is None
    assert not workshop.is_instructor("anything")
    assert list(own_home.iterdir()) == []


def test_one_room_at_a_time_and_only_its_instructor_acts() -> None:
    room, key = workshop.open_room()
    assert workshop.room() == room
    assert workshop.is_instructor(key)
    assert not workshop.is_instructor(key + "x")
    assert not workshop.is_instructor("")
    with pytest.raises(workshop.WorkshopError, match="room_taken"):
        workshop.open_room()
    for act in (workshop.close_room, workshop.reset, lambda k: workshop.set_closed(k, ["tokens"])):
        with pytest.raises(workshop.WorkshopError, match="room_not_yours"):
            act("not the key")
    workshop.set_closed(key, ["tokens", "attention", "tokens"])
    workshop.teach_at(key, "embeddings")
    now = workshop.room()
    assert now is not None
    assert (now.closed, now.page) == ({"tokens", "attention"}, "embeddings")
    workshop.close_room(key)
    assert workshop.room() is None
    assert not workshop.is_instructor(key)


def test_the_key_is_in_no_file(own_home: Path) -> None:
    _, key = workshop.open_room()
    for path in own_home.rglob("*"):
        assert path.is_dir() or key.encode() not in path.read_bytes()


def test_a_device_is_one_guest_however_often_it_comes() -> None:
    room, _ = workshop.open_room()
    first = workshop.join(room.code.lower(), "a")
    second = workshop.join(room.code, "b")
    assert (first.number, second.number) == (1, 2)
    assert workshop.join(room.code, "a").number == 1
    for code, device in (("QQQQ", "c"), (room.code, ""), ("", "c")):
        with pytest.raises(workshop.WorkshopError, match="room_unknown"):
            workshop.join(code, device)


def test_the_last_word_of_each_guest_counts() -> None:
    room, key = workshop.open_room()
    for device, answers in {"a": ["x", "y"], "b": ["x"], "c": ["y", "y"]}.items():
        guest = workshop.join(room.code, device)
        for answer in answers:
            workshop.predict(guest.id, "q", answer)
    workshop.predict("nobody", "q", "x")
    assert workshop.predictions("q") == {"x": 1, "y": 2}
    assert workshop.predictions("another") == {}
    workshop.reset(key)
    assert workshop.predictions("q") == {}
    assert workshop.guests() == ()


def test_hands_come_first_and_names_are_plain() -> None:
    room, _ = workshop.open_room()
    for device in "abc":
        workshop.join(room.code, device)
    workshop.hand("c", up=True)
    workshop.hand("b", up=True)
    since = workshop.guests()[0].hand_at
    workshop.hand("c", up=True)
    assert [guest.id for guest in workshop.guests()] == ["c", "b", "a"]
    assert workshop.guests()[0].hand_at == since
    workshop.hand("c", up=False)
    assert [guest.id for guest in workshop.guests()] == ["b", "a", "c"]
    workshop.rename("a", "  小明\u202e\n<b>  " + "長" * 100)
    name = next(guest.name for guest in workshop.guests() if guest.id == "a")
    assert name == ("小明<b> " + "長" * 100)[: workshop.NAME_CHARACTERS]


def test_moved_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    room, _ = workshop.open_room()
    clock = [1_000_000.0]
    monkeypatch.setattr("llmkit.workshop.guest.time.time", lambda: clock[0])
    workshop.join(room.code, "a")
    clock[0] += 40
    workshop.seen("a", "tokens", moved=False)
    (guest,) = workshop.guests()
    assert (guest.seen_at - guest.moved_at, guest.page, guest.is_here()) == (40, "tokens", True)
    clock[0] += 50
    assert not guest.is_here()
    workshop.seen("a", "tokens", moved=True)
    (guest,) = workshop.guests()
    assert guest.seen_at == guest.moved_at == clock[0]


def test_a_full_room_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmkit.workshop.guest.MOST_GUESTS", 2)
    room, _ = workshop.open_room()
    for device in "ab":
        workshop.join(room.code, device)
    with pytest.raises(workshop.WorkshopError, match="room_full"):
        workshop.join(room.code, "c")
    assert workshop.join(room.code, "a").number == 1


def test_three_processes_write_at_once() -> None:
    room, _ = workshop.open_room()
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, room.code, str(start)], cwd=Path(__file__).parents[2])
        for start in (0, 20, 40)
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert workshop.predictions("tokens.count") == {"more": 30, "fewer": 30}
    assert sorted(guest.number for guest in workshop.guests()) == list(range(1, 61))


@pytest.mark.parametrize("content", [b"this is no database", b"SQLite format 3\x00" + b"\x00" * 200])
def test_a_broken_file_is_said_and_left_alone(content: bytes) -> None:
    path = store.database_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for act in (workshop.room, workshop.open_room, workshop.guests):
        with pytest.raises(workshop.WorkshopError) as raised:
            act()
        assert (raised.value.code, raised.value.values["path"]) == ("room_database", str(path))
    assert path.read_bytes() == content


def test_the_database_of_something_else_is_not_taken() -> None:
    path = store.database_path()
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (n)")
    with pytest.raises(workshop.WorkshopError, match="room_database"):
        workshop.open_room()
