"""Studies: files that are refused or become runs, what a few seeds can say, and reports of what is there."""

import csv
import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from fractions import Fraction
from html.parser import HTMLParser
from itertools import product
from math import isclose, log
from pathlib import Path

import numpy as np
import pytest
import typer
from scipy.stats import ttest_rel
from typer.testing import CliRunner

from benchmarks import cifar10
from benchmarks.records import read
from nn.data import load
from nn.methods import SHARING
from nn.models.registry import MODELS
from nn.plotting import curve_of
from nn.recipes import recipe_of
from nn.runs import REWIND, Configuration, usual
from nn.sharing import share
from nn.study import commands, figures
from nn.study.analysis import AXES, analysed, comparisons, continuity, crossovers
from nn.study.grid import SHAPES, compressible, read_study
from nn.study.report import sections, write
from nn.study.results import index, read_lines, trial_of, trials_in
from nn.study.running import rounds_of
from nn.study.statistics import Point, crossings, holm, paired
from rpstheory.errors import ArgumentError, DataError, KindError, RpsError, Stopped

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "studies").glob("*.toml"))


@pytest.fixture
def study_of(tmp_path):
    def read(text):
        path = tmp_path / "some.toml"
        path.write_text(text)
        return read_study(path)

    return read


# ------------------------------------------------------------------------------------------- grid


def test_grid_is_the_product_of_its_axes_with_dense_once(study_of):
    study = study_of(
        'seed = [0, 1]\n[[grid]]\nmethod = ["dense", "random", "stable-rps"]\ncompression = [4, 16]'
    )
    found = [(c.configuration.method, c.configuration.compression, c.configuration.seed) for c in study.cells]
    wanted = [("dense", 1, seed) for seed in (0, 1)]
    wanted += list(product(("random", "stable-rps"), (4, 16), (0, 1)))
    assert Counter(found) == Counter(wanted)
    assert [seed for *_, seed in found] == sorted(seed for *_, seed in found)


def test_a_cell_is_the_run_of_nn_fit(study_of):
    (cell,) = study_of(
        '[[grid]]\nmethod = "roast"\ncompression = 4\nchange = {lr = 1, epochs = 2}\noptions.init_std = 0.1'
    ).cells
    recipe = recipe_of("smoke", lr=1.0, epochs=2)
    same = Configuration("digits", "resnet8", "roast", 4.0, recipe, 0, {"init_std": 0.1})
    assert cell.configuration.key == same.key


def test_a_cell_of_two_grids_is_run_once_and_stands_in_both(study_of):
    grid = '[[grid]]\nname = "{}"\nmethod = "random"\ncompression = [{}]\n'
    study = study_of(grid.format("a", "4, 8") + grid.format("b", "8, 9"))
    assert [cell.grids for cell in study.cells] == [("a",), ("a", "b"), ("b",)]
    assert len(study.only(["grid=b"]).cells) == 2


def test_budgets_of_as_many_cells_are_one_cell(study_of):
    weights, cells = compressible("resnet8", "digits", compression=10.0)
    study = study_of(
        '[[grid]]\nmethod = "random"\ncompression = [4, 10]\n'
        f'[[grid]]\nname = "b"\nmethod = ["random", "hashed"]\ncells = {cells}'
    )
    assert weights / cells != 10
    found = [(c.configuration.method, c.configuration.compression, c.grids) for c in study.cells]
    assert found == [
        ("random", 4.0, ("grid 1",)), ("random", 10.0, ("grid 1", "b")), ("hashed", 10.0, ("b",)),
    ]  # fmt: skip


def test_a_budget_of_all_weights_is_1x_beside_dense(study_of):
    weights, _ = compressible("resnet8", "digits")
    study = study_of(
        f'[[grid]]\nmethod = "random"\ncompression = {1 + 0.1 / weights}\n'
        '[[grid]]\nmethod = ["dense", "random"]\ncompression = 1'
    )
    assert [(c.configuration.method, c.configuration.compression) for c in study.cells] == [
        ("random", 1.0), ("dense", 1.0),
    ]  # fmt: skip


def test_what_stands_above_the_grids_holds_unless_a_grid_says_otherwise(study_of):
    study = study_of(
        "compression = 4\nchange.epochs = 5\nchange.lr = 0.2\n"
        '[[grid]]\nmethod = "random"\n[[grid]]\nmethod = "random"\ncells = 100\nchange.epochs = 1'
    )
    first, second = (cell.configuration for cell in study.cells)
    assert (first.compression, first.recipe.epochs, first.recipe.lr) == (4, 5, 0.2)
    assert (second.recipe.epochs, second.recipe.lr) == (1, 0.2)
    assert second.compression == compressible("resnet8", "digits")[0] / 100


def test_lists_of_drops_and_patterns_are_values_and_lists_of_them_axes(study_of):
    study = study_of(
        '[[grid]]\nmethod = "random"\ncompression = 4\nrecipe = "paper"\n'
        'change.drops = [[1, 2], [3]]\noptions.exclude = ["fc*", "conv"]'
    )
    assert [cell.configuration.recipe.drops for cell in study.cells] == [(1, 2), (3,)]
    assert {tuple(cell.configuration.options["exclude"]) for cell in study.cells} == {("fc*", "conv")}


