"""Checkpoints: one safetensors file and its description, checked as a whole before a model is touched.

The description says in JSON what every tensor is: which weights a bank stands for, at which positions, with
which lambda, through which mapping. A seal, the SHA-256 of all bytes with the seal itself blanked, makes
every change of the file visible. A seal is no signature: whoever makes a file can seal it, so that all that
is read is also checked against the model it is for.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from math import inf, prod
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import uuid4

import numpy as np
import torch
import torch.nn as tnn
from safetensors import SafetensorError
from safetensors import torch as safetensors

from nn.bank import Bank, View
from nn.bridge import Factory, key_of, mapping_of
from nn.gamma import SCALERS, Scaler, Span
from nn.layers import share_parameters, shared_class, views_of
from nn.sharing import NAME, banks_of
from rpstheory import __version__
from rpstheory.errors import ArgumentError, DataError, KindError, RpsError
from rpstheory.report.files import check_writable

FORMAT = "rps-checkpoint"
VERSION = 1
DESCRIPTION, TENSORS = "model.json", "model.safetensors"  # the files of a folder
BLANK = "0" * 64
HEADER = 2**24  # bytes of description that are read at most
SAMPLED = 256  # positions whose cells and signs are pinned

Names = tuple[str, ...]


@dataclass(frozen=True)
class WeightRecord:
    """A shared weight.

    Attributes:
        names: All its names; more than one if it is tied.
        shape: Of the tensor.
        first: Position of its first weight.
        scale: lambda, as :meth:`float.hex` writes it.
    """

    names: Names
    shape: tuple[int, ...]
    first: int
    scale: str


@dataclass(frozen=True)
class BankRecord:
    """A bank; its tensor is stored under its name.

    Attributes:
        name: Of the parameter.
        mapping: As ``to_json`` describes it, or name, n, m and seed of one that is not rpstheory's.
        draws: SHA-256 of some of its cells and signs.
        scaler: gamma, v1 or none.
        weights: In the order of their positions.
    """

    name: str
    mapping: dict[str, Any]
    draws: str
    scaler: str
    weights: tuple[WeightRecord, ...]

    @property
    def n(self) -> int:
        """Weights that the bank stands for."""
        return sum(prod(weight.shape) for weight in self.weights)


@dataclass(frozen=True)
class Description:
    """What a checkpoint holds.

    Attributes:
        format: Always "rps-checkpoint".
        version: Of the format.
        sha256: The seal.
        package: Version of the package that wrote it.
        banks: What is shared.
        fixed: Names of every parameter that is not; its tensor is stored under the first.
        buffers: Names of every buffer, likewise.
    """

    format: str
    version: int
    sha256: str
    package: str
    banks: tuple[BankRecord, ...]
    fixed: tuple[Names, ...]
    buffers: tuple[Names, ...]

    def to_json(self) -> str:
        """The only text that describes this."""
        return json.dumps(asdict(self), indent=1)

    @property
    def stored(self) -> list[str]:
        """Names of the tensors."""
        firsts = [names[0] for names in (*self.fixed, *self.buffers)]
        return [*(bank.name for bank in self.banks), *firsts]


class Content(NamedTuple):
    """A checkpoint that agrees with itself."""

    path: str
    description: Description
    tensors: dict[str, torch.Tensor]


class Kind(NamedTuple):
    """What a tensor of a model is."""

    what: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"a {self.what} of shape {self.shape} and {str(self.dtype).removeprefix('torch.')}"


@dataclass(frozen=True)
class Change:
    """All that loading does to a model, ready to be done.

    Attributes:
        copies: Tensors of the model and what is written into them.
        parameters: (owner, name, parameter) of the banks that are new.
        views: What each module is to read.
        banks: All banks.
    """

    copies: list[tuple[torch.Tensor, torch.Tensor]]
    parameters: list[tuple[tnn.Module, str, tnn.Parameter]]
    views: dict[tnn.Module, dict[str, View]]
    banks: list[Bank]

    def apply(self) -> None:
        """Do it; nothing here can fail any more."""
        with torch.no_grad():
            for place, value in self.copies:
                place.copy_(value)
        for owner, name, parameter in self.parameters:
            owner.register_parameter(name, parameter)
        for module, views in self.views.items():
            if views_of(module):
                views_of(module).update(views)
            else:
                share_parameters(module, views)
        for bank in self.banks:
            bank.settle()


def save(model: tnn.Module, path: str | os.PathLike[str]) -> None:
    """Write a shared model as one safetensors file, or as model.json and model.safetensors in a folder.

    Whoever reads meanwhile sees the old file or the new one. In a folder the two are replaced one after
    the other, and :func:`load` refuses a pair that does not belong together.

    Args:
        model: From :func:`nn.share` or :func:`load`; it is only read.
        path: A file; or a folder, which is made if the path ends in a slash.

    Raises:
        ArgumentError: If nothing in the model is shared, or part of it cannot be stored as tensors.
        KindError: If a tensor or a mapping is of a kind that cannot be stored.
        DataError: If the file cannot be written.
    """
    description, held = _describe("save", model)
    tensors = {name: _stored(name, held[name]) for name in description.stored}
    text, place = description.to_json(), os.fspath(path)
    if not (place.endswith(("/", os.sep)) or Path(place).is_dir()):
        _write({Path(place): _sealed([_packed(tensors, {FORMAT: text})])[0]})
        return
    try:
        Path(place).mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(
            f"save: {place} cannot be made ({error.strerror or error}); choose another path"
        ) from None
    files = _sealed([text.encode(), _packed(tensors, None)])
    _write(dict(zip((Path(place, DESCRIPTION), Path(place, TENSORS)), files, strict=True)))


def load(
    path: str | os.PathLike[str],
    model: tnn.Module | Callable[[], tnn.Module],
    *,
    mapping: Factory | None = None,
) -> tnn.Module:
    """The shared model that :func:`save` wrote, bit for bit.

    Args:
        path: File or folder.
        model: The model before it was shared, or shared by the same plan; it is changed in place, after
            all has been checked. Or a function that builds it.
        mapping: For a mapping that is not rpstheory's, the function (n, m, seed) that made it.

    Returns:
        The model that came, or that was built.

    Raises:
        ArgumentError: If ``mapping`` is missing, superfluous or another one than was saved.
        DataError: If the file is cut off, changed, foreign, from a newer version, or of another model; the
            model is as it was.
        KindError: If no model came, or it holds tensors that cannot be written to.
    """
    content = _read(os.fspath(path))
    target = model if isinstance(model, tnn.Module) else _built(model)
    _change(content, target, mapping).apply()
    return target


# ------------------------------------------------------------------------------- what a model holds


def _held(owner: str, model: tnn.Module) -> dict[Names, Any]:
    """Every view, parameter and stored buffer once, by all its names.

    Raises:
        ArgumentError: If a module keeps something that is no tensor.
    """
    names: dict[int, list[str]] = {}
    values: dict[int, Any] = {}
    for prefix, module in model.named_modules():
        if type(module).get_extra_state is not tnn.Module.get_extra_state:
            raise ArgumentError(
                f"{owner}: {prefix or 'the model'} has extra state, which only pickle could store; "
                "keep it in buffers"
            )
        passing = module._non_persistent_buffers_set
        buffers = {local: value for local, value in module._buffers.items() if local not in passing}
        for local, value in {**views_of(module), **module._parameters, **buffers}.items():
            if value is not None:
                names.setdefault(id(value), []).append(f"{prefix}.{local}" if prefix else local)
                values[id(value)] = value
    return {tuple(names[key]): value for key, value in values.items()}


def _describe(owner: str, model: tnn.Module) -> tuple[Description, dict[str, torch.Tensor]]:
    """The description of a model, unsealed, and its tensors by name.

    Raises:
        ArgumentError: If nothing in it is shared, or a bank is not one of its parameters.
    """
    held, banks = _held(owner, model), banks_of(model)
    if not banks:
        raise ArgumentError(f"{owner}: nothing in this model is shared; pass a model of nn.share or nn.load")
    tensors = {names: value for names, value in held.items() if isinstance(value, torch.Tensor)}
    shared = {id(bank.phi): names for bank in banks for names in tensors if tensors[names] is bank.phi}
    for bank in banks:
        if len(shared.get(id(bank.phi), ())) != 1:
            raise ArgumentError(
                f"{owner}: the bank {bank.name} is not a parameter of this model, under one name; "
                "pass the whole model that was shared"
            )
    fixed = tuple(n for n, v in tensors.items() if isinstance(v, tnn.Parameter) and id(v) not in shared)
    buffers = tuple(n for n, v in tensors.items() if not isinstance(v, tnn.Parameter))
    records = tuple(_bank_record(owner, shared[id(bank.phi)][0], bank, held) for bank in banks)
    description = Description(FORMAT, VERSION, BLANK, __version__, records, fixed, buffers)
    return description, {names[0]: value for names, value in tensors.items()}


def _bank_record(owner: str, name: str, bank: Bank, held: dict[Names, Any]) -> BankRecord:
    """The record of a bank.

    Raises:
        ArgumentError: If no module reads one of its weights.
    """
    read = {v.first: (n, v.shape) for n, v in held.items() if isinstance(v, View) and v.bank is bank}
    for span in bank.spans:
        if span.first not in read:
            raise ArgumentError(
                f"{owner}: no module reads the {span.count} weights of {name} from position {span.first} on; "
                "put back the module that was taken out, or share the model as it is now"
            )
    weights = tuple(
        WeightRecord(*read[span.first], span.first, float(span.scale).hex()) for span in bank.spans
    )
    return BankRecord(name, _mapping_record(name, bank.mapping), _draws(bank.mapping), bank.scaler, weights)


def _mapping_record(name: str, mapping: Any) -> dict[str, Any]:
    """What a mapping can be made again from.

    Raises:
        KindError: If it has no seed.
    """
    key = key_of(mapping)
    if key.startswith("{"):  # the text of to_json
        return json.loads(key)
    kind, seed = type(mapping), getattr(mapping, "seed", None)
    if type(seed) is not int:
        raise KindError(
            f"save: the mapping {kind.__qualname__} of {name} has seed={seed!r}; a whole number is needed, "
            "with which nn.load can make it again; give the class an attribute seed"
        )
    return {"custom": f"{kind.__module__}.{kind.__qualname__}", "n": mapping.n, "m": mapping.m, "seed": seed}


def _draws(mapping: Any) -> str:
    """SHA-256 of the cells and signs of positions from first to last, evenly spaced."""
    position = np.array([k * (mapping.n - 1) // (SAMPLED - 1) for k in range(SAMPLED)], dtype=np.int64)
    record = [np.asarray(drawn).tolist() for drawn in (mapping.cell(position), mapping.sign(position))]
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()


def _stored(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A copy in one piece, in main memory."""
    _require_plain("save", name, tensor)
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())


