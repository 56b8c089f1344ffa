"""A box in its place: a server that answers, its client, and what tests the socket.

Nothing here loads torch or FastAPI before it is needed: the process of a deployment does.
"""
