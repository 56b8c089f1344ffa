"""The tables of the journal, and how an older journal becomes today's: one script for each version."""

import sqlite3

APPLICATION_ID = 0x4C4D4A4E
"""Stands in the head of the file ("LMJN"), so that another program's database is not taken for a journal."""

FIRST = """
CREATE TABLE profiles (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, created_at REAL NOT NULL,
    daily_at TEXT NOT NULL DEFAULT '', minutes INTEGER NOT NULL DEFAULT 30
);
CREATE TABLE notes (
    place INTEGER PRIMARY KEY, profile TEXT NOT NULL REFERENCES profiles (id), id TEXT NOT NULL,
    page TEXT NOT NULL, text TEXT NOT NULL, link TEXT NOT NULL, settings TEXT NOT NULL,
    figure BLOB, figure_kind TEXT NOT NULL, figure_name TEXT NOT NULL,
    created_at REAL NOT NULL, changed_at REAL NOT NULL, deleted_at REAL, UNIQUE (profile, id)
);
CREATE TABLE mistakes (
    profile TEXT NOT NULL REFERENCES profiles (id), id TEXT NOT NULL, page TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('offered', 'kept', 'dismissed')),
    code TEXT NOT NULL, details TEXT NOT NULL, link TEXT NOT NULL,
    what TEXT NOT NULL, why TEXT NOT NULL, mended TEXT NOT NULL, times INTEGER NOT NULL, last_at REAL NOT NULL,
    created_at REAL NOT NULL, changed_at REAL NOT NULL, deleted_at REAL, PRIMARY KEY (profile, id)
);
CREATE TABLE plan (
    profile TEXT NOT NULL REFERENCES profiles (id), id TEXT NOT NULL,
    week TEXT NOT NULL, title TEXT NOT NULL, page TEXT NOT NULL, done_at REAL,
    created_at REAL NOT NULL, changed_at REAL NOT NULL, deleted_at REAL, PRIMARY KEY (profile, id)
);
CREATE TABLE progress (
    profile TEXT NOT NULL REFERENCES profiles (id), page TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('step', 'check')), name TEXT NOT NULL, first_at REAL NOT NULL,
    PRIMARY KEY (profile, page, kind, name)
);
CREATE TABLE days (
    profile TEXT NOT NULL REFERENCES profiles (id), day TEXT NOT NULL, actions INTEGER NOT NULL,
    PRIMARY KEY (profile, day)
);
CREATE TABLE partners (
    profile TEXT NOT NULL REFERENCES profiles (id), id TEXT NOT NULL, name TEXT NOT NULL,
    made_at REAL NOT NULL, received_at REAL NOT NULL, content TEXT NOT NULL, PRIMARY KEY (profile, id)
);
CREATE TABLE imports (
    place INTEGER PRIMARY KEY, profile TEXT NOT NULL REFERENCES profiles (id),
    made_at REAL NOT NULL, changes TEXT NOT NULL, undone_at REAL
);
CREATE INDEX notes_by_page ON notes (profile, page, created_at);
"""
"""Times are seconds since 1970; a ``day`` is the learner's own date, a ``week`` is ISO's ("2026-W48")."""

FULL_TEXT = """
CREATE VIRTUAL TABLE notes_text USING fts5 (text, content = 'notes', content_rowid = 'place', tokenize = 'trigram');
CREATE TRIGGER notes_added AFTER INSERT ON notes BEGIN
    INSERT INTO notes_text (rowid, text) VALUES (new.place, new.text);
END;
CREATE TRIGGER notes_taken AFTER DELETE ON notes BEGIN
    INSERT INTO notes_text (notes_text, rowid, text) VALUES ('delete', old.place, old.text);
END;
CREATE TRIGGER notes_changed AFTER UPDATE OF text ON notes BEGIN
    INSERT INTO notes_text (notes_text, rowid, text) VALUES ('delete', old.place, old.text);
    INSERT INTO notes_text (rowid, text) VALUES (new.place, new.text);
END;
"""
"""Trigrams find Chinese, which has no spaces between words; made only where this SQLite has them."""

READING = """
CREATE TABLE papers (
    profile TEXT NOT NULL REFERENCES profiles (id), id TEXT NOT NULL,
    title TEXT NOT NULL, authors TEXT NOT NULL, address TEXT NOT NULL, step TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('unread', 'reading', 'done')), week TEXT NOT NULL, picked_at REAL,
    created_at REAL NOT NULL, changed_at REAL NOT NULL, PRIMARY KEY (profile, id)
);
CREATE TABLE topics (
    profile TEXT NOT NULL REFERENCES profiles (id), words TEXT NOT NULL,
    created_at REAL NOT NULL, changed_at REAL NOT NULL, deleted_at REAL, PRIMARY KEY (profile, words)
);
"""
"""What is read, and which searches are followed; ``week`` is the week that a paper was picked for, empty for none."""

FIGURES = """
ALTER TABLE notes ADD COLUMN figure_key TEXT NOT NULL DEFAULT '';
ALTER TABLE notes ADD COLUMN figure_badge TEXT NOT NULL DEFAULT '';
ALTER TABLE notes ADD COLUMN figure_left_out INTEGER NOT NULL DEFAULT 0;
"""
"""Where a note's figure stood on its page, where its numbers came from, and how many rows of them were not kept."""

MIGRATIONS = (FIRST, READING, FIGURES)
"""Script ``n`` makes version n + 1 from version n. Never change one that was shipped; add the next."""


def has_trigrams() -> bool:
    """Whether this machine's SQLite has FTS5 with the trigram tokenizer (3.34 or later)."""
    with sqlite3.connect(":memory:") as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE probe USING fts5 (text, tokenize = 'trigram')")
        except sqlite3.Error:
            return False
    return True
