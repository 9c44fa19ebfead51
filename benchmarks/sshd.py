"""An SSH server of our own on loopback: own keys, own configuration, nothing of the user's."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from benchmarks.commands import CommandFailed, answers, background, free_port, timed
from benchmarks.run import Missing

HOST: Final = "bench"
"""What the server is called in the configuration of the client."""

_PRIVILEGE_SEPARATION: Final = Path("/run/sshd")
"""Debian's sshd wants it when it is started by root; elsewhere it is always there."""


@contextmanager
def ssh_server(folder: Path) -> Iterator[Path]:
    """Run a server that lets in who runs this; gives the client's configuration (``ssh -F``).

    Raises:
        Missing: sshd is not installed, or does not let us in.
    """
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh") is None:
        raise Missing("OpenSSH's client and server are not both installed")
    folder.mkdir()
    port = free_port()
    with ExitStack() as stack:
        try:
            for name in ("host", "user"):
                timed(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)])
            server = _server_configuration(folder, port)
            client = _client_configuration(folder, port)
            stack.enter_context(_privilege_separation())
            timed([program, "-t", "-f", str(server)])
            argv = [program, "-D", "-e", "-f", str(server)]
            stack.enter_context(background(argv, ready=lambda: answers(port)))
            timed(["ssh", "-F", str(client), HOST, "true"])
        except CommandFailed as error:
            raise Missing(f"sshd cannot be used here: {error}") from error
        yield client


def _server_configuration(folder: Path, port: int) -> Path:
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    # Who is not root cannot read the shadow file, and without PAM sshd takes the account for
    # locked then. For root, PAM would only add its messages of the day to every start.
    use_pam = "no" if os.geteuid() == 0 else "yes"
    return _written(
        folder / "sshd_config",
        f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey "{folder}/host"
AuthorizedKeysFile "{folder}/authorized_keys"
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM {use_pam}
PidFile none
LogLevel ERROR
Subsystem sftp internal-sftp
""",
    )


def _client_configuration(folder: Path, port: int) -> Path:
    host_key = (folder / "host.pub").read_text()
    _written(folder / "known_hosts", f"[127.0.0.1]:{port} {host_key}")
    return _written(
        folder / "ssh_config",
        f"""\
Host {HOST}
HostName 127.0.0.1
Port {port}
User {getpass.getuser()}
IdentityFile "{folder}/user"
IdentitiesOnly yes
IdentityAgent none
UserKnownHostsFile "{folder}/known_hosts"
GlobalKnownHostsFile none
StrictHostKeyChecking yes
BatchMode yes
ConnectTimeout 10
LogLevel ERROR
""",
    )


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@contextmanager
def _privilege_separation() -> Iterator[None]:
    ours = False
    if os.geteuid() == 0:
        with suppress(OSError):  # where it cannot be made, sshd -t says so
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755)
            ours = True
    try:
        yield
    finally:
        if ours:
            with suppress(OSError):
                _PRIVILEGE_SEPARATION.rmdir()
