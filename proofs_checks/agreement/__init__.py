"""The code that `rpstheory` ships beside the surveyor's universes and definitions.

The other rooms settle the statements; this one shows that the code says the same. A homogeneous
polynomial of degree d is determined by its values at the whole-number points >= 0 of coordinate sum d,
whatever signs are put before their entries, so equality at those points is equality for all vectors. On
floats it is equality but for rounding, with a bound from the number of operations.
"""
