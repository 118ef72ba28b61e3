"""Modules whose weight is read from a bank, or from factors: the same class, with a property for a parameter.

A shared module is an instance of a subclass of its own class, made once for each class and set of names;
its forward is the one it had, and ``module.weight`` a tensor that autograd follows into the bank.
Different are only those that need not form their weight: embeddings, which read the rows of their tokens,
a Linear without gradients for a few rows of x, and whatever multiplies by factors one after another; and
recurrent networks, which cache their weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

from nn.bank import View
from nn.factors import Factor, Product
from rpstheory.errors import KindError

AnyView = View | Product

_VIEWS, _ORDER = "_views", "_parameters_before"


class Shared:
    """What every shared module has besides its own class."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """The class is made again where the module is unpickled or copied."""
        return _blank, (own_class(self), type(self).names), self.__getstate__()  # type: ignore[attr-defined]


def _blank(base: type, names: tuple[str, ...]) -> Any:
    kind: Any = shared_class(base, names)
    return kind.__new__(kind)


@cache
def shared_class(base: type, names: tuple[str, ...]) -> type:
    """The subclass of ``base`` that reads the named weights from a bank."""
    body: dict[str, Any] = {name: _property(name) for name in names}
    body |= {"names": names, "__doc__": base.__doc__, "__module__": __name__}
    local, own = _conv1d_forward(base) or _OWN_FORWARD.get(base.forward, ("", None))  # type: ignore[attr-defined]
    if own is not None and local in names:
        body["forward"] = own
    if issubclass(base, tnn.RNNBase):
        body["_flat_weights"] = property(_flat_weights, _ignore)
        body["flatten_parameters"] = body["_update_flat_weights"] = lambda self: None
        body["__getstate__"] = lambda self: self.__dict__.copy()
        body["__setstate__"] = tnn.Module.__setstate__  # the bank may still be on its way
    return type(f"Shared{base.__name__}", (Shared, base), body)


def require_shareable(owner: str, module: tnn.Module, names: tuple[str, ...]) -> None:
    """Do nothing if the module's class can be changed for one that reads a bank.

    Raises:
        KindError: If it cannot.
    """
    kind: Any = type(module)
    try:
        if views_of(module) or (type(module._parameters) is dict and shared_class(kind, names)):
            return
    except TypeError:  # the class takes no plain subclass
        pass
    raise KindError(
        f"{owner}: {kind.__name__} cannot be shared: it is compiled, or its class has no plain subclass; "
        "share the model that was compiled, or build it of plain modules"
    )


def share_parameters(module: tnn.Module, views: Mapping[str, AnyView]) -> None:
    """Put the views in the place of the module's parameters, or views, of these names."""
    kind: Any = own_class(module)
    found = views_of(module) | dict(views)
    module.__class__ = shared_class(kind, tuple(found))
    module.__dict__[_VIEWS] = found
    module.__dict__.setdefault(_ORDER, tuple(module._parameters))
    for name in views:
        module._parameters.pop(name, None)
    if isinstance(module, tnn.RNNBase):
        for name in ("_flat_weights", "_flat_weight_refs"):
            module.__dict__.pop(name, None)


def restore_parameters(module: tnn.Module, parameters: Mapping[str, tnn.Parameter]) -> None:
    """The opposite of :func:`share_parameters`: parameters again, where they were; at last its own class."""
    kind: Any = own_class(module)
    left = {name: view for name, view in views_of(module).items() if name not in parameters}
    module.__class__ = shared_class(kind, tuple(left)) if left else kind
    module.__dict__[_VIEWS] = left
    for name, parameter in parameters.items():
        module.register_parameter(name, parameter)
    for name in (name for name in module.__dict__[_ORDER] if name in module._parameters):
        module._parameters[name] = module._parameters.pop(name)  # in this order; optimizers count places
    if left:
        return
    del module.__dict__[_VIEWS], module.__dict__[_ORDER]
    if isinstance(module, tnn.RNNBase):
        module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
        module._apply(lambda tensor: tensor)  # type: ignore[no-untyped-call]  # its other caches


def own_class(module: Any) -> type:
    """The class that the module had before it was shared."""
    return type(module).__mro__[2] if isinstance(module, Shared) else type(module)


def views_of(module: tnn.Module) -> dict[str, Any]:
    """The views of a module by name; empty where nothing is shared."""
    return module.__dict__.get(_VIEWS, {})


def factors_of(model: tnn.Module) -> list[Factor]:
    """The factors that the model's views read, each once, in the order of the model."""
    views = [view for module in model.modules() for view in views_of(module).values()]
    links = [factor for view in views if isinstance(view, Product) for factor, _ in view.links]
    return list(dict.fromkeys(links))


def padding_rows(model: tnn.Module) -> dict[int, int]:
    """The padding row of each table, parameter or view, that one embedding alone reads, by identity.

    Of a tied table it is a row like any other: the other reader has use for it, and trains it.
    """
    readers, rows = Counter[int](), dict[int, int]()
    for module in model.modules():
        for value in (*views_of(module).values(), *module._parameters.values()):
            readers[id(value)] += 1
            if isinstance(module, tnn.Embedding) and module.padding_idx is not None:
                rows[id(value)] = module.padding_idx
    return {key: row for key, row in rows.items() if readers[key] == 1}


