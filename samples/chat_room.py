"""A chat room: many clients, and one thread that serves them all.

objxfer keygen                         once
python samples/chat_room.py            and, in as many terminals as you like,
python samples/chat_client.py anna
"""

import contextlib
import sys

import objxfer

url = sys.argv[1] if sys.argv[1:] else "tcp://127.0.0.1:7002"
members = []


def tell_all(text):
    for member in members:
        with contextlib.suppress(objxfer.ObjxferError):  # whose connection is lost, leaves below
            member.send(text)


with objxfer.listen(url, key=objxfer.Key.load(), accepts=["text"], serializer="text") as listener:
    print("open at", listener.url, flush=True)
    while True:
        with contextlib.suppress(objxfer.Timeout):
            members.append(listener.accept(timeout=0 if members else None))
        for member in objxfer.wait(members, timeout=0.2):  # and then look for newcomers
            try:
                tell_all(member.recv())
            except objxfer.ObjxferError:
                members.remove(member)
                with contextlib.suppress(objxfer.ObjxferError):
                    member.close()
                tell_all(f"{member.peer} has left")
