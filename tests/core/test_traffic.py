"""Load, lines, rows and bytes against brute force over every rotation."""

from fractions import Fraction
from itertools import combinations, product
from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpstheory import Fold, Hashed, load
from rpstheory.claims.c09_load import ModuleFold, UnusedShare, loads
from rpstheory.errors import ArgumentError, KindError
from rpstheory.kernels.reference import draw_many
from rpstheory.traffic import (
    MOST_RUNS,
    MOST_RUNS_AS_SET,
    Traffic,
    bytes_moved,
    expected_distinct_cells,
    expected_zero_rows,
    least_colliding_pairs,
    least_distinct_cells,
    mean_cache_lines,
    mean_cache_lines_hashed,
    mean_cache_lines_in_lap,
    most_cache_lines,
    most_cache_lines_in_lap,
    most_line_visits,
    runs,
    unused_share_deviation,
    unused_share_hashed,
    unused_share_rotated,
)

SEEDS = st.integers(0, 2**64 - 1)
MODULES = (((2, 1, 1), 4), ((3, 2, 2), 7), ((5, 1, 4, 2), 6), ((7, 2), 5))


def every_window(m, length):
    """Cells of windows of a fold, (draws, length): every place in a lap, every two rotations."""
    place, one, two = (a.ravel()[:, None] for a in np.meshgrid(*[np.arange(m)] * 3, indexing="ij"))
    position = place + np.arange(length)
    return np.where(position < m, one + position, two + position) % m


def distinct(values):
    ordered = np.sort(values, axis=1)
    return 1 + (np.diff(ordered, axis=1) != 0).sum(axis=1)


