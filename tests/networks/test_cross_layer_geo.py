"""Curvature and coloring against definitions: dense Hessians, all colorings, true losses.

Identities of matrices are compared with == on whole numbers. What is solved or decomposed holds up to
rounding, by the bound in the line above; colorings are judged by the loss of the model that they give.
"""

import copy
import itertools
import random
from fractions import Fraction

import pytest
import torch
import torch.nn as tnn
import torch.nn.functional as tnnf
from hypothesis import given
from hypothesis import strategies as st

import nn
from nn.cross_layer.adapters import Projection
from nn.cross_layer.curvature import (
    DRAWS,
    Curvature,
    curvatures_of,
    divergence,
    gradients,
    hessian,
    probed,
    steepest,
)
from nn.cross_layer.geo import (
    Geo,
    Palette,
    Seat,
    Site,
    adjacent,
    alike,
    canonical,
    dealt,
    fitted,
    members_of,
    spectral,
)
from nn.cross_layer.method import Task, method_of
from nn.cross_layer.planning import setting_of
from nn.cross_layer.sharing import stored_bytes
from nn.cross_layer.streams import as_batches
from nn.cross_layer.work import Work
from nn.layers import views_of
from nn.models.vit import ViT
from rpstheory.errors import ArgumentError, DataError, KindError

EPS = torch.finfo(torch.float64).eps
INFINITE = float("inf")


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def whole(*shape, seed):
    return torch.randint(-4, 5, shape, generator=draw(seed)).double()


def vit(depth=3, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ViT(widths=(4, 12), heads=2, depth=depth).double().eval()


IMAGES = [torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=draw(k)) for k in (1, 2)]


class Parallel(tnn.Module):
    """Linear blocks side by side: the loss of squares is a quadratic of all weights, layer by layer."""

    def __init__(self, weights):
        super().__init__()
        self.layers = tnn.ModuleList()
        for weight in weights:
            block = tnn.Sequential(tnn.Linear(*weight.shape, bias=False).double())
            block[0].weight.data.copy_(weight.T)
            self.layers.append(block)

    def forward(self, x):
        found = [block(part) for block, part in zip(self.layers, x.unbind(), strict=True)]
        return (torch.cat(found, -1),)


def parallel(weights, xs, **options):
    """A model of such blocks, its calibration data, and what share_layers is told."""
    said = {"naming": {"fc1": "0.weight"}, "calibration": [torch.stack(xs)]}
    return Parallel(weights), said | options


def work_of(model, method="geo", compression=2, calibration=None, groups="auto", naming=None, **options):
    setting = setting_of(
        model, method, compression, None, None, calibration, groups, (), (), naming, 0, options
    )
    dense = {p.name: model.get_parameter(p.name) for p in setting.task.projections}
    return Work(model, setting.task, setting.plan.units, setting.batches, dense, None, lambda text: None)


def dense_of(curvature, shape):
    """The matrix of an operator, column by column."""
    units = torch.eye(shape[0] * shape[1]).double().view(-1, *shape)
    return torch.stack([curvature.apply(unit).flatten() for unit in units], 1)


def operator(seed, rows=4, columns=3, pairs=0):
    a, g = whole(rows, rows, seed=seed), whole(columns, columns, seed=seed + 1)
    vectors, middle = whole(pairs, rows, columns, seed=seed + 2), whole(pairs, pairs, seed=seed + 3)
    return Curvature(a @ a.T, g @ g.T, vectors, middle @ middle.T)


# ------------------------------------------------------------------------------------ operators


@given(st.integers(0, 999), st.integers(0, 3))
def test_an_operator_is_its_own_matrix_seen_from_anywhere(seed, pairs):
    h = operator(seed, pairs=pairs)
    whole_h = dense_of(h, (4, 3))
    left, right = whole(4, 2, seed=seed + 4), whole(3, 2, seed=seed + 5)
    both = torch.kron(left, right)
    assert torch.equal(whole_h, whole_h.T)
    assert torch.equal(dense_of(h.within(left, right), (2, 2)), both.T @ whole_h @ both)
    eye = torch.eye(4).double()
    assert torch.equal(dense_of(h.within(None, right), (4, 2)), dense_of(h.within(eye, right), (4, 2)))
    turned = dense_of(h.T, (3, 4)).view(3, 4, 3, 4).permute(1, 0, 3, 2).reshape(12, 12)
    assert torch.equal(turned, whole_h)
    blocks = whole_h.view(4, 3, 4, 3)
    inputs, outputs = h.marginals()
    assert torch.equal(inputs, torch.einsum("ijhj->ih", blocks))
    assert torch.equal(outputs, torch.einsum("ijik->jk", blocks))


