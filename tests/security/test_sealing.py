from __future__ import annotations

import hmac
import pickle
from dataclasses import fields, replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from objxfer.errors import IntegrityError
from objxfer.security.sealing import (
    TAG_SIZE,
    Opener,
    Proof,
    Schedule,
    Sealer,
    Verified,
    prove,
    proves,
)

KEY = bytes(range(32))
HEADER = b"a header of a chunk, of some length"


def opener(key: bytes = KEY) -> Opener:
    return Opener(key, authenticated=True)


# --- the key schedule -----------------------------------------------------------------------


@given(secret=st.binary(min_size=32, max_size=32), digest=st.binary(min_size=32, max_size=32))
def test_the_keys_are_those_of_rfc_5869(secret: bytes, digest: bytes) -> None:
    schedule = Schedule.derive(secret, digest)
    for field in fields(Schedule):
        label = f"objxfer/1 {field.name.replace('_', ' ')}".encode()
        expected = HKDF(hashes.SHA256(), length=32, salt=digest, info=label).derive(secret)
        assert getattr(schedule, field.name) == expected


def test_each_label_has_its_own_key() -> None:
    schedule = Schedule.derive(KEY, bytes(32))
    assert len({getattr(schedule, field.name) for field in fields(Schedule)}) == 5


@pytest.mark.parametrize("position", [0, 31])
def test_every_bit_of_secret_and_transcript_counts(position: int) -> None:
    base = Schedule.derive(KEY, KEY)
    changed = bytearray(KEY)
    changed[position] ^= 1
    for other in (Schedule.derive(bytes(changed), KEY), Schedule.derive(KEY, bytes(changed))):
        for field in fields(Schedule):
            assert getattr(base, field.name) != getattr(other, field.name)


def test_a_schedule_does_not_show_its_keys() -> None:
    schedule = Schedule.derive(KEY, bytes(32))
    assert str(schedule.client_chunk) not in repr(schedule)
    assert schedule.client_chunk.hex() not in repr(schedule)


# --- proofs of the handshake ----------------------------------------------------------------


def test_a_proof_holds_for_its_key_and_transcript_alone() -> None:
    proof = prove(KEY, b"transcript")
    assert proof == hmac.digest(KEY, b"transcript", "sha256")
    assert proves(KEY, b"transcript", proof)
    assert not proves(KEY, b"transcripT", proof)
    assert not proves(bytes(32), b"transcript", proof)
    for wrong in (b"", proof[:-1], proof + b"\0", bytes(32)):
        assert not proves(KEY, b"transcript", wrong)


def test_a_proof_of_one_role_is_none_of_the_other() -> None:
    schedule = Schedule.derive(KEY, bytes(32))
    assert not proves(schedule.server_proof, b"t", prove(schedule.client_proof, b"t"))


# --- tags -----------------------------------------------------------------------------------


@given(headers=st.lists(st.binary(max_size=200), max_size=5))
def test_a_tag_is_the_hmac_of_sequence_and_header(headers: list[bytes]) -> None:
    sealer, checker = Sealer(KEY), opener()
    for sequence, header in enumerate(headers):
        tag = sealer.seal(header)
        assert tag == hmac.digest(KEY, sequence.to_bytes(8, "big") + header, "sha256")
        assert len(tag) == TAG_SIZE
        checker.check(header, tag)


def refused(checker: Opener, header: bytes, tag: bytes) -> bool:
    try:
        checker.check(header, tag)
    except IntegrityError:
        return True
    return False


def test_a_repeated_chunk_is_refused() -> None:
    tag = Sealer(KEY).seal(HEADER)
    checker = opener()
    assert not refused(checker, HEADER, tag)
    assert refused(checker, HEADER, tag)


def test_a_lost_chunk_is_noticed_at_the_next() -> None:
    sealer = Sealer(KEY)
    sealer.seal(HEADER)
    assert refused(opener(), HEADER, sealer.seal(HEADER))


def test_chunks_in_another_order_are_refused() -> None:
    sealer = Sealer(KEY)
    first, second = sealer.seal(HEADER), sealer.seal(HEADER)
    assert first != second
    assert refused(opener(), HEADER, second)


def test_a_chunk_sent_back_is_refused() -> None:
    schedule = Schedule.derive(KEY, bytes(32))
    tag = Sealer(schedule.client_chunk).seal(HEADER)
    assert refused(opener(schedule.server_chunk), HEADER, tag)


def test_a_chunk_of_another_connection_is_refused() -> None:
    here, there = Schedule.derive(KEY, bytes(32)), Schedule.derive(KEY, b"\1" * 32)
    tag = Sealer(here.client_chunk).seal(HEADER)
    assert refused(opener(there.client_chunk), HEADER, tag)


@given(bit=st.integers(0, 8 * TAG_SIZE - 1))
def test_every_bit_of_the_tag_counts(bit: int) -> None:
    tag = bytearray(Sealer(KEY).seal(HEADER))
    tag[bit // 8] ^= 1 << bit % 8
    assert refused(opener(), HEADER, bytes(tag))


@given(bit=st.integers(0, 8 * len(HEADER) - 1))
def test_every_bit_of_the_header_counts(bit: int) -> None:
    tag = Sealer(KEY).seal(HEADER)
    header = bytearray(HEADER)
    header[bit // 8] ^= 1 << bit % 8
    assert refused(opener(), bytes(header), tag)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_tag_of_another_length_is_refused(length: int) -> None:
    tag = Sealer(KEY).seal(HEADER)
    assert refused(opener(), HEADER, (tag + b"\0")[:length])


def test_after_a_wrong_tag_the_right_one_comes_too_late() -> None:
    tag = Sealer(KEY).seal(HEADER)
    checker = opener()
    assert refused(checker, HEADER, bytes(32))
    assert refused(checker, HEADER, tag)


def test_tags_and_proofs_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    tag = Sealer(KEY).seal(HEADER)
    opener().check(HEADER, tag)
    proof = prove(KEY, b"t")
    assert proves(KEY, b"t", proof)
    assert compared == [(tag, tag), (proof, proof)]


# --- what cannot be forged ------------------------------------------------------------------


def test_only_an_authenticated_connection_has_a_proof() -> None:
    assert isinstance(opener().proof, Proof)
    assert Opener(KEY, authenticated=False).proof is None


@pytest.mark.parametrize("mint", [None, object(), KEY, True])
def test_a_proof_cannot_be_made(mint: object) -> None:
    with pytest.raises(TypeError, match="cannot be made"):
        Proof(mint)


def test_verified_needs_the_proof() -> None:
    proof = opener().proof
    assert proof is not None
    verified = Verified(proof, b"head", [b"buffer"])
    assert (verified.head, verified.buffers) == (b"head", [b"buffer"])
    for forged in (None, True, object(), "proof"):
        with pytest.raises(TypeError, match="needs the Proof"):
            Verified(forged, b"head", [])  # type: ignore[arg-type]  # what it must not take
        with pytest.raises(TypeError, match="needs the Proof"):
            replace(verified, proof=forged)  # type: ignore[arg-type]  # what it must not take


def test_verified_does_not_change_afterwards() -> None:
    proof = opener().proof
    assert proof is not None
    verified = Verified(proof, b"head", [])
    with pytest.raises(AttributeError):
        verified.head = b"another"  # type: ignore[misc]  # what must not work


def test_keys_at_work_are_not_pickled() -> None:
    for holder in (Sealer(KEY), opener()):
        with pytest.raises(TypeError):
            pickle.dumps(holder)
