"""The pickles of CIFAR, read without unpickling: nothing that they name is ever imported or called.

A pickle is a program for a small stack machine. This one knows the instructions that lists, texts, numbers
and dictionaries need, and five names, which are not Python's objects here but marks: an array is made from
its bytes, its shape and a numeric type, once all three have been checked, and bytes from the text that
protocol 2 keeps in their place. Every other name and every other instruction is refused.
"""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn.data.members import Broken

INSTRUCTIONS = 2_000_000  # of a pickle; the largest of CIFAR has about 250,000
DIMENSIONS = 8  # of an array, at most

_ARRAY, _RECONSTRUCT, _TYPE = "numpy ndarray", "numpy _reconstruct", "numpy dtype"
_ENCODE = "_codecs encode"  # bytes, as Python 3 writes them in protocol 2
_NAMES = {
    _ENCODE: _ENCODE,
    "numpy ndarray": _ARRAY,
    "numpy dtype": _TYPE,
    "numpy.core.multiarray _reconstruct": _RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": _RECONSTRUCT,
}
_NUMERIC = re.compile(r"[iu][1248]|f[248]|b1")
_PLAIN_TYPE = (None, None, None, -1, -1, 0)  # no fields, no names, no flags

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINSTRING", "SHORT_BINSTRING", "BINBYTES"),
    *("SHORT_BINBYTES", "BINBYTES8", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = {"PROTO", "FRAME", "STOP"}


@dataclass(frozen=True)
class _Name:
    """Stands for an object of NumPy."""

    what: str


@dataclass
class _Kind:
    """Stands for a numeric type."""

    code: str
    order: str = "|"


@dataclass
class _Array:
    """Stands for an array until its bytes are there."""

    value: NDArray[Any] | None = None


@dataclass
class _Machine:
    """A stack, the marks in it, and what was put aside.

    Attributes:
        room: Bytes that may still be made of texts; a text in the file is asked for once.
        stack: What was read.
        marks: Places in it.
        memo: What was put aside.
    """

    room: int
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self.stack.append(tuple(self.pop(_TUPLES[name])))
        elif name in _STEPS:
            _STEPS[name](self, argument)

    def pop(self, count: int) -> list[Any]:
        """The last ``count`` things.

        Raises:
            IndexError: If there are fewer.
        """
        if count > len(self.stack):
            raise IndexError("an empty stack")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def marked(self) -> list[Any]:
        """Everything since the last mark."""
        return self.pop(len(self.stack) - self.marks.pop())

    def call(self, function: Any, arguments: Any) -> Any:
        """What a call would have made, as a stand-in.

        Raises:
            Broken: If it is a call of anything but those that begin an array and its type, or make bytes.
        """
        if function == _Name(_RECONSTRUCT) and arguments in (
            (_Name(_ARRAY), (0,), "b"),
            (_Name(_ARRAY), (0,), b"b"),
        ):
            return _Array()
        if function == _Name(_ENCODE) and type(arguments) is tuple and arguments[1:] == ("latin1",):
            return self.encoded(arguments[0])
        if function == _Name(_TYPE) and type(arguments) is tuple and len(arguments) == 3:
            code, align, copy = arguments
            if type(code) is str and _NUMERIC.fullmatch(code) and (align, copy) == (0, 1):
                return _Kind(code)
        raise Broken("is a pickle that calls something other than an array of numbers; it was not called")

    def build(self, thing: Any, state: Any) -> None:
        """Give a stand-in its state.

        Raises:
            Broken: If the state is not one of numbers.
        """
        if type(thing) is _Kind and type(state) is tuple and len(state) == 8:
            version, thing.order, *rest = state
            if version == 3 and thing.order in ("|", "<", ">") and tuple(rest) == _PLAIN_TYPE:
                return
        if type(thing) is _Array and type(state) is tuple and len(state) == 5 and state[0] == 1:
            shape, kind, fortran, content = state[1:]
            raw = content if type(content) is bytes else self.encoded(content)
            thing.value = _array(shape, kind, fortran, raw)
            return
        raise Broken("is a pickle with an array of something other than numbers")

    def encoded(self, text: Any) -> bytes:
        """The bytes of a text.

        Raises:
            Broken: If it is none, has other characters, or the file was too small for all that were made.
        """
        if type(text) is not str:
            raise Broken("is a pickle that encodes something other than bytes")
        self.room -= len(text)
        if self.room < 0:
            raise Broken("is a pickle that encodes one text again and again")
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            raise Broken("is a pickle that encodes something other than bytes") from None

    def put(self, target: Any, pairs: list[Any]) -> None:
        """Put keys and values into a dictionary.

        Raises:
            Broken: If it is none, or a key is no text.
        """
        if type(target) is not dict or any(type(key) is not str for key in pairs[::2]) or len(pairs) % 2:
            raise Broken("is a pickle with a dictionary that is not from texts to values")
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def extend(self, target: Any, values: list[Any]) -> None:
        """Append to a list.

        Raises:
            Broken: If it is none.
        """
        if type(target) is not list:
            raise Broken("is a pickle that appends to something other than a list")
        target.extend(values)

    def name(self, full: str) -> None:
        """Push the mark of a name.

        Raises:
            Broken: If it is not a known one.
        """
        if full not in _NAMES:
            raise Broken(f"is a pickle that asks for {full[:80]!r}; nothing but arrays of numbers is made")
        self.stack.append(_Name(_NAMES[full]))


_STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.marked())),
    "APPEND": lambda m, _: _with_top(m, m.extend, m.pop(1)),
    "APPENDS": lambda m, _: _with_top(m, m.extend, m.marked()),
    "SETITEM": lambda m, _: _with_top(m, m.put, m.pop(2)),
    "SETITEMS": lambda m, _: _with_top(m, m.put, m.marked()),
    "BINPUT": lambda m, slot: m.memo.__setitem__(slot, m.stack[-1]),
    "LONG_BINPUT": lambda m, slot: m.memo.__setitem__(slot, m.stack[-1]),
    "MEMOIZE": lambda m, _: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    "BINGET": lambda m, slot: m.stack.append(m.memo[slot]),
    "LONG_BINGET": lambda m, slot: m.stack.append(m.memo[slot]),
    "GLOBAL": lambda m, full: m.name(full),
    "STACK_GLOBAL": lambda m, _: m.name(_joined(*m.pop(2))),
    "REDUCE": lambda m, _: m.stack.append(m.call(*m.pop(2))),
    "BUILD": lambda m, _: _with_top(m, m.build, m.pop(1)[0]),
}
_KNOWN = {*_LITERALS, *_CONSTANTS, *_TUPLES, *_STEPS, *_IGNORED}
_INSTRUCTIONS = {each.code.encode("latin-1"): each for each in pickletools.opcodes if each.name in _KNOWN}