GRID = '[[grid]]\nmethod = "stable-rps"\ncompression = 4\n'
TICKET = '[[grid]]\nmethod = "ltr"\ncompression = 4\n'
WRONG = (
    ('[[grid]]\nmethd = "random"', r"key='methd' came; did you mean 'method'\?"),
    ('[[grid]]\nmethod = "stable"\ncompression = 4', r"method='stable' came; did you mean 'stable-rps'\?"),
    (GRID + 'model = "resnet21"', r"grid 1: model='resnet21' came; did you mean 'resnet32'\?"),
    (GRID + 'recipe = "papr"', r"recipe='papr' came; did you mean 'paper'\?"),
    (GRID + "change.epoch = 3", r"field='epoch' came; did you mean 'epochs'\?"),
    (GRID + 'change.epochs = "3"', r"epochs='3' came; a whole number is needed"),
    (GRID + "change.epochs = 0", r"epochs=0, batch=64 came; 1 or more is needed"),
    (GRID + 'change.drops = ["a"]', r"drops=\('a',\) came; a tuple of whole numbers is needed"),
    (GRID + "change = 3", r"change=3 came; change.NAME = VALUE is needed"),
    (GRID + 'options.scaler = "gama"', r"gama"),
    (GRID + "options.init_sdt = 1", r"option of stable-rps='init_sdt' came; did you mean 'init_std'\?"),
    (GRID + "options.init_std = -1", r"init_std=-1"),
    (GRID + "seed = 1.5", r"seed=1.5 came; a whole number is needed"),
    (GRID + "seed = true", r"seed=True came; a whole number is needed"),
    (GRID + "seed = []", r"seed=\[\] came; one value or more is needed"),
    (GRID + "cells = 3", r"cells and compression came; one of compression and cells is needed"),
    ('[[grid]]\nmethod = "random"', r"neither compression nor cells came"),
    ('[[grid]]\nmethod = "random"\ncells = 1000000', r"cells=1000000 came; resnet8 has 77,072 weights"),
    ('[[grid]]\nmethod = "random"\ncompression = 0.5', r"compression=0.5 came; 1 or more is needed"),
    ("[[grid]]\ncompression = 4", r"no method came"),
    ('method = "random"', r"no \[\[grid\]\] came"),
    ("grid = [1]", r"grid 1 is 1; write \[\[grid\]\]"),
    ('[[grid]]\nmethod = "dense"\noptions.scaler = "v1"', r"dense has none"),
    (GRID + 'data = "nodata"', r"load: 'nodata' is neither a file nor a data set"),
    (GRID.replace("4", "1e9"), r"compression=1e\+09 leaves less than one cell"),
    (TICKET + "options.rate = 1.5", r"rate=1.5 came for ltr; a share between 0 and 1 is needed"),
    (TICKET + 'options.rate = "x"', r"rate='x' came"),
    (TICKET + 'options.rewind = "x"', r"rewind='x' came; the number of a step is needed"),
    (TICKET + "options.rewind = -3", r"rewind=-3 came; a step, 0 or more, is needed"),
    (GRID + 'name = "x"\nheld_out = 2', r"some.toml, x: train: held_out=2.0 came"),
)


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_a_wrong_file_is_refused_in_one_sentence(study_of, text, words):
    with pytest.raises(ArgumentError, match=words) as found:
        study_of(text)
    assert "some.toml" in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("text", ["[[grid", "\N{BYTE ORDER MARK}[[grid]]"])
def test_a_file_that_is_not_toml_is_named(study_of, text):
    with pytest.raises(DataError, match=r"some.toml cannot be read \(.*\); pass a TOML file"):
        study_of(text)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none.toml cannot be read \(No such file or directory\)"):
        read_study(tmp_path / "none.toml")


def test_only_takes_cells_that_match_everything(study_of):
    study = study_of('seed = [0, 1, 2]\n[[grid]]\nmethod = ["random", "snip"]\ncompression = [4, 16]')
    found = study.only(["seed=0,2", "method=snip", "compression=16"]).cells
    assert [(c.configuration.seed, c.configuration.method) for c in found] == [(0, "snip"), (2, "snip")]


ONLY = (
    ("seed", r"--only 'seed' came; NAME=VALUE is needed"),
    ("sed=0", r"--only='sed' came; did you mean 'seed'\?"),
    ("method=snap", r"--only method='snap' came; did you mean 'snip'\?"),
)


@pytest.mark.parametrize(("text", "words"), ONLY)
def test_only_names_what_is_not_there(study_of, text, words):
    with pytest.raises(ArgumentError, match=words):
        study_of('[[grid]]\nmethod = ["random", "snip"]\ncompression = 4').only([text])


def test_only_says_when_nothing_is_left(study_of):
    study = study_of('[[grid]]\nmethod = "random"\ncompression = 4\n[[grid]]\nmethod = "dense"')
    with pytest.raises(ArgumentError, match="leaves no cell"):
        study.only(["method=dense", "compression=4"])


@pytest.fixture(scope="module")
def presets():
    return {path.stem: read_study(path) for path in PRESETS}


@pytest.mark.parametrize("name", [path.stem for path in PRESETS])
def test_cells_of_presets_differ_by_what_they_train(presets, name):
    trained = []
    for how in (cell.configuration for cell in presets[name].cells):
        said = usual(how.method) | how.options
        numbers = {key: float(value) if type(value) is int else value for key, value in said.items()}
        trained.append(repr(asdict(how) | {"options": sorted(numbers.items())}))
    assert trained
    assert len(trained) == len(set(trained))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("stable-rps", {"init_std": 1, "law": "normal", "scaler": "gamma", "include": "*"}),
        ("roast", {"init_std": 0.04, "scaler": "none"}),
        ("synflow", {"schedule": "exponential", "mode": "eval"}),
        ("ltr", {"rate": 0.5, "rewind": 0}),
    ],
)
def test_options_that_say_what_is_so_anyway_make_no_other_run(method, options):
    plain, said = (
        Configuration("digits", "resnet8", method, 4, recipe_of("smoke"), 0, o) for o in ({}, options)
    )
    assert plain.key == said.key
    other = Configuration("digits", "resnet8", "roast", 4, recipe_of("smoke"), 0, {"init_std": 1})
    assert other.options == {"init_std": 1}


def test_a_truth_value_is_not_taken_for_the_default():
    with pytest.raises(KindError, match="rewind=False came"):
        Configuration("digits", "resnet8", "ltr", 4, recipe_of("smoke"), 0, {"rewind": False})
    said = Configuration("digits", "resnet8", "hashed", 4, recipe_of("smoke"), 0, {"init_std": True})
    assert said.options == {"init_std": True}


def test_presets_are_the_three_that_are_announced():
    assert [path.stem for path in PRESETS] == ["digits", "paper", "short"]


