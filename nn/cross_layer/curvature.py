r"""How much a change of one weight costs: the Hessian of the calibration loss in a projection.

The loss is how far the outputs move: the Kullback-Leibler divergence from the model's own probabilities where
it gives logits, the squared distance elsewhere, summed over all outputs of the calibration data. The model
stands at its minimum 0, so that there is no gradient, and the Hessian is its Gauss-Newton part,

    H = J' L J = E[vec(Γ) vec(Γ)'],    Γ the gradient of <z, outputs> for random z with E[z z'] = L,

L being the Hessian of the loss in the outputs. A change D of a weight costs <D, H D> / 2, exactly where the
outputs are linear in the weight and the loss is of squares. H is never formed. It is taken for D -> A D G,
with A = X'X of the inputs, as in K-FAC, and G = E[Γ'Γ] / tr A: exact if H is such a product, and of the trace
of H in any case. Of weights that are not too large the top eigenpairs are found as well, by Lanczos on
products with the Hessian, and A D G is only used across from them.

Gradients need the activations of the whole model for a batch at a time, unlike the rest of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn as tnn
import torch.nn.functional as tnnf
from torch.nn.attention import SDPBackend, sdpa_kernel

from nn.cross_layer.adapters import Projection
from nn.cross_layer.streams import Batch, hidden_of, still
from nn.cross_layer.whitening import gathered
from nn.cross_layer.work import Tensors, Work
from rpstheory.errors import DataError

DRAWS = 32  # of z at least, over all batches
DAMPING = 0.1  # of the mean curvature: with less, weights move further than a quadratic reaches
TINY = 1e-30  # where there is no curvature at all
TOLERANCE = 1e-3  # residual of an eigenpair over the largest eigenvalue
DEPTH = 32  # blocks of a Krylov space at most

Product = Callable[[torch.Tensor], torch.Tensor]


@final
@dataclass(frozen=True, eq=False)
class Curvature:
    """A symmetric operator on matrices (d1, d2): H D = A D G + sum over a, b of m_ab v_a <v_b, D>.

    Attributes:
        inputs: A, (d1, d1) float64.
        outputs: G, (d2, d2).
        vectors: v, (k, d1, d2); none, unless some eigenpairs are known.
        middle: m, (k, k).
    """

    inputs: torch.Tensor
    outputs: torch.Tensor
    vectors: torch.Tensor
    middle: torch.Tensor

    @property
    def T(self) -> Curvature:
        """The same of transposed matrices."""
        return Curvature(self.outputs, self.inputs, self.vectors.mT, self.middle)

    def apply(self, change: torch.Tensor) -> torch.Tensor:
        """H D, (d1, d2)."""
        along = self.middle @ torch.einsum("kij,ij->k", self.vectors, change)
        return self.inputs @ change @ self.outputs + torch.einsum("k,kij->ij", along, self.vectors)

    def within(self, left: torch.Tensor | None = None, right: torch.Tensor | None = None) -> Curvature:
        """X -> left' H(left X right') right, of the same kind; None is the identity.

        Args:
            left: (d1, a).
            right: (d2, b).
        """
        inputs, outputs, vectors = self.inputs, self.outputs, self.vectors
        if left is not None:
            inputs, vectors = left.T @ inputs @ left, left.T @ vectors
        if right is not None:
            outputs, vectors = right.T @ outputs @ right, vectors @ right
        return Curvature(inputs, outputs, vectors, self.middle)

    def solver(self) -> tuple[Callable[[torch.Tensor, float], torch.Tensor], torch.Tensor, torch.Tensor]:
        """(H + shift)^-1 without products of matrices: of L' X R, as L' Y R, with the orthonormal L and R.

        A function of L' X R and of shift > 0.
        """
        values, left, right = self._eigen()
        vectors = left.T @ self.vectors @ right
        flat = vectors.flatten(1)

        def solve(rhs: torch.Tensor, shift: float) -> torch.Tensor:
            found = rhs / (values + shift)
            if not len(vectors):
                return found
            moved = vectors / (values + shift)  # Woodbury
            small = torch.eye(len(flat)).to(flat) + self.middle @ flat @ moved.flatten(1).T
            along = torch.linalg.solve(small, self.middle @ (flat @ found.flatten()))
            return found - torch.einsum("k,kij->ij", along, moved)

        return solve, left, right

    def marginals(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The traces of H over columns and over rows, (d1, d1) and (d2, d2)."""
        mixed = torch.einsum("kl,lij->kij", self.middle, self.vectors)
        return (
            self.inputs * self.outputs.trace() + torch.einsum("kij,khj->ih", mixed, self.vectors),
            self.outputs * self.inputs.trace() + torch.einsum("kij,kih->jh", mixed, self.vectors),
        )

    def corrected(self, values: torch.Tensor, vectors: torch.Tensor) -> Curvature:
        """The operator with these eigenpairs, (k,) and (k, d1, d2) orthonormal, and itself across from them.

        (1 - P) H (1 - P) + sum mu_k v_k v_k', P being the projection on all v_k.
        """
        bent = self.inputs @ vectors @ self.outputs
        one, flat = torch.eye(len(values)).to(values), vectors.flatten(1)
        top = torch.cat([flat @ bent.flatten(1).T + values.diag(), -one], 1)
        middle = torch.cat([top, torch.cat([-one, 0 * one], 1)])
        return Curvature(self.inputs, self.outputs, torch.cat([vectors, bent]), middle)

    def flat(self, change: torch.Tensor, count: int) -> torch.Tensor:
        """What is left of a change without its parts along top eigenpairs: those known, or those of A D G."""
        if len(self.vectors):
            top = self.vectors[: min(count, len(self.vectors) // 2)]
            return change - torch.einsum("k,kij->ij", torch.einsum("kij,ij->k", top, change), top)
        values, left, right = self._eigen()
        along = left.T @ change @ right
        along.view(-1)[values.flatten().topk(min(count, values.numel())).indices] = 0
        return left @ along @ right.T

    def _eigen(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All eigenvalues of A D G, (d1, d2), and what turns a matrix into their directions."""
        (a, left), (g, right) = torch.linalg.eigh(self.inputs), torch.linalg.eigh(self.outputs)
        return torch.outer(a.clamp(min=0), g.clamp(min=0)), left, right


def divergence(output: Any, keep: torch.Tensor | None) -> torch.Tensor:
    """The loss of a batch where the model stands: 0, but with all its derivatives.

    Args:
        output: Of the model.
        keep: Which outputs count; None: all.
    """
    x, logits = _outputs(output, keep)
    own = x.detach()
    if not logits:
        return (x - own).square().sum()
    return tnnf.kl_div(x.log_softmax(-1), own.log_softmax(-1), reduction="sum", log_target=True)


def probed(output: Any, keep: torch.Tensor | None, draw: torch.Generator) -> torch.Tensor:
    """<z, outputs> for a random z whose second moment is the Hessian of the loss in the outputs.

    Args:
        output: Of the model.
        keep: Which outputs count; None: all.
        draw: Random numbers.
    """
    x, logits = _outputs(output, keep)
    if not logits:
        signs = 2 * torch.randint(2, x.shape, generator=draw).to(x) - 1
        return 2**0.5 * (signs * x).sum()
    chances = x.detach().softmax(-1).flatten(0, -2)
    label = torch.multinomial(chances.cpu(), 1, generator=draw).to(x.device)
    return -x.log_softmax(-1).flatten(0, -2).gather(1, label).sum()


def hessian(model: tnn.Module, batches: Sequence[Batch], weight: tnn.Parameter) -> Product:
    """Products of the Hessian of the loss in one parameter with the rows of (k, elements).

    Args:
        model: Where it stands.
        batches: Calibration data.
        weight: Of the model.
    """

    def product(rows: torch.Tensor) -> torch.Tensor:
        found = torch.zeros_like(rows)
        with _derived(model, [weight]):
            for batch in batches:
                loss = divergence(batch.run(model), batch.keep)
                (slope,) = torch.autograd.grad(loss, weight, create_graph=True, materialize_grads=True)
                if not slope.requires_grad:  # the loss does not see this weight
                    continue
                for each, row in zip(found, rows, strict=True):
                    along = row.view_as(weight).to(weight)
                    (bent,) = torch.autograd.grad(slope, weight, along, retain_graph=True)
                    each += bent.flatten()
        return found

    return product


def gradients(
    model: tnn.Module, batches: Sequence[Batch], weights: Mapping[str, tnn.Parameter], draw: torch.Generator
) -> Iterator[dict[str, torch.Tensor]]:
    """Γ of each weight, in its own form and kind: H is the sum of E[vec(Γ) vec(Γ)'] over all that come.

    Args:
        model: Where it stands.
        batches: Calibration data; from each come as many draws.
        weights: Of the model, by name.
        draw: Random numbers.
    """
    draws = -(-DRAWS // len(batches))
    with _derived(model, list(weights.values())):
        for batch in batches:
            output = batch.run(model)
            for _ in range(draws):
                loss = probed(output, batch.keep, draw) / draws**0.5
                found = torch.autograd.grad(
                    loss, list(weights.values()), retain_graph=True, materialize_grads=True
                )
                yield dict(zip(weights, found, strict=True))


def steepest(
    product: Product,
    size: int,
    count: int,
    draw: torch.Generator,
    tolerance: float = TOLERANCE,
    place: torch.device | None = None,
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """The top eigenpairs of a symmetric operator, (k,) descending and (k, size), by Lanczos in blocks.

    With them comes the largest residual over the largest eigenvalue, above the tolerance if DEPTH blocks were
    not enough.

    A block is as wide as pairs are wanted, so that an eigenvalue is found as often as it occurs; one vector
    at a time would see each but once. All blocks are kept and made orthogonal again.

    Args:
        product: Of (rows, size) with the operator.
        size: Elements.
        count: k.
        draw: Random numbers for the first block.
        tolerance: Size of residuals, over the largest eigenvalue, at which it ends.
        place: Where to compute; None: on the processor.
    """
    block = torch.randn(min(count, size), size, dtype=torch.float64, generator=draw)
    block = block.to(place)
    space, images = block[:0], block[:0]
    values, vectors, wrong = block.new_zeros(len(block)), _orthonormal(block, space), 0.0
    for _ in range(DEPTH):
        fresh = _orthonormal(block, space)
        if not len(fresh):
            break
        block = product(fresh)
        space, images = torch.cat([space, fresh]), torch.cat([images, block])
        small = space @ images.T
        values, turns = torch.linalg.eigh((small + small.T) / 2)
        values, turns = values[-count:].flip(0), turns[:, -count:].flip(1)
        vectors = turns.T @ space
        rest = (turns.T @ images - values[:, None] * vectors).norm(dim=1).max()
        wrong = float(rest / values[0].abs().clamp(min=TINY))
        if len(space) >= size or wrong <= tolerance:
            break
    return values, vectors, wrong


def curvatures_of(work: Work, pairs: int, lanczos: int) -> dict[str, tuple[Curvature, float]]:
    """H of every projection, by name, and how much is added in all directions.

    Args:
        work: Its model is dense.
        pairs: Eigenpairs of the Hessian.
        lanczos: Elements of a weight up to which these are found; beyond, H is A and G alone.
    """
    flipped = {p.name: p.flipped for p in work.task.projections}

    def compute() -> Tensors:
        sums: Tensors = {}
        for found in gradients(work.model, work.batches, work.dense, work.generator("gradients")):
            for name, each in found.items():
                own = (each.T if flipped[name] else each).double()
                sums[name] = sums[name] + own.T @ own if name in sums else own.T @ own
        return sums

    shares = [(p,) for p in work.task.projections]
    inputs = work.once(
        "inputs of every weight", lambda: {p.name: gram for (p,), gram in gathered(work, shares)}
    )
    sums = work.once("gradients of every weight", compute)
    found: dict[str, tuple[Curvature, float]] = {}
    for p in work.task.projections:
        a, trace = inputs[p.name], inputs[p.name].trace()
        outputs = sums[p.name] / torch.where(trace > 0, trace, 1)
        curvature = Curvature(a, outputs, a.new_empty(0, p.rows, p.columns), a.new_empty(0, 0))
        if p.count <= lanczos:
            top = _top(work, p, pairs)
            curvature = curvature.corrected(top["values"], top["vectors"])
        found[p.name] = curvature, DAMPING * float(sums[p.name].trace()) / p.count or TINY
    return found


def _top(work: Work, p: Projection, pairs: int) -> Tensors:
    """The top eigenpairs of the Hessian in a weight: (k,) and (k, d1, d2)."""

    def compute() -> Tensors:
        weight, label = work.dense[p.name], f"eigenpairs of {p.name}"
        product = hessian(work.model, work.batches, weight)
        values, flat, wrong = steepest(product, p.count, pairs, work.generator(label), place=weight.device)
        if wrong > TOLERANCE:
            work.tell(f"{label}: residuals of {wrong:.1g} of the largest are left, and used as they are")
        vectors = flat.view(-1, *weight.shape)
        return {"values": values, "vectors": vectors.mT if p.flipped else vectors}

    return work.once(f"eigenpairs of {p.name}", compute)


def _orthonormal(rows: torch.Tensor, space: torch.Tensor) -> torch.Tensor:
    """Orthonormal rows of the same span, beside that of others; none for what is already there."""
    sizes = rows.norm(dim=1).max()
    for _ in range(2):
        rows = rows - (rows @ space.T) @ space
    q, r = torch.linalg.qr(rows.T)
    kept = q.T[r.diagonal().abs() > 1e-10 * sizes]
    return kept - (kept @ space.T) @ space


def _outputs(output: Any, keep: torch.Tensor | None) -> tuple[torch.Tensor, bool]:
    """What the loss looks at, and whether it is logits: a tensor, or what is named so, is.

    Raises:
        DataError: If it is not finite.
    """
    logits = output if isinstance(output, torch.Tensor) else getattr(output, "logits", None)
    x = hidden_of(output) if logits is None else logits
    if keep is not None and x.shape[:-1] == keep.shape:
        x = x[keep.to(x.device)]
    if not bool(torch.isfinite(x).all()):
        raise DataError(
            "share_layers: the model gives nan or inf on the calibration data; check the data, or run it in "
            "float32"
        )
    return x if x.element_size() >= 4 else x.float(), logits is not None


@contextmanager
def _derived(model: tnn.Module, weights: Sequence[tnn.Parameter]) -> Iterator[None]:
    """The model in evaluation, with derivatives to any order in these weights and in no others."""
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        for parameter in flags:
            parameter.requires_grad_(False)
        for weight in weights:
            weight.requires_grad_()
        # fused attention has no second derivative
        with still(model), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
