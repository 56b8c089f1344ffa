"""A box in its place: a server that answers, its client, and what tests the socket."""
