"""The harness' command line: `python -m laconic.harness`, a module of its own so that the class is registered once.

No paper: a command.
"""

from laconic.harness import main

main()
