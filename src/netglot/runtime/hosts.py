"""Seats on hosts that are named: agents that a remote shell starts there."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import netglot
from netglot.errors import UserError
from netglot.runtime import agent, seats
from netglot.runtime.seats import Lost, Seat

#: How a command is run on a host, unless ``NETGLOT_REMOTE_SHELL`` says otherwise: it
#: never asks anything, and notices within a minute that the host is gone.
SSH = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15"
#: An agent on this machine.
HERE = (sys.executable, "-m", "netglot.runtime.agent")


def dealt(hosts: Sequence[str], workers: int) -> list[str]:
    """The host of each worker by rank: neighbours together, as evenly as it goes.

    Raises ``UserError`` for more hosts than workers and for what is no name of a host.
    """
    for host in hosts:
        if not re.fullmatch(r"[A-Za-z0-9_][\w.@:-]*", host):
            raise UserError(
                f"--hosts: {host!r} is no name of a host. Names stand by commas, as "
                "ssh knows them: a,b or user@a,user@b."
            )
    if len(set(hosts)) < len(hosts):
        raise UserError(f"--hosts {','.join(hosts)}: a host is named twice.")
    if len(hosts) > workers:
        raise UserError(
            f"--hosts names {len(hosts)} hosts, and there is work for {workers} "
            f"(--workers {workers}). Give at least --workers {len(hosts)}, or fewer "
            "hosts."
        )
    return [hosts[rank * len(hosts) // workers] for rank in range(workers)]


@contextlib.contextmanager
def opened(hosts: Sequence[str], workers: int) -> Iterator[list[Seat]]:
    """A seat for each worker, on these hosts; none where no host is named.

    Raises ``UserError`` that says of each host why it cannot be used.
    """
    names = dealt(hosts, workers) if hosts else []
    with contextlib.ExitStack() as stack:
        if names:
            with ThreadPoolExecutor(len(names)) as pool:
                asked = [pool.submit(_open, name) for name in names]
            lost = {
                name: error
                for name, future in zip(names, asked, strict=True)
                if (error := future.exception())
            }
            found = [future.result() for future in asked if not future.exception()]
            for seat in found:
                stack.callback(seat.close)
            for error in lost.values():
                if not isinstance(error, Lost):
                    raise error
            if lost:
                rows = "".join(f"\n    {name}: {why}" for name, why in lost.items())
                raise UserError(f"--hosts: not every host can be used:{rows}")
            seats.alike(found)
            seats.introduce(found)
            yield found
        else:
            yield []


def _open(host: str) -> Seat:
    """An agent on a host, over the pipes of a remote shell; on this one without."""
    if host == "localhost":
        return launched(host, HERE, "")
    shell = os.environ.get("NETGLOT_REMOTE_SHELL") or SSH
    python = os.environ.get("NETGLOT_REMOTE_PYTHON") or sys.executable
    # Whatever shell the user has there; python3 where this one's Python is not.
    script = (
        f'p={shlex.quote(python)}; command -v "$p" >/dev/null || p=python3; '
        'exec "$p" -m netglot.runtime.agent'
    )
    by_hand = f"{shlex.split(shell)[0]} {host} "
    command = [*shlex.split(shell), host, f"exec sh -c {shlex.quote(script)}"]
    return launched(host, command, by_hand)


def launched(host: str, command: Sequence[str], by_hand: str) -> Seat:
    """The seat of an agent that a command starts."""
    own, other = socket.socketpair()
    errors = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        process = subprocess.Popen(
            command,
            stdin=other.fileno(),
            stdout=other.fileno(),
            stderr=errors,
            # Ctrl-C in the terminal reaches netglot alone.
            start_new_session=True,
        )
    except OSError as error:
        own.close()
        raise Lost(f"{command[0]} cannot be started: {error}") from None
    finally:
        other.close()

    def why() -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip().splitlines()[-6:]
        return _explained(host, command[0], process.poll(), " / ".join(said))

    try:
        _skip_to_mark(own, why)
        seat = Seat(host, own, why, by_hand)
    except BaseException:
        own.close()
        process.kill()
        process.wait()
        raise
    seat.process = process
    return seat


def _skip_to_mark(link: socket.socket, why: Callable[[], str]) -> None:
    """Past what the shells on the way print."""
    heard, link_end = b"", time.monotonic() + seats.PATIENCE
    while not (b"\n" + heard).endswith(agent.MARK):
        link.settimeout(max(0.01, link_end - time.monotonic()))
        try:
            byte = link.recv(1)
        except TimeoutError:
            raise Lost(f"nothing was heard within {seats.PATIENCE:g} s") from None
        except OSError:
            byte = b""
        if not byte:
            raise Lost(why())
        heard = (heard + byte)[-len(agent.MARK) :]
    link.settimeout(None)


def _explained(host: str, shell: str, status: int | None, said: str) -> str:
    """Why an agent is not there, from what the remote shell says, and what next."""
    what = f"{shell} ended with status {status}" if status is not None else "it ended"
    what += f": {said}" if said else ""
    hints = {
        "Permission denied": f"ssh has to come in without asking: try `ssh -o "
        f"BatchMode=yes {host} true`, and give it a key (ssh-copy-id {host}).",
        "Host key verification failed": f"Connect once by hand: `ssh {host}`.",
        "Could not resolve": "Is the name right? It is as ssh knows it.",
        "No module named": f"Install netglot {netglot.__version__} there, and name its "
        "Python in NETGLOT_REMOTE_PYTHON.",
        "not found": "Is there a Python with netglot? Name it in "
        "NETGLOT_REMOTE_PYTHON.",
    }
    hint = next((text for sign, text in hints.items() if sign in said), "")
    return f"{what.rstrip('.')}. {hint}".strip()
