"""``python -m llmkit list``: the shelf, without torch."""

from dataclasses import asdict

from llmkit.cli.output import Json, print_json, print_table, size, tell


def list_command(as_json: Json = False) -> None:
    """Show the boxes there are, and which of them are here."""
    from llmkit import shelf

    own = [shelf.entry(name) for name in shelf.boxes_here("model") if name not in shelf.catalogue()]
    found = [(box, shelf.locate(box.id)) for box in (*shelf.catalogue().values(), *own)]
    if as_json:
        print_json([asdict(box) | {"here": bool(folder), "folder": str(folder or "") or None} for box, folder in found])
        return
    rows = [
        [
            "here" if folder else "",
            box.id,
            "standard" if box.standard else "",
            box.family or box.content,
            size(box.size_bytes) if box.size_bytes else "",
            box.licence,
            " ".join(box.languages),
            " ".join(box.does),
        ]
        for box, folder in found
    ]
    print_table(["", "box", "kit", "family", "size", "licence", "languages", "does"], rows, right=[4])
    if any(box.standard and folder is None for box, folder in found):
        tell("Get the standard kit: python -m llmkit get")
