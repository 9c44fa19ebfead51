from __future__ import annotations

import socket
import struct

import pytest

from objxfer.transports.sockets import SocketTransport
from support.streams import PATIENCE, receive, tcp_sockets


def test_small_messages_leave_at_once_and_a_dead_peer_is_noticed() -> None:
    one, other = tcp_sockets()
    transport = SocketTransport(one)
    with other:
        assert transport.peer == "127.0.0.1"
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not one.getblocking()
        assert not one.get_inheritable()
    transport.close()


def test_a_socket_that_is_not_connected_is_closed() -> None:
    sock = socket.socket()
    with pytest.raises(OSError, match="not connected"):
        SocketTransport(sock)
    assert sock.fileno() == -1


def test_finishing_after_a_reset_is_no_error() -> None:
    one, other = tcp_sockets()
    transport = SocketTransport(one)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()
    transport.wait(read=True, write=False, timeout=PATIENCE)
    with pytest.raises(ConnectionResetError):
        receive(transport)
    transport.finish()
    transport.close()


def test_finishing_what_is_closed_is_an_error() -> None:
    one, other = tcp_sockets()
    transport = SocketTransport(one)
    transport.close()
    with pytest.raises(OSError, match="Errno 9"):
        transport.finish()
    other.close()
