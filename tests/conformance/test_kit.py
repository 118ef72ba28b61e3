"""The kit itself: what it accepts, reports and refuses, and how it runs under pytest."""

import os
import random
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest

from rpstheory import Block, Chunk, Fold, Hashed, KeepBernoulli, KeepExact
from rpstheory.conformance import LawBroken, check_mapping, fingerprint, laws, parametrize_with_laws
from rpstheory.conformance.subject import COUNTED_LAWS
from rpstheory.errors import ArgumentError, KindError, MissingError, RpsError

SHIPPED = [Fold, Hashed, partial(Chunk, chunk=2), partial(Block, block=2), KeepExact, KeepBernoulli]
SINGLE = [law.name for law in laws() if not law.counted]
# Produced once: a change here is a change of every checkpoint.
FINGERPRINTS = (
    "2922a20ebe17ca54",
    "65e78a3caea06c0c",
    "f5278703657d9ff6",
    "cc977168b5215f27",
    "e85f9440e332af04",
    "29a917ce7aa9eb57",
)


class FairCoin:
    """One weight, one cell, four seeds."""

    signs = (1, 1, -1, -1)

    def __init__(self, n, m, seed):
        if n * m > 1:
            raise ValueError("one weight, one cell")
        self.n, self.m, self.seeds, self.seed = n, m, 4, seed

    def cell(self, i):
        return i * 0

    def sign(self, i):
        return i * 0 + self.signs[self.seed]


class LoadedCoin(FairCoin):
    signs = (1, 1, 1, -1)


class DoubledCoin(FairCoin):
    signs = (2, 2, -2, -2)


def run(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path)), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("factory", SHIPPED, ids=lambda f: getattr(f, "func", f).__name__)
def test_shipped_mapping_conforms(factory):
    report = check_mapping(factory)
    pruning = factory in (KeepExact, KeepBernoulli)
    asked = [name for name, outcome in report.outcomes.items() if outcome.status == "holds"]
    left_out = ["golden", *(("signs", "signs-and-cells", "collisions") if pruning else ())]
    assert asked == [law.name for law in laws() if law.name not in left_out]


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "nightly", reason="nightly")
@pytest.mark.parametrize("factory", SHIPPED, ids=lambda f: getattr(f, "func", f).__name__)
def test_shipped_mapping_conforms_at_length(factory):
    assert check_mapping(factory, level="full").level == "full"


@parametrize_with_laws(partial(Chunk, chunk=2), laws=SINGLE)
def test_laws_can_be_tests(law):
    law()


def test_tests_are_named_by_their_laws():
    mark = parametrize_with_laws(Fold).mark
    assert [case.id for case in mark.args[1]] == [law.name for law in laws()]


def test_laws_of_one_mapping_share_their_draws():
    name, (first, second) = parametrize_with_laws(Fold, laws=["unbiased", "signs"]).mark.args
    assert name == "law"
    assert first.values[0].shared.subject is second.values[0].shared.subject


# ------------------------------------------------------------------------------ what is said


def test_report_says_what_was_looked_at():
    text = str(check_mapping(partial(Chunk, chunk=2), laws=["range", "signs", "golden"]))
    head, titles, _, _, counted, refused, alarm = text.splitlines()
    assert head == "Chunk(chunk=2) conforms (quick)"
    assert titles.split() == ["law", "verdict", "seen", "would", "have", "caught"]
    assert counted.startswith("signs ")
    assert " draws, " in counted
    assert refused == "sizes (n, m) refused: (1, 1), (2, 1), (3, 1), (4, 1), (40, 1), (5, 1)"
    assert alarm == "chance to accuse a mapping that obeys every law: at most 1e-06"


