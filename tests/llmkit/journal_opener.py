"""A process of its own that opens the journal, says that it is there, waits to be told, and picks a paper."""

import sys

from llmkit import journal

sys.stdout.write("here\n")
sys.stdout.flush()
sys.stdin.readline()
me = journal.profiles()[0].id
journal.set_state(me, journal.Work(id=f"by-{sys.argv[1]}", title="", authors=""), "reading")
