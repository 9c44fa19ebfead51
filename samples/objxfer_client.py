"""Sends objects: the tutorial program, in objxfer. samples/objxfer_server.py says how to run it."""

import sys

import objxfer

url = sys.argv[1] if sys.argv[1:] else "tcp://127.0.0.1:7000"

with objxfer.connect(url, key=objxfer.Key.load()) as conn:
    conn.send({"step": 3, "tags": {"a", "b"}})
    conn.send([1.5, b"bytes", ("a", "tuple")])
