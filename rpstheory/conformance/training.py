r"""The law of training: gradient descent on the bank is never less stable than on the weights.

Weights are $w = \Lambda S^\top \theta$ with scales $\lambda_i$, the loss is $F(w) = w^\top H w / 2$. Dividing
the bank's gradient g by $d_j \ge \Gamma_j = \sum \lambda_i^2$ over the weights of cell j, in used cells only,
is gradient descent in a bank that the weights read through columns no longer than 1. So a step
$\eta < 2/L$ obeys the descent lemma, whatever the mapping (claim 13):

$$ F(w_{t+1}) \le F(w_t) - \eta (1 - \tfrac{\eta L}{2}) \sum_j g_j^2 / d_j $$

It is iterated in fractions, with $\eta = 1.9/L$ and L the largest row sum of |H|. The divisor is $\Gamma$, or
what the mapping's own ``effective_scaler`` says.
"""

from __future__ import annotations

import random
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from rpstheory.conformance.law import Law, Outcome
from rpstheory.conformance.sizes import ORDINARY
from rpstheory.conformance.subject import Guarded, Subject, as_fraction
from rpstheory.operator import compress, expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STEPS = 4
STEP = Fraction(19, 10)  # times 1/L: inside the range (0, 2/L), close to its end


def check_training(subject: Subject) -> Outcome:
    """The loss falls by what the descent lemma says, step by step."""
    count = 0
    for mapping in subject.draws((*subject.level.small, *ORDINARY)):
        for scales, hessian in _problems(mapping):
            count += 1
            _descend(mapping, scales, hessian)
    return Outcome("holds", f"{count} runs of {STEPS} steps of size 1.9/L")


def _problems(mapping: Guarded) -> Iterator[tuple[Any, Any]]:
    """Scales and Hessians: the sharp 1 with equal and with uneven scales, then random ones."""
    chance, n = random.Random(mapping.seed), mapping.n
    identity = np.array([[int(i == j) for j in range(n)] for i in range(n)], dtype=object)
    yield _fractions([1] * n), identity
    yield _fractions((1, 3)[i % 2] for i in range(n)), identity
    factor = np.array([[chance.randint(-2, 2) for _ in range(n)] for _ in range(n)], dtype=object)
    yield _fractions(chance.randint(1, 5) for _ in range(n)), factor.T @ factor + identity


def _descend(mapping: Guarded, scales: Any, hessian: Any) -> None:
    curvature = max(sum(map(abs, row)) for row in hessian.tolist())
    step = STEP / curvature
    divisor = _divisor(mapping, scales)
    theta = _fractions(7 * c % 5 + 1 for c in range(mapping.cells))
    weights = scales * expand(mapping.as_mapping, theta)
    loss = weights @ hessian @ weights / 2
    for number in range(1, STEPS + 1):
        gradient = compress(mapping.as_mapping, scales * (hessian @ weights))
        fall = step * (1 - STEP / 2) * (gradient * gradient / divisor).sum()
        theta = theta - step * gradient / divisor
        weights = scales * expand(mapping.as_mapping, theta)
        after = weights @ hessian @ weights / 2
        if after > loss - fall:
            raise mapping.wrong(
                (),
                f"step {number} of size 1.9/L took the loss from {float(loss):.6g} to {float(after):.6g}; "
                f"it has to reach {float(loss - fall):.6g} or less, for "
                f"scales {_plain(scales)}, H = {_plain(hessian)}",
            )
        loss = after


def _divisor(mapping: Guarded, scales: Any) -> Any:
    """What the gradient of each cell is divided by; 1 in unused cells, which have none."""
    cells, signs = mapping.answers(range(mapping.n))
    gamma = _fractions([0] * mapping.cells)
    np.add.at(gamma, cells[signs != 0], (scales * scales)[signs != 0])
    if mapping.declared("effective_scaler") is None:
        return np.array([g or Fraction(1) for g in gamma.tolist()], dtype=object)
    own = np.atleast_1d(mapping.call("effective_scaler", scales.tolist())).tolist()
    divisor = [as_fraction(v) if g else Fraction(1) for v, g in zip(own, gamma.tolist(), strict=False)]
    if len(own) != mapping.cells or any(d is None or d <= 0 for d in divisor):
        raise mapping.wrong(
            (),
            f"effective_scaler gave {own}; {mapping.cells} numbers are needed, positive in used cells",
        )
    return np.array(divisor, dtype=object)


def _plain(numbers: Any) -> Any:
    return numbers.astype(np.int64).tolist()


def _fractions(numbers: Iterable[int]) -> Any:
    return np.array([Fraction(v) for v in numbers], dtype=object)


TRAINING = Law(
    "training",
    "gradient descent on the bank, divided by Gamma or its own effective_scaler, is stable for every step "
    "below 2/L, whatever the scales",
    "a learning rate that is safe for the dense model diverges for the shared one, in some layers or draws",
    check_training,
)
