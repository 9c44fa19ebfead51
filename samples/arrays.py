"""Sends a dictionary with numpy arrays there and back; needs numpy.

python samples/arrays.py
"""

import threading
import time

import numpy

import objxfer

key = objxfer.Key.generate()


def double(listener: objxfer.Listener) -> None:
    with listener.accept(timeout=30) as conn:
        for batch in conn:
            batch["weights"] *= 2  # arrays arrive writable
            conn.send(batch)


with objxfer.listen("tcp://127.0.0.1:0", key=key) as listener:
    worker = threading.Thread(target=double, args=(listener,))
    worker.start()
    with objxfer.connect(listener.url, key=key) as conn:
        weights = numpy.arange(4_000_000, dtype="float64").reshape(2000, 2000)
        began = time.perf_counter()
        conn.send({"step": 3, "weights": weights, "every other": weights[::2, ::2]})
        came = conn.recv(timeout=30)
        seconds = time.perf_counter() - began
    worker.join()

assert numpy.array_equal(came["weights"], weights * 2)
assert numpy.array_equal(came["every other"], weights[::2, ::2])
print(f"{weights.nbytes * 1.25 / 1e6:.0f} MB of arrays there and back in {seconds:.2f} s, signed")
