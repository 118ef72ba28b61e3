"""Advice: closed forms of a whole network against enumeration and claim 2, splits and orders against all."""

import copy
import json
from collections import Counter
from dataclasses import asdict, replace
from fractions import Fraction
from functools import partial
from itertools import combinations, permutations, product
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn as tnn
import typer
from typer.testing import CliRunner

import nn
from nn.advice import commands
from nn.advice.advising import METHODS, advise, validation
from nn.advice.choices import LAYERED, ORDERED, WEIGHED, names_in, noise_of_banks
from nn.advice.inputs import Layer, _patches, layers_of
from nn.advice.noise import (
    Judged,
    Placed,
    law_of,
    of_draw,
    of_keeping,
    of_narrowing,
    of_sharing,
    of_weights,
    places_of,
    total,
)
from nn.advice.ordering import Laid, best_order
from nn.advice.splitting import split
from nn.data import feed
from nn.fitting import fit
from nn.models.registry import build
from nn.practice import ranking
from nn.practice.imbalance import counts, imbalanced, with_tail
from nn.practice.practising import practice
from nn.practice.ranking import FEW, WRONG, Cell, Ranking, chances, limits, wrong
from nn.practice.residuals import Features
from nn.pruning import masks_of
from nn.recipes import recipe_of
from nn.sharing import banks_of
from nn.tiles import Tiles
from rpstheory.closed_form import inner_product_variance
from rpstheory.errors import ArgumentError, DataError, KindError, RpsError
from rpstheory.mappings import Block, Chunk, Fold, Hashed, KeepExact

EPS = 2.0**-52
SHAPES = ((3, 4), (5, 3), (2, 6), (4, 5))


def tensors(shapes=SHAPES, seed=0, patches=7):
    """Tensors of integers with inputs of integers: sums are exact in float64."""
    random = np.random.default_rng(seed)
    found = []
    for number, (rows, d) in enumerate(shapes):
        weight = random.integers(1, 5, (rows, d)) * random.choice([-1.0, 1.0], (rows, d))
        inputs = random.integers(-3, 4, (patches, d)).astype(float)
        found.append(Judged(f"l{number}.weight", (rows, d), weight, Layer(f"l{number}", weight, inputs)))
    return found


def placed(what, scales=(1.0, 0.5, 2.0, 4.0)):
    found, first = [], 0
    for each, scale in zip(what, scales, strict=False):
        found.append(Placed(each, first, scale))
        first += each.weight.size
    return found


# ------------------------------------------------------------------------------------------- noise


def by_claim_2(mapping, bank, which):
    """Mean over inputs and sum over outputs of the variance of claim 2 on vectors of the whole bank."""
    law, own = law_of(mapping), bank[which]
    weight = np.zeros(law.n)
    for each in bank:
        weight[places_of(mapping, each)] = each.what.weight / each.scale
    whole = 0.0
    for row in places_of(mapping, own):
        for x in own.what.layer.inputs:
            reading = np.zeros(law.n)
            reading[row] = x * own.scale
            whole += float(inner_product_variance(law, weight, reading))
    return whole / len(own.what.layer.inputs) / own.what.energy


N = sum(rows * d for rows, d in SHAPES)
LAWS = [
    Fold(N, 20, 0),
    Fold(N, 3, 0),
    Fold(N, N, 0),
    Hashed(N, 20, 0),
    Chunk(N, 20, 0, chunk=7),
    Block(N, 20, 0, block=7),
    Tiles(N, 20, 0, SHAPES),
]


@pytest.mark.parametrize("mapping", LAWS, ids=lambda each: f"{type(each).__name__}-{each.m}")
def test_the_noise_of_a_bank_is_claim_2_on_vectors_of_the_whole_network(mapping):
    bank = placed(tensors())
    found = of_sharing(mapping, bank)
    for number, each in enumerate(bank):
        # a few hundred products of one size, each rounded once or twice
        assert found[each.what.name] == pytest.approx(
            by_claim_2(mapping, bank, number), rel=2**10 * EPS, abs=0
        )


