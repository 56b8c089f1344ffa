"""A process of its own that writes notes into the journal: python journal_process.py NAME COUNT."""

import sys

from llmkit import journal

for at in range(int(sys.argv[2])):
    me = journal.profiles()[0].id
    journal.add_note(me, "tokens", f"{sys.argv[1]} {at}")
