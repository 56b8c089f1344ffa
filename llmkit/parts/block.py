"""Block: attention, then feed-forward; each adds what it found to the residual stream that runs past it."""

from typing import Literal

from torch import Tensor, nn

from llmkit.parts.attention import Attention, View
from llmkit.parts.cache import KVCache
from llmkit.parts.feed_forward import FeedForward, SwiGLU
from llmkit.parts.tap import Tap, inside, untouched


class Block(nn.Module):
    """One storey of the tower.

    ``pre``: ``x + attention(norm(x))``, then ``x + feed_forward(norm(x))``.
    ``post``: ``norm(x + attention(x))``, then ``norm(x + feed_forward(x))``.

    Args:
        norm_1, attention, norm_2, feed_forward: the parts, ready made.
        norm_order: where the norms stand.

    Source: Vaswani et al. 2017, section 3.1 (post); Xiong et al. 2020, "On Layer Normalization in the Transformer
    Architecture" (pre). Matches ``GPT2Block``, ``LlamaDecoderLayer`` (pre) and ``BertLayer`` (post).
    """

    def __init__(
        self,
        *,
        norm_1: nn.Module,
        attention: Attention,
        norm_2: nn.Module,
        feed_forward: FeedForward | SwiGLU,
        norm_order: Literal["pre", "post"] = "pre",
    ) -> None:
        super().__init__()
        self.norm_1, self.attention = norm_1, attention
        self.norm_2, self.feed_forward = norm_2, feed_forward
        self.norm_order = norm_order

    def forward(
        self, x: Tensor, view: View, *, cache: KVCache | None = None, layer: int = 0, tap: Tap = untouched
    ) -> Tensor:
        """[B, T, d_model] → [B, T, d_model]; the tap sees residual_pre, residual_mid and residual_post."""
        look, think = inside(tap, "attention"), inside(tap, "feed_forward")
        x = tap("residual_pre", x)
        if self.norm_order == "pre":
            x = tap("residual_mid", x + self.attention(self.norm_1(x), view, cache=cache, layer=layer, tap=look))
            return tap("residual_post", x + self.feed_forward(self.norm_2(x), tap=think))
        x = tap("residual_mid", self.norm_1(x + self.attention(x, view, cache=cache, layer=layer, tap=look)))
        return tap("residual_post", self.norm_2(x + self.feed_forward(x, tap=think)))