def _with_top(machine: _Machine, change: Callable[[Any, Any], None], values: Any) -> None:
    change(machine.stack[-1], values)


def _joined(module: Any, name: Any) -> str:
    """A name in two texts, as one.

    Raises:
        Broken: If they are none; anything else may be far longer written out than it is.
    """
    if type(module) is not str or type(name) is not str:
        raise Broken("is a pickle that asks for something without a name")
    return f"{module} {name}"


def _array(shape: Any, kind: Any, fortran: Any, raw: bytes) -> NDArray[Any]:
    """An array of these bytes.

    Raises:
        Broken: If they are not as many as the shape needs, or it has too many dimensions.
    """
    if type(kind) is not _Kind or type(shape) is not tuple or len(shape) > DIMENSIONS:
        raise Broken(f"is a pickle with an array of no numbers, or of more than {DIMENSIONS} dimensions")
    sizes = all(type(size) is int and 0 <= size <= len(raw) for size in shape)
    if not sizes or not raw or prod(shape) * int(kind.code[1:]) != len(raw):
        raise Broken(f"is a pickle with an array of {len(raw)} bytes whose shape needs another number")
    flat = np.frombuffer(raw, kind.order + kind.code)
    return flat.reshape(shape, order="F" if fortran else "C")


def unpickled(content: bytes) -> dict[str, Any]:
    """The dictionary in a pickle: from texts to arrays, numbers, texts, bytes and lists.

    Raises:
        Broken: If it is cut off, holds anything else, or asks for anything to be called.
    """
    machine, stream = _Machine(len(content)), io.BytesIO(content)
    try:
        for _ in range(INSTRUCTIONS):
            instruction = _known(stream.read(1))
            machine.step(instruction.name, _argument(instruction, stream))
            if instruction.name == "STOP":
                break
        (top,) = machine.stack
    except (ValueError, IndexError, KeyError) as reason:
        raise Broken(f"is cut off or no pickle ({str(reason)[:80]})") from None
    if type(top) is not dict or stream.read(1):
        raise Broken("is a pickle of something other than one dictionary, or of too many instructions")
    return {key: value.value if type(value) is _Array else value for key, value in top.items()}


def _argument(instruction: pickletools.OpcodeInfo, stream: io.BytesIO) -> Any:
    """What follows an instruction; in names, pickletools would look for escapes that pickle does not know."""
    if instruction.name == "GLOBAL":
        return " ".join(stream.readline().rstrip(b"\n").decode("latin-1") for _ in range(2))
    return instruction.arg.reader(stream) if instruction.arg else None


def _known(code: bytes) -> pickletools.OpcodeInfo:
    """The instruction that a byte stands for.

    Raises:
        ValueError: If the bytes are over.
        Broken: If it is not one that arrays and lists need.
    """
    if not code:
        raise ValueError("it does not end")
    if code not in _INSTRUCTIONS:
        raise Broken(f"is a pickle with the instruction {code!r}, which arrays and lists do not need")
    return _INSTRUCTIONS[code]