@given(st.integers(0, 999), st.integers(0, 3), st.integers(1, 9))
def test_a_solver_inverts_the_shifted_operator(seed, pairs, shift):
    h, rhs = operator(seed, pairs=pairs), whole(4, 3, seed=seed + 6)
    solve, left, right = h.solver()
    found = left @ solve(left.T @ rhs @ right, shift) @ right.T
    matrix = dense_of(h, (4, 3)) + shift * torch.eye(12)
    # two solves of conditions below |H| / shift each, in 12 unknowns
    bound = 2**8 * EPS * (torch.linalg.matrix_norm(matrix, 2) / shift) ** 2 * rhs.norm()
    assert (h.apply(found) + shift * found - rhs).norm() <= bound


@pytest.mark.parametrize("seed", range(5))
def test_a_corrected_operator_has_the_eigenpairs_and_is_itself_across_from_them(seed):
    h = operator(seed)
    turn = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64, generator=draw(seed)))[0]
    known, values = turn[:, :2], torch.tensor([900.0, 7.0]).double()
    found = dense_of(h.corrected(values, known.T.reshape(2, 4, 3)), (4, 3))
    across = torch.eye(12) - known @ known.T
    expected = across @ dense_of(h, (4, 3)) @ across + known @ values.diag() @ known.T
    assert (found - expected).abs().max() <= 2**6 * EPS * (expected.norm() + dense_of(h, (4, 3)).norm())


@pytest.mark.parametrize("pairs", [0, 2])
def test_the_flat_part_of_a_change_has_nothing_along_the_top_eigenpairs(pairs):
    h, change = operator(3), whole(4, 3, seed=9)
    values, vectors = torch.linalg.eigh(dense_of(h, (4, 3)))
    top = vectors[:, -2:].flip(1)
    if pairs:
        h = h.corrected(values[-2:].flip(0), top.T.reshape(2, 4, 3))
    found = h.flat(change, 2).flatten()
    gap = (values[1:] - values[:-1]).min()
    bound = 2**8 * EPS * values[-1] / gap * change.norm()
    assert (top.T @ found).norm() <= bound
    assert (found - (change.flatten() - top @ (top.T @ change.flatten()))).norm() <= bound


# ------------------------------------------------------------------------------------ Lanczos


@pytest.mark.parametrize("seed", range(4))
def test_eigenvalues_are_found_as_often_as_they_occur(seed):
    size = 30
    values = torch.tensor([9.0, 9, 9, 4, 4] + [k / 30 for k in range(size - 5)]).double()
    turn = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=draw(seed)))[0]
    h = turn @ values.diag() @ turn.T
    found, vectors, wrong = steepest(lambda rows: rows @ h, size, 5, draw(seed), tolerance=1e-9)
    assert wrong <= 1e-9
    # a Ritz value is as near to an eigenvalue as its residual is long
    assert (found - values[:5]).abs().max() <= 1e-9 * 9 + 2**10 * EPS * 9
    assert (vectors @ h - found[:, None] * vectors).norm(dim=1).max() <= 1e-9 * 9 + 2**10 * EPS * 9
    assert (vectors @ vectors.T - torch.eye(5)).abs().max() <= 2**8 * EPS


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_lanczos_ends_where_the_operator_does(rank):
    factor = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=draw()))[0][:, :rank]
    found, vectors, _ = steepest(lambda rows: rows @ (4 * factor @ factor.T), 8, 3, draw())
    expected = torch.tensor([4.0] * rank + [0.0] * (3 - rank)).double()
    assert (found - expected).abs().max() <= 2**8 * EPS * 4
    assert vectors.shape == (3, 8)


