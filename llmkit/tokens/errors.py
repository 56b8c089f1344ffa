"""What can go wrong with a tokenizer, each with a code that a page can say in its reader's language."""

from typing import Literal

Code = Literal[
    "tokenizer_missing",
    "tokenizer_broken",
    "tokenizer_unsupported",
    "text_not_unicode",
    "chat_template_broken",
]


class TokenizerError(ValueError):
    """A tokenizer cannot be opened, or a text cannot be cut.

    Args:
        code: what happened, for programs: ``tokenizer_missing`` (no tokenizer.json), ``tokenizer_broken``
            (it cannot be read), ``tokenizer_unsupported`` (a kind that is not built here, such as Unigram),
            ``text_not_unicode`` (a lone surrogate), ``chat_template_broken``.
        detail: what exactly, in English: the file, the kind or the position. Also in ``values``, for a
            message in the reader's language.
    """

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: Code = code
        self.values = {"detail": detail}
