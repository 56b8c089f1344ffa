"""Two instructions about one text, answered by the same box: what is asked changes what comes back."""

import time
from collections.abc import Mapping
from typing import Any

from llmkit.generate.decode import stream
from llmkit.generate.errors import GenerateError
from llmkit.jobs import Report
from llmkit.reference import Assembled, open_box
from llmkit.tokens import ChatTemplate

MAX_NEW_TOKENS = 40


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``prompt_pair``: answer two instructions greedily.

    Args:
        settings: box_id; fingerprint; instructions (two texts); text; max_new_tokens.
        report: told after every token; partial: what the result will hold, so far.

    Returns:
        answers: for each instruction its sent prompt, tokens_in, text (bytes that are no character written as \\\\x..),
        tokens_out, seconds_first (until the first token) and seconds, ended (whether the box itself stopped).

    Raises:
        GenerateError: ``no_next_token``, ``prompt_empty``, ``prompt_too_long``.
    """
    box = open_box(settings["box_id"])
    template = ChatTemplate.from_folder(box.folder)
    limit = settings["max_new_tokens"]
    answers: list[dict[str, Any]] = []
    for at, instruction in enumerate(settings["instructions"]):
        prompt = ask(instruction, settings["text"], template)
        ids = box.tokenizer.encode(prompt, specials=template is None).ids
        if len(ids) + limit > box.config.max_seq_len:
            raise GenerateError(
                "prompt_too_long", box=box.box_id, tokens=len(ids), limit=max(box.config.max_seq_len - limit, 0)
            )
        answer: dict[str, Any] = {"prompt": prompt, "tokens_in": len(ids), "text": "", "tokens_out": 0, "ended": False}
        answers.append(answer)
        stops = stop_ids(box)
        chosen: list[int] = []
        began = time.perf_counter()
        for step in stream(box, ids, max_new_tokens=limit, stop_ids=stops):
            answer.setdefault("seconds_first", time.perf_counter() - began)
            answer["seconds"] = time.perf_counter() - began
            if step.token_id in stops:
                answer["ended"] = True
                break
            chosen.append(step.token_id)
            answer["tokens_out"] = len(chosen)
            answer["text"] = written(box, chosen)
            report(at * limit + len(chosen), len(settings["instructions"]) * limit, "", {"answers": answers})
    return {"answers": answers}


def ask(instruction: str, text: str, template: ChatTemplate | None) -> str:
    """What is sent: the instruction, the text below it, in the box's template where it has one."""
    content = f"{instruction}\n\n{text}"
    return f"{content}\n\n" if template is None else template.render([{"role": "user", "content": content}])


def stop_ids(box: Assembled) -> frozenset[int]:
    """The special tokens of the box: any of them ends an answer."""
    return frozenset(token.token_id for token in box.tokenizer.added if token.special)


def written(box: Assembled, ids: list[int]) -> str:
    """Tokens as text; bytes that do not add up to a character are written as bytes."""
    return b"".join(box.tokenizer.token_bytes(one) for one in ids).decode(errors="backslashreplace")