@pytest.mark.parametrize("name", ["blocks.1.attention.in_proj_weight", "blocks.0.perceptron.2.weight"])
def test_products_and_eigenpairs_are_those_of_the_dense_hessian_of_the_true_loss(name):
    model, batches = vit(), as_batches(IMAGES)
    weight = model.get_parameter(name)
    with torch.no_grad():
        own = [model(x).log_softmax(1) for x in IMAGES]

    def loss(value):
        outputs = [torch.func.functional_call(model, {name: value}, (x,)) for x in IMAGES]
        pairs = zip(outputs, own, strict=True)
        return sum(tnnf.kl_div(z.log_softmax(1), p, reduction="sum", log_target=True) for z, p in pairs)

    size = weight.numel()
    dense = torch.func.jacrev(torch.func.grad(loss))(weight.detach()).view(size, size)
    product = hessian(model, batches, weight)
    values, vectors = torch.linalg.eigh(dense)
    # sums over 8 images through some 2^5 layers of at most 2^6 terms
    assert (product(torch.eye(size).double()) - dense).abs().max() <= 2**11 * EPS * values[-1]
    found, own_vectors, _ = steepest(product, size, 4, draw(), tolerance=1e-8)
    assert (found - values[-4:].flip(0)).abs().max() <= 1e-7 * values[-1]
    # sin of the angle is at most the residual over the gap (Davis and Kahan)
    gap = values[-4] - values[-5]
    across = own_vectors.T - vectors[:, -4:] @ (vectors[:, -4:].T @ own_vectors.T)
    assert across.norm() <= 4 * 1e-7 * values[-1] / gap


# ------------------------------------------------------------------------------------ loss and gradients


def test_the_loss_is_zero_where_the_model_stands_and_has_no_gradient():
    logits = whole(5, 7, seed=1).requires_grad_()
    value = divergence(logits, None)
    (slope,) = torch.autograd.grad(value, logits)
    assert abs(float(value.detach())) <= 5 * 7 * 16 * EPS
    assert slope.abs().max() <= 16 * EPS
    assert divergence((logits,), None).item() == 0


def test_random_labels_give_the_hessian_of_the_divergence():
    """z = p - e_y, and the sum over y of p_y z z' is diag(p) - p p', which is the Hessian."""
    logits = whole(1, 4, seed=2).requires_grad_()
    p = logits.detach().softmax(1)[0]
    (z,) = torch.autograd.grad(probed(logits, None, draw()), logits)
    label = int(z.argmin())
    assert (z[0] - (p - torch.eye(4)[label])).abs().max() <= 4 * EPS
    moment = sum(p[y] * torch.outer(p - torch.eye(4)[y], p - torch.eye(4)[y]) for y in range(4))

    def loss(x):
        return tnnf.kl_div(x.log_softmax(1), p.log()[None], reduction="sum", log_target=True)

    dense = torch.func.jacrev(torch.func.grad(loss))(logits.detach()).view(4, 4)
    assert (moment - dense).abs().max() <= 2**5 * EPS


def test_labels_are_drawn_as_often_as_the_model_says():
    logits = torch.tensor([0.5, 0.25, 0.25]).double().log().expand(4000, 3).clone().requires_grad_()
    (z,) = torch.autograd.grad(probed(logits, None, draw()), logits)
    count = int((z[:, 0] < 0).sum())
    assert abs(count - 2000) <= 5 * (4000 / 4) ** 0.5  # five standard deviations of a fair coin


def test_padding_does_not_count():
    keep = torch.tensor([[True, False], [True, True]])
    x = whole(2, 2, 3, seed=3).requires_grad_()
    (slope,) = torch.autograd.grad(probed((x,), keep, draw()), x)
    assert torch.equal(slope != 0, keep[:, :, None].expand(2, 2, 3))


