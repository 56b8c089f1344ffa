"""Perplexity, KL and agreement beside torch's own losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from llmkit.compress.quality import Judged, judge_logits, judge_states, mean_of, perplexity


def test_one_window_is_judged_as_torch_judges_it() -> None:
    draw = np.random.default_rng(0)
    ours, theirs = (draw.normal(size=(12, 30)).astype(np.float32) * 3 for _ in range(2))
    ids = draw.integers(0, 30, 12)
    judged = judge_logits(ours, theirs, ids)
    q, p = (torch.from_numpy(x).double() for x in (ours, theirs))
    nll = torch.nn.functional.cross_entropy(q[:-1], torch.from_numpy(ids[1:]))
    kl = torch.nn.functional.kl_div(q.log_softmax(-1), p.log_softmax(-1), log_target=True, reduction="batchmean")
    assert judged.nll == pytest.approx(nll.item(), rel=1e-12)
    assert judged.kl == pytest.approx(kl.item(), rel=1e-10)
    assert judged.top1 == float((q.argmax(-1) == p.argmax(-1)).double().mean())


def test_an_encoder_is_judged_by_the_cosine_of_its_sentence_vector() -> None:
    draw = np.random.default_rng(1)
    ours, theirs = (draw.normal(size=(7, 16)).astype(np.float32) for _ in range(2))
    expected = torch.cosine_similarity(torch.from_numpy(ours).mean(0), torch.from_numpy(theirs).mean(0), dim=0)
    assert judge_states(ours, theirs).cosine == pytest.approx(expected.item(), abs=1e-6)


def test_the_interval_is_students() -> None:
    values = [3.1, 3.5, 2.9, 3.3]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    found = mean_of(values)
    assert (found.low, found.high, found.n) == (pytest.approx(low), pytest.approx(high), 4)
    ppl = perplexity([Judged(nll=value) for value in values])
    assert ppl.median == pytest.approx(math.exp(np.mean(values)))
    assert ppl.high == pytest.approx(math.exp(high))
