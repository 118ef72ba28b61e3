"""`python -m rpstheory`: the command `rps`."""

from rpstheory.cli import main

main()