def test_the_model_is_as_it_was_after_gradients():
    model = vit().train()
    model.blocks[0].requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    names = {"blocks.0.perceptron.0.weight": model.blocks[0].perceptron[0].weight}
    assert len(list(gradients(model, as_batches(IMAGES), names, draw()))) == DRAWS
    assert [p.requires_grad for p in model.parameters()] == flags
    assert model.training
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("lanczos", [0, 100])
def test_curvature_is_the_hessian_where_that_is_a_product(lanczos):
    """With one output of one sample at a time z is a sign, and H = 2 X'X whichever signs come."""
    xs, ws = [whole(3, 4, seed=k) for k in (1, 2)], [whole(4, 1, seed=k) for k in (3, 4)]
    model, said = parallel(ws, xs, compression=1, rank=1, correction="free")
    said["calibration"] = [torch.stack([x[k : k + 1] for x in xs]) for k in range(3)]
    found = curvatures_of(work_of(model, **said), 4, lanczos)
    for x, (curvature, _) in zip(xs, found.values(), strict=True):
        expected = 2 * x.T @ x
        assert (dense_of(curvature, (4, 1)) - expected).abs().max() <= 2**8 * EPS * expected.norm()


# ------------------------------------------------------------------------------------ sites and bases


def quadratic(seed=0, layers=4, rows=6, columns=5, samples=9, planted=None, rank=2):
    """Weights and inputs; planted: colors whose layers have bases in common, exactly."""
    random_numbers = draw(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=random_numbers)

    xs = [normal(samples, rows) @ torch.diag(2.0 ** torch.arange(rows)).double() for _ in range(layers)]
    if planted is None:
        return [normal(rows, columns) for _ in range(layers)], xs
    bases = {c: (normal(rows, rank), normal(columns, rank)) for c in set(planted)}
    return [bases[c][0] @ normal(rank, rank) @ bases[c][1].T for c in planted], xs


def sites_of(ws, xs, shift=1e-3):
    eye = torch.eye(ws[0].shape[1]).double()
    none = torch.empty(0, *ws[0].shape).double(), torch.empty(0, 0).double()
    return [Site(w, Curvature(x.T @ x, 2 * eye, *none), shift) for w, x in zip(ws, xs, strict=True)]


def cost_of(site, change):
    return float((change * site.curvature.apply(change)).sum() + site.shift * change.square().sum())


@pytest.mark.parametrize("seed", range(4))
def test_a_core_costs_what_is_said_and_no_other_costs_less(seed):
    site = sites_of(*quadratic(seed))[0]
    left, right = spectral([site], 2)
    core, cost = Seat(site, (left, right)).core(INFINITE)
    # the cost is a difference of numbers as large as that of W itself
    slack = 2**8 * EPS * cost_of(site, site.weight)
    assert abs(cost - cost_of(site, left @ core @ right.T - site.weight)) <= slack
    for k in range(10):
        other = core + torch.randn(2, 2, dtype=torch.float64, generator=draw(k))
        assert cost_of(site, left @ other @ right.T - site.weight) > cost


@pytest.mark.parametrize("seed", range(4))
def test_a_core_stays_in_the_trust_region_or_comes_nearest(seed):
    site = sites_of(*quadratic(seed))[0]
    left, right = (
        torch.linalg.qr(torch.randn(n, 2, dtype=torch.float64, generator=draw(seed)))[0] for n in (6, 5)
    )
    nearest = left.T @ site.weight @ right

    def moved(core):
        return (left @ core @ right.T - site.weight).norm() / site.weight.norm()

    free, least = moved(Seat(site, (left, right)).core(INFINITE)[0]), moved(nearest)
    assert least < free
    for part in (0.1, 0.5, 0.9):
        trust = float(least + part * (free - least))
        assert moved(Seat(site, (left, right)).core(trust)[0]) <= trust * (1 + 2**6 * EPS)
        # no further in than it must: half the damping would be outside, and cost less
        assert Seat(site, (left, right)).core(trust)[1] <= Seat(site, (left, right)).core(trust * 0.999)[1]
    assert torch.equal(Seat(site, (left, right)).core(float(least) / 2)[0], nearest)


