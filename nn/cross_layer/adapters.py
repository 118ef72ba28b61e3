"""Which weights of a transformer project what, by their names.

A block is a module whose name ends in a number; what follows that number says which projection a weight is.
The names of ViT, DeiT, Swin, BERT, GPT-2, Llama and Gemma in transformers (of today and of version 4), and of
``nn.models``, are known; others are given as ``naming``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch.nn as tnn

from nn.layers import is_conv1d
from nn.patterns import as_patterns, matches, require_used
from nn.planning import FLOATS, Found, survey
from rpstheory.errors import ArgumentError, KindError

ROLES = ("q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down", "fc1", "fc2")
NAMES = {
    "q": ("attention.q_proj", "self_attn.q_proj", "attention.self.query", "attention.attention.query"),
    "k": ("attention.k_proj", "self_attn.k_proj", "attention.self.key", "attention.attention.key"),
    "v": ("attention.v_proj", "self_attn.v_proj", "attention.self.value", "attention.attention.value"),
    "qkv": ("attn.c_attn", "self_attn.qkv_proj", "attention.in_proj_weight"),
    "o": (
        "attention.o_proj",
        "self_attn.o_proj",
        "attention.output.dense",
        "attn.c_proj",
        "attention.out_proj",
    ),
    "gate": ("mlp.gate_proj",),
    "up": ("mlp.up_proj",),
    "gate_up": ("mlp.gate_up_proj",),
    "down": ("mlp.down_proj",),
    "fc1": ("mlp.fc1", "intermediate.dense", "mlp.c_fc", "perceptron.0"),
    "fc2": ("mlp.fc2", "output.dense", "mlp.c_proj", "perceptron.2"),
}


@dataclass(frozen=True)
class Projection:
    """A weight of a block, as it multiplies: y = x W.

    Attributes:
        name: Of the parameter; the first, if it is tied.
        aliases: Its other names.
        role: One of q, k, v, qkv, o, gate, up, gate_up, down, fc1, fc2.
        layer: Place of its block among all blocks.
        block: Name of the block.
        rows: Of W: inputs.
        columns: Of W: outputs.
        flipped: Whether the parameter is the transpose of W, as in a Linear.
        itemsize: Bytes per element.
        dtype: Of the parameter.
    """

    name: str
    aliases: tuple[str, ...]
    role: str
    layer: int
    block: str
    rows: int
    columns: int
    flipped: bool
    itemsize: int
    dtype: str

    @property
    def names(self) -> tuple[str, ...]:
        """All its names, of which there are several if it is tied."""
        return (self.name, *self.aliases)

    def names_in(self, block: str) -> list[str]:
        """Its names in a block; "" is the whole model."""
        return [name for name in self.names if not block or name.startswith(f"{block}.")]

    @property
    def module(self) -> str:
        """Name of its module."""
        return self.name.rpartition(".")[0]

    @property
    def form(self) -> str:
        """Shape and kind in words; those that share have the same."""
        return f"{self.rows} x {self.columns} {self.dtype}"

    @property
    def count(self) -> int:
        """Elements."""
        return self.rows * self.columns

    @property
    def bytes(self) -> int:
        """Of all elements."""
        return self.count * self.itemsize


def projections_of(
    model: tnn.Module,
    *,
    naming: Mapping[str, str | Iterable[str]] | None = None,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
) -> tuple[Projection, ...]:
    """The projections of a transformer, in the order of its blocks.

    Args:
        model: Any module, also on the meta device.
        naming: Names of projections inside a block, by role: ``{"q": "attn.wq", "fc1": "mlp.0"}``; globs and
            "re:" expressions are possible. In place of the names that are known.
        include: Patterns of weights; only these are taken. All, if there is none.
        exclude: Patterns of weights that are left out.

    Raises:
        ArgumentError: If no projection is found, a pattern matches none, or one is tied to something else.
        KindError: If a weight is not of a floating-point kind that can be factored, or the model cannot be
            looked into.
    """
    known = NAMES if naming is None else _checked(naming)
    surveyed = survey(model)
    names = {
        name: role for found in surveyed for name in found.names if (role := _role(name, known)) is not None
    }
    if not names:
        raise ArgumentError(_unknown(model, surveyed, known))
    blocks = _blocks(model, known, names)
    found = [p for each in surveyed for p in _projection(each, names, known, blocks)]
    wanted = as_patterns("share_layers", "include", include)
    unwanted = as_patterns("share_layers", "exclude", exclude)
    every = [name for p in found for name in p.names]
    require_used("share_layers", "include", wanted, every)
    require_used("share_layers", "exclude", unwanted, every)
    kept = [p for p in found if (not wanted or _chosen(p, wanted)) and not _chosen(p, unwanted)]
    if not kept:
        raise ArgumentError("share_layers: exclude leaves no projection; exclude less")
    _require_own(surveyed, names, {p.name for p in kept})
    return tuple(sorted(kept, key=lambda p: p.layer))


def unknown_in(model: tnn.Module, projections: Iterable[Projection]) -> tuple[str, ...]:
    """Matrices of linear layers in the same blocks whose names say no role: how many, and where.

    Args:
        model: Any module.
        projections: Its projections.
    """
    blocks = {p.block for p in projections}
    count: dict[str, int] = {}
    for found in survey(model):
        name, module = found.names[0], found.places[0][0]
        inside = any(block in blocks for block, _ in _split(name))
        linear = isinstance(module, tnn.Linear) or is_conv1d(type(module))
        if inside and linear and found.parameter.ndim == 2 and _place(name, NAMES) is None:
            kind = _starred(name)
            count[kind] = count.get(kind, 0) + 1
    return tuple(f"{number} of {kind}" for kind, number in count.items())


def blocks_of(projections: Iterable[Projection]) -> tuple[str, ...]:
    """The names of the blocks that have a projection, in their order."""
    return tuple(dict.fromkeys(p.block for p in projections))


def _checked(naming: Mapping[str, str | Iterable[str]]) -> dict[str, tuple[str, ...]]:
    if not isinstance(naming, Mapping) or not naming:
        raise KindError(
            f"share_layers: naming={naming!r} came; pass a dict of roles and names inside a block"
        )
    for role in naming:
        if role not in ROLES:
            raise ArgumentError(
                f"share_layers: naming has the role {role!r}; one of {', '.join(ROLES)} is needed"
            )
    return {role: as_patterns("share_layers", "naming", given) for role, given in naming.items()}


def _split(name: str) -> Iterator[tuple[str, str]]:
    """(block, rest) for each number in a name, the last first."""
    parts = name.split(".")
    for place in range(len(parts) - 1, 0, -1):
        if parts[place - 1].isdecimal():
            yield ".".join(parts[:place]), ".".join(parts[place:])


def _place(name: str, known: Mapping[str, tuple[str, ...]]) -> tuple[str, str] | None:
    """Block and role of a weight, by its name."""
    for block, rest in _split(name):
        for role, patterns in known.items():
            if any(matches(pattern, rest) for pattern in patterns):
                return block, role
    return None


def _role(name: str, known: Mapping[str, tuple[str, ...]]) -> str | None:
    found = None if name.endswith("bias") else _place(name, known)
    return None if found is None else found[1]


def _blocks(model: tnn.Module, known: Mapping[str, tuple[str, ...]], names: Iterable[str]) -> dict[str, int]:
    """The place of every block, in the order in which the model holds them."""
    inside = {place[0] for name in names if (place := _place(name, known)) is not None}
    order = [name for name, _ in model.named_modules(remove_duplicate=False) if name in inside]
    return {block: place for place, block in enumerate(order)}


def _projection(
    found: Found, names: Mapping[str, str], known: Mapping[str, tuple[str, ...]], blocks: Mapping[str, int]
) -> Iterator[Projection]:
    """The projection that a parameter is, if it is one.

    Raises:
        KindError: If it is not of a kind that can be factored.
    """
    own = [name for name in found.names if name in names]
    if not own:
        return
    name, parameter = own[0], found.parameter
    place = _place(name, known)
    module = next(m for (m, local), full in zip(found.places, found.names, strict=True) if full == name)
    if place is None:
        return
    if parameter.ndim != 2 or parameter.dtype not in FLOATS:
        raise KindError(
            f"share_layers: {name} is {parameter.dtype} of shape {tuple(parameter.shape)}; a floating-point "
            "matrix is needed; exclude it, or share the model before it is quantized"
        )
    flipped = not is_conv1d(type(module))
    rows, columns = parameter.shape[::-1] if flipped else parameter.shape
    yield Projection(
        name=name,
        aliases=tuple(other for other in found.names if other != name),
        role=place[1],
        layer=blocks[place[0]],
        block=place[0],
        rows=rows,
        columns=columns,
        flipped=flipped,
        itemsize=parameter.element_size(),
        dtype=str(parameter.dtype).removeprefix("torch."),
    )


def _chosen(projection: Projection, patterns: Iterable[str]) -> bool:
    return any(matches(pattern, name) for pattern in patterns for name in projection.names)


def _require_own(surveyed: Iterable[Found], names: Mapping[str, str], kept: Iterable[str]) -> None:
    """Do nothing if each projection is read by projections only.

    Raises:
        ArgumentError: If one is tied to something else, such as an embedding.
    """
    for found in surveyed:
        others = [name for name in found.names if name not in names]
        if others and any(name in kept for name in found.names):
            first = next(name for name in found.names if name in names)
            raise ArgumentError(
                f"share_layers: {first} is tied to {others[0]}, which is no projection and would change too; "
                "exclude it, or untie them"
            )


def _unknown(model: tnn.Module, surveyed: Iterable[Found], known: Mapping[str, tuple[str, ...]]) -> str:
    """The sentence that lists what was found."""
    count: dict[str, int] = {}
    for found in surveyed:
        if found.parameter.ndim == 2:
            kind = f"{_starred(found.names[0])} ({' x '.join(map(str, found.parameter.shape))})"
            count[kind] = count.get(kind, 0) + 1
    there = ", ".join(f"{number} of {kind}" for kind, number in list(count.items())[:20]) or "no matrix"
    looked = ", ".join(name for names in known.values() for name in names)
    return (
        f"share_layers: {type(model).__name__} holds {there}, and no projection with a known name; pass "
        f"naming={{'q': …, 'fc1': …}}, their names inside a numbered block (known are {looked})"
    )


def _starred(name: str) -> str:
    """A name with its numbers left open."""
    return re.sub(r"[0-9]+", "*", name)
