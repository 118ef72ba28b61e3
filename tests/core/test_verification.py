"""From checks to draws to verdicts: what the design does about rare events, and every draw counted once."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from rpstheory import monte_carlo, verification
from rpstheory.claim import Check, Setting
from rpstheory.claims import select
from rpstheory.closed_form import norm_variance
from rpstheory.errors import ArgumentError, ResumeError
from rpstheory.mappings import Fold
from rpstheory.monte_carlo import Task
from rpstheory.samplers import Cases, Products, squared_error
from rpstheory.statistics import LEAST_DRAWS, Design, Moments
from rpstheory.verification import Runner, draws_needed, execute, plan

DESIGN = Design()
COSTLY = 2.0**19  # a chunk holds 32 draws


def heads(random):
    return bool(random.integers(2))


COIN = Check("a fair coin", Cases(heads, COSTLY), 0.5)


def setting(seed=0):
    return Setting("none", np.zeros((2, 4)), (), (1.0,), seed)


def claim(*checks):
    return replace(select("1")[0], checks=lambda _: list(checks))


# ------------------------------------------------------------------------------------ rare events


def seen(value, count=512):
    """A pilot in which nothing varied."""
    return Moments.of(np.full(count, value))


@pytest.mark.parametrize(("relation", "predicted"), [("equals", 5.0), ("equals", -5.0), ("at most", 5.0)])
def test_pilot_without_variance_that_misses_the_prediction_asks_for_an_event_in_as_many_draws_as_a_draw_costs(
    relation, predicted
):
    check = Check("rare", Cases(heads, 4096.0), predicted, relation)
    draws = draws_needed(check, seen(0.0), DESIGN)
    assert (1 - 1 / 4096) ** draws <= DESIGN.false_refute < (1 - 1 / 4096) ** (draws * 0.99)


@pytest.mark.parametrize("predicted", [0.0, 5.0, 1e-12])
def test_pilot_without_variance_that_meets_the_prediction_asks_for_no_more_than_the_least(predicted):
    check = Check("constant", Cases(heads, 4096.0), predicted, scale=1.0)
    assert draws_needed(check, seen(predicted * (1 + 1e-13)), DESIGN) == LEAST_DRAWS


def test_true_variance_of_two_spikes_that_seldom_meet_is_never_refuted():
    # They meet in 1 of 2048 draws: neither a pilot of 1024 draws nor 1000 more need to show it.
    mapping, x = Fold(4096, 2048, 0), np.zeros(4096)
    x[[0, -1]] = 16.0
    error = Products(mapping, x, x, partial(squared_error, about=512.0))
    spikes = claim(Check("two spikes", error, float(norm_variance(mapping, x))))
    runner, design = Runner("numba"), Design(discrepancy=0.5)
    planned = [plan([spikes], setting(seed), design, runner) for seed in range(8)]
    assert max(e.draws for (e,) in planned) > LEAST_DRAWS
    for seed, experiments in enumerate(planned):
        (verdict,) = execute(experiments, setting(seed), design, runner)
        assert verdict.status != "refuted"


# ------------------------------------------------------------------------------- every draw once


def measure(monkeypatch, name, replacement):
    monkeypatch.setattr(verification, name, replacement)
    design = Design(discrepancy=0.2)
    experiments = plan([claim(COIN)], setting(), design, Runner("numpy"))
    return execute(experiments, setting(), design, Runner("numpy"))


@pytest.mark.parametrize("repeated", [0, 1])
def test_chunk_that_is_counted_twice_or_left_out_is_noticed(monkeypatch, repeated):
    def total(results, tasks):
        own = [results[task.key] for task in [*tasks[1:], *tasks[:1] * 2 * repeated]]
        return monte_carlo.merge_all(result.moments for result in own), 0.0

    with pytest.raises(ResumeError, match=r"measuring: 1/a fair coin: \d+ draws were counted where \d+ were"):
        measure(monkeypatch, "total", total)


def test_chunks_that_begin_at_the_same_seed_are_refused(monkeypatch):
    def chunks(key, sampler, first, draws):
        return [replace(task, first=first) for task in monte_carlo.chunks(key, sampler, first, draws)]

    with pytest.raises(ArgumentError, match="tasks: two chunks of '1/a fair coin' share draws; the error of"):
        measure(monkeypatch, "chunks", chunks)


@pytest.mark.parametrize(
    ("firsts", "share"),
    [((0, 10), False), ((0, 9), True), ((2**64 - 5, 5), False), ((2**64 - 5, 4), True), ((4, 4), True)],
)
def test_chunks_of_one_experiment_share_draws_iff_their_seeds_overlap(firsts, share):
    tasks = [Task(f"one#{k}", COIN.sampler, first, 10) for k, first in enumerate(firsts)]
    if share:
        with pytest.raises(ArgumentError, match="share draws"):
            monte_carlo.run(tasks, backend="numpy")
    else:
        assert set(monte_carlo.run(tasks, backend="numpy")) == {"one#0", "one#1"}


def test_two_experiments_may_use_the_same_seeds():
    tasks = [Task(f"{name}#0", COIN.sampler, 0, 10) for name in ("one", "two")]
    one, two = monte_carlo.run(tasks, backend="numpy").values()
    assert one.moments == two.moments