@pytest.mark.parametrize("seed", range(4))
def test_every_turn_of_least_squares_lowers_the_cost(seed):
    sites = sites_of(*quadratic(seed, layers=3))
    start = spectral(sites, 2)
    costs = [fitted(sites, start, INFINITE, sweeps)[1] for sweeps in range(5)]
    assert costs == sorted(costs, reverse=True)
    assert costs[4] < costs[0]
    (left, right), cost = fitted(sites, start, INFINITE, 4)
    for basis in (left, right):
        assert (basis.T @ basis - torch.eye(2)).abs().max() <= 2**6 * EPS
    assert cost == sum(Seat(site, (left, right)).core(INFINITE)[1] for site in sites)


@pytest.mark.parametrize("seed", range(4))
def test_a_layer_that_matters_more_than_others_has_its_spectral_basis_to_itself(seed):
    """Sixty powers of two apart: what is left to the other is below what rounding leaves."""
    ws, xs = quadratic(seed, layers=2)
    one, other = sites_of(ws, [xs[0], 2.0**30 * xs[1]], shift=0.0)
    alone, both = spectral([other], 2), spectral([one, other], 2)
    costs = [Seat(other, basis).core(INFINITE)[1] for basis in (alone, both)]
    assert abs(costs[1] - costs[0]) <= 2**10 * EPS * cost_of(other, other.weight)
    assert Seat(one, both).core(INFINITE)[1] > 2 * Seat(one, spectral([one], 2)).core(INFINITE)[1]


def test_layers_that_have_bases_in_common_are_fitted_without_loss():
    ws, xs = quadratic(1, layers=3, planted=(0, 0, 0))
    sites = sites_of(ws, xs)
    size = sum(cost_of(site, site.weight) for site in sites)
    # eigenvalues below eps of the largest are lost in the whitened sums: their root in the bases, squared
    assert fitted(sites, spectral(sites, 2), INFINITE)[1] <= 2**10 * EPS * size


# ------------------------------------------------------------------------------------ colorings


def colorings(n, count):
    return sorted({canonical(c) for c in itertools.product(range(count), repeat=n) if len(set(c)) == count})


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_starts_use_every_color_and_are_balanced(n, count, seed):
    count = min(n, count)
    for found in (adjacent(n, count), dealt(n, count, draw(seed))):
        sizes = [found.count(c) for c in range(count)]
        assert sum(sizes) == n
        assert max(sizes) - min(sizes) <= 1
        assert found == canonical(found)
    assert adjacent(n, count) == tuple(sorted(adjacent(n, count)))


def test_alike_layers_are_found_by_their_cosine():
    a, b = whole(4, 3, seed=1), whole(4, 3, seed=2)
    assert alike([a, b, 2 * a, 3 * b, a], 2) == (0, 1, 0, 1, 0)
    assert alike([a, b, 2 * a], 3) == (0, 1, 2)
    assert alike([a, -a, 0 * a], 1) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_coloring_of_layers_far_apart_is_found_and_heuristics_lose(seed):
    planted = (0, 1, 2, 0, 1, 2)
    sites = sites_of(*quadratic(seed, layers=6, planted=planted))
    palette = Palette(sites, 2, INFINITE)
    exhaustive = min(colorings(6, 3), key=palette.cost)
    assert exhaustive == planted
    found = min((palette.settled(s) for s in (adjacent(6, 3), dealt(6, 3, draw(seed)))), key=palette.cost)
    assert found == planted
    assert palette.cost(adjacent(6, 3)) > 2**20 * palette.cost(planted)


@pytest.mark.parametrize("seed", range(4))
def test_settling_never_costs_more_keeps_all_colors_and_moves_no_layer_any_more(seed):
    palette = Palette(sites_of(*quadratic(seed, layers=5)), 2, 1.0)
    for start in colorings(5, 2):
        found = palette.settled(start)
        assert palette.cost(found) <= palette.cost(start)
        assert max(found) == 1
        assert palette.settled(found) == found


