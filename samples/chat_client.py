"""Takes part in a chat room; samples/chat_room.py says how to run it. Ctrl-D leaves."""

import sys
import threading

import objxfer

name, url = sys.argv[1], sys.argv[2] if sys.argv[2:] else "tcp://127.0.0.1:7002"


def show(conn):
    for said in conn:  # which may be anything, so nothing of it may act on the terminal
        print(said if said.isprintable() else ascii(said), flush=True)


with objxfer.connect(url, key=objxfer.Key.load(), accepts=["text"], serializer="text") as conn:
    threading.Thread(target=show, args=(conn,), daemon=True).start()
    for line in sys.stdin:
        conn.send(f"{name}: {line.rstrip()}")
