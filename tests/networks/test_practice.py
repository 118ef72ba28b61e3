"""Theory beside a trained network: formulas against enumeration, experiments against draws, mutants."""

import json
from fractions import Fraction
from itertools import product
from math import sqrt
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn as tnn
import typer
from typer.testing import CliRunner

import nn
from nn.fitting import fit
from nn.practice import commands, stepping
from nn.practice.network import Layer, layers, trained
from nn.practice.occupancy import Occupancy
from nn.practice.practising import PARTS, TOGETHER, practice
from nn.practice.preactivations import (
    LayerError,
    chosen_rows,
    isotropic_error,
    kinds,
    predicted_error,
)
from nn.practice.residuals import COMPRESSIONS, Features, cases
from nn.practice.stepping import STDS, TOLERANCE, Edge, Stepping, Trial, steepest
from nn.recipes import recipe_of
from nn.sharing import banks_of
from rpstheory.closed_form import norm_variance
from rpstheory.errors import ArgumentError, DataError, RpsError
from rpstheory.linear_model import linear_residual
from rpstheory.mappings import Fold, Hashed, KeepBernoulli, KeepExact
from rpstheory.report import from_json


@pytest.fixture(scope="module")
def runs(blobs, tmp_path_factory):
    """A shared and a dense network that were trained for a moment on four classes of small images."""
    folder = tmp_path_factory.mktemp("practice")
    recipe, data = recipe_of("smoke", epochs=1, batch=64), str(blobs(folder, channels=1))
    made = [
        fit(data, "resnet8", method, compression, recipe, out=folder / "runs", device="cpu").folder
        for method, compression in (("stable-rps", 10.0), ("dense", 1.0))
    ]
    return SimpleNamespace(shared=made[0], dense=made[1], folder=folder)


# ------------------------------------------------------------------------------- pre-activations

LAYER = Layer("layer", np.array([[1.0, -2.0], [3.0, 1.0]]), np.array([[2.0, 1.0], [-1.0, 3.0]]))


