"""Where workers of another host or rank run, and how they are asked.

A seat is where the workers of one rank run: an agent (``agent.py``) that is asked over
ssh's pipes, or over TCP where it is another process of the same job.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from netglot.backend import Engine, Env
from netglot.errors import UserError
from netglot.runtime import agent, envs, team
from netglot.runtime.agent import Channel
from netglot.runtime.envs import EnvError, Environment, Pace
from netglot.runtime.jobs import (
    TAIL,
    Failure,
    OnEvent,
    Result,
    Worker,
    variables_in,
)
from netglot.runtime.team import Asked, Team

#: Seconds for an agent to begin, and for all processes of a job to meet.
PATIENCE = 60.0
#: Seconds for what an agent answers at once.
_SOON = 90.0
#: Arguments of requests that are files to read.
_READ = ("program", "weights", "inputs", "data")


class Lost(UserError):
    """There is no agent, or it is gone; the text says why, as far as known."""


class Seat:
    """Where the workers of one rank run, asked through their agent.

    ``label`` is the host as it was named; ``hello`` what the agent told of it;
    ``by_hand`` what a person writes before a command that is to run there; ``address``
    where the others reach it, and ``interface`` through which it reaches them ("" where
    all are on one host).
    """

    def __init__(
        self, label: str, link: socket.socket, why: Callable[[], str], by_hand: str = ""
    ) -> None:
        """Waits for the agent; ``why`` says why a connection has ended.

        Raises ``Lost`` where there is no agent.
        """
        self.label, self.address, self.interface = label, "127.0.0.1", ""
        self.by_hand, self._link, self._why = by_hand, link, why
        #: What holds the connection, where a process does.
        self.process: subprocess.Popen[bytes] | None = None
        self._channel = Channel(Connection(os.dup(link.fileno())))
        self._waiting: dict[int, tuple[Future[Any], OnEvent | None]] = {}
        self._turn = threading.Lock()
        self._number = 0
        self._lost = ""
        try:
            if not self._channel.reader.poll(PATIENCE):
                raise Lost(f"nothing was heard within {PATIENCE:g} s")
            self.hello, _ = self._channel.receive()
        except (EOFError, OSError):
            raise Lost(why()) from None
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def host(self) -> tuple[str, str]:
        """What those on one machine have alike."""
        return self.hello["host"], self.hello["boot"]

    @property
    def cpus(self) -> tuple[int, ...]:
        """The CPUs that its worker may use."""
        return tuple(self.hello["machine"]["allowed"])

    def send(
        self,
        do: str,
        on_event: OnEvent | None = None,
        blobs: Sequence[bytes] = (),
        **arguments: Any,
    ) -> Future[Any]:
        """Asks the agent; the future is ``(answer, arrays)``, or raises ``Lost``."""
        future: Future[Any] = Future()
        with self._turn:
            self._number += 1
            number = self._number
            self._waiting[number] = future, on_event
        try:
            if self._lost:
                raise OSError
            self._channel.send({"id": number, "do": do, **arguments}, blobs)
        except OSError:
            self._end()
        return future

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Asks for what is answered at once; raises ``Lost``."""
        future = self.send(do, **arguments)
        try:
            answer, _ = future.result(_SOON)
        except TimeoutError:
            raise Lost(f"{self.label} did not answer within {_SOON:g} s") from None
        if "fault" in answer:
            raise Lost(f"{self.label} could not do it ({do}): {answer['fault']}")
        found: dict[str, Any] = answer
        return found

    def give(self, path: Path) -> str:
        """Where the file is there: the same one, or a copy that is sent now."""
        content = path.read_bytes()
        known = {"path": str(path), "known": agent.digest(content)}
        there = self.ask("file", **known)["path"]
        return str(there or self.ask("put", blobs=[content], **known)["path"])

    def close(self) -> None:
        """Ends the agent, and with it its workers."""
        with contextlib.suppress(Lost, TimeoutError):
            self.send("leave").result(5)
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._link.close()
        if self.process is not None:
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def environment(
        self, env: Env, label: str = "", python: Path | None = None
    ) -> Environment:
        """The environment of ``env`` there, or the interpreter that is named.

        Raises ``EnvError`` with what the host lacks, and ``Lost``. ``label`` is how
        the framework is called there.
        """
        if python:
            told = self.ask(
                "interpreter",
                python=str(python),
                label=label,
                requirements=env.requirements,
                imports=env.imports,
            )
            if told["lacking"]:
                raise EnvError(told["lacking"])
            return Environment(**{**told["environment"], "interpreter": python})
        keys = [envs.specification(env, series).key for series in env.python]
        told = self.ask(
            "environment", keys=keys, commands=[need.command for need in env.needs]
        )
        for need in env.needs:
            if need.command in told["missing"]:
                raise EnvError(
                    f"lacks the command {need.command} ({need.why}): for example "
                    f"`{need.get}`"
                )
        if told["environment"] is None:
            raise EnvError(
                f"lacks the environment {keys[0]} in {told['folder']}: build it by "
                f"`{self.by_hand}netglot env add {label}`"
            )
        found = told["environment"]
        return Environment(**{**found, "interpreter": Path(found["interpreter"])})

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError, ValueError, KeyError):
            while True:
                message, blobs = self._channel.receive()
                future, on_event = self._waiting[message["id"]]
                if "event" in message:
                    if on_event is not None and not future.done():
                        try:
                            on_event(message["event"])
                        except Exception as error:
                            # For whoever waits for the answer.
                            future.set_exception(error)
                    continue
                del self._waiting[message["id"]]
                if not future.done():
                    future.set_result((message, blobs))
        self._end()

    def _end(self) -> None:
        if not self._lost:
            self._lost = f"the connection to {self.label} has ended: {self._why()}"
        with self._turn:
            left, self._waiting = self._waiting, {}
        for future, _ in left.values():
            if not future.done():
                future.set_exception(Lost(self._lost))


