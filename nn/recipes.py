"""How a network is trained: frozen, named, and free of state; the rate of every step is a formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from math import cos, isfinite, pi
from numbers import Real
from operator import index
from typing import Any, Literal

from nn.patterns import one_of
from rpstheory.errors import ArgumentError, KindError

Schedule = Literal["step", "cosine", "one-cycle", "constant"]
Optimizer = Literal["sgd", "adamw"]
Precision = Literal["float32", "bfloat16", "float16"]
Augment = Literal["none", "crop-flip", "reflect-crop-flip"]

START, END = 25.0, 1e4  # one-cycle: the peak over the first rate, and that over the last


@dataclass(frozen=True)
class Recipe:
    """Everything about training but the data, the model and the method.

    Attributes:
        name: What it is called.
        epochs: Passes over the training set.
        batch: Images, or windows of a text, per step, of all processes together; the remainder of an epoch is
            left out.
        optimizer: "sgd" (Nesterov, where there is momentum) or "adamw".
        lr: The learning rate.
        momentum: Of SGD.
        weight_decay: Of every parameter.
        schedule: "step" multiplies the rate by ``factor`` after each epoch in ``drops``; "cosine" falls to 0;
            "one-cycle" rises to ``peak * lr`` in a share ``warmup`` of the steps and falls to nothing, both
            along a cosine; "constant".
        drops: Epochs, for "step".
        factor: For "step".
        peak: For "one-cycle".
        warmup: For "one-cycle".
        smoothing: Of the labels.
        clip: Largest norm of the gradient; 0 for any.
        precision: What products are computed in; parameters are float32.
        channels_last: The order of images in memory.
        augment: "none", "crop-flip" (4 zeros around, as in the papers) or "reflect-crop-flip".
        ema: Decay of an average of weights and batch norms, which is what is tested; 0 for none. After step t
            it is at most (1 + t) / (10 + t), so that a short training forgets its beginning too.
    """

    name: str
    epochs: int
    batch: int = 128
    optimizer: Optimizer = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Schedule = "step"
    drops: tuple[int, ...] = ()
    factor: float = 0.1
    peak: float = 2.0
    warmup: float = 0.25
    smoothing: float = 0.0
    clip: float = 0.0
    precision: Precision = "float32"
    channels_last: bool = False
    augment: Augment = "crop-flip"
    ema: float = 0.0

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            KindError: If one is of the wrong kind.
            ArgumentError: If one is out of range.
        """
        for each in fields(self):
            value = _converted(each.name, str(each.type), getattr(self, each.name))
            object.__setattr__(self, each.name, value)
        known = {
            "schedule": ("step", "cosine", "one-cycle", "constant"),
            "optimizer": ("sgd", "adamw"),
            "precision": ("float32", "bfloat16", "float16"),
            "augment": ("none", "crop-flip", "reflect-crop-flip"),
        }
        for field, names in known.items():
            one_of("recipe", field, getattr(self, field), names)
        _require(
            self.epochs >= 1 and self.batch >= 1, f"epochs={self.epochs}, batch={self.batch}", "1 or more"
        )
        for field in ("lr", "peak", "factor"):
            _require(
                0 < getattr(self, field),
                f"{field}={getattr(self, field)}",
                "a positive number",
            )
        for field in ("momentum", "ema", "smoothing"):
            _require(0 <= getattr(self, field) < 1, f"{field}={getattr(self, field)}", "0 or more, below 1")
        _require(0 < self.warmup < 1, f"warmup={self.warmup}", "a share of the steps between 0 and 1")
        _require(self.weight_decay >= 0 and self.clip >= 0, "a negative weight_decay or clip", "0 or more")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0 … epochs * steps - 1.

        Args:
            step: Which.
            steps: In an epoch.
        """
        whole = self.epochs * steps
        if self.schedule == "step":
            return self.lr * self.factor ** sum(step // steps >= drop for drop in self.drops)
        if self.schedule == "cosine":
            return self.lr * (1 + cos(pi * step / whole)) / 2
        if self.schedule == "constant":
            return self.lr
        top, turn = self.peak * self.lr, self.warmup * whole
        if step < turn:
            return _between(top / START, top, step / turn)
        return _between(top, top / START / END, (step - turn) / max(1.0, whole - 1 - turn))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + cos(pi * min(share, 1.0))) / 2


def _whole(value: object) -> int:
    if isinstance(value, bool):
        raise TypeError
    return index(value)  # type: ignore[arg-type]


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
        raise TypeError
    return float(value)


def _of(kind: type, value: object) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value


KINDS: dict[str, tuple[str, Callable[[object], object]]] = {
    "int": ("a whole number", _whole),
    "float": ("a finite number", _finite),
    "bool": ("true or false", partial(_of, bool)),
    "tuple[int, ...]": ("a tuple of whole numbers", lambda value: tuple(map(_whole, _of(tuple, value)))),
}


def _converted(name: str, kind: str, value: object) -> object:
    """A field as the recipe keeps it, so that 1, 1.0 and numpy's are one; names are looked up elsewhere.

    Raises:
        KindError: If it is not of its kind.
    """
    wanted, convert = KINDS.get(kind, ("text", partial(_of, str)))
    try:
        return convert(value)
    except TypeError:
        raise KindError(f"recipe: {name}={value!r} came; {wanted} is needed") from None


def _require(holds: bool, came: str, wanted: str) -> None:
    if not holds:
        raise ArgumentError(f"recipe: {came} came; {wanted} is needed")


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("paper", 160, drops=(80, 120)),
        Recipe("synflow", 160, drops=(60, 120)),
        Recipe(
            "short", 4, weight_decay=5e-4, schedule="one-cycle", precision="bfloat16", channels_last=True,
            augment="reflect-crop-flip",
        ),
        Recipe("smoke", 3, batch=64, weight_decay=5e-4, schedule="one-cycle", augment="none"),
        Recipe(
            "transformer", 8, batch=16, optimizer="adamw", lr=1.5e-3, weight_decay=0.01, schedule="one-cycle",
            clip=1.0, precision="bfloat16", augment="none",
        ),
    )
}  # fmt: skip


def changed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The fields but lr and epochs in which a recipe is not the one of its name, or, if there is none, plain.

    Args:
        recipe: Its fields by name, as they are recorded.
    """
    known = RECIPES.get(recipe["name"], Recipe("plain", 1))
    usual = asdict(known) | {"drops": list(known.drops)}
    usual |= {field: recipe[field] for field in ("name", "lr", "epochs")}
    return {field: value for field, value in recipe.items() if value != usual.get(field)}


def recipe_of(name: str, /, **changes: object) -> Recipe:
    """A named recipe with some fields changed.

    Raises:
        KindError: If a field is of the wrong kind.
        ArgumentError: If there is none of this name, or a field is unknown, out of range or the name.
    """
    recipe = RECIPES[one_of("train", "recipe", name, RECIPES)]
    if "name" in changes:
        raise ArgumentError(
            f"recipe: name={changes['name']!r} came; a recipe that is changed keeps its name, and what was "
            "changed is shown beside it; leave the name out"
        )
    for field in changes:
        one_of("recipe", "field", field, recipe.__dataclass_fields__)
    drops = changes.get("drops")
    if isinstance(drops, list):
        changes["drops"] = tuple(drops)
    return replace(recipe, **changes)  # type: ignore[arg-type]
