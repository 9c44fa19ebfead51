"""What NOT to do: the sending half of the socket program everyone starts from.

python samples/tutorial_server.py          and, in another terminal,
python samples/tutorial_client.py

samples/objxfer_client.py does the same properly.
"""

import pickle
import socket
import sys

HEADER = 10


def send(conn, obj):
    data = pickle.dumps(obj)
    conn.sendall(f"{len(data):<{HEADER}}".encode() + data)


with socket.create_connection(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 7001)) as conn:
    send(conn, {"step": 3, "tags": {"a", "b"}})