def test_the_noise_of_two_layers_in_one_bank_is_that_of_all_draws():
    what = tensors(((1, 2), (2, 1)), patches=2)
    scales, m = (1, 2), 2
    flat = [(k, row, j) for k, each in enumerate(what) for row, j in np.ndindex(each.weight.shape)]
    content = [Fraction(int(what[k].weight[row, j]), scales[k]) for k, row, j in flat]
    errors, draws = [Fraction(0), Fraction(0)], 0
    for shifts in product(range(m), repeat=2):
        cell = [(shifts[i // m] + i) % m for i in range(4)]
        for sign in product((-1, 1), repeat=4):
            draws += 1
            read = [
                scales[k] * sign[i] * sum(sign[j] * content[j] for j in range(4) if cell[j] == cell[i])
                for i, (k, _, _) in enumerate(flat)
            ]
            for k, each in enumerate(what):
                for x, row in product(each.layer.inputs.astype(int), range(len(each.weight))):
                    off = sum(
                        (read[i] - int(each.weight[row, j])) * int(x[j])
                        for i, (own, o, j) in enumerate(flat)
                        if (own, o) == (k, row)
                    )
                    errors[k] += Fraction(off * off, 2)
    found = of_sharing(Fold(4, m, 0), placed(what, scales))
    for k, each in enumerate(what):
        assert Fraction(found[each.name] * each.energy).limit_denominator(10**6) == errors[k] / draws


def test_the_noise_of_kept_weights_is_claim_4():
    what = tensors()
    law, first = KeepExact(N, 20, 0), 0
    for each in what:
        whole = 0.0
        for row, x in product(range(len(each.weight)), each.layer.inputs):
            weight, reading = np.zeros(N), np.zeros(N)
            own = first + row * len(x) + np.arange(len(x))
            weight[own], reading[own] = each.weight[row], x
            whole += float(inner_product_variance(law, weight, reading))
        noise = of_keeping(what, N, 20)[each.name]
        assert noise == pytest.approx(whole / len(each.layer.inputs) / each.energy, rel=2**10 * EPS, abs=0)
        first += each.weight.size


def test_the_noise_of_narrowing_is_that_of_all_channels_that_may_stay():
    random = np.random.default_rng(0)
    weight, x = random.integers(-3, 4, (3, 8)).astype(float), random.integers(-3, 4, (5, 8)).astype(float)
    each = Judged("l.weight", (3, 4, 2), weight, Layer("l", weight, x))
    lost, draws = Fraction(0), 0
    for kept in permutations(range(4), 2):
        draws += 1
        inside = np.isin(np.arange(8) // 2, kept)
        lost += Fraction(int(np.square(x @ (2 * weight * inside - weight).T).sum()), 5)
    energy = Fraction(int(np.square(x @ weight.T).sum()), 5)
    expected = (1 + lost / draws / energy) / Fraction(2, 3) - 1
    found = of_narrowing([each], {"l.weight": (2, 2, 2)})["l.weight"]
    assert found == pytest.approx(float(expected), rel=2**8 * EPS, abs=0)
    with pytest.raises(KindError, match="pass build="):
        of_narrowing([each], {"l.weight": (4, 2, 2)})


def test_the_noise_of_known_weights_does_not_know_their_scale():
    (each, *_) = tensors()
    mask = np.arange(each.weight.size).reshape(each.weight.shape) % 2
    half = of_weights([each], {each.name: each.weight * mask})
    assert half == of_weights([each], {each.name: 4 * each.weight * mask})
    assert of_weights([each], {each.name: each.weight}) == {each.name: 0.0}
    assert of_weights([each], {each.name: 0 * each.weight}) == {each.name: inf}
    # the best scale, by the normal equation, leaves tan^2 of what it keeps
    y, kept = each.layer.inputs @ each.weight.T, each.layer.inputs @ (each.weight * mask).T
    best = (y * kept).sum() / (kept * kept).sum()
    left = np.square(y - best * kept).sum()
    assert half[each.name] == pytest.approx(left / (np.square(y).sum() - left), rel=2**10 * EPS, abs=0)


# ---------------------------------------------------------------------------------- splits and orders


@pytest.mark.parametrize("seed", range(60))
def test_no_split_is_better(seed):
    random = np.random.default_rng(seed)
    layers = int(random.integers(1, 5))
    sizes = random.integers(1, 8, layers).tolist()
    costs = [Fraction(int(c), int(d)) for c, d in random.integers(1, 30, (layers, 2))]
    budget = int(random.integers(layers, sum(sizes) + 1))
    found = split(costs, sizes, budget)
    ways = (each for each in product(*(range(1, n + 1) for n in sizes)) if sum(each) == budget)
    assert sum(found) == budget
    assert all(1 <= m <= n for m, n in zip(found, sizes, strict=True))
    least = min(sum(c / m for c, m in zip(costs, way, strict=True)) for way in ways)
    assert sum(c / m for c, m in zip(costs, found, strict=True)) == least


def test_a_large_split_is_that_of_lagrange():
    # sqrt(c) = 1, 2, 3 and room enough: 100, 200 and 300 of 600
    assert split([1, 4, 9], [10**6] * 3, 600) == [100, 200, 300]
    assert split([1, 4, 9], [50, 10**6, 10**6], 550) == [50, 200, 300]


@pytest.mark.parametrize("budget", [2, 13])
def test_a_split_that_cannot_be_is_refused(budget):
    with pytest.raises(ArgumentError, match=f"{budget} cells came for 3 layers of 12 weights; pass 3 … 12"):
        split([1, 1, 1], [4, 4, 4], budget)


@pytest.mark.parametrize("m", [3, 7, 20, N - 1, N])
def test_the_noise_of_an_order_is_that_of_the_bank_it_makes(m):
    laid = Laid(tuple(tensors()), (1.0, 0.5, 2.0, 4.0), m)
    for order in permutations(range(4)):
        whole = total(of_sharing(Fold(N, m, 0), laid.placed(order)))
        assert laid.noise(order) == pytest.approx(whole, rel=2**10 * EPS, abs=2**10 * EPS)


@pytest.mark.parametrize("seed", range(6))
def test_no_order_is_better_than_what_the_search_finds(seed):
    random = np.random.default_rng(seed)
    shapes = tuple(map(tuple, random.integers(1, 6, (5, 2)).tolist()))
    laid = Laid(tuple(tensors(shapes, seed)), tuple(random.choice([0.5, 1.0, 2.0, 4.0], 5)), 6 + seed)
    least = min(map(laid.noise, permutations(range(5))))
    # two orders of one noise may differ by rounding
    assert laid.noise(best_order(laid)) <= least * (1 + 2**10 * EPS)


def test_one_bank_with_the_right_scales_is_as_good_as_the_best_split_of_hashed_banks():
    # weights of +-1 and inputs of one-hot rows: a = outputs * d / energy and b = n, whole numbers
    what = []
    for number, (rows, d) in enumerate(((2, 8), (32, 8))):
        weight = np.ones((rows, d))
        what.append(Judged(f"l{number}.weight", (rows, d), weight, Layer("", weight, np.eye(d))))
    read = [len(each.weight) * each.squares.sum() / each.energy for each in what]
    put = [np.square(each.weight).sum() for each in what]
    assert (read, put) == ([1.0, 1.0], [16.0, 256.0])
    scales = [float(b / a) ** 0.25 for a, b in zip(read, put, strict=True)]
    assert scales == [2.0, 4.0]
    one = sum(s**2 * a for s, a in zip(scales, read, strict=True))
    other = sum(b / s**2 for s, b in zip(scales, put, strict=True))
    cells = split([a * b for a, b in zip(read, put, strict=True)], [16, 256], 50)
    assert cells == [10, 40]
    assert one * other / 50 == 16 / 10 + 256 / 40


# ------------------------------------------------------------------------------------------ advice


def small():
    torch.manual_seed(0)
    return tnn.Sequential(
        tnn.Conv2d(1, 8, 3, bias=False), tnn.ReLU(), tnn.Flatten(), tnn.Linear(8 * 16, 16), tnn.ReLU(),
        tnn.Linear(16, 4),
    )  # fmt: skip


def some_batches():
    random = torch.Generator().manual_seed(0)
    return [(torch.rand(8, 1, 6, 6, generator=random), torch.arange(8) % 4) for _ in range(2)]


@pytest.fixture(scope="module")
def advice():
    methods = ["stable-rps", "robe", "hashed", "random", "magnitude", "snip"]
    return advise(small(), some_batches(), 4, methods=methods)


def test_every_way_comes_down_to_the_budget(advice):
    names = [option.choice.name for option in advice.options]
    assert {"stable-rps", ORDERED, WEIGHED, LAYERED, "robe", "hashed", "random", "magnitude"} <= set(names)
    assert all(option.budget.weights <= advice.subject.whole.cells for option in advice.options)
    assert [option.noise for option in advice.options] == sorted(option.noise for option in advice.options)


def test_what_is_advised_leaves_the_network_alone():
    model, twin = small().train(), small().train()
    advise(model, some_batches(), 4, methods=["stable-rps", "snip"])
    assert model.training
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", ["stable-rps", ORDERED, WEIGHED, LAYERED, "robe", "hashed"])
def test_the_draw_that_is_measured_is_the_one_that_is_built(advice, name):
    option = next(option for option in advice.options if option.choice.name == name)
    model, what = option.choice.model, {each.name: each for each in advice.subject.tensors}
    assert option.choice.noise == noise_of_banks(model, advice.subject.tensors)
    for bank in banks_of(model):
        names, sums, load = names_in(model, bank), np.zeros(bank.mapping.m), np.zeros(bank.mapping.m)
        for span in bank.spans:
            cell = bank.mapping.cell(np.arange(span.first, span.first + span.count))
            sign = bank.mapping.sign(np.arange(span.first, span.first + span.count))
            np.add.at(sums, cell, sign * what[names[span.first]].weight.ravel() / span.scale)
            np.add.at(load, cell, 1)
        for span in bank.spans:
            own = what[names[span.first]]
            cell = bank.mapping.cell(np.arange(span.first, span.first + span.count))
            sign = bank.mapping.sign(np.arange(span.first, span.first + span.count))
            read = (span.scale * sign * sums[cell]).reshape(own.weight.shape)
            drawn = of_draw([own], {own.name: read})[own.name]
            # the bank is float32, as are its roots and what is read
            assert option.choice.drawn[own.name] == pytest.approx(drawn, rel=2**-16, abs=2**-40)
            built = (
                dict(model.named_modules())[own.name.rpartition(".")[0]].weight.detach().flatten(1).numpy()
            )
            kept = (span.scale * sign * (sums / np.maximum(load, 1))[cell]).reshape(own.weight.shape)
            assert built == pytest.approx(kept, rel=2**-18, abs=2**-18 * abs(kept).max())


def test_a_network_in_the_best_order_can_be_saved_and_loaded(advice, tmp_path):
    model = advice.model(WEIGHED)
    option = next(option for option in advice.options if option.choice.name == WEIGHED)
    (bank,) = banks_of(model)
    names = names_in(model, bank)
    assert tuple(names[first] for first in sorted(names)) == option.choice.order
    nn.save(model, tmp_path / "m.safetensors")
    again = nn.load(tmp_path / "m.safetensors", small())
    x = some_batches()[0][0]
    assert torch.equal(again(x), model(x))


def test_a_budget_of_parameters_is_kept(advice):
    found = advise(small(), some_batches(), budget_params=600, methods=["stable-rps", "random", "robe"])
    assert {option.choice.method for option in found.options} == {"stable-rps", "random", "robe"}
    assert max(option.budget.params for option in found.options) <= 600


def test_nothing_is_lost_where_nothing_is_saved():
    found = advise(small(), some_batches(), 1, methods=["stable-rps", "robe", "random", "magnitude"])
    noise = {option.choice.name: option.noise for option in found.options}
    assert noise.pop("robe") > 0
    assert set(noise.values()) == {0.0}


def test_weights_whose_inputs_are_unknown_are_named():
    model = tnn.Sequential(tnn.Conv2d(2, 4, 3, groups=2), tnn.Flatten(), tnn.Linear(64, 4))
    found = advise(
        model, [(torch.rand(4, 2, 6, 6), torch.zeros(4, dtype=torch.long))], 2, methods=["stable-rps"]
    )
    assert found.unseen == ["0.weight"]
    assert set(found.best.choice.noise) == {"2.weight"}
    assert set(found.best.choice.cells or found.subject.sizes) == {"0.weight", "2.weight"}


class Twice(tnn.Module):
    """A layer called by name, and again on what it gave."""

    def __init__(self):
        super().__init__()
        self.a, self.b = tnn.Linear(40, 40), tnn.Linear(40, 4)

    def forward(self, x):
        return self.b(self.a(input=self.a(input=x).relu_()).relu_())


def test_a_layer_is_judged_on_the_inputs_of_all_its_calls():
    torch.manual_seed(0)
    model, x = Twice(), torch.randn(6, 40)
    first, last = layers_of(model, x)
    again = model.a(x).relu()
    assert (first.name, last.name) == ("a", "b")
    assert first.inputs.tolist() == torch.cat([x, again]).tolist()
    assert last.inputs.tolist() == model.a(again).relu().tolist()
    found = advise(model, [(x, torch.zeros(6, dtype=torch.long))], 4, methods=["random"])
    assert set(found.best.choice.noise) == {"a.weight", "b.weight"}


@pytest.mark.parametrize(
    ("padding", "mode", "kernel"),
    [("same", "zeros", 4), ("same", "reflect", 3), ("valid", "zeros", 3), (2, "circular", 3),
     ((0, 1), "replicate", (1, 3)), (1, "zeros", 3)],
)  # fmt: skip
def test_patches_are_padded_as_the_convolution_pads(padding, mode, kernel):
    conv = tnn.Conv2d(2, 3, kernel, padding=padding, padding_mode=mode, dilation=2, bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(torch.randint(-3, 4, conv.weight.shape))
    images = torch.randint(-9, 9, (2, 2, 6, 6)).double()
    for places, said in zip(_patches(conv, images), conv(images).flatten(2), strict=True):
        assert torch.equal(conv.weight.flatten(1) @ places.T, said)


def test_a_layer_that_is_the_whole_model_is_judged():
    torch.manual_seed(0)
    found = advise(tnn.Linear(64, 64), [(torch.randn(8, 64), torch.zeros(8, dtype=torch.long))], 4,
                   methods=["stable-rps", "magnitude"])  # fmt: skip
    assert {name for option in found.options for name in option.choice.noise} == {"weight"}
    assert found.unseen == []


def test_models_of_tokens_are_advised_without_scores_that_need_numbers():
    torch.manual_seed(0)
    model = tnn.Sequential(tnn.Embedding(50, 16), tnn.Flatten(), tnn.Linear(80, 4))
    found = advise(model, [(torch.randint(0, 50, (8, 5)), torch.arange(8) % 4)], 4)
    assert {option.choice.method for option in found.options} == {*METHODS} - {"smaller", "synflow"}
    assert found.unseen == ["0.weight"]
    assert {option.budget.dense_flops for option in found.options} == {2 * 80 * 4}


def test_advice_in_words_says_what_a_mask_stores_of_each_weight(advice):
    magnitude = next(each for each in advice.options if each.choice.method == "magnitude")
    rest = [each for each in advice.options if each is not magnitude]
    said = str(replace(advice, options=(magnitude, *rest)))
    stored = {
        line.split()[0]: line.split()[3] for line in said.splitlines() if line[:2] in ("0 ", "3 ", "5 ")
    }
    kept = {
        name.split(".")[0]: f"{int(mask.sum()):,}" for name, mask in masks_of(magnitude.choice.model).items()
    }
    assert stored == kept
    assert "tensor(" not in said


@pytest.mark.parametrize(
    ("batches", "error", "words"),
    [
        (torch.rand(8, 1, 6, 6), KindError, "batches=Tensor came; pass a list of pairs of tensors"),
        ([torch.rand(8, 1, 6, 6)], KindError, "batch 0 is no pair of tensors"),
        ([(torch.rand(2, 1, 6, 6), [0, 1])], KindError, "batch 0 is no pair of tensors"),
        ([(torch.full((2, 1, 6, 6), torch.nan), torch.arange(2))], DataError, "batch 0 hold NaN or infinity"),
        (
            [(torch.rand(2, 1, 5, 6), torch.arange(2))],
            DataError,
            r"Sequential does not run on .*\(2, 1, 5, 6\)",
        ),
        ([(torch.rand(2, 3, 6, 6), torch.arange(2))], DataError, "pass batches that the model takes"),
        (
            [(torch.rand(2, 1, side, 6), torch.arange(2)) for side in (6, 5)],
            DataError,
            r"shapes \(1, 5, 6\) and \(1, 6, 6\) came",
        ),
    ],
)
def test_batches_that_cannot_be_used_are_one_sentence(batches, error, words):
    with pytest.raises(error, match=words):
        advise(small(), batches, 4)


def test_advice_says_in_a_sentence_what_is_wrong(advice, tmp_path):
    with pytest.raises(ArgumentError, match="no batches came"):
        advise(small(), [], 4)
    with pytest.raises(ArgumentError, match="did you mean 'hashed'"):
        advise(small(), some_batches(), 4, methods=["hasched"])
    with pytest.raises(ArgumentError, match="without build="):
        advise(small(), some_batches(), 4, methods=["smaller"])
    with pytest.raises(ArgumentError, match="answers to these images"):
        advise(tnn.Sequential(tnn.Conv2d(2, 4, 3, groups=2)), [(torch.rand(4, 2, 6, 6), torch.zeros(4))], 2)
    with pytest.raises(ArgumentError, match="did you mean 'stable-rps'"):
        advice.model("stable-rp")
    with pytest.raises(DataError, match="pass what rps practice --json wrote"):
        validation(tmp_path / "none.json")


# ----------------------------------------------------------------------------------------- ranking


def a_ranking(noise, accuracy, budgets):
    cells = zip(noise, accuracy, budgets, strict=True)
    return Ranking(
        "made", "it", tuple(Cell(b, f"m{k}", True, n, {0: a}) for k, (n, a, b) in enumerate(cells))
    )


def test_tau_compares_at_equal_budgets_only():
    # within each budget all pairs are in order; between them none is
    found = a_ranking([1, 2, 3, 10, 20, 30], [0.3, 0.2, 0.1, 0.9, 0.8, 0.7], [50, 50, 50, 2, 2, 2])
    assert found.tau == 1.0
    assert len(found.pairs) == 6


def test_tau_is_kendalls_where_nothing_is_tied():
    from scipy.stats import kendalltau

    x, y = (np.random.default_rng(seed).permutation(12).astype(float) for seed in (0, 1))
    found = a_ranking(-x, y, [4.0] * 12)
    assert found.tau == pytest.approx(kendalltau(x, y).statistic, rel=2**8 * EPS, abs=0)


def test_noise_without_end_is_the_worst_and_ties_with_its_like():
    found = a_ranking([inf, inf, 1.0, 2.0], [0.1, 0.2, 0.9, 0.8], [4.0] * 4)
    assert (found.wrong, found.tau) == (0.5, 1 - 1 / 6)  # five pairs in order, one tied in noise


@pytest.mark.parametrize("sizes", [(3,), (2, 3), (4, 2), (1, 4)])
def test_wrong_pairs_of_random_orders_are_those_of_all_orders(sizes):
    counts = Counter(
        sum(sum(a > b for a, b in combinations(order, 2)) for order in orders)
        for orders in product(*(permutations(range(size)) for size in sizes))
    )
    every = [Fraction(counts[k], counts.total()) for k in range(max(counts) + 1)]
    assert chances(sizes) == pytest.approx([float(chance) for chance in every], rel=2**6 * EPS, abs=0)


@pytest.mark.parametrize("count", [0, 1, 2.5, 5, 9.5, 10])
def test_limits_are_where_so_many_wrong_pairs_would_be_rare(count):
    """By definition, with Mallows' model summed over all 120 orders of five methods."""
    low, high = limits(count, chances([5]))
    found = Counter(sum(a > b for a, b in combinations(order, 2)) for order in permutations(range(5)))
    for q in np.geomspace(1e-3, 1e3, 121):
        weight = {k: number * q**k for k, number in found.items()}
        whole = sum(weight.values())
        share = sum(k * each for k, each in weight.items()) / whole / 10
        few = sum(each for k, each in weight.items() if k <= np.ceil(count)) / whole
        many = sum(each for k, each in weight.items() if k >= np.floor(count)) / whole
        assert (low <= share <= high) == (few >= 0.025 and many >= 0.025)


def test_a_perfect_order_of_few_says_what_it_can_and_of_fewer_nothing():
    low, high = limits(0, chances([FEW]))
    assert low == 0
    assert WRONG < high < 0.5
    assert limits(0, chances([FEW - 1]))[1] > 0.5
    assert limits(0, chances([FEW + 2]))[1] < WRONG


def test_a_random_order_does_as_well_as_often_as_it_must():
    found = a_ranking([1, 2, 3, 4], [0.4, 0.3, 0.2, 0.1], [4.0] * 4)
    assert found.chance == pytest.approx(1 / 24, rel=2**4 * EPS, abs=0)
    assert wrong(found.pairs, -found.accuracy, found.accuracy) == 6


def test_seeds_that_agree_are_no_bound_for_what_a_prediction_can_do():
    cells = [
        Cell(4.0, f"m{k}", True, -k, {0: k + noise, 1: k - noise})
        for k, noise in enumerate([0, 2, -2, 2, -2, 0])
    ]
    found = Ranking("made", "it", tuple(cells))
    assert found.tau == 1 > found.itself


# --------------------------------------------------------------------------------------- imbalance


def test_a_tail_is_what_was_asked_for():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((100, 24)), random.standard_normal((100, 3))
    own = with_tail(Features("made", x - x.mean(0), y - y.mean(0), x, y).components, 1.5)
    # a quotient, a root and two products of each of 100 numbers
    assert own.variances == pytest.approx(np.arange(1, 25) ** -1.5, rel=2**8 * EPS, abs=0)


def test_classes_fall_by_the_ratio_and_number_as_many_for_every_ratio():
    assert counts(3, 4.0, 100, 70).tolist() == [40, 20, 10]
    assert counts(3, 1.0, 100, 70).tolist() == [23, 23, 23]
    labels = np.arange(84) % 3  # 28 of each, and 28 (1 + 1/2 + 1/4) = 49 in all
    x, y = np.random.default_rng(0).standard_normal((84, 8)), np.eye(3)[labels]
    own = Features("made", x, y - y.mean(0), x, y)
    found = {ratio: imbalanced(own, ratio, (1.0, 4.0)) for ratio in (1.0, 4.0)}
    for ratio, wanted in ((4.0, [28, 14, 7]), (1.0, [16, 16, 16])):
        assert np.bincount(found[ratio].classes.argmax(axis=1)).tolist() == wanted
        assert abs(found[ratio].train.mean(axis=0)).max() <= 2**6 * EPS


def test_of_several_rates_of_a_method_the_best_counts_in_any_order(monkeypatch):
    def run(method, rate, seed, accuracy):
        recipe = asdict(recipe_of("smoke", lr=rate))
        how = {"data": "d", "held_out": 0.0, "model": "m", "method": method, "compression": 4.0,
               "options": {}, "recipe": recipe}  # fmt: skip
        record = SimpleNamespace(configuration=how, result={"test_accuracy": accuracy})
        source = SimpleNamespace(train=SimpleNamespace(dataset=SimpleNamespace(name="d")))
        return SimpleNamespace(record=record, seed=seed, model=tnn.Identity(), source=source)

    monkeypatch.setattr(ranking, "_reference", lambda group: ("it", []))
    monkeypatch.setattr(
        ranking, "_noise", lambda network, tensors: {"w": network.record.result["test_accuracy"]}
    )
    monkeypatch.setattr(ranking, "total", lambda noise: noise["w"])
    runs = [run(f"method {k}", 0.1, 0, 0.5) for k in range(FEW - 1)]
    rates = {0.05: (0.2, 0.9), 0.1: (0.5, 0.75), 0.2: (0.75, 0.5), 0.4: (0.3, 0.5)}
    runs += [run("hashed", rate, seed, a) for rate, own in rates.items() for seed, a in enumerate(own)]
    for order in (runs, runs[::-1]):
        (found,) = ranking.rankings(order)
        (cell,) = [each for each in found.cells if each.method == "hashed"]
        assert (cell.accuracies, cell.noise) == ({0: 0.5, 1: 0.75}, 0.625)


# ------------------------------------------------------------------------- runs, and the two commands


@pytest.fixture(scope="module")
def runs(blobs, tmp_path_factory):
    """A dense network and four ways at one budget, trained for a moment on four classes of small images."""
    folder = tmp_path_factory.mktemp("advice")
    recipe, data = recipe_of("smoke", epochs=1, batch=64), str(blobs(folder, channels=1))
    compressions = {"dense": 1.0} | dict.fromkeys(
        ("stable-rps", "hashed", "random", "magnitude", "smaller"), 10.0
    )
    made = {
        method.replace("-", "_"): fit(
            data, "resnet8", method, compression, recipe, out=folder / "runs", device="cpu"
        ).folder
        for method, compression in compressions.items()
    }
    return SimpleNamespace(folder=folder, data=data, **made)


def test_runs_of_enough_methods_are_ranked(runs):
    every = runs.folder / "runs"
    found = practice([every], ["ranking"], quick=True)
    (verdict,) = found.report.verdicts
    assert (verdict.claim, verdict.relation, verdict.predicted) == ("ranking", "at most", WRONG)
    low, high = verdict.interval
    assert verdict.status == "confirmed" if high <= WRONG else "refuted" if low > WRONG else "inconclusive"
    assert low <= verdict.measured <= high
    assert [round(1 - 2 * end, 2) for end in (high, low)] == [
        float(word) for word in found.claims[0].remarks.partition("interval ")[2].split()[:3:2]
    ]
    assert [plate.name for plate in found.plates["ranking"]] == ["ranking"]
    assert "Noise is that put into the dense run" in found.claims[0].remarks
    (mutant,) = practice([every], ["ranking"], quick=True, mutants=True).report.verdicts
    assert mutant.status == "refuted"
    with pytest.raises(ArgumentError, match="5 methods or more at one compression"):
        practice([runs.dense, runs.stable_rps, runs.random], ["ranking"], quick=True)


@pytest.fixture(scope="module")
def call():
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(commands.advise)

    def run(*arguments):
        found = CliRunner().invoke(app, [str(each) for each in arguments])
        if isinstance(found.exception, RpsError):
            raise found.exception
        assert found.exit_code == 0, (found.output, found.exception)
        return found.stdout

    return run


def test_the_command_prints_every_method_and_how_far_to_trust_it(runs, call):
    text = call(runs.dense, "--budget", "10x", "--images", "32")
    assert all(f"\n{method} " in text for method in METHODS)
    assert "not checked on this network" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_the_command_takes_shared_and_pruned_runs_and_new_models(runs, call):
    for network in (runs.stable_rps, runs.random, "resnet8"):
        record = json.loads(
            call(network, "--data", runs.data, "--method", "stable-rps", "--images", "16", "--json")
        )
        assert record["options"][0]["method"] == "stable-rps"
        assert set(record["options"][0]["layers"]) >= {"conv.weight", "fc.weight"}


def test_the_command_takes_weights_from_a_file_in_every_form(runs, call, tmp_path):
    """What is said is what nn.advise says of the model that was written; the network is not the new one."""
    torch.manual_seed(7)
    model = build("resnet8", 4, 1).eval()
    shared = nn.share(copy.deepcopy(model), compression=10)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    safetensors.torch.save_file(model.state_dict(), tmp_path / "w.safetensors")
    nn.save(shared, tmp_path / "shared.safetensors")
    rest = ("--data", runs.data, "--method", "magnitude", "--images", "16", "--json")
    said = {each: call("resnet8", "--weights", tmp_path / each, *rest) for each in ("w.pt", "w.safetensors")}
    said["shared"] = call("resnet8", "--weights", tmp_path / "shared.safetensors", *rest)
    noise = {name: json.loads(text)["options"][0]["noise"] for name, text in said.items()}
    source = feed(runs.data, commands.BATCH)
    batches = commands._batches(source, 16)
    for name, written in (("w.pt", model), ("w.safetensors", model), ("shared", nn.to_dense(shared))):
        found = nn.advise(
            written.eval(), batches, 10, build=partial(build, "resnet8", 4, 1), methods=["magnitude"]
        )
        assert noise[name] == found.options[0].noise
    assert noise["shared"] != noise["w.pt"] != json.loads(call("resnet8", *rest))["options"][0]["noise"]
    torch.save({"weight": torch.ones(2)}, tmp_path / "foreign.pt")
    with pytest.raises(DataError, match="conv.weight is missing in"):
        call("resnet8", "--weights", tmp_path / "foreign.pt", *rest)


def test_the_command_cites_the_verdicts_of_practice(runs, call, tmp_path):
    from rpstheory.report import to_json

    report = practice([runs.folder / "runs"], ["ranking"], quick=True).report
    (tmp_path / "p.json").write_text(to_json(report))
    text = call(runs.dense, "--method", "stable-rps", "--images", "16", "--verdicts", tmp_path / "p.json")
    words = " ".join(text.split())
    assert f"after training: 1 {report.verdicts[0].status}" in words
    assert "--part preactivations checks it" in words


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["{dense}", "--budget", "10%"], ArgumentError, "pass 10x for a tenth"),
        (["{dense}", "--budget", "0.5x"], ArgumentError, "at least 1"),
        (["{dense}", "--budget", "3"], ArgumentError, "budget_params=3 came"),
        (["{dense}", "--images", "1"], ArgumentError, "at least 2"),
        (["{dense}", "--method", "ltr"], ArgumentError, "'ltr' came"),
        (["{dense}", "--weights", "{data}"], ArgumentError, "which has weights of its own"),
        (["resnet8", "--weights", "none.pt"], DataError, "is no file"),
        (["resnet8", "--weights", "{data}"], DataError, "holds no state dict"),
        (["resnet9"], ArgumentError, "neither the folder of a run nor a model"),
        (["{folder}"], DataError, "pass the folder of a run"),
    ],
)
def test_the_command_says_in_a_sentence_what_is_wrong(runs, call, arguments, error, words):
    with pytest.raises(error, match=words):
        call(*(each.format(**vars(runs)) for each in arguments))


def test_the_command_names_every_method_and_model():
    from nn.models.registry import MODELS

    assert set(commands.METHODS.split(", ")) == set(METHODS)
    assert commands.MODELS.split(", ") == list(MODELS)


def test_pairs_that_are_tied_count_half():
    pairs = np.array([[0, 1], [0, 2], [1, 2]])
    assert wrong(pairs, np.arange(3.0), np.full(3, 0.1)) == 1.5
