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
    counts = np.tensordot(universe.weights, universe.forms, axes=1)
    return fractions(counts, universe.rescale / universe.total)


def second_moment(universe: Universe) -> Any:
    """(n, n, n, n) Fractions: coefficient of x_i y_j x_k y_l in rescale^2 * E<Sx, Sy>^2."""
    n = universe.n
    forms = universe.forms.reshape(-1, n * n)
    counts = (forms * universe.weights[:, None]).T @ forms
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
