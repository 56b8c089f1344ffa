"""A classifier: a box's body, and one linear layer on top that gives each label a logit."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from llmkit.parts import Transformer
from llmkit.reference import Assembled

Pooling = Literal["mean", "last"]


class Classifier(nn.Module):
    """Read a text, pool its states into one, compare it with each label.

    Args:
        body: the transformer, without unembedding.
        n_labels: how many labels there are.
        pooling: ``mean`` of all tokens' states, or the ``last`` token's, which in a causal model alone has read all.

    Source: Reimers and Gurevych 2019, "Sentence-BERT", section 3 (mean); Radford et al. 2018, section 3.2 (last).
    The last matches ``GPT2ForSequenceClassification``, whose ``score`` has no bias.
    """

    def __init__(self, body: Transformer, *, n_labels: int, pooling: Pooling) -> None:
        super().__init__()
        self.body, self.pooling = body, pooling
        d_model = body.embedding.weight.shape[1]
        self.head = nn.Linear(d_model, n_labels)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    @property
    def n_labels(self) -> int:
        """How many labels there are."""
        return self.head.out_features

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One state a text: [B, T] ids and [B, T] mask, padding on the right → [B, d_model]."""
        states = self.body(input_ids, attention_mask=None if bool(attention_mask.all()) else attention_mask)
        if self.pooling == "mean":
            share = attention_mask[..., None].to(states.dtype)
            pooled: Tensor = (states * share).sum(1) / share.sum(1)
            return pooled
        rows = torch.arange(len(states), device=states.device)
        return cast(Tensor, states[rows, attention_mask.sum(1) - 1])

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of the labels, [B, n_labels]."""
        logits: Tensor = self.head(self.features(input_ids, attention_mask))
        return logits


def build_classifier(box: Assembled, *, n_labels: int, seed: int) -> Classifier:
    """A classifier on a copy of the box's body, in float32, its head fresh; the box itself stays as it is.

    Args:
        box: an opened box of any family. n_labels: how many labels. seed: of the head's weights.
    """
    return copy.deepcopy(fresh_classifier(box, n_labels=n_labels, seed=seed)).to(torch.float32)


def fresh_classifier(box: Assembled, *, n_labels: int, seed: int) -> Classifier:
    """A classifier on the box's own body, which it shares: for reading, never for learning.

    Args:
        box: an opened box of any family. n_labels: how many labels. seed: of the head's weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = box.model.with_parts(unembedding=None)
        classifier = Classifier(body, n_labels=n_labels, pooling="last" if box.config.causal else "mean")
    classifier.head.to(device=box.device)
    return classifier.eval()


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled texts as tokens.

    Args:
        ids: the tokens of each text. labels: which label each has, from 0. cut: how many texts were cut short.
    """

    ids: tuple[tuple[int, ...], ...]
    labels: tuple[int, ...]
    cut: int = 0

    def __len__(self) -> int:
        return len(self.ids)


def encode_examples(box: Assembled, texts: Sequence[str], labels: Sequence[int], *, max_tokens: int) -> Examples:
    """Cut texts into tokens; those longer than ``max_tokens`` lose their end, but not the last special token.

    Raises:
        ValueError: texts and labels are not as many.
        TokenizerError: a text cannot be cut.
    """
    limit = min(max_tokens, box.config.max_seq_len)
    kept, cut = [], 0
    for text, _ in zip(texts, labels, strict=True):
        encoding = box.tokenizer.encode(text)
        ids = encoding.ids
        if len(ids) > limit:
            cut += 1
            ends = encoding.special[-1]
            ids = (*ids[: limit - 1], ids[-1]) if ends else ids[:limit]
        kept.append(ids or (0,))  # a text without any token is read as one of padding
    return Examples(ids=tuple(kept), labels=tuple(labels), cut=cut)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Texts padded on the right to the longest: ids and mask [B, T], labels [B], which examples they are."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    rows: tuple[int, ...]


def collate(examples: Examples, rows: Sequence[int], device: torch.device) -> Batch:
    """Pad some of the examples into a batch."""
    longest = max(len(examples.ids[row]) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        tokens = examples.ids[row]
        ids[at, : len(tokens)] = torch.tensor(tokens)
        mask[at, : len(tokens)] = 1
    return Batch(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        labels=torch.tensor([examples.labels[row] for row in rows], device=device),
        rows=tuple(rows),
    )


def by_length(examples: Examples, batch_size: int) -> Iterator[list[int]]:
    """All examples, those of like length together, so that little is padded; for measuring, not for learning."""
    order = sorted(range(len(examples)), key=lambda row: len(examples.ids[row]))
    for first in range(0, len(order), batch_size):
        yield order[first : first + batch_size]


@torch.inference_mode()
def predict(classifier: Classifier, examples: Examples, *, batch_size: int = 64) -> Tensor:
    """Probabilities of each label for each text, [N, n_labels], on the CPU."""
    was_training = classifier.training
    classifier.eval()
    device = classifier.head.weight.device
    probs = torch.zeros(len(examples), classifier.n_labels)
    for rows in by_length(examples, batch_size):
        batch = collate(examples, rows, device)
        probs[rows] = classifier(batch.input_ids, batch.attention_mask).float().softmax(-1).cpu()
    classifier.train(was_training)
    return probs


def scores(probs: Tensor, labels: Sequence[int]) -> Mapping[str, float]:
    """Mean loss in nats, and accuracy, of probabilities [N, n_labels]."""
    truth = torch.tensor(labels)
    nats = -probs[torch.arange(len(truth)), truth].clamp_min(torch.finfo(probs.dtype).tiny).log()
    return {"loss": float(nats.mean()), "accuracy": float((probs.argmax(-1) == truth).double().mean())}
