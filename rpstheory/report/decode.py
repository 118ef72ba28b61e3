"""Frozen dataclasses to plain JSON values and back, checked against their annotations."""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from rpstheory.errors import DataError

T = TypeVar("T")


def encode(value: Any) -> Any:
    """``value`` as JSON values: dataclasses to objects, tuples to lists, numbers not finite to null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [encode(v) for v in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


def decode(kind: type[T], value: Any, where: str) -> T:
    """A dataclass from JSON values.

    Args:
        kind: The dataclass; its annotations say what is expected.
        value: What the JSON held.
        where: Name of the value, for the message.

    Raises:
        DataError: If a field is missing, unknown or of another type.
    """
    fields_found = _object(value, where)
    hints = get_type_hints(kind)
    declared = fields(kind)  # type: ignore[arg-type]
    unknown = sorted(set(fields_found) - {f.name for f in declared})
    if unknown:
        raise DataError(f"report: {where} has the unknown field {unknown[0]!r}; see the schema")
    found = {}
    for f in declared:
        if f.name in fields_found:
            found[f.name] = _decode(hints[f.name], fields_found[f.name], f"{where}.{f.name}")
        elif f.default is MISSING and f.default_factory is MISSING:
            raise DataError(f"report: {where} lacks the field {f.name!r}; see the schema")
    return kind(**found)


def _decode(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _decode(next(a for a in arguments if a is not type(None)), value, where)
    if origin is Literal:
        return _decode_choice(arguments, value, where)
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if origin is dict:
        inner = _object(value, where)
        return {k: _decode(arguments[1], v, f"{where}.{k}") for k, v in inner.items()}
    if is_dataclass(hint) and isinstance(hint, type):
        return decode(hint, value, where)
    if hint is float:
        return _decode_float(value, where)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise _wrong(where, value, hint.__name__)
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, value, "an object")
    return value


def _decode_choice(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value not in arguments:
        raise _wrong(where, value, "one of " + ", ".join(map(repr, arguments)))
    return value


def _decode_float(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(where, value, "a number or null")
    return float(value)


def _decode_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    open_ended = len(arguments) == 2 and arguments[1] is Ellipsis
    if not isinstance(value, list) or not (open_ended or len(value) == len(arguments)):
        raise _wrong(where, value, "a list" if open_ended else f"a list of {len(arguments)}")
    hints = [arguments[0]] * len(value) if open_ended else arguments
    return tuple(
        _decode(hint, v, f"{where}[{i}]") for i, (hint, v) in enumerate(zip(hints, value, strict=True))
    )


def _wrong(where: str, value: Any, expected: str) -> DataError:
    return DataError(f"report: {where} is {str(value)[:60]!r}; {expected} is needed")
