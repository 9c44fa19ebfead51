"""What NOT to do: the receiving half of the socket program everyone starts from.

python samples/tutorial_server.py          and, in another terminal,
python samples/tutorial_client.py

Its faults are marked [1] to [6]; docs/from-the-tutorial.md takes them one by one. Try it on this
machine only: whoever can connect to it can run code here.
"""

import pickle
import socket
import sys

HEADER = 10


def receive(conn):
    size = int(conn.recv(HEADER))  # [1] may return fewer bytes than were asked for
    data = b""
    while len(data) < size:  # [2] whatever size the sender has written there
        data += conn.recv(16)  # [3] 16 bytes a call, [4] and b"" for ever once the sender is gone
    return pickle.loads(data)  # [5] runs whatever the sender has put there


with socket.socket() as listening:
    listening.bind(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 7001))
    listening.listen()
    print("listening on port", listening.getsockname()[1], flush=True)
    conn, _ = listening.accept()  # [6] whoever it is, for as long as it takes
    with conn:
        print(receive(conn))
