"""Embedding: a token's number picks one row of a matrix, and that row is all the model knows of it."""

import torch
from torch import Tensor, nn


class TokenEmbedding(nn.Module):
    """One learned row of ``d_model`` numbers for each token of the vocabulary.

    Why: arithmetic needs vectors; a row can place tokens of like use near each other.

    Source: Bengio et al. 2003, "A Neural Probabilistic Language Model"; matches ``torch.nn.Embedding``.

    >>> import torch
    >>> part = TokenEmbedding(vocab_size=10, d_model=4)
    >>> part(torch.tensor([[3, 3, 7]])).shape
    torch.Size([1, 3, 4])
    """

    def __init__(self, *, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(vocab_size, d_model), std=0.02))

    def forward(self, input_ids: Tensor) -> Tensor:
        """Look the rows up.

        Args:
            input_ids: [B, T] integers in ``[0, vocab_size)``.

        Returns:
            [B, T, d_model].

        Raises:
            IndexError: when an id is not in the vocabulary.
        """
        return nn.functional.embedding(input_ids, self.weight)


class SegmentEmbedding(TokenEmbedding):
    """One learned row for each sentence of a pair (BERT's token types): the same look-up, another table.

    Source: Devlin et al. 2019, "BERT", section 3.
    """

    def __init__(self, *, n_segments: int, d_model: int) -> None:
        super().__init__(vocab_size=n_segments, d_model=d_model)
