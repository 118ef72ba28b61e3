"""Broken mappings, hashes, formulas, samplers and statistics, and what catches each of them.

A check that cannot fail shows nothing. So the toolkit is broken on purpose, one rule at a time, and the
checks that it ships with must notice. This shows that each listed mistake is found by the check named beside
it, and that the check is content without the mistake. It does not show that a mistake which nobody thought of
would be found. A mutant that survived was a hole; the check that closed it stands beside it in the table
(``python -m proofs_checks.mutants``).
"""
