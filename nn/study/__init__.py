"""Studies: a grid of training runs in a file, run side by side, and what follows from their results.

    FILE.toml → grid → running (a pool of processes, or a Dask cluster) → results, one JSON line each
                                                                            └→ analysis → report

Every cell is a run of :func:`nn.fit` in the folder of all runs: `rps runs`, `eval` and `plot` see it too.
"""