def test_the_short_preset_is_the_benchmark_at_the_rates_that_were_tuned(presets):
    records = read(ROOT / cifar10.RECORDS)
    found = {
        (how.method, *how.options.items(), how.compression, how.recipe.lr)
        for how in (cell.configuration for cell in presets["short"].cells)
    }
    assert found == {
        (variant.method, *variant.options, compression, cifar10.best_rate(records, name))
        for name, variant in cifar10.VARIANTS.items()
        if name == variant.method
        for compression in variant.compressions
    }


def test_shape_of_the_digits_is_theirs():
    digits = load("digits")
    assert SHAPES["digits"] == (len(digits.classes), digits.shape)


def test_defaults_of_swept_options_are_those_of_the_methods():
    default = share.__kwdefaults__["init_std"]
    assert AXES["init_std"] == {name: how.get("init_std", default) for name, how in SHARING.items()}
    assert AXES["rewind"] == {"ltr": REWIND}


@pytest.mark.parametrize(("method", "some"), [("ltr", "rate"), ("roast", "law"), ("snip", "passes")])
def test_known_options_are_arguments_and_never_what_a_cell_says(method, some):
    found = usual(method)
    assert some in found
    assert not {"model", "method", "compression", "seed", "batches"} & found.keys()


@pytest.mark.parametrize("model", MODELS)
def test_options_are_tried_on_every_model(study_of, model):
    (cell,) = study_of(GRID + f'model = "{model}"\noptions.scaler = "v1"').cells
    assert cell.configuration.options == {"scaler": "v1"}
    with pytest.raises(ArgumentError, match="scaler='v11' came; one of gamma, v1, none"):
        study_of(GRID + f'model = "{model}"\noptions.scaler = "v11"')


# ------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("seed", range(5))
def test_paired_is_the_paired_t_test(seed):
    x, y = np.random.default_rng(seed).normal(size=(2, 5))
    found, wanted = paired(dict(enumerate(x)), dict(enumerate(y))), ttest_rel(x, y)
    low, high = wanted.confidence_interval(0.95)
    assert isclose(found.p, wanted.pvalue, rel_tol=1e-9)
    assert isclose(found.difference - found.half, low, rel_tol=1e-9)
    assert isclose(found.difference + found.half, high, rel_tol=1e-9)


def test_paired_compares_shared_seeds_only():
    found = paired({0: 0.5, 1: 0.75, 7: 1.0}, {1: 0.25, 0: 0.25, 8: 0.0})
    assert (found.seeds, found.difference) == (2, 0.375)
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_one_seed_gives_neither_interval_nor_test():
    found = paired({3: 0.5}, {3: 0.25})
    assert (found.seeds, found.difference, found.half, found.p) == (1, 0.25, None, None)


def test_differences_without_scatter_count_no_more_than_their_signs():
    same = {seed: 0.5 for seed in range(5)}
    found = paired(same, dict.fromkeys(range(5), 0.25))
    assert paired(same, same).p == 1
    assert (found.p, found.half) == (2 / 2**5, None)


def test_holm_rejects_what_its_steps_reject():
    """Step-down by definition, over all small families of fractions and all levels."""
    chances = [Fraction(k, 24) for k in (0, 1, 2, 5, 9, 24)]
    for family in product(chances, repeat=3):
        adjusted = holm(family)
        for level in [Fraction(k, 48) for k in range(1, 48)]:
            rejected, ordered = set(), sorted(range(3), key=family.__getitem__)
            for rank, place in enumerate(ordered):
                if family[place] * (3 - rank) > level:
                    break
                rejected.add(place)
            assert {place for place in range(3) if adjusted[place] <= level} == rejected


def lines_that_cross(seed, count=4):
    """Two methods at costs 10 and 1000, with so many seeds; the first is better below."""
    draw = np.random.default_rng(seed)
    tilt, noise = draw.uniform(0.05, 0.6), draw.normal(scale=0.3, size=(4, count))
    means = (tilt, 0.0, 0.0, tilt)
    low1, low2, high1, high2 = (dict(enumerate(mean + row)) for mean, row in zip(means, noise, strict=True))
    return [Point(10, low1), Point(1000, high1)], [Point(10, low2), Point(1000, high2)]


def at(line, cost):
    share = log(cost / 10) / log(100)
    return {s: (1 - share) * line[0].accuracy[s] + share * line[1].accuracy[s] for s in line[0].accuracy}


@pytest.mark.parametrize("seed", range(40))
def test_a_crossing_is_bounded_where_the_seeds_tell_the_methods_apart(seed):
    """Its ends are where the t interval of the difference touches 0; there is none where it still holds 0."""
    first, second = lines_that_cross(seed)
    ends = [paired(at(first, cost), at(second, cost)) for cost in (10, 1000)]
    found = crossings(first, second)
    assert len(found) == (ends[0].difference * ends[1].difference < 0)
    for crossing in found:
        meeting = paired(at(first, crossing.cost), at(second, crossing.cost))
        assert isclose(meeting.difference, 0, abs_tol=1e-9)
        assert crossing.below == (ends[0].difference > 0)
        for edge, end in ((crossing.low, ends[0]), (crossing.high, ends[1])):
            assert (edge is not None) == (abs(end.difference) > end.half)
            if edge is not None:
                touching = paired(at(first, edge), at(second, edge))
                assert isclose(abs(touching.difference), touching.half, rel_tol=1e-6)
        assert (crossing.low or 0) <= crossing.cost <= (crossing.high or 1e9)


def test_both_kinds_of_crossing_are_among_those_that_are_tried():
    found = [crossing for seed in range(40) for crossing in crossings(*lines_that_cross(seed))]
    assert {crossing.certain for crossing in found} == {True, False}


def test_a_crossing_of_one_seed_has_a_place_and_no_interval():
    first = [Point(1, {0: 0.5}), Point(100, {0: 0.5})]
    (found,) = crossings(first, [Point(1, {0: 0.25}), Point(100, {0: 0.75})])
    assert isclose(found.cost, 10, rel_tol=1e-12)
    assert (found.low, found.high, found.certain, found.below) == (None, None, False, True)


def test_a_crossing_of_seeds_without_scatter_is_not_certain():
    first, second = (
        [Point(x, {0: y, 1: y}) for x, y in line]
        for line in ([(1, 0.5), (100, 0.5)], [(1, 0.25), (100, 0.75)])
    )
    (found,) = crossings(first, second)
    assert (found.low, found.high, found.certain, found.seeds) == (None, None, False, 2)


