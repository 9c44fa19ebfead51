"""The ceiling for one file over TLS: Python's ``ssl`` sockets, and a sink that throws away.

No checks, no names, no receipts: ``python bare_tls.py sink PORT`` and ``send PORT FILE``. A
script by itself, so that a sender's start costs what Python's own does.
"""

from __future__ import annotations

import socket
import ssl
import sys

_PIECE = 256 * 1024
_DONE = b"."


def sink(port: int) -> None:
    """Take one stream after the other, and answer each when it has ended."""
    from objxfer.transports.tls import server_context

    context = server_context()
    buffer = memoryview(bytearray(_PIECE))
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            accepted, _ = server.accept()
            try:
                with context.wrap_socket(accepted, server_side=True) as stream:
                    left = int.from_bytes(stream.recv(8))
                    while left and (size := stream.recv_into(buffer)):
                        left -= size
                    stream.sendall(_DONE)
            except OSError:
                continue  # somebody who only looked whether we are there


def send(port: int, path: str) -> None:
    """Send one file, and wait until all of it has arrived."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    buffer = memoryview(bytearray(_PIECE))
    with (
        open(path, "rb", buffering=0) as file,
        socket.create_connection(("127.0.0.1", port)) as connected,
        context.wrap_socket(connected) as stream,
    ):
        stream.sendall(file.seek(0, 2).to_bytes(8))
        file.seek(0)
        while size := file.readinto(buffer):
            stream.sendall(buffer[:size])
        if stream.recv(1) != _DONE:
            sys.exit("the sink did not take it all")


if __name__ == "__main__":
    role, port, *rest = sys.argv[1:]
    if role == "sink":
        sink(int(port))
    else:
        send(int(port), *rest)
