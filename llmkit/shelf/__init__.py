"""The shelf: the catalogue of boxes (models and data), where each comes from, fetch, check, open."""

from llmkit.shelf.catalogue import Box, Source, catalogue, entry, standard_kit
from llmkit.shelf.data import DataBox, Row, open_data
from llmkit.shelf.download import Progress
from llmkit.shelf.downloads import Download, Downloads, downloads
from llmkit.shelf.errors import ShelfError
from llmkit.shelf.get import get
from llmkit.shelf.made import put
from llmkit.shelf.store import Damage, boxes_here, check, fingerprint, folder_of, locate, remove, require_unchanged

__all__ = [
    "Box",
    "Damage",
    "DataBox",
    "Download",
    "Downloads",
    "Progress",
    "Row",
    "ShelfError",
    "Source",
    "boxes_here",
    "catalogue",
    "check",
    "downloads",
    "entry",
    "fingerprint",
    "folder_of",
    "get",
    "locate",
    "open_data",
    "put",
    "remove",
    "require_unchanged",
    "standard_kit",
]
