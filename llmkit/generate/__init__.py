"""Text from a box: the next token chosen, again and again; and what a box thinks of a text that is given."""
