"""Keys, and where they are looked for."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from objxfer.errors import KeyFileError
from objxfer.security import keyfiles, private
from objxfer.security.keyfiles import SECRET_SIZE, StrPath

ENVIRONMENT: Final = "OBJXFER_KEY_FILE"
"""The variable that names the key file where no argument does."""


class Key:
    """A secret of 32 bytes that whoever belongs to a group holds.

    Immutable; equal where the secret is equal. It shows itself by its id only, and refuses
    to be copied or pickled, so that it does not end up where nobody looks for it.
    """

    __slots__ = ("_id", "_secret")

    def __init__(self, secret: bytes) -> None:
        assert len(secret) == SECRET_SIZE
        self._secret = secret
        self._id = hashlib.sha256(b"objxfer/1 key id" + secret).hexdigest()[:8]

    @classmethod
    def generate(cls) -> Key:
        """Return a new key from the operating system's random numbers."""
        return cls(secrets.token_bytes(SECRET_SIZE))

    @classmethod
    def from_bytes(cls, secret: bytes) -> Key:
        """Return the key with this secret.

        Args:
            secret: 32 bytes from a random source; a password is not one.

        Raises:
            TypeError: it is not bytes.
            ValueError: it is not 32 bytes long, or all zeros, which stand for "no secret".
        """
        if not isinstance(secret, bytes):
            raise TypeError(f"a secret is bytes, not {type(secret).__name__}")
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"a secret has {SECRET_SIZE} bytes, not {len(secret)}")
        if not any(secret):
            raise ValueError("a secret of zeros is none")
        return cls(secret)

    @classmethod
    def load(cls, path: StrPath | None = None) -> Key:
        """Read a key from ``path``, else from the file the environment names, else the default.

        Args:
            path: the file; None looks at ``OBJXFER_KEY_FILE``, then at ``default_path()``.

        Raises:
            KeyFileError: the file is absent, is not one well-formed key, is no regular file
                reached without a link, belongs to someone else, or others may read it.
        """
        chosen = looked_for(path)
        try:
            return _one_key(chosen)
        except FileNotFoundError:
            keyfiles.refuse(chosen, "is not there", hint='make a key with "objxfer keygen"')

    @classmethod
    def find(cls, path: StrPath | None = None) -> Key | None:
        """Do as ``load``, but return None where nothing is named and no default file exists.

        Raises:
            KeyFileError: as ``load``; a file that is named but absent is one of the reasons.
        """
        named = _named(path)
        if named is not None:
            return cls.load(named)
        try:
            return _one_key(default_path())
        except FileNotFoundError:
            return None

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that tell keys apart; not secret."""
        return self._id

    def secret(self) -> bytes:
        """Return the 32 bytes. They are for the key schedule, and for nothing that is shown."""
        return self._secret

    def save(self, path: StrPath) -> None:
        """Write the key to a new file that only its owner can read, flushed to the disk.

        Missing folders on the way are made, for the owner only.

        Raises:
            KeyFileError: something lies there already (it is never replaced), or the file
                cannot be written; nothing of it is left then.
        """
        keyfiles.write(keyfiles.as_path(path), self._secret)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"<Key {self._id}>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a Key is neither copied nor pickled; save() writes it to a private file")


class Keyring:
    """One key or several: the first is used to connect and to sign, each is accepted.

    Immutable and never empty. Iterating gives the keys, the first one first.
    """

    __slots__ = ("_keys",)

    def __init__(self, *sources: Key | Keyring | StrPath) -> None:
        """Collect the keys of all sources, in order.

        Args:
            *sources: keys, keyrings, and paths of files with one key each.

        Raises:
            TypeError: a source is none of these; raw bytes are not.
            ValueError: there is no source.
            KeyFileError: as ``Key.load``.
        """
        keys: list[Key] = []
        for source in sources:
            if isinstance(source, Keyring):
                keys.extend(source)
            elif isinstance(source, Key):
                keys.append(source)
            elif isinstance(source, str | os.PathLike):
                keys.append(Key.load(source))
            else:
                raise TypeError(
                    f"a key is a Key, a Keyring or the path of a key file, not"
                    f" {type(source).__name__}; Key.from_bytes makes one of 32 random bytes"
                )
        if not keys:
            raise ValueError("a keyring holds at least one key")
        self._keys = tuple(keys)

    @classmethod
    def load(cls, path: StrPath) -> Keyring:
        """Read a file of one or more lines, a key each.

        Raises:
            KeyFileError: as ``Key.load``, for any of the lines.
        """
        chosen = keyfiles.as_path(path)
        try:
            return cls(*map(Key.from_bytes, keyfiles.read(chosen)))
        except FileNotFoundError:
            keyfiles.refuse(chosen, "is not there")

    @property
    def first(self) -> Key:
        """The key to connect and to sign with."""
        return self._keys[0]

    def find(self, key_id: str) -> Key | None:
        """Return the first key with this id, or None."""
        return next((key for key in self._keys if key.id == key_id), None)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<Keyring {' '.join(key.id for key in self._keys)}>"


def as_keyring(key: Key | Keyring | StrPath | None) -> Keyring | None:
    """Turn a ``key=`` argument into a keyring; None stays None and looks nowhere.

    Raises:
        TypeError: it is none of these. Raw bytes are not: ``Key.from_bytes`` says what they are.
        KeyFileError: as ``Key.load``.
    """
    if key is None or isinstance(key, Keyring):
        return key
    return Keyring(key)


def looked_for(path: StrPath | None = None) -> Path:
    """Return where ``Key.load`` and ``Key.find`` look for the key.

    Raises:
        KeyFileError: the environment names no file, or a key or a code is given for the path.
    """
    return _named(path) or default_path()


def default_path() -> Path:
    """Return where the key lies unless another file is named: ``key`` in the config folder."""
    return private.config_folder() / "key"


def _named(path: StrPath | None) -> Path | None:
    """Return the file that the argument or the environment names, if one does."""
    if path is not None:
        return keyfiles.as_path(path)
    from_environment = os.environ.get(ENVIRONMENT)
    if from_environment is None:
        return None
    if not from_environment:
        raise KeyFileError(f"{ENVIRONMENT} is empty", hint="unset it, or name a key file in it")
    return keyfiles.as_path(from_environment)


def _one_key(path: Path) -> Key:
    found = keyfiles.read(path)
    if len(found) > 1:
        keyfiles.refuse(
            path, f"holds {len(found)} keys, not one", hint="Keyring.load() reads several"
        )
    return Key.from_bytes(found[0])