class Remote(Worker):
    """A worker on a seat, asked like one of this machine (``jobs.Worker``).

    Its log is copied to ``log``.
    """

    def __init__(self, seat: Seat, name: str, log: Path) -> None:
        """Not started yet: use ``on``."""
        super().__init__(name, log)
        self.seat = seat
        self._pending: Future[Any] | None = None
        self._there, self._which = "", 0

    @classmethod
    def on(
        cls,
        seat: Seat,
        environment: Environment,
        variables: Mapping[str, str],
        *,
        log: Path,
        cpus: Sequence[int] = (),
        name: str = "",
    ) -> Self:
        """Starts it; a start that fails is told by the first ``ask``."""
        worker = cls(seat, name, log)
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            answer = seat.ask(
                "start",
                interpreter=str(environment.interpreter),
                variables=variables,
                cpus=cpus,
                name=name,
            )
            worker.hello, worker._there = answer["hello"], answer["log"]
            worker._which = answer["worker"]
        except Lost as error:
            worker._over = worker._cut("start", error)
        return worker

    def ask(
        self,
        verb: str,
        *,
        timeout: float | None = None,
        on_event: OnEvent | None = None,
        **arguments: Any,
    ) -> Result:
        """As ``Worker.ask``; files go there and come back."""
        if self._over is not None:
            return Result(False, error=self._over)
        with contextlib.suppress(OSError):
            self._log_start = self.log.stat().st_size
        try:
            given = {
                name: self.seat.give(Path(value)) if name in _READ and value else value
                for name, value in arguments.items()
            }
            self._pending = self.seat.send(
                "ask",
                on_event=on_event,
                worker=self._which,
                verb=verb,
                arguments=given,
                events=on_event is not None,
                timeout=timeout,
            )
            answer, blobs = self._pending.result()
        except Lost as error:
            self._over = self._cut(verb, error)
            return Result(False, error=self._over)
        if "fault" in answer:
            self._over = Failure("protocol", f"{self.name}: {answer['fault']}")
            return Result(False, error=self._over)
        self._note(answer)
        for name, content in zip(answer["files"], blobs, strict=True):
            place = Path(arguments["output"]) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        told = answer["result"]
        if told["ok"]:
            return Result(True, told["answer"])
        failure = Failure(**told["error"])
        message = failure.message.replace(self._there, str(self.log))
        if self.seat.interface and "[127.0." in message:
            # Some engines go by the host's own name, which Debian gives a loopback.
            message += (
                f" On {self.seat.label} its own name {self.seat.hello['host']} seems "
                "to stand for a loopback: let it stand for "
                f"{self.seat.address} in /etc/hosts there."
            )
        failure = dataclasses.replace(failure, message=message)
        if failure.kind not in ("raised", "memory"):
            self._over = failure
        return Result(False, error=failure)

    def close(self) -> None:
        """Ends the worker; its agent stays for the next."""
        if self._over is None:
            self._over = Failure("died", f"{self.name} was closed")
        with contextlib.suppress(Lost):
            self._note(self.seat.ask("close", worker=self._which))

    def interrupt(self) -> None:
        """Ends its processes while another thread waits for it, which is told so."""
        self.seat.send("interrupt", worker=self._which)
        if self._pending is not None and not self._pending.done():
            with contextlib.suppress(Exception):
                self._pending.set_exception(Lost("it was ended with the others"))

    def tell_where(self) -> None:
        """Has it write into its log which lines it is in, whatever it is doing."""
        self.seat.send("where", worker=self._which)

    def log_tail(self, count: int = TAIL) -> list[str]:
        """The last lines that were logged since the last request."""
        with contextlib.suppress(Lost):
            self._note(self.seat.ask("log", worker=self._which))
        return super().log_tail(count)

    def _note(self, answer: Mapping[str, Any]) -> None:
        with self.log.open("a") as file:
            file.write(answer["logged"])

    def _cut(self, verb: str, error: Lost) -> Failure:
        return Failure(
            "died",
            f"{self.name} was lost during {verb}: {str(error).rstrip('.')}. What is "
            f"known of its log is in {self.log}.",
        )


