"""A conversation: a tree of turns, what of it fits into a box's window, and as a file and back. Loads no torch."""