def _packed(tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None) -> bytes:
    """The bytes of a safetensors file.

    Raises:
        KindError: If it has no such kind of number.
    """
    try:
        return safetensors.save(tensors, metadata)
    except KeyError as error:
        raise KindError(f"save: safetensors cannot store {error}; cast the tensors of that kind") from None


def _require_plain(owner: str, name: str, tensor: torch.Tensor) -> None:
    """Do nothing if a tensor is of the ordinary kind.

    Raises:
        KindError: If it is not.
    """
    if type(tensor) not in (torch.Tensor, tnn.Parameter):
        reason = type(tensor).__name__
    elif tensor.layout is not torch.strided or tensor.is_meta:
        reason = "on the meta device" if tensor.is_meta else str(tensor.layout)
    else:
        return
    raise KindError(f"{owner}: {name} is no ordinary tensor ({reason}); build the model of those")


# --------------------------------------------------------------------------------- bytes on the disk


def _seal(files: list[bytes], blanked: str) -> str:
    """SHA-256 of all bytes, the first occurrence of ``blanked`` read as zeros."""
    before, _, after = files[0].partition(blanked.encode())
    digest = hashlib.sha256()
    for part in (before, BLANK.encode(), after, *files[1:]):
        digest.update(part)
    return digest.hexdigest()


