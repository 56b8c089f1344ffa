"""Groups that nobody has named: k-means over the texts' vectors, and the words that set each group apart."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmkit.analyse.errors import AnalyseError

SEED = 0
FEW = 5_000
"""Up to so many texts k-means begins anew several times and keeps the best; beyond it begins once."""

MOST_ON_MAP = 2_000
TERMS = 6
FEWEST_TEXTS = 2
"""A word that stands in fewer texts of a group says nothing about the group."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Clusters:
    """Texts in groups, the largest first.

    Args:
        group: [U], each text's. clear: [U], from 0 (between two groups) to 1 (at its own centre).
    """

    group: NDArray[np.int64]
    clear: Floats


def cluster(vectors: Floats, k: int, *, seed: int = SEED) -> Clusters:
    """Part vectors of length 1 into k groups.

    Args:
        vectors: [U, D]. k: how many groups, at least 2.

    Raises:
        AnalyseError: ``read_too_few`` where there are fewer different vectors than groups.

    Source: Lloyd 1982, with the start of Arthur and Vassilvitskii 2007 (sklearn's ``KMeans``); how clear a text lies is
    the simplified silhouette of Hruschka et al. 2004, 1 - a / b, with a the distance to its own centre and b to the
    next.
    """
    from sklearn.cluster import KMeans

    different = len(np.unique(vectors, axis=0)) if len(vectors) <= FEW else len(vectors)
    if different < k:
        raise AnalyseError("read_too_few", texts=different, k=k)
    made = KMeans(k, n_init=4 if len(vectors) <= FEW else 1, random_state=seed).fit(vectors)
    distances = np.sort(made.transform(vectors), axis=1)[:, :2].astype(np.float32)
    clear = 1 - np.divide(
        distances[:, 0], distances[:, 1], out=np.ones(len(vectors), np.float32), where=distances[:, 1] > 0
    )
    order = np.argsort(-np.bincount(made.labels_, minlength=k), kind="stable")
    return Clusters(group=np.argsort(order)[made.labels_].astype(np.int64), clear=clear.astype(np.float32))


def terms(texts: Sequence[str], group: NDArray[np.int64], k: int) -> list[list[str]]:
    """The words that set each group's texts apart from all others: the greatest log-odds, counted in texts.

    Args:
        texts: U. group: [U], from 0. k: how many groups.

    Returns:
        for each group up to TERMS words, the clearest first; Chinese in pairs of characters.

    Source: Monroe, Colaresi and Quinn 2008, "Fightin' Words", equations 15, 16, 19 and 22; the prior is the whole
    column.
    """
    inside: list[Counter[str]] = [Counter() for _ in range(k)]
    for text, at in zip(texts, group.tolist(), strict=True):
        inside[at].update(words_in(text))
    whole: Counter[str] = sum(inside, Counter())
    return [_apart(one, whole) for one in inside]


def log_odds(here: float, there: float, prior: float, *, n_here: float, n_there: float, n_prior: float) -> float:
    """How much likelier a word is here than there, in standard deviations.

    Args:
        here, there: how often the word is counted. prior: what is added to both. n_…: the same of all words together.

    >>> round(log_odds(5, 5, 1, n_here=50, n_there=50, n_prior=10), 3)
    0.0
    """
    odds_here = np.log((here + prior) / (n_here + n_prior - here - prior))
    odds_there = np.log((there + prior) / (n_there + n_prior - there - prior))
    return float((odds_here - odds_there) / np.sqrt(1 / (here + prior) + 1 / (there + prior)))


def words_in(text: str) -> set[str]:
    """The words of a text, in small letters; of Chinese and Japanese every two characters that stand together.

    >>> sorted(words_in("The desk, 書架壞")) == sorted({"the", "desk", "書架", "架壞"})
    True
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    found = set(re.findall(r"[a-z\u00c0-\u024f][a-z\u00c0-\u024f'’-]+", text))
    for run in re.findall(r"[\u3040-\u30ff\u3400-\u9fff]{2,}", text):
        found.update(run[at : at + 2] for at in range(len(run) - 1))
    return found


def on_map(count: int) -> NDArray[np.int64]:
    """Which of so many texts are drawn on the map: all, or MOST_ON_MAP spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_ON_MAP)).round().astype(np.int64))


def _apart(here: Counter[str], whole: Counter[str]) -> list[str]:
    total, n_here = sum(whole.values()), sum(here.values())
    if n_here == total:
        return [word for word, _ in here.most_common(TERMS)]
    scale = n_here / total  # a prior as heavy as the group itself
    sizes = {"n_here": n_here, "n_there": total - n_here, "n_prior": total * scale}
    scores = {
        word: log_odds(count, whole[word] - count, whole[word] * scale, **sizes)
        for word, count in here.items()
        if count >= FEWEST_TEXTS
    }
    best = sorted(scores, key=lambda word: (-scores[word], word))
    return [word for word in best if scores[word] > 0][:TERMS]