@pytest.mark.parametrize("turned", [False, True])
def test_an_end_of_a_crossing_is_unknown_where_differences_do_not_scatter(turned):
    flat = [Point(x, {0: 0.5, 1: 0.5, 2: 0.5}) for x in (1, 100)]
    ends = [{0: 0.25, 1: 0.25, 2: 0.25}, {0: 0.75, 1: 0.76, 2: 0.74}]
    (found,) = crossings(
        flat, [Point(x, y) for x, y in zip((1, 100), ends[:: -1 if turned else 1], strict=True)]
    )
    known = [edge is not None for edge in (found.low, found.high)]
    assert known == [turned, not turned]


def test_two_points_of_one_cost_are_no_obstacle():
    double = [Point(x, {0: y}) for x, y in ((1, 0.5), (1, 0.5), (100, 0.5))]
    (found,) = crossings(double, [Point(1, {0: 0.25}), Point(100, {0: 0.75})])
    assert isclose(found.cost, 10, rel_tol=1e-12)


def test_methods_that_meet_without_changing_places_do_not_cross():
    flat = [Point(x, {0: 0.5, 1: 0.5}) for x in (1, 10, 100)]
    bent = [Point(x, {0: y, 1: y}) for x, y in ((1, 0.75), (10, 0.5), (100, 0.75))]
    assert crossings(flat, bent) == []
    through = [Point(x, {0: y, 1: y}) for x, y in ((1, 0.75), (10, 0.5), (100, 0.25))]
    (found,) = crossings(flat, through)
    assert isclose(found.cost, 10, rel_tol=1e-12)


def test_methods_are_compared_only_between_costs_that_both_have():
    long = [Point(x, {0: y}) for x, y in ((1, 0.0), (4, 1.0), (1000, 1.0))]
    short = [Point(x, {0: 0.5}) for x in (5, 100)]
    assert crossings(long, short) == []


# --------------------------------------------------------------------------------------- analysis


def line(method, compression, seed, accuracy, **more):
    """As a study writes it; n = 1024 compressible weights and 76 others."""
    options, status = more.pop("options", {}), more.pop("status", "finished")
    recipe = recipe_of("smoke", epochs=2, **more.pop("change", {}))
    model, n = more.pop("model", "resnet8"), more.pop("n", 1024)
    how = Configuration("digits", model, method, float(compression), recipe, seed, options)
    weights = round(n / compression)
    params = more.pop("params", weights + 76)
    size = 4 * params + (weights if method == "random" else 8)
    learned = [(accuracy or 0) * (epoch + 1) / 2 for epoch in (0, 1)]
    return {
        "run": how.key, "version": "0", "configuration": asdict(how), "status": status, "remark": "",
        "test_loss": 1.0, "test_accuracy": accuracy, "seconds": 2.0,
        "budget": {"weights": weights, "params": params, "bytes": size, "dense_weights": n},
        "collapsed": [], "places": [], "epochs": 2,
        "curve": [{"epoch": e + 1, "train_loss": 1.0, "test_accuracy": learned[e]} for e in (0, 1)],
    } | more  # fmt: skip


NOISE = (-0.01, 0.0, 0.01, 0.02, -0.02)
ACCURACY = {  # stable-rps falls slowly, random fast: they change places between 4x and 16x
    ("stable-rps", 4): 0.80, ("stable-rps", 16): 0.70, ("random", 4): 0.86, ("random", 16): 0.55,
    ("dense", 1): 0.95, ("stable-rps", 1): 0.94,
}  # fmt: skip


def pareto(seeds=5):
    return [
        line(method, compression, seed, mean + NOISE[seed] * (1 if method == "random" else 0.5))
        for (method, compression), mean in ACCURACY.items()
        for seed in range(seeds)
    ]


def studied(lines):
    return analysed([trial_of(json.loads(json.dumps(each)), Path("x.jsonl")) for each in lines])


def test_runs_that_differ_by_their_seed_make_one_spot():
    (setting,) = studied(pareto()).settings
    assert setting.title == "digits · resnet8 · recipe smoke, 2 epochs"
    assert {name: [s.compression for s in spots] for name, spots in setting.lines.items()} == {
        "dense": [1], "stable-rps": [1, 4, 16], "random": [4, 16],
    }  # fmt: skip
    spot = setting.spot("random", 4)
    assert isclose(spot.mean, 0.86, abs_tol=1e-12)
    assert (spot.cost("params"), spot.cost("bytes"), spot.whole) == (332, 4 * 332 + 256, True)


def test_a_crossover_is_found_between_the_budgets_where_it_lies():
    (setting,) = studied(pareto()).settings
    found = crossovers(setting)
    assert [(each.cost, each.below, each.above) for each in found] == [
        ("params", "stable-rps", "random"), ("bytes", "stable-rps", "random"),
    ]  # fmt: skip
    params = found[0].crossing
    share = 0.15 / (0.15 + 0.06)  # the difference goes from 0.15 at 16x to -0.06 at 4x
    assert isclose(log(params.cost), (1 - share) * log(140) + share * log(332), rel_tol=1e-9)
    assert params.certain
    assert 140 < params.low < params.cost < params.high < 332


def test_comparisons_are_paired_and_corrected_together():
    (setting,) = studied(pareto()).settings
    found = comparisons(setting)
    assert [(each.label, each.compression) for each in found] == [("dense", 1), ("random", 4), ("random", 16)]
    raw = [each.paired.p for each in found]
    assert [each.adjusted for each in found] == holm(raw)
    differences = np.array(NOISE) * 0.5 + 0.06
    assert isclose(raw[1], ttest_rel(differences, np.zeros(5)).pvalue, rel_tol=1e-6)


def test_one_seed_is_compared_without_test():
    (setting,) = studied(pareto(seeds=1)).settings
    assert {(each.paired.p, each.adjusted) for each in comparisons(setting)} == {(None, None)}
    assert not crossovers(setting)[0].crossing.certain


