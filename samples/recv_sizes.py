"""Measures what the argument of recv() does to the speed of a socket on this machine.

python samples/recv_sizes.py [SECONDS]       for each size
"""

import multiprocessing
import socket
import sys
import time


def pour(address):
    with socket.create_connection(address) as conn:
        block = bytes(1 << 20)
        try:
            while True:
                conn.sendall(block)
        except ConnectionError:
            pass  # the other side has seen enough


def measure(listening, size, seconds):
    conn, _ = listening.accept()
    with conn:
        began, received = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            for _ in range(100):
                received += len(conn.recv(size))
    return received / passed


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if sys.argv[1:] else 0.3
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for size in (16 << shift for shift in range(0, 17, 2)):
            sender = multiprocessing.Process(target=pour, args=[listening.getsockname()])
            sender.start()
            print(f"recv({size:>9,})  {measure(listening, size, seconds) / 1e6:8.1f} MB/s")
            sender.join()