def enumerated(m):
    """Mean squared error of LAYER over all rotations and signs of a fold, without rpstheory."""
    weight, n = [int(w) for w in LAYER.weight.ravel()], LAYER.weight.size
    total, draws = Fraction(0), 0
    for shifts in product(range(m), repeat=-(-n // m)):
        cell = [(shifts[i // m] + i % m) % m for i in range(n)]
        for sign in product((-1, 1), repeat=n):
            draws += 1
            for o in range(2):
                for x in LAYER.inputs.astype(int).tolist():
                    read = [
                        sign[i] * sum(sign[j] * weight[j] for j in range(n) if cell[j] == cell[i])
                        for i in (2 * o, 2 * o + 1)
                    ]
                    wrong = sum((read[k] - weight[2 * o + k]) * x[k] for k in range(2))
                    total += Fraction(wrong * wrong, 4)
    return total / draws


@pytest.mark.parametrize("m", [2, 3, 4])
def test_the_predicted_error_of_a_layer_is_that_of_all_rotations_and_signs(m):
    # sums of a few integers over m: off by less than one unit in the last place of each of 8 terms
    assert predicted_error(Fold(4, m, 0), LAYER) == pytest.approx(float(enumerated(m)), rel=2**-49, abs=0)


@pytest.mark.parametrize("kind", ["fold", "chunk", "block", "hashed", "exact", "Bernoulli"])
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_the_measured_error_of_a_draw_is_that_of_the_weights_it_represents(kind, backend):
    random = np.random.default_rng(1)
    weight, x = random.integers(-3, 4, (12, 8)).astype(float), random.integers(-3, 4, (4, 8)).astype(float)
    layer = Layer("layer", weight, x)
    mapping = kinds(weight.size, 4)[kind]
    rows = chosen_rows(layer)
    found = LayerError(mapping, weight.ravel(), rows, x)(5, 1, backend)
    drawn = type(mapping)(
        **{name: getattr(mapping, name) for name in mapping.__dataclass_fields__} | {"seed": 5}
    )
    cell, sign = drawn.cell(np.arange(96)), drawn.sign(np.arange(96))
    bank = np.bincount(cell, sign * weight.ravel(), mapping.cells)
    wrong = (float(mapping.rescale) * sign * bank[cell]).reshape(12, 8) - weight
    assert found.tolist() == [np.square(wrong[rows // 8] @ x.T).mean()]


@pytest.mark.parametrize("mapping", [Fold(12, 4, 0), KeepExact(12, 4, 0)])
def test_the_isotropic_error_of_a_norm_is_the_bound_of_claim_20(mapping):
    one = Fraction(1)
    assert isotropic_error(mapping, one, one) == Fraction(2 * (12 - 4), 4 * (12 + 2))


@pytest.mark.parametrize("mapping", [Fold(6, 4, 0), Hashed(6, 4, 0), KeepBernoulli(6, 4, 0)])
def test_the_isotropic_error_of_a_norm_is_the_mean_over_directions(mapping):
    n = mapping.n
    one = [norm_variance(mapping, [int(k == i) for k in range(n)]) for i in range(n)]
    two = [norm_variance(mapping, [int(k in (i, j)) for k in range(n)]) for i in range(n) for j in range(i)]
    # V = sum Q_ij x_i^2 x_j^2, E x_i^4 = 3 / (n (n+2)) and E x_i^2 x_j^2 = 1 / (n (n+2)): 1 from each pair
    mean = (3 * sum(one) + sum(two) - (n - 1) * sum(one)) / (n * (n + 2))
    assert isotropic_error(mapping, Fraction(1), Fraction(1)) == mean


def test_the_isotropic_error_of_an_orthogonal_pair_is_the_mean_over_pairs():
    n, m = 8, 4  # E (x_i^2 y_j^2 + x_i y_i x_j y_j) = 1 / ((n-1)(n+2)); D/m ordered pairs meet
    assert isotropic_error(Fold(n, m, 0), Fraction(1), Fraction(0)) == Fraction(32, m * (n - 1) * (n + 2))


def test_layers_are_given_what_their_outputs_are_made_of(runs):
    network = trained(runs.shared)
    convolution = tnn.Conv2d(1, 3, 3, stride=2, padding=1, bias=False).double()
    with torch.no_grad():
        convolution.weight.copy_(torch.randint(-3, 4, (3, 1, 3, 3)))
    images = torch.randint(-9, 9, (4, 1, 6, 6)).double()
    source = SimpleNamespace(model=convolution, images=lambda count: (images[:count], None))
    named = tnn.Sequential(convolution)
    source.model = named
    (layer,) = layers(source, 4)
    places = convolution(images).flatten(2).detach().numpy()
    for image, given in zip(places, layer.inputs, strict=True):
        assert (layer.weight @ given).tolist() in image.T.tolist()
    assert [each.name for each in layers(network, 2)][:2] == ["conv", "blocks.0.conv1"]


# ---------------------------------------------------------------------------------- linear model


def orthogonal_features():
    """Features of integers with products of 0, so that fits are as good as exact."""
    hadamard = np.array([[1.0]])
    for _ in range(5):
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    x = hadamard[:, 1:9] * np.arange(1, 9)
    y = np.random.default_rng(0).integers(-4, 5, (32, 2)).astype(float)
    return Features("made", x, y, x, y)


@pytest.mark.parametrize("place", range(5 * len(COMPRESSIONS)))
def test_a_fit_under_a_draw_loses_what_claim_12_says_of_that_draw(place):
    case = cases(orthogonal_features(), COMPRESSIONS)[place]
    drawn = type(case.mapping)(case.mapping.n, case.mapping.m, 7)
    own = case.features
    exact = sum(
        linear_residual(drawn, own.variances, own.dense[:, k], case.scales) for k in range(own.dense.shape[1])
    )
    # squared condition below 8^2 * 36 of designs: 2^12 units in the last place of the whole
    assert case.fitted()(7, 1, "numpy")[0] == pytest.approx(exact, rel=0, abs=2.0**-40 * own.won)


def test_components_are_uncorrelated_and_a_multiple_of_every_compression():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((100, 21)), random.standard_normal((100, 3))
    found = Features("made", x - x.mean(0), y - y.mean(0), x, y).components
    gram = found.train.T @ found.train
    assert found.train.shape == (100, 16)
    # rounding of 100 products of numbers of a few units
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 100 * 2**-45
    assert (np.diff(found.variances) <= 0).all()


def test_components_of_poor_features_are_refused():
    x = np.outer(np.arange(-5.0, 6.0), np.ones(9))
    with pytest.raises(ArgumentError, match="made span fewer than 8 directions"):
        _ = Features("made", x, x[:, :2], x, x[:, :2]).components


# ------------------------------------------------------------------------------------- occupancy


@pytest.mark.parametrize("mapping", ["fold", "hashed", "chunk", "block"])
@pytest.mark.parametrize("scaler", ["gamma", "v1", "none"])
def test_loads_counted_by_the_network_are_those_of_the_mapping(mapping, scaler):
    torch.manual_seed(0)
    model = tnn.Sequential(tnn.Linear(40, 50), tnn.Linear(50, 30))
    shared = nn.share(model, 3, mapping=mapping, scaler=scaler, init_std=0.5)
    (bank,) = banks_of(shared)
    before = bank.phi.detach().clone()
    own = Occupancy(bank)
    load, square = own.columns
    cells = bank.mapping.cell(np.arange(bank.n))
    assert load.tolist() == np.bincount(cells, minlength=bank.mapping.m).tolist()
    assert torch.equal(bank.phi, before)
    # float32 sums of as many terms as there are weights in a cell
    assert square == pytest.approx(own.predicted_columns, rel=(load.max() + 8) * 2**-23)


# ------------------------------------------------------------------------------------- stability


def test_the_steepest_direction_is_found():
    curvature = torch.linspace(1, 9, 50, dtype=torch.float64)
    value, along = steepest(lambda x: (curvature * x**2).sum() / 2, torch.ones(50, dtype=torch.float64))
    assert abs(value - 9) <= 9 * TOLERANCE
    assert abs(float(along[-1])) > 0.9


def test_a_loss_without_slope_has_curvature_0():
    value, along = steepest(lambda x: (0 * x).square().sum(), torch.zeros(50, dtype=torch.float64))
    assert value == 0
    assert float(along.norm()) == pytest.approx(1)


def small_network(bias):
    """A shared network as practice looks at it; of hashing at 2x about one cell in e^2 is unused."""
    torch.manual_seed(0)
    model = tnn.Sequential(tnn.Linear(40, 50), tnn.ReLU(), tnn.Linear(50, 30))
    with torch.no_grad():
        model[0].bias.fill_(bias)
    shared = nn.share(model, 2, mapping="hashed").eval()
    images = torch.randn(4, 40)
    return SimpleNamespace(model=shared, images=lambda count: (images[:count], None))


@pytest.mark.parametrize("scaler", ["gamma", "v1"])
def test_cells_that_no_weight_reads_say_nothing_about_c(scaler):
    what = Stepping(small_network(0.0), 4)
    assert (what.occupancy.columns[0] == 0).any()
    assert [what.moved(scaler, std) for std in STDS] == [0, 0, 0]


def test_nothing_is_claimed_of_the_steps_of_a_dead_network():
    assert stepping.claims(small_network(-1e6), 0.05, quick=True) == ()


def test_an_edge_lies_between_the_last_that_settles_and_the_next():
    trials = tuple(
        Trial(f, o) for f, o in ((0.5, "settles"), (0.9, "settles"), (1.1, "goes on"), (2, "breaks"))
    )
    assert Edge("gamma", 1.0, 4.0, trials).measured == sqrt(0.9 * 1.1)
    assert Edge("gamma", 1.0, 4.0, trials).predicted == 0.5
    assert Edge("gamma", 1.0, 4.0, trials[2:]).measured == 0
    assert Edge("gamma", 1.0, 4.0, trials[:2]).measured == 0.9


# ---------------------------------------------------------------------------------------- verdicts


def test_every_wrong_prediction_is_refuted(runs):
    found = practice([runs.shared], quick=True, mutants=True)
    assert [v.status for v in found.report.verdicts] == ["refuted"] * 6


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_refuted_on_a_trained_network(runs, part):
    found = practice([runs.shared], [part], quick=True)
    exact = [v for v in found.report.verdicts if "test loss" not in v.check]  # of a few noisy images
    assert len(exact) > 3
    assert {v.status for v in exact} == {"confirmed"}
    assert sum(map(len, found.plates.values())) == 1


def test_two_runs_have_claims_of_their_own(runs):
    found = practice([runs.shared, runs.dense], ["occupancy", "residuals"], quick=True, mutants=True)
    assert [claim.number for claim in found.claims] == [4, 3, 13]
    assert len({claim.name for claim in found.claims}) == 3


# ---------------------------------------------------------------------------------------- command


@pytest.fixture(scope="module")
def call():
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(commands.practice)

    def run(*arguments, status=0):
        found = CliRunner().invoke(app, [str(each) for each in arguments])
        if isinstance(found.exception, RpsError):
            raise found.exception
        assert found.exit_code == status, (found.output, found.exception)
        return found.stdout

    return run


def test_the_command_writes_what_it_prints(runs, call, tmp_path):
    text = call(
        runs.shared, "--part", "occupancy", "--json", tmp_path / "p.json", "--html", tmp_path / "p.html"
    )
    report = from_json((tmp_path / "p.json").read_text())
    assert {v.claim for v in report.verdicts} == {"occupancy"}
    assert f"{len(report.verdicts)} checks: {len(report.verdicts)} confirmed" in " ".join(text.split())
    page = (tmp_path / "p.html").read_text()
    assert page.count('<figure id="occupancy"') == 1
    assert '<div class="sheet"><main>' in page, "main has the whole width as the first child"
    assert "http" not in page.replace("http://www.w3.org/", "")
    assert json.loads((tmp_path / "p.json").read_text())["schema"] == "rpstheory.report/1"


def test_the_command_refutes_mutants(runs, call):
    assert "1 of 1 mutants refuted" in call(runs.shared, "--part", "occupancy", "--mutants")


def test_the_command_names_every_part(call):
    assert commands.PARTS.split(", ") == [*PARTS, TOGETHER]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["{dense}", "--part", "occupancy"], ArgumentError, "no run shares weights"),
        (["{shared}", "--part", "ocupancy"], ArgumentError, "part"),
        (["{folder}/none"], DataError, "pass the folder of a run"),
        (["{shared}", "--json", "{folder}/none/p.json"], DataError, "cannot be written"),
    ],
)
def test_the_command_says_in_a_sentence_what_is_wrong(runs, call, arguments, error, words):
    with pytest.raises(error, match=words):
        call(*(each.format(**vars(runs)) for each in arguments))
