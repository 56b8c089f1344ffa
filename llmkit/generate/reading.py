"""Forward passes for texts that are written side by side: prompts read one after another in one row, tokens in a batch.

Reading several short prompts at once costs hardly more than reading one, and so does one further token of many texts:
the weights pass through the processor once for all of them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from llmkit.generate.decode import Choose, Step, greedy, read_rows, wide
from llmkit.generate.rows_cache import RowsCache
from llmkit.parts import KVCache, Transformer


def read_piece(body: Transformer, ids: Sequence[int], cache: KVCache) -> Tensor:
    """Read one text on; give the last token's hidden state, [1, d_model].

    Args:
        body: the model without its unembedding. cache: what was read before; extended.
    """
    hidden: Tensor = body(torch.tensor([ids], device=body.embedding.weight.device), cache=cache)
    return hidden[:, -1]


def read_packed(body: Transformer, prompts: Sequence[Sequence[int]], cache: KVCache) -> Tensor:
    """Read whole prompts, laid end to end in one row where none sees another; give the last hidden state of each.

    Args:
        body: the model without its unembedding. prompts: n of them. cache: empty; then holds all prompts in order.

    Returns:
        [n, d_model].
    """
    if len(prompts) == 1:
        return read_piece(body, prompts[0], cache)
    device = body.embedding.weight.device
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    owner = torch.arange(len(prompts), device=device).repeat_interleave(lengths)  # [N]
    positions = torch.cat([torch.arange(len(prompt), device=device) for prompt in prompts])[None]  # [1, N]
    ids = torch.tensor([[token_id for prompt in prompts for token_id in prompt]], device=device)
    own = (owner[:, None] == owner)[None]  # [1, N, N]
    hidden: Tensor = body(ids, attention_mask=own, positions=positions, cache=cache)
    return hidden[0, lengths.cumsum(0) - 1]


def read_next(model: Transformer, last_ids: Sequence[int], cache: RowsCache) -> Tensor:
    """Read the last token of every row; give the next one's logits, [B, vocab_size]."""
    cache.make_room()
    unread = torch.tensor(last_ids, device=cache.block.device)[:, None]
    return read_rows(model, unread, cache.padding, cache)


def choose_each(
    logits: Tensor, chooses: Sequence[Choose], histories: Sequence[Sequence[int]]
) -> list[Step | Exception]:
    """Choose each row's next token by its own rule.

    Args:
        logits: [B, vocab_size]. chooses, histories: of each row.

    Returns:
        for each row its step; or what went wrong in it, which is then its own affair.
    """
    scores = wide(logits)
    chosen: list[int | Exception] = list(logits.argmax(-1).tolist())
    for row, choose in enumerate(chooses):
        if choose is not greedy:
            try:
                chosen[row] = choose(logits[row], histories[row])
            except Exception as error:  # noqa: BLE001  (told to the row that it happened to)
                chosen[row] = error
    ids = torch.tensor([one if isinstance(one, int) else 0 for one in chosen], device=logits.device)
    logprobs = (scores.gather(1, ids[:, None])[:, 0] - scores.logsumexp(-1)).tolist()
    return [
        Step(token_id=one, logprob=logprob) if isinstance(one, int) else one
        for one, logprob in zip(chosen, logprobs, strict=True)
    ]


def headless(model: Transformer) -> Transformer:
    """The model without its unembedding; all other parts are shared."""
    return model.with_parts(unembedding=None)
