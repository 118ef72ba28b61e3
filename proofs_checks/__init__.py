"""The surveyor: the claims of the theory proved again, by exact enumeration, symbolically, and by SMT.

Nothing here uses the formulas of `rpstheory` to check them. Universes of draws, variances and bounds
are written down a second time, from the definitions; only :mod:`proofs_checks.agreement` puts the two
side by side.
"""
