"""Many questions to one box, greedily, in batches: what it wrote to each."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from llmkit.generate.decode import require_next_token, stream_batch
from llmkit.generate.errors import GenerateError
from llmkit.generate.reasoning import as_text, stop_ids
from llmkit.reference import Assembled
from llmkit.tokens import ChatTemplate

BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question and what came back.

    Args:
        sent: the text as the box read it. text: what it wrote, a broken character as its bytes.
        tokens_in, tokens_out: read and written. ended: whether the box stopped by itself.
    """

    sent: str
    text: str
    tokens_in: int
    tokens_out: int
    ended: bool


def ask_all(
    box: Assembled,
    questions: Sequence[str],
    *,
    max_new_tokens: int,
    on_token: Callable[[int], None] = lambda done: None,
) -> Iterator[list[Asked]]:
    """Ask every question by itself; answers come in order, a batch at a time.

    Args:
        box: an opened box that predicts the next token. questions: what is asked, without any template.
        max_new_tokens: of one answer. on_token: told how many tokens are done, of ``max_new_tokens`` a question.

    Raises:
        GenerateError: ``no_next_token``, ``prompt_empty``, or ``prompt_too_long`` where question and answer do not fit.
    """
    require_next_token(box)
    template = ChatTemplate.from_folder(box.folder)
    sent = [write_out(question, template) for question in questions]
    prompts = [box.tokenizer.encode(one, specials=template is None).ids for one in sent]
    limit = box.config.max_seq_len - max_new_tokens
    for prompt in prompts:
        if len(prompt) > limit:
            raise GenerateError("prompt_too_long", box=box.box_id, tokens=len(prompt), limit=max(limit, 0))
    ends = stop_ids(box)
    for first in range(0, len(prompts), BATCH):
        batch = prompts[first : first + BATCH]
        new: list[list[int]] = [[] for _ in batch]
        for made, chosen in enumerate(stream_batch(box, batch, max_new_tokens=max_new_tokens, stop_ids=ends), start=1):
            for row, token_id in chosen.items():
                new[row].append(token_id)
            on_token(first * max_new_tokens + made * len(batch))
        yield [_read(box, sent[first + at], batch[at], ids, ends) for at, ids in enumerate(new)]


def _read(box: Assembled, sent: str, prompt: Sequence[int], ids: Sequence[int], ends: Collection[int]) -> Asked:
    ended = bool(ids) and ids[-1] in ends
    data = b"".join(box.tokenizer.token_bytes(one) for one in (ids[:-1] if ended else ids))
    return Asked(sent=sent, text=as_text(data).strip(), tokens_in=len(prompt), tokens_out=len(ids), ended=ended)


def write_out(question: str, template: ChatTemplate | None) -> str:
    """What the box reads: the question in its chat template, or on a line of its own where it has none."""
    return f"{question}\n" if template is None else template.render([{"role": "user", "content": question}])
