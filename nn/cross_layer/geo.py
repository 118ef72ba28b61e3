r"""Geo-Sharing: which layers share a basis is a coloring, chosen by what the change costs to second order.

Layers of one color c share U_c and V_c, and keep a core of their own: W_l becomes U_c S_l V_c'. A change D of
a weight costs <D, H_l D> / 2, with the curvature of :mod:`nn.cross_layer.curvature`, and everything here
lowers the sum of these costs: layer after layer tries the color in which it costs least, stays there if all
costs less once the bases are fitted again, and so on until none moves. Layers far apart may share. All
colorings into as many colors take the same bytes; which factors a weight is read from is counted with the
model, as the groups of other methods are, and not with its numbers.

Source: "Rethinking Parameter Sharing as Graph Coloring for Structured Compression", arXiv 2511.06786. No code
is public, and the equations at hand are partly a reconstruction, from summaries and an audit. Stated there:
the second-order model, the color of least energy in the directions of high curvature, projection of the
change on the others, clipping to a trust region. Decided here, and not claimed to be the paper's: the loss is
the divergence from the model's own outputs; across from the top eigenpairs curvature is a Kronecker product,
not their mean, which lost more; a color is judged with the core fitted to it; layers move, or are exchanged,
if all costs less with the bases fitted again. These are spectral until colors are settled, and then refitted
by alternating least squares.

After projection and clipping a weight is no product of shared factors any more. By default the core is fitted
in the norm of the curvature instead, damped until the change is inside the trust region. With
``correction="free"`` it is done as published, and the weights are stored dense, which saves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from math import isqrt
from numbers import Real
from typing import ClassVar, final

import torch

from nn.cross_layer.adapters import Projection
from nn.cross_layer.curvature import Curvature, Product, curvatures_of
from nn.cross_layer.method import Method, Task, Unit
from nn.cross_layer.whitening import Share, cost_of_gram, cost_of_svd, label_of, whitener
from nn.cross_layer.work import Tensors, Work
from nn.factors import Chain, Matrix
from nn.patterns import one_of
from rpstheory.errors import ArgumentError, KindError
from rpstheory.mappings.base import check_count

COLORINGS = ("curvature", "cosine", "random", "adjacent")
CORRECTIONS = ("refit", "free")
STARTS = 2  # random ones, beside adjacent and cosine
SWEEPS = 8  # of alternating least squares, once colors are settled
STEPS = 8  # of conjugate gradients in each
PASSES = 4  # back through the model for each batch, roughly, in the estimate of time
HALVINGS = 40  # of the interval in which the damping lies

Coloring = tuple[int, ...]


@final
@dataclass(frozen=True)
class Geo(Method):
    """Shared bases by color, and a core for each layer.

    Attributes:
        coloring: "curvature", or, to compare with at equal bytes, "cosine" (nearest weights), "random" or
            "adjacent"; None: curvature where groups="auto", else the groups as they are.
        colors: Bases for each role; None: half as many as layers.
        rank: Of all bases; None: the largest that the budget reaches.
        pairs: Eigenpairs of the Hessian; as many directions are left alone by the free correction.
        lanczos: Elements of a weight up to which these are looked for. Of larger ones they take most of the
            time, and on a decoder of 128 x 128 they changed the loss by less than a hundredth.
        trust: How far a weight may move, over its size; where no core reaches that, the nearest is taken.
        correction: "refit" of the cores, or "free", which is stored dense.
    """

    name: ClassVar[str] = "geo"
    coloring: str | None = None
    colors: int | None = None
    rank: int | None = None
    pairs: int = 8
    lanczos: int = 2**12
    trust: float = 1.0
    correction: str = "refit"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ArgumentError: If one is out of range.
            KindError: If one is of the wrong kind.
        """
        if self.coloring is not None:
            one_of("share_layers", "coloring", self.coloring, COLORINGS)
        one_of("share_layers", "correction", self.correction, CORRECTIONS)
        for name, least in (("colors", 1), ("rank", 1), ("pairs", 1), ("lanczos", 0)):
            value = getattr(self, name)
            if value is not None or name not in ("colors", "rank"):  # the method chooses these
                check_count("share_layers", name, value, low=least)
        given: object = self.trust
        if isinstance(given, bool) or not isinstance(given, Real | float):
            raise KindError(f"share_layers: trust={given!r} came; a number is needed")
        if not self.trust > 0:
            raise ArgumentError(f"share_layers: trust={self.trust} came; a positive number is needed")
        if self.correction == "free" and self.rank is None:
            raise ArgumentError(
                "share_layers: correction='free' came without a rank, which no budget decides where weights "
                "are stored dense; pass rank="
            )

    def plan(self, task: Task) -> tuple[Unit, ...]:
        """As many bases of one rank for each role, whatever the coloring.

        Raises:
            ArgumentError: If no rank reaches the budget, or not that which was asked for.
            ShapeError: If layers that were named as a group are not alike.
        """
        if self.coloring is not None and task.groups is not None:
            raise ArgumentError(
                f"share_layers: coloring={self.coloring!r} came and groups too, which are a coloring; pass "
                "groups='auto', or leave coloring out"
            )
        runs = _runs(task)
        if self.colors is not None and self.colors > (most := max(map(len, runs))):
            raise ArgumentError(
                f"share_layers: colors={self.colors} came, and no role has more than {most} layers to color; "
                "pass at most that"
            )
        return tuple(self._unit(run, task) for run in runs)

    def operations(self, task: Task, units: tuple[Unit, ...], tokens: int) -> int:
        """Products with the Hessian and gradients; bases of some seven sets for each layer, as measured."""
        whole = sum(p.count for p in task.projections)
        products = 4 * self.pairs * sum(p.count <= self.lanczos for p in task.projections)
        fits = sum(
            7 * cost_of_svd(p.rows, p.columns) + 24 * SWEEPS * p.count * (unit.rank or 1)
            for unit, run in zip(units, _runs(task), strict=True)
            for p in run
        )
        shares = [(p,) for p in task.projections]
        return 4 * tokens * whole * (products + PASSES) + fits + cost_of_gram(shares, tokens)

    def fit(self, work: Work) -> None:
        """Curvature of every weight; then a coloring for each role; then all factors at once."""
        curvatures = curvatures_of(work, self.pairs, self.lanczos)
        chains: dict[str, Chain] = {}
        for run, unit in zip(_runs(work.task), work.units, strict=True):

            def compute(run: Share = run, unit: Unit = unit) -> Tensors:
                sites = [Site(work.weight(p.name).double(), *curvatures[p.name]) for p in run]
                return self._shared(sites, run, unit, work)

            found = work.once(unit.label, compute)
            colors = tuple(found["colors"].tolist())
            work.tell(f"{unit.label}: {_spoken(colors, run)}")
            if self.correction == "free":
                chains |= {p.name: (Matrix(found[f"weight.{i}"]),) for i, p in enumerate(run)}
                continue
            bases = [(Matrix(found[f"left.{c}"]), Matrix(found[f"right.{c}"])) for c in sorted(set(colors))]
            for i, (p, c) in enumerate(zip(run, colors, strict=True)):
                left, right = bases[c]
                chains[p.name] = (left, Matrix(found[f"core.{i}"]), right.T)
        work.install(chains)

    def _unit(self, run: Share, task: Task) -> Unit:
        """What a run of like projections costs.

        Raises:
            ArgumentError: If no rank reaches the budget, or not that which was asked for.
        """
        first, colors = run[0], self._colors(run, task)
        both, n = first.rows + first.columns, len(run)
        room = task.kept * first.count * n // 1
        label = f"{label_of(run)}, {colors} color{'s' * (colors > 1)}"
        if self.correction == "free" and task.allowance < task.dense_bytes:
            raise ArgumentError(
                f"share_layers: correction='free' stores dense weights, {task.dense_bytes} bytes, and "
                f"{task.allowance} are allowed; pass compression=1, or correction='refit'"
            )
        # the largest k with n k^2 + colors (d1 + d2) k <= room
        reached = (isqrt((colors * both) ** 2 + 4 * n * room) - colors * both) // (2 * n)
        most = min(reached, first.rows, first.columns)
        rank = most if self.rank is None else self.rank
        if not 1 <= rank <= most:
            raise ArgumentError(
                f"share_layers: {label} ({first.form}) reach rank {most} where the budget keeps "
                f"{float(task.kept):.3g} of the projections, and {self.rank or 1} is needed; keep more, or "
                "use fewer colors"
            )
        count = colors * both * rank + n * rank**2 if self.correction == "refit" else n * first.count
        return Unit(label, tuple(p.name for p in run), rank, count * first.itemsize)

    def _colors(self, run: Share, task: Task) -> int:
        if task.groups is not None:
            return len(set(_grouped(run, task)))
        return min(len(run), self.colors or -(-len(run) // 2))

    def _shared(self, sites: list[Site], run: Share, unit: Unit, work: Work) -> Tensors:
        """Colors, bases and cores of a run, or its free weights, in the kind of its weights."""
        kind = work.weight(run[0].name).dtype
        rank = unit.rank or 1
        palette = Palette(sites, rank, self.trust)
        colors = self._coloring(palette, run, work)
        classes = [members_of(colors, c) for c in range(max(colors) + 1)]
        bases = [
            fitted([sites[i] for i in members], palette.fitted(members)[0], self.trust)[0]
            for members in classes
        ]
        found: Tensors = {}
        for i, (site, c) in enumerate(zip(sites, colors, strict=True)):
            core, _ = Seat(site, bases[c]).core(self.trust)
            if self.correction == "free":
                found[f"weight.{i}"] = site.freed(bases[c], core, self.pairs, self.trust)
            else:
                found[f"core.{i}"] = core
        if self.correction == "refit":
            for c, (left, right) in enumerate(bases):
                found |= {f"left.{c}": left, f"right.{c}": right}
        whole = {name: each.to(kind) for name, each in found.items()}
        return {"colors": torch.tensor(colors), **whole}

    def _coloring(self, palette: Palette, run: Share, work: Work) -> Coloring:
        if work.task.groups is not None:
            return canonical(_grouped(run, work.task))
        count, draw = self._colors(run, work.task), work.generator(f"coloring of {label_of(run)}")
        n = len(run)
        if self.coloring == "adjacent":
            return adjacent(n, count)
        if self.coloring == "random":
            return dealt(n, count, draw)
        if self.coloring == "cosine":
            return alike([site.weight for site in palette.sites], count)
        starts = [adjacent(n, count), alike([site.weight for site in palette.sites], count)]
        starts += [dealt(n, count, draw) for _ in range(STARTS)]
        return min((palette.settled(start) for start in dict.fromkeys(starts)), key=palette.cost)


Basis = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Site:
    """A weight and what it costs to change it: <D, H D> + shift |D|^2, all in float64.

    Attributes:
        weight: W, (d1, d2).
        curvature: H.
        shift: Curvature in every direction, beside H; positive.
    """

    weight: torch.Tensor
    curvature: Curvature
    shift: float

    @cached_property
    def pull(self) -> torch.Tensor:
        """(H + shift) W."""
        return self.curvature.apply(self.weight) + self.shift * self.weight

    @cached_property
    def T(self) -> Site:
        """The same of the transposed weight."""
        return Site(self.weight.T, self.curvature.T, self.shift)

    def freed(self, basis: Basis, core: torch.Tensor, count: int, trust: float) -> torch.Tensor:
        """The weight moved towards the shared one where curvature is low, and no further than trust |W|.

        Args:
            basis: U and V.
            core: S.
            count: Directions of high curvature, in which it stays.
            trust: As in :meth:`Seat.core`.
        """
        change = self.curvature.flat(basis[0] @ core @ basis[1].T - self.weight, count)
        radius = trust * self.weight.norm()
        return self.weight + change * (radius / change.norm().clamp(min=radius.clamp(min=1e-300)))


@dataclass(frozen=True, eq=False)
class Seat:
    """A weight on a basis, where it may have any core.

    Attributes:
        site: The weight.
        basis: Orthonormal U (d1, k) and V (d2, k).
    """

    site: Site
    basis: Basis

    def core(self, trust: float) -> tuple[torch.Tensor, float]:
        """The core S of least cost whose change U S V' - W stays within trust |W|, (k, k), and that cost.

        Args:
            trust: Where no core is within, the nearest to W is taken.
        """
        site, pull, plain = self.site, self._between(self.site.pull), self._between(self.site.weight)
        solve, one, other = self._solver
        size = float(site.weight.square().sum())
        turned, nearest = one.T @ pull @ other, one.T @ plain @ other

        def damped(damping: float) -> torch.Tensor:
            return solve(turned + damping * nearest, site.shift + damping)

        def moved(found: torch.Tensor) -> float:
            return size - 2 * float((found * nearest).sum()) + float(found.square().sum())

        found, radius = damped(0), trust**2 * size
        if moved(found) <= radius:
            core = one @ found @ other.T
        elif moved(nearest) <= radius:
            damping = _damping(lambda damping: moved(damped(damping)) <= radius, site.shift)
            core = one @ damped(damping) @ other.T
        else:
            core = plain
        bent = self._within.apply(core) + site.shift * core
        cost = float((site.weight * site.pull).sum() - 2 * (core * pull).sum() + (core * bent).sum())
        return core, max(cost, 0.0)

    def _between(self, whole: torch.Tensor) -> torch.Tensor:
        return self.basis[0].T @ whole @ self.basis[1]

    @cached_property
    def _within(self) -> Curvature:
        return self.site.curvature.within(*self.basis)

    @cached_property
    def _solver(self) -> tuple[Callable[[torch.Tensor, float], torch.Tensor], torch.Tensor, torch.Tensor]:
        return self._within.solver()


@dataclass(frozen=True, eq=False)
class Palette:
    """Spectral bases for sets of layers, each had once, whichever colorings it comes from.

    Attributes:
        sites: Of the layers.
        rank: Of a basis.
        trust: As in :meth:`Seat.core`.
        kept: Bases and what they cost.
        guests: What a layer costs on the basis of others.
    """

    sites: Sequence[Site]
    rank: int
    trust: float
    kept: dict[Coloring, tuple[Basis, float]] = field(default_factory=dict)
    guests: dict[tuple[int, Coloring], float] = field(default_factory=dict)

    def fitted(self, members: Coloring) -> tuple[Basis, float]:
        """U and V for layers, by their places, and what these cost."""
        if members not in self.kept:
            sites = [self.sites[i] for i in members]
            self.kept[members] = fitted(sites, spectral(sites, self.rank), self.trust, sweeps=0)
        return self.kept[members]

    def cost(self, colors: Coloring) -> float:
        """The sum over all layers, each with the basis of its color."""
        return sum(self.fitted(members_of(colors, c))[1] for c in range(max(colors) + 1))

    def settled(self, colors: Coloring) -> Coloring:
        """Layer after layer changes its color if all costs less with bases fitted again, until none does."""
        place = stays = 0
        while stays < len(colors):
            best = min(self._changed(colors, place), key=self.cost, default=colors)
            better = self.cost(best) < self.cost(colors)
            colors, stays = (best, 0) if better else (colors, stays + 1)
            place = (place + 1) % len(colors)
        return colors

    def _changed(self, colors: Coloring, place: int) -> Iterator[Coloring]:
        """A layer in the other color in which it costs least with the bases as they are, or in exchange.

        It is exchanged for the layer of that color that loses least by it. No color is left without a layer.
        """
        own, others = colors[place], sorted({*colors} - {colors[place]})
        if not others:
            return
        there = min(others, key=lambda color: self._seated(colors, place, color))
        if colors.count(own) > 1:
            yield canonical([there if i == place else c for i, c in enumerate(colors)])
        back = min(
            members_of(colors, there),
            key=lambda i: self._seated(colors, i, own) - self._seated(colors, i, there),
        )
        yield canonical([{place: there, back: own}.get(i, c) for i, c in enumerate(colors)])

    def _seated(self, colors: Coloring, place: int, color: int) -> float:
        """What a layer costs with the basis of a color."""
        key = place, members_of(colors, color)
        if key not in self.guests:
            self.guests[key] = Seat(self.sites[place], self.fitted(key[1])[0]).core(self.trust)[1]
        return self.guests[key]


def fitted(sites: Sequence[Site], basis: Basis, trust: float, sweeps: int = SWEEPS) -> tuple[Basis, float]:
    """Orthonormal U and V for some layers, and their cost: least squares by turns.

    Args:
        sites: The layers.
        basis: U and V to begin with.
        trust: As in :meth:`Seat.core`.
        sweeps: Turns at most.
    """
    seats = [Seat(site, basis) for site in sites]
    cost = _cost(seats, trust)
    for _ in range(sweeps):
        left = _refitted(seats)
        right = _refitted([Seat(site.T, (basis[1], left)) for site in sites])
        found = [Seat(site, (left, right)) for site in sites]
        lower = _cost(found, trust)
        if lower >= cost:  # least squares does not know of the trust region
            break
        seats, cost, basis = found, lower, (left, right)
    return basis, cost


def spectral(sites: Sequence[Site], rank: int) -> Basis:
    """The leading directions of the weights, in the metric of what the layers' curvatures have in common.

    Each weight counts by the trace of its own curvature, so that all is least squares if curvatures differ in
    size alone.

    Args:
        sites: The layers.
        rank: k.
    """
    rows, columns = sites[0].weight.shape
    margins = [site.curvature.marginals() for site in sites]
    shifts = [site.shift for site in sites]
    roots = [
        whitener(
            _sum(each[side] for each in margins) + size * sum(shifts) * torch.eye(other).to(margins[0][0])
        )
        for side, size, other in ((0, columns, rows), (1, rows, columns))
    ]
    traces = [each[0].trace() + shift * rows * columns for each, shift in zip(margins, shifts, strict=True)]
    white = torch.stack(
        [t.sqrt() * (roots[0] @ site.weight @ roots[1].T) for site, t in zip(sites, traces, strict=True)]
    )
    left = _leading(white, rank)
    right = _leading((left.T @ white).mT, rank)
    left = _leading(white @ right, rank)
    found = [
        torch.linalg.solve_triangular(r, x, upper=True) for r, x in zip(roots, (left, right), strict=True)
    ]
    return torch.linalg.qr(found[0])[0], torch.linalg.qr(found[1])[0]


def adjacent(n: int, count: int) -> Coloring:
    """n layers cut into ``count`` runs."""
    return tuple(i * count // n for i in range(n))


def dealt(n: int, count: int, draw: torch.Generator) -> Coloring:
    """n layers in random order, dealt out to ``count`` colors."""
    places = torch.randperm(n, generator=draw).argsort().tolist()
    return canonical([place % count for place in places])


def alike(weights: Sequence[torch.Tensor], count: int) -> Coloring:
    """Layers whose weights point the same way: the two groups of largest mean cosine are joined in turn."""
    flat = torch.stack([w.flatten() / w.norm().clamp(min=1e-300) for w in weights])
    cosine = flat @ flat.T
    groups = [[i] for i in range(len(weights))]
    while len(groups) > count:
        pairs = [(a, b) for b in range(len(groups)) for a in range(b)]
        a, b = max(pairs, key=lambda ab: float(cosine[groups[ab[0]]][:, groups[ab[1]]].mean()))
        groups[a] += groups.pop(b)
    return canonical([next(c for c, g in enumerate(groups) if i in g) for i in range(len(weights))])


def canonical(colors: Sequence[int]) -> Coloring:
    """The same coloring, colors numbered as they first come."""
    order = list(dict.fromkeys(colors))
    return tuple(order.index(c) for c in colors)


def members_of(colors: Coloring, color: int) -> Coloring:
    """The places that have a color."""
    return tuple(i for i, c in enumerate(colors) if c == color)


def _cost(seats: Sequence[Seat], trust: float) -> float:
    return sum(seat.core(trust)[1] for seat in seats)


def _refitted(seats: Sequence[Seat]) -> torch.Tensor:
    """U, orthonormal, after some steps down the cost with V and the cores as they are best."""
    sites, (left, right) = [seat.site for seat in seats], seats[0].basis
    mixed = [seat.core(float("inf"))[0] @ right.T for seat in seats]
    bent = [site.curvature.within(None, z.T) for site, z in zip(sites, mixed, strict=True)]
    stiff = _sum(site.shift * z @ z.T for site, z in zip(sites, mixed, strict=True))
    rhs = _sum(site.pull @ z.T for site, z in zip(sites, mixed, strict=True))

    def operator(x: torch.Tensor) -> torch.Tensor:
        return _sum(each.apply(x) for each in bent) + x @ stiff

    return torch.linalg.qr(_descended(operator, rhs, left))[0]


def _sum(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    return reduce(torch.add, terms)


def _descended(operator: Product, rhs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Conjugate gradients for operator(x) = rhs, a few steps from x."""
    rest = rhs - operator(x)
    along, square = rest, rest.square().sum()
    for _ in range(STEPS):
        bent = operator(along)
        curved = (along * bent).sum()
        if not curved > 0:
            return x
        step = square / curved
        x, rest = x + step * along, rest - step * bent
        before, square = square, rest.square().sum()
        along = rest + (square / before) * along
    return x


def _leading(stack: torch.Tensor, rank: int) -> torch.Tensor:
    """The top left singular vectors of matrices (n, d1, d2) side by side, (d1, k)."""
    whole = stack.transpose(0, 1).flatten(1)
    if whole.shape[0] <= whole.shape[1]:
        return torch.linalg.eigh(whole @ whole.T)[1][:, -rank:]
    return torch.linalg.qr(whole @ torch.linalg.eigh(whole.T @ whole)[1][:, -rank:])[0]


def _damping(fits: Callable[[float], bool], start: float) -> float:
    """The least damping that fits, between a start and where it fits at last."""
    low, high = 0.0, start
    for _ in range(HALVINGS):
        if fits(high):
            break
        low, high = high, 4 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _runs(task: Task) -> list[Share]:
    """Like projections of all layers, by role, shape and kind; layers far apart are not kept apart.

    Raises:
        ShapeError: If layers that were named as a group are not alike.
    """
    task.shares()
    found: dict[tuple[str, str], list[Projection]] = {}
    for role in task.roles:
        for p in task.of(role):
            found.setdefault((role, p.form), []).append(p)
    return [tuple(run) for run in found.values()]


def _grouped(run: Share, task: Task) -> list[int]:
    """The group of each."""
    return [next(g for g, group in enumerate(task.groups or ()) if p.layer in group) for p in run]


def _spoken(colors: Coloring, run: Share) -> str:
    """The layers of each color."""
    groups = [", ".join(str(run[i].layer) for i in members_of(colors, c)) for c in range(max(colors) + 1)]
    return " | ".join(groups)
