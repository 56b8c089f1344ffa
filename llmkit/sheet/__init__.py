"""The assembly sheet: what was really built on this machine, told from the records, on paper and as files."""