def _sealed(files: list[bytes]) -> list[bytes]:
    return [files[0].replace(BLANK.encode(), _seal(files, BLANK).encode(), 1), *files[1:]]


def _write(files: dict[Path, bytes]) -> None:
    """Put whole files, already on the disk, in the place of the old ones.

    Raises:
        DataError: If that is impossible.
    """
    for path in files:
        check_writable(path, "save")
    contents = {path.resolve(): content for path, content in files.items()}
    temporary = {path: path.with_name(f".{path.name}.{uuid4().hex}") for path in contents}
    try:
        for path, content in contents.items():
            with temporary[path].open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        for path in contents:
            temporary[path].replace(path)
            _keep_name(path)
    except OSError as error:
        raise DataError(
            f"save: {next(iter(files))} cannot be written ({error.strerror or error}); choose another path"
        ) from None
    finally:
        for each in temporary.values():
            each.unlink(missing_ok=True)


def _keep_name(path: Path) -> None:
    """A new name is on the disk only when its folder is, where folders can be opened."""
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path: str) -> Content:
    """A checkpoint that is whole, unchanged and agrees with itself.

    Raises:
        DataError: If it does not.
    """
    place = Path(path)
    folder = place.is_dir()
    try:
        files = [
            each.read_bytes() for each in ((place / DESCRIPTION, place / TENSORS) if folder else (place,))
        ]
    except (OSError, MemoryError) as error:
        raise DataError(f"load: {path} cannot be read ({error}); pass what nn.save wrote") from None
    try:
        text = _text(files[0]) if folder else _metadata(files[0])
        record = _parsed(text)
        version, seal = record["version"], record["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"load: {path} is no checkpoint ({_brief(error)}); pass what nn.save wrote") from None
    if isinstance(version, int) and version > VERSION:
        raise DataError(
            f"load: {path} has version {version} of the format, and version {VERSION} is the newest known "
            "here; update this package"
        )
    if re.fullmatch("[0-9a-f]{64}", str(seal)) is None or _seal(files, seal) != seal:
        raise DataError(f"load: {path} is cut off or was changed after it was saved; get the original")
    try:
        description = _description(text, record)
        tensors = safetensors.load(files[-1])
        _agree(description, tensors)
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError, SafetensorError) as error:
        raise DataError(
            f"load: {path} contradicts itself ({_brief(error)}); get one that nn.save wrote"
        ) from None
    return Content(path, description, tensors)


