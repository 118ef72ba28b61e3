"""What every mapping must satisfy, stated once; then what is special to each."""

import copy
import inspect
import pickle
import tracemalloc
from dataclasses import FrozenInstanceError, fields, replace
from fractions import Fraction
from itertools import pairwise

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpstheory import (
    Block,
    Chunk,
    Fold,
    Hashed,
    KeepBernoulli,
    KeepExact,
    Top,
    compress,
    from_json,
    load,
)
from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError
from rpstheory.hashing import KEEP_STREAM, NARROW, PRIME, SIGN_STREAM, START_STREAM, coefficient
from rpstheory.mappings import AbstractKeep, AbstractMapping, AbstractSharing
from rpstheory.mappings.keep import rounds

KINDS = (Fold, Hashed, Chunk, Block, KeepExact, KeepBernoulli)
SHARING = ("Fold", "Hashed", "Chunk", "Block", "Tile")
SEEDED = (*SHARING, "KeepExact", "KeepBernoulli")
EVERY = (*SEEDED, "Top")
SEEDS = st.integers(0, 2**64 - 1)
LIMIT = 2**60
FAR_EDGES = (0, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32 + 9, PRIME * 3, 2**40 - 1)

SMALL = (0, 1, 2, 3, 99, 100, 101, 500, 998, 999)
FAR = (0, 1, 999, 2**31 - 1, 2**31 + 5, 2**32 + 9, 2**40 - 1)
# Produced once; equal to the documented formulas in big integers (the slow references below).
GOLDEN = [
    (
        Fold(1000, 100, seed=7),
        SMALL,
        [71, 72, 73, 74, 70, 17, 18, 49, 79, 80],
        [1, -1, -1, 1, 1, 1, -1, -1, 1, 1],
    ),
    (
        Fold(2**40, 2**21, seed=7),
        FAR,
        [1400580, 1400581, 1401579, 7135, 1339110, 263689, 1677660],
        [1, -1, 1, 1, -1, -1, -1],
    ),
    (
        Hashed(1000, 100, seed=7),
        SMALL,
        [71, 17, 1, 31, 11, 48, 94, 3, 76, 71],
        [1, -1, -1, 1, 1, 1, -1, -1, 1, 1],
    ),
    (
        Hashed(2**40, 2**21, seed=7),
        FAR,
        [1400580, 2092316, 1822021, 1747959, 1609354, 1462956, 36593],
        [1, -1, 1, 1, -1, -1, -1],
    ),
    (
        Chunk(1000, 100, seed=7, chunk=24),
        SMALL,
        [71, 72, 73, 74, 15, 16, 17, 53, 27, 28],
        [1, -1, -1, 1, 1, 1, -1, -1, 1, 1],
    ),
    (
        Chunk(2**40, 2**21, seed=7, chunk=1000),
        FAR,
        [1400580, 1400581, 1401579, 1989760, 1989766, 980133, 1054346],
        [1, -1, 1, 1, -1, -1, -1],
    ),
    (
        Block(1000, 100, seed=7, block=24),
        SMALL,
        [55, 56, 57, 58, 12, 13, 14, 45, 24, 25],
        [1, -1, -1, 1, 1, 1, -1, -1, 1, 1],
    ),
    (
        Block(2**40, 2**21, seed=7, block=1000),
        FAR,
        [1520040, 1520041, 1521039, 1001877, 1001883, 860707, 1884980],
        [1, -1, 1, 1, -1, -1, -1],
    ),
    (
        KeepExact(1000, 400, seed=7),
        SMALL,
        [0, 1, 2, 3, 99, 100, 101, 500, 998, 999],
        [1, 1, 1, 1, 0, 0, 0, 0, 0, 0],
    ),
    (
        KeepExact(2**40, 2**39, seed=7),
        FAR,
        [0, 1, 999, 2147483647, 2147483653, 4294967305, 1099511627775],
        [1, 0, 1, 1, 1, 0, 1],
    ),
    (
        KeepBernoulli(1000, 400, seed=7),
        SMALL,
        [0, 1, 2, 3, 99, 100, 101, 500, 998, 999],
        [0, 1, 0, 0, 0, 1, 1, 0, 0, 0],
    ),
    (
        KeepBernoulli(2**40, 2**39, seed=7),
        FAR,
        [0, 1, 999, 2147483647, 2147483653, 4294967305, 1099511627775],
        [1, 1, 0, 0, 1, 1, 1],
    ),
    (
        Block(1000, 100, seed=7, block=(4, 6), shape=(25, 40)),
        SMALL,
        [55, 56, 57, 58, 37, 38, 39, 2, 36, 37],
        [1, -1, -1, 1, 1, 1, -1, -1, 1, 1],
    ),
    (
        Block(2**40, 2**21, seed=7, block=(32, 64), shape=(2**20, 2**20)),
        FAR,
        [204608, 204609, 202980, 1517247, 85370, 16432, 1322200],
        [1, -1, 1, 1, -1, -1, -1],
    ),
]


