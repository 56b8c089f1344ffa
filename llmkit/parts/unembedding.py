"""Unembedding: compare the last vector with every token of the vocabulary; the products are the logits."""

import torch
from torch import Tensor, nn

from llmkit.parts.norm import LayerNorm


class Unembedding(nn.Module):
    """One row for each token; a row's product with the hidden state is that token's logit.

    Args:
        weight: [vocab_size, d_model]. Tied: the token embedding's own parameter. Untied: one of its own.
        transform: what BERT does first (dense, GELU, norm), or None.
        bias: whether each token has a bias.

    Source: Press and Wolf 2017, "Using the Output Embedding to Improve Language Models"; matches ``lm_head``
    and ``BertLMPredictionHead``.

    >>> import torch
    >>> rows = torch.nn.Parameter(torch.eye(3))
    >>> Unembedding(weight=rows)(torch.tensor([[0.1, 0.7, 0.2]])).detach()
    tensor([[0.1000, 0.7000, 0.2000]])
    """

    def __init__(self, *, weight: nn.Parameter, transform: nn.Module | None = None, bias: bool = False) -> None:
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(weight.shape[0])) if bias else None
        self.transform = transform

    def forward(self, x: Tensor) -> Tensor:
        """[..., d_model] → [..., vocab_size]."""
        if self.transform is not None:
            x = self.transform(x)
        return nn.functional.linear(x, self.weight, self.bias)


class MaskedHeadTransform(nn.Module):
    """BERT's last turn before the unembedding: ``norm(gelu(dense(x)))``.

    Source: Devlin et al. 2019; matches ``BertPredictionHeadTransform``.
    """

    def __init__(self, *, d_model: int, eps: float, tanh: bool = False) -> None:
        super().__init__()
        self.dense = nn.Linear(d_model, d_model)
        self.norm = LayerNorm(d_model=d_model, eps=eps)
        self.approximate = "tanh" if tanh else "none"

    def forward(self, x: Tensor) -> Tensor:
        """[..., d_model] → [..., d_model]."""
        turned: Tensor = self.norm(nn.functional.gelu(self.dense(x), approximate=self.approximate))
        return turned
