"""``python -m selectron`` is the command line."""

from selectron.cli import main

main()
