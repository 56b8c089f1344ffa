"""The tokenizers' algorithms, merge by merge, and pieces of text as bytes.

>>> from llmkit.tokens import visible
>>> visible(b" cat")
'·cat'
"""

from llmkit.tokens.byte_level_bpe import ByteLevelBPE, Merge, MergeState
from llmkit.tokens.chat import ChatTemplate
from llmkit.tokens.errors import TokenizerError
from llmkit.tokens.measure import Cost, measure_cost, split_characters
from llmkit.tokens.pieces import Glyph, glyphs, group_tokens, visible
from llmkit.tokens.steps import StepPiece, StepView, sentence_steps
from llmkit.tokens.tokenizer import AddedToken, Encoding, Tokenizer
from llmkit.tokens.wordpiece import Try, WordPiece

__all__ = [
    "AddedToken",
    "ByteLevelBPE",
    "ChatTemplate",
    "Cost",
    "Encoding",
    "Glyph",
    "Merge",
    "MergeState",
    "StepPiece",
    "StepView",
    "Tokenizer",
    "TokenizerError",
    "Try",
    "WordPiece",
    "glyphs",
    "group_tokens",
    "measure_cost",
    "sentence_steps",
    "split_characters",
    "visible",
]
