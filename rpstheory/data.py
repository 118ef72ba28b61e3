"""Real and synthetic vectors for the claims: scikit-learn's digits, families, or a file."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from math import frexp, isfinite
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.claim import Pair, Setting
from rpstheory.distributions import Family, power_law, standardised
from rpstheory.errors import ArgumentError, DataError, KindError
from rpstheory.mappings.base import check_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAMILIES: dict[str, Family] = {
    "gaussian": "gaussian",
    "uniform": "uniform",
    "student-t": "student-t",
    "powerlaw": "gaussian",
}
NAMES = ("digits", *FAMILIES)
SYNTHETIC_ROWS, SYNTHETIC_LENGTH = 512, 64
SPREAD = 40  # of 53 bits; the others are for the error of a square, which is to be known to a part in 1000


def load_setting(data: str | Path, compressions: Collection[float] = (2, 4, 8), seed: int = 0) -> Setting:
    """Vectors, compressions and seed of a verification.

    Args:
        data: digits, gaussian, uniform, student-t, powerlaw, or FILE.npy or FILE.npz[:key]. Rows of an
            array of more than two axes are flattened. The claims hold in any unit: rows, and vectors of a
            pair, whose largest entry is not in 2^-20..2^20 are multiplied by a power of two.
        compressions: n/m, each >= 1.
        seed: 0 <= seed < 2^64.

    Raises:
        KindError: If an argument is of another type.
        ArgumentError: If a compression or the seed is out of range.
        DataError: If the data cannot be read or used, or an entry is lost beside another.
    """
    ratios = check_compressions(compressions)
    seed = check_seed("setting", seed)
    if not isinstance(data, str | Path):
        raise KindError(f"data: {data!r} came; pass {', '.join(NAMES)} or the path of an .npy or .npz file")
    data = str(data)
    rows, pairs = _digits() if data == "digits" else _rows_and_pairs(data, seed)
    return Setting(data, rows, pairs, ratios, seed)


def check_compressions(compressions: Collection[float]) -> tuple[float, ...]:
    """The compressions n/m as floats.

    Raises:
        KindError: If they are not several numbers.
        ArgumentError: If there are none, or one is not a number >= 1.
    """
    came: Any = compressions
    if isinstance(came, str) or not isinstance(came, Collection):
        raise KindError(f"compressions: {came!r} came; pass several n/m, such as (2, 4, 8), or (4,)")
    for c in came:
        if not isinstance(c, Real):
            raise KindError(f"compression: {c!r} came; a number is needed, such as 4")
        if not (isfinite(c) and float(c) >= 1):
            raise ArgumentError(f"compression: {c} came; n/m is needed, a number >= 1")
    if not len(came):
        raise ArgumentError("compression: nothing came; give at least one n/m, such as 4")
    return tuple(float(c) for c in came)


def _digits() -> tuple[NDArray[np.float64], tuple[Pair, ...]]:
    from sklearn.datasets import load_digits

    rows, labels = load_digits(return_X_y=True)
    same = np.flatnonzero(labels == labels[0])[1]
    other = np.flatnonzero(labels != labels[0])[0]
    return rows, (
        Pair("digits of one class", rows[0], rows[same]),
        Pair("digits of two classes", rows[0], rows[other]),
    )


def _rows_and_pairs(data: str, seed: int) -> tuple[NDArray[np.float64], tuple[Pair, ...]]:
    if data in FAMILIES:
        random = np.random.Generator(np.random.Philox(key=seed))
        rows = standardised(FAMILIES[data], random, (SYNTHETIC_ROWS, SYNTHETIC_LENGTH))
        if data == "powerlaw":
            rows = rows * np.asarray(power_law(SYNTHETIC_LENGTH, 1.0))
        name = data
    else:
        rows, name = _usable(_read(data), data), Path(data.partition(":")[0]).name
    busy = rows[np.any(rows != 0, axis=1)]
    four = [in_range(_spread(busy[k % len(busy)], data)) for k in range(4)]
    return in_range(rows), (
        Pair(f"{name} rows 1, 2", four[0], four[1]),
        Pair(f"{name} rows 3, 4", four[2], four[3]),
    )


def _spread(row: NDArray[np.float64], data: str) -> NDArray[np.float64]:
    """The row, if its squared length tells the largest entry alone from that with all the others.

    Raises:
        DataError: If it does not.
    """
    second, largest = np.partition(np.abs(row), -2)[-2:]
    if 0 < second < largest * 2.0**-SPREAD:
        raise DataError(
            f"data: a row of {data} holds {largest:.3g} and else at most {second:.3g}; float64 would lose "
            f"what is more than 2^{SPREAD} times smaller beside it; pass data of a smaller range"
        )
    return row


def in_range(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values, times a power of two that makes the largest 1..2 if it is not in 2^-20..2^20."""
    largest = float(np.abs(values).max())
    if largest == 0 or 2.0**-20 <= largest <= 2.0**20:
        return values
    return np.ldexp(values, 1 - frexp(largest)[1])


def _read(data: str) -> NDArray[Any]:
    path, key = _split(data)
    if path.suffix not in (".npy", ".npz"):
        raise DataError(
            f"data: {data!r} is neither {', '.join(NAMES)} nor an .npy or .npz file; pass one of these"
        )
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"data: {path} does not exist; check the path") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"data: {path} cannot be read as a NumPy file of numbers ({_first_line(error)}); "
            "save it with numpy.save or numpy.savez"
        ) from None
    except OSError as error:
        raise DataError(f"data: {path} cannot be read ({error.strerror or error})") from None
    if isinstance(loaded, np.ndarray):
        if key:
            raise DataError(f"data: {path} holds one array, not key {key!r}; leave the key out")
        return loaded
    with loaded:
        keys = list(loaded.keys())
        if not key and len(keys) != 1:
            raise DataError(f"data: {path} holds {', '.join(keys) or 'nothing'}; pass {path}:KEY")
        if key and key not in keys:
            raise DataError(f"data: {path} has no key {key!r}; it holds {', '.join(keys) or 'nothing'}")
        try:
            return loaded[key or keys[0]]
        except (ValueError, zipfile.BadZipFile, EOFError) as error:
            raise DataError(
                f"data: {data} does not hold numbers ({_first_line(error)}); pass a numeric array"
            ) from None


def _split(data: str) -> tuple[Path, str]:
    name, found, key = data.rpartition(".npz:")
    return (Path(name + ".npz"), key) if found else (Path(data), "")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _usable(array: NDArray[Any], data: str) -> NDArray[np.float64]:
    if array.dtype.kind not in "iufb":
        raise DataError(f"data: {data} holds {array.dtype}; real numbers are needed")
    if array.ndim < 2 or len(array) < 2 or array[0].size < 4:
        raise DataError(
            f"data: {data} has shape {array.shape}; at least two rows of four numbers are needed, (N, n)"
        )
    rows = array.reshape(len(array), -1).astype(np.float64)
    if not np.isfinite(rows).all():
        raise DataError(f"data: {data} holds nan or inf; pass finite numbers")
    if np.count_nonzero(np.any(rows != 0, axis=1)) < 2:
        raise DataError(f"data: {data} has fewer than two rows that are not zero; nothing to measure")
    return rows
