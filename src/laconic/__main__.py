"""`python -m laconic` is the command line.

No paper: an entry point.
"""

from laconic.cli import main

main()
