"""Whether verdicts mean what they say: how often true formulas are refuted, and false ones confirmed.

    python -m benchmarks.calibration [--quick] [--seeds 1000] [--jobs 2] [--json docs/calibration.json]

Every kind of check goes the way of `rps verify` (pilot, design, draws, judge) once per seed, at loosened
error rates, with a formula that is true and with formulas off by exactly the discrepancy of the design. Each
share that should not exceed its rate is put to an exact binomial test; the level is that of all tests
together. Exit status 1 if one fails. For statistics of two values the chances are computed, not measured, at
the rates that `rps verify` uses as well.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import binomtest

from proofs_checks.verdict_chances import most, worst_false_confirm, worst_false_refute
from rpstheory import Fold, KeepExact
from rpstheory.claim import Check, Claim, Setting
from rpstheory.closed_form import expected_variance, inner_product_variance
from rpstheory.data import load_setting
from rpstheory.distributions import Independent, Pairs
from rpstheory.report.files import check_writable, write_text
from rpstheory.report.record import now, this_environment
from rpstheory.samplers import DataProducts, Products, differs, exceeds, squared_error
from rpstheory.statistics import FALSE_CONFIRM, LEAST_DRAWS, Design
from rpstheory.verification import Runner, execute, plan

SCHEMA = "benchmarks.calibration/1"
DESIGN = Design(discrepancy=0.2, false_refute=0.05, false_confirm=0.05)
LEVEL = 1e-3  # chance that a calibrated judge fails any of the tests
CONFIDENCE = 0.99
SEEDS, QUICK_SEEDS, LEAST_SEEDS = 1000, 40, 300
# Rates of one check: of this design, and of `rps verify` with its 361 checks.
EXACT_RATES = ((DESIGN.false_refute, DESIGN.false_confirm), (1e-6 / 361, FALSE_CONFIRM))


@dataclass(frozen=True)
class Kind:
    """A statistic of known mean, and the checks of it: one true, the others off by the discrepancy."""

    name: str
    true: Check
    off: dict[str, Check]


def equals(name, sampler, truth, scale=None):
    """A two-sided check, and formulas that the truth lies above and below."""
    true = Check(f"{name}: true", sampler, truth, scale=scale)
    step = DESIGN.discrepancy
    above, below = (truth / (1 + s) if scale is None else truth - s * scale for s in (step, -step))
    off = {
        "truth above": replace(true, name=f"{name}: truth above", predicted=above),
        "truth below": replace(true, name=f"{name}: truth below", predicted=below),
    }
    return Kind(name, true, off)


def at_most(name, sampler, truth, indicator=False):
    """A bound that is attained, and one that is exceeded."""
    true = Check(f"{name}: attained", sampler, truth, "at most", indicator=indicator)
    exceeded = replace(true, name=f"{name}: exceeded", predicted=truth / (1 + DESIGN.discrepancy))
    return Kind(name, true, {"truth above": exceeded})


def spikes(m):
    """Two weights in different laps: T = <Sx, Sx> - 2 is 2 or -2 with chance 1/(2m) each, else 0."""
    x = np.zeros(2 * m)
    x[0] = x[-1] = 1.0
    return Fold(2 * m, m, 0), x


def squared(mapping, x, y):
    """T^2 on fixed vectors."""
    return Products(mapping, x, y, partial(squared_error, about=float(x @ y)))


def event(m):
    """Whether T >= 2 for two spikes: chance 1/(2m)."""
    mapping, x = spikes(m)
    return Products(mapping, x, x, partial(exceeds, about=2.0, by=2.0))


def violation():
    """Whether T is not 0 for two spikes: chance 1/m, the discrepancy."""
    mapping, x = spikes(round(1 / DESIGN.discrepancy))
    return Products(mapping, x, x, partial(differs, about=2.0, by=1.0))


def kinds():
    """Every kind of check and of statistic."""
    pair = load_setting("digits").pairs[0]
    fold, kept = Fold(64, 16, 0), KeepExact(64, 16, 0)
    shared, pruned = (squared(mapping, pair.x, pair.y) for mapping in (fold, kept))
    v_fold, v_kept = (float(inner_product_variance(mapping, pair.x, pair.y)) for mapping in (fold, kept))
    norms, entries = Pairs(24, 1.0, "laplace"), Independent((1.0,) * 12, family="laplace")
    six, four, three = Fold(24, 6, 0), Fold(12, 4, 0), KeepExact(12, 4, 0)
    rare, few = ((mapping, x, x) for mapping, x in (spikes(64), spikes(167)))
    ones, whole = np.ones(8), Fold(8, 8, 0)
    never = Products(whole, ones, ones, partial(differs, about=8.0, by=1.0))
    holds = Check("every draw: true", never, 0.0, "always")
    violated = replace(holds, name="every draw: violated", sampler=violation())
    fails = Check("outside: true", shared, v_fold, scope="outside", claimed=1.5 * v_fold)
    claimed = replace(fails, name="outside: claim true", predicted=1.5 * v_fold, claimed=v_fold)
    return [
        equals("mean, fold on digits", shared, v_fold, scale=v_fold / 2),
        equals("mean, pruning on digits", pruned, v_kept, scale=v_kept / 2),
        equals("mean, norms of Laplace data", DataProducts(six, norms), expected_variance(six, norms)),
        equals(
            "difference, Laplace data",
            DataProducts(three, entries, against=four),
            0.0,
            scale=expected_variance(four, entries),
        ),
        equals("rare event of size 4", squared(*rare), 4 / 64),
        equals("few events of size 4", squared(*few), 4 / 167, scale=0.25),
        equals("frequency 1/32", event(16), 1 / 32),
        equals("frequency 1/334, few events", event(167), 1 / 334, scale=0.04),
        equals("no variance", squared(whole, ones, np.arange(8.0)), 0.0, scale=1.0),
        at_most("bound of a mean", shared, v_fold),
        at_most("bound of a probability", event(16), 1 / 32, indicator=True),
        Kind("every draw", holds, {"violated": violated}),
        Kind("failure outside the scope", fails, {"claim true": claimed}),
    ]


def claim_of(every):
    """All checks as those of one claim, which is what the designer and the executor take."""
    checks = [check for kind in every for check in (kind.true, *kind.off.values())]
    text = "calibration"
    return Claim(0, text, text, text, (), "", text, "needs ideal randomness", lambda _: checks, "", None)


def statuses(seed, backend):
    """{check: (status, draws)} of one seed."""
    setting = Setting("calibration", np.zeros((2, 2)), (), (1.0,), seed)
    runner = Runner(backend)
    experiments = plan([claim_of(kinds())], setting, DESIGN, runner)
    return {v.check: (v.status, v.draws) for v in execute(experiments, setting, DESIGN, runner)}


def share(found, check, status):
    """How often a check ended so: count, exact interval."""
    hits = sum(one[check.name][0] == status for one in found)
    low, high = binomtest(hits, len(found)).proportion_ci(CONFIDENCE)
    return {"count": hits, "share": hits / len(found), "interval": [float(low), float(high)]}


def tested(found, check, status, rate, level):
    """The same with the exact test that it is no more often than designed."""
    result = share(found, check, status)
    chance = float(binomtest(result["count"], len(found), rate, "greater").pvalue)
    return result | {"designed": rate, "p_value": chance, "passed": chance >= level}


def measured(every, found):
    """One row a kind."""
    level = LEVEL / sum(1 + len(kind.off) for kind in every)
    rows = []
    for kind in every:
        off = {
            name: tested(found, check, "confirmed", DESIGN.false_confirm, level)
            for name, check in kind.off.items()
        }
        rows.append(
            {
                "kind": kind.name,
                "relation": kind.true.relation,
                "draws": median(one[kind.true.name][1] for one in found),
                "refuted_though_true": tested(found, kind.true, "refuted", DESIGN.false_refute, level),
                "confirmed_and_true": share(found, kind.true, "confirmed"),
                "confirmed_though_off": off,
            }
        )
    return rows


def computed():
    """Worst exact chances over events of every frequency."""
    rows = []
    for false_refute, false_confirm in EXACT_RATES:
        for draws in (LEAST_DRAWS, 10 * LEAST_DRAWS):
            design = Design(DESIGN.discrepancy, false_refute, false_confirm)
            for what, rate, worst in (
                ("refuted though true", false_refute, worst_false_refute(draws, design)),
                ("confirmed though off", false_confirm, worst_false_confirm(draws, design)),
            ):
                passed = worst <= most(rate, draws)
                rows.append(
                    {"what": what, "draws": draws, "designed": rate, "worst": worst, "passed": passed}
                )
    return rows


def calibrate(seeds, jobs, backend):
    """The whole record."""
    clock = time.perf_counter()
    every, started = kinds(), now()
    found = Parallel(n_jobs=jobs)(delayed(statuses)(seed, backend) for seed in range(seeds))
    rows, exact = measured(every, found), computed()
    tests = [
        test for row in rows for test in (row["refuted_though_true"], *row["confirmed_though_off"].values())
    ]
    return {
        "schema": SCHEMA,
        "environment": vars(this_environment()),
        "started": started,
        "seconds": round(time.perf_counter() - clock, 1),
        "seeds": seeds,
        "design": vars(DESIGN),
        "level": LEVEL,
        "confidence": CONFIDENCE,
        "passed": all(test["passed"] for test in tests + exact),
        "measured": rows,
        "computed": exact,
    }


def percent(test):
    low, high = test["interval"]
    mark = "" if test.get("passed", True) else " !"
    return f"{100 * test['share']:5.1f} % ({100 * low:.1f} to {100 * high:.1f}){mark}"


def show(record):
    design = record["design"]
    print(
        f"{record['seeds']} seeds, false refute {design['false_refute']}, false confirm "
        f"{design['false_confirm']}, discrepancy {design['discrepancy']}; intervals {CONFIDENCE:.0%}, exact"
    )
    head = ("", "draws", "true: refuted", "true: confirmed", "off: confirmed")
    print("{:30}{:>8}{:>26}{:>26}   {}".format(*head))
    for row in record["measured"]:
        off = "; ".join(f"{name} {percent(test)}" for name, test in row["confirmed_though_off"].items())
        true, power = percent(row["refuted_though_true"]), percent(row["confirmed_and_true"])
        print(f"{row['kind']:30}{row['draws']:8.0f}{true:>26}{power:>26}   {off}")
    print("\nComputed for events of every frequency, the worst:")
    for row in record["computed"]:
        mark = "" if row["passed"] else " !"
        worst, designed = (f"{row[key]:.3g}" for key in ("worst", "designed"))
        print(f"{row['what']:22} {row['draws']:6} draws: {worst}, designed {designed}{mark}")
    print(f"\n{'calibrated' if record['passed'] else 'NOT CALIBRATED'}, {record['seconds']:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds: seconds, little power")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"at least {LEAST_SEEDS} for a record")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--backend", choices=("numba", "numpy", "cupy"), default="numba")
    parser.add_argument("--json", type=Path, help="write the record here")
    arguments = parser.parse_args()
    seeds = QUICK_SEEDS if arguments.quick else arguments.seeds
    if arguments.json is not None:
        if seeds < LEAST_SEEDS:
            parser.error(f"--json: a record needs at least {LEAST_SEEDS} seeds, not {seeds}")
        check_writable(arguments.json, "json")
    record = calibrate(seeds, arguments.jobs, arguments.backend)
    show(record)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps(record, indent=1, ensure_ascii=False) + "\n", "json")
    sys.exit(0 if record["passed"] else 1)


if __name__ == "__main__":
    main()