def visits(cells, line):
    new_run = np.diff(cells, axis=1) != 1
    return 1 + (new_run | (np.diff(cells // line, axis=1) != 0)).sum(axis=1)


def mean(counts):
    return Fraction(int(counts.sum()), len(counts))


def divisors(m):
    return [b for b in range(1, m + 1) if m % b == 0]


# Load


@given(st.integers(1, 60), st.integers(1, 20), SEEDS)
def test_fold_loads_every_cell_with_the_whole_part_of_n_over_m_or_one_more(n, m, seed):
    carried = load(Fold(n, m, seed))
    assert set(carried.tolist()) <= {n // m, -(-n // m)}
    assert int((carried * (carried - 1)).sum()) == least_colliding_pairs(n, m)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("n", range(1, 9))
def test_no_loads_have_fewer_colliding_pairs(n, m):
    every = (c for c in product(range(n + 1), repeat=m) if sum(c) == n)
    assert least_colliding_pairs(n, m) == min(sum(k * (k - 1) for k in c) for c in every)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_least_colliding_pairs_is_the_sum_over_full_and_other_cells(n, m):
    k = -(-n // m)
    r = n - (k - 1) * m
    assert least_colliding_pairs(n, m) == r * k * (k - 1) + (m - r) * (k - 1) * (k - 2)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 2), (4, 3), (5, 4)])
def test_unused_share_hashed_equals_enumeration(n, m):
    empty = sum(m - len(set(cells)) for cells in product(range(m), repeat=n))
    # one exp, log1p and product: a few roundings of numbers below 2
    assert abs(unused_share_hashed(n, m) - empty / m ** (n + 1)) < 1e-15


def every_share(sizes, m):
    """Share of cells that no module covers, for every choice of rotations."""
    for starts in product(range(m), repeat=len(sizes)):
        covered = {(s + t) % m for s, size in zip(starts, sizes, strict=True) for t in range(size)}
        yield Fraction(m - len(covered), m)


@pytest.mark.parametrize(("sizes", "m"), MODULES)
def test_unused_share_rotated_equals_enumeration(sizes, m):
    shares = list(every_share(sizes, m))
    assert unused_share_rotated(sizes, m) == sum(shares) / len(shares)


@pytest.mark.parametrize(("sizes", "m"), MODULES)
def test_unused_share_deviation_equals_enumeration(sizes, m):
    shares = list(every_share(sizes, m))
    average = sum(shares) / len(shares)
    variance = sum((s - average) ** 2 for s in shares) / len(shares)
    # a difference of numbers below 1, each good to 1e-15, before the root
    assert abs(unused_share_deviation(sizes, m) ** 2 - variance) < 1e-14


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_unused_share_rotated_at_1x_is_below_one_over_e(sizes):
    assert unused_share_rotated(sizes, sum(sizes)) < exp(-1)


def test_the_unused_share_of_modules_is_what_their_loads_leave():
    mapping = ModuleFold(20, 20, 0, sizes=(7, 1, 4, 4, 3, 1))
    cells, _ = draw_many(mapping, 5, 200)
    expected = (loads(cells, 20) == 0).sum(axis=1) / 20
    assert UnusedShare(mapping)(5, 200, "numpy").tolist() == expected.tolist()


# Memory traffic


@given(st.data(), SEEDS)
def test_runs_are_the_cells_in_order_and_no_two_join(data, seed):
    m = data.draw(st.integers(1, 12))
    n = data.draw(st.integers(1, 60))
    length = data.draw(st.integers(1, min(n, m)))
    first = data.draw(st.integers(0, n - length))
    fold = Fold(n, m, seed)
    found = runs(fold, first, length)
    assert [c + t for c, size in found for t in range(size)] == [
        fold.cell(i) for i in range(first, first + length)
    ]
    assert all(a + size != b for (a, size), (b, _) in zip(found, found[1:], strict=False))


def test_runs_are_at_most_four_in_order_and_three_as_a_set():
    cells = np.vstack([np.pad(every_window(m, z), ((0, 0), (0, 12 - z)), "edge")
                       for m in range(1, 12) for z in range(1, m + 1)])  # fmt: skip
    step = np.diff(cells, axis=1)
    assert (1 + ((step != 1) & (step != 0)).sum(axis=1)).max() == MOST_RUNS
    gaps = np.diff(np.sort(cells, axis=1), axis=1)
    assert (1 + (gaps > 1).sum(axis=1)).max() == MOST_RUNS_AS_SET


@pytest.mark.parametrize("m", range(1, 13))
def test_lines_and_visits_never_exceed_their_bounds(m):
    for length in range(1, m + 1):
        cells = every_window(m, length)
        for line in range(1, 6):
            for begin in range(line):
                aligned = begin == 0
                most = most_cache_lines(length, line, m, aligned=aligned)
                assert distinct((cells + begin) // line).max() <= most
                most = most_line_visits(length, line, m, aligned=aligned)
                assert visits(cells + begin, line).max() <= most


@pytest.mark.parametrize("line", [2, 3, 4])
@pytest.mark.parametrize(
    ("whole", "aligned"), [(True, True), (False, True), (False, False)], ids=["whole", "aligned", "any"]
)
def test_bounds_are_attained_for_some_bank(line, whole, aligned):
    banks = [m for m in range(19, 25) if not whole or m % line == 0]
    begins = [0] if aligned else range(1, line)
    loosest = max(banks, key=lambda m: most_line_visits(8, line, m, aligned=aligned))
    for length in range(1, 9):
        found = [every_window(m, length) + begin for m in banks for begin in begins]
        assert max(distinct(cells // line).max() for cells in found) == most_cache_lines(
            length, line, loosest, aligned=aligned
        )
        assert max(visits(cells, line).max() for cells in found) == most_line_visits(
            length, line, loosest, aligned=aligned
        )


def rotations(m, length):
    return (np.arange(m)[:, None] + np.arange(length)) % m


@pytest.mark.parametrize("m", range(1, 19))
def test_lines_inside_a_lap_equal_enumeration(m):
    for line, length in product(divisors(m), range(1, m + 1)):
        counts = distinct(rotations(m, length) // line)
        assert mean(counts) == mean_cache_lines_in_lap(length, line, m)
        assert counts.max() == most_cache_lines_in_lap(length, line, m)


@pytest.mark.parametrize("m", range(1, 13))
def test_mean_lines_from_any_place_equal_enumeration(m):
    for line, length in product(divisors(m), range(1, m + 1)):
        counts = distinct(every_window(m, length) // line)
        assert mean(counts) == mean_cache_lines(length, line, m)


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_lap_ends_add_little(line, lines, data):
    m = line * lines
    length = data.draw(st.integers(1, m - line + 1))
    inside = mean_cache_lines_in_lap(length, line, m)
    assert inside == 1 + Fraction(length - 1, line)
    extra = mean_cache_lines(length, line, m) - inside
    assert extra <= (1 - Fraction(1, line)) * Fraction(length - 1, m)


@pytest.mark.parametrize(("length", "line", "m"), [(1, 2, 4), (3, 2, 6), (4, 1, 4), (5, 3, 3)])
def test_mean_lines_hashed_equal_enumeration(length, line, m):
    every = list(product(range(m), repeat=length))
    expected = sum(len({c // line for c in cells}) for cells in every) / len(every)
    # one exp and log1p, times at most 4 lines
    assert abs(mean_cache_lines_hashed(length, line, m) - expected) < 1e-14


# Rows


@pytest.mark.parametrize(("rows", "width"), [(1, 3), (3, 2), (2, 4), (8, 1)])
def test_expected_zero_rows_equal_enumeration(rows, width):
    n = rows * width
    for m in range(1, n + 1):
        every = [rows - len({i // width for i in kept}) for kept in combinations(range(n), m)]
        assert expected_zero_rows(rows, width, m) == Fraction(sum(every), len(every))
        assert min(every) >= rows - m


@pytest.mark.parametrize("m", range(1, 6))
def test_least_distinct_cells_is_attained(m):
    for width in range(1, 3 * m + 2):
        laps = -(-(width + m - 1) // m)
        shifts = np.array(list(product(range(m), repeat=laps)))
        position = np.arange(m)[:, None] + np.arange(width)
        cells = (shifts[:, position // m] + position % m) % m
        assert distinct(cells.reshape(-1, width)).min() == least_distinct_cells(width, m)


@pytest.mark.parametrize("m", range(1, 6))
def test_expected_distinct_cells_equal_enumeration(m):
    for head, tail in product(range(m + 1), repeat=2):
        counts = [
            len({(one + m - 1 - t) % m for t in range(head)} | {(two + t) % m for t in range(tail)})
            for one, two in product(range(m), repeat=2)
        ]
        assert expected_distinct_cells(head, tail, m) == Fraction(sum(counts), m * m)


# Cost


def test_bytes_by_each_way_of_reading():
    assert bytes_moved(n=10, m=4, word=2) == {
        "dense": Traffic(held=20, peak=20, read=20, written=0),
        "expand first": Traffic(held=8, peak=28, read=28, written=20),
        "fused, bank cached": Traffic(held=8, peak=8, read=8, written=0),
        "fused, bank streamed": Traffic(held=8, peak=8, read=20, written=0),
    }


def test_a_stored_index_is_held_and_read_by_every_shared_way():
    plain, stored = bytes_moved(10, 4), bytes_moved(10, 4, index=4)
    assert stored.pop("dense") == plain.pop("dense")
    for name, traffic in stored.items():
        assert traffic.held - plain[name].held == 40
        assert traffic.moved - plain[name].moved == 40


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_expanding_first_moves_more_than_dense_weights(n, m):
    cost = bytes_moved(n, m)
    assert cost["expand first"].moved == cost["fused, bank cached"].moved + 2 * cost["dense"].moved


# Errors


@pytest.mark.parametrize(
    "call",
    [
        lambda v: least_colliding_pairs(v, 1),
        lambda v: unused_share_hashed(1, v),
        lambda v: unused_share_rotated([1], v),
        lambda v: unused_share_deviation([v], 1),
        lambda v: most_cache_lines(1, 1, v),
        lambda v: most_line_visits(1, v, 1),
        lambda v: most_cache_lines_in_lap(1, v, 1),
        lambda v: mean_cache_lines(v, 1, 1),
        lambda v: mean_cache_lines_hashed(v, 1, 1),
        lambda v: expected_zero_rows(v, 1, 1),
        lambda v: least_distinct_cells(v, 1),
        lambda v: expected_distinct_cells(1, 1, v),
        lambda v: bytes_moved(v, 1),
    ],
)
def test_sizes_must_be_whole_and_positive(call):
    with pytest.raises(ArgumentError, match="=0 came; at least 1 is needed"):
        call(0)
    with pytest.raises(KindError, match=r"=1\.0 came; a whole number is needed"):
        call(1.0)


def test_a_run_of_weights_is_at_most_a_lap():
    with pytest.raises(ArgumentError, match="length=9 came; at most 8 is possible: more would begin a third"):
        runs(Fold(20, 8, 0), 0, 9)
    with pytest.raises(
        ArgumentError, match="first=13 came; at most 12 .*: 8 weights from there must be amon"
    ):
        runs(Fold(20, 8, 0), 13, 8)


def test_runs_are_those_of_a_fold():
    with pytest.raises(ArgumentError, match="^runs: Hashed came; laps of m are those of Fold"):
        runs(Hashed(20, 8, 0), 0, 5)


@pytest.mark.parametrize(
    "function",
    [most_cache_lines_in_lap, mean_cache_lines_in_lap, mean_cache_lines, mean_cache_lines_hashed],
)
def test_a_mean_needs_whole_lines(function):
    with pytest.raises(ArgumentError, match="line=3 does not divide m=8; .*round m to whole lines"):
        function(2, 3, 8)


def test_no_more_weights_can_be_kept_than_there_are():
    with pytest.raises(ArgumentError, match="m=7 came; at most 6 is possible"):
        expected_zero_rows(3, 2, 7)


def test_a_piece_of_a_row_is_at_most_a_lap():
    with pytest.raises(ArgumentError, match="head=5 came; at most 4 is possible"):
        expected_distinct_cells(5, 0, 4)
