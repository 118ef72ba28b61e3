"""`python -m rpstheory`: the command `rps`."""

from rpstheory.cli import main

if __name__ == "__main__":
    main()
