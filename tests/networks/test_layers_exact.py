"""Layers against the operator: weights are expand, gradients are compress, to the last bit on integers."""

import numpy as np
import pytest
import torch
import torch.nn as tnn
from hypothesis import given, settings
from hypothesis import strategies as st

import nn
from nn.bank import Bank
from nn.bridge import key_of
from nn.gamma import Span, stretches
from nn.kernels import Piece, reference
from rpstheory import Block, Chunk, Fold, Hashed
from rpstheory import compress as down
from rpstheory import expand as up

F64 = torch.float64


@st.composite
def mappings(draw, most=300):
    n, m = draw(st.integers(1, most)), draw(st.integers(1, 90))
    seed, z = draw(st.integers(0, 2**64 - 1)), draw(st.integers(1, m))
    kind = draw(st.sampled_from(("Fold", "Hashed", "Chunk", "Block", "Tile")))
    if kind == "Tile":
        rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 20))
        tile = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        return Block(rows * columns, max(m, tile[0] * tile[1]), seed, block=tile, shape=(rows, columns))
    if kind in ("Fold", "Hashed"):
        return {"Fold": Fold, "Hashed": Hashed}[kind](n, m, seed)
    return Chunk(n, m, seed, chunk=z) if kind == "Chunk" else Block(n, m, seed, block=z)


def bare(mapping, phi):
    """A bank of one module of scale 1 without a scaler: w = S' theta."""
    owner = tnn.Module()
    owner.register_parameter("phi", tnn.Parameter(phi))
    return Bank(owner, "phi", mapping, [Span(0, mapping.n, 1.0)], "none")


def whole(draw, count, size=99):
    return np.array(draw(st.lists(st.integers(-size, size), min_size=count, max_size=count)), dtype=float)


@given(st.data())
@settings(max_examples=150)
def test_weights_are_expand_and_gradients_compress_to_the_last_bit(data):
    mapping = data.draw(mappings())
    theta, pull = whole(data.draw, mapping.m), whole(data.draw, mapping.n)
    bank = bare(mapping, torch.from_numpy(theta))
    weight = bank.expand(0, mapping.n, 1.0)
    assert (weight.detach().numpy() == up(mapping, theta)).all()
    weight.backward(torch.from_numpy(pull))
    assert (bank.phi.grad.numpy() == down(mapping, pull)).all()


