"""The reference: open a box, map its weights onto parts, and prove that every part fits."""

from typing import TYPE_CHECKING

from llmkit.reference.box import Assembled, open_box, open_folder
from llmkit.reference.errors import BoxError

if TYPE_CHECKING:
    from llmkit.reference.verify import Fit, Report, load_reference, verify_box, verify_folder

__all__ = [
    "Assembled",
    "BoxError",
    "Fit",
    "Report",
    "load_reference",
    "open_box",
    "open_folder",
    "verify_box",
    "verify_folder",
]


def __getattr__(name: str) -> object:
    """Load the comparison, and with it the reference's model code, only when it is asked for."""
    if name in __all__:
        from llmkit.reference import verify

        return getattr(verify, name)
    raise AttributeError(name)
