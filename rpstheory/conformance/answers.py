"""Laws of what comes back: for which sizes, in what range, and for every kind of array alike."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.backend import cupy, has_gpu
from rpstheory.conformance.law import CounterExample, Law, Outcome
from rpstheory.conformance.sizes import LIGHT, ORDINARY, positions_of
from rpstheory.conformance.subject import BYTES, Guarded, Subject, is_integer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64")
ORDERS: dict[str, Any] = {
    "an array": slice(None),
    "an array in reverse": slice(None, None, -1),
    "an array of every second one": slice(None, None, 2),
    "a column": (slice(None), None),
}
LIBRARIES = ("array_api_strict", "torch")


def check_sizes(subject: Subject) -> Outcome:
    """Every size is served or refused; ordinary ones are served.

    Raises:
        CounterExample: If an ordinary size is refused, or another one neither served nor refused.
    """
    for n, m in ORDINARY:
        if subject.build(n, m) is None:
            raise CounterExample(n, m, (0,), (), f"refused by {subject.refused[n, m]}; this size is ordinary")
    count = 0
    for mapping in subject.draws(subject.sizes):
        count += 1
        for name, asked in (("n", mapping.n), ("m", mapping.m)):
            value = mapping.declared(name)
            if not is_integer(value) or value != asked:
                raise mapping.wrong((), f"its {name} is {value!r} where {name}={asked} was asked for")
        for name in ("cells", "rescale", "universe"):
            getattr(mapping, name)
        for place in (0, mapping.n - 1):
            mapping.cell(place), mapping.sign(place)
    return Outcome("holds", f"{count} draws")


def check_memory(subject: Subject) -> Outcome:
    """Few positions of many weights are answered without a table.

    Raises:
        CounterExample: If something is held for every weight.
    """
    if subject.build(*LIGHT) is None:
        return Outcome("does not apply", f"n={LIGHT[0]}, m={LIGHT[1]} is refused")
    held = subject.footprint(*LIGHT)
    if held >= BYTES:
        found = (
            f"{held} bytes were held to answer for 4 positions; less than {BYTES}, a bit a weight, is needed"
        )
        raise CounterExample(*LIGHT, (0,), (), found)
    return Outcome("holds", f"{held} bytes at n={LIGHT[0]}")


def check_range(subject: Subject) -> Outcome:
    """Cells and signs are integers where they should be."""
    count = 0
    for mapping in subject.draws(subject.sizes):
        count += 1
        places = positions_of(mapping.n)
        mapping.answers(places)
        for place in (places[0], places[-1]):
            mapping.integer("cell", place), mapping.integer("sign", place)
    return Outcome("holds", f"{count} draws")


def check_arrays(subject: Subject) -> Outcome:
    """A batch, whatever array it is, gives what its positions give one by one."""
    libraries, taken, count = _libraries(subject), set(), 0
    for mapping in subject.draws(subject.sizes):
        count += 1
        places = positions_of(mapping.n)
        for name in ("cell", "sign"):
            wanted = [mapping.integer(name, place) for place in places]
            for kind, order in ORDERS.items():
                asked, answer = np.array(places)[order], np.array(wanted)[order]
                came = mapping.integers(name, asked, getattr(mapping, name)(asked.copy()))
                rows = [row.ravel().tolist() for row in (asked, answer, came)]
                _compare(mapping, name, rows[0], rows[1], rows[2], kind)
            for kind, array in _other_arrays(libraries, places):
                answer = _answer_of(mapping, name, array)
                if answer is not None:
                    taken.add(kind)
                    _compare(mapping, name, places, wanted, answer, f"an array of {kind}")
    refused = [kind for kind in (*DTYPES, *libraries) if kind not in taken]
    return Outcome("holds", f"{count} draws" + (f"; not taken: {', '.join(refused)}" if refused else ""))


def _compare(
    mapping: Guarded, name: str, places: Sequence[int], wanted: list[int], came: list[Any], kind: str
) -> None:
    if came == wanted:
        return
    k = next(k for k, value in enumerate(wanted) if k >= len(came) or came[k] != value)
    answer = came[k] if k < len(came) else "missing"
    raise mapping.wrong((places[k],), f"{name} is {wanted[k]} when asked with an int, {answer} in {kind}")


def _other_arrays(libraries: dict[str, Any], places: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    for dtype in DTYPES:
        if places[-1] <= np.iinfo(dtype).max:
            yield dtype, np.array(places, dtype=dtype)
    for name, xp in libraries.items():
        yield name, xp.asarray(list(places), dtype=xp.int64)


def _answer_of(mapping: Guarded, name: str, array: Any) -> list[Any] | None:
    """The answer as a list; None where this kind of array is refused, with whatever error.

    NumPy takes a foreign array of one element for a number where it indexes: that is no answer either.
    """
    try:
        came = getattr(mapping.raw, name)(array)
        found = came.tolist() if hasattr(came, "tolist") else np.asarray(came).tolist()
    except Exception:
        return None
    return found if isinstance(found, list) else None


def _libraries(subject: Subject) -> dict[str, Any]:
    """Array libraries besides NumPy: those already loaded; at level full those installed."""
    full = subject.level.name == "full"
    names = [n for n in LIBRARIES if n in sys.modules or (full and importlib.util.find_spec(n))]
    found: dict[str, Any] = {name: importlib.import_module(name) for name in names}
    return found | ({"cupy": cupy()} if full and has_gpu() else {})


SIZES = Law(
    "sizes",
    "every size is served, with the n and m that were asked for and a cell and a sign at both ends, or "
    "refused with a ValueError; n = m = 16 and n = 16, m = 8 are served",
    "a model has layers of every size, a bank may be smaller or larger than any of them, and each weight is "
    "read by its cell and its sign",
    check_sizes,
)
MEMORY = Law(
    "memory",
    "a few positions of 2^20 weights are answered with less than a bit held for each weight",
    "an index of the size of the model takes back what sharing saves; compute cells and signs from the "
    "position, or refuse such sizes with a ValueError",
    check_memory,
)
RANGE = Law(
    "range",
    "cells are integers in 0..cells-1 and signs are integers in {-1, 0, 1}, in the shape of the positions",
    "cells index the bank, and a sign that is not an exact -1, 0 or 1 rescales the weights it is given to",
    check_range,
)
ARRAYS = Law(
    "arrays",
    "a batch gives what its positions give one by one, whatever its shape, integer type and library",
    "the layer, the checkpoint and the kernel ask with different arrays and would build different weights",
    check_arrays,
)