@given(st.data())
@settings(max_examples=150)
def test_kernels_equal_the_reference_at_any_offset_and_with_any_stretches(data):
    mapping = data.draw(mappings())
    first = data.draw(st.integers(0, mapping.n - 1))
    count = data.draw(st.integers(1, mapping.n - first))
    cuts = data.draw(st.sets(st.integers(1, max(1, mapping.m - 1)), max_size=5)) if mapping.m > 1 else set()
    edges = torch.tensor([0, *sorted(cuts)])
    roots = torch.tensor([2.0 ** data.draw(st.integers(-3, 3)) for _ in edges], dtype=F64)
    bank = torch.from_numpy(whole(data.draw, mapping.m))
    values = torch.from_numpy(whole(data.draw, count))
    key, factors = key_of(mapping), 3.0 / roots
    piece = Piece(roots, edges, key, first, count, mapping.m, 3.0)
    found = piece.expand(bank)
    assert torch.equal(found, reference.expand(mapping, bank, factors, edges, first, count))
    found = piece.compress(values)
    assert torch.equal(found, reference.compress(mapping, values, factors, edges, first))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_gradients_are_the_same_bits_for_any_number_of_threads(threads):
    mapping = Fold(1_000_003, 250_000, 5)
    values = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0))
    roots, edges = torch.ones(1, dtype=F64), torch.zeros(1, dtype=torch.int64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = Piece(roots, edges, key_of(mapping), 0, len(values), mapping.m, 0.3).compress(values)
        torch.set_num_threads(threads)
        again = Piece(roots, edges, key_of(mapping), 0, len(values), mapping.m, 0.3).compress(values)
        assert torch.equal(again, alone)
    finally:
        torch.set_num_threads(before)


@given(mappings(most=40))
@settings(max_examples=20)
def test_expand_is_differentiated_twice(mapping):
    bank = torch.randn(mapping.m, dtype=F64, requires_grad=True)
    roots, edges = torch.tensor([0.7], dtype=F64), torch.zeros(1, dtype=torch.int64)
    take = Piece(roots, edges, key_of(mapping), 0, mapping.n, mapping.m, 1.3).expand
    assert torch.autograd.gradcheck(take, (bank,))
    assert torch.autograd.gradgradcheck(lambda b: (take(b) ** 3).sum(), (bank,))


@pytest.mark.parametrize("op", ["expand", "compress"])
def test_operators_pass_torch_s_own_checks(op):
    roots, edges = torch.tensor([0.5, 2.0], dtype=F64), torch.tensor([0, 4])
    data = torch.randn(7 if op == "expand" else 12, requires_grad=True)
    last = 12 if op == "expand" else 7
    call = getattr(torch.ops.rps, op).default
    torch.library.opcheck(call, (data, roots, edges, key_of(Fold(20, 7, 1)), 3, last, 0.5))


# ------------------------------------------------------------------------------------ Gamma


@given(st.data())
@settings(max_examples=100)
def test_gamma_is_the_sum_of_squared_scales_of_every_cell(data):
    mapping = data.draw(mappings())
    cuts = (
        sorted(data.draw(st.sets(st.integers(1, max(1, mapping.n - 1)), max_size=4))) if mapping.n > 1 else []
    )
    ends = [*cuts, mapping.n]
    spans = [
        Span(low, high - low, float(data.draw(st.integers(1, 9))))
        for low, high in zip([0, *cuts], ends, strict=True)
    ]
    found = stretches(mapping, spans)
    scale = np.concatenate([np.full(span.count, span.scale) for span in spans])
    cell = mapping.cell(np.arange(mapping.n))
    place = np.searchsorted(found.edges, np.arange(mapping.m), side="right") - 1
    assert (found.load[place] == np.bincount(cell, minlength=mapping.m)).all()
    assert (found.linear[place] == np.bincount(cell, scale, mapping.m)).all()
    assert (found.square[place] == np.bincount(cell, scale * scale, mapping.m)).all()


def test_gamma_of_a_fold_takes_few_numbers_whatever_the_size():
    spans = [Span(1_000_000 * i, 1_000_000, 1.0 + i) for i in range(9)]
    assert len(stretches(Fold(9_000_000, 90_000, 0), spans).edges) <= 9 + 2 * 100


# ------------------------------------------------------------------- one x, and the scale of the bank


def toy(seed=0):
    torch.manual_seed(seed)
    return tnn.Sequential(tnn.Linear(20, 30), tnn.Tanh(), tnn.Linear(30, 5)).double()


RULES = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, 0.9, dampening=0.1, weight_decay=1e-2),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=1e-2, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 1e-2, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=1e-2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.9),
}