def started(
    seats: Sequence[Seat],
    env: Env,
    environment: Environment,
    engine: Engine | str,
    count: int,
    *,
    log: Path,
    threads: int | None = None,
    accelerator: bool = False,
    pace: Pace = "raced",
    timed: bool = False,
    name: str = "",
) -> Asked:
    """``team.started`` on seats, a worker on each; without seats on this machine."""
    if not seats:
        return team.started(
            env,
            environment,
            engine,
            count,
            log=log,
            threads=threads,
            accelerator=accelerator,
            pace=pace,
            timed=timed,
            name=name,
        )
    own = [environment] * len(seats)
    if environment.provider == "venv":
        own = [seat.environment(env) for seat in seats]
    several = count > 1 and isinstance(engine, Engine)
    places_ = [(seat.address, seat.ask("port")["port"]) for seat in seats]
    group = Team(name, ())
    try:
        for rank, seat in enumerate(seats if several else seats[:1]):
            folder = own[rank].interpreter.parent.parent
            each = threads_each(seats, threads)[rank]
            chosen = variables_in(
                env,
                folder if environment.provider == "venv" else None,
                each,
                accelerator,
                pace,
            )
            if isinstance(engine, Engine) and several:
                addresses = [f"{host}:{port}" for host, port in places_]
                local = [s.host for s in seats[:rank]].count(seat.host)
                here = [s.host for s in seats].count(seat.host)
                chosen |= team.variables_at(engine, rank, addresses, local, here)
            if seat.interface:
                # They would listen where the host's own name leads, which may be a
                # loopback.
                names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
                chosen |= dict.fromkeys(names, seat.interface)
            worker = Remote.on(
                seat,
                own[rank],
                chosen,
                log=log.with_stem(f"{log.stem}-rank{rank}") if rank else log,
                cpus=cpus_of(seats, rank, threads) if timed else (),
                name=f"{name} rank {rank} on {seat.label}",
            )
            group.workers = (*group.workers, worker)
    except BaseException:
        group.close()
        raise
    return group if several else group.workers[0]