def _metadata(content: bytes) -> str:
    """The description in the header of a safetensors file.

    Raises:
        ValueError: If there is none.
    """
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 + size:
        raise ValueError("its header is cut off")
    return _parsed(_text(content[8 : 8 + size]))["__metadata__"][FORMAT]


def _text(content: bytes) -> str:
    if len(content) > HEADER:
        raise ValueError(f"a description of {len(content)} bytes")
    return content.decode()


def _parsed(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name comes twice")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique)


def _description(text: str, record: dict[str, Any]) -> Description:
    """The description that is written exactly so.

    Raises:
        ValueError: If none is.
    """
    banks = tuple(
        BankRecord(
            **bank | {"weights": tuple(WeightRecord(**_tuples(w, "names", "shape")) for w in bank["weights"])}
        )
        for bank in record["banks"]
    )
    lists = {name: tuple(tuple(names) for names in record[name]) for name in ("fixed", "buffers")}
    made = Description(**record | {"banks": banks} | lists)
    if made.to_json() != text or made.format != FORMAT or type(made.version) is not int:
        raise ValueError("its description is not written as nn.save writes it")
    return made


def _tuples(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return record | {name: tuple(record[name]) for name in names}


def _agree(description: Description, tensors: dict[str, torch.Tensor]) -> None:
    """Do nothing if a description can be true of these tensors, and of some model.

    Raises:
        ValueError: If it cannot.
    """
    every = [*description.fixed, *description.buffers, *((bank.name,) for bank in description.banks)]
    every += [weight.names for bank in description.banks for weight in bank.weights]
    names = [name for each in every for name in each]
    if not all(every) or not all(type(name) is str for name in names) or len(set(names)) < len(names):
        raise ValueError("a name is missing or comes twice")
    if sorted(description.stored) != sorted(tensors):
        raise ValueError("its tensors are not those that it describes")
    for bank in description.banks:
        _bank_agrees(bank, tensors[bank.name])


def _bank_agrees(bank: BankRecord, phi: torch.Tensor) -> None:
    if re.fullmatch(rf"{NAME}(_[1-9][0-9]*)?", bank.name.rpartition(".")[2]) is None:
        raise ValueError(f"{bank.name!r} is no name of a bank")
    if phi.ndim != 1 or not phi.is_floating_point():
        raise ValueError(f"{bank.name} is no bank")
    if bank.scaler not in SCALERS or type(bank.mapping) is not dict:
        raise ValueError(f"{bank.name} has an unknown scaler or mapping")
    if "custom" in bank.mapping and type(bank.mapping["seed"]) is not int:
        raise ValueError(f"{bank.name} has a mapping without a seed")
    first = 0
    for weight in bank.weights:
        scale = float.fromhex(weight.scale)
        if not all(type(size) is int and size > 0 for size in weight.shape) or weight.first != first:
            raise ValueError(f"{weight.names[0]!r} has no such shape or position")
        if not 0 < scale < inf or scale.hex() != weight.scale:
            raise ValueError(f"{weight.names[0]!r} has lambda {weight.scale!r}")
        first += prod(weight.shape)
    if not 1 <= len(phi) <= first:
        raise ValueError(f"{bank.name} has {len(phi)} cells for {first} weights")


def _brief(what: object) -> str:
    text = str(what)
    return text if len(text) < 100 else text[:97] + "..."


# ----------------------------------------------------------------------------- from file to model


def _built(factory: Any) -> tnn.Module:
    """What a factory makes.

    Raises:
        KindError: If that is no model.
    """
    made = factory() if callable(factory) else factory
    if not isinstance(made, tnn.Module):
        raise KindError(
            f"load: {type(made).__name__} came; a model, or a function that builds one, is needed"
        )
    return made


def _change(content: Content, model: tnn.Module, factory: Factory | None) -> Change:
    """What loading does, worked out without touching the model.

    Raises:
        ArgumentError: If ``mapping`` came and is not needed.
    """
    path, description, tensors = content
    held, shared = _held("load", model), banks_of(model)
    _require_same(path, _kinds_described(content), _kinds_held(held, shared))
    _require_writable(held)
    if factory is not None and not any("custom" in bank.mapping for bank in description.banks):
        raise ArgumentError(f"load: mapping came, and {path} needs none; leave it out")
    change = Change([], [], {}, [])
    for names in (*description.fixed, *description.buffers):
        change.copies.append((held[names], tensors[names[0]].to(held[names].device)))
    named = {name: value for names, value in held.items() for name in names}
    mappings = [_mapping(path, bank, len(tensors[bank.name]), factory) for bank in description.banks]
    if shared:
        _require_same_plan(path, description, model)
    for record, mapping in zip(description.banks, mappings, strict=True):
        phi = tensors[record.name]
        if shared:
            change.copies.append((named[record.name], phi.to(named[record.name].device)))
        else:
            change.parameters.append(_parameter(path, record, model, named, phi))
        _add_views(change, record, mapping, dict(model.named_modules()))
    for module, views in change.views.items():
        _require_shareable(module, views)
    return change


def _kinds_described(content: Content) -> dict[Names, Kind]:
    _, description, tensors = content
    kinds = {
        weight.names: Kind("parameter", weight.shape, tensors[bank.name].dtype)
        for bank in description.banks
        for weight in bank.weights
    }
    for what, group in (("parameter", description.fixed), ("buffer", description.buffers)):
        for names in group:
            kinds[names] = Kind(what, tuple(tensors[names[0]].shape), tensors[names[0]].dtype)
    return kinds


def _kinds_held(held: dict[Names, Any], shared: list[Bank]) -> dict[Names, Kind]:
    banks, kinds = {id(bank.phi) for bank in shared}, {}
    for names, value in held.items():
        if isinstance(value, View):
            kinds[names] = Kind("parameter", value.shape, value.bank.phi.dtype)
        elif id(value) not in banks:
            what = "parameter" if isinstance(value, tnn.Parameter) else "buffer"
            kinds[names] = Kind(what, tuple(value.shape), value.dtype)
    return kinds


def _require_same(path: str, stored: dict[Names, Kind], there: dict[Names, Kind]) -> None:
    """Do nothing if file and model hold the same tensors, under the same names.

    Raises:
        DataError: If they do not.
    """
    for names in (*stored, *there):
        one, other = stored.get(names), there.get(names)
        if one != other:
            raise DataError(
                f"load: {_brief(' = '.join(names))} is {one or 'missing'} in {path} and "
                f"{other or 'missing'} in the model; pass the model that was saved, with the same ties"
            )


def _require_same_plan(path: str, description: Description, model: tnn.Module) -> None:
    """Do nothing if the model is shared as the file is; lambda may differ.

    Raises:
        DataError: If it is not.
    """

    def plan(banks: Iterable[BankRecord]) -> list[BankRecord]:
        return [replace(b, weights=tuple(replace(w, scale="") for w in b.weights)) for b in banks]

    if plan(description.banks) != plan(_describe("load", model)[0].banks):
        raise DataError(
            f"load: {path} was shared by another plan than this model; pass the model as it was before "
            "nn.share"
        )


def _require_writable(held: dict[Names, Any]) -> None:
    """Do nothing if every tensor of the model can be written to.

    Raises:
        KindError: If one cannot.
    """
    for names, value in held.items():
        if isinstance(value, torch.Tensor):
            _require_plain("load", names[0], value)
            repeated = any(s == 0 and size > 1 for s, size in zip(value.stride(), value.shape, strict=True))
            if repeated or (value.is_inference() and not torch.is_inference_mode_enabled()):
                reason = "expanded" if repeated else "made in inference mode"
                raise KindError(f"load: {names[0]} is {reason} and cannot be written to; clone it first")


def _mapping(path: str, bank: BankRecord, m: int, factory: Factory | None) -> Any:
    """The mapping of a bank.

    Raises:
        ArgumentError: If the factory is missing or makes another one.
        DataError: If there is no such mapping.
    """
    record = bank.mapping
    if "custom" in record:
        if factory is None:
            raise ArgumentError(
                f"load: {path} was saved with the mapping {_brief(record['custom'])}, which is not one of "
                "rpstheory's; pass mapping=, the function (n, m, seed) that made it"
            )
        made = factory(bank.n, m, record["seed"])
        if (made.n, made.m) != (bank.n, m) or _draws(made) != bank.draws:
            raise ArgumentError(
                f"load: mapping= makes another mapping than {_brief(record['custom'])}, with which {path} "
                "was saved; pass the function (n, m, seed) that made that one"
            )
        return made
    try:
        made = mapping_of(json.dumps(record))
        fits = (made.n, made.m, made.cells) == (bank.n, m, m) and made.to_json() == json.dumps(record)
    except RpsError:
        made, fits = None, False
    if not fits:
        raise DataError(
            f"load: {path} describes no mapping of {bank.n} weights to {m} cells for {bank.name}, but "
            f"{_brief(record)}; get one that nn.save wrote"
        )
    if _draws(made) != bank.draws:
        raise DataError(
            f"load: {type(made).__name__} has other cells and signs than when {path} was saved; "
            "load it with the version that wrote it"
        )
    return made


def _parameter(
    path: str, record: BankRecord, model: tnn.Module, named: dict[str, Any], phi: torch.Tensor
) -> tuple[tnn.Module, str, tnn.Parameter]:
    """Where a new bank goes, and the bank, on the device of its weights.

    Raises:
        DataError: If the model has no such place.
        ArgumentError: If the weights are on several devices.
    """
    place, _, local = record.name.rpartition(".")
    owner = dict(model.named_modules()).get(place)
    if owner is None or hasattr(owner, local):
        raise DataError(
            f"load: the model has no room for {record.name} of {path}; pass the model that was saved"
        )
    device, *others = {named[weight.names[0]].device for weight in record.weights}
    if others:
        raise ArgumentError(
            f"load: the weights of {record.name} are on {device} and {others[0]}, and one bank is in one "
            "place; move the model"
        )
    return owner, local, tnn.Parameter(phi.to(device, copy=True))


def _add_views(change: Change, record: BankRecord, mapping: Any, modules: dict[str, tnn.Module]) -> None:
    place, _, local = record.name.rpartition(".")
    spans = [Span(w.first, prod(w.shape), float.fromhex(w.scale)) for w in record.weights]
    bank = Bank(modules[place], local, mapping, spans, cast(Scaler, record.scaler))
    change.banks.append(bank)
    for weight, span in zip(record.weights, spans, strict=True):
        view = View(bank, span.first, weight.shape, span.scale)
        for name in weight.names:
            module, _, own = name.rpartition(".")
            change.views.setdefault(modules[module], {})[own] = view


def _require_shareable(module: tnn.Module, views: dict[str, View]) -> None:
    """Do nothing if the module's class can be changed for one that reads a bank.

    Raises:
        KindError: If it cannot.
    """
    if views_of(module):
        return
    try:
        kind: Any = type(module)
        shared_class(kind, tuple(views))
        fine = type(module._parameters) is dict
    except TypeError:
        fine = False
    if not fine:
        raise KindError(
            f"load: {type(module).__name__} cannot be shared: it is compiled, or its class has no plain "
            "subclass; build the model of plain modules"
        )