@st.composite
def mappings(draw, names=EVERY, most=60):
    """Any mapping of at most ``most`` weights."""
    name, seed = draw(st.sampled_from(names)), draw(SEEDS)
    if name == "Tile":
        rows, columns = draw(st.integers(1, 8)), draw(st.integers(1, max(1, most // 8)))
        tile = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
        m = draw(st.integers(tile[0] * tile[1], 40))
        return Block(rows * columns, m, seed, block=tile, shape=(rows, columns))
    n = draw(st.integers(1, most))
    if name == "Top":
        scores = draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))
        return Top(scores, draw(st.integers(1, n)))
    if name.startswith("Keep"):
        kind = KeepExact if name == "KeepExact" else KeepBernoulli
        return kind(n, draw(st.integers(1, n)), seed)
    m = draw(st.integers(1, 70))
    if name == "Fold":
        return Fold(n, m, seed)
    if name == "Hashed":
        return Hashed(n, m, seed)
    size = draw(st.integers(1, m))
    return Chunk(n, m, seed, chunk=size) if name == "Chunk" else Block(n, m, seed, block=size)


def everything(mapping):
    """Cells and signs of all weights."""
    place = np.arange(mapping.n)
    return mapping.cell(place).tolist(), mapping.sign(place).tolist()


def huge(n=2**40):
    """One mapping of each kind with n weights."""
    m, side = 2**21, 2**20
    return (
        Fold(n, m, 3),
        Fold(n, m - 5, 3),
        Hashed(n, m, 3),
        Chunk(n, m, 3, chunk=1000),
        Block(n, m, 3, block=1000),
        Block(side * (n // side), m, 3, block=(32, 64), shape=(n // side, side)),
        KeepExact(n, n // 3, 3),
        KeepBernoulli(n, n // 3, 3),
    )


def sharing(n, m, seed=0):
    """One mapping of each sharing kind."""
    z = max(1, m // 2)
    return (Fold(n, m, seed), Hashed(n, m, seed), Chunk(n, m, seed, z), Block(n, m, seed, z))


# ---------------------------------------------- slow references, from the documentation alone


def slow_value(seed, stream, count, position):
    """The field value of a stream at a position, in big integers."""
    few = count <= PRIME
    u, v = (0, position) if few else divmod(position, PRIME)
    return (
        sum(
            coefficient(seed, 16 * stream + j + 4 * k) * v**j * u**k
            for k in range(1 if few else 4)
            for j in range(4)
        )
        % PRIME
    )


def slow_uniform(seed, stream, count, size, position):
    high = slow_value(seed, stream, count, position)
    if size <= NARROW:
        return high * size // PRIME
    return (high * PRIME + slow_value(seed, stream + 1, count, position)) % size


def slow_block_and_offset(mapping, i):
    if getattr(mapping, "shape", None) is not None:
        (tall, wide), columns = mapping.block, mapping.shape[1]
        row, column = divmod(i, columns)
        across = (columns + wide - 1) // wide
        return (row // tall) * across + column // wide, (row % tall) * wide + column % wide
    length = {"Fold": mapping.m, "Hashed": 1}.get(type(mapping).__name__)
    length = length or getattr(mapping, "chunk", None) or mapping.block
    return divmod(i, length)


def slow_cell(mapping, i):
    if isinstance(mapping, AbstractKeep | Top):
        return i
    chunk, offset = slow_block_and_offset(mapping, i)
    chunks = slow_block_and_offset(mapping, mapping.n - 1)[0] + 1
    starts = mapping.m
    if isinstance(mapping, Block):
        z = mapping.block if isinstance(mapping.block, int) else mapping.block[0] * mapping.block[1]
        starts = mapping.m - z + 1
    return (slow_uniform(mapping.seed, START_STREAM, chunks, starts, chunk) + offset) % mapping.m


def slow_sign(mapping, i):
    if isinstance(mapping, KeepBernoulli):
        high, low = (slow_value(mapping.seed, KEEP_STREAM + k, mapping.n, i) for k in (0, 1))
        return int((high * PRIME + low) < PRIME**2 * mapping.m // mapping.n)
    if isinstance(mapping, KeepExact):
        return int(slow_place(mapping, i) < mapping.m)
    word = slow_value(mapping.seed, SIGN_STREAM, (mapping.n + 15) // 16, i // 16)
    return -1 if word >> (i % 16) & 1 else 1


def slow_place(mapping, place):
    """Where the keyed permutation sends a weight."""
    side = next(s for s in range(int(mapping.n**0.5), mapping.n + 1) if s * s >= mapping.n)
    while True:
        left, right = divmod(place, side)
        for stream in range(KEEP_STREAM, KEEP_STREAM + 2 * rounds(side), 2):
            shift = slow_uniform(mapping.seed, stream, side, side, right)
            left, right = right, (left + shift) % side
        place = left * side + right
        if place < mapping.n:
            return place


# --------------------------------------------------------------------------- every mapping


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
@settings(max_examples=25)
def test_mapping_stays_in_its_range(name, data):
    mapping = data.draw(mappings((name,)))
    cells, signs = everything(mapping)
    assert all(0 <= c < mapping.cells for c in cells)
    assert set(signs) <= ({0, 1} if isinstance(mapping, AbstractKeep | Top) else {-1, 1})


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
@settings(max_examples=25)
def test_mapping_gives_a_batch_what_it_gives_one_by_one(name, data):
    mapping = data.draw(mappings((name,)))
    cells, signs = everything(mapping)
    places = range(mapping.n)
    assert [mapping.cell(i) for i in places] == cells
    assert [mapping.sign(i) for i in places] == signs
    assert all(type(mapping.cell(i)) is int and type(mapping.sign(i)) is int for i in places)


@pytest.mark.parametrize("name", SEEDED)
@given(data=st.data())
@settings(max_examples=25)
def test_mapping_equals_its_documented_formula_in_big_integers(name, data):
    mapping = data.draw(mappings((name,), most=30))
    cells, signs = everything(mapping)
    assert cells == [slow_cell(mapping, i) for i in range(mapping.n)]
    assert signs == [slow_sign(mapping, i) for i in range(mapping.n)]


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.uint64, np.int16])
@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
@settings(max_examples=8)
def test_mapping_takes_every_integer_dtype_of_numpy(kind, name, data):
    mapping = data.draw(mappings((name,)))
    cells, signs = everything(mapping)
    place = np.arange(mapping.n, dtype=kind)
    for found, wanted in ((mapping.cell(place), cells), (mapping.sign(place), signs)):
        assert found.dtype == np.int64
        assert found.tolist() == wanted


@given(mappings())
def test_mapping_takes_lists_tuples_ranges_scalars_and_any_shape(mapping):
    cells, signs = everything(mapping)
    n = mapping.n
    for places in (list(range(n)), tuple(range(n)), range(n)):
        assert mapping.cell(places).tolist() == cells
        assert mapping.sign(places).tolist() == signs
    assert mapping.cell(np.int32(n - 1)) == mapping.cell(np.array(n - 1)) == cells[-1]
    column = np.arange(n)[:, None, None]
    assert mapping.cell(column).shape == mapping.sign(column).shape == (n, 1, 1)
    assert mapping.sign(column).ravel().tolist() == signs
    assert mapping.cell([]).shape == mapping.sign([]).shape == (0,)


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
@settings(max_examples=8)
def test_mapping_gives_strict_arrays_the_same_integers(kind, name, data):
    mapping = data.draw(mappings((name,)))
    place = array_api_strict.arange(mapping.n, dtype=getattr(array_api_strict, kind))
    found = mapping.cell(place), mapping.sign(place)
    assert [v.dtype for v in found] == [array_api_strict.int64] * 2
    assert tuple(np.asarray(v).tolist() for v in found) == everything(mapping)


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
@settings(max_examples=8)
def test_mapping_gives_torch_the_same_integers(kind, name, data):
    mapping = data.draw(mappings((name,)))
    torch = pytest.importorskip("torch")
    place = torch.arange(mapping.n, dtype=getattr(torch, kind))
    found = mapping.cell(place), mapping.sign(place)
    assert [v.dtype for v in found] == [torch.int64] * 2
    assert tuple(v.tolist() for v in found) == everything(mapping)


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data())
@settings(max_examples=15)
def test_mapping_survives_pickle_and_copy(name, data):
    mapping = data.draw(mappings((name,)))
    wanted = everything(mapping)
    copies = (pickle.loads(pickle.dumps(mapping)), copy.copy(mapping), copy.deepcopy(mapping))
    for other in copies:
        assert other == mapping
        assert everything(other) == wanted


@pytest.mark.parametrize("name", SEEDED)
@given(data=st.data())
@settings(max_examples=15)
def test_mapping_is_a_pure_function_of_its_arguments(name, data):
    mapping = data.draw(mappings((name,)))
    arguments = {f.name: getattr(mapping, f.name) for f in fields(mapping)}
    other = type(mapping)(**arguments)
    assert other == mapping
    assert hash(other) == hash(mapping)
    assert everything(other) == everything(mapping)


@pytest.mark.parametrize("name", SEEDED)
@given(data=st.data())
@settings(max_examples=15)
def test_mapping_comes_back_from_its_repr(name, data):
    mapping = data.draw(mappings((name,)))
    assert eval(repr(mapping)) == mapping


@pytest.mark.parametrize("name", SEEDED)
@given(data=st.data())
@settings(max_examples=15)
def test_mapping_comes_back_from_its_json(name, data):
    mapping = data.draw(mappings((name,)))
    text = mapping.to_json()
    assert "\n" not in text
    assert from_json(text) == mapping
    assert hash(from_json(text)) == hash(mapping)


@given(mappings(SEEDED), SEEDS)
def test_mappings_of_different_seeds_are_different(mapping, seed):
    assert (replace(mapping, seed=seed) == mapping) == (seed == mapping.seed)


def test_mappings_of_different_kinds_are_different():
    assert len({*sharing(12, 4), KeepExact(12, 4, 0), KeepBernoulli(12, 4, 0)}) == 6
    assert Fold(12, 4, 0) != Chunk(12, 4, 0, chunk=4)


@given(mappings())
def test_mapping_cannot_be_changed(mapping):
    with pytest.raises(FrozenInstanceError):
        mapping.m = 1


@given(mappings(SEEDED))
def test_mapping_takes_numpy_integers_and_holds_python_ones(mapping):
    def wide(value):
        return tuple(map(np.int64, value)) if isinstance(value, tuple) else np.uint64(value)

    arguments = {f.name: getattr(mapping, f.name) for f in fields(mapping)}
    other = type(mapping)(**{k: v if v is None else wide(v) for k, v in arguments.items()})
    assert other == mapping
    assert repr(other) == repr(mapping)
    assert other.to_json() == mapping.to_json()


@pytest.mark.parametrize("mapping", huge(), ids=repr)
def test_mapping_of_2_to_the_40_weights_needs_no_memory(mapping):
    arguments = {f.name: getattr(mapping, f.name) for f in fields(mapping)}
    mapping.cell(FAR_EDGES[0]), mapping.sign(FAR_EDGES[0])  # imports
    tracemalloc.start()
    try:
        fresh = type(mapping)(**arguments)
        for place in FAR_EDGES:
            fresh.cell(place), fresh.sign(place)
        fresh.cell(np.array(FAR_EDGES)), fresh.sign(np.array(FAR_EDGES))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**16


@pytest.mark.parametrize("mapping", huge(), ids=repr)
def test_mapping_equals_big_integers_beyond_2_to_the_31_and_32(mapping):
    places = sorted({p + d for p in FAR_EDGES for d in range(-40, 41, 8)})
    places = [p for p in places if 0 <= p < mapping.n]
    assert mapping.cell(np.array(places)).tolist() == [slow_cell(mapping, i) for i in places]
    assert mapping.sign(np.array(places)).tolist() == [slow_sign(mapping, i) for i in places]


@pytest.mark.parametrize(
    "mapping",
    [
        Fold(LIMIT, LIMIT // 3, 2**64 - 1),
        Hashed(LIMIT, LIMIT - 1, 2**64 - 1),
        Chunk(LIMIT, 2**50, 2**64 - 1, chunk=2**49),
        Block(LIMIT, 2**50, 2**64 - 1, block=2**49),
        Block(LIMIT, 2**50, 2**64 - 1, block=(2**20, 2**20), shape=(2**30, 2**30)),
        KeepExact(LIMIT, LIMIT // 2, 2**64 - 1),
        KeepBernoulli(LIMIT, LIMIT - 1, 2**64 - 1),
    ],
    ids=repr,
)
@given(places=st.lists(st.integers(0, LIMIT - 1), min_size=1, max_size=5))
@settings(max_examples=20)
def test_mapping_does_not_overflow_at_the_largest_sizes(mapping, places):
    places = [*places, LIMIT - 1]
    assert mapping.cell(np.array(places)).tolist() == [slow_cell(mapping, i) for i in places]
    assert mapping.sign(np.array(places)).tolist() == [slow_sign(mapping, i) for i in places]


@pytest.mark.parametrize(("mapping", "places", "cells", "signs"), GOLDEN)
def test_mapping_gives_the_pinned_cells_and_signs(mapping, places, cells, signs):
    assert [mapping.cell(i) for i in places] == mapping.cell(np.array(places)).tolist() == cells
    assert [mapping.sign(i) for i in places] == mapping.sign(np.array(places)).tolist() == signs


@pytest.mark.parametrize("name", ["n", "m", "cells", "rescale", "pareto_continuous"])
def test_every_mapping_has_the_common_attributes(name):
    for mapping in (*sharing(12, 4), KeepExact(12, 4, 0), KeepBernoulli(12, 4, 0), Top([1], 1)):
        assert getattr(mapping, name) is not None


# --------------------------------------------------------------------------- sharing


@given(st.integers(1, 200), st.integers(1, 60), SEEDS)
def test_chunk_of_one_weight_is_hashed_and_of_m_weights_is_fold(n, m, seed):
    assert everything(Chunk(n, m, seed, chunk=1)) == everything(Hashed(n, m, seed))
    assert everything(Block(n, m, seed, block=1)) == everything(Hashed(n, m, seed))
    assert everything(Chunk(n, m, seed, chunk=m)) == everything(Fold(n, m, seed))


@given(mappings(SHARING, most=200), SEEDS)
def test_signs_depend_on_seed_and_position_only(mapping, seed):
    mapping = replace(mapping, seed=seed)
    assert everything(mapping)[1] == everything(Hashed(mapping.n, 5, seed))[1]


@given(st.integers(1, 300), st.integers(1, 60), SEEDS)
def test_fold_never_collides_within_a_lap(n, m, seed):
    cells, _ = everything(Fold(n, m, seed))
    for low in range(0, n, m):
        lap = cells[low : low + m]
        assert len(set(lap)) == len(lap)
        assert all((b - a) % m == 1 % m for a, b in pairwise(lap))


@given(st.integers(1, 300), st.integers(1, 60), SEEDS)
def test_fold_loads_every_cell_with_floor_or_ceil_of_n_over_m(n, m, seed):
    found = load(Fold(n, m, seed))
    assert int(found.sum()) == n
    assert set(found.tolist()) <= {n // m, -(-n // m)}


@given(mappings(("Chunk",), most=200))
def test_chunk_lays_its_weights_side_by_side_around_the_end(mapping):
    cells, _ = everything(mapping)
    for low in range(0, mapping.n, mapping.chunk):
        run = cells[low : low + mapping.chunk]
        assert all((b - a) % mapping.m == 1 % mapping.m for a, b in pairwise(run))


@given(mappings(("Block",), most=200))
def test_block_lays_its_weights_side_by_side_and_never_wraps(mapping):
    cells, _ = everything(mapping)
    for low in range(0, mapping.n, mapping.block):
        run = cells[low : low + mapping.block]
        assert run == list(range(run[0], run[0] + len(run)))
        assert run[0] <= mapping.m - mapping.block


@given(mappings(("Tile",)))
def test_tile_lays_its_rows_one_after_another_and_never_wraps(mapping):
    (rows, columns), (tall, wide) = mapping.shape, mapping.block
    cells = np.reshape(everything(mapping)[0], mapping.shape)
    for top in range(0, rows, tall):
        for left in range(0, columns, wide):
            start = cells[top, left]
            assert 0 <= start <= mapping.m - tall * wide
            for r in range(top, min(top + tall, rows)):
                for c in range(left, min(left + wide, columns)):
                    assert cells[r, c] == start + (r - top) * wide + (c - left)


@given(mappings(SHARING, most=200))
def test_sharing_counts_its_chunks(mapping):
    chunk, offset = mapping.chunk_and_offset(np.arange(mapping.n))
    assert set(chunk.tolist()) == set(range(mapping.chunks))
    assert 0 <= offset.min() <= offset.max() < mapping.chunk_length
    assert mapping.pareto_continuous == (mapping.chunks == 1)


@pytest.mark.parametrize("name", SHARING)
@given(data=st.data())
@settings(max_examples=15)
def test_collision_probability_equals_enumeration_of_all_starts(name, data):
    mapping = data.draw(mappings((name,), most=24))
    m, starts = mapping.m, np.arange(mapping.starts)
    chunk, offset = mapping.chunk_and_offset(np.arange(mapping.n))
    for i in range(0, mapping.n, 3):
        for j in range(mapping.n):
            met = (starts[:, None] + offset[i]) % m == (starts + offset[j]) % m
            share = Fraction(int(met.sum()), met.size) if chunk[i] != chunk[j] else Fraction(0)
            assert mapping.collision_probability(i, j) == share
            assert mapping.collision_probability(j, i) == share


@pytest.mark.parametrize("name", SHARING)
@given(data=st.data())
@settings(max_examples=25)
def test_collision_sum_is_the_double_sum_of_collision_probabilities(name, data):
    mapping = data.draw(mappings((name,), most=30))
    n = mapping.n
    row = st.lists(st.fractions(-9, 9, max_denominator=5), min_size=n, max_size=n)
    a, b = data.draw(row), data.draw(row)
    wanted = sum(
        mapping.collision_probability(i, j) * a[i] * b[j] for i in range(n) for j in range(n) if i != j
    )
    assert mapping.collision_sum(np.array(a, object), np.array(b, object)) == wanted


@pytest.mark.parametrize("name", SHARING)
@given(data=st.data())
@settings(max_examples=15)
def test_collision_sum_takes_batches_row_by_row(name, data):
    mapping = data.draw(mappings((name,), most=30))
    numbers = st.lists(st.integers(-9, 9), min_size=6 * mapping.n, max_size=6 * mapping.n)
    a = np.reshape([Fraction(v) for v in data.draw(numbers)], (2, 3, mapping.n))
    b = a[::-1]
    found = mapping.collision_sum(a, b)
    assert found.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert found[i, j] == mapping.collision_sum(a[i, j], b[i, j])


@pytest.mark.parametrize("name", SHARING)
@given(data=st.data())
@settings(max_examples=40)
def test_collision_sum_of_floats_has_small_relative_error_on_uneven_vectors(name, data):
    mapping = data.draw(mappings((name,), most=40))
    exponents = st.lists(st.integers(-40, 40), min_size=mapping.n, max_size=mapping.n)
    a, b = (np.array([2.0**e for e in data.draw(exponents)]) for _ in range(2))
    exact = mapping.collision_sum(*(np.array([Fraction(v) for v in r], object) for r in (a, b)))
    # Sums of non-negative terms: at most n roundings a level, and m of them where a block slides.
    tolerance = 2.0**-52 * 4 * (mapping.n + mapping.m) * mapping.m
    assert abs(float(mapping.collision_sum(a, b)) - float(exact)) <= tolerance * float(exact)


@given(mappings(SHARING, most=30))
def test_chunk_sums_add_up_each_chunk(mapping):
    a = np.arange(1.0, mapping.n + 1) ** 2
    chunk, _ = mapping.chunk_and_offset(np.arange(mapping.n))
    assert mapping.chunk_sums(a).tolist() == np.bincount(chunk, weights=a).tolist()


# --------------------------------------------------------------------------- pruning


@given(st.integers(1, 3000), st.data(), SEEDS)
def test_keep_exact_keeps_exactly_m(n, data, seed):
    m = data.draw(st.integers(1, n))
    assert KeepExact(n, m, seed).sign(np.arange(n)).sum() == m


@pytest.mark.parametrize("n", [*range(1, 18), 25, 26, 63, 64, 65])
def test_keep_exact_keeps_exactly_m_for_every_m_and_nests(n):
    for seed in (0, 1, 2**64 - 1):
        kept = np.array([KeepExact(n, m, seed).sign(np.arange(n)) for m in range(1, n + 1)])
        assert kept.sum(axis=1).tolist() == list(range(1, n + 1))
        assert (np.diff(kept, axis=0) >= 0).all()


@given(st.integers(1, 300), SEEDS)
def test_keep_bernoulli_nests_and_keeps_everything_at_m_equal_n(n, seed):
    kept = np.array([KeepBernoulli(n, m, seed).sign(np.arange(n)) for m in sorted({1, (n + 1) // 2, n})])
    assert kept[-1].all()
    assert (np.diff(kept, axis=0) >= 0).all()


@given(mappings(("KeepExact", "KeepBernoulli")))
def test_pruning_carries_its_rescaling_as_an_exact_fraction(mapping):
    assert mapping.rescale == Fraction(mapping.n, mapping.m)
    assert mapping.pareto_continuous == (mapping.n == mapping.m)


@given(mappings((*SHARING, "Top")))
def test_sharing_and_top_are_not_rescaled(mapping):
    assert mapping.rescale == 1


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.data())
def test_top_keeps_the_m_largest_and_earlier_weights_among_equals(scores, data):
    m = data.draw(st.integers(1, len(scores)))
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    wanted = [int(i in order[:m]) for i in range(len(scores))]
    assert Top(scores, m).sign(range(len(scores))).tolist() == wanted


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint64, np.float32, bool])
def test_top_compares_scores_of_every_real_dtype(kind):
    assert Top(np.array([0, 1, 0, 1], dtype=kind), 2).sign(range(4)).tolist() == [0, 1, 0, 1]


def test_top_compares_integers_beyond_the_precision_of_floats():
    for scores in (np.array([2**62, 2**62 + 1]), np.array([2**63, 2**63 + 1], dtype=np.uint64)):
        assert Top(scores, 1).sign(range(2)).tolist() == [0, 1]


def test_top_does_not_follow_later_changes_of_the_scores():
    scores = np.array([3.0, 1.0, 2.0])
    top = Top(scores, 1)
    scores[:] = [0, 0, 9]
    assert top.sign(range(3)).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        top.kept[0] = 0


def test_top_is_equal_by_what_it_keeps_and_has_neither_hash_nor_json():
    top = Top([3, 1, 2], 2)
    assert top == Top([30, 10, 20], 2) != Top([3, 1, 2], 1)
    assert top != "something else"
    with pytest.raises(TypeError, match="unhashable"):
        hash(top)
    with pytest.raises(KindError, match="Top: its scores are data, not arguments; save the scores"):
        top.to_json()


# --------------------------------------------------------------------------- bad input

BELOW_ONE = st.integers(max_value=0)
NOT_WHOLE = st.one_of(
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.complex_numbers(),
    st.fractions(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from([np.float64(2), np.True_, np.array([2]), np.array([1, 2]), {2}, b"2"]),
)


def good(kind):
    """Arguments that a kind of mapping takes."""
    extra = {Chunk: {"chunk": 2}, Block: {"block": 2}}.get(kind, {})
    return {"n": 9, "m": 4, "seed": 0, **extra}


COUNTS = [(kind, name) for kind in KINDS for name in good(kind) if name != "seed"]


@pytest.mark.parametrize(("kind", "name"), COUNTS)
@given(value=BELOW_ONE)
def test_mapping_refuses_counts_below_one(kind, name, value):
    with pytest.raises(
        ArgumentError,
        match=f"^{kind.__name__}: {name}={value} came; at least 1 is needed; choose {name} >= 1$",
    ):
        kind(**{**good(kind), name: value})


@pytest.mark.parametrize(("kind", "name"), [(k, a) for k in KINDS for a in good(k)])
@given(value=NOT_WHOLE)
def test_mapping_refuses_what_is_not_a_whole_number(kind, name, value):
    with pytest.raises(KindError, match=f"^{kind.__name__}: {name}=.*(whole number|is a tile but)"):
        kind(**{**good(kind), name: value})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["n", "m"])
def test_mapping_refuses_more_positions_than_its_hash_can_tell_apart(kind, name):
    with pytest.raises(ArgumentError, match=f"{name}={LIMIT + 1} came; at most {LIMIT} is possible"):
        kind(**{**good(kind), "n": LIMIT, name: LIMIT + 1})


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.one_of(st.integers(max_value=-1), st.integers(min_value=2**64)))
def test_mapping_refuses_seeds_outside_64_bits(kind, seed):
    limit = "at least 0 is needed" if seed < 0 else f"at most {2**64 - 1} is possible"
    with pytest.raises(ArgumentError, match=f"{kind.__name__}: seed={seed} came; {limit}"):
        kind(**{**good(kind), "seed": seed})


@pytest.mark.parametrize("kind", [Chunk, Block])
@given(m=st.integers(1, 50), over=st.integers(1, 50))
def test_chunk_and_block_refuse_more_weights_than_cells(kind, m, over):
    name = kind.__name__.lower()
    with pytest.raises(ArgumentError, match=f"{name}={m + over} came; at most {m} is possible"):
        kind(9, m, 0, m + over)


@pytest.mark.parametrize("kind", [KeepExact, KeepBernoulli])
@given(n=st.integers(1, 50), over=st.integers(1, 50))
def test_pruning_refuses_to_keep_more_than_there_are(kind, n, over):
    with pytest.raises(ArgumentError, match=f"m={n + over} of n={n} weights cannot be kept"):
        kind(n, n + over, 0)


@pytest.mark.parametrize(
    ("error", "n", "m", "block", "shape", "message"),
    [
        (KindError, 12, 9, (2, 2), None, r"block=\(2, 2\) is a tile but no matrix came; pass shape"),
        (KindError, 12, 9, 4, (3, 4), r"block=4 came; a pair \(rows, columns\) is needed"),
        (KindError, 12, 9, (2, 2, 1), (3, 4), r"a pair \(rows, columns\) is needed"),
        (KindError, 12, 9, (2, 2), 12, r"shape=12 came; a pair \(rows, columns\) is needed"),
        (KindError, 12, 9, (2, 2), "34", r"shape='34' came; a pair \(rows, columns\) is needed"),
        (KindError, 12, 9, (2.0, 2), (3, 4), "block=2.0 came; a whole number is needed"),
        (KindError, 12, 9, (2, 2), (3, 4.0), "shape=4.0 came; a whole number is needed"),
        (KindError, 12, 9, (2, True), (3, 4), "block=True came; a whole number is needed"),
        (ArgumentError, 12, 9, (0, 2), (3, 4), "block=0 came; at least 1 is needed"),
        (ArgumentError, 12, 9, (2, -1), (3, 4), "block=-1 came; at least 1 is needed"),
        (ArgumentError, 12, 9, (2, 2), (-3, -4), "shape=-3 came; at least 1 is needed"),
        (ArgumentError, 12, 9, (2, 2), (3, 5), "a 3 x 5 matrix came for n=12 weights; pass n=15"),
        (ArgumentError, 12, 9, (2, 5), (3, 4), "a tile of 10 weights came for a bank of m=9"),
    ],
)
def test_block_refuses_tiles_that_do_not_fit(error, n, m, block, shape, message):
    with pytest.raises(error, match=message):
        Block(n, m, 0, block=block, shape=shape)


BEYOND = st.one_of(st.just(0), st.integers(0, 2**62))  # how far outside, first of all the next one


@given(mappings(), BEYOND, st.booleans())
def test_mapping_refuses_positions_outside_its_weights(mapping, beyond, below):
    place = -1 - beyond if below else mapping.n + beyond
    message = f"position: {place} is outside 0..{mapping.n - 1}; the mapping has {mapping.n} weights"
    for method in (mapping.cell, mapping.sign):
        with pytest.raises(ArgumentError, match=message):
            method(place)


@given(mappings(), BEYOND, st.booleans())
def test_mapping_refuses_arrays_with_a_position_outside_its_weights(mapping, beyond, below):
    place = -1 - beyond if below else mapping.n + beyond
    for method in (mapping.cell, mapping.sign):
        for places in ([place], np.array([place]), np.array([[0], [place]])):
            with pytest.raises(ArgumentError, match=f"position: {place} is outside"):
                method(places)


@pytest.mark.parametrize(
    "places",
    [1.0, np.float64(1), [0.0], np.array([1.5]), True, [True], np.array([False]), None, "1"]
    + [["1"], 1j, [None], Fraction(1), {1: 2}, {1}, [2**70]],
    ids=repr,
)
@pytest.mark.parametrize("kind", [*KINDS, Top])
def test_mapping_refuses_positions_that_are_not_integers(kind, places):
    mapping = Top([1, 2], 1) if kind is Top else kind(**good(kind))
    for method in (mapping.cell, mapping.sign):
        with pytest.raises(KindError, match="is not an array; pass|came, integers are needed"):
            method(places)


def test_mapping_refuses_strict_positions_that_are_not_integers():
    for dtype in (array_api_strict.float64, array_api_strict.bool):
        with pytest.raises(KindError, match="came, integers are needed; convert to int64 first"):
            Fold(9, 4, 0).cell(array_api_strict.zeros(3, dtype=dtype))


def test_mapping_refuses_a_ragged_list_of_positions():
    with pytest.raises(ShapeError, match="position: rows of different lengths came"):
        Fold(9, 4, 0).cell([[1], [1, 2]])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        "{}",
        '{"mapping": "Nobody", "n": 1}',
        '{"mapping": [], "n": 1}',
        '{"mapping": "Fold", "n": 3}',
        '{"mapping": "Fold", "n": 3, "m": 2, "seed": 0, "chunk": 1}',
        '{"mapping": "Fold", "n": 3.0, "m": 2, "seed": 0}',
        '{"mapping": "Top", "n": 3, "m": 2}',
        7,
        None,
    ],
)
def test_from_json_refuses_what_is_no_description(text):
    with pytest.raises(DataError, match="^from_json: .* describes no mapping .*; pass the text of"):
        from_json(text)


def test_from_json_refuses_sizes_out_of_range():
    with pytest.raises(ArgumentError, match="Fold: n=0 came; at least 1 is needed"):
        from_json('{"mapping": "Fold", "n": 0, "m": 2, "seed": 0}')


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "one real number per weight"),
        (3.0, "one real number per weight"),
        ([[1.0, 2.0]], r"scores of shape \(1, 2\)"),
        ([1j], "dtype complex128 came"),
        (["a"], "one real number per weight"),
        ([None], "dtype object came"),
        ([Fraction(1, 2)], "dtype object came"),
        ([1.0, float("nan")], "hold nan or inf; pass finite numbers"),
        ([1.0, float("inf")], "hold nan or inf; pass finite numbers"),
        (np.array([1.0, -np.inf]), "hold nan or inf; pass finite numbers"),
    ],
)
def test_top_refuses_scores_that_are_not_a_row_of_finite_reals(scores, message):
    with pytest.raises(DataError, match=f"Top: .*{message}"):
        Top(scores, 1)


def test_top_refuses_a_ragged_list_of_scores():
    with pytest.raises(ShapeError, match="Top: rows of different lengths came"):
        Top([[1], [1, 2]], 1)


@given(value=NOT_WHOLE)
def test_top_refuses_a_budget_that_is_not_a_whole_number(value):
    with pytest.raises(KindError, match="^Top: m=.* a whole number is needed"):
        Top([1.0, 2.0], value)


@given(value=st.one_of(BELOW_ONE, st.integers(3, LIMIT)))
def test_top_refuses_a_budget_outside_its_weights(value):
    with pytest.raises(ArgumentError, match=f"^Top: m={value} (came; at least 1|of n=2 weights)"):
        Top([1.0, 2.0], value)


@pytest.mark.parametrize("kind", [AbstractMapping, AbstractSharing, AbstractKeep])
def test_abstract_mappings_are_never_built(kind):
    assert inspect.isabstract(kind)
    with pytest.raises(TypeError, match="abstract"):
        kind(3, 2, 0)


def test_mapping_of_one_weight_into_one_cell_is_the_identity_up_to_a_sign():
    for mapping in (*sharing(1, 1), KeepExact(1, 1, 0), KeepBernoulli(1, 1, 0), Top([1], 1)):
        assert compress(mapping, [5]).tolist() in ([5], [-5])


SHARED = (Fold(5, 3, 0), Hashed(5, 3, 0), Block(5, 3, 0, block=2))


@pytest.mark.parametrize("mapping", SHARED, ids=repr)
def test_chance_to_meet_is_asked_of_positions_of_the_mapping(mapping):
    for i, j in ((0, 5), (-1, 0)):
        with pytest.raises(ArgumentError, match=r"position: .* is outside 0\.\.4; the mapping has 5 weights"):
            mapping.collision_probability(i, j)
    with pytest.raises(KindError):
        mapping.collision_probability(0.5, 1)


@pytest.mark.parametrize("mapping", SHARED, ids=repr)
def test_sums_over_pairs_that_meet_take_one_number_per_weight(mapping):
    row = [2, 3, 5, 7, 11]
    wanted = mapping.collision_sum(np.array(row, float), np.array(row, float))
    assert mapping.collision_sum(row, np.array(row)) == wanted
    big = np.full(5, 2**62)
    assert mapping.collision_sum(big, big) == mapping.collision_sum(big.astype(float), big.astype(float))
    for short in (np.ones(4), np.ones(6), 1.0):
        with pytest.raises(ShapeError, match=r"collision_sum: an array of shape .* the mapping has n=5"):
            mapping.collision_sum(np.ones(5), short)
    with pytest.raises(KindError, match="collision_sum: data of dtype <U1 came; pass real numbers"):
        mapping.collision_sum(["a"] * 5, np.ones(5))
