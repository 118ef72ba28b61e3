"""The formulas that `rpstheory` ships beside the surveyor's universes.

The other rooms settle the statements; this one shows that the code says the same. A homogeneous
polynomial of degree d is determined by its values at the whole-number points >= 0 of coordinate sum d,
so equality at those points is equality for all vectors.
"""
