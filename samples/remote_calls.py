"""Calls functions in another process, and is told what went wrong there.

objxfer keygen                                                       once
python samples/remote_calls.py serve tcp://127.0.0.1:7003            and, in another terminal,
python samples/remote_calls.py call tcp://127.0.0.1:7003 divide 1 3
"""

import sys
from dataclasses import dataclass

import objxfer

FUNCTIONS = {"add": lambda a, b: a + b, "divide": lambda a, b: a / b}


@objxfer.register_class
@dataclass
class Failure:
    """What a function has raised."""

    reason: str


match sys.argv[1:]:
    case ["serve", url]:
        with objxfer.listen(url, key=objxfer.Key.load()) as listener:
            print("listening on", listener.url, flush=True)
            with listener.accept() as conn:
                for name, *arguments in conn:
                    try:
                        result = FUNCTIONS[name](*arguments)
                    except Exception as error:  # noqa: BLE001 - it is for the caller to judge
                        result = Failure(repr(error))
                    conn.send(result)
    case ["call", url, name, *numbers]:
        with objxfer.connect(url, key=objxfer.Key.load()) as conn:
            conn.send([name, *map(float, numbers)])
            print(conn.recv(timeout=10))