def trajectory(model, rule, steps=20, clip=None):
    """Weights after every step on data that depend on the step alone."""
    optimizer, found = RULES[rule](model.parameters()), []
    for step in range(steps):
        x = torch.randn(16, 20, dtype=F64, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        if clip:
            tnn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        found.append(torch.cat([model[i].weight.detach().reshape(-1) for i in (0, 2)]))
    return torch.stack(found)


@pytest.mark.parametrize("scaler", ["gamma", "v1"])
@pytest.mark.parametrize("rule", RULES)
def test_one_x_is_ordinary_training_step_by_step(rule, scaler):
    """Bit-equal: lambda / Gamma^(1/2) is exactly 1, and signs and places commute with elementwise rules."""
    shared = nn.share(toy(), 1, scaler=scaler, include="*")
    dense = nn.to_dense(shared)
    assert torch.equal(trajectory(shared, rule), trajectory(dense, rule))


def test_one_x_is_ordinary_training_under_clipping_too():
    """The norm is a sum in another order: equal to rounding."""
    shared = nn.share(toy(), 1, include="*")
    dense = nn.to_dense(shared)
    gap = trajectory(shared, "sgd", clip=0.01) - trajectory(dense, "sgd", clip=0.01)
    assert gap.abs().max() < 1e-14


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scaler", ["gamma", "v1"])
def test_training_does_not_depend_on_init_std(scaler, rule):
    """Bit-equal, C being a power of two."""
    one, other = (nn.share(toy(), 4, include="*", scaler=scaler, init_std=c) for c in (1.0, 0.125))
    assert torch.equal(trajectory(one, rule), trajectory(other, rule))


def test_training_depends_on_init_std_without_a_scaler():
    one, other = (nn.share(toy(), 4, include="*", scaler="none", init_std=c) for c in (1.0, 0.125))
    assert torch.equal(one[0].weight, other[0].weight)
    assert not torch.allclose(trajectory(one, "sgd")[0], trajectory(other, "sgd")[0], rtol=1e-3)


# ----------------------------------------------------------------------------------- stability


def quadratic(scaler, spectrum=(1.0, 3.0, 10.0), factor=1.0):
    """Loss |H^(1/2) w|^2 / 2 of one shared layer, and the exact threshold 2 / top of U' H U."""
    torch.manual_seed(1)
    layers = tnn.ModuleList([tnn.Linear(8, 6, bias=False), tnn.Linear(8, 6, bias=False)]).double()
    with torch.no_grad():
        layers[1].weight.mul_(5.0)
    model = nn.share(layers, 4, include="*", scaler=scaler)
    h = torch.tensor(spectrum, dtype=F64).repeat(32)[:96]
    loss = lambda: 0.5 * factor * (h * torch.cat([l.weight.reshape(-1) for l in model]) ** 2).sum()  # noqa: E731, E741
    hessian = torch.autograd.functional.hessian(
        lambda phi: (
            0.5
            * factor
            * (h * torch.func.functional_call(Flat(model), {"m.shared_bank": phi}, ()) ** 2).sum()
        ),
        model.shared_bank.detach(),
    )
    return model, loss, 2 / torch.linalg.eigvalsh(hessian)[-1].item()


class Flat(tnn.Module):
    """All weights in a row."""

    def __init__(self, model):
        super().__init__()
        self.m = model

    def forward(self):
        return torch.cat([layer.weight.reshape(-1) for layer in self.m])


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("scaler", ["gamma", "v1", "none"])
def test_training_breaks_exactly_at_the_threshold_of_the_balanced_hessian(scaler, momentum):
    for share, converges in ((0.99, True), (1.01, False)):
        model, loss, limit = quadratic(scaler)
        with torch.no_grad():
            model.shared_bank.fill_(1.0)
        optimizer = torch.optim.SGD(model.parameters(), share * limit * (1 + momentum), momentum=momentum)
        first = loss().item()
        for _ in range(800):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        assert (loss().item() < first * 1e-6) == converges


def test_gamma_keeps_the_guaranteed_range_and_none_and_v1_leave_it():
    """Two weights of scales 1 and 3 in one cell, F = |w|^2/2 and so L = 1: claim 13's example."""
    limits = {}
    for scaler in ("gamma", "v1", "none"):
        pair = tnn.ModuleList([tnn.Linear(1, 1, bias=False), tnn.Linear(1, 1, bias=False)]).double()
        for layer, scale in zip(pair, (1.0, 3.0), strict=True):
            tnn.init.constant_(layer.weight, scale)
        model = nn.share(pair, 2, include="*", scaler=scaler)
        squares = sum(layer.weight.square().sum() for layer in model)
        (slope,) = torch.autograd.grad(squares / 2, model.shared_bank, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), model.shared_bank)
        limits[scaler] = 2 / curvature.item()
    assert limits == pytest.approx({"gamma": 2, "v1": 8 / 5, "none": 1 / 5}, rel=1e-14)


@pytest.mark.parametrize("kind", [Fold, Hashed])
@pytest.mark.parametrize("m", [1_000_003, 2**20, 2**20 + 1, 5_000_011])
def test_kernels_equal_the_reference_far_out_and_for_wide_banks(kind, m):
    mapping = kind(2**30, m, 2**63 + 5)
    bank = torch.randint(-99, 99, (m,), generator=torch.Generator().manual_seed(1)).double()
    roots, edges = torch.tensor([1.0, 2.0], dtype=F64), torch.tensor([0, m // 3])
    for first in (0, 2**29 + 12345, 2**30 - 70_001):
        piece = Piece(roots, edges, key_of(mapping), first, 70_000, m, 1.0)
        found = piece.expand(bank)
        assert torch.equal(found, reference.expand(mapping, bank, 1 / roots, edges, first, 70_000))
        back = piece.compress(found)
        assert torch.equal(back, reference.compress(mapping, found, 1 / roots, edges, first))
