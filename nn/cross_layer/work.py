"""What a method works with: weights, activations, what was finished before, and a place for factors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn as tnn
from safetensors import SafetensorError
from safetensors import torch as safetensors

from nn.cross_layer.adapters import Projection, blocks_of
from nn.cross_layer.method import Task, Unit
from nn.cross_layer.streams import Batch, Layer, stream
from nn.factoring import Place, install
from nn.factors import Chain, Factor, Matrix
from rpstheory.errors import ResumeError
from rpstheory.report.files import write_bytes

Say = Callable[[str], None]
Tensors = dict[str, torch.Tensor]


@dataclass
class Work:
    """A model on its way from dense to compressed.

    Attributes:
        model: What is changed; dense at the beginning.
        task: What is to be compressed.
        units: As planned.
        batches: Calibration data; empty if the method needs none and none came.
        dense: The weights as they were, by name.
        folder: Where finished stages are kept; None: nowhere.
        tell: Takes a line of progress.
    """

    model: tnn.Module
    task: Task
    units: tuple[Unit, ...]
    batches: tuple[Batch, ...]
    dense: Mapping[str, tnn.Parameter]
    folder: Path | None
    tell: Say

    def weight(self, name: str) -> torch.Tensor:
        """(rows, columns), as it multiplies from the right, before compression."""
        parameter = self.dense[name].detach()
        return parameter.T if self._projections[name].flipped else parameter

    def stream(self, *, live: bool = False) -> Iterator[Layer]:
        """The blocks one after another, each with its inputs; see :func:`nn.cross_layer.streams.stream`."""
        return stream(self.model, blocks_of(self.task.projections), self.batches, live=live)

    def install(self, chains: Mapping[str, Chain]) -> dict[Matrix, Factor]:
        """Put products of stored matrices in the place of weights, by name."""
        places = {}
        for name, chain in chains.items():
            projection = self._projections[name]
            places[Place(projection.names, projection.flipped)] = chain
        return install(self.model, places)

    def once(self, label: str, compute: Callable[[], Tensors]) -> Tensors:
        """The tensors that a stage computes, or has computed before it was stopped.

        Args:
            label: In words; different for each stage of a run.
            compute: Depends on nothing but the model, the task, and stages before.

        Raises:
            ResumeError: If what was kept cannot be read.
        """
        place = self._kept(label)
        if place is not None and place.exists():
            try:
                found = safetensors.load_file(place, str(self._device))
            except (OSError, SafetensorError) as error:
                raise ResumeError(
                    f"share_layers: {place} cannot be read ({error}); remove it, and the stage is done again"
                ) from None
            self.tell(f"{label}: done before")
            return _placed(found)
        self.tell(label)
        found = compute()
        if place is not None:
            whole = {name: each.detach().cpu().contiguous().clone() for name, each in found.items()}
            write_bytes(place, safetensors.save(whole), "share_layers")
        return _placed(found)

    def has(self, label: str) -> bool:
        """Whether a stage is finished already, so that nothing need be made ready for it."""
        place = self._kept(label)
        return place is not None and place.exists()

    def generator(self, label: str) -> torch.Generator:
        """Random numbers of a stage, named by the seed and its label."""
        digest = hashlib.sha256(f"{self.task.seed} {label}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    @cached_property
    def _projections(self) -> dict[str, Projection]:
        return {p.name: p for p in self.task.projections}

    @property
    def _device(self) -> torch.device:
        return next(iter(self.dense.values())).device

    def _kept(self, label: str) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / f"{hashlib.sha256(label.encode()).hexdigest()[:16]}.safetensors"


def _placed(tensors: Tensors) -> Tensors:
    """Each in memory of its own: sums hang on where numbers lie, which reading from a file changes."""
    return {name: each.clone(memory_format=torch.contiguous_format) for name, each in tensors.items()}
