"""The reference: open a box, map its weights onto parts, and prove that every part fits."""

from llmkit.reference.box import Assembled, open_box, open_folder
from llmkit.reference.errors import BoxError

__all__ = ["Assembled", "BoxError", "open_box", "open_folder"]
