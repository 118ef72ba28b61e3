"""A model with weights from a file that no run of this package made, or that nn.save wrote."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
import torch.nn as tnn
from safetensors import SafetensorError, safe_open

from nn.advice.trained import plain
from nn.saving import FORMAT, load
from rpstheory.errors import DataError


def with_weights(model: tnn.Module, path: Path) -> tnn.Module:
    """The model with the weights of a file.

    Args:
        model: With plain weights; it is changed in place once all has been checked.
        path: What :func:`nn.save` wrote of it; or its state dict, as safetensors or by ``torch.save``.

    Returns:
        The model, its weights plain.

    Raises:
        DataError: If the file cannot be read, or is not of this model.
    """
    if not path.is_file():
        raise DataError(f"weights: {path} is no file; check the path")
    try:
        shared, state = _read(path)
    except OSError as error:
        raise DataError(f"weights: {path} cannot be read ({error}); make it readable") from None
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError):
        state, shared = None, False
    if shared:
        return plain(load(path, model))
    if not isinstance(state, dict) or not all(isinstance(each, torch.Tensor) for each in state.values()):
        raise DataError(
            f"weights: {path} holds no state dict; pass what nn.save wrote, or model.state_dict() as "
            "safetensors or by torch.save"
        )
    there = model.state_dict()
    for name in (*there, *state):
        came, wanted = (str(tuple(of[name].shape)) if name in of else "missing" for of in (state, there))
        if came != wanted:
            raise DataError(
                f"weights: {name} is {came} in {path} and {wanted} in the model; pass weights of this "
                "model, and data of as many channels and classes"
            )
    model.load_state_dict(state)
    return model


def _read(path: Path) -> tuple[bool, Any]:
    """Whether the file is of nn.save, and what it holds otherwise."""
    if is_zipfile(path):
        return False, torch.load(path, "cpu", weights_only=True)
    with safe_open(path, "pt") as file:
        shared = FORMAT in (file.metadata() or {})
        return shared, None if shared else {name: file.get_tensor(name) for name in file.keys()}