@pytest.mark.parametrize("seed", range(3))
def test_for_a_quadratic_loss_the_best_coloring_by_the_model_is_the_best_by_true_loss(seed):
    """All eigenpairs known and no damping to speak of: what a coloring costs is twice its true loss."""
    ws, xs = quadratic(seed)
    model, said = parallel(ws, xs, compression=1.25, rank=2)
    work = work_of(model, **said)
    known = curvatures_of(work, 30, 30)
    sites = [Site(w, curvature, 1e-9) for w, (curvature, _) in zip(ws, known.values(), strict=True)]
    palette = Palette(sites, 2, INFINITE)
    losses = {}
    for colors in colorings(4, 2):
        losses[colors] = 0.0
        for c in (0, 1):
            basis, _ = palette.fitted(members_of(colors, c))
            for i in members_of(colors, c):
                core, _ = Seat(sites[i], basis).core(INFINITE)
                change = basis[0] @ core @ basis[1].T - ws[i]
                losses[colors] += float((xs[i] @ change).square().sum())
        # the shift moves a weight of size |D|^2, and eigenpairs are had to rounding of the largest, 2 |X|^2
        assert abs(palette.cost(colors) / 2 - losses[colors]) <= 1e-9 * losses[colors] + 1e-6
    assert min(losses, key=losses.__getitem__) == min(losses, key=palette.cost)


def trained():
    """A ViT of four layers that tells noisy patterns apart."""
    random_numbers = draw(5)
    model = vit(depth=4, seed=1).train()
    patterns = torch.randn(10, 3, 8, 8, dtype=torch.float64, generator=random_numbers)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(60):
        labels = torch.randint(10, (32,), generator=random_numbers)
        noise = torch.randn(32, 3, 8, 8, dtype=torch.float64, generator=random_numbers)
        loss = tnnf.cross_entropy(model(patterns[labels] + noise), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    noise = torch.randn(40, 3, 8, 8, dtype=torch.float64, generator=random_numbers)
    return model.eval(), patterns.repeat(4, 1, 1, 1) + noise


def regret(model, images, pattern):
    """What colorings lose beyond the best of all, 1 being the worst; "any" is the mean over all seven."""
    said = {"compression": 1.5, "calibration": [images], "include": pattern, "lanczos": 0}

    def loss(**options):
        found = nn.share_layers(model, "geo", **said, **options)
        with torch.no_grad():
            own, other = model(images).log_softmax(1), found(images).log_softmax(1)
        return float(tnnf.kl_div(other, own, reduction="batchmean", log_target=True))

    every = [loss(groups=[members_of(colors, c) for c in range(2)]) for colors in colorings(4, 2)]
    found = {kind: loss(coloring=kind) for kind in ("curvature", "adjacent", "cosine")}
    assert found["curvature"] in every
    best, worst = min(every), max(every)
    found["any"] = sum(every) / len(every)
    return {kind: (value - best) / (worst - best) for kind, value in found.items()}


def test_colorings_of_a_trained_model_have_no_more_regret_by_true_loss_than_heuristic_ones():
    """In every role no more than neighbours and nearest weights; over all roles less than those at random."""
    model, images = trained()
    patterns = ["*.in_proj_weight", "*.out_proj.weight", "*.perceptron.0.weight", "*.perceptron.2.weight"]
    found = [regret(model, images, pattern) for pattern in patterns]
    for each in found:
        assert each["curvature"] <= min(each["adjacent"], each["cosine"])
    assert sum(each["curvature"] for each in found) < sum(each["any"] for each in found)


# ------------------------------------------------------------------------------------ budgets


def projection(layer=0, rows=6, columns=4, role="q", itemsize=4):
    return Projection(
        f"{layer}.{role}", (), role, layer, str(layer), rows, columns, True, itemsize, "float32"
    )


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 40),
    st.integers(1, 40),
    st.fractions(Fraction(1, 20), 1, max_denominator=50),
)
def test_the_rank_is_the_largest_that_the_budget_reaches(layers, colors, rows, columns, kept):
    run = tuple(projection(layer, rows, columns) for layer in range(layers))
    dense = sum(p.bytes for p in run)
    task = Task(run, None, False, int(dense * kept), 0)
    if colors > layers:
        with pytest.raises(ArgumentError, match=f"colors={colors} came, and no role has more than {layers}"):
            Geo(colors=colors).plan(task)
        return

    def cost(rank):
        return 4 * (colors * rank * (rows + columns) + layers * rank**2)

    ranks = [k for k in range(1, min(rows, columns) + 1) if cost(k) <= task.allowance]
    method = Geo(colors=colors)
    if not ranks:
        with pytest.raises(ArgumentError, match=r"reach rank 0 .* and 1 is needed; keep more"):
            method.plan(task)
        return
    (unit,) = method.plan(task)
    assert (unit.rank, unit.bytes) == (ranks[-1], cost(ranks[-1]))
    with pytest.raises(ArgumentError, match=f"reach rank {ranks[-1]} where"):
        Geo(colors=colors, rank=ranks[-1] + 1).plan(task)


