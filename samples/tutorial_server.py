"""What NOT to do: the receiving half of the socket program everyone starts from.

python samples/tutorial_server.py          and, in another terminal,
python samples/tutorial_client.py

Its faults are marked [1] to [7], as in docs/from-the-tutorial.md, which takes them one by one.
Try it on this machine only: whoever can connect to it can run code here.
"""

import pickle
import socket
import sys

HEADER = 10


def receive(conn):
    size = int(conn.recv(HEADER))  # [1] may return fewer bytes than were asked for
    data = b""
    while len(data) < size:  # [6] whatever the sender has written there
        # [2] may return some of the next message, too; [3] 16 bytes a call; [4] and once the
        # sender is gone, nothing at all, for ever
        data += conn.recv(16)
    return pickle.loads(data)  # [7] runs whatever the sender has put there


with socket.socket() as listening:
    listening.bind(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 7001))
    listening.listen()
    print("listening on port", listening.getsockname()[1], flush=True)
    conn, _ = listening.accept()  # [5] whoever comes, and for as long as it takes
    with conn:
        print(receive(conn))
