"""The protocol, encoded from ``docs/protocol.md`` alone: nothing of objxfer is used here."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any, Final

from blake3 import blake3
from spake2.ed25519_basic import Base, bytes_to_element

KEY: Final = bytes(range(1, 33))
OTHER_KEY: Final = bytes(range(2, 34))
KEY_ID: Final = hashlib.sha256(b"objxfer/1 key id" + KEY).digest()[:4]
ZEROS: Final = bytes(32)
CERTIFICATE_HASH: Final = bytes(range(0x80, 0xA0))

CLIENT, SERVER = 1, 2
NONE, BY_KEY, BY_CODE, AS_PAIR = range(4)
MODES: Final = ("none", "key", "code", "pair")
CODE: Final = b"4-walnut-copper-tiger"
OTHER_CODE: Final = b"4-walnut-copper-anvil"
ROOM: Final = struct.pack(">I", 4)
L: Final = 2**252 + 27742317777372353535851937790883648493
M: Final = "15cfd18e385952982b6a8f8c7854963b58e34388c8e6dae891db756481a02312"
N: Final = "f04f2e7eb734b2a8f8b472eaf9c3c632576ac64aea650b496a8a20ff00e583c3"
TYPES: Final = {
    "END": 1, "PING": 2, "PONG": 3, "FAILURE": 4, "OBJECT": 16, "OBJECTS": 17, "OFFER": 18,
    "DATA": 24, "ENTRIES": 25, "PACK": 26, "FILE": 27, "FILE_END": 28, "FLUSH": 29, "DONE": 30,
    "ABORT": 31, "NODES": 32, "PATCH": 33, "ACCEPT": 40, "CREDIT": 41, "WANTED": 42, "RECEIPTS": 43,
    "TAKEN": 44, "COMPARED": 45,
}  # fmt: skip


def u8(number: int) -> bytes:
    return struct.pack(">B", number)


def u16(number: int) -> bytes:
    return struct.pack(">H", number)


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


def u64(number: int) -> bytes:
    return struct.pack(">Q", number)


def i64(number: int) -> bytes:
    return struct.pack(">q", number)


def bytes16(value: bytes) -> bytes:
    return u16(len(value)) + value


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def hashed(context: str, data: bytes) -> bytes:
    return blake3(data, derive_key_context="objxfer/1 " + context).digest()


def node(data: bytes) -> bytes:
    leaves = [hashed("leaf", data[at : at + 65536]) for at in range(0, len(data), 65536)]
    return hashed("node", b"".join(leaves))


def hello(
    role: int,
    mode: int = BY_KEY,
    *,
    versions: tuple[int, int] = (1, 1),
    own: bytes | None = None,
    intended: bytes | None = None,
    key_id: bytes | None = None,
    code: bytes = CODE,
    fields: bytes | None = None,
    size: int | None = None,
    magic: bytes = b"objxfer",
) -> bytes:
    """A hello; its nonce, peer id and element follow from its role."""
    if intended is None:
        intended = peer_id(CLIENT + SERVER - role) if mode == AS_PAIR else bytes(16)
    if fields is None:
        key_id = key_id or (ROOM if mode == BY_CODE else KEY_ID)
        fields = (u16(1) + bytes16(key_id)) * (mode != NONE)
        fields += u16(2) + bytes16(b"raw,text") + u16(3) + bytes16(b"3.11")
        fields += (u16(6) + bytes16(element(role, code))) * (mode == BY_CODE)
    size = 77 + len(fields) if size is None else size
    fixed = magic + u16(size) + bytes(versions) + u8(role) + u8(mode)
    return fixed + nonce(role) + (own or peer_id(role)) + intended + fields


def nonce(role: int) -> bytes:
    return bytes([role]) * 32


def peer_id(role: int) -> bytes:
    return bytes([0x10 + role]) * 16


def weight(code: bytes) -> int:
    """``w``, by HKDF step by step."""
    prk = mac(ZEROS, code)
    first = mac(prk, b"SPAKE2 pw\x01")
    second = mac(prk, first + b"SPAKE2 pw\x02")
    return int.from_bytes((first + second)[:48], "big") % L


def random_number(role: int) -> int:
    """``x`` or ``y``."""
    return int.from_bytes(bytes([role]) * 64, "big") % L


def blinding(role: int, number: int) -> Any:
    """So many times ``M`` or ``N``."""
    return bytes_to_element(bytes.fromhex(M if role == CLIENT else N)).scalarmult(number)


def element(role: int, code: bytes = CODE) -> bytes:
    """``X`` or ``Y``."""
    chosen = Base.scalarmult(random_number(role)).add(blinding(role, weight(code)))
    return bytes(chosen.to_bytes())


def result(code: bytes, role: int, x: bytes, y: bytes) -> bytes:
    """What SPAKE2 comes to for one side."""
    theirs = bytes_to_element(y if role == CLIENT else x)
    k = theirs.add(blinding(CLIENT + SERVER - role, -weight(code))).scalarmult(random_number(role))
    parts = (code, b"objxfer/1 client", b"objxfer/1 server")
    hashes = b"".join(hashlib.sha256(part).digest() for part in parts)
    return hashlib.sha256(hashes + x + y + k.to_bytes()).digest()


class Connection:
    """The keys of one connection, and what its two sides say under them."""

    def __init__(
        self,
        *,
        mode: int = BY_KEY,
        key: bytes = KEY,
        channel: bytes = b"plain",
        client: bytes | None = None,
        server: bytes | None = None,
    ) -> None:
        self.client, self.server = client or hello(CLIENT, mode), server or hello(SERVER, mode)
        parts = (MODES[mode].encode(), channel, self.client, self.server)
        self.transcript = hashlib.sha256(b"".join(map(bytes16, parts))).digest()
        self.prk = mac(self.transcript, ZEROS if mode == NONE else key)
        self.sequences = {CLIENT: 0, SERVER: 0}

    def key(self, label: str) -> bytes:
        return mac(self.prk, f"objxfer/1 {label}".encode() + b"\x01")

    def proof(self, role: int) -> bytes:
        name = "client" if role == CLIENT else "server"
        return mac(self.key(f"{name} proof"), self.transcript)

    def chunk(
        self,
        role: int,
        name: str,
        item: int,
        payload: bytes = b"",
        *,
        header: bytes | None = None,
        digest: bytes | None = None,
    ) -> bytes:
        """The next chunk of one side."""
        if header is None:
            header = make_header(name, item, payload, digest=digest)
        label = "client chunk" if role == CLIENT else "server chunk"
        tag = mac(self.key(label), u64(self.sequences[role]) + header)
        self.sequences[role] += 1
        return header + tag + payload


def make_header(
    name: str | int,
    item: int,
    payload: bytes = b"",
    *,
    version: int = 1,
    flags: int = 0,
    size: int | None = None,
    raw_size: int | None = None,
    digest: bytes | None = None,
) -> bytes:
    number = TYPES[name] if isinstance(name, str) else name
    size = len(payload) if size is None else size
    if digest is None:
        digest = node(payload) if name == "DATA" and payload else hashed("message", payload)
    raw_size = size if raw_size is None else raw_size
    return u8(version) + u8(number) + u16(flags) + u32(item) + u32(size) + u32(raw_size) + digest


# --- messages ---


def make_object(
    name: bytes, head: bytes, buffers: list[bytes], *, receipt: bool = False, inside: bool = True
) -> bytes:
    flags = (1 if receipt else 0) | (2 if inside else 0)
    packed = u8(flags) + u8(len(name)) + u32(len(head)) + u16(len(buffers)) + name
    packed += b"".join(u64(len(buffer)) for buffer in buffers)
    return packed + (head + b"".join(buffers) if inside else b"")


def make_offer(
    *tops: bytes, rule: int = 0, folder: bytes = b"", files: int = 0, size: int = 0
) -> bytes:
    fixed = u8(rule) + u64(files) + u64(size) + u16(len(tops)) + bytes16(folder)
    return fixed + b"".join(map(bytes16, tops))


def make_entry(
    kind: int, path: bytes, *, mode: int = 0o644, size: int = 0, mtime: int = 0, target: bytes = b""
) -> bytes:
    fixed = u8(kind) + u16(mode) + u64(size) + i64(mtime) + u16(len(path)) + u16(len(target))
    return fixed + path + target


def make_packed(fate: int, size: int, mtime: int = 0, mode: int = 0o600) -> bytes:
    return u8(fate) + u32(size) + i64(mtime) + u16(mode)


def make_receipt(
    action: int,
    *,
    durable: int = 0,
    code: int = 0,
    size: int = 0,
    digest: bytes = ZEROS,
    path: bytes = b"",
    reason: bytes = b"",
) -> bytes:
    fixed = u8(action) + u8(durable) + u8(code) + u64(size) + digest
    return fixed + u16(len(path)) + u16(len(reason)) + path + reason


def make_abort(code: int, path: bytes = b"", reason: bytes = b"") -> bytes:
    return u8(code) + bytes16(path) + bytes16(reason)