def _beside(seats: Sequence[Seat], rank: int) -> tuple[int, int]:
    """Which of how many that share its processors a seat is.

    A launcher may have given each process of a host processors of its own.
    """
    alike = [i for i, s in enumerate(seats) if _shared(s) == _shared(seats[rank])]
    return alike.index(rank), len(alike)


def _shared(seat: Seat) -> tuple[Any, ...]:
    return (*seat.host, seat.cpus)


def threads_each(seats: Sequence[Seat], threads: int | None) -> list[int]:
    """The threads of each: its share of those that the processes of a host share."""
    return [
        team.threads_of(_beside(seats, rank)[1], threads, seat.cpus)
        for rank, seat in enumerate(seats)
    ]


def cpus_of(seats: Sequence[Seat], rank: int, threads: int | None) -> tuple[int, ...]:
    """The CPUs of one: its own where its host has enough, else shared ones."""
    return team.cpus_of(*_beside(seats, rank), threads, seats[rank].cpus)


def facts(seats: Sequence[Seat]) -> list[dict[str, Any]]:
    """Of each process by rank: its host, where it is reached, and the machine."""
    return [
        {
            "host": seat.label,
            "hostname": seat.hello["host"],
            "address": seat.address,
            "machine": seat.hello["machine"],
        }
        for seat in seats
    ]


def environment_on(
    seats: Sequence[Seat], env: Env, label: str, python: Path | None = None
) -> Environment:
    """The environment of ``env`` on the first seat, when all have the same.

    Raises ``EnvError`` that says of each host what it lacks and what would help.
    """
    found, lacking = [], {}
    for seat in seats:
        try:
            found.append(seat.environment(env, label, python))
        except EnvError as error:
            lacking[seat.label] = str(error)
    if lacking:
        rows = "".join(f"\n    {host}: {what}" for host, what in lacking.items())
        raise EnvError(f"{label} cannot be run on all hosts:{rows}")
    first = found[0].versions_of(env)
    for seat, other in zip(seats, found, strict=True):
        if other.versions_of(env) != first:
            raise EnvError(
                f"{label} is not the same on all hosts: {first} on {seats[0].label}, "
                f"{other.versions_of(env)} on {seat.label}. Remove one environment by "
                f"`{seat.by_hand}netglot env remove {label}` and build it anew."
            )
    return found[0]


def alike(seats: Sequence[Seat]) -> None:
    """Raises ``UserError`` where another netglot is on a host."""
    for seat in seats:
        if seat.hello["edition"] != agent.edition():
            raise UserError(
                f"{seat.label} has netglot {seat.hello['edition']}, and this is "
                f"{agent.edition()}: install the same on both."
            )


def introduce(seats: Sequence[Seat]) -> None:
    """Finds for each an address where all others reach it.

    Raises ``UserError`` where there is none.
    """
    for seat in seats:
        others = [other for other in seats if other is not seat]
        if not others:
            continue
        named = seat.label.rpartition("@")[2]
        names = dict.fromkeys((named, seat.hello["host"]))
        addresses = ["127.0.0.1", *names, *seat.hello["addresses"]]
        listening = seat.ask("listen")
        told = [
            other.send("reach", addresses=addresses, **listening) for other in others
        ]
        answers = [future.result(_SOON)[0] for future in told]
        for address in addresses:
            if all(address in answer["reached"] for answer in answers):
                seat.address = address
                break
        else:
            rows = "".join(
                f"\n    from {other.label}: "
                + (
                    f"only {', '.join(answer['reached'])}"
                    if answer["reached"]
                    else "; ".join(answer["reasons"])
                )
                for other, answer in zip(others, answers, strict=True)
            )
            raise UserError(
                f"{seat.label} has no address that all others reach, tried at port "
                f"{listening['port']}:{rows}\nThe workers connect to each other at "
                "ports that the system gives out: let the hosts reach each other there "
                "(firewall)."
            )
        if seat.address != "127.0.0.1":
            for other, answer in zip(others, answers, strict=True):
                other.interface = answer["reached"][seat.address]