def test_a_method_that_is_nowhere_cannot_be_tested_against():
    with pytest.raises(ArgumentError, match=r"--against='snap' came; one of dense, stable-rps, random is"):
        sections(studied(pareto()), "snap")


def test_a_setting_without_the_method_to_test_against_has_no_tests():
    other = [line("random", 4, seed, 0.5, model="resnet20") for seed in (0, 1)]
    first, second, *_ = sections(studied(pareto() + other), "dense")
    assert [[t.name.partition("-")[0] for t in each.tables] for each in (first, second)] == [
        ["accuracy", "crossovers", "tests", "budgets"], ["accuracy", "budgets"],
    ]  # fmt: skip


def at_rates(*rates):
    """The runs of pareto at several rates; a higher one is better by a little."""
    found = []
    for rate in rates:
        for (method, compression), mean in ACCURACY.items():
            more = {"change": {"lr": rate}}
            found += [line(method, compression, s, mean + rate / 10 + NOISE[s], **more) for s in range(3)]
    return found


def test_lines_of_several_rates_are_of_their_methods():
    (setting,) = studied(at_rates(0.05, 0.1)).settings
    assert setting.dense == ["dense lr 0.05", "dense lr 0.1"]
    assert setting.reference == "stable-rps lr 0.05"
    assert {each.against for each in comparisons(setting)} == {"stable-rps lr 0.05"}
    assert {each.compression for each in comparisons(setting)} == {1, 4, 16}
    crossing = crossovers(setting)
    assert crossing
    assert not {name for each in crossing for name in (each.first, each.second)} & set(setting.dense)
    looks = figures.looks(setting)
    assert {looks[label]["color"] for label in setting.dense} == {figures.INK}
    assert len({looks[label]["marker"] for label in setting.dense}) == 2


def test_a_method_of_several_rates_is_tested_against_line_by_line():
    found = studied(at_rates(0.05, 0.1))
    tables = [t for t in sections(found, "stable-rps")[0].tables if t.name.startswith("tests")]
    assert [t.caption.partition(" at equal")[0] for t in tables] == [
        "Against stable-rps lr 0.05", "Against stable-rps lr 0.1",
    ]  # fmt: skip
    assert len({t.name for t in tables}) == 2
    (table,) = [t for t in sections(found)[0].tables if t.name.startswith("tests")]
    assert table.rows == tables[0].rows


def test_continuity_is_with_the_dense_model_of_the_same_rate_or_else_the_best():
    lines = at_rates(0.05, 0.1, 0.2)
    kept = [
        x
        for x in lines
        if (x["configuration"]["method"], x["configuration"]["recipe"]["lr"]) != ("dense", 0.05)
    ]
    (setting,) = studied(kept).settings
    assert {each.spot.label: each.dense.label for each in continuity(setting)} == {
        "stable-rps lr 0.05": "dense lr 0.2",
        "stable-rps lr 0.1": "dense lr 0.1",
        "stable-rps lr 0.2": "dense lr 0.2",
    }


def test_two_runs_of_one_seed_at_one_value_are_no_missing_seed():
    """C = 1 said aloud, in records that keep what is so anyway, and C = 1 left to the method."""
    said = [line("stable-rps", 16, seed, 0.7) | {"run": f"said {seed}"} for seed in (0, 1)]
    for each in said:
        each["configuration"]["options"] = {"init_std": 1.0}
    lines = sweep_lines() + said
    spot = studied(lines).sweeps[0].spots[1.0]
    assert (len(spot.trials), len(spot.accuracy), spot.whole) == (4, 2, True)


def test_a_diverged_seed_is_counted_and_never_averaged_away():
    lines = pareto()
    broken = next(each for each in lines if each["configuration"]["method"] == "random")
    broken |= {"status": "diverged", "test_accuracy": 0.1}
    (setting,) = studied(lines).settings
    spot = setting.spot("random", 4)
    assert (spot.whole, spot.troubles, len(spot.accuracy)) == (False, "1 diverged", 4)
    test = next(each for each in comparisons(setting) if (each.label, each.compression) == ("random", 4))
    assert (test.paired, test.remark) == (None, "random: 1 diverged of 5")
    assert crossovers(setting) == []


def test_budgets_that_differ_are_not_tested():
    lines = pareto() + [line("smaller", 16, seed, 0.5, params=160) for seed in range(5)]
    (setting,) = studied(lines).settings
    test = next(each for each in comparisons(setting) if each.label == "smaller")
    assert (test.paired, test.remark) == (None, "budgets differ: 160 and 140 parameters")


def test_labels_say_what_differs_within_the_method():
    both = [{"scaler": scaler, "law": "uniform"} for scaler in ("gamma", "v1")]
    lines = [line("stable-rps", 4, 0, 0.5, options=options) for options in both]
    lines += [line("random", 4, 0, 0.5, change={"lr": lr}) for lr in (0.5, 0.25)]
    (setting,) = studied(lines).settings
    assert list(setting.lines) == [
        "stable-rps",
        "stable-rps scaler=v1",
        "random lr 0.5",
        "random lr 0.25",
    ]


def test_sweeps_of_several_rates_are_told_apart():
    lines = [
        line("stable-rps", 16, 0, 0.5, options={"init_std": std}, change={"lr": lr})
        for std in (0.1, 0.2) for lr in (0.5, 0.25)
    ]  # fmt: skip
    assert [each.label for each in studied(lines).sweeps] == ["stable-rps lr 0.5", "stable-rps lr 0.25"]


def test_a_cell_that_failed_before_it_saw_its_data_stays_beside_the_others():
    lines = [each | {"data": "d"} for each in pareto(seeds=1)]
    lines.append(line("random", 16, 1, None, status="failed"))
    (setting,) = studied(lines).settings
    assert setting.spot("random", 16).troubles == "1 failed"


def test_equal_paths_with_other_images_are_settings_of_their_own():
    lines = [line("random", 4, seed, 0.5, data=digest * 8) for seed, digest in enumerate("ab")]
    assert [setting.title[-15:] for setting in studied(lines).settings] == [
        ", data aaaaaaaa",
        ", data bbbbbbbb",
    ]


