"""Theory beside practice: what the formulas say about a trained network, and what is measured in it.

Each part predicts numbers from a run's own weights and activations, and measures them: checks with designed
error rates and verdicts, as in ``rps verify``.
"""
