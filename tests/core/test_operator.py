"""S x and its adjoint against the explicit matrix, exactly, on every kind of array."""

from fractions import Fraction

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from rpstheory import (
    Block,
    Chunk,
    Fold,
    Hashed,
    KeepBernoulli,
    KeepExact,
    Top,
    compress,
    expand,
    load,
)
from rpstheory.errors import KindError, ShapeError

SEEDS = st.integers(0, 2**64 - 1)
NARROW_DTYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32")


NAMES = ("Fold", "Hashed", "Chunk", "Block", "Tile", "KeepExact", "KeepBernoulli", "Top")


@st.composite
def mappings(draw, names=NAMES):
    """A mapping of at most 30 weights."""
    name, seed = draw(st.sampled_from(names)), draw(SEEDS)
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    n, m = rows * columns, draw(st.integers(1, 20))
    if name == "Tile":
        tile = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        return Block(n, m + 9, seed, block=tile, shape=(rows, columns))
    if name in ("Fold", "Hashed"):
        return Fold(n, m, seed) if name == "Fold" else Hashed(n, m, seed)
    if name in ("Chunk", "Block"):
        size = draw(st.integers(1, m))
        return Chunk(n, m, seed, chunk=size) if name == "Chunk" else Block(n, m, seed, block=size)
    kept = draw(st.integers(1, n))
    if name == "Top":
        return Top(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)), kept)
    return KeepExact(n, kept, seed) if name == "KeepExact" else KeepBernoulli(n, kept, seed)


@st.composite
def mappings_and_vectors(draw, names=NAMES):
    """A mapping, weights (…, n) and values (…, cells), integers small enough to be exact in float64."""
    mapping = draw(mappings(names))
    lead = draw(npst.array_shapes(min_dims=0, max_dims=2, max_side=3))
    whole = st.integers(-(2**20), 2**20)
    x = draw(npst.arrays(np.int64, (*lead, mapping.n), elements=whole))
    return mapping, x, draw(npst.arrays(np.int64, (*lead, mapping.cells), elements=whole))


def matrix(mapping):
    """S, (cells, n)."""
    s = np.zeros((mapping.cells, mapping.n), dtype=np.int64)
    for i in range(mapping.n):
        s[mapping.cell(i), i] = mapping.sign(i)
    return s


def fractions_of(x):
    """Object array of thirds."""
    return np.vectorize(lambda v: Fraction(int(v), 3), otypes=[object])(x)


KINDS = {
    "int64": np.asarray,
    "float64": lambda x: x.astype(np.float64),
    "Fraction": fractions_of,
    "strict int64": array_api_strict.asarray,
    "strict float64": lambda x: array_api_strict.asarray(x.astype(np.float64)),
}


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=25)
def test_compress_equals_the_explicit_matrix(name, data):
    case = data.draw(mappings_and_vectors((name,)))
    mapping, x, _ = case
    assert compress(mapping, x).tolist() == (x @ matrix(mapping).T).tolist()


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=25)
def test_expand_equals_the_transposed_matrix(name, data):
    case = data.draw(mappings_and_vectors((name,)))
    mapping, _, z = case
    assert expand(mapping, z).tolist() == (z @ matrix(mapping)).tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=10)
def test_expand_is_the_adjoint_of_compress_exactly(data, kind, name):
    mapping, x, z = data.draw(mappings_and_vectors((name,)))
    x, z = KINDS[kind](x), KINDS[kind](z)
    short, long = compress(mapping, x), expand(mapping, z)
    assert short.dtype == x.dtype
    assert long.dtype == z.dtype
    assert short.shape == z.shape
    assert long.shape == x.shape
    x, z, short, long = (np.asarray(v) for v in (x, z, short, long))
    assert np.array_equal((short * z).sum(axis=-1), (x * long).sum(axis=-1))


@given(mappings_and_vectors())
@settings(max_examples=40)
def test_operator_gives_torch_the_same_numbers_and_gradients(case):
    torch = pytest.importorskip("torch")
    mapping, x, z = case
    for dtype in (torch.int64, torch.float64):
        short = compress(mapping, torch.asarray(x).to(dtype))
        long = expand(mapping, torch.asarray(z).to(dtype))
        assert short.dtype == long.dtype == dtype
        assert short.tolist() == compress(mapping, x).tolist()
        assert long.tolist() == expand(mapping, z).tolist()
    weights = torch.asarray(x).to(torch.float64).requires_grad_()
    (compress(mapping, weights) * torch.asarray(z)).sum().backward()
    assert weights.grad.tolist() == expand(mapping, z).tolist()


@pytest.mark.parametrize("dtype", NARROW_DTYPES)
@given(mapping=mappings(), data=st.data())
@settings(max_examples=20)
def test_operator_never_wraps_narrow_integers(mapping, data, dtype):
    x = data.draw(npst.arrays(dtype, mapping.n))
    z = data.draw(npst.arrays(dtype, mapping.cells))
    wide, deep = x.astype(np.int64), z.astype(np.int64)
    for kind in (np, array_api_strict):
        short, long = compress(mapping, kind.asarray(x)), expand(mapping, kind.asarray(z))
        assert short.dtype == long.dtype == kind.int64
        assert np.asarray(short).tolist() == (matrix(mapping) @ wide).tolist()
        assert np.asarray(long).tolist() == (deep @ matrix(mapping)).tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "complex128"])
