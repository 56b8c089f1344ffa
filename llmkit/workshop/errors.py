"""What can go wrong in a workshop's room."""

from typing import Any, Literal

Code = Literal["room_database", "room_taken", "room_unknown", "room_full", "room_not_yours"]


class WorkshopError(Exception):
    """Something about the room that its reader can be told.

    Args:
        code: ``room_database`` (it cannot be read or written), ``room_taken`` (a room is open already),
            ``room_unknown`` (no room with that code is open), ``room_full`` (no more guests), ``room_not_yours`` (only
            the instructor may do that).
        values: what the sentence names.
    """

    def __init__(self, code: Code, **values: Any) -> None:
        listed = ", ".join(f"{name}={value}" for name, value in values.items())
        super().__init__(f"{code}: {listed}" if listed else code)
        self.code = code
        self.values = values
