"""A question to others: what a helper needs to know, nothing that is nobody's business, in the shape of each place."""

from llmkit.question.draft import PIECES, Piece, found_in, missing
from llmkit.question.facts import Facts, describe, names_of_boxes
from llmkit.question.formats import KINDS, Kind, Question, ready, weighted_length, written
from llmkit.question.redact import Redacted, redact

__all__ = [
    "KINDS",
    "PIECES",
    "Facts",
    "Kind",
    "Piece",
    "Question",
    "Redacted",
    "describe",
    "found_in",
    "missing",
    "names_of_boxes",
    "ready",
    "redact",
    "weighted_length",
    "written",
]
