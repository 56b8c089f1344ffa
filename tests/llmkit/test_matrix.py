"""A weight matrix rounded in closed form, beside optimum-quanto, ONNX Runtime, torch and scipy."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from optimum.quanto import AbsmaxOptimizer, qint8, quantize_weight
from scipy import stats

from llmkit import shelf
from llmkit.compress.matrix import (
    BITS,
    Kind,
    MatrixError,
    Per,
    Scheme,
    bits_a_weight,
    cost,
    groups,
    histogram,
    outliers,
    quantise,
)
from llmkit.reference import open_box

KINDS: tuple[Kind, ...] = ("symmetric", "asymmetric")
PERS: tuple[Per, ...] = ("tensor", "channel", 16, 32, 64, 128, 256, 7)
matrices = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=40),
    elements=st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False),
)
schemes = st.builds(Scheme, bits=st.sampled_from(BITS), kind=st.sampled_from(KINDS), per=st.sampled_from(PERS))


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    """A matrix of the bundled box: [768, 192]."""
    return open_box("gpt2-starter").model.layers[1].feed_forward.up.weight.numpy()


def each(made_scale: np.ndarray, shape: tuple[int, int], per: Per) -> np.ndarray:
    """The scale of each weight, [rows, columns]."""
    if per in ("tensor", "channel"):
        return np.broadcast_to(made_scale, shape)
    return np.repeat(made_scale, int(per), axis=1)[:, : shape[1]]


def test_eight_bits_per_channel_are_quantos(weights: np.ndarray) -> None:
    base = torch.from_numpy(weights.copy())
    scale = AbsmaxOptimizer()(base, qint8, axis=0)
    theirs = quantize_weight(base, qint8, 0, scale)
    ours = quantise(weights, Scheme(bits=8))
    assert np.array_equal(ours.codes, theirs._data.numpy())
    assert np.array_equal(ours.scale, theirs._scale.numpy())
    assert np.array_equal(ours.weights, theirs.dequantize().numpy())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per", ["tensor", "channel", 32, 96])
def test_eight_bits_are_onnx_runtimes(weights: np.ndarray, kind: Kind, per: Per) -> None:
    ours = quantise(weights, Scheme(bits=8, kind=kind, per=per))
    signed = kind == "symmetric"
    size = ours.scale.size
    code = onnx.TensorProto.INT8 if signed else onnx.TensorProto.UINT8
    named = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=0),
        onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=0),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "round",
        [
            named("x", onnx.TensorProto.FLOAT, [size, None]),
            named("s", onnx.TensorProto.FLOAT, [size]),
            named("z", code, [size]),
        ],
        [named("q", code, [size, None]), named("y", onnx.TensorProto.FLOAT, [size, None])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    zero = ours.zero_point.reshape(-1).astype(np.int8 if signed else np.uint8)
    q, y = session.run(None, {"x": weights.reshape(size, -1), "s": ours.scale.reshape(-1), "z": zero})
    assert np.array_equal(q.reshape(weights.shape), ours.codes)
    assert np.array_equal(y.reshape(weights.shape), ours.weights)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("kind", KINDS)
def test_few_bits_are_torchs(weights: np.ndarray, bits: int, kind: Kind) -> None:
    ours = quantise(weights, Scheme(bits=bits, kind=kind))
    low, high = ours.scheme.codes
    theirs = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(weights.copy()),
        torch.from_numpy(ours.scale[:, 0].copy()),
        torch.from_numpy(ours.zero_point[:, 0].astype(np.int32)),
        0,
        low,
        high,
    ).numpy()
    # torch multiplies by 1 / scale: a weight half-way between two codes may fall to the other side
    apart = np.abs(theirs - ours.weights) / ours.scale
    assert (apart > 1e-3).mean() < 1e-4
    assert apart.max() < 1.001


@given(matrices, schemes)
def test_a_weight_moves_half_a_step_at_most(matrix: np.ndarray, scheme: Scheme) -> None:
    made = quantise(matrix, scheme)
    low, high = scheme.codes
    assert made.codes.shape == matrix.shape == made.weights.shape
    assert low <= made.codes.min() <= made.codes.max() <= high
    assert low <= made.zero_point.min() <= made.zero_point.max() <= high
    step = each(made.scale, matrix.shape, scheme.per).astype(np.float64)
    # the zero point is rounded itself: the end of an asymmetric range may lie half a step outside the codes
    room = 0.5 if scheme.kind == "symmetric" else 1.0
    assert (np.abs(made.weights.astype(np.float64) - matrix) <= room * step * 1.0001 + 1e-30).all()
    assert (made.weights[matrix == 0] == 0).all()
    assert made.scale.size == groups(matrix.shape, scheme.per)
    assert made.bits_a_weight == bits_a_weight(scheme, matrix.size, made.scale.size)


@given(matrices, st.sampled_from(KINDS), st.sampled_from(PERS))
def test_rounding_twice_is_rounding_once(matrix: np.ndarray, kind: Kind, per: Per) -> None:
    scheme = Scheme(bits=4, kind=kind, per=per)
    once = quantise(matrix, scheme)
    if kind == "symmetric":
        assert np.array_equal(quantise(once.weights, scheme).codes, once.codes)


@given(matrices, st.sampled_from(BITS), st.sampled_from([16, 7, 256]))
def test_a_group_is_rounded_as_if_it_were_alone(matrix: np.ndarray, bits: int, per: int) -> None:
    whole = quantise(matrix, Scheme(bits=bits, kind="asymmetric", per=per))
    last = (matrix.shape[1] - 1) // per * per  # the last group, often a short one
    alone = quantise(matrix[:1, last:], Scheme(bits=bits, kind="asymmetric", per="tensor"))
    assert np.array_equal(whole.weights[:1, last:], alone.weights)


@pytest.mark.parametrize(
    "scheme", [Scheme(bits=b, kind=k, per=p) for b in (2, 8) for k in KINDS for p in ("tensor", 16)]
)
@pytest.mark.parametrize("value", [0.0, 1.5, -1.5, 3e38, 1e-45])
def test_one_weight_and_equal_weights(scheme: Scheme, value: float) -> None:
    for shape in ((1, 1), (3, 5)):
        matrix = np.full(shape, value, dtype=np.float32)
        made = quantise(matrix, scheme)
        assert np.isfinite(made.weights).all()
        if abs(value) != 1e-45:  # a scale of so little is 0
            np.testing.assert_allclose(made.weights, matrix, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_no_number_is_refused(value: float) -> None:
    matrix = np.ones((4, 4))
    matrix[2, 1] = value
    for act in (lambda: quantise(matrix, Scheme(bits=8)), lambda: outliers(matrix), lambda: histogram(matrix)):
        with pytest.raises(MatrixError) as caught:
            act()
        assert (caught.value.code, caught.value.values["n"]) == ("matrix_not_finite", 1)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4,), (2, 2, 2), ()])
def test_what_is_no_table_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MatrixError) as caught:
        quantise(np.zeros(shape), Scheme(bits=8))
    assert caught.value.code == "matrix_empty"


@pytest.mark.parametrize(
    "wrong", [{"bits": 5}, {"bits": 8, "per": 0}, {"bits": 8, "per": "row"}, {"bits": 8, "kind": "x"}]
)
def test_a_scheme_that_there_is_not_is_refused(wrong: dict) -> None:
    with pytest.raises(MatrixError) as caught:
        Scheme(**wrong)
    assert caught.value.code == "matrix_scheme"


def test_the_cost_is_the_closed_form(weights: np.ndarray) -> None:
    told = cost(weights, quantise(weights, Scheme(bits=8)).weights)
    gone = quantise(weights, Scheme(bits=8)).weights.astype(np.float64) - weights
    assert told.max_abs == np.abs(gone).max()
    assert told.mean_square == pytest.approx((gone**2).mean())
    assert told.snr_db == pytest.approx(10 * np.log10((weights.astype(float) ** 2).sum() / (gone**2).sum()))
    assert cost(weights, weights).snr_db == np.inf
    assert cost(np.zeros((2, 2)), np.ones((2, 2))).snr_db == -np.inf
    # one bit more halves the step: about 6 dB
    apart = cost(weights, quantise(weights, Scheme(bits=3)).weights).snr_db
    assert 5 < cost(weights, quantise(weights, Scheme(bits=4)).weights).snr_db - apart < 9


def test_outliers_are_scipys_and_the_closed_form(weights: np.ndarray) -> None:
    assert outliers(weights).kurtosis == pytest.approx(stats.kurtosis(weights, axis=None, fisher=False), rel=1e-6)
    told = outliers(np.array([[1.0, 0.5, 0.0, -4.0], [2.0, 2.0, 1.0, 0.0]]))
    assert told.lone_share_max == 0.75
    assert told.lone_share == pytest.approx((0.75 + 0) / 2)
    assert (told.largest, outliers(np.zeros((2, 3))).lone_share) == (4.0, 0.0)
    assert np.isnan(outliers(np.ones((2, 3))).kurtosis)
    assert outliers(np.array([[3.0]])).lone_share == 1.0


def test_the_histogram_counts_every_weight(weights: np.ndarray) -> None:
    counts, most = histogram(weights, 50)
    assert counts.sum() == weights.size
    assert most == np.abs(weights).max()
    assert histogram(np.zeros((2, 2)))[1] == 1.0


@pytest.mark.registry
@pytest.mark.parametrize("box_id", ["minilm-l6", "smollm2-135m-instruct"])
def test_smaller_groups_lose_less_and_take_more(box_id: str, standard_kit: tuple[str, ...]) -> None:
    assert shelf.locate(box_id) is not None
    matrix = open_box(box_id).model.layers[2].attention.out.weight.numpy()
    made = [quantise(matrix, Scheme(bits=4, per=per)) for per in ("tensor", "channel", 128, 32, 16)]
    snr = [cost(matrix, one.weights).snr_db for one in made]
    assert snr == sorted(snr)
    taken = [one.bits_a_weight for one in made]
    assert taken == sorted(taken)
    assert taken[-1] == 5.0