def sweep_lines():
    values = {("none", 0.01): None, ("none", 0.1): 0.8, ("none", 1): 0.3}
    lines = [line("stable-rps", 16, seed, 0.7) for seed in (0, 1)]  # scaler gamma, C = 1
    lines += [line("stable-rps", 16, seed, 0.7, options={"init_std": 0.1}) for seed in (0, 1)]
    for (scaler, value), accuracy in values.items():
        for seed in (0, 1):
            more = {} if accuracy else {"status": "diverged", "remark": "the loss is nan"}
            lines.append(
                line(
                    "stable-rps",
                    16,
                    seed,
                    accuracy or 0.1,
                    options={"scaler": scaler, "init_std": value},
                    **more,
                )
            )
    return lines


def test_an_option_with_several_values_is_a_sweep_with_its_default_and_no_line():
    found = studied(sweep_lines())
    assert {each.label: list(each.spots) for each in found.sweeps} == {
        "stable-rps": [0.1, 1.0], "stable-rps scaler=none": [0.01, 0.1, 1.0],
    }  # fmt: skip
    (setting,) = found.settings
    assert list(setting.lines) == ["stable-rps", "stable-rps scaler=none"]
    assert [(len(spot.trials), spot.mean) for (spot,) in setting.lines.values()] == [(2, 0.7), (2, 0.3)]


def planned_lines(study):
    """A finished line for every cell of CIFAR-10 and ResNet-20."""
    hows = [cell.configuration for cell in study.cells]
    hows = [how for how in hows if (how.data, how.model) == ("cifar10", "resnet20")]
    made = [line(how.method, how.compression, how.seed, 0.5, model=how.model) for how in hows]
    return [
        each | {"run": how.key, "configuration": asdict(how)} for each, how in zip(made, hows, strict=True)
    ]


def test_lottery_tickets_of_the_paper_stay_in_its_figure_at_every_budget(presets):
    found = studied(planned_lines(presets["paper"]))
    (setting,) = found.settings
    compressions = [3.162, 10, 31.62, 100, 316.2, 1000]
    assert [spot.compression for spot in setting.lines["ltr"]] == compressions
    assert {dict(t.options)["rewind"] for spot in setting.lines["ltr"] for t in spot.trials} == {1000}
    assert {
        len(spot.trials) for label in ("ltr", "stable-rps", "roast") for spot in setting.lines[label]
    } == {3}
    rewound = [each for each in found.sweeps if each.axis == "rewind"]
    assert [list(each.spots) for each in rewound] == [[0, 500, 1000, 2000, 8000]] * 2


@pytest.mark.parametrize(
    ("steps", "scale"), [((0, 500, 1000, 8000), "symlog"), ((0, 22, 89), "linear"), ((1, 2), "log")]
)
def test_steps_beside_zero_have_room(steps, scale):
    lines = [line("ltr", 16, 0, 0.5, options={"rewind": step}) for step in steps]
    assert figures.sweep(studied(lines).sweeps, "rewind step").axes[0].get_xscale() == scale


def test_of_values_that_a_line_takes_equally_often_the_default_stays():
    lines = [line("ltr", 16, 0, 0.5, options={"rewind": step}) for step in (5, 0, 9)]
    (setting,) = studied(lines).settings
    assert [trial.options for trial in setting.lines["ltr"][0].trials] == [()]
    (setting,) = studied(lines + [line("ltr", 4, 0, 0.5, options={"rewind": 9})]).settings
    assert [t.option("rewind") for spot in setting.lines["ltr"] for t in spot.trials] == [9, 9]


def test_the_best_value_of_a_sweep_has_every_seed():
    _, none = studied(sweep_lines()).sweeps
    assert none.best == 0.1
    assert none.spots[0.01].troubles == "2 diverged"


def test_convergence_is_told_at_the_best_values(tmp_path):
    (section,) = [each for each in sections(studied(sweep_lines())) if each.title.startswith("init_std")]
    rows = section.tables[1].rows
    assert rows[0] == ("stable-rps, init_std = 0.1", "35.00", "70.00", "–")
    assert rows[1] == ("stable-rps scaler=none, init_std = 0.1", "40.00", "80.00", "+7.50")


def test_lines_are_compared_over_the_epochs_that_all_have():
    """Tickets at 4x go back to the third epoch of four in their last round; those at 16x begin anew."""
    curves = {4: (3, 4), 16: (1, 2, 3, 4)}
    lines = [
        line("ltr", compression, 0, best - step / 100, options={"rewind": step})
        | {"curve": [{"epoch": e, "train_loss": 1.0, "test_accuracy": e / 10 + best} for e in epochs]}
        for (compression, epochs), best in zip(curves.items(), (0.5, 0.4), strict=True)
        for step in (5, 9)
    ]
    found = studied(lines)
    (section,) = [each for each in sections(found) if each.title.startswith("rewind")]
    table = section.tables[1]
    assert table.head[1:-1] == ("epoch 3", "epoch 4")
    assert [row[1:] for row in table.rows] == [("80.00", "90.00", "–"), ("70.00", "80.00", "-10.00")]
    drawn = figures.sweep(found.sweeps, "rewind step").axes[1].get_lines()
    assert [list(each.get_xdata()) for each in drawn] == [[3, 4], [1, 2, 3, 4]]
    assert [list(curve_of(each.spots[5.0])) for each in found.sweeps] == [[3, 4], [1, 2, 3, 4]]


def test_settings_that_differ_in_the_recipe_or_in_what_is_tested_on_have_titles_that_say_so():
    """And neither sweeps nor scalings of one are drawn beside those of the other."""
    lines = []
    for change in ({}, {"batch": 16, "ema": 0.5}):
        lines += [
            line("random", 4, 0, 0.5, change=change),
            line("random", 16, 0, 0.6, n=4096, model="resnet20", change=change),
        ]
        lines += [line("ltr", 4, 0, 0.5, options={"rewind": step}, change=change) for step in (0, 5)]
    held = line("random", 2, 0, 0.5) | {"run": "held"}
    held["configuration"]["held_out"] = 0.25
    found = studied([*lines, held])
    about = [" · recipe smoke, 2 epochs" + more for more in (", batch 64, ema 0.0", ", batch 16, ema 0.5")]
    assert {each.title for each in found.settings} == {
        *(f"digits · {model}{more}" for model in ("resnet8", "resnet20") for more in about),
        "digits (held out 0.25) · resnet8 · recipe smoke, 2 epochs",
    }  # fmt: skip
    assert {each.title for each in found.sweeps} == {f"digits · resnet8{more}" for more in about}
    assert {each.title for each in found.scalings} == {f"digits{more}" for more in about}


