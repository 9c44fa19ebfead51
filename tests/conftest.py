"""The signals of a shell, whoever runs the tests.

A run in the background, or under nohup, ignores signals, and so would every command it starts.
"""

import signal

for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