@pytest.mark.parametrize("coloring", [None, "curvature", "cosine", "random", "adjacent"])
def test_every_coloring_takes_the_same_bytes_to_the_byte(coloring):
    model = vit(depth=4)
    said = {"compression": 1.5, "groups": "auto", "coloring": coloring, "colors": 2, "lanczos": 0}
    plan = nn.plan_layers(model, "geo", calibration=IMAGES, **said)
    found = nn.share_layers(model, "geo", calibration=IMAGES, **said)
    assert stored_bytes(found, [p.name for p in plan.projections]) == plan.bytes <= plan.allowance
    assert (
        plan.bytes == nn.plan_layers(model, "geo", calibration=IMAGES, **{**said, "coloring": "random"}).bytes
    )


def test_groups_are_colors():
    model = vit(depth=4)
    found = nn.share_layers(
        model, "geo", compression=1.5, calibration=IMAGES, groups=[[0, 3], [1, 2]], lanczos=0
    )
    firsts = [views_of(block.perceptron[0])["weight"].links[0][0] for block in found.blocks]
    assert firsts[0] is firsts[3] is not firsts[1]
    assert firsts[1] is firsts[2]


PAIRED = {
    "compression": 1.5,
    "calibration": IMAGES,
    "groups": "auto",
    "pairs": 2,
    "lanczos": 100,
    "include": "*.out_proj.weight",
}


