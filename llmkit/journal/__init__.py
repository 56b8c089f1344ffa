"""What a learner keeps: notes, days, what was read and what went wrong, in SQLite."""
