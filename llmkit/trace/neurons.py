"""What the neurons of a feed-forward part do: how strongly each speaks, and which tokens it speaks for.

A feed-forward part writes ``act @ down``: each neuron adds its activation times its own output weights, one row of
``down``, to the residual stream. So a neuron has a strength (how long what it adds is) and a direction (which tokens
that row points to).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.parts import Block
from llmkit.parts.config import FeedForwardKind
from llmkit.reference import Assembled

Floats = NDArray[np.float32]

Through = Literal["unembedding", "embedding"]


@dataclass(frozen=True, kw_only=True)
class Written:
    """The tokens that some neurons write towards, and those that they write against.

    Args:
        through: ``unembedding``: a token's logit rises by ``promoted_by`` for each 1 of activation, the final norm and
            later layers left out. ``embedding``: the box has no unembedding; the number is the cosine with the
            token's input embedding, which tells where the neuron points, not what the box will say.
        promoted, suppressed: [N, top] token ids, the strongest first.
        promoted_by, suppressed_by: [N, top], the products.
    """

    through: Through
    promoted: NDArray[np.int64]
    promoted_by: Floats
    suppressed: NDArray[np.int64]
    suppressed_by: Floats


def output_norms(box: Assembled, layer: int) -> Floats:
    """Return the length of each neuron's output weights, [d_mlp]."""
    norms: Floats = _output_weights(box, layer).float().norm(dim=1).cpu().numpy()
    return norms


def choose_neurons(strength: Floats, count: int, *, always: Collection[int] = ()) -> NDArray[np.int64]:
    """Choose neurons so that every token is heard: each token's strongest, then each token's second, and so on.

    Args:
        strength: [T, d_mlp], not negative. count: how many; all of them where there are fewer.
        always: neurons that are chosen before all others.

    Returns:
        the chosen neurons, ordered by the token that each answers most strongly, the strongest first within a token.

    >>> choose_neurons(np.array([[0, 5, 1, 0], [3, 0, 0, 2]], dtype=np.float32), 3).tolist()
    [1, 2, 0]
    """
    ranked = np.argsort(-strength, axis=1, kind="stable")  # [T, d_mlp]
    chosen = np.fromiter(dict.fromkeys([*always, *ranked.T.ravel().tolist()]), dtype=np.int64)[:count]
    best = strength[:, chosen]
    return chosen[np.lexsort((-best.max(0), best.argmax(0)))]


def activation_curve(kind: FeedForwardKind, x: Floats) -> Floats:
    """Return what a neuron makes of a pre-activation: GELU, its tanh approximation, or SwiGLU's SiLU.

    Source: Hendrycks and Gimpel 2016 (GELU, SiLU); matches the reference's ``gelu``, ``gelu_new`` and ``silu``.

    >>> activation_curve("swiglu", np.array([0.0, 1.0], dtype=np.float32)).round(3).tolist()
    [0.0, 0.7310000061988831]
    """
    at = torch.from_numpy(np.array(x))
    if kind == "swiglu":
        bent = torch.nn.functional.silu(at)
    else:
        bent = torch.nn.functional.gelu(at, approximate="tanh" if kind == "gelu_tanh" else "none")
    curve: Floats = bent.numpy()
    return curve


def written_towards(box: Assembled, layer: int, neurons: NDArray[np.int64], *, top: int) -> Written:
    """Read a neuron's output weights as tokens: their product with every row of the unembedding.

    The final norm is left out: it scales every direction and cannot be applied to one of them alone; so is what BERT's
    masked head does before its unembedding. A box without an unembedding is compared with its input embeddings.

    Args:
        box: an opened box. layer: which. neurons: [N], which of its neurons. top: tokens kept at either end.

    Source: Geva et al. 2022, "Transformer Feed-Forward Layers Build Predictions by Promoting Concepts in the
    Vocabulary Space", section 3.
    """
    model = box.model
    with torch.inference_mode():
        rows = _output_weights(box, layer)[torch.from_numpy(neurons).to(box.device)]  # [N, D]
        if model.unembedding is not None:
            products = rows @ model.unembedding.weight.T  # [N, V]
        else:
            normed = torch.nn.functional.normalize
            products = normed(rows, dim=1) @ normed(model.embedding.weight, dim=1).T
        top = min(top, products.shape[1])
        up, down = products.topk(top), products.topk(top, largest=False)
    return Written(
        through="embedding" if model.unembedding is None else "unembedding",
        promoted=up.indices.cpu().numpy(),
        promoted_by=up.values.float().cpu().numpy(),
        suppressed=down.indices.cpu().numpy(),
        suppressed_by=down.values.float().cpu().numpy(),
    )


def _output_weights(box: Assembled, layer: int) -> Tensor:
    """[d_mlp, d_model], one row a neuron."""
    return cast(Block, box.model.layers[layer]).feed_forward.down.weight.T
