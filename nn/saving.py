"""Checkpoints: one safetensors file with its description inside, judged as a whole before a model changes.

The file holds every bank, and every parameter and buffer that is not shared. One entry of its metadata,
``rps-checkpoint``, says in JSON which model that is, name by name, and how the banks are read::

    {"version": 1, "sha256": "…",
     "model": {"table.weight": "parameter float32 [6, 4]", "head.weight": "= table.weight",
               "norm.weight": "parameter float32 [4]", "norm.running_mean": "buffer float32 [4]"},
     "banks": [{"name": "shared_bank", "mapping": {"mapping": "Fold", "n": 24, "m": 8, "seed": 11},
                "draws": "…", "scaler": "gamma", "scales": {"table.weight": 0.5}}]}

Where weights are products of factors, the version is 2 and two entries more say which::

    "factors": [{"name": "factor_0", "shape": [4, 2], "block": null}, …],
    "products": {"head.weight": {"links": [["factor_0", false], ["factor_1", false]], "flipped": true}}

``sha256`` is the digest of the whole file with 64 zeros in its own place. It shows every change, but it is
no signature: whoever makes a file can compute it. So a file is loaded only if the model, once it holds what
the file says, would be described by the same words.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn as tnn
from safetensors import SafetensorError
from safetensors import torch as safetensors

from nn.bank import Bank, View
from nn.bridge import Factory, mapping_of, require_conforming
from nn.factors import BITS, Factor, Product, count_of
from nn.gamma import Scaler, Span
from nn.inventory import (
    BankRecord,
    FactorRecord,
    Held,
    ProductRecord,
    bank_records,
    dense_forms,
    draws_of,
    factor_records,
    held_by,
    memory_of,
    stored_forms,
)
from nn.layers import padding_rows, require_shareable, share_parameters
from rpstheory.errors import ArgumentError, DataError, KindError, RpsError
from rpstheory.mappings import AbstractSharing
from rpstheory.report.files import write_bytes, write_text

FORMAT = "rps-checkpoint"
VERSIONS = 1, 2  # without factors, and with them
TENSORS, DESCRIPTION = "model.safetensors", "model.json"  # the files of a folder
BLANK = "0" * 64
NONSENSE = (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError)

Forms = dict[str, str]
Tensors = dict[str, torch.Tensor]


def save(model: tnn.Module, path: str | os.PathLike[str]) -> None:
    """Write a shared model as one safetensors file.

    Whoever reads meanwhile sees the old file or the new one. Whether a parameter is frozen, and whether the
    model is in training, is not stored.

    Args:
        model: From :func:`nn.share` or :func:`load`; it is only read.
        path: A file; or a folder, made if the path ends in a slash, for the same file under the name
            model.safetensors and its description, for people to read, as model.json.

    Raises:
        ArgumentError: If nothing in the model is shared, part of it cannot be stored as tensors, or the path
            is empty.
        KindError: If the path is none, or a tensor or a mapping is of a kind that cannot be stored.
        DataError: If the file cannot be written.
    """
    name = _named("save", path)
    if not name:
        raise ArgumentError("save: an empty path came; pass a file, or a folder with a slash at its end")
    held = held_by("save", model)
    said = _described("save", held)
    if not (said.banks or said.factors):
        raise ArgumentError("save: nothing in this model is shared; pass a model of nn.share or nn.load")
    whole = torch.contiguous_format
    tensors = {name: held[name].detach().cpu().clone(memory_format=whole) for name in stored_forms(held)}
    try:
        blank = safetensors.save(tensors, {FORMAT: said.text(BLANK)})
    except KeyError as error:
        raise KindError(f"save: safetensors cannot store {error}; cast the tensors of that kind") from None
    seal = hashlib.sha256(blank).hexdigest()
    content, place = blank.replace(BLANK.encode(), seal.encode(), 1), Path(path)
    if not (name.endswith(("/", os.sep)) or place.is_dir()):
        write_bytes(place, content, "save")
        return
    try:
        place.mkdir(exist_ok=True)
        (place / DESCRIPTION).unlink(missing_ok=True)  # it must never stand beside another model's tensors
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"save: {place} cannot be written ({reason}); choose another path") from None
    write_bytes(place / TENSORS, content, "save")
    write_text(place / DESCRIPTION, said.text(seal), "save")


def load(
    path: str | os.PathLike[str],
    model: tnn.Module | Callable[[], tnn.Module],
    *,
    mapping: Factory | None = None,
) -> tnn.Module:
    """The shared model that :func:`save` wrote, bit for bit.

    Args:
        path: File or folder.
        model: The model as it was before it was shared, or shared into banks of the same sizes. It is
            changed in place, after all has been checked; its parameters stay the same objects. Or a
            function that builds it.
        mapping: For a mapping that is not rpstheory's, the function (n, m, seed) that made it.

    Returns:
        The model that came, or that was built.

    Raises:
        ArgumentError: If ``mapping`` is missing, superfluous or another one than was saved.
        DataError: If the file is cut off, changed, foreign, from a newer version, or of another model; the
            model is as it was.
        KindError: If no path or no model came, or the model has a part that cannot be loaded into.
    """
    place = _named("load", path)
    said, tensors = _read(place)
    if mapping is not None and not any("custom" in record.mapping for record in said.banks):
        raise ArgumentError(f"load: mapping came, and {place} needs none; leave it out")
    target: Any = model() if callable(model) and not isinstance(model, tnn.Module) else model
    held = held_by("load", target)
    _require_same(place, said.forms, dense_forms(held))
    banks: dict[str, Bank] = {}
    views: dict[int, View | Product] = {}
    rows = padding_rows(target)
    for record in said.banks:
        bank = banks[record.name] = _bank(place, record, tensors[record.name], held, mapping)
        for name, span in zip(record.scales, bank.spans, strict=True):
            like = held[name]
            views[id(like)] = View(bank, span.first, tuple(like.shape), span.scale, rows.get(id(like)))
    factors = {record.name: _factor(place, record, said, tensors, held) for record in said.factors}
    for name, product in said.products.items():
        links = tuple((factors[factor], turned) for factor, turned in product.links)
        views[id(held[name])] = Product(links, tuple(held[name].shape), product.flipped)
    after: Held = {name: views.get(id(value), value) for name, value in held.items()}
    after |= {name: bank.phi for name, bank in banks.items()}
    after |= {name: factor.parameter for name, factor in factors.items()}
    after |= {name + BITS: factor.bits for name, factor in factors.items() if factor.block is not None}
    shared = {id(value) for value in held.values() if isinstance(value, View | Product)}
    same = shared in (set(), set(views)) and stored_forms(after) == stored_forms(tensors)
    if not same or not _multiply(views.values()) or _described("load", after) != said:
        raise DataError(
            f"load: {place} contradicts itself, or the model is shared otherwise; pass what nn.save wrote, "
            "and the model as it was before nn.share"
        )
    _put(target, banks, factors, after)
    with torch.inference_mode():  # in which every tensor may be written to
        for name, tensor in tensors.items():
            after[name].copy_(tensor)
    for bank in banks.values():
        bank.settle()
    return target


# ------------------------------------------------------------------------------------- the file


@dataclass(frozen=True)
class Description:
    """What a checkpoint says of a model.

    Attributes:
        forms: What each parameter and buffer is in the dense model.
        banks: Those that are read.
        factors: Those that are read.
        products: The weights that are read from factors.
    """

    forms: Forms
    banks: list[BankRecord]
    factors: list[FactorRecord]
    products: dict[str, ProductRecord]

    def text(self, seal: str) -> str:
        """As JSON, with the digest of the file."""
        banks = [asdict(record) for record in self.banks]
        whole = {"version": 1, "sha256": seal, "model": self.forms, "banks": banks}
        if self.factors:
            whole |= {
                "version": 2,
                "factors": [asdict(record) for record in self.factors],
                "products": {name: asdict(record) for name, record in self.products.items()},
            }
        return json.dumps(whole, indent=1)


def _described(owner: str, held: Held) -> Description:
    return Description(dense_forms(held), bank_records(owner, held), *factor_records(owner, held))


def _read(path: str) -> tuple[Description, Tensors]:
    """What a checkpoint says of the model and of the banks, and its tensors.

    Raises:
        DataError: If it cannot be read, or is not as it was written.
    """
    place, printed = Path(path), Path(path, DESCRIPTION)
    try:
        content = (place / TENSORS if place.is_dir() else place).read_bytes()
        beside = printed.read_bytes() if printed.exists() else None
    except (OSError, ValueError) as error:
        raise DataError(f"load: {path} cannot be read ({error}); pass what nn.save wrote") from None
    try:
        tensors = safetensors.load(content)
        text = _parsed(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"][FORMAT]
        said = _parsed(text)
        version, seal = said["version"], said["sha256"]
        blank = content.replace(seal.encode(), BLANK.encode(), 1)
    except NONSENSE as error:
        raise DataError(
            f"load: {path} is cut off or holds no shared model ({_brief(error)}); pass what nn.save wrote"
        ) from None
    if version not in VERSIONS:
        raise DataError(
            f"load: {path} has version {_brief(version)} of the format, and version {VERSIONS[-1]} is known "
            "here; update this package"
        )
    if hashlib.sha256(blank).hexdigest() != seal or beside not in (None, text.encode()):
        raise DataError(f"load: {path} was changed after it was saved; get the original")
    try:
        found = _understood(text, said, tensors)
    except NONSENSE as error:
        raise DataError(
            f"load: {path} contradicts itself ({_brief(error)}); pass what nn.save wrote"
        ) from None
    return found, tensors


def _named(owner: str, path: str | os.PathLike[str]) -> str:
    """The path as text.

    Raises:
        KindError: If it is none.
    """
    came: Any = path
    if not isinstance(came, str | os.PathLike):
        raise KindError(f"{owner}: path={path!r} came; a path is needed, as str or pathlib.Path")
    return os.fspath(path)


def _parsed(text: str | bytes) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name comes twice")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique)


def _understood(text: str, said: dict[str, Any], tensors: Tensors) -> Description:
    """A description, from its parts.

    Raises:
        ValueError: If it is not one that :func:`save` writes.
    """
    records = [BankRecord(**record) for record in said["banks"]]
    shared, said_of = [name for record in records for name in record.scales], said["model"]
    if len(set(shared)) < len(shared) or not all(said_of[name].startswith("parameter") for name in shared):
        raise ValueError("a bank has weights that cannot be shared")
    if not all(tensors[r.name].ndim == 1 and tensors[r.name].is_floating_point() for r in records):
        raise ValueError("a bank is no row of floating-point numbers")
    factors = [FactorRecord(**record) for record in said.get("factors", ())]
    products = {name: _product(record) for name, record in said.get("products", {}).items()}
    if not all(said_of[name].startswith("parameter") for name in products) or set(shared) & set(products):
        raise ValueError("a weight that cannot be a product is one")
    found = Description(said_of, records, factors, products)
    if found.text(said["sha256"]) != text:
        raise ValueError("it is not written as nn.save writes it")
    return found


def _product(record: dict[str, Any]) -> ProductRecord:
    links = [(name, turned) for name, turned in record["links"]]
    if not links or not all(type(name) is str and type(turned) is bool for name, turned in links):
        raise ValueError("a product has no factors")
    return ProductRecord(links, record["flipped"])


def _brief(what: object) -> str:
    text = " ".join(str(what).split())
    return text if len(text) < 100 else text[:97] + "..."


# ----------------------------------------------------------------------------------- the model


def _require_same(path: str, stored: Forms, there: Forms) -> None:
    """Do nothing if the model is the one that was saved.

    Raises:
        DataError: If it is not.
    """
    for name in (*stored, *there):
        one, other = stored.get(name, "missing"), there.get(name, "missing")
        if one != other:
            raise DataError(
                f"load: {_brief(name)} is {_brief(one)} in {path} and {other} in the model; "
                "pass the model that was saved, with the same ties"
            )


def _bank(path: str, record: BankRecord, phi: torch.Tensor, held: Held, factory: Factory | None) -> Bank:
    """The bank that a record describes, with an owner of its own; its numbers are still missing.

    Raises:
        ArgumentError: If its weights are in several places.
    """
    weights = [held[name] for name in record.scales]
    devices = sorted({str(memory_of(weight).device) for weight in weights})
    if len(devices) > 1:
        raise ArgumentError(
            f"load: weights of {record.name} are on {' and '.join(devices)}, and one bank is in one place; "
            "move the model"
        )
    counts = [prod(weight.shape) for weight in weights]
    spans = map(Span, accumulate(counts, initial=0), counts, record.scales.values())
    mapping = _mapping(path, record, sum(counts), len(phi), factory)
    parameter = held.get(record.name, tnn.Parameter(torch.empty_like(phi, device=devices[0])))
    owner, local = tnn.Module(), record.name.rpartition(".")[2]
    owner.register_parameter(local, parameter)
    return Bank(owner, local, mapping, list(spans), cast(Scaler, record.scaler))


def _factor(path: str, record: FactorRecord, said: Description, tensors: Tensors, held: Held) -> Factor:
    """The factor that a record describes, with an owner of its own; its numbers are still missing.

    Raises:
        DataError: If the file does not hold such numbers.
    """
    numbers, bits = tensors.get(record.name), tensors.get(record.name + BITS)
    readers = [n for n, product in said.products.items() if record.name in dict(product.links)]
    if numbers is None or not readers or not _fits(record, numbers, bits):
        raise DataError(f"load: {path} contradicts itself ({record.name}); pass what nn.save wrote")
    device, local = memory_of(held[readers[0]]).device, record.name.rpartition(".")[2]
    owner = tnn.Module()
    fresh = tnn.Parameter(torch.empty_like(numbers, device=device))
    owner.register_parameter(local, held.get(record.name, fresh))
    if bits is not None and record.block is not None:
        owner.register_buffer(
            local + BITS, held.get(record.name + BITS, torch.empty_like(bits, device=device))
        )
    block = None if record.block is None else (record.block[0], record.block[1])
    return Factor(owner, local, (record.shape[0], record.shape[1]), block)


def _fits(record: FactorRecord, numbers: torch.Tensor, bits: torch.Tensor | None) -> bool:
    """Whether so many numbers are stored as the record and the bits say."""
    if record.block is None:
        return bits is None and list(numbers.shape) == record.shape and numbers.is_floating_point()
    if bits is None or bits.dtype != torch.uint8 or bits.ndim != 1:
        return False
    size, places = prod(record.block), prod(record.shape) // prod(record.block)
    return len(bits) == -(-places // 8) and list(numbers.shape) == [size * count_of(bits, places)]


def _multiply(views: Iterable[View | Product]) -> bool:
    """Whether all products have factors that can be multiplied, and the shape of their weight."""
    products = [view for view in views if isinstance(view, Product)]
    return all(product.fits for product in products)


def _mapping(path: str, record: BankRecord, n: int, m: int, factory: Factory | None) -> Any:
    """The mapping of a bank.

    Raises:
        ArgumentError: If the factory is missing or makes another one.
        DataError: If there is no such mapping.
    """
    name = _brief(record.mapping.get("custom", record.mapping))
    if "custom" not in record.mapping:
        try:
            made = mapping_of(json.dumps(record.mapping))
        except RpsError:  # there is no such mapping
            made = None
        if isinstance(made, AbstractSharing) and made.n == n >= made.m == m:
            return made
        raise DataError(
            f"load: {name} in {path} is no mapping of {n} weights to {m} cells; pass what nn.save wrote"
        )
    if factory is None:
        raise ArgumentError(
            f"load: {path} was saved with the mapping {name}, which is not one of rpstheory's; "
            "pass mapping=, the function (n, m, seed) that made it"
        )
    require_conforming(factory)
    made = factory(n, m, record.mapping["seed"])
    if draws_of(made) != record.draws:
        raise ArgumentError(
            f"load: mapping= makes another mapping than {name}, with which {path} was saved; "
            "pass the function (n, m, seed) that made that one"
        )
    return made


def _put(model: tnn.Module, banks: dict[str, Bank], factors: dict[str, Factor], after: Held) -> None:
    """Make a model hold these views and banks; if that is impossible, it is as it was.

    Raises:
        DataError: If it has no room for a bank or a factor.
    """
    modules = dict(model.named_modules())
    places: dict[tnn.Module, dict[str, View | Product]] = {}
    for name, value in after.items():
        if isinstance(value, View | Product):
            place, _, local = name.rpartition(".")
            places.setdefault(modules[place], {})[local] = value
    for name, each in (banks | factors).items():
        owner = modules.get(name.rpartition(".")[0])
        if owner is None or (each.name not in owner._parameters and hasattr(owner, each.name)):
            raise DataError(f"load: the model has no room for {name}; pass the model that was saved")
    for module, own in places.items():
        require_shareable("load", module, tuple(own))
    for name, bank in banks.items():
        phi, bank.owner = bank.phi, modules[name.rpartition(".")[0]]
        bank.owner.register_parameter(bank.name, phi)
    for name, factor in factors.items():
        factor.move(modules[name.rpartition(".")[0]])
    for module, own in places.items():
        share_parameters(module, own)
