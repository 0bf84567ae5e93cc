"""`python -m cada`."""

from cada.cli.main import run

run()
