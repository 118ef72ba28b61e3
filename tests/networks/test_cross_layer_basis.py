"""Per-layer SVD and Basis Sharing against definitions: exact on whole numbers where the answer is known.

Where S, U, Sigma and V are signed permutations times powers of two, every step of a decomposition is exact,
and results are compared with ==. Elsewhere a statement holds up to rounding, by a bound derived there.
"""

import random
from fractions import Fraction
from itertools import product

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from nn.cross_layer.adapters import Projection
from nn.cross_layer.basis import Basis, coefficients, decomposed, least, scaled_loss
from nn.cross_layer.method import Task, method_of
from nn.cross_layer.svd import truncated
from nn.cross_layer.whitening import layers_in_words, rank_of, units_of, whitener
from rpstheory.errors import ArgumentError, KindError

EPS = torch.finfo(torch.float64).eps


def whole(*shape, seed):
    return torch.randint(-6, 7, shape, generator=torch.Generator().manual_seed(seed)).double()


def random_case(seed, rows=7, columns=5, layers=2, samples=40):
    """Activations of each layer, and their weights, as real numbers."""
    draw = torch.Generator().manual_seed(seed)
    xs = [torch.randn(samples, rows, dtype=torch.float64, generator=draw) for _ in range(layers)]
    ws = [torch.randn(rows, columns, dtype=torch.float64, generator=draw) for _ in range(layers)]
    return xs, ws, sum(x.T @ x for x in xs)


def projection(layer=0, rows=6, columns=4, role="q", itemsize=4):
    return Projection(
        f"{layer}.{role}", (), role, layer, str(layer), rows, columns, True, itemsize, "float32"
    )


# Every row of H has 4 entries of size 1 and H'H = 4: X = H R has X'X = (2R)'(2R) in whole numbers.
HADAMARD = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]).double()


@given(
    st.lists(st.integers(-5, 5), min_size=6, max_size=6),
    st.lists(st.integers(1, 5), min_size=4, max_size=4),
    st.integers(0, 999),
)
def test_the_error_of_the_outputs_is_that_of_the_weights_under_s(above, diagonal, seed):
    r = torch.diag(torch.tensor(diagonal).double())
    r[tuple(torch.triu_indices(4, 4, 1))] = torch.tensor(above).double()
    x, dw = HADAMARD @ r, whole(4, 5, seed=seed)
    s = whitener(x.T @ x)
    assert torch.equal(s, 2 * r)
    assert ((s @ dw) ** 2).sum() == ((x @ dw) ** 2).sum()


def test_the_repair_adds_to_the_smallest_eigenvalue_as_published():
    gram = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)  # eigenvalues 3 and -1
    s = whitener(gram)
    # each number of S'S is below 3 in size and the end of fewer than 8 roundings; so is the eigenvalue
    assert ((s.T @ s) - (gram + (1 + 7e-6) * torch.eye(2, dtype=torch.float64))).abs().max() < 3 * 16 * EPS
    zero = whitener(torch.zeros(3, 3, dtype=torch.float64))
    assert (zero.T @ zero - 7e-6 * torch.eye(3, dtype=torch.float64)).abs().max() <= 7e-6 * 4 * EPS


def test_the_repair_grows_where_it_would_be_lost_in_rounding():
    ones = torch.ones(5, 5, dtype=torch.float64) * 2.0**60
    s = whitener(ones)
    assert torch.isfinite(s).all()
    assert (s.diagonal() > 0).all()
    # the shift is found within a factor of ten of what rounding of eigenvalues hides: 5 * 2^60 * 5 roundings
    assert ((s.T @ s) - ones).abs().max() < 10 * 25 * 2.0**60 * EPS


def test_nothing_is_repaired_where_nothing_is_wrong():
    assert torch.equal(whitener(4 * torch.eye(3, dtype=torch.float64)), 2 * torch.eye(3, dtype=torch.float64))


def known(seed, rows=4, columns=6):
    """S = diag of powers of two, and S W = M with one entry of another size in each row: all exact."""
    draw = random.Random(seed)
    scale = torch.tensor([2.0 ** draw.randrange(-3, 4) for _ in range(rows)], dtype=torch.float64)
    m = torch.zeros(rows, columns, dtype=torch.float64)
    sizes, places = draw.sample([1, 2, 4, 8, 16, 32], rows), draw.sample(range(columns), rows)
    for row, (size, place) in enumerate(zip(sizes, places, strict=True)):
        m[row, place] = draw.choice([-1, 1]) * size
    return scale, m, sizes


