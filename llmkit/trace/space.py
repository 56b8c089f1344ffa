"""The space that embeddings live in: cosine, neighbours, word arithmetic with honest ranks, projections.

Plain numpy; scikit-learn and umap-learn are imported only by the projection that needs them. V rows of the
table (one a token of the vocabulary), D = d_model, N points.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Method = Literal["pca", "tsne", "umap"]
METHODS: tuple[Method, ...] = get_args(Method)
CHUNK = 8192
"""Rows of the table normalised at a time, so that no second copy of a large table is made."""


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Rows of the table by falling cosine.

    Args:
        ids: token ids, nearest first. cosines: of the same rows, in [-1, 1].
    """

    ids: tuple[int, ...]
    cosines: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Analogy:
    """Where a − b + c lands.

    Args:
        nearest: the rows nearest to it, the words put in among them.
        nearest_others: the same without the words put in.
        rank: of the expected row among all V, 1 is nearest; None where there is no single expected row.
        rank_others: the same without the words put in; None, too, where the expected row is one of those.
        cosine: of the expected row; None as for rank.
    """

    nearest: Neighbours
    nearest_others: Neighbours
    rank: int | None
    rank_others: int | None
    cosine: float | None


def unit(vectors: NDArray[Any]) -> Floats:
    """Divide each vector by its length; a vector of zeros stays as it is.

    Args:
        vectors: [..., D].

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    units: Floats = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return units


def cosine_to_table(table: Floats, vectors: NDArray[Any]) -> Floats:
    """Return the cosine between vectors and every row of the table; a vector of zeros has cosine 0.

    Args:
        table: [V, D]. vectors: [N, D].

    Returns:
        [N, V].

    Source: the same numbers as ``torch.nn.functional.cosine_similarity``.
    """
    wanted = unit(vectors)
    parts = [wanted @ unit(table[start : start + CHUNK]).T for start in range(0, len(table), CHUNK)]
    return np.concatenate(parts, axis=1)


def similarity(points: NDArray[Any]) -> Floats:
    """Return the cosine of every point with every other: [..., N, D] → [..., N, N]."""
    units = unit(points)
    return np.asarray(units @ units.swapaxes(-1, -2), dtype=np.float32)


def nearest(cosines: Floats, count: int, *, without: Collection[int] = ()) -> Neighbours:
    """Return the rows with the greatest cosine; of equal ones the lower id first.

    Args:
        cosines: [V]. count: how many rows. without: ids left out.
    """
    order = np.argsort(-cosines, kind="stable")
    left_out = set(without)
    ids = tuple(int(at) for at in order[: count + len(left_out)] if int(at) not in left_out)[:count]
    return Neighbours(ids=ids, cosines=tuple(float(cosines[at]) for at in ids))


def rank(cosines: Floats, token_id: int, *, without: Collection[int] = ()) -> int:
    """Return the place of a row among all, by cosine: 1 is the nearest; of equal ones the lower id first.

    Args:
        cosines: [V]. token_id: whose place. without: ids that do not count.

    >>> rank(np.array([0.9, 0.1, 0.5], dtype=np.float32), 2), rank(np.array([0.9, 0.1, 0.5]), 2, without=[0])
    (2, 1)
    """
    before = cosines > cosines[token_id]
    before |= (cosines == cosines[token_id]) & (np.arange(len(cosines)) < token_id)
    return 1 + int(before.sum()) - sum(bool(before[at]) for at in set(without))


def solve(
    table: Floats,
    plus: Sequence[int],
    minus: Sequence[int],
    also: Sequence[int],
    *,
    expected: int | None,
    count: int = 10,
) -> Analogy:
    """Compute a − b + c in the table and say honestly where the expected row stands.

    Each word is the mean of its tokens' unit rows, so that a long row does not outweigh the others.

    Args:
        table: [V, D].
        plus, minus, also: the token ids of a, b and c, one or more each.
        expected: the id of the expected word; None where it has no row of its own.
        count: neighbours listed.

    Source: Mikolov et al. 2013, "Linguistic Regularities in Continuous Space Word Representations", section 4;
    the inputs' exclusion: Linzen 2016, "Issues in evaluating semantic spaces using word analogies".
    """
    a, b, c = (unit(table[list(ids)]).mean(0) for ids in (plus, minus, also))
    cosines = cosine_to_table(table, (a - b + c)[None])[0]
    inputs = {*plus, *minus, *also}
    return Analogy(
        nearest=nearest(cosines, count),
        nearest_others=nearest(cosines, count, without=inputs),
        rank=None if expected is None else rank(cosines, expected),
        rank_others=None if expected is None or expected in inputs else rank(cosines, expected, without=inputs),
        cosine=None if expected is None else float(cosines[expected]),
    )


def project(points: NDArray[Any], method: Method, *, dims: int, seed: int = 0) -> Floats:
    """Lay points of the space out in two or three dimensions.

    Directions only are compared: each point is divided by its length first. Few points are laid out too: the
    neighbourhood that t-SNE and UMAP look at shrinks with them. Where neither has anything to do (fewer than
    ``dims + 3`` points, or all in one place) the layout is PCA's.

    Args:
        points: [N, D], N >= 1.
        method: "pca" (linear: shares of variance), "tsne" or "umap" (nearby points stay near; distances between
            groups mean little).
        dims: 2 or 3.
        seed: the same seed and points give the same layout.

    Returns:
        [N, dims].

    Source: Pearson 1901; van der Maaten and Hinton 2008; McInnes, Healy and Melville 2018.
    """
    units = unit(points)
    if method == "pca" or len(units) < dims + 3 or np.ptp(units, axis=0).max() == 0:
        return _pca(units, dims)
    if method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(15.0, (len(units) - 1) / 3)
        layout = TSNE(dims, perplexity=perplexity, init=_start(units, dims), random_state=seed).fit_transform(units)
    else:
        import umap

        layout = umap.UMAP(
            n_neighbors=min(10, len(units) - 1),
            n_components=dims,
            min_dist=0.2,
            init=_start(units, dims) * 1e5,
            random_state=seed,
            n_jobs=1,
        ).fit_transform(units)
    return np.asarray(layout, dtype=np.float32)


def explained(points: NDArray[Any], dims: int) -> float:
    """Return which share of the points' variance PCA keeps in so many dimensions, in [0, 1]."""
    units = unit(points)
    strengths = np.linalg.svd(units - units.mean(0), compute_uv=False) ** 2
    return float(strengths[:dims].sum() / strengths.sum()) if strengths.sum() > 0 else 1.0


def _pca(units: Floats, dims: int) -> Floats:
    """[N, D] → [N, dims]; each axis's greatest entry is positive, dimensions that do not exist are 0."""
    centred = units - units.mean(0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    axes = left[:, :dims] * strengths[:dims]
    axes *= np.where(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])] < 0, -1, 1)
    return np.pad(axes, ((0, 0), (0, dims - axes.shape[1]))).astype(np.float32)


def _start(units: Floats, dims: int) -> Floats:
    """PCA's layout, small: a start that is the same every time."""
    layout = _pca(units, dims)
    spread = layout[:, 0].std()
    return np.asarray(layout / (spread if spread > 0 else 1) * 1e-4, dtype=np.float32)