def test_operator_keeps_the_type_of_floats(dtype):
    mapping = Fold(9, 4, 5)
    x = np.arange(9).astype(dtype)
    assert compress(mapping, x).dtype == dtype
    assert expand(mapping, x[:4]).dtype == dtype
    assert compress(mapping, x).real.tolist() == compress(mapping, np.arange(9)).tolist()


def test_compress_is_exact_on_integers_of_any_size():
    x = [3**60 * (i + 1) for i in range(9)]
    mapping = Fold(9, 4, 5)
    wanted = [sum(int(s) * v for s, v in zip(row, x, strict=True)) for row in matrix(mapping)]
    assert compress(mapping, x).tolist() == wanted
    assert compress(mapping, np.array(x, dtype=object)).tolist() == wanted


@given(mappings_and_vectors())
def test_operator_takes_nested_lists(case):
    mapping, x, z = case
    assert compress(mapping, x.tolist()).tolist() == compress(mapping, x).tolist()
    assert expand(mapping, z.tolist()).tolist() == expand(mapping, z).tolist()


def test_operator_takes_views_and_leaves_its_input_alone():
    mapping = Hashed(6, 4, 5)
    x = np.arange(36).reshape(6, 6)
    before = x.copy()
    wanted = [compress(mapping, row.tolist()).tolist() for row in x.T[::-2]]
    assert compress(mapping, x.T[::-2]).tolist() == wanted
    assert (x == before).all()


def test_operator_takes_an_empty_batch():
    assert compress(Fold(6, 4, 5), np.zeros((0, 3, 6))).shape == (0, 3, 4)
    assert expand(Fold(6, 4, 5), np.zeros((3, 0, 4))).shape == (3, 0, 6)


@given(mappings())
def test_load_counts_the_weights_of_each_cell(mapping):
    s = matrix(mapping)
    assert load(mapping).dtype == np.int64
    assert load(mapping).tolist() == np.abs(s).sum(axis=1).tolist()
    assert (s @ s.T).tolist() == np.diag(load(mapping)).tolist()


@given(st.integers(1, 30), st.integers(0, 10), SEEDS)
def test_fold_with_room_for_every_weight_is_an_isometry(n, spare, seed):
    fold, x = Fold(n, n + spare, seed), np.arange(1, n + 1)
    assert expand(fold, compress(fold, x)).tolist() == x.tolist()
    assert int((compress(fold, x) ** 2).sum()) == int((x**2).sum())


@given(mappings())
def test_mapping_that_calls_itself_pareto_continuous_loses_nothing(mapping):
    if mapping.pareto_continuous:
        x = np.arange(1, mapping.n + 1)
        assert expand(mapping, compress(mapping, x)).tolist() == x.tolist()


@given(st.integers(1, 30), st.data(), SEEDS)
def test_pruning_keeps_weights_in_place_and_zeroes_the_rest(n, data, seed):
    m = data.draw(st.integers(1, n))
    for mapping in (KeepExact(n, m, seed), KeepBernoulli(n, m, seed), Top(range(n), m)):
        x = np.arange(1, n + 1)
        kept = mapping.sign(np.arange(n))
        assert compress(mapping, x).tolist() == expand(mapping, x).tolist() == (kept * x).tolist()


# ------------------------------------------------------------------------------- bad input


@given(mappings(), st.integers(0, 40))
def test_operator_names_both_shapes_when_they_differ(mapping, size):
    if size != mapping.n:
        with pytest.raises(
            ShapeError,
            match=rf"compress: an array of shape \(2, {size}\) came, the mapping has n={mapping.n} "
            "weights; pass one value per weight on the last axis",
        ):
            compress(mapping, np.zeros((2, size)))
    if size != mapping.cells:
        with pytest.raises(
            ShapeError,
            match=rf"expand: an array of shape \({size},\) came, the mapping has {mapping.cells} "
            "cells; pass one value per cell on the last axis",
        ):
            expand(mapping, np.zeros(size))


@pytest.mark.parametrize("operate", [compress, expand])
def test_operator_refuses_an_array_without_axes(operate):
    with pytest.raises(ShapeError, match=r"an array of shape \(\) came"):
        operate(Fold(1, 1, 0), np.array(3.0))


@pytest.mark.parametrize("operate", [compress, expand])
def test_operator_refuses_ragged_rows(operate):
    with pytest.raises(ShapeError, match=f"{operate.__name__}: rows of different lengths came"):
        operate(Fold(2, 2, 0), [[1, 2], [3]])


@pytest.mark.parametrize("operate", [compress, expand])
@pytest.mark.parametrize("data", [3, 1.5, None, "ab", {1, 2}], ids=repr)
def test_operator_refuses_what_is_no_array(operate, data):
    with pytest.raises(KindError, match="is not an array; pass a NumPy, CuPy, torch or array-API"):
        operate(Fold(2, 2, 0), data)


@pytest.mark.parametrize("operate", [compress, expand])
@pytest.mark.parametrize("data", [[True, False], ["a", "b"], np.zeros(2, "datetime64[s]")], ids=repr)
def test_operator_refuses_entries_that_have_no_sign(operate, data):
    with pytest.raises(KindError, match=f"{operate.__name__}: data of dtype .* came; pass numbers"):
        operate(Fold(2, 2, 0), data)


@pytest.mark.parametrize("operate", [compress, expand])
@pytest.mark.parametrize("kind", [np, array_api_strict])
def test_operator_refuses_unsigned_integers_of_64_bits(operate, kind):
    with pytest.raises(KindError, match="uint64 came, signs do not fit; convert to int64"):
        operate(Fold(2, 2, 0), kind.zeros(2, dtype=kind.uint64))
