"""What a classifier says of one text with its adapter at several strengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.reference import Assembled
from llmkit.tune.adapter import Adapter, adapted
from llmkit.tune.classifier import Classifier, encode_examples, predict
from llmkit.tune.classifier_box import TunedBox


def label_probs(
    box: Assembled, tuned: TunedBox, adapter: Adapter, text: str, strengths: Sequence[float], *, max_tokens: int
) -> NDArray[np.float32]:
    """The labels' probabilities at each strength, [S, n_labels]: the trained head on the box's body.

    Args:
        box: the one that the classifier began as. tuned: the classifier with its adapter merged; its head is used.
        adapter: the adapter that it learned. text: what is read.

    Raises:
        AdapterError: ``adapter_strength``.
    """
    examples = encode_examples(box, [text], [0], max_tokens=max_tokens)
    told = []
    for strength in strengths:
        body = adapted(box, adapter, strength).with_parts(unembedding=None)
        with torch.random.fork_rng(devices=[]):
            classifier = Classifier(body, n_labels=len(tuned.labels), pooling=tuned.classifier.pooling)
        classifier.head = tuned.classifier.head
        told.append(predict(classifier.eval(), examples).numpy()[0])
    return np.stack(told)
