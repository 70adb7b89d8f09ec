"""SSH to the node: only with a host key that the node published through its platform.

Guest attributes come from the machine that Google runs under that name and from nowhere else,
so the first contact is no leap of faith. Interactive logins use OpenSSH, the rest paramiko.
"""

from __future__ import annotations

import base64
import os
import select
import shlex
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from yoyo.drivers.gce.names import SSH_USER
from yoyo.errors import PortTaken, SshFailed

if TYPE_CHECKING:
    import paramiko

_CONNECT_S = 15.0
_CHUNK = 65536


class Target(NamedTuple):
    """Where to connect, as whom, and which host keys are the right ones."""

    address: str
    host_keys: dict[str, str]  # key type -> base64
    private_key: Path
    proxy: tuple[str, ...] = ()  # argv of a command that carries the connection


def openssh_argv(target: Target, known_hosts: Path) -> list[str]:
    """An interactive login with OpenSSH; the pinned keys go into `known_hosts`.

    Raises:
        SshFailed: there is no `ssh` here.
    """
    ssh = shutil.which("ssh")
    if ssh is None:
        raise SshFailed(
            "There is no OpenSSH client here.",
            why="No `ssh` is on PATH.",
            fix="Install it (Debian, Ubuntu: apt-get install openssh-client); `yoyo exec` "
            "does without.",
        )
    lines = [f"{target.address} {kind} {key}\n" for kind, key in target.host_keys.items()]
    known_hosts.touch(mode=0o600)
    known_hosts.write_text("".join(lines))
    options = {
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": os.devnull,
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "IdentityFile": str(target.private_key),
        **({"ProxyCommand": shlex.join(target.proxy)} if target.proxy else {}),
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [ssh, *words, f"{SSH_USER}@{target.address}"]


def connect(target: Target) -> paramiko.Transport:
    """A transport that is logged in.

    Raises:
        SshFailed: no connection, another host key, or the login was refused.
    """
    import paramiko

    try:
        if target.proxy:
            channel: Any = paramiko.ProxyCommand(shlex.join(target.proxy))
        else:
            channel = socket.create_connection((target.address, 22), timeout=_CONNECT_S)
        transport = paramiko.Transport(channel)
        transport.banner_timeout = transport.auth_timeout = _CONNECT_S
        wanted = [kind for kind in transport.preferred_keys if kind in target.host_keys]
        transport.get_security_options().key_types = tuple(wanted)
        transport.start_client(timeout=_CONNECT_S)
        _check_host_key(transport, target)
        key = paramiko.Ed25519Key.from_private_key_file(str(target.private_key))
        transport.auth_publickey(SSH_USER, key)
        transport.set_keepalive(15)
        return transport
    except (OSError, EOFError, ValueError, paramiko.SSHException) as error:
        raise SshFailed(
            f"No SSH connection to {target.address}.",
            why=str(error)[:300] or type(error).__name__,
            fix="Is your address the one that the firewall lets in (`yoyo doctor`)? A node that "
            "has just started may need a minute.",
        ) from None


def _check_host_key(transport: paramiko.Transport, target: Target) -> None:
    key = transport.get_remote_server_key()
    pinned = target.host_keys.get(key.get_name(), "")
    if base64.b64encode(key.asbytes()).decode() != pinned:
        transport.close()
        raise SshFailed(
            f"The host key of {target.address} is not the one that the node published.",
            why="Somebody may be in between, or the address belongs to another machine now.",
            fix="Do not log in. Run `yoyo status`, which asks Google where the node is.",
        )


def execute(target: Target, command: tuple[str, ...], output: Callable[[int, bytes], None]) -> int:
    """Run a command; `output` gets (1 or 2, bytes). Its exit status, 255 when it was cut off.

    Raises:
        SshFailed.
    """
    transport = connect(target)
    try:
        channel = transport.open_session()
        channel.exec_command(shlex.join(command))
        channel.shutdown_write()
        while not _pump(channel, output):
            select.select([channel], [], [], 1.0)
        return channel.recv_exit_status()
    finally:
        transport.close()


def _pump(channel: paramiko.Channel, output: Callable[[int, bytes], None]) -> bool:
    """Hand on what has come; whether the command has ended and all of it was handed on."""
    ended = channel.exit_status_ready() or channel.closed
    moved = False
    while channel.recv_ready():
        output(1, channel.recv(_CHUNK))
        moved = True
    while channel.recv_stderr_ready():
        output(2, channel.recv_stderr(_CHUNK))
        moved = True
    return bool(ended and not moved and (channel.eof_received or channel.closed))


def stream(target: Target, command: tuple[str, ...]) -> Iterator[bytes]:
    """Run a command and give its output as it comes, until it ends.

    Raises:
        SshFailed.
    """
    transport = connect(target)
    try:
        channel = transport.open_session()
        channel.set_combine_stderr(True)
        channel.exec_command(shlex.join(command))
        while data := channel.recv(_CHUNK):
            yield data
    finally:
        transport.close()


class Tunnel:
    """A listening port of loopback whose connections come out on the node."""

    def __init__(self, target: Target, remote_port: int, local_port: int) -> None:
        """Connect and listen.

        Raises:
            SshFailed, PortTaken.
        """
        self._transport = connect(target)
        self._remote = ("127.0.0.1", remote_port)
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind(("127.0.0.1", local_port))
        except OSError as error:
            self._transport.close()
            raise PortTaken(
                f"Port {local_port} on 127.0.0.1 cannot be used.",
                why=error.strerror or str(error),
                fix="Choose another one with --port, or 0 for a free one.",
            ) from None
        self._listener.listen(64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the connection to the node still stands."""
        return self._transport.is_active()

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self._transport.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(connection, peer), daemon=True).start()

    def _carry(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        import paramiko

        with connection:
            try:
                channel = self._transport.open_channel("direct-tcpip", self._remote, peer)
            except (paramiko.SSHException, EOFError, OSError):
                return  # the caller sees its connection end
            with channel, suppress(OSError):
                _both_ways(connection, channel)


def _both_ways(connection: socket.socket, channel: paramiko.Channel) -> None:
    while True:
        ends: list[Any] = [connection, channel]
        ready, _, _ = select.select(ends, [], [])
        for source, sink in (ends, ends[::-1]):
            if source not in ready:
                continue
            data = source.recv(_CHUNK)
            if not data:
                return
            sink.sendall(data)