def test_models_with_equal_cells_make_a_scaling():
    lines = [line("random", 4, seed, 0.5) for seed in (0, 1)]
    lines += [line("random", 16, seed, 0.6, n=4096, model="resnet20") for seed in (0, 1)]
    lines += [line("stable-rps", 4, 0, 0.5), line("random", 2, 0, 0.5)]
    (found,) = studied(lines).scalings
    assert (found.label, list(found.spots)) == ("random m = 256", [1024, 4096])


def test_continuity_compares_1x_with_dense():
    (setting,) = studied(pareto()).settings
    (found,) = continuity(setting)
    assert (found.spot.label, round(found.test.paired.difference, 12)) == ("stable-rps", -0.01)


def test_continuity_corrects_for_its_tests_and_has_none_of_a_line_with_a_diverged_seed():
    lines = pareto() + [line("random", 1, seed, 0.9 + NOISE[seed] / 4) for seed in range(5)]
    lines += [line("roast", 1, seed, 0.9) for seed in range(4)]
    lines.append(line("roast", 1, 4, 0.1, status="diverged"))
    found = {each.spot.label: each.test for each in continuity(studied(lines).settings[0])}
    assert (found["roast"].paired, found["roast"].remark) == (None, "roast: 1 diverged of 5")
    others = [found["stable-rps"], found["random"]]
    assert [test.adjusted for test in others] == holm([test.paired.p for test in others])
    (section,) = [each for each in sections(studied(lines)) if each.title.startswith("Without")]
    assert section.tables[0].head[3:] == ("seeds", "difference", "p", "p, Holm", "at 5 %")
    assert [row[3] for row in section.tables[0].rows] == ["5", "5", "–"]


def test_nothing_is_no_study():
    with pytest.raises(DataError, match="no results came"):
        studied([])


# ------------------------------------------------------------------------------------------ lines


def written(path, lines):
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


def test_of_several_lines_of_a_run_the_last_counts_and_a_cut_one_does_not(tmp_path):
    first, second = line("random", 4, 0, 0.25), line("random", 4, 1, 0.5)
    path = written(tmp_path / "x.jsonl", [first, second, first | {"test_accuracy": 0.75}])
    with path.open("a") as file:
        file.write('{"run": "cut')
    assert [each["test_accuracy"] for each in read_lines(path)] == [0.75, 0.5]


@pytest.mark.parametrize("text", ["{}\n", "[]\n", "nonsense\n", '{"run": 1, "status": "finished"}\n'])
def test_lines_that_are_no_results_are_named(tmp_path, text):
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=r"x.jsonl"):
        trials_in(path)


def test_the_index_is_made_again_from_the_lines(tmp_path):
    path = written(tmp_path / "x.jsonl", pareto())
    first = rows_in(index(path))
    path.with_suffix(".sqlite").write_bytes(b"broken")
    assert rows_in(index(path)) == first
    assert len(first) == len(pareto())
    query = "SELECT avg(accuracy) FROM cells WHERE method = 'random' AND compression = 4"
    with closing(sqlite3.connect(path.with_suffix(".sqlite"))) as base:
        assert isclose(base.execute(query).fetchone()[0], 0.86, abs_tol=1e-12)


def rows_in(path):
    with closing(sqlite3.connect(path)) as base:
        return base.execute("SELECT * FROM cells ORDER BY run").fetchall()


def test_records_of_the_benchmark_are_results_of_one_seed_tuning_left_out():
    trials = trials_in(ROOT / cifar10.RECORDS)
    assert {trial.held_out for trial in trials} == {0.0}
    (setting,) = analysed(trials).settings
    assert setting.title == "cifar10 · resnet20 · recipe short, 4 epochs"
    assert {spot.troubles for spots in setting.lines.values() for spot in spots} == {""}
    records = [each for each in read(ROOT / cifar10.RECORDS) if each["stage"] == "run"]
    assert len(trials) == len(records)
    assert {each["rate"] for each in records} == {setting.rate(label) for label in setting.lines}


# ----------------------------------------------------------------------------------------- report


class Page(HTMLParser):
    """Collects tags that are left open, ids, and addresses."""

    VOID = ("meta", "br", "path", "use", "rect", "circle", "line", "polygon")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.addresses = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[name] for name in ("href", "src", "xlink:href") if name in found]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    lines = pareto() + [each for each in sweep_lines() if each["configuration"]["options"]]
    lines += [
        line("ltr", 16, seed, 0.6 + seed / 50, options={"rewind": step}) for seed in (0, 1) for step in (0, 5)
    ]
    lines += [line("random", 64, seed, 0.6, n=4096, model="resnet20") for seed in (0, 1)]
    lines.append(line("magnitude", 16, 0, 0.1, collapsed=["conv"]))
    lines.append(line("snip", 16, 0, None, status="failed", remark="<b>no & reason_1</b>", budget={}))
    write(studied(lines), folder, "A <title>")
    return folder


def test_the_page_is_whole_and_refers_to_nothing_outside(reported):
    page = Page()
    page.feed((reported / "index.html").read_text())
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {address[0] for address in page.addresses} == {"#"}
    assert {address[1:] for address in page.addresses} <= set(page.ids)


def test_the_page_shows_every_part_and_what_went_wrong(reported):
    text = (reported / "index.html").read_text()
    for words in ("Without compression", "init_std", "rewind", "Larger models", "What went wrong", "diverged",
                  "the loss is nan", "collapsed", "&lt;b&gt;no &amp; reason_1&lt;/b&gt;"):  # fmt: skip
        assert words in text
    assert "<b>" not in text


