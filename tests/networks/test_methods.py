"""Methods on every network: true tiles, smaller models of the right size, a step of each, and `nn.fit`."""

import copy
import json
from functools import partial
from itertools import pairwise
from math import ceil, prod

import numpy as np
import pytest
import torch
import torch.nn as tnn

import nn
from nn.bank import View
from nn.bridge import ASKED
from nn.layers import views_of
from nn.methods import METHODS, NEAR, SHARING, narrowed, prepare, sizes
from nn.models.registry import MODELS, build
from nn.pruning import masks_of
from nn.recipes import Recipe
from nn.sharing import banks_of
from nn.tiles import SIDE, Tiles, roast, tiles
from nn.training import Training
from rpstheory.conformance import check_mapping
from rpstheory.errors import ArgumentError

QUICK = Recipe("quick", 1, batch=4, lr=0.01, schedule="constant", augment="none")
SLIM = {
    "resnet20": (4, 8, 33),
    "resnet18": (4, 8, 16, 32),
    "vgg11": (4, 8, 16, 32, 32),
    "vit": (8, 64),
}


@pytest.fixture(autouse=True)
def one_thread():
    """These networks are so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def size(model):
    return sum(p.numel() for p in model.parameters())


def slim(name, scale=1.0):
    """A builder as nn.fit has one, of a network that is narrow to begin with."""
    if not isinstance(scale, tuple):
        scale = tuple(max(1, round(scale * width)) for width in SLIM[name])
    return build(name, 5, 3, scale)


# ------------------------------------------------------------------------------------- smaller


@pytest.mark.parametrize("name", MODELS)
def test_sizes_are_those_of_the_models_whatever_their_widths(name):
    make = partial(build, name, 7, 3)
    stages = len(MODELS[name][1])
    count = sizes(make, stages)
    generator = np.random.default_rng(0)
    for _ in range(3):
        widths = tuple(int(width) for width in generator.integers(1, 40, stages))
        assert count(widths) == size(make(widths))


@pytest.mark.parametrize("name", ["resnet20", "resnet56", "resnet18", "vgg11", "vgg16", "vit"])
@pytest.mark.parametrize("compression", [2, 10, 100, 1000])
def test_smaller_models_are_within_3_percent_of_the_budget_and_keep_their_shape(name, compression):
    make = partial(build, name, 10, 3)
    widths, whole = narrowed(make, compression), MODELS[name][1]
    budget = nn.plan(make(), compression, mapping="hashed", include="*").stored_params
    assert abs(size(make(widths)) / budget - 1) < 0.03
    assert all(one <= other for one, other in pairwise(widths))
    scales = sorted(width / full for width, full in zip(widths, whole, strict=True))
    if compression <= 10:
        assert scales[-1] / scales[0] < 1.25


def test_vgg11_at_100x_is_within_1_percent_of_the_budget():
    """A common scale of the first width, rounded, is 11 % off."""
    make = partial(build, "vgg11", 10, 3)
    budget = nn.plan(make(), 100, mapping="hashed", include="*").stored_params
    assert abs(size(make(narrowed(make, 100))) / budget - 1) <= NEAR
    one = [size(make(tuple(width * unit for unit in (1, 2, 4, 8, 8)))) for width in (6, 7)]
    assert min(abs(each / budget - 1) for each in one) > 0.1


def test_smaller_model_is_the_nearest_of_its_neighbours():
    make = partial(build, "resnet20", 10, 3)
    budget = nn.plan(make(), 30, mapping="hashed", include="*").stored_params
    widths = narrowed(make, 30)
    gap = abs(size(make(widths)) - budget)
    for last in (-1, 1):
        assert abs(size(make((*widths[:2], widths[2] + last))) - budget) > gap > NEAR * budget


def test_smaller_model_without_compression_is_the_model():
    for name, (_, widths) in MODELS.items():
        assert narrowed(partial(build, name, 10, 3), 1) == widths


def test_search_for_widths_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    assert narrowed(partial(slim, "vit"), 5) == narrowed(partial(slim, "vit"), 5)
    assert torch.equal(before, torch.get_rng_state())


def test_model_without_widths_has_one_scale():
    def make(scale):
        return tnn.Linear(64, max(1, round(64 * scale)))

    scale = narrowed(make, 4)
    assert size(make(scale)) == 65 * round((1024 + 64) / 65)


def test_budget_below_the_narrowest_model_is_refused():
    def make(scale):
        count = scale[0] if isinstance(scale, tuple) else 8
        model = tnn.Linear(4096, count, bias=False)
        model.widths = (count,)
        return model

    with pytest.raises(ArgumentError, match="a width of 1 everywhere has 4096; pass less compression"):
        narrowed(make, 10)


# --------------------------------------------------------------------------------------- tiles


@pytest.mark.parametrize("m", [5000, 700, 30])
def test_tiles_are_laid_row_by_row_somewhere_in_the_bank(m):
    """The definition: each square of each matrix, cut off at the edges, has a start of its own."""
    shapes = ((70, 3, 3, 3), (64, 64), (33,), (3, 100))
    n = sum(map(prod, shapes))
    mapping = tiles(shapes)(n, m, 7)
    cell, side, first, starts = mapping.cell(np.arange(n)), mapping.side, 0, []
    assert side == {5000: 32, 700: 16, 30: 4}[m]
    for shape in shapes:
        matrix = cell[first : first + prod(shape)].reshape(shape[0], -1)
        first += prod(shape)
        for top in range(0, matrix.shape[0], side):
            for left in range(0, matrix.shape[1], side):
                tile = matrix[top : top + side, left : left + side]
                row, column = np.indices(tile.shape)
                assert np.array_equal(tile - tile[0, 0], row * side + column)
                assert len(np.unique(tile)) == tile.size
                starts.append(tile[0, 0])
    assert len(starts) == sum(ceil(s[0] / side) * ceil(prod(s[1:]) / side) for s in shapes)
    assert 0 <= min(starts) <= max(starts) <= m - side**2
    assert len(set(starts)) > min(len(starts), m - side**2) / 2  # independent starts: 1 - 1/e in the mean


@pytest.mark.slow
def test_tiles_obey_the_laws_that_other_mappings_are_asked_for():
    factory = partial(Tiles, shapes=((40, 3, 3, 3), (64, 17)))
    assert {check_mapping(factory, laws=[law]).outcomes[law].status for law in (*ASKED, "unbiased")} == {
        "holds"
    }


def test_signs_are_the_blocks_at_the_places_of_the_tiles():
    mapping = Tiles(40 * 50, 3000, 3, ((40, 50),))
    row, column = np.divmod(np.arange(2000), 50)
    place = ((row // 32 * 2 + column // 32) * 32 + row % 32) * 32 + column % 32
    assert mapping.laid.n == 2 * 2 * SIDE**2
    assert np.array_equal(mapping.sign(np.arange(2000)), mapping.laid.sign(place))
    assert [mapping.cell(i) for i in (0, 1999)] == mapping.laid.cell(place[[0, 1999]]).tolist()


class Tied(tnn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = tnn.Linear(40, 40), tnn.Linear(40, 40)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(self.one(x))


@pytest.mark.parametrize("make", [partial(slim, "resnet20"), partial(slim, "vit"), Tied])
@pytest.mark.parametrize("compression", [1, 10])
def test_weights_read_tile_by_tile_are_those_of_the_mapping(make, compression):
    torch.manual_seed(0)
    model = make().double()
    shared = roast(model, compression)
    (bank,) = banks_of(shared)
    what = nn.plan(model, compression, mapping="hashed")
    assert bank.phi.numel() == what.cells
    seen = []
    for prefix, module in shared.named_modules():
        for name, view in views_of(module).items():
            plain = View(bank, view.first, view.shape, view.scale, view.blank)
            weight = getattr(module, name)
            assert torch.equal(weight, plain.read())
            pull = torch.randint(-8, 9, view.shape).double()
            found, wanted = (
                torch.autograd.grad((each * pull).sum(), bank.phi)[0] for each in (weight, plain.read())
            )
            # sums of fewer than 2^9 products in another order: 2^9 roundings of their magnitudes
            assert torch.allclose(found, wanted, rtol=0, atol=2**9 * 8 * view.scale * 2**9 * 2**-53)
            assert wanted.any()
            seen.append(f"{prefix}.{name}")
    weights = what.groups[0].weights
    assert sorted(seen) == sorted(name for weight in weights for name in (weight.name, *weight.aliases))


def test_roast_is_saved_and_loaded_with_its_mapping(tmp_path):
    torch.manual_seed(0)
    model, x = Tied(), torch.randn(3, 40)
    shared = roast(model, 1)
    nn.save(shared, tmp_path / "tied")
    loaded = nn.load(tmp_path / "tied", Tied, mapping=tiles(((40, 40),)))
    assert torch.equal(loaded(x), shared(x))
    assert torch.equal(nn.to_dense(shared)(x), shared(x))
    assert torch.equal(copy.deepcopy(shared)(x), shared(x))


def test_roast_with_a_scaler_reads_the_same_weights():
    torch.manual_seed(0)
    model = Tied()
    plain, scaled = roast(model, 1), roast(model, 1, scaler="gamma")
    # multiplied and divided by a root of Gamma: three roundings of float32
    assert torch.allclose(plain.one.weight, scaled.one.weight, rtol=3 * 2**-23, atol=0)


# --------------------------------------------------------------------------- every network, every method


@pytest.mark.parametrize("name", SLIM)
def test_every_method_takes_a_step_at_10x_and_keeps_to_its_budget(name):
    torch.manual_seed(0)
    make = partial(slim, name)
    batch = torch.randn(4, 3, 16, 16), torch.arange(4)
    what = nn.plan(make(), 10, mapping="hashed", include="*")
    for method in METHODS:
        given = {"passes": 5} if method == "synflow" else {}
        model = prepare(method, make, 10, batches=[batch], options=given)
        before = {key: value.clone() for key, value in model.named_parameters()}
        loss = Training(model, QUICK, 1, 0).advance(batch)
        assert 0 < loss < 100, method
        assert any(not torch.equal(value, before[key]) for key, value in model.named_parameters()), method
        masks = masks_of(model)
        if method in SHARING:
            assert size(model) == what.stored_params, method
        elif method == "smaller":
            assert abs(size(model) / what.stored_params - 1) < 0.03
        elif masks:
            assert sum(int(mask.sum()) for mask in masks.values()) == what.cells, method
        else:
            assert method in ("dense", "ltr")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Four classes of 16 images each, told apart by where they are bright."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    images = generator.integers(0, 100, (80, 16, 16, 3))
    for image, label in zip(images, labels, strict=True):
        image[8 * (label // 2) :][:8, 8 * (label % 2) :][:, :8] += 150
    path = tmp_path_factory.mktemp("noisy") / "noisy.npz"
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return path


@pytest.mark.parametrize(("model", "method"), [("resnet18", "smaller"), ("vit", "stable-rps")])
def test_new_networks_learn_through_fit(noisy, tmp_path, monkeypatch, model, method):
    monkeypatch.setenv("RPS_CACHE", str(tmp_path / "cache"))
    recipe = Recipe("few", 3, batch=16, lr=0.02, schedule="constant", augment="none")
    fitted = nn.fit(noisy, model, method, 100, recipe, out=tmp_path / "runs", device="cpu")
    assert fitted.result.status == "finished"
    rows = [json.loads(line) for line in (fitted.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train_loss"] for row in rows]
    assert losses[-1] < losses[0]


def test_options_that_tiles_do_not_know_are_refused():
    with pytest.raises(
        ArgumentError, match=r"option of roast='scope' came; .*of exclude, include, init_std,"
    ):
        prepare("roast", partial(slim, "vit"), 4, options={"scope": "layer"})
