"""A serialiser of one's own, for array.array; python samples/custom_serializer.py runs it."""

from array import array
from threading import Thread

import objxfer


class Arrays:
    """Says the type in the head, and lets the memory travel as it is."""

    name = "array"
    executes = False  # whatever load() is given, it runs no code of the sender's choice

    def dump(self, obj):
        """Take an array apart."""
        if type(obj) is not array:
            raise objxfer.NotSerializable(f"obj is a {type(obj).__name__}, not an array")
        return obj.typecode.encode(), [memoryview(obj).cast("B")]

    def load(self, head, buffers):
        """Put it together again, or say that this cannot have been one."""
        try:
            loaded = array(str(head, "ascii"))
            loaded.frombytes(*buffers)
        except (ValueError, TypeError) as error:
            raise objxfer.PeerError("array: malformed") from error
        return loaded


objxfer.register(Arrays())
key = objxfer.Key.generate()
with objxfer.listen("tcp://127.0.0.1:0", key=key, accepts=["array"]) as listener:
    sent = array("d", range(100_000))
    Thread(target=lambda: objxfer.send(sent, to=listener.url, key=key, serializer="array")).start()
    with listener.accept(timeout=30) as conn:
        print(conn.recv(timeout=30) == sent)
