"""A workshop: one instructor, a room of guests on their own devices, what they predict, where they are, who is stuck.

room, key = workshop.open_room()
guest = workshop.join(room.code, "a device's own id")
workshop.predict(guest.id, "tokens.count", "more")
workshop.predictions("tokens.count")
"""

from llmkit.workshop.errors import WorkshopError
from llmkit.workshop.guest import NAME_CHARACTERS, Guest, guests, hand, join, predict, predictions, rename, seen
from llmkit.workshop.instructor import Room, close_room, is_instructor, open_room, reset, room, set_closed, teach_at

__all__ = [
    "NAME_CHARACTERS",
    "Guest",
    "Room",
    "WorkshopError",
    "close_room",
    "guests",
    "hand",
    "is_instructor",
    "join",
    "open_room",
    "predict",
    "predictions",
    "rename",
    "reset",
    "room",
    "seen",
    "set_closed",
    "teach_at",
]
