"""A trained transformer whose layers share parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn as tnn

from nn.cross_layer.planning import Setting, setting_of
from nn.cross_layer.streams import Batch
from nn.cross_layer.work import Say, Work
from nn.factoring import uninstall
from nn.layers import factors_of, views_of
from nn.sharing import banks_of, copied, unsign
from nn.sources import code_but_for
from rpstheory.errors import ArgumentError, DataError, ResumeError
from rpstheory.report.files import write_text

RUN = "run.json"


def share_layers(
    model: tnn.Module,
    method: str = "basis",
    *,
    compression: float | None = None,
    budget_params: int | None = None,
    budget_bytes: int | None = None,
    calibration: Iterable[Any] | None = None,
    groups: str | Iterable[Iterable[int]] | None = None,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    naming: Mapping[str, str | Iterable[str]] | None = None,
    seed: int = 0,
    inplace: bool = False,
    resume: str | Path | None = None,
    progress: Say | None = None,
    **options: Any,
) -> tnn.Module:
    """The model with its projections made from factors, of which layers share some.

    Args:
        model: A trained transformer of transformers or :mod:`nn.models`; others with ``naming``.
        method: svd, basis, fips, geo or rps.
        compression: Bytes of the projections over those kept, >= 1: 1.25 removes 20 %.
        budget_params: In its place: parameters of the whole model.
        budget_bytes: In its place: bytes of all parameters and buffers, indices included.
        calibration: Batches: tensors, (inputs, labels), or dicts of arguments; an attention_mask in a dict
            says what is padding. All methods but plain svd and plain rps need it.
        groups: Layers that may share: "adjacent:n", lists of layers by their place, or "auto", which is for
            the method to find; None: what it does best with, "adjacent:2" for basis and "auto" for others.
        include: Patterns of projections; only these are compressed.
        exclude: Patterns of projections that stay.
        naming: Names of projections inside a numbered block, by role, for models that are not known.
        seed: Of everything random.
        inplace: Change the model itself; otherwise it is left alone.
        resume: A folder that keeps every stage that is finished; the same call goes on from there.
        progress: Takes a line for each stage.
        **options: Of the method; see its class.

    Returns:
        The model; it multiplies by the factors one after another, and ``module.weight`` forms their product.
        :func:`nn.report`, :func:`nn.save`, :func:`nn.load` and :func:`nn.to_dense` know it.

    Raises:
        ArgumentError: If an argument is out of range, calibration is missing, no rank reaches the budget, or
            the model holds no projection that is known.
        KindError: If an argument is of the wrong kind.
        ShapeError: If layers that were named as a group are not alike.
        DataError: If weights or activations hold nan or inf; the model is as it was.
        ResumeError: If the folder is of another run, or of other code.
    """
    setting = setting_of(
        model, method, compression, budget_params, budget_bytes, calibration, groups, include, exclude,
        naming, seed, options,
    )  # fmt: skip
    if setting.method.calibrated and not setting.batches:
        raise ArgumentError(
            f"share_layers: no calibration came, and {method!r} looks at activations; pass calibration=, a "
            "list of batches"
        )
    dense = _dense(model, setting)
    folder = None if resume is None else _opened(Path(resume), setting, model)
    target = model if inplace else copied(model, dense)
    work = Work(target, setting.task, setting.plan.units, setting.batches, dense, folder, progress or _silent)
    for line in setting.plan.unknown_in_words():
        work.tell(line)
    try:
        with torch.inference_mode(False), torch.enable_grad():  # what the caller needs not, methods may
            setting.method.fit(work)
        _require_within(work)
    except BaseException:
        if inplace:
            _undo(work)
        raise
    return target


def stored_bytes(model: tnn.Module, names: Iterable[str]) -> int:
    """Bytes of all numbers and indices that some weights are read from, each once.

    Args:
        model: Shared or dense.
        names: Of the weights.
    """
    found: dict[int, int] = {}
    for name in names:
        prefix, _, local = name.rpartition(".")
        module = model.get_submodule(prefix)
        view = views_of(module).get(local)
        if view is None:
            parameter = getattr(module, local)
            found[id(parameter)] = parameter.nbytes
        else:
            found |= view.stored()
    return sum(found.values())


def _silent(text: str) -> None:
    """Nobody listens."""


def _dense(model: tnn.Module, setting: Setting) -> dict[str, tnn.Parameter]:
    """The weights to compress, by name.

    Raises:
        DataError: If one is without numbers, or holds nan or inf.
    """
    found = {p.name: model.get_parameter(p.name) for p in setting.task.projections}
    for name, weight in found.items():
        if weight.is_meta:
            raise DataError(f"share_layers: {name} is on the meta device; nn.plan_layers is the dry run")
        if not bool(torch.isfinite(weight).all()):
            raise DataError(f"share_layers: {name} holds nan or inf; load weights that are whole")
    return found


def _require_within(work: Work) -> None:
    """Do nothing if the budget is kept, counted on the tensors that are there.

    Raises:
        ArgumentError: If it is not.
    """
    stored = stored_bytes(work.model, [p.name for p in work.task.projections])
    if stored > work.task.allowance:
        raise ArgumentError(
            f"share_layers: the factors take {stored} bytes, and {work.task.allowance} are allowed; this is "
            "an error of the method"
        )


def _undo(work: Work) -> None:
    """The model as it was: its weights in their places, and no factors."""
    factors, banks = factors_of(work.model), banks_of(work.model)
    names = {n: work.dense[p.name] for p in work.task.projections for n in p.names}
    uninstall(work.model, names)
    for factor in factors:
        factor.remove()
    for bank in banks:
        delattr(bank.owner, bank.name)
    unsign(work.model)


def _opened(folder: Path, setting: Setting, model: tnn.Module) -> Path:
    """The folder of finished stages, made if it is new.

    Raises:
        ResumeError: If it belongs to another run, or cannot be used.
    """
    plan, task = setting.plan, setting.task
    said = {
        "method": repr(setting.method),
        "groups": task.groups,
        "allowance": task.allowance,
        "seed": task.seed,
        "model": _digest(model.state_dict().items(), plan.units),
        "calibration": _digest(*(_tensors(batch) for batch in setting.batches)),
        "code": code_but_for(),
    }
    text, place = json.dumps(said, indent=1) + "\n", folder / RUN
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = place.read_text() if place.exists() else None
        strange = found is None and any(folder.glob("*.safetensors"))
    except OSError as error:
        raise ResumeError(
            f"share_layers: {folder} cannot be used ({error.strerror}); choose another folder"
        ) from None
    if strange:
        raise ResumeError(
            f"share_layers: {folder} holds tensors and no {RUN}, which says of which run they are; choose "
            "another folder"
        )
    if found not in (None, text):
        raise ResumeError(
            f"share_layers: {folder} holds stages of another run (its {RUN} differs in model, data, budget, "
            "groups, seed, options or code); choose another folder"
        )
    write_text(place, text, "share_layers")
    return folder


def _tensors(batch: Batch) -> list[Any]:
    return [*batch.args, *batch.kwargs.items(), batch.target]


def _digest(*parts: Iterable[Any]) -> str:
    """SHA-256 of tensors and of whatever has a text."""
    found = hashlib.sha256()
    for part in parts:
        for each in part:
            for item in each if isinstance(each, tuple) else (each,):
                if isinstance(item, torch.Tensor):
                    found.update(repr((item.dtype, item.shape)).encode())
                    found.update(
                        item.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
                    )
                else:
                    found.update(repr(item).encode())
    return found.hexdigest()
