"""The processes of a launcher's job meet: the first is served by all others."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import socket
import struct
import sys
import time
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

from netglot import places
from netglot.errors import UserError
from netglot.runtime import agent, hosts, seats
from netglot.runtime.agent import Agent, Channel
from netglot.runtime.launchers import Job
from netglot.runtime.seats import Seat

_GONE = "the process of that rank has ended, or its host cannot be reached"


def _token() -> bytes:
    """What all processes of a job know and nobody else: from a file of the user's."""
    if told := os.environ.get("NETGLOT_TOKEN"):
        return told.encode()
    path = places.cache("jobs") / "token"
    if not path.exists():
        own = path.with_name(f"token-{socket.gethostname()}-{os.getpid()}")
        with open(os.open(own, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        # Whole at once, and only by the first.
        with contextlib.suppress(FileExistsError):
            os.link(own, path)
        own.unlink()
    return path.read_bytes()


def _patient(link: socket.socket, seconds: int) -> None:
    """So long reads of it wait; 0: for ever."""
    link.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0)
    )


@contextlib.contextmanager
def gathered(job: Job) -> Iterator[list[Seat]]:
    """The seats of a job by rank, in its first process; ends the others with it.

    Raises ``UserError`` where they do not come or do not agree.
    """
    where = f"{job.addresses[0]}:{job.port}"
    try:
        server = socket.create_server(
            ("127.0.0.1" if job.on_one_host else "", job.port), backlog=job.size
        )
    except OSError as error:
        raise UserError(
            f"The processes of this {job.launcher} job meet at port {job.port}, and "
            f"it cannot be had on {socket.gethostname()}: {error.strerror or error}. "
            "Name a free one in NETGLOT_PORT, for all of them."
        ) from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(server)
        first = hosts.launched("localhost", hosts.HERE, "")
        stack.callback(first.close)
        known = {0: first}
        end = time.monotonic() + seats.PATIENCE
        while len(known) < job.size:
            server.settimeout(max(0.01, end - time.monotonic()))
            try:
                link, _ = server.accept()
            except TimeoutError:
                lost = sorted(set(range(job.size)) - set(known))
                raise UserError(
                    f"Of the {job.size} processes of this {job.launcher} job, "
                    f"{', '.join(f'rank {r}' for r in lost)} did not come to {where} "
                    f"within {seats.PATIENCE:g} s. Was each started with the same "
                    "command, and can the hosts reach each other there (firewall)? "
                    "MASTER_ADDR and NETGLOT_PORT name another place."
                ) from None
            if not _proved(link, first=True):
                link.close()
                continue
            seat = Seat("", link, lambda: _GONE)
            stack.callback(seat.close)
            told = seat.hello
            seat.label = told["host"]
            who = f"Rank {told['rank']} on {seat.label}"
            if told["size"] != job.size:
                raise UserError(
                    f"{who} was told that the job has {told['size']} processes, rank 0 "
                    f"on {socket.gethostname()} that it has {job.size}. Start them "
                    "with one launcher, all with the same numbers."
                )
            if told["rank"] in known:
                raise UserError(f"{who} came twice: is another job meeting at {where}?")
            if told["arguments"] != sys.argv[1:]:
                raise UserError(
                    f"{who} was started with other arguments than rank 0: "
                    f"{shlex.join(told['arguments'])}"
                )
            known[told["rank"]] = seat
        first.label = first.hello["host"]
        by_rank = [known[rank] for rank in range(job.size)]
        seats.alike(by_rank)
        seats.introduce(by_rank)
        yield by_rank


def join(job: Job) -> int:
    """Serves the first process of a job from another one; the exit status.

    Raises ``UserError`` where the first cannot be met.
    """
    agent.ends_on_signals()
    end, reasons = time.monotonic() + seats.PATIENCE, {"": ""}
    while time.monotonic() < end:
        for address in job.addresses:
            try:
                link = socket.create_connection((address, job.port), 5)
            except OSError as error:
                reasons[address] = str(error.strerror or error)
                continue
            link.settimeout(None)
            if not _proved(link, first=False):
                reasons[address] = (
                    "it does not know the same token, which is in "
                    f"{places.cache('jobs') / 'token'} on each host, or in "
                    "NETGLOT_TOKEN"
                )
                continue
            here = Agent(
                Channel(Connection(link.detach())),
                rank=job.rank,
                size=job.size,
                arguments=sys.argv[1:],
            )
            try:
                here.serve()
            except KeyboardInterrupt:
                # The first says that it was stopped.
                return 130
            return 0 if here.done else 1
        time.sleep(0.2)
    tried = "; ".join(
        f"{address}:{job.port}: {why}" for address, why in reasons.items() if address
    )
    raise UserError(
        f"Rank {job.rank} of this {job.launcher} job, on {socket.gethostname()}, could "
        f"not meet rank 0 within {seats.PATIENCE:g} s: {tried}. MASTER_ADDR and "
        "NETGLOT_PORT name another place for all of them."
    )


def _proved(link: socket.socket, first: bool) -> bool:
    """Whether the other end knows the token, and was shown that this one does."""
    # A host that is gone without a word is noticed within a minute, as by ssh.
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 15),
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 60_000),
    ):
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    steps = (deliver_challenge, answer_challenge)
    _patient(link, 10)
    connection = Connection(os.dup(link.fileno()))
    try:
        for step in steps if first else reversed(steps):
            step(connection, _token())
    except (AuthenticationError, EOFError, OSError):
        return False
    finally:
        connection.close()
    _patient(link, 0)
    return True
