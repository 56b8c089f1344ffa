"""What answers: a box in one of its forms, open; it writes, gives vectors and sorts, as far as the box can."""

from __future__ import annotations

import gc
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from llmkit.generate.errors import GenerateError
from llmkit.serve.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from llmkit.generate.decode import Step
    from llmkit.generate.sampling import Sampling
    from llmkit.reference import Assembled
    from llmkit.tokens import ChatTemplate, Tokenizer
    from llmkit.tune.classifier_box import TunedBox

FLOAT32 = "torch-float32"
"""The form that our own parts compute: it alone writes in one batch, gives a decoder's states and sorts."""

Vector = list[float]


class Steps(Iterator["Step"], Protocol):
    """The tokens of one text as they come; any thread may close it, and then it ends."""

    def close(self) -> None:
        """Want no more."""
        ...


class Writer(Protocol):
    """What writes several texts at once."""

    @property
    def waiting(self) -> int: ...

    @property
    def running(self) -> int: ...

    def stream(
        self,
        prompt_ids: Sequence[int],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        sampling: Sampling | None = None,
    ) -> Steps: ...

    def close(self) -> None: ...


class Vectors(Protocol):
    """Texts as vectors of length 1."""

    def __call__(self, texts: Sequence[Sequence[int]], /) -> list[Vector]: ...


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A box that answers.

    Args:
        box_id, form_id: which box, in which form.
        tokenizer: of the box. template: how it writes a conversation; None where it has none.
        limit: tokens of its context. stop_ids: tokens that end a text.
        writer: None where the box predicts no next token. vectors: None where this form does not show its states.
        tuned: None where the box was not fine-tuned to classify, or this form lost the head.
    """

    box_id: str
    form_id: str
    tokenizer: Tokenizer
    template: ChatTemplate | None
    limit: int
    stop_ids: frozenset[int]
    writer: Writer | None
    vectors: Vectors | None
    tuned: TunedBox | None

    @property
    def can(self) -> tuple[str, ...]:
        """What can be asked of it: ``chat``, ``completions``, ``embeddings``, ``classify``."""
        found = {
            "chat": self.writer is not None and self.template is not None,
            "completions": self.writer is not None,
            "embeddings": self.vectors is not None,
            "classify": self.tuned is not None,
        }
        return tuple(name for name, is_so in found.items() if is_so)

    def encode(self, text: str) -> tuple[int, ...]:
        """A prompt's tokens, as the box's own first token would have them."""
        return self.tokenizer.before + self.tokenizer.encode(text, specials=False).ids

    def require_room(self, tokens: int, more: int = 0) -> None:
        """Refuse what does not fit into the context.

        Raises:
            RefusedError: 400, with the numbers.
        """
        if tokens + more > self.limit or tokens == 0:
            wanted = f"{tokens + more} tokens ({tokens} in the prompt, {more} to write)" if more else f"{tokens} tokens"
            told = f"This model's maximum context length is {self.limit} tokens; you asked for {wanted}."
            if not tokens:
                raise RefusedError(400, "prompt_empty", "The prompt gives no token. Write something.")
            raise RefusedError(400, "context_length_exceeded", f"{told} Shorten it.")

    def classify(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """The probability of each label for each text.

        Raises:
            RefusedError: 400, the box was not tuned to classify, or a text is too long.
        """
        from llmkit.tune.classifier import Examples, predict

        if self.tuned is None:
            why = f"“{self.box_id}” as {self.form_id} sorts nothing: deploy a box that was fine-tuned to classify."
            raise RefusedError(400, "no_head", why)
        ids = [self.tokenizer.encode(text).ids or (0,) for text in texts]
        for one in ids:
            self.require_room(len(one))
        examples = Examples(ids=tuple(ids), labels=(0,) * len(ids))
        with _computing:
            probs = predict(self.tuned.classifier, examples).tolist()
        return [dict(zip(self.tuned.labels, row, strict=True)) for row in probs]

    def close(self) -> None:
        """Tell those who are being answered, and give the memory back."""
        if self.writer is not None:
            self.writer.close()


_computing = threading.Lock()
"""Vectors and labels are computed for one request at a time; texts are written meanwhile."""


def open_engine(box_id: str, form_id: str = FLOAT32, *, max_rows: int = 16) -> Engine:
    """Open a box in one of its forms, ready to answer requests.

    Args:
        box_id: a box on this machine. form_id: one of ``llmkit.compress.FORMS``, made before.
        max_rows: texts that are written at once.

    Raises:
        BoxError, TokenizerError, ShelfError: the box is not here or broken. FormError: the form is.
    """
    engine = _parts(box_id, max_rows) if form_id == FLOAT32 else _runner(box_id, form_id, max_rows)
    gc.collect()
    gc.freeze()  # what is loaded stays: no collection need walk through it
    return engine


def _parts(box_id: str, max_rows: int) -> Engine:
    from llmkit.generate.together import Together
    from llmkit.reference import open_box
    from llmkit.tune.classifier_box import open_classifier
    from llmkit.tune.tuned import tuned_box

    tuned = open_classifier(box_id) if tuned_box(box_id) is not None else None
    box = tuned.box if tuned is not None else open_box(box_id)
    try:
        writer = cast(Writer, Together(box, max_rows=max_rows))
    except GenerateError:  # an encoder
        writer = None
    return Engine(
        box_id=box_id,
        form_id=FLOAT32,
        tokenizer=box.tokenizer,
        template=_template(box.folder),
        limit=box.config.max_seq_len,
        stop_ids=_stop_ids(box.tokenizer),
        writer=writer,
        vectors=_mean_states(box),
        tuned=tuned,
    )


def _runner(box_id: str, form_id: str, max_rows: int) -> Engine:
    from llmkit import shelf
    from llmkit.compress import made
    from llmkit.reference import BoxError
    from llmkit.reference.config_file import read_config
    from llmkit.serve.turns import Turns
    from llmkit.tokens import Tokenizer

    folder = shelf.locate(box_id)
    if folder is None:
        raise BoxError("box_missing", box=box_id)
    _, config = read_config(folder, unembedding=False)
    runner = made.open_form(box_id, form_id)
    tokenizer = Tokenizer.from_folder(folder)
    turns = Turns(runner, box_id=box_id, limit=config.max_seq_len, max_rows=max_rows)

    def mean_states(texts: Sequence[Sequence[int]], /) -> list[Vector]:
        import numpy as np

        vectors = []
        for ids in texts:
            with turns.lock:
                mean = runner.scores(np.array([ids], dtype=np.int64))[0].mean(0)  # [T, D] -> [D]
            vectors.append((mean / max(float(np.linalg.norm(mean)), 1e-12)).tolist())
        return vectors

    return Engine(
        box_id=box_id,
        form_id=form_id,
        tokenizer=tokenizer,
        template=_template(folder),
        limit=config.max_seq_len,
        stop_ids=_stop_ids(tokenizer),
        writer=cast(Writer, turns) if config.causal else None,
        vectors=None if config.causal else mean_states,
        tuned=None,
    )


def _mean_states(box: Assembled) -> Vectors:
    """The mean of the last layer's states, of length 1.

    Source: Reimers and Gurevych 2019, "Sentence-BERT", section 3; sentence-transformers' ``Normalize``.
    """
    import torch

    from llmkit.tune.classifier import Classifier, Examples, by_length, collate

    with torch.random.fork_rng(devices=[]):
        body = Classifier(box.model.with_parts(unembedding=None), n_labels=1, pooling="mean").to(box.device).eval()

    def mean_states(texts: Sequence[Sequence[int]], /) -> list[Vector]:
        examples = Examples(ids=tuple(tuple(ids) for ids in texts), labels=(0,) * len(texts))
        found: dict[int, Vector] = {}
        with _computing, torch.inference_mode():
            for rows in by_length(examples, 16):
                batch = collate(examples, rows, box.device)
                states = body.features(batch.input_ids, batch.attention_mask).float()
                found |= zip(rows, torch.nn.functional.normalize(states, dim=-1).cpu().tolist(), strict=True)
        return [found[at] for at in range(len(texts))]

    return mean_states


def _template(folder: Path) -> ChatTemplate | None:
    from llmkit.tokens import ChatTemplate

    return ChatTemplate.from_folder(folder)


def _stop_ids(tokenizer: Tokenizer) -> frozenset[int]:
    return frozenset(token.token_id for token in tokenizer.added if token.special)
