"""``python -m llmkit room``: the workshop's room of this machine; close it where its instructor cannot."""

from datetime import datetime
from typing import Annotated

import typer

from llmkit.cli.output import Json, print_json, tell


def room_command(
    close: Annotated[bool, typer.Option("--close", help="Close the room; its guests are told.")] = False,
    as_json: Json = False,
) -> None:
    """Show the room that is open, and how many guests are there."""
    from llmkit import workshop

    found = workshop.room()
    if close and found is not None:
        workshop.close_room(None)
    here = [] if found is None or close else [guest for guest in workshop.guests() if guest.is_here()]
    if as_json:
        print_json(
            None if found is None else {"code": found.code, "closed": close, "page": found.page, "here": len(here)}
        )
    elif found is None:
        tell("No room is open.")
    elif close:
        tell(f"Room {found.code} is closed.")
    else:
        since = datetime.fromtimestamp(found.opened_at)
        tell(f"Room {found.code}, open since {since:%H:%M}, shows {found.page or 'nothing yet'}; {len(here)} here.")
