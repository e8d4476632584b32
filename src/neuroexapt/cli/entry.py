"""The command `neuroexapt`, and what its exit codes mean.

0: all went well. 1: a run failed, as by a loss that is no longer finite or a full disk, or what was
diagnosed is critical. 2: the command line, the settings, the data or the model can't be used. 130:
interrupted from the keyboard.
"""

import sys
from collections.abc import Sequence

from neuroexapt.cli.interrupt import leave_on_interrupt


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: what follows `neuroexapt`; None for what the process was started with, which then
            Ctrl-C ends.

    Returns:
        The exit code.
    """
    if args is None:
        leave_on_interrupt()
    # Imports torch, which takes seconds in which a user may think better of it.
    from neuroexapt.cli.app import run

    return run(list(sys.argv[1:] if args is None else args))
