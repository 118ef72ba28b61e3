"""Moments of <Sx, Sy> as polynomials in the entries of x and y, compared coefficient by coefficient.

An identity of coefficients holds for all vectors, not only for those that were tried. With A from
:attr:`Universe.forms`, <Sx, Sy> = sum A_ij x_i y_j, and its second moment has the coefficient tensor
E A_ij A_kl of x_i y_j x_k y_l. Two such tensors are the same polynomial iff they agree after summing
over the index swaps that leave the monomial alone: i <-> k and j <-> l; all permutations when x = y.

A form of degree d is also determined by its values at the points of :func:`lattice`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations_with_replacement, permutations
from typing import Any

import numpy as np

from proofs_checks.universes import Universe


def mean_form(universe: Universe) -> Any:
    """(n, n) Fractions: coefficient of x_i y_j in rescale * E<Sx, Sy>."""
    counts = sum(np.tensordot(part.weights, part.forms, axes=1) for part in universe.parts())
    return fractions(counts, universe.rescale / universe.total)


def second_moment(universe: Universe) -> Any:
    """(n, n, n, n) Fractions: coefficient of x_i y_j x_k y_l in rescale^2 * E<Sx, Sy>^2."""
    n = universe.n
    counts = np.zeros((n * n, n * n), dtype=np.int64)
    for part in universe.parts():
        forms = part.forms.reshape(-1, n * n)
        counts += (forms * part.weights[:, None]).T @ forms
    return fractions(counts.reshape(n, n, n, n), universe.rescale**2 / universe.total)


def variance_form(universe: Universe) -> Any:
    """(n, n, n, n) Fractions: coefficient tensor of the variance of rescale * <Sx, Sy>."""
    mean = mean_form(universe)
    return second_moment(universe) - np.multiply.outer(mean, mean)


def quartic(n: int, coefficient: Callable[[int, int, int, int], Fraction | int]) -> Any:
    """(n, n, n, n) object array of coefficient(i, j, k, l) of x_i y_j x_k y_l."""
    tensor = np.empty((n,) * 4, dtype=object)
    for place in np.ndindex(tensor.shape):
        tensor[place] = Fraction(coefficient(*place))
    return tensor


def quadratic(n: int, coefficient: Callable[[int, int], Fraction | int]) -> Any:
    """(n, n) object array of coefficient(i, j)."""
    form = np.empty((n, n), dtype=object)
    for place in np.ndindex(form.shape):
        form[place] = Fraction(coefficient(*place))
    return form


def pair_form(probability: Any) -> Any:
    """Tensor of sum over i != j of p_ij (x_i^2 y_j^2 + x_i y_i x_j y_j), p (n, n) Fractions."""
    n = len(probability)
    tensor = np.full((n,) * 4, Fraction(0), dtype=object)
    for i in range(n):
        for j in range(n):
            if i != j:
                tensor[i, j, i, j] += probability[i, j]  # x_i y_j x_i y_j
                tensor[i, i, j, j] += probability[i, j]  # x_i y_i x_j y_j
    return tensor


def squares(forms: Any) -> Any:
    """Tensor of the sum of the squares of bilinear forms in x and y, (count, n, n) whole numbers."""
    count, n, _ = forms.shape
    flat = forms.reshape(count, n * n)
    return fractions((flat.T @ flat).reshape((n,) * 4), Fraction(1))


def places(mask: Any) -> Any:
    """(count, n, n) the form x_i y_j for each True in a mask: their squares sum to x_i^2 y_j^2 there."""
    n = len(mask)
    return np.eye(n * n, dtype=np.int64)[mask.ravel()].reshape(-1, n, n)


def inside(groups: Any) -> Any:
    """(count, n, n) the form sum of x_i y_i over each group, from the group of every weight."""
    return np.array([np.diag(groups == group) for group in np.unique(groups)], dtype=np.int64)


def wedges(mask: Any) -> Any:
    """(count, n, n) the form x_i y_j - x_j y_i for i < j where a symmetric mask is True."""
    forms = places(np.triu(mask, 1))
    return forms - forms.transpose(0, 2, 1)


def evaluate(tensor: Any, x: Any, y: Any) -> Fraction:
    """The polynomial at whole or rational vectors."""
    x, y = (np.array([Fraction(entry) for entry in vector], dtype=object) for vector in (x, y))
    return Fraction((((tensor @ y) @ x) @ y) @ x)


def meeting(cells: Any) -> Any:
    """(n, n) Fractions: probability that i and j share a cell, 0 on the diagonal."""
    same = (cells[:, :, None] == cells[:, None, :]).sum(axis=0)
    np.fill_diagonal(same, 0)
    return fractions(same, Fraction(1, len(cells)))


def for_products(tensor: Any) -> Any:
    """The tensor summed over i <-> k and j <-> l: equal iff equal as polynomials in x and y."""
    half = tensor + tensor.transpose(2, 1, 0, 3)
    return half + half.transpose(0, 3, 2, 1)


def for_norms(tensor: Any) -> Any:
    """The tensor summed over all permutations: equal iff equal as polynomials in x = y."""
    orders = list(permutations(range(4)))
    found = tensor.transpose(orders[0])
    for order in orders[1:]:
        found = found + tensor.transpose(order)
    return found


def difference(left: Any, right: Any) -> str:
    """The first place where two arrays of Fractions differ, in words; empty if nowhere."""
    for place in np.ndindex(left.shape):
        if left[place] != right[place]:
            return f"coefficient at {place}: {left[place]} against {right[place]}"
    return ""


def fractions(counts: Any, factor: Fraction) -> Any:
    """Whole numbers times a fraction, as an object array."""
    found = np.empty(counts.shape, dtype=object)
    for place in np.ndindex(counts.shape):
        found[place] = int(counts[place]) * factor
    return found


def lattice(n: int, degree: int) -> Any:
    """(points, n) int64: every vector of whole numbers >= 0 with sum ``degree``."""
    chosen = list(combinations_with_replacement(range(n), degree))
    points = np.zeros((len(chosen), n), dtype=np.int64)
    for row, places in enumerate(chosen):
        np.add.at(points[row], list(places), 1)
    return points


def exact(numbers: Any) -> Any:
    """The same numbers as Python integers, which do not overflow."""
    return numbers.astype(object)
