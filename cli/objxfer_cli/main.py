"""The way in, which imports next to nothing before a Ctrl-C is heeded: the rest takes a while."""

import os
import signal


def main() -> None:
    """Run the command line of this process, and exit."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        # Until ``Signals`` takes over; Python itself would show where in the imports it came.
        signal.signal(signal.SIGINT, lambda number, _frame: os._exit(128 + number))
    from objxfer_cli import commands

    commands.execute()