def test_the_same_seed_gives_the_same_bits_and_saved_models_come_back(tmp_path):
    model = vit(depth=4)
    before = copy.deepcopy(model.state_dict())
    one, two = (nn.share_layers(model, "geo", **PAIRED).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    shared = nn.share_layers(model, "geo", **PAIRED)
    nn.save(shared, tmp_path / "m.safetensors")
    again = nn.load(tmp_path / "m.safetensors", vit(depth=4, seed=9))
    assert torch.equal(again(IMAGES[0]), shared(IMAGES[0]))


def test_random_colorings_are_named_by_the_seed():
    model, lines = vit(depth=4), []
    for seed in range(6):
        nn.share_layers(
            model, "geo", compression=1.5, calibration=IMAGES, groups="auto", coloring="random", lanczos=0,
            include="*.perceptron.0.weight", seed=seed, progress=lines.append,
        )  # fmt: skip
    spoken = {line for line in lines if "|" in line}
    assert len(spoken) == len(colorings_of_pairs())


def colorings_of_pairs():
    """Four layers in two pairs: three ways, all of which six seeds draw."""
    return [c for c in colorings(4, 2) if c.count(0) == 2]


class Stopped(Exception):
    """Somebody ended the run."""


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    model, lines = vit(depth=4), []
    expected = nn.share_layers(model, "geo", **PAIRED, progress=lines.append).state_dict()
    stages = [line for line in lines if "|" not in line]
    for stop in sorted(random.Random(0).sample(stages, 3), key=stages.index):

        def tell(line, stop=stop):
            if line == stop:
                raise Stopped

        with pytest.raises(Stopped):
            nn.share_layers(model, "geo", **PAIRED, resume=tmp_path, progress=tell)
        again = []
    found = nn.share_layers(model, "geo", **PAIRED, resume=tmp_path, progress=again.append).state_dict()
    assert any(line.endswith("done before") for line in again)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_residuals_that_lanczos_leaves_are_told(monkeypatch):
    lines = []
    monkeypatch.setattr("nn.cross_layer.curvature.DEPTH", 1)
    nn.share_layers(vit(depth=4), "geo", **PAIRED, progress=lines.append)
    assert any("of the largest are left, and used as they are" in line for line in lines)


# ------------------------------------------------------------------------------------ the free correction


def test_the_free_correction_moves_only_where_curvature_is_low_and_not_far():
    ws, xs = quadratic(2)
    model, said = parallel(
        ws, xs, compression=1, rank=2, correction="free", pairs=3, trust=0.25, groups="auto"
    )
    found = nn.share_layers(model, "geo", **said)
    for i, (w, x) in enumerate(zip(ws, xs, strict=True)):
        change = found.get_submodule(f"layers.{i}.0").weight.detach().T - w
        assert 0 < change.norm() <= 0.25 * w.norm() * (1 + 2**6 * EPS)
        # the three top eigenvectors of 2 X'X on matrices: the first of X'X, with any of five columns; Lanczos
        # stops at residuals of 1e-3 of it, and D has no part along what it found
        values, vectors = torch.linalg.eigh(x.T @ x)
        assert values[-1] > 0
        assert (vectors[:, -1] @ change).norm() < (vectors[:, -1] @ w).norm()


def test_the_free_correction_saves_nothing_and_says_so():
    model = vit()
    with pytest.raises(ArgumentError, match="stores dense weights, 10752 bytes, and 5376 are allowed; pass"):
        nn.plan_layers(model, "geo", compression=2, calibration=IMAGES, correction="free", rank=2)
    plan = nn.plan_layers(model, "geo", compression=1, calibration=IMAGES, correction="free", rank=2)
    assert plan.bytes == plan.dense_bytes


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"coloring": "rainbow"}, ArgumentError, "coloring='rainbow' came"),
        ({"correction": "none"}, ArgumentError, "correction='none' came"),
        ({"colors": 0}, ArgumentError, "colors=0 came; at least 1 is needed"),
        ({"colors": 1.5}, KindError, "colors=1.5 came; a whole number is needed"),
        ({"rank": 0}, ArgumentError, "rank=0 came; at least 1 is needed"),
        ({"pairs": 0}, ArgumentError, "pairs=0 came; at least 1 is needed"),
        ({"pairs": None}, KindError, "pairs=None came; a whole number is needed"),
        ({"lanczos": -1}, ArgumentError, "lanczos=-1 came; at least 0 is needed"),
        ({"lanczos": True}, KindError, "lanczos=True came; a whole number is needed"),
        ({"trust": 0}, ArgumentError, "trust=0 came; a positive number is needed"),
        ({"trust": float("nan")}, ArgumentError, "trust=nan came; a positive number is needed"),
        ({"trust": "far"}, KindError, "trust='far' came; a number is needed"),
        ({"correction": "free"}, ArgumentError, "without a rank, which no budget decides"),
        ({"hue": 3}, KindError, "hue= came, which method 'geo' does not have"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(options, kind, said):
    with pytest.raises(kind, match=said) as caught:
        method_of("geo", options)
    assert "\n" not in str(caught.value)


def test_a_coloring_and_groups_are_one_too_many():
    with pytest.raises(ArgumentError, match="coloring='random' came and groups too, which are a coloring"):
        nn.plan_layers(vit(), "geo", compression=1.5, coloring="random", groups="adjacent:2")


def test_calibration_is_needed_and_must_be_finite():
    model = vit()
    with pytest.raises(ArgumentError, match="no calibration came, and 'geo' looks at activations"):
        nn.share_layers(model, "geo", compression=1.5, groups="auto")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(DataError, match="nan or inf on the calibration data"):
        nn.share_layers(
            model, "geo", compression=1.5, groups="auto", calibration=[IMAGES[0] * float("nan")], inplace=True
        )
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_model_that_gives_nan_is_refused_by_its_gradients():
    model = vit()
    model.fc.weight.data[0, 0] = float("nan")
    names = {"blocks.0.perceptron.0.weight": model.blocks[0].perceptron[0].weight}
    with pytest.raises(DataError, match="the model gives nan or inf on the calibration data"):
        list(gradients(model, as_batches(IMAGES), names, draw()))
