"""A whole text as one vector: the mean of its tokens' final states, scaled to length 1."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.reference import Assembled
from llmkit.trace.errors import TraceError


def sentence_vectors(box: Assembled, texts: Sequence[str]) -> NDArray[np.float32]:
    """Read texts in one batch and give each a vector, so that the product of two is the cosine between them.

    Args:
        box: an opened box that was trained for this, such as all-MiniLM-L6-v2; others' vectors say less.
        texts: N of them, each with at least one token.

    Returns:
        [N, d_model], each of length 1.

    Raises:
        TraceError: ``text_empty``, or ``text_too_long`` where one has more tokens than the box has positions.

    Source: Reimers and Gurevych 2019, "Sentence-BERT"; matches ``sentence-transformers``' mean pooling and normalising.
    """
    encoded = [box.tokenizer.encode(text).ids for text in texts]
    limit = box.config.max_seq_len
    for ids, text in zip(encoded, texts, strict=True):
        if not ids or not len(box.tokenizer.encode(text, specials=False)):
            raise TraceError("text_empty", tokens=0, limit=limit)
        if len(ids) > limit:
            raise TraceError("text_too_long", tokens=len(ids), limit=limit)
    longest = max(map(len, encoded))
    input_ids = torch.tensor([[*ids, *(0,) * (longest - len(ids))] for ids in encoded], device=box.device)
    real = torch.tensor([[at < len(ids) for at in range(longest)] for ids in encoded], device=box.device)
    final: list[Tensor] = []

    def keep_final(name: str, value: Tensor, /) -> Tensor:
        if name == "final":
            final.append(value)
        return value

    with torch.inference_mode():
        box.model(input_ids, attention_mask=real.int(), tap=keep_final)
        weight = real[..., None].to(final[0].dtype)  # [N, T, 1]
        means = (final[0] * weight).sum(1) / weight.sum(1)  # [N, d_model]
        unit = torch.nn.functional.normalize(means, dim=-1)
    vectors: NDArray[np.float32] = unit.float().cpu().numpy()
    return vectors