def is_conv1d(kind: type) -> bool:
    """Whether it is the Conv1D of transformers: a Linear whose weight is (inputs, outputs)."""
    return any(
        base.__name__ == "Conv1D" and base.__module__ == "transformers.pytorch_utils" for base in kind.__mro__
    )


def _property(name: str) -> property:
    def read(self: Any) -> torch.Tensor:
        return self.__dict__[_VIEWS][name].read()

    read.__name__ = name
    return property(read)


def _flat_weights(self: Any) -> list[torch.Tensor]:
    return [getattr(self, name) for name in self._flat_weights_names]


def _ignore(self: Any, value: Any) -> None:
    """Recurrent modules write the list when they are built or moved; it is read anew each time."""


def _linear(self: Any, input: torch.Tensor) -> torch.Tensor:
    view: AnyView = self.__dict__[_VIEWS]["weight"]
    found = view.product(input, self.bias)
    return tnnf.linear(input, view.read(), self.bias) if found is None else found


def _embedding(self: Any, input: torch.Tensor) -> torch.Tensor:
    if self.max_norm is not None or self.scale_grad_by_freq:  # these look at the table as a whole
        return tnn.Embedding.forward(self, input)
    view = self.__dict__[_VIEWS]["weight"]
    found = view.rows(input)
    if self.padding_idx in (None, getattr(view, "blank", None)):  # a blank row has no gradient anyway
        return found
    return torch.where((input == self.padding_idx).unsqueeze(-1), found.detach(), found)


def _embedding_bag(
    self: Any,
    input: torch.Tensor,
    offsets: torch.Tensor | None = None,
    per_sample_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    if self.max_norm is not None or self.scale_grad_by_freq:
        return tnn.EmbeddingBag.forward(self, input, offsets, per_sample_weights)
    flat = input.reshape(-1)
    table = self.__dict__[_VIEWS]["weight"].rows(tnnf.pad(flat, (1, 0)))  # row 0 stands for the padding
    place = torch.arange(1, flat.numel() + 1, device=flat.device)
    if self.padding_idx is not None:
        place = torch.where(flat == self.padding_idx, 0, place)
    return tnnf.embedding_bag(
        place.view(input.shape),
        table,
        offsets,
        mode=self.mode,
        per_sample_weights=per_sample_weights,
        include_last_offset=self.include_last_offset,
        padding_idx=None if self.padding_idx is None else 0,
    )


def _conv1d(self: Any, x: torch.Tensor) -> torch.Tensor:
    view: AnyView = self.__dict__[_VIEWS]["weight"]  # of a bank: that multiplies by the transpose
    found = view.product(x, self.bias) if isinstance(view, Product) else None
    return x @ view.read() + self.bias if found is None else found


def attention(
    self: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    key_padding_mask: torch.Tensor | None = None,
    need_weights: bool = True,
    attn_mask: torch.Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The forward of a MultiheadAttention that calls out_proj, and does not multiply factors out.

    Masks, and attention to other tokens than one's own, are left to the forward of the class.
    """
    masked = key_padding_mask is not None or attn_mask is not None or is_causal
    own = query is key is value and query.ndim == 3 and self.in_proj_weight is not None
    if masked or not own or self.bias_k is not None or self.add_zero_attn:
        return own_class(self).forward(  # type: ignore[attr-defined]
            self, query, key, value, key_padding_mask=key_padding_mask, need_weights=need_weights,
            attn_mask=attn_mask, average_attn_weights=average_attn_weights, is_causal=is_causal,
        )  # fmt: skip
    x = query if self.batch_first else query.transpose(0, 1)
    heads = _projected(self, x).view(*x.shape[:2], 3, self.num_heads, self.head_dim)
    q, k, v = heads.permute(2, 0, 3, 1, 4)
    dropout, weights = self.dropout if self.training else 0.0, None
    if need_weights:
        weights = tnnf.dropout(torch.softmax(q @ k.mT / self.head_dim**0.5, dim=3), dropout)
        y = weights @ v
        weights = weights.mean(dim=1) if average_attn_weights else weights
    else:
        y = tnnf.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    y = self.out_proj(y.transpose(1, 2).flatten(2))
    return y if self.batch_first else y.transpose(0, 1), weights


def _projected(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Queries, keys and values of all heads."""
    view = views_of(self).get("in_proj_weight")
    found = view.product(x, self.in_proj_bias) if isinstance(view, Product) else None
    return tnnf.linear(x, self.in_proj_weight, self.in_proj_bias) if found is None else found


_OWN_FORWARD: dict[Any, tuple[str, Any]] = {
    tnn.Linear.forward: ("weight", _linear),
    tnn.Embedding.forward: ("weight", _embedding),
    tnn.EmbeddingBag.forward: ("weight", _embedding_bag),
    tnn.MultiheadAttention.forward: ("in_proj_weight", attention),
}


def _conv1d_forward(base: type) -> tuple[str, Any] | None:
    return ("weight", _conv1d) if is_conv1d(base) else None