@given(st.integers(0, 9999), st.integers(1, 3))
def test_both_keep_the_largest_singular_values_of_s_w(seed, rank):
    scale, m, sizes = known(seed)
    kept = m * (m.abs().sum(1, keepdim=True) >= sorted(sizes)[-rank])
    expected = kept / scale[:, None]
    gram, weight = torch.diag(scale**2), m / scale[:, None]
    left, right = truncated(weight, rank, gram)
    # the roots of singular values are rounded: relative error of their square below 4 eps
    assert ((left @ right - expected).abs() <= 4 * EPS * expected.abs()).all()
    basis, parts = decomposed(weight, gram, rank)
    assert torch.equal(basis @ parts, expected)
    assert scaled_loss(weight, gram, rank) ** 2 == pytest.approx(
        sum(size**2 for size in sorted(sizes)[:-rank]), rel=8 * EPS
    )


@pytest.mark.parametrize("seed", range(5))
def test_basis_sharing_of_groups_of_one_is_svd_llm(seed):
    _, (w,), gram = random_case(seed, layers=1)
    s = whitener(gram)
    sigma = torch.linalg.svdvals(s @ w)
    for rank in range(1, 5):
        left, right = truncated(w, rank, gram)
        basis, parts = decomposed(w, gram, rank)
        # both project S W on its first singular vectors, which rounding turns by eps |SW| / gap, and undo S
        bound = (
            64
            * EPS
            * sigma[0] ** 2
            / (sigma[rank - 1] - sigma[rank])
            * torch.linalg.cond(s)
            / s.diagonal().min()
        )
        assert (left @ right - basis @ parts).abs().max() < bound


@pytest.mark.parametrize("seed", range(5))
def test_the_published_form_of_the_basis_is_the_one_without_an_inverse(seed):
    _, ws, gram = random_case(seed)
    w, s = torch.cat(ws, 1), whitener(gram)
    u, sigma, _ = torch.linalg.svd(s @ w, full_matrices=False)
    published = torch.linalg.inv(s) @ (u[:, :3] * sigma[:3])
    basis, _ = decomposed(w, gram, 3)
    signs = (published * basis).sum(0).sign()  # a singular vector is had up to its sign
    bound = (
        64 * EPS * sigma[0] ** 2 / (sigma[:4] - sigma[1:5]).min() * torch.linalg.cond(s) / s.diagonal().min()
    )
    assert (published - basis * signs).abs().max() < bound


@pytest.mark.parametrize("seed", range(5))
def test_no_product_of_that_rank_is_nearer(seed):
    xs, ws, gram = random_case(seed)
    w, x = torch.cat(ws, 1), torch.cat(xs)
    basis, parts = decomposed(w, gram, 3)
    best = (x @ (basis @ parts - w)).norm()
    assert abs(best - scaled_loss(w, gram, 3)) < 2**10 * EPS * (x @ w).norm()
    draw = torch.Generator().manual_seed(seed)
    for _ in range(20):
        near = basis + 1e-2 * torch.randn(basis.shape, dtype=torch.float64, generator=draw)
        fitted = torch.linalg.lstsq(x @ near, x @ w).solution
        assert (x @ (near @ fitted - w)).norm() > best


@given(st.integers(1, 5), st.integers(1, 60), st.integers(1, 60), st.fractions(0, 1, max_denominator=50))
def test_the_rank_is_the_largest_that_the_budget_reaches(layers, rows, columns, kept):
    share = tuple(projection(layer, rows, columns) for layer in range(layers))
    each, dense = rows + layers * columns, layers * rows * columns
    ranks = [k for k in range(dense + 2) if k * each <= kept * dense]
    assert rank_of(share, kept) == ranks[-1]


