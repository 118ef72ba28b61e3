"""One file per figure in benchmarks/README.md; each prints what it measures, side by side in one run."""