def test_error_names_law_example_finding_meaning_and_search():
    with pytest.raises(LawBroken) as caught:
        check_mapping(LoadedCoin, laws=["signs"])
    law = next(law for law in laws() if law.name == "signs")
    assert str(caught.value).splitlines() == [
        f"LoadedCoin breaks the law of signs: {law.statement}",
        "  example:  n=1, m=1, 4 seeds from 0 to 3, position 0",
        "  found:    the signs multiply to +1 in 3 of 4 draws; the law asks for 1/2 of them",
        f"  meaning:  {law.meaning}",
        "  searched: every n <= 5, m <= 3 in the order of n + m, 100 draws each; then (n, m): draws of "
        "(11, 2): 2000, (16, 8): 2000, (16, 16): 500; then n = 2^40",
    ]
    assert isinstance(caught.value, RpsError)
    assert isinstance(caught.value, AssertionError)


def test_error_names_one_seed_where_one_draw_decides():
    with pytest.raises(LawBroken) as caught:
        check_mapping(DoubledCoin, laws=["range"])
    assert str(caught.value).splitlines()[1:3] == [
        "  example:  n=1, m=1, seed=0, position 0",
        "  found:    sign = 2; it must lie in -1..1",
    ]
    assert str(caught.value).endswith(
        "every n, m <= 4 in the order of n + m, seeds 0, 1; then single larger sizes"
    )


def test_fair_universe_is_told_from_a_loaded_one_by_counting_all_of_it():
    outcome = check_mapping(FairCoin, laws=["signs"]).outcomes["signs"]
    assert (outcome.seen, outcome.catches) == (
        "1 sizes, 4 draws, 1 counts",
        "any deviation: all seeds were enumerated",
    )


def test_what_a_mapping_raises_is_the_cause_of_the_error():
    def factory(n, m, seed):
        raise ZeroDivisionError("no cells")

    with pytest.raises(LawBroken, match="found: .* ZeroDivisionError: no cells; a size is refused") as caught:
        check_mapping(factory)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_example_is_the_first_in_the_order_of_n_plus_m():
    wrong = {(3, 2), (2, 3), (4, 1), (2, 4)}

    def factory(n, m, seed):
        mapping = Fold(n, m, seed)
        return DoubledCoin(1, 1, 0) if (n, m) in wrong else mapping

    with pytest.raises(LawBroken) as caught:
        check_mapping(factory, laws=["sizes"])
    assert (caught.value.violation.n, caught.value.violation.m) == (2, 3)


def test_every_law_has_a_name_a_statement_and_a_meaning_of_its_own():
    for field in ("name", "statement", "meaning"):
        texts = [getattr(law, field) for law in laws()]
        assert len(set(texts)) == len(texts)
        assert all(text == text.strip() != "" for text in texts)


def test_laws_that_count_share_the_false_alarm():
    # Pareto looks at counted draws, but one draw decides.
    assert COUNTED_LAWS == sum(law.counted for law in laws()) - 1


# ------------------------------------------------------------------------------ golden


@pytest.mark.parametrize(
    ("factory", "pinned"), list(zip(SHIPPED, FINGERPRINTS, strict=True)), ids=FINGERPRINTS
)
def test_shipped_mapping_has_its_pinned_fingerprint(factory, pinned):
    assert check_mapping(factory, golden=pinned, laws=["golden"]).outcomes["golden"].seen == pinned


def test_another_fingerprint_breaks_the_law_of_golden():
    with pytest.raises(
        LawBroken, match=f"fingerprint {fingerprint(Hashed)}, golden='{FINGERPRINTS[0]}' was pinned"
    ):
        check_mapping(Hashed, golden=FINGERPRINTS[0], laws=["golden"])


def test_fingerprint_changes_with_a_single_sign():
    def factory(n, m, seed):
        mapping = Fold(n, m, seed)
        if (n, m, seed) == (1000, 300, 1):
            sign = mapping.sign
            object.__setattr__(mapping, "sign", lambda i: np.where(np.asarray(i) == 999, -sign(i), sign(i)))
        return mapping

    assert fingerprint(factory) != fingerprint(Fold)


