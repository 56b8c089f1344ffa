"""The tokenizers' algorithms, merge by merge, and pieces of text as bytes.

>>> from llmkit.tokens import visible
>>> visible(b" cat")
'·cat'
"""

from llmkit.tokens.byte_level_bpe import ByteLevelBPE, Merge, MergeState
from llmkit.tokens.chat import ChatTemplate
from llmkit.tokens.errors import TokenizerError
from llmkit.tokens.pieces import Glyph, glyphs, group_tokens, visible
from llmkit.tokens.tokenizer import AddedToken, Encoding, Tokenizer
from llmkit.tokens.wordpiece import Try, WordPiece

__all__ = [
    "AddedToken",
    "ByteLevelBPE",
    "ChatTemplate",
    "Encoding",
    "Glyph",
    "Merge",
    "MergeState",
    "Tokenizer",
    "TokenizerError",
    "Try",
    "WordPiece",
    "glyphs",
    "group_tokens",
    "visible",
]
