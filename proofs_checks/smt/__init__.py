"""Inequalities over the reals with Z3: the negation has no solution, and has one without the condition."""