def test_fingerprint_of_a_broken_mapping_says_why_it_has_none():
    with pytest.raises(LawBroken, match="DoubledCoin breaks the law of golden"):
        fingerprint(DoubledCoin)


# ------------------------------------------------------------------------------ processes


def module(tmp_path, monkeypatch, name, sign):
    code = f"""
    class Mapping:
        def __init__(self, n, m, seed):
            self.n, self.m, self.seed = n, m, seed

        def cell(self, i):
            return i % self.m

        def sign(self, i):
            return i * 0 + {sign}
    """
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(tmp_path)
    return __import__(name).Mapping


def test_full_level_asks_a_fresh_process(tmp_path, monkeypatch):
    factory = module(tmp_path, monkeypatch, "same_everywhere", "1 - 2 * (self.seed % 2)")
    outcome = check_mapping(factory, level="full", laws=["determinism"]).outcomes["determinism"]
    assert outcome.seen.endswith("; the same in another process")


def test_mapping_that_hashes_strings_breaks_the_law_of_determinism(tmp_path, monkeypatch):
    sign = "1 - 2 * (hash(str((self.seed, self.n, self.m))) % 2)"
    factory = module(tmp_path, monkeypatch, "hashes_strings", sign)
    check_mapping(factory, laws=["determinism"])
    with pytest.raises(LawBroken, match="fingerprint .* in another process, .* in this one"):
        check_mapping(factory, level="full", laws=["determinism"])


def test_factory_that_cannot_be_sent_is_asked_in_this_process_only():
    outcome = check_mapping(lambda n, m, seed: FairCoin(n, m, seed), level="full", laws=["determinism"])
    assert outcome.outcomes["determinism"].seen.endswith(
        "no other process, since the factory cannot be pickled"
    )


def test_factory_that_cannot_be_imported_elsewhere_is_asked_in_this_process_only(tmp_path, monkeypatch):
    factory = module(tmp_path, monkeypatch, "soon_gone", "1")
    (tmp_path / "soon_gone.py").unlink()
    seen = check_mapping(factory, level="full", laws=["determinism"]).outcomes["determinism"].seen
    assert "no other process: ModuleNotFoundError: No module named 'soon_gone'" in seen


def test_kit_loads_neither_pytest_nor_hypothesis():
    done = run("import sys, rpstheory.conformance; print({'pytest', 'hypothesis'} & set(sys.modules))")
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("absent", "code", "message"),
    [
        ("hypothesis", "import rpstheory.conformance.strategies", "strategies: hypothesis is not installed"),
        ("pytest", "c.parametrize_with_laws(print)", "parametrize_with_laws: pytest is not installed"),
    ],
)
def test_missing_package_is_named_in_one_sentence(absent, code, message):
    done = run(f"import sys; sys.modules['{absent}'] = None; import rpstheory.conformance as c; {code}")
    assert message in done.stderr.strip().splitlines()[-1]
    assert issubclass(MissingError, ImportError)


# ------------------------------------------------------------------------------ the world


def test_check_leaves_the_global_generators_as_they_were():
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    check_mapping(Fold, laws=["purity", "training"])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_arrays_of_a_loaded_library_are_tried_and_may_be_refused():
    import array_api_strict  # noqa: F401

    class NumpyOnly(FairCoin):
        def cell(self, i):
            return self.n - 1 if isinstance(i, int) else np.zeros(i.shape, dtype=i.dtype)

        def sign(self, i):
            return 1 + self.cell(i)

    assert check_mapping(FairCoin, laws=["arrays"]).outcomes["arrays"].seen == "2 draws"
    seen = check_mapping(NumpyOnly, laws=["arrays"]).outcomes["arrays"].seen
    assert seen.removesuffix(", torch") == "2 draws; not taken: array_api_strict"


