"""`python -m allroads`."""

from allroads.cli import main

main()
