"""A model whose weights are read from a bank, and back."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from collections.abc import Mapping as Dict
from typing import Any, Literal

import torch
import torch.nn as tnn

from nn.bank import Bank, Law, View, numbers
from nn.bridge import Mapping, drawn
from nn.factors import Product
from nn.gamma import Scaler, Span
from nn.kernels.reference import add_at
from nn.layers import (
    factors_of,
    padding_rows,
    require_shareable,
    restore_parameters,
    share_parameters,
    views_of,
)
from nn.patterns import one_of
from nn.planning import Found, Group, Plan, Scope, plan, survey
from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError

Init = Literal["module", "project"]
NAME = "shared_bank"
BLOCK = 2**22


def share(
    model: tnn.Module,
    compression: float | None = None,
    *,
    budget_params: int | None = None,
    budget_bytes: int | None = None,
    mapping: Mapping = "fold",
    scope: Scope = "global",
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    overrides: Dict[str, Dict[str, Any]] | None = None,
    scaler: Scaler = "gamma",
    init_std: float = 1.0,
    init: Init = "module",
    law: Law = "normal",
    importance: Dict[str, torch.Tensor] | None = None,
    seed: int = 0,
    inplace: bool = False,
) -> tnn.Module:
    """The model with its weights in a bank of n / compression numbers.

    Args:
        model: Any module; its forward, and every ``module.weight``, stay.
        compression: Compressible weights over cells of the bank, as in the paper; >= 1.
        budget_params: In its place: parameters of the whole model, fixed ones included.
        budget_bytes: In its place: bytes of all parameters and buffers.
        mapping: fold, hashed, chunk, block, or a function (n, m, seed).
        scope: One bank for the model, or one for each weight.
        include: Patterns of weights to share whatever their size; an exact name takes any parameter.
        exclude: Patterns of weights to leave; wins over all.
        overrides: Options of their own, and a bank of their own, for weights that match a pattern.
        scaler: gamma, v1 or none.
        init_std: C; without effect on training under gamma and v1.
        init: "module": a new bank at the scale of each module's weights; "project": the bank that comes
            nearest to the weights.
        law: Of a new bank: "normal" with standard deviation C, or "uniform" on [-C, C], the authors' code.
        importance: For "project", non-negative weights of the squared error, by name of parameter.
        seed: Of mapping and bank.
        inplace: Change the model itself; otherwise it is left alone.

    Returns:
        A model with the parameters ``shared_bank`` and the fixed ones.

    Raises:
        ArgumentError: If an argument is out of range or a pattern matches nothing.
        KindError: If an argument is of the wrong kind.
        DataError: If a weight is constant, or holds nan or inf.
        LawBroken: If a mapping of your own breaks a law of :mod:`rpstheory.conformance`.
    """
    if init not in ("module", "project"):
        raise ArgumentError(f"share: init={init!r} came; pass 'module' or 'project'")
    one_of("share", "law", law, ("normal", "uniform"))
    what = plan(
        model,
        compression,
        budget_params=budget_params,
        budget_bytes=budget_bytes,
        mapping=mapping,
        scope=scope,
        include=include,
        exclude=exclude,
        overrides=overrides,
        scaler=scaler,
        init_std=init_std,
        seed=seed,
    )
    found = {each.names[0]: each.parameter for each in survey(model)}
    shared = {w.name: found[w.name] for group in what.groups for w in group.weights}
    scales = {name: _scale(name, weight, init) for name, weight in shared.items()}
    weighing = _checked(importance, shared, init)
    unread = _unread(model, shared, weighing) if init == "project" else {}
    target = model if inplace else copied(model, shared)
    dense = {name: weight.detach() for name, weight in shared.items()}
    for group, bank in zip(what.groups, apply(target, what, scales), strict=True):
        with torch.no_grad():
            if init == "project":
                bank.phi.copy_(projected(bank, group, dense, {**weighing, **unread}))
            else:
                theta = numbers(law, group.m, group.seed).to(bank.phi.device) * group.options.init_std
                bank.phi.copy_(theta * bank.roots())
            bank.settle()
    return target


def apply(model: tnn.Module, what: Plan, scales: Dict[str, float]) -> list[Bank]:
    """The banks of a plan, put in the place of the model's weights; phi is not filled.

    Args:
        model: Has every parameter that the plan names; changed.
        what: The plan.
        scales: sigma of every shared weight, by name.

    Raises:
        ArgumentError: If a name is taken, or weights of one bank are on several devices or partly frozen;
            the model is as it was.
    """
    found = {each.names[0]: each for each in survey(model)}
    banks = []
    for number, group in enumerate(what.groups):
        name = NAME if number == 0 else f"{NAME}_{number}"
        if hasattr(model, name):
            raise ArgumentError(f"share: the model has an attribute {name} of its own; rename it")
        first, spans = 0, []
        for weight in group.weights:
            spans.append(Span(first, weight.count, scales[weight.name] / group.options.init_std))
            first += weight.count
        _alike([found[weight.name] for weight in group.weights])
        banks.append(Bank(model, name, group.mapping(), spans, group.options.scaler))
    places: dict[tnn.Module, dict[str, View]] = {}
    rows = padding_rows(model)
    for group, bank in zip(what.groups, banks, strict=True):
        for weight, span in zip(group.weights, bank.spans, strict=True):
            blank = rows.get(id(found[weight.name].parameter))
            view = View(bank, span.first, weight.shape, span.scale, blank)
            for module, local in found[weight.name].places:
                places.setdefault(module, {})[local] = view
    for module, views in places.items():
        require_shareable("share", module, tuple(views))
    for group, bank in zip(what.groups, banks, strict=True):
        like = found[group.weights[0].name].parameter
        phi = tnn.Parameter(like.new_empty(group.m), requires_grad=like.requires_grad)
        model.register_parameter(bank.name, phi)
    for module, views in places.items():
        share_parameters(module, views)
    sign(model)
    return banks


def sign(model: tnn.Module) -> None:
    """From now on its states say how weights are read from them, and only such are loaded."""
    unsign(model)
    model._register_state_dict_hook(_sign)  # type: ignore[no-untyped-call]
    model.register_load_state_dict_pre_hook(_compare)  # type: ignore[no-untyped-call]


def _sign(model: tnn.Module, state: Any, prefix: str, metadata: dict[str, Any]) -> None:
    """A state_dict holds the numbers of the bank; say beside them how weights are read from it."""
    metadata[NAME] = _signatures(model)


def _compare(model: tnn.Module, state: Any, prefix: str, metadata: dict[str, Any], *_: Any) -> None:
    """Do nothing if the state is of a model that reads its banks in the same way, or does not say.

    Raises:
        DataError: If it does not; nothing is loaded.
    """
    own = _signatures(model)
    if metadata.get(NAME, own) != own:
        raise DataError(
            "load_state_dict: the state is of a model that reads its bank in another way (mapping, seed, "
            "scaler or lambda, which comes from the initial weights) and would give other weights here; "
            "share the same initial model, or use nn.save and nn.load, which keep all that"
        )


def _signatures(model: tnn.Module) -> dict[str, str]:
    found = {bank.name: bank.signature for bank in banks_of(model) if bank.owner is model}
    chains = {
        f"{prefix}.{local}": view.signature
        for prefix, module in model.named_modules()
        for local, view in views_of(module).items()
        if isinstance(view, Product)
    }
    if chains:
        found["factors"] = hashlib.sha256(json.dumps(chains).encode()).hexdigest()
    return found


def unsign(model: tnn.Module) -> None:
    """The opposite of :func:`sign`."""
    for hooks in (model._state_dict_hooks, model._load_state_dict_pre_hooks):
        for key, hook in list(hooks.items()):
            if getattr(hook, "hook", hook) in (_sign, _compare):
                del hooks[key]


def _alike(found: list[Found]) -> None:
    """Do nothing if one bank can serve all.

    Raises:
        ArgumentError: If they are on several devices, or only some are frozen.
    """
    first = found[0]
    for other in found:
        if other.parameter.requires_grad != first.parameter.requires_grad:
            still, moving = (first, other) if other.parameter.requires_grad else (other, first)
            raise ArgumentError(
                f"share: {still.names[0]} is frozen and {moving.names[0]} is not, and one bank is trained or "
                "not; exclude one, give it a bank of its own with overrides, or use scope='layer'"
            )
        if other.parameter.device != first.parameter.device:
            raise ArgumentError(
                f"share: {first.names[0]} is on {first.parameter.device} and {other.names[0]} on "
                f"{other.parameter.device}, and one bank is in one place; move them, or use scope='layer'"
            )


def projected(
    bank: Bank, group: Group, dense: Dict[str, torch.Tensor], importance: Dict[str, torch.Tensor]
) -> torch.Tensor:
    """The phi that minimises sum h_i (w_i - lambda_i sign_i theta_cell(i))^2, (m,) float64.

    theta = sum(sign lambda h w) / sum(lambda^2 h) in every cell, 0 where that is empty.
    """
    mapping, device = bank.mapping, bank.phi.device
    pull = torch.zeros(group.m, dtype=torch.float64, device=device)
    mass = torch.zeros_like(pull)
    for weight, span in zip(group.weights, bank.spans, strict=True):
        w = dense[weight.name].reshape(-1)
        h = importance[weight.name].reshape(-1) if weight.name in importance else None
        for low in range(0, span.count, BLOCK):
            high = min(low + BLOCK, span.count)
            place = torch.arange(span.first + low, span.first + high, device=device)
            (cell, sign), part = drawn(mapping, place), span.scale * w[low:high].double()
            each = torch.ones_like(part) if h is None else h[low:high].double()
            add_at(pull, cell, sign * part * each)
            add_at(mass, cell, span.scale**2 * each)
    return torch.where(mass > 0, pull / mass, 0) * bank.roots()


def to_dense(model: tnn.Module) -> tnn.Module:
    """A plain trainable model, equal to the shared one, which is left alone.

    Args:
        model: From :func:`share` or :func:`nn.load`.

    Raises:
        ArgumentError: If nothing in it is shared.
    """
    if not (banks_of(model) or factors_of(model)):
        raise ArgumentError("to_dense: nothing in this model is shared; pass a model of nn.share or nn.load")
    plain = copy.deepcopy(model)
    banks, factors = banks_of(plain), factors_of(plain)
    made: dict[int, tnn.Parameter] = {}
    for module in list(plain.modules()):
        views = views_of(module)
        for view in views.values():
            if id(view) not in made:
                weight = view.read().detach().clone()
                made[id(view)] = tnn.Parameter(weight, requires_grad=view.requires_grad)
        if views:
            restore_parameters(module, {name: made[id(view)] for name, view in views.items()})
    for bank in banks:
        delattr(bank.owner, bank.name)
    for factor in factors:
        factor.remove()
    for owner in {*(bank.owner for bank in banks), *(factor.owner for factor in factors)}:
        unsign(owner)
    return plain


def banks_of(model: tnn.Module) -> list[Bank]:
    """The banks that the model's views read, each once.

    Raises:
        KindError: If it is no module.
    """
    if not isinstance(model, tnn.Module):
        raise KindError(f"nn: {type(model).__name__} came; a torch.nn.Module is needed")
    views = [view for module in model.modules() for view in views_of(module).values()]
    return list({id(view.bank): view.bank for view in views if isinstance(view, View)}.values())


def _scale(name: str, weight: torch.Tensor, init: Init) -> float:
    """sigma: the standard deviation of a module's weights, or for "project" their root mean square.

    Raises:
        DataError: If the weights are not finite, or all the same.
        KindError: If other libraries, or other processes, have a part in the tensor.
    """
    if type(weight.data) is not torch.Tensor:
        raise KindError(
            f"share: {name} is a {type(weight.data).__name__}, and an ordinary tensor is needed; share the "
            "model first, then distribute or quantize it"
        )
    if weight.is_meta:
        raise DataError(f"share: {name} is on the meta device, without numbers; nn.plan is the dry run")
    flat = weight.detach().reshape(-1)
    flat = flat.float() if flat.element_size() < 4 else flat  # squares of 16 bits overflow
    size = flat.std(correction=0) if init == "module" and flat.numel() > 1 else flat.square().mean().sqrt()
    scale = float(size)
    if not 0 < scale < float("inf"):
        raise DataError(
            f"share: {name} has standard deviation {scale}, and lambda must be positive and finite; "
            "initialise it, or leave it dense with exclude"
        )
    return scale


def _checked(
    importance: Dict[str, torch.Tensor] | None, shared: Dict[str, torch.Tensor], init: Init
) -> Dict[str, torch.Tensor]:
    if importance is None:
        return {}
    if not isinstance(importance, Dict) or not all(isinstance(v, torch.Tensor) for v in importance.values()):
        raise KindError("share: importance is no dict of tensors by name of parameter; pass one")
    if init != "project":
        raise ArgumentError("share: importance is for init='project' only; leave it out")
    for name, each in importance.items():
        if name not in shared:
            raise ArgumentError(f"share: importance names {name!r}, which is not shared; leave it out")
        if each.shape != shared[name].shape:
            raise ShapeError(
                f"share: importance[{name!r}] has shape {tuple(each.shape)}, "
                f"the weight {tuple(shared[name].shape)}; make them equal"
            )
        if not (torch.isfinite(each).all() and (each >= 0).all()):
            raise DataError(f"share: importance[{name!r}] must be finite and not negative")
    return importance


def _unread(
    model: tnn.Module, shared: Dict[str, tnn.Parameter], importance: Dict[str, torch.Tensor]
) -> Dict[str, torch.Tensor]:
    """Importance of the tables in which a row is padding, which counts for nothing."""
    rows, found = padding_rows(model), {}
    for name, weight in shared.items():
        if id(weight) in rows:
            found[name] = importance.get(name, torch.ones_like(weight)).clone()
            found[name][rows[id(weight)]] = 0
    return found


def copied(model: tnn.Module, shared: Dict[str, torch.Tensor]) -> Any:
    """A deep copy in which the weights that will be shared are still the old ones.

    Raises:
        ArgumentError: If it cannot be copied.
    """
    try:
        return copy.deepcopy(model, {id(weight): weight for weight in shared.values()})
    except RuntimeError as error:  # a tensor that is not a leaf
        raise ArgumentError(
            f"share: the model cannot be copied ({str(error).splitlines()[0]}); pass inplace=True"
        ) from None