def test_every_figure_is_there_as_png_and_svg(reported):
    for kind in ("pareto", "continuity", "init-std", "rewind", "scaling"):
        for suffix in ("png", "svg"):
            assert any(path.stat().st_size > 4000 for path in reported.glob(f"{kind}-*.{suffix}")), kind


def test_tables_say_the_same_in_every_form(reported):
    (path,) = reported.glob("accuracy-*resnet8*.csv")
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == ["method", "lr", "1x", "4x", "16x"]
    assert rows[2][0] == "stable-rps"
    markdown, latex = (reported / "tables.md").read_text(), (reported / "tables.tex").read_text()
    for row in rows:
        assert "| " + " | ".join(row) + " |" in markdown
        assert " & ".join(row).replace("±", r"$\pm$").replace("–", "--") + r" \\" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == markdown.count("\n| :--")
    assert r"$<$b$>$no \& reason\_1$<$/b$>$" in latex


def test_runs_of_the_report_are_all_there(reported):
    rows = list(csv.DictReader((reported / "runs.csv").read_text().splitlines()))
    assert Counter(row["status"] for row in rows) == Counter(finished=43, diverged=2, failed=1)


def test_one_setting_with_one_budget_has_tables_and_no_figure():
    (section,) = sections(studied([line("random", 4, 0, 0.5)]))
    assert section.plates == ()
    assert [table.name.partition("-")[0] for table in section.tables] == ["accuracy", "budgets"]


# --------------------------------------------------------------------------------------- commands


@pytest.fixture
def call(monkeypatch, tmp_path):
    mounted = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    mounted.add_typer(commands.study, name="study")
    mounted.command("other")(lambda: None)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, status=0):
        found = CliRunner().invoke(mounted, ["study", *map(str, arguments)])
        if isinstance(found.exception, RpsError):
            raise found.exception
        assert found.exit_code == status, (found.output, found.exception)
        return found.stdout

    return run


def test_report_command_takes_files_and_folders(call, tmp_path):
    written(tmp_path / "a.jsonl", pareto(seeds=2))
    printed = call("report", "a.jsonl", "--out", "from_file")
    assert printed.startswith("wrote from_file/index.html, with ")
    call("report", tmp_path, "--out", "from_folder", "--against", "random", "--title", "T")
    for name in ("tables.tex", "runs.csv"):
        assert (tmp_path / "from_file" / name).exists()
    assert "<h1>T</h1>" in (tmp_path / "from_folder" / "index.html").read_text()
    assert "Against random at equal budget" in (tmp_path / "from_folder" / "tables.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("report", "none"), "none does not exist"),
        (("report", "."), "no results came"),
        (("none.toml",), "none.toml cannot be read"),
        (("none.toml", "--jobs", "-1"), "--jobs -1 --threads 1 came"),
        (("index", "none.jsonl"), "none.jsonl cannot be read"),
        (("index", "."), "an index is made of a file of results, NAME.jsonl"),
    ],
)
def test_commands_name_what_is_wrong(call, arguments, words):
    with pytest.raises(RpsError, match=words):
        call(*arguments)


def test_dry_run_fits_the_terminal_and_says_what_is_left_out():
    row = dict.fromkeys(("data", "model", "method", "options", "recipe"), "words") | {"about": True}
    row |= {
        "n/m": 4.0,
        "lr": 0.1,
        "epochs": 4,
        "seeds": 5,
        "parameters": 10**6,
        "bytes": 10**7,
        "seconds": 9.0,
    }
    whole = commands._aligned([row])
    assert whole[0].split() == list(commands.HEAD)
    for room in range(30, len(whole[0]) + 1):
        head, line, *rest = commands._aligned([row], room)
        out = [name for name in commands.LEAST if name not in head.split()]
        assert max(len(head), len(line)) <= room or out == list(commands.LEAST)
        assert rest == ([f"not shown: {', '.join(out)}; --json has all"] if out else [])


def test_dry_run_prints_cells_budgets_and_where_the_time_comes_from(call, tmp_path):
    (tmp_path / "x.toml").write_text(
        'seed = [0, 1]\n[[grid]]\nmethod = ["random", "ltr"]\ncompression = 16\n'
        '[[grid]]\ndata = "cifar10"\nmethod = "dense"\n[[grid]]\nmethod = "hashed"\ncompression = 1000\n'
        'options.exclude = "blocks*"'
    )
    printed = call("x.toml", "--dry-run", "--root", "nowhere", status=1)
    rows = [line.split() for line in printed.splitlines()]
    assert rows[1][:3] + rows[1][5:9] == ["digits", "resnet8", "random", "0.1", "3", "2", "5,499"]
    assert "about" not in rows[1]
    assert rows[2][:3] + rows[2][6:10] == ["digits", "resnet8", "ltr", "15", "2", "5,499", "about"]
    assert rows[3][:3] + rows[3][-1:] == ["cifar10", "resnet8", "dense", "?"]
    assert rows[4][:3] + rows[4][-3:] == ["digits", "resnet8", "hashed", "?", "?", "?"]
    assert "8 cells, 8 of them not over, 4 of these with a known time" in printed
    assert "from measured steps" in printed
    assert "? load: CIFAR-10 is not in nowhere" in printed
    assert "? share: compression=1000 leaves less than one cell to the 784" in printed
    assert not (tmp_path / "runs").exists()


def test_a_report_that_is_interrupted_says_so(call, tmp_path, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("nn.study.results.trials_in", interrupted)
    with pytest.raises(Stopped, match="study: stopped; the same command writes the report anew"):
        call("report", written(tmp_path / "x.jsonl", pareto(seeds=1)))


def test_rounds_of_tickets_follow_from_their_rate():
    recipe = recipe_of("smoke")
    tickets = {(4, 0.5): 3, (4, 0.75): 2, (16, 0.875): 3, (10, 0.2): 12, (1, 0.5): 1}
    for (compression, rate), rounds in tickets.items():
        how = Configuration("digits", "resnet8", "ltr", compression, recipe, options={"rate": rate})
        assert rounds_of(how) == rounds
    assert rounds_of(Configuration("digits", "resnet8", "random", 4, recipe)) == 1
