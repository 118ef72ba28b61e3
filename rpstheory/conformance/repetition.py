"""Laws of sameness: twice, in another order, in another process, after saving, and next year."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory import mappings
from rpstheory.conformance.law import CounterExample, Law, Outcome, held_to
from rpstheory.conformance.sizes import FAR, LEVELS, MIDDLE, ORDINARY, by_size, positions_of
from rpstheory.conformance.subject import Guarded, Subject, describe
from rpstheory.errors import KindError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FINGERPRINTED = (*by_size(3, 3), *ORDINARY, *MIDDLE, (FAR, 2**20))
HEX_DIGITS = 16
STATE = 271828182  # of the global generators while they are watched: no seed that is tried

OTHER_PROCESS = """
import json, pickle, sys
sys.path[:0] = json.loads(sys.stdin.buffer.readline())
from rpstheory.conformance import fingerprint
print(fingerprint(pickle.load(sys.stdin.buffer)))
"""


def fingerprint(factory: Callable[[int, int, int], Any]) -> str:
    """A short name of the cells and signs that a factory gives: sizes small to huge, seeds 0 and 1.

    Pin it in a test, and hand it to ``check_mapping(…, golden=…)``: it changes if any of them does.

    Args:
        factory: ``factory(n, m, seed)`` makes a mapping.

    Raises:
        LawBroken: If the mapping cannot be asked.

    Example:
        >>> from rpstheory import Fold
        >>> fingerprint(Fold) == fingerprint(lambda n, m, seed: Fold(n, m, seed=seed))
        True
    """
    return held_to(GOLDEN, Subject(factory, LEVELS["quick"]), fingerprint_of)


def fingerprint_of(subject: Subject) -> str:
    """The fingerprint; see :func:`fingerprint`."""
    digest = hashlib.sha256()
    for mapping in subject.draws(FINGERPRINTED, (0, 1)):
        cells, signs = mapping.answers(positions_of(mapping.n))
        record = [mapping.n, mapping.m, mapping.seed, cells.tolist(), signs.tolist()]
        digest.update(json.dumps(record).encode())
    return digest.hexdigest()[:HEX_DIGITS]


def check_determinism(subject: Subject) -> Outcome:
    """Two objects made of the same arguments agree, in this process and in another."""
    count = 0
    for mapping in subject.draws(subject.sizes):
        count += 1
        again = subject.draw(mapping.n, mapping.m, mapping.seed)
        _agree(mapping, _all(mapping), _all(again), "in a second object made of the same arguments")
    note = _ask_other_process(subject) if subject.level.name == "full" else ""
    return Outcome("holds", f"{count} draws{note}")


def check_purity(subject: Subject) -> Outcome:
    """Asking changes nothing: neither the answers to come, nor the question, nor the world."""
    count = 0
    for asked in subject.draws(subject.sizes):
        count += 1
        with _generators_watched() as moved:
            mapping = subject.draw(asked.n, asked.m, asked.seed)
            wanted = _all(mapping)
            if moved():
                raise mapping.wrong((), "building and asking it moved a global random generator")
        _ask_otherwise(mapping)
        _agree(mapping, wanted, _all(mapping), "when asked again")
        _write_into_answers(mapping)
        _agree(mapping, wanted, _all(mapping), "after an earlier answer was written into")
        _all(subject.draw(mapping.n, mapping.m, _another_seed(mapping)))
        _agree(mapping, wanted, _all(mapping), "after an object of another seed was asked")
    return Outcome("holds", f"{count} draws")


def check_golden(subject: Subject) -> Outcome:
    """The fingerprint is the one that was pinned.

    Raises:
        CounterExample: If it is another.
    """
    found = fingerprint_of(subject)
    if subject.golden is None:
        return Outcome("not declared", f"today's fingerprint is {found}")
    if found != subject.golden:
        raise CounterExample(
            *FINGERPRINTED[0], (0, 1), (), f"fingerprint {found}, golden={subject.golden!r} was pinned"
        )
    return Outcome("holds", found)


def check_record(subject: Subject) -> Outcome:
    """What to_json writes names the draw, and brings it back where there is a reader.

    Raises:
        CounterExample: If it cannot be written, names no draw, or does not bring it back.
    """
    count = 0
    for mapping in subject.draws(subject.sizes):
        if mapping.declared("to_json") is None:
            return Outcome("not declared", "no to_json")
        count += 1
        try:
            text = mapping.call("to_json")
        except CounterExample as example:
            if isinstance(example.__cause__, KindError | NotImplementedError):
                return Outcome("not declared", f"to_json refuses: {example.__cause__}")
            raise
        if not isinstance(text, str) or "\n" in text or not _is_json(text):
            raise mapping.wrong((), f"to_json gave {text!r:.80}; one line of JSON is needed")
        if text != subject.draw(mapping.n, mapping.m, mapping.seed).call("to_json"):
            raise mapping.wrong((), "to_json of a second object made of the same arguments is another text")
        other = subject.draw(mapping.n, mapping.m, _another_seed(mapping))
        if other.seed != mapping.seed and other.call("to_json") == text:
            raise mapping.wrong((), f"to_json gives the same text for seed {other.seed}")
        back = _read(mapping, text)
        if back is not None:
            _agree(mapping, _all(mapping), _all(back), "in the object that came back from its text")
    return Outcome("holds", f"{count} draws")


def _all(mapping: Guarded) -> dict[str, list[int]]:
    cells, signs = mapping.answers(positions_of(mapping.n))
    return {"cell": cells.tolist(), "sign": signs.tolist()}


def _agree(mapping: Guarded, wanted: dict[str, list[int]], came: dict[str, list[int]], where: str) -> None:
    for name in wanted:
        for place, one, other in zip(positions_of(mapping.n), wanted[name], came[name], strict=True):
            if one != other:
                raise mapping.wrong((place,), f"{name} was {one}, and is {other} {where}")


def _ask_otherwise(mapping: Guarded) -> None:
    """In reverse, every second one, one by one; and see whether the question is still the same."""
    places = np.array(positions_of(mapping.n))
    for name in ("cell", "sign"):
        for asked in (places[::-1].copy(), places[::2].copy()):
            question = asked.copy()
            getattr(mapping, name)(question)
            changed = np.flatnonzero(question != asked)
            if changed.size:
                raise mapping.wrong((int(asked[changed[0]]),), f"{name} wrote into the array of positions")
        for place in places[:3].tolist():
            getattr(mapping, name)(place)


def _write_into_answers(mapping: Guarded) -> None:
    for name in ("cell", "sign"):
        came = getattr(mapping, name)(np.array(positions_of(mapping.n)))
        if isinstance(came, np.ndarray) and came.flags.writeable:
            came[...] = 0


def _another_seed(mapping: Guarded) -> int:
    return (mapping.seed + 1) % (mapping.universe or 2**64)


@contextmanager
def _generators_watched() -> Iterator[Callable[[], bool]]:
    """Global generators in a state of their own until the end; whether they were moved since."""
    torch = sys.modules.get("torch")
    of_torch = torch.default_generator if torch else None
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    before_torch = of_torch.get_state() if of_torch else None

    def state() -> tuple[bytes, ...]:
        states = [pickle.dumps(random.getstate()), pickle.dumps(np.random.get_state())]  # noqa: NPY002
        return (*states, bytes(of_torch.get_state().tolist()) if of_torch else b"")

    try:
        random.seed(STATE)
        np.random.seed(STATE)  # noqa: NPY002
        if of_torch:
            of_torch.manual_seed(STATE)
        before = state()
        yield lambda: state() != before
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if of_torch:
            of_torch.set_state(before_torch)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _read(mapping: Guarded, text: str) -> Guarded | None:
    """What its reader makes of its text; None if it has no reader."""
    kind = type(mapping.raw)
    shipped = getattr(mappings, kind.__name__, None) is kind
    reader = mappings.from_json if shipped else getattr(kind, "from_json", None)
    if reader is None:
        return None
    try:
        return Guarded(reader(text), mapping.n, mapping.m, mapping.seed)
    except Exception as error:
        raise mapping.wrong((), f"from_json({text!r}) raised {describe(error)}") from error


def _ask_other_process(subject: Subject) -> str:
    """Fingerprint in a fresh process whose strings hash differently; in words why not, if it cannot be.

    Raises:
        CounterExample: If it is another.
    """
    try:
        frozen = pickle.dumps(subject.factory)
    except (pickle.PicklingError, AttributeError, TypeError):
        return "; no other process, since the factory cannot be pickled"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS],
        input=json.dumps(sys.path).encode() + b"\n" + frozen,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.decode().strip().rpartition("\n")[2]
        return f"; no other process: {reason}"
    found, wanted = done.stdout.decode().strip(), fingerprint_of(subject)
    if found != wanted:
        raise CounterExample(
            *FINGERPRINTED[0], (0, 1), (), f"fingerprint {found} in another process, {wanted} in this one"
        )
    return "; the same in another process"


DETERMINISM = Law(
    "determinism",
    "the same n, m and seed give the same cells and signs, in every object and every process",
    "the seed is all that a checkpoint stores of the mapping: the bank would be read by other weights",
    check_determinism,
)
PURITY = Law(
    "purity",
    "asking changes nothing: not later answers, not the question, no global random generator",
    "weights would depend on which layer ran first, or the data order on whether weights are shared",
    check_purity,
)
GOLDEN = Law(
    "golden",
    "cells and signs are those of the pinned fingerprint",
    "checkpoints saved by an earlier version are read into other weights by this one",
    check_golden,
)
RECORD = Law(
    "record",
    "to_json gives one line of JSON that names the draw, and its reader brings the same draw back",
    "a mapping that is saved with a model does not come back as the one the model was trained with",
    check_record,
)
