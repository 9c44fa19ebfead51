"""Receives objects until the sender has no more: the tutorial program, in objxfer.

objxfer keygen                         once
python samples/objxfer_server.py       and, in another terminal,
python samples/objxfer_client.py
"""

import sys

import objxfer

url = sys.argv[1] if sys.argv[1:] else "tcp://127.0.0.1:7000"

with objxfer.listen(url, key=objxfer.Key.load()) as listener:
    print("listening on", listener.url, flush=True)
    with listener.accept(timeout=60) as conn:
        for obj in conn:
            print(obj)
