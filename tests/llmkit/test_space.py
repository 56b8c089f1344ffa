"""The space of embeddings against scikit-learn, torch and brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from llmkit.trace import space
from llmkit.trace.space import METHODS, Floats, Method


def drawn(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("chunk", [1, 7, 8192])
def test_cosines_are_torchs(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(space, "CHUNK", chunk)
    table, wanted = drawn(50, 16), drawn(3, 16, seed=1)
    expected = torch.nn.functional.cosine_similarity(
        torch.from_numpy(wanted)[:, None], torch.from_numpy(table)[None], dim=-1
    )
    np.testing.assert_allclose(space.cosine_to_table(table, wanted), expected.numpy(), atol=1e-6)


def test_similarity_is_sklearns_for_every_stage() -> None:
    points = drawn(3, 6, 16)
    for stage, values in zip(points, space.similarity(points), strict=True):
        np.testing.assert_allclose(values, cosine_similarity(stage), atol=1e-6)


def test_a_row_of_zeros_is_like_nothing() -> None:
    table = drawn(5, 4)
    table[2] = 0
    assert space.cosine_to_table(table, table)[2].tolist() == [0.0] * 5


def test_neighbours_are_sklearns() -> None:
    table = drawn(200, 16)
    cosines = space.cosine_to_table(table, table[[17]])[0]
    far, ids = NearestNeighbors(n_neighbors=11, metric="cosine").fit(table).kneighbors(table[[17]])
    found = space.nearest(cosines, 10, without=(17,))
    assert list(found.ids) == ids[0, 1:].tolist()
    np.testing.assert_allclose(found.cosines, 1 - far[0, 1:], atol=1e-6)


def test_more_neighbours_than_rows() -> None:
    assert len(space.nearest(np.zeros(4, dtype=np.float32), 9, without=(1,)).ids) == 3


def test_ranks_count_the_list() -> None:
    """Equal cosines, too: the rank of a row is its place in the whole list of neighbours."""
    cosines = np.round(drawn(60), 1)
    for without in ((), (3, 8, 20)):
        listed = space.nearest(cosines, 60, without=without).ids
        for place, at in enumerate(listed, start=1):
            assert space.rank(cosines, at, without=without) == place


def test_a_planted_analogy_is_found() -> None:
    table = space.unit(drawn(300, 64))
    table[3] = space.unit(table[0] - table[1] + table[2])
    solved = space.solve(table, [0], [1], [2], expected=3)
    assert (solved.rank, solved.rank_others) == (1, 1)
    assert solved.nearest.ids[0] == 3
    assert solved.cosine == pytest.approx(1, abs=1e-5)
    assert not {0, 1, 2} & set(solved.nearest_others.ids)


def test_an_expected_word_put_in_has_one_rank_only() -> None:
    solved = space.solve(drawn(30, 8), [0], [1], [2, 4], expected=0)
    assert solved.rank is not None
    assert solved.rank_others is None
    assert space.solve(drawn(30, 8), [0], [1], [2], expected=None).rank is None


@pytest.mark.parametrize("dims", [2, 3])
def test_pca_is_sklearns(dims: int) -> None:
    points = drawn(40, 16)
    reference = PCA(dims, svd_solver="full").fit(space.unit(points))
    expected = reference.transform(space.unit(points))
    ours = space.project(points, "pca", dims=dims)
    signs = np.sign((ours * expected).sum(0))
    np.testing.assert_allclose(ours, expected * signs, atol=1e-5)
    assert space.explained(points, dims) == pytest.approx(reference.explained_variance_ratio_.sum(), abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 2, 4, 6, 9])
def test_few_points_are_laid_out(method: Method, count: int) -> None:
    layout = space.project(drawn(count, 16), method, dims=3)
    assert layout.shape == (count, 3)
    assert np.isfinite(layout).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_layout_keeps_neighbours_and_is_the_same_twice(method: Method) -> None:
    centres = drawn(4, 32) * 3
    points = np.repeat(centres, 12, axis=0) + drawn(48, 32, seed=1) * 0.3
    layout = space.project(points, method, dims=2)
    assert trustworthiness(space.unit(points), layout, n_neighbors=5) > 0.8
    np.testing.assert_array_equal(layout, space.project(points, method, dims=2))


@pytest.mark.parametrize("method", METHODS)
def test_equal_points_are_laid_out(method: Method) -> None:
    assert np.isfinite(space.project(np.ones((8, 4)), method, dims=2)).all()
