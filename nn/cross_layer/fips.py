r"""FiPS: layers of a group share a dense U and keep a sparse V each, fitted to what the blocks gave before.

With the hidden states on the rows, all matrices of a group stand side by side, M = [M1 … MF] of d x N; the
singular value decomposition M ≈ U V of rank r gives the shared U (d, r) and, cut into columns, each V (r, n).
A matrix that reads the hidden states is W = U V, one that writes them W = (U V)'. Where r exceeds d, columns
of zeros are added to U, and to V copies of its first rows, made small. Then U and all V of a group, and the
vectors of its blocks, descend together on the mean square error of every block's output, for the inputs that
the block had before, while V becomes sparse: its smallest numbers go, over all V of a pool at once.

Source: Üyük et al., FiPS, arXiv 2411.09816, and its code. The pool is that of a group and not of the whole
model, so that the hidden states of one group at a time are held. The published schedule ends short of its
sparsity (at 0.712 for 0.75); here the cubic reaches it at three quarters of all steps, since bytes are
promised. Its step counts (240, 450 and 50 of 600) are taken as parts of all steps, its sparsities (0.05 and
0.5 for 0.75) as parts of the last. Bits that say where the numbers of V belong are paid from the budget.

Published are gradual masks, attention that stays dense, and 600 steps of 128 images at a rate of 4e-4. With
some hundred steps of fewer tokens, RigL at 2e-3 left less error, and so did attention under the same U.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial
from itertools import accumulate, groupby, pairwise
from math import cos, floor, pi, prod
from numbers import Real
from typing import Any, ClassVar, final

import torch
import torch.nn as tnn
import torch.nn.functional as tnnf

from nn.cross_layer.adapters import ROLES, Projection, blocks_of
from nn.cross_layer.method import Method, Task, Unit
from nn.cross_layer.streams import Batch, Layer, hidden_of
from nn.cross_layer.whitening import Share, cost_of_svd, layers_in_words
from nn.cross_layer.work import Tensors, Work
from nn.factors import Chain, Matrix, spread
from nn.patterns import one_of
from nn.pruning.scores import cross_entropy
from rpstheory.errors import ArgumentError, DataError, KindError, ShapeError
from rpstheory.mappings.base import check_count

WRITING = ("o", "down", "fc2")  # roles whose outputs are hidden states
ATTENTION = ("q", "k", "v", "qkv", "o")
PERCEPTRON = tuple(role for role in ROLES if role not in ATTENTION)
POOLS = {"apart": (PERCEPTRON, ATTENTION), "joined": (ROLES,), "dense": (PERCEPTRON,)}
MASKS = ("gradual", "rigl", "static")
TOGETHER = 4  # blocks of a group where none are given: best as published
DROPPED = 0.1  # of the numbers that are kept, by RigL at first
TOKENS = 2048  # of a step, where only the time is estimated

BASE, MASK, VECTOR = "U of ", "mask of ", "vector "  # names of what is kept, before those of parameters


@final
@dataclass(frozen=True)
class Fips(Method):
    """A dense U for each group of layers, and a sparse V for each of their matrices.

    Attributes:
        sparsity: Zeros of V, by which the rank is chosen; what the rank leaves of the budget V takes. 0: V is
            dense, and this is plain sharing of low rank.
        masks: "gradual" (the smallest numbers go while V is trained), "rigl" (as sparse from the beginning;
            now and then the smallest go, and those of the largest gradient come), "static" (as from the
            beginning).
        shared: One U for the matrices of a pool; False: one for each, and all else the same.
        attention: Its matrices have a U and a pool "apart" from the perceptron's, the same, "joined", or stay
            "dense", as published, where the perceptron bears the whole budget.
        block: Rows and columns of the blocks of V that a bit stands for.
        growth: What copies of rows of V are divided by, where the rank exceeds d.
        vectors: Train biases and norms of the blocks too.
        epochs: Over the calibration data, a step for each batch; 0: factors as they are, without data.
        rate: Of AdamW; falls to 0 as a cosine.
        decay: Of the weights, U and V.
        finetune: Epochs of the whole model afterwards, on the labels, or, without any, on its own outputs
            before; with RigL, unless masks are static.
    """

    name: ClassVar[str] = "fips"
    sparsity: float = 0.75
    masks: str = "rigl"
    shared: bool = True
    attention: str = "joined"
    block: tuple[int, int] = (1, 1)
    growth: float = 32.0
    vectors: bool = True
    epochs: int = 20
    rate: float = 2e-3
    decay: float = 0.05
    finetune: int = 0

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ArgumentError: If one is out of range.
            KindError: If one is of the wrong kind.
        """
        one_of("share_layers", "masks", self.masks, MASKS)
        one_of("share_layers", "attention", self.attention, POOLS)
        for name in ("shared", "vectors"):
            if not isinstance(getattr(self, name), bool):
                raise KindError(f"share_layers: {name}={getattr(self, name)!r} came; pass True or False")
        for name, low in (("growth", 1), ("rate", 0), ("decay", 0)):
            _require(name, getattr(self, name), low)
        for name in ("epochs", "finetune"):
            check_count("share_layers", name, getattr(self, name), low=0)
        _require("sparsity", self.sparsity, 0, 1)
        if not isinstance(self.block, list | tuple) or len(self.block) != 2:
            raise KindError(f"share_layers: block={self.block!r} came; pass (rows, columns), such as (1, 4)")
        sides = tuple(check_count("share_layers", "block", side) for side in self.block)
        object.__setattr__(self, "block", sides)

    @property
    def calibrated(self) -> bool:
        """Training looks at activations."""
        return bool(self.epochs or self.finetune)

    def plan(self, task: Task) -> tuple[Unit, ...]:
        """The same part of every pool, numbers of V to the last that the budget pays."""
        pools = [pool for group in self._pools(task) for pool in group]
        left = _rest(task, [p for pool in pools for p in pool.projections])
        units = [pool.unit for pool in pools]
        if left:
            units.append(Unit("attention, dense", tuple(p.name for p in left), None, _bytes(left)))
        return tuple(units)

    def operations(self, task: Task, units: tuple[Unit, ...], tokens: int) -> int:
        """The decompositions; forward and backward passes of all blocks, and of the products U V."""
        bundles = [each for group in self._pools(task) for pool in group for each in pool.products]
        passes = (self.epochs + self.finetune) * 3 * 2
        steps = -(-tokens // TOKENS)
        forming = sum(d * rank * n for d, rank, n in bundles) * steps
        through = sum(p.count for p in task.projections) * tokens
        return sum(cost_of_svd(d, n) for d, _, n in bundles) + passes * (forming + through)

    def fit(self, work: Work) -> None:
        """Fit group after group, each as soon as its blocks have been run; then install all at once."""
        pools = [pool for group in self._pools(work.task) for pool in group]
        kept: Tensors = {}
        for found in self._fitted(work):
            kept |= found
        if self.finetune:
            kept = work.once("all layers together", partial(self._finetuned, work, pools, kept))
        chains = [Trained(pool, kept).chains() for pool in pools]
        work.install({name: chain for each in chains for name, chain in each.items()})
        with torch.no_grad():
            for name, value in _vectors(kept).items():
                work.model.get_parameter(name.removeprefix(VECTOR)).copy_(value)

    # ------------------------------------------------------------------------------------ what is shared

    def _pools(self, task: Task) -> list[list[Pool]]:
        """The pools of each group; together they take the allowance, but for less than a block of each.

        Raises:
            ArgumentError: If nothing is left to compress, or a pool gets too little.
        """
        groups = self._runs(task)
        runs = [run for group in groups for run in group]
        chosen = [p for run in runs for p in run]
        left = _rest(task, chosen)
        allowance = task.allowance - _bytes(left)
        if left and allowance < 1:
            raise ArgumentError(
                f"share_layers: attention='dense' came, and takes {_bytes(left)} of the "
                f"{task.allowance} bytes that may stay; allow more, or pass attention='apart'"
            )
        ends = accumulate((_bytes(run) for run in runs), initial=0)
        shares = [b - a for a, b in pairwise(allowance * end // _bytes(chosen) for end in ends)]
        given = iter(shares)
        return [[self._pool(run, next(given)) for run in group] for group in groups]

    def _runs(self, task: Task) -> list[list[Share]]:
        """What is pruned together, for each group of layers.

        Raises:
            ShapeError: If the layers of a group that was named have unlike hidden states.
            ArgumentError: If no matrix is to be compressed.
        """
        layers, found = task.layers, list[list[Share]]()
        fours = tuple(layers[k : k + TOGETHER] for k in range(0, len(layers), TOGETHER))
        for group in task.groups or fours:
            inside = sorted((p for p in task.projections if p.layer in group), key=lambda p: p.layer)
            runs = []
            for roles in POOLS[self.attention]:
                chosen = [p for p in inside if p.role in roles]
                parts = [tuple(part) for _, part in groupby(chosen, key=_form)]
                if task.strict and len(parts) > 1:
                    one, other = parts[0][0], parts[1][0]
                    raise ShapeError(
                        f"share_layers: {one.name} has hidden states of {_form(one)} and {other.name} of "
                        f"{_form(other)}, and layers that share must be alike; take layer {one.layer} or "
                        f"{other.layer} out of the group"
                    )
                runs += parts
            found += [runs] if runs else []
        if not found:
            raise ArgumentError(
                "share_layers: attention='dense' came, and only attention is to be compressed; pass 'apart'"
            )
        return found

    def _pool(self, run: Share, allowance: int) -> Pool:
        """The ranks that the sparsity gives, and the numbers that are left for V.

        Raises:
            ArgumentError: If there are none.
        """
        bundles = (run,) if self.shared else tuple((p,) for p in run)
        size, (high, wide) = run[0].itemsize, self.block
        for p in run:
            if _long(p) % wide:
                raise ArgumentError(
                    f"share_layers: block={self.block} came, and {wide} does not divide the {_long(p)} "
                    f"columns of the V of {p.name}; pass one that does"
                )
        density = 1 - Fraction(self.sparsity)
        if self.sparsity:
            density += Fraction(1, 8 * size * high * wide)
        part = Fraction(allowance, _bytes(run))
        ranks = tuple(
            rank_of(part * sum(p.count for p in b), _width(b[0]), sum(map(_long, b)), density) // high * high
            for b in bundles
        )
        pool = Pool(bundles, ranks, self.block, 0 if self.sparsity else None)
        kept = min((allowance - pool.unit.bytes) // (size * high * wide), sum(pool.places))
        if min(ranks) < 1 or (self.sparsity and kept < 1):
            needed = max(
                Fraction(high * (_width(b[0]) + sum(map(_long, b)) * density), sum(p.count for p in b))
                for b in bundles
            )
            raise ArgumentError(
                f"share_layers: the budget keeps {float(part):.3g} of {pool.label} (d = {_width(run[0])}), "
                f"with which they reach no rank of {high} and a number of V; keep at least about "
                f"{float(needed):.3g} (compression {floor(95 / needed) / 100:g}), or exclude them"
            )
        return replace(pool, kept=kept) if self.sparsity else pool

    # ------------------------------------------------------------------------------------ how it is fitted

    def _fitted(self, work: Work) -> Iterator[Tensors]:
        """Factors, masks and vectors of each group, as soon as its last block has been run."""
        waiting = {}
        for pools in self._pools(work.task):
            label = f"factors of {layers_in_words(p.layer for pool in pools for p in pool.projections)}"
            if self.epochs and not work.has(label):
                waiting[label] = pools
            else:
                yield work.once(label, partial(self._untrained, work, pools))
        seen: dict[str, list[Layer]] = {label: [] for label in waiting}
        for layer in work.stream() if waiting else ():
            for label, pools in list(waiting.items()):
                blocks = {p.block for pool in pools for p in pool.projections}
                if layer.block in blocks:
                    layer.outputs()
                    seen[label].append(layer)
                if len(seen[label]) == len(blocks):
                    layers, pools = seen.pop(label), waiting.pop(label)
                    yield work.once(label, partial(self._trained, work, label, pools, layers))
                    layers.clear()
            if not waiting:
                return

    def _untrained(self, work: Work, pools: list[Pool]) -> Tensors:
        """Singular vectors, and the largest numbers of V."""
        states = [Trained.decomposed(work, pool, self.growth) for pool in pools]
        for each in states:
            each.cut(each.pool.kept)
        return {name: value for each in states for name, value in each.tensors().items()}

    def _trained(self, work: Work, label: str, pools: list[Pool], layers: list[Layer]) -> Tensors:
        """The same, fitted to the outputs of the blocks.

        Raises:
            DataError: If these, or the factors, are not finite.
        """
        for layer in layers:
            if not all(bool(torch.isfinite(y).all()) for y in layer.outputs()):
                raise DataError(
                    f"share_layers: the block {layer.block} gives nan or inf on the calibration data; check "
                    "the data, or run the model in float32"
                )
        states = [Trained.decomposed(work, pool, self.growth) for pool in pools]
        if self.masks != "gradual":
            for each in states:
                each.cut(each.pool.kept)
        vectors = _copied(work.model, [layer.block for layer in layers]) if self.vectors else {}
        order = _order(len(work.batches), self.epochs, work.generator(label))

        def losses(step: int) -> Iterator[torch.Tensor]:
            for layer in layers:
                call = layer.calls[order[step]]
                given = _inside(layer.block, {**_named(work.model, vectors), **_weights(states, layer.block)})
                output = torch.func.functional_call(layer.module, given, call.args, dict(call.kwargs))
                yield _error(hidden_of(output), layer.outputs()[order[step]], call.keep)

        return self._descended(label, states, vectors, len(order), self.masks, losses)

    def _finetuned(self, work: Work, pools: list[Pool], kept: Tensors) -> Tensors:
        """All factors and vectors, fitted to the labels, or to the outputs of the model as it was."""
        label = "all layers together"
        states = [Trained(pool, kept) for pool in pools]
        vectors = _copied(work.model, blocks_of(work.task.projections)) if self.vectors else {}
        vectors |= {name: value.clone().requires_grad_() for name, value in _vectors(kept).items()}
        order = _order(len(work.batches), self.finetune, work.generator(label))
        modes = {module: module.training for module in work.model.modules()}

        def losses(step: int) -> Iterator[torch.Tensor]:
            given = {**_named(work.model, vectors), **_weights(states)}
            yield _of_the_task(work.model.eval(), given, work.batches[order[step]])

        try:
            masks = "static" if self.masks == "static" else "rigl"
            return self._descended(label, states, vectors, len(order), masks, losses)
        finally:
            for module, mode in modes.items():
                module.training = mode

    def _descended(
        self,
        label: str,
        states: Sequence[Trained],
        vectors: Tensors,
        steps: int,
        masks: str,
        losses: Callable[[int], Iterator[torch.Tensor]],
    ) -> Tensors:
        """Factors, masks and vectors after some steps on the sum of the losses of each.

        Raises:
            DataError: If they are not finite.
        """
        factors, own = [x for each in states for x in each.leaves], list(vectors.values())
        parts: list[dict[str, Any]] = [{"params": factors}, {"params": own, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(parts, self.rate, weight_decay=self.decay)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            optimizer.zero_grad()
            for loss in losses(step):
                loss.backward(inputs=[*factors, *own])  # type: ignore[no-untyped-call]
            for each in states:
                each.change(masks, step, steps, optimizer)
            optimizer.step()
            for each in states:
                each.clear()
            falling.step()
        found = {name: value.detach() for name, value in vectors.items()}
        found |= {name: value for each in states for name, value in each.tensors().items()}
        if not all(bool(torch.isfinite(value).all()) for value in found.values()):
            raise DataError(
                f"share_layers: training of {label} gives nan or inf with rate={self.rate}; pass a "
                "smaller rate"
            )
        return found


# ---------------------------------------------------------------------------------------- formulas


def rank_of(count: Fraction | int, width: int, columns: int, density: Fraction | int) -> int:
    """The rank at which U (d, r) and a part of V (r, N) hold a count of numbers: count / (d + N density).

    Args:
        count: Numbers in all.
        width: d.
        columns: N.
        density: Numbers that a place of V costs: the part that is stored, and its bits as a part of a number.
    """
    return floor(count / (width + columns * density))


def sparsity_at(step: int, steps: int, final: Fraction) -> Fraction:
    """The zeros of V at a step: 1/15 of those at the end, then 2/3, then a cubic up to all.

    The jump comes after 2/5 of the steps, the end after 3/4.
    """
    jump, end = 2 * steps // 5, 3 * steps // 4
    if step >= end:
        return final
    if step < jump:
        return final / 15
    return final * (1 - Fraction(end - step, end - jump) ** 3 / 3)


def changes(step: int, steps: int) -> bool:
    """Whether masks change at a step: at every twelfth part of the steps, the jump and the end."""
    jump, end = 2 * steps // 5, 3 * steps // 4
    return step in (jump, end) or (step < end and step % max(1, steps // 12) == 0)


def dropped_at(step: int, steps: int, kept: int) -> int:
    """How many of the kept numbers RigL exchanges at a step: a tenth at first, as a cosine down to none."""
    end = 3 * steps // 4
    return 0 if step >= end else floor(kept * DROPPED / 2 * (1 + cos(pi * step / end)))


def largest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """(n,) bool: where the largest scores are; the first of equal ones."""
    found = torch.zeros_like(scores, dtype=torch.bool)
    found[scores.argsort(descending=True, stable=True)[:count]] = True
    return found


def regrown(
    mask: torch.Tensor, sizes: torch.Tensor, slopes: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What survives when the smallest that are kept are dropped, and the mask when as many have grown.

    Args:
        mask: (n,) bool.
        sizes: Of the numbers, >= 0.
        slopes: Of the loss, in size; where they are largest, numbers grow, also those just dropped.
        count: Of numbers, at most those that are kept.

    Source: Evci et al., Rigging the Lottery, ICML 2020, algorithm 1.
    """
    survivors = largest(sizes.where(mask, -1.0), int(mask.sum()) - count)
    return survivors, survivors | largest(slopes.where(~survivors, -1.0), count)


def decomposed(weight: torch.Tensor, rank: int, growth: float) -> tuple[torch.Tensor, torch.Tensor]:
    """U (d, r), orthonormal, and V = Sigma V' (r, N), whose product is the nearest of that rank.

    Beyond the rank of (d, N), U gets columns of zeros and V its first rows again, divided by ``growth`` at
    each turn: the product stays the same.
    """
    u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    turns = torch.arange(rank, device=weight.device)
    rows = (s[:, None] * vh)[turns % len(s)] / growth ** (turns // len(s))[:, None]
    return tnnf.pad(u[:, :rank], (0, max(0, rank - len(s)))), rows


# ---------------------------------------------------------------------------------------- pools


@dataclass(frozen=True)
class Pool:
    """Projections whose V are pruned together.

    Attributes:
        bundles: Those that have the same U.
        ranks: Of each bundle.
        block: Of V, for a bit.
        kept: Blocks of all V that are stored; None: V is dense.
    """

    bundles: tuple[Share, ...]
    ranks: tuple[int, ...]
    block: tuple[int, int]
    kept: int | None

    @property
    def projections(self) -> Share:
        """All of them."""
        return tuple(p for bundle in self.bundles for p in bundle)

    @property
    def label(self) -> str:
        """In words."""
        roles = ", ".join(dict.fromkeys(p.role for p in self.projections))
        return f"{roles} of {layers_in_words(p.layer for p in self.projections)}"

    @cached_property
    def grids(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of the blocks of each V."""
        high, wide = self.block
        pairs = [(p, rank) for bundle, rank in zip(self.bundles, self.ranks, strict=True) for p in bundle]
        return {p.name: (rank // high, _long(p) // wide) for p, rank in pairs}

    @property
    def places(self) -> list[int]:
        """Blocks of each V, kept or not."""
        return list(map(prod, self.grids.values()))

    @property
    def products(self) -> list[tuple[int, int, int]]:
        """d, r and N of each bundle."""
        return [
            (_width(bundle[0]), rank, sum(map(_long, bundle)))
            for bundle, rank in zip(self.bundles, self.ranks, strict=True)
        ]

    @property
    def unit(self) -> Unit:
        """What it costs."""
        blocks = sum(self.places) if self.kept is None else self.kept
        numbers = sum(d * rank for d, rank, _ in self.products) + blocks * prod(self.block)
        index = 0 if self.kept is None else sum(-(-count // 8) for count in self.places)
        rank = self.ranks[0] if len(set(self.ranks)) == 1 else None
        names = tuple(p.name for p in self.projections)
        return Unit(self.label, names, rank, numbers * self.projections[0].itemsize, index)


class Trained:
    """The factors of a pool while they are trained, in single precision or better.

    Attributes:
        pool: Whose they are.
        bases: U of each bundle.
        parts: V by the name of its weight.
        mask: (blocks of all V,) bool; all at first.
    """

    def __init__(self, pool: Pool, kept: Mapping[str, torch.Tensor]) -> None:
        self.pool = pool
        names = [p.name for p in pool.projections]
        self.bases = [kept[f"{BASE}{bundle[0].name}"].clone().requires_grad_() for bundle in pool.bundles]
        self.parts = {name: kept[name].clone().requires_grad_() for name in names}
        self.mask = torch.cat([kept[f"{MASK}{name}"].flatten() for name in names])

    @classmethod
    def decomposed(cls, work: Work, pool: Pool, growth: float) -> Trained:
        """From the weights as they were."""
        found: Tensors = {}
        for bundle, rank in zip(pool.bundles, pool.ranks, strict=True):
            whole = torch.cat([_wide(p, work.weight(p.name)).double() for p in bundle], 1)
            base, rows = decomposed(whole, rank, growth)
            kind = torch.promote_types(work.weight(bundle[0].name).dtype, torch.float32)
            found[f"{BASE}{bundle[0].name}"] = base.to(kind)
            parts = rows.to(kind).split_with_sizes([_long(p) for p in bundle], 1)
            found |= {p.name: part for p, part in zip(bundle, parts, strict=True)}
        place = next(iter(found.values())).device
        grids = pool.grids.items()
        found |= {f"{MASK}{name}": torch.ones(n, dtype=torch.bool, device=place) for name, n in grids}
        return cls(pool, found)

    @property
    def leaves(self) -> list[torch.Tensor]:
        """All that is trained."""
        return [*self.bases, *self.parts.values()]

    def weights(self, block: str) -> Iterator[tuple[Projection, torch.Tensor]]:
        """Each projection that a block reads, with its parameter, made from the factors."""
        for bundle, base in zip(self.pool.bundles, self.bases, strict=True):
            for p in (p for p in bundle if p.names_in(block)):
                whole = base @ self.parts[p.name]
                yield p, (whole if p.flipped == (p.role in WRITING) else whole.T)

    def tensors(self) -> Tensors:
        """All that is kept of it."""
        bases = {f"{BASE}{b[0].name}": u for b, u in zip(self.pool.bundles, self.bases, strict=True)}
        masks = {f"{MASK}{name}": grid for name, grid in self._grids(self.mask).items()}
        return {n: value.detach() for n, value in (bases | self.parts | masks).items()}

    def chains(self) -> dict[str, Chain]:
        """What each weight becomes."""
        found: dict[str, Chain] = {}
        grids = self._grids(self.mask)
        for bundle, base in zip(self.pool.bundles, self.bases, strict=True):
            shared = Matrix(base.detach())
            for p in bundle:
                mask = None if self.pool.kept is None else spread(grids[p.name], self.pool.block)
                part = Matrix(self.parts[p.name].detach(), mask, self.pool.block)
                found[p.name] = (part.T, shared.T) if p.role in WRITING else (shared, part)
        return found

    def cut(self, count: int | None) -> None:
        """Keep so many of the largest blocks; None: all."""
        if count is not None:
            self.mask = largest(self._sizes(self.parts), count)
            self.clear()

    def change(self, masks: str, step: int, steps: int, optimizer: torch.optim.Optimizer) -> None:
        """New masks, if it is time; and no gradient where no number is kept."""
        if self.pool.kept is None:
            return
        slopes = {name: part.grad for name, part in self.parts.items() if part.grad is not None}
        first = 1 if masks == "rigl" else 0  # RigL starts from masks that are as they shall be
        if masks != "static" and step >= first and changes(step, steps):
            survivors = (
                self._shrunk(step, steps) if masks == "gradual" else self._regrown(step, steps, slopes)
            )
            moments = [optimizer.state[part] for part in self.parts.values() if part in optimizer.state]
            for key in ("exp_avg", "exp_avg_sq") if moments else ():
                self._zero(survivors, dict(zip(self.parts, (each[key] for each in moments), strict=True)))
            self._zero(survivors, self.parts)
        self._zero(self.mask, slopes)

    def clear(self) -> None:
        """Zeros where no number is kept."""
        if self.pool.kept is not None:
            self._zero(self.mask, self.parts)

    def _shrunk(self, step: int, steps: int) -> torch.Tensor:
        places, kept = len(self.mask), self.pool.kept or 0
        self.cut(places - floor(places * sparsity_at(step, steps, Fraction(places - kept, places))))
        return self.mask

    def _regrown(self, step: int, steps: int, slopes: Mapping[str, torch.Tensor]) -> torch.Tensor:
        count = dropped_at(step, steps, self.pool.kept or 0)
        survivors, self.mask = regrown(self.mask, self._sizes(self.parts), self._sizes(slopes), count)
        return survivors

    def _sizes(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(blocks of all V,) float64: the sum of squares of each block."""
        high, wide = self.pool.block
        found = []
        for name, (rows, columns) in self.pool.grids.items():
            squares = tensors[name].detach().double().square()
            found.append(squares.view(rows, high, columns, wide).sum((1, 3)).flatten())
        return torch.cat(found)

    def _grids(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """(blocks of all V,) → (rows, columns) of blocks by name."""
        grids = self.pool.grids
        parts = flat.split_with_sizes(self.pool.places)
        return {name: part.view(grids[name]) for name, part in zip(grids, parts, strict=True)}

    def _zero(self, flat: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> None:
        """Zeros in tensors of the shapes of V, where a mask has none of its blocks."""
        with torch.no_grad():
            for name, grid in self._grids(flat).items():
                tensors[name].mul_(spread(grid, self.pool.block))


# ---------------------------------------------------------------------------------------- losses


class _Reading(tnn.Module):
    """A model that reads some of its parameters from elsewhere."""

    def __init__(self, model: tnn.Module, given: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.model, self.given = model, dict(given)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the model."""
        return torch.func.functional_call(self.model, self.given, args, kwargs)


def _error(found: torch.Tensor, expected: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
    """The mean square error, without padding."""
    if keep is not None and expected.shape[:-1] == keep.shape:
        found, expected = found[keep.to(found.device)], expected[keep.to(found.device)]
    kind = torch.promote_types(expected.dtype, torch.float32)
    return tnnf.mse_loss(found.to(kind), expected.to(kind))


def _of_the_task(model: tnn.Module, given: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
    """The loss of a model with other weights: cross-entropy, or its own; without labels the error.

    Raises:
        DataError: If a model that was given its labels returns no loss.
    """
    reading = _Reading(model, given)
    if batch.target is None:
        with torch.no_grad():
            expected = hidden_of(batch.run(model))
        return _error(hidden_of(batch.run(reading)), expected, batch.keep)
    if batch.args:
        logits = hidden_of(batch.run(reading))
        return cross_entropy(logits, batch.target.to(logits.device))
    loss = hidden_of(replace(batch, kwargs={**batch.kwargs, "labels": batch.target}).run(reading))
    if loss.ndim:
        raise DataError(
            f"share_layers: {type(model).__name__} returns no loss for the labels of the calibration data; "
            "pass batches without labels, or (inputs, labels)"
        )
    return loss


def _weights(states: Iterable[Trained], block: str = "") -> dict[str, torch.Tensor]:
    """The parameters that factors make, of a block or all, under all their names and in their own kind."""
    return {
        name: weight.to(getattr(torch, p.dtype))
        for each in states
        for p, weight in each.weights(block)
        for name in p.names
    }


def _vectors(kept: Tensors) -> Tensors:
    return {name: value for name, value in kept.items() if name.startswith(VECTOR)}


def _copied(model: tnn.Module, blocks: Sequence[str]) -> Tensors:
    """Copies of the biases and norms that one of these blocks holds and nobody else."""
    every = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    return {
        f"{VECTOR}{block}.{name}": p.detach()
        .to(torch.promote_types(p.dtype, torch.float32), copy=True)
        .requires_grad_()
        for block in blocks
        for name, p in model.get_submodule(block).named_parameters()
        if p.ndim == 1 and p.is_floating_point() and every[id(p)] == 1
    }


def _named(model: tnn.Module, vectors: Tensors) -> Tensors:
    """Biases and norms by name, in their own kind."""
    names = {name: name.removeprefix(VECTOR) for name in vectors}
    return {names[n]: value.to(model.get_parameter(names[n]).dtype) for n, value in vectors.items()}


def _inside(block: str, given: Tensors) -> Tensors:
    """The parameters of a block, by their names inside."""
    return {n.removeprefix(f"{block}."): value for n, value in given.items() if n.startswith(f"{block}.")}


def _order(batches: int, epochs: int, generator: torch.Generator) -> list[int]:
    """Every batch once in each epoch."""
    return [k for _ in range(epochs) for k in torch.randperm(batches, generator=generator).tolist()]


# ---------------------------------------------------------------------------------------- shapes


def _width(p: Projection) -> int:
    """Of the hidden states."""
    return p.columns if p.role in WRITING else p.rows


def _long(p: Projection) -> int:
    """The other side: columns of V."""
    return p.rows if p.role in WRITING else p.columns


def _wide(p: Projection, weight: torch.Tensor) -> torch.Tensor:
    """W, or W', with the hidden states on the rows."""
    return weight.T if p.role in WRITING else weight


def _form(p: Projection) -> str:
    return f"{_width(p)} {p.dtype}"


def _bytes(share: Iterable[Projection]) -> int:
    return sum(p.bytes for p in share)


def _rest(task: Task, chosen: Sequence[Projection]) -> list[Projection]:
    names = {p.name for p in chosen}
    return [p for p in task.projections if p.name not in names]


def _require(name: str, value: Any, low: int, high: float = float("inf")) -> None:
    """Do nothing for a number that is at least ``low`` and below ``high``.

    Raises:
        KindError: If it is no number.
        ArgumentError: If it is not in this range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise KindError(f"share_layers: {name}={value!r} came; a number is needed")
    if not low <= float(value) < high:
        until = "" if high == float("inf") else f" and below {high}"
        raise ArgumentError(f"share_layers: {name}={value} came; at least {low}{until} is needed")