def test_torch_is_asked_and_its_generator_watched():
    torch = pytest.importorskip("torch")

    class MovesTorch(FairCoin):
        def sign(self, i):
            torch.rand(1)
            return super().sign(i)

    assert "torch" not in check_mapping(Fold, laws=["arrays"]).outcomes["arrays"].seen
    with pytest.raises(LawBroken, match="moved a global random generator"):
        check_mapping(MovesTorch, laws=["purity"])
    state = torch.get_rng_state()
    check_mapping(Fold, laws=["purity"])
    assert torch.equal(torch.get_rng_state(), state)


def test_to_json_may_refuse():
    class Unwritten(FairCoin):
        def to_json(self):
            raise NotImplementedError("scores are data")

    outcome = check_mapping(Unwritten, laws=["record"]).outcomes["record"]
    assert (outcome.status, outcome.seen) == ("not declared", "to_json refuses: scores are data")


def test_collision_sum_may_take_floats_only():
    class Floats(Hashed.__mro__[1]):
        chunk_length = 1

        def collision_sum(self, a, b):
            if a.dtype == object:
                raise TypeError("floats only")
            return super().collision_sum(a, b)

    outcome = check_mapping(Floats, laws=["collisions"]).outcomes["collisions"]
    assert outcome.status == "holds"


# ------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("check", [check_mapping, parametrize_with_laws])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"level": "deep"}, ArgumentError, "level='deep' came; pass one of quick, full"),
        ({"laws": ["fairness"]}, ArgumentError, "law 'fairness' came; pass some of sizes, memory, "),
    ],
)
def test_check_refuses_what_it_does_not_know(check, arguments, error, message):
    with pytest.raises(error, match=message):
        check(Fold, **arguments)


@pytest.mark.parametrize("check", [check_mapping, parametrize_with_laws])
def test_check_refuses_a_mapping_in_place_of_a_factory(check):
    with pytest.raises(KindError, match=r"Fold\(n=3, m=2, seed=0\) came; a factory is called as factory"):
        check(Fold(3, 2, 0))


@pytest.mark.parametrize("chance", [0, 1, -0.5, 2, float("nan")])
def test_check_refuses_a_false_alarm_that_is_no_chance(chance):
    with pytest.raises(ArgumentError, match="false_alarm=.* came; a chance between 0 and 1 is needed"):
        check_mapping(Fold, false_alarm=chance)


@pytest.mark.parametrize("block", [64, "half"])
def test_blocks_whose_edges_are_seldom_used_conform(block):
    def factory(n, m, seed):
        return Block(n, m, seed, block=min(m, max(1, m // 2) if block == "half" else block))

    assert check_mapping(factory, laws=["load"]).outcomes["load"].status == "holds"


def test_seed_of_which_only_32_bits_count_is_found():
    with pytest.raises(LawBroken, match="the draw of seed 4294967296 is that of seed 0"):
        check_mapping(lambda n, m, seed: Fold(n, m, seed % 2**32), laws=["seeds"])


def test_seed_that_is_not_used_is_said():
    with pytest.raises(LawBroken, match="draws are the same: is the seed used"):
        check_mapping(lambda n, m, seed: Fold(n, m, 7), laws=["unbiased"])


def test_cells_that_are_out_of_reach_in_a_large_bank_are_found():
    class Narrow:
        def __init__(self, n, m, seed):
            self.n, self.m, self.whole = n, m, Hashed(n, m, seed)

        def cell(self, i):
            return self.whole.cell(i) % 2**16

        def sign(self, i):
            return self.whole.sign(i)

    found = "n=1048576, m=131072(.|\n)*cell 65536, and 50.0% of all, carry no weight"
    with pytest.raises(LawBroken, match=found):
        check_mapping(Narrow, laws=["load"])


@pytest.mark.parametrize("first_seed", [-1, 0.5, "0"])
def test_first_seed_is_a_whole_number(first_seed):
    with pytest.raises(ArgumentError, match="first_seed=.* came; a whole number >= 0 is needed"):
        check_mapping(Fold, first_seed=first_seed)
    with pytest.raises(ArgumentError, match="first_seed=.* came"):
        parametrize_with_laws(Fold, first_seed=first_seed)