@given(
    st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 400), st.sampled_from([2, 4, 8])
)
def test_a_unit_costs_its_basis_and_coefficients_and_never_more_than_allowed(
    layers, rows, columns, percent, size
):
    share = tuple(projection(layer, rows, columns, itemsize=size) for layer in range(layers))
    dense = sum(p.bytes for p in share)
    task = Task(share, (tuple(range(layers)),), False, min(dense, dense * percent // 400), 0)
    assume(rank_of(share, task.kept) >= 1)
    (unit,) = units_of([share], task)
    assert unit.bytes == unit.rank * (rows + layers * columns) * size <= task.allowance
    assert unit.names == tuple(p.name for p in share)


def test_layers_are_named_and_many_that_follow_one_another_by_their_ends():
    assert layers_in_words([3]) == "layer 3"
    assert layers_in_words([3, 0, 1, 2, 2]) == "layers 0, 1, 2, 3"
    assert layers_in_words([0, 2, *range(4, 32), 33]) == "layers 0, 2, 4-31, 33"


def test_a_budget_that_no_rank_reaches_names_the_least_that_does():
    share = (projection(rows=6, columns=4),)
    said = r"q of layer 0 \(6 x 4 float32\) reach no rank of 1; keep at least 0\.417 .* \(compression 2\.4\)"
    with pytest.raises(ArgumentError, match=said):
        units_of([share], Task(share, ((0,),), False, 39, 0))
    assert units_of([share], Task(share, ((0,),), False, 40, 0))[0].rank == 1


@pytest.mark.parametrize("seed", range(5))
def test_refitted_coefficients_solve_the_normal_equations(seed):
    xs, ws, gram = random_case(seed, layers=1)
    basis = random_case(seed + 100, layers=1)[1][0][:, :3]
    found = coefficients(basis, gram, ws[0])
    x = xs[0] @ basis
    # the residual is at right angles to the inputs of the coefficients, up to rounding of its own size
    assert (x.T @ (xs[0] @ ws[0] - x @ found)).abs().max() < 2**10 * EPS * x.norm() * (xs[0] @ ws[0]).norm()


def test_refitted_coefficients_are_exact_where_columns_are_orthogonal():
    basis, w = HADAMARD[:, :2], whole(4, 3, seed=1)
    found = coefficients(basis, 4 * torch.eye(4, dtype=torch.float64), w)
    assert (found - basis.T @ w / 4).abs().max() < 64 * EPS * w.abs().max()


def compositions(run):
    """All ways of cutting a run into parts after each other."""
    for cuts in product([False, True], repeat=len(run) - 1):
        parts, begin = [], 0
        for place, cut in enumerate((*cuts, True), 1):
            if cut:
                parts.append(run[begin:place])
                begin = place
        yield parts


@given(st.integers(1, 7), st.integers(0, 9999))
def test_the_cut_of_least_loss_is_the_best_of_all_with_groups_of_at_most_five(layers, seed):
    run, draw = tuple(projection(layer) for layer in range(layers)), random.Random(seed)
    losses = {}

    def loss(share):
        return losses.setdefault(tuple(p.layer for p in share), draw.randrange(20))

    found = least(run, loss)
    assert tuple(p for share in found for p in share) == run
    allowed = [parts for parts in compositions(run) if max(map(len, parts)) <= 5]
    assert sum(map(loss, found)) == min(sum(map(loss, parts)) for parts in allowed)


def test_layers_with_equal_weights_and_inputs_are_better_together():
    """A pair that is one matrix twice has the loss of one layer of twice the numbers: sharing gains."""
    _, (w,), gram = random_case(3, layers=1)
    share = (projection(0, 7, 5), projection(1, 7, 5))
    kept = Fraction(1, 2)
    together = scaled_loss(torch.cat([w, w], 1), 2 * gram, rank_of(share, kept))
    apart = 2 * scaled_loss(w, gram, rank_of(share[:1], kept))
    assert rank_of(share, kept) == 2 > rank_of(share[:1], kept) == 1
    assert together < apart


def test_options_are_checked():
    assert method_of("basis", {"share": ["q", "o"]}) == Basis(share=("q", "o"))
    with pytest.raises(ArgumentError, match="share has the role 'query'"):
        Basis(share=("query",))
    with pytest.raises(ArgumentError, match="share='all' came"):
        Basis(share="all")
    with pytest.raises(KindError, match="refit=3 came; pass True, False or None"):
        Basis(refit=3)
    with pytest.raises(
        KindError, match="rank= came, which method 'basis' does not have; its options are share"
    ):
        method_of("basis", {"rank": 3})
    with pytest.raises(ArgumentError, match="did you mean 'basis'"):
        method_of("bases", {})
