"""Workers that train together: one process each, asked as one.

The frameworks' own engines connect them; here they are only started, told who they are,
asked the same at the same time, and ended together.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from netglot.backend import Engine, Env
from netglot.runtime import machine
from netglot.runtime.envs import Environment, Pace
from netglot.runtime.jobs import Failure, OnEvent, Result, Worker
from netglot.runtime.mpi import Launcher, LaunchError

HOST = "127.0.0.1"
#: Seconds in which the others may fail as well, before the first is blamed: one that
#: dies may be heard of later than those that lose their connection to it.
GRACE = 1.0


def free_ports(count: int) -> list[int]:
    """So many ports of this machine that nothing listens on, the lowest first."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((HOST, 0))
        return sorted(each.getsockname()[1] for each in sockets)
    finally:
        for each in sockets:
            each.close()


def variables(engine: Engine, rank: int, ports: Sequence[int]) -> dict[str, str]:
    """What tells a process who it is: as launchers do, and as the engine wants it.

    ``ports`` are those of all ranks, then those of the processes beside them.
    """
    workers = len(ports) - len(engine.beside)
    addresses = [f"{HOST}:{port}" for port in ports[:workers]]
    own = {"port": str(ports[rank])}
    if engine.beside:
        own["server"] = str(ports[workers])
    return variables_at(engine, rank, addresses, rank, workers, own)


def variables_at(
    engine: Engine,
    rank: int,
    addresses: Sequence[str],
    local: int,
    here: int,
    own: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """The same where the processes have these ``addresses``, by rank.

    This one is the ``local``-th of ``here`` on its host; ``own`` is what else may stand
    in the engine's variables.
    """
    host, _, port = addresses[0].rpartition(":")
    known = {
        "rank": str(rank),
        "local": str(local),
        "workers": str(len(addresses)),
        "first": addresses[0],
        "addresses": json.dumps(list(addresses)),
        **own,
    }

    def filled(text: str) -> str:
        for name, value in known.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(local),
        "WORLD_SIZE": str(len(addresses)),
        "LOCAL_WORLD_SIZE": str(here),
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
        **{name: filled(text) for name, text in engine.variables.items()},
    }


def threads_of(
    workers: int, threads: int | None, allowed: Sequence[int] | None = None
) -> int:
    """The threads of one process: its share of all, one at least.

    ``allowed`` are the CPUs of its host; None for this one.
    """
    allowed = machine.allowed_cpus() if allowed is None else allowed
    return max(1, (threads or len(allowed)) // workers)


def cpus_of(
    rank: int, workers: int, threads: int | None, allowed: Sequence[int] | None = None
) -> tuple[int, ...]:
    """The CPUs of one process: its own where there are enough, else shared ones."""
    allowed = machine.allowed_cpus() if allowed is None else allowed
    each = threads_of(workers, threads, allowed)
    return tuple(allowed[(rank * each + i) % len(allowed)] for i in range(each))


class Team:
    """Several workers with one program, each with its share of every batch.

    Asked like a ``Worker``: the answer is that of the first, with those of all under
    ``ranks``. When one fails, all are ended, and the error names it and its log. Ends
    with the ``with`` block.
    """

    def __init__(self, name: str, workers: Sequence[Worker]) -> None:
        """Of workers that were started for it, by rank."""
        self.name, self.workers = name, tuple(workers)
        self._program = ""
        self._over: Failure | None = None
        self._launcher: Launcher | None = None
        self._beside: tuple[Worker, ...] = ()
        self._serving: dict[Future[Result], int] = {}

    @classmethod
    def start_for(
        cls,
        env: Env,
        environment: Environment,
        engine: Engine,
        count: int,
        *,
        log: Path,
        threads: int | None = None,
        accelerator: bool = False,
        pace: Pace = "raced",
        timed: bool = False,
        name: str = "",
    ) -> Self:
        """Starts ``count`` workers that share ``threads`` (None: all of the machine).

        With ``timed`` each keeps to processors of its own. ``log`` is the first's; the
        others' have ``-rank1`` and so on in their names. A launcher that fails is told
        by the first ``ask``.
        """
        ports = free_ports(count + len(engine.beside))
        team = cls(name, ())
        try:
            told: Sequence[Mapping[str, str]] = [{}] * count
            if engine.launcher:
                team._launcher = Launcher(
                    engine.launcher, environment.interpreter, engine.variables, count
                )
                told = team._launcher.told
            for rank in range(count):
                own = log.with_stem(f"{log.stem}-rank{rank}") if rank else log
                worker = Worker.start_for(
                    env,
                    environment,
                    log=own,
                    threads=threads_of(count, threads),
                    accelerator=accelerator,
                    pace=pace,
                    cpus=cpus_of(rank, count, threads) if timed else (),
                    more={**told[rank], **variables(engine, rank, ports)},
                    name=f"{name} rank {rank}",
                )
                team.workers = (*team.workers, worker)
            team._serve(env, environment, engine, ports, log)
        except LaunchError as error:
            team._over = Failure("died", f"{name} cannot be started: {error}")
        except BaseException:
            team.close()
            raise
        return team

    @property
    def alive(self) -> bool:
        """Whether all can still be asked."""
        return self._over is None and all(worker.alive for worker in self.workers)

    def ask(
        self,
        verb: str,
        *,
        timeout: float | None = None,
        on_event: OnEvent | None = None,
        **arguments: Any,
    ) -> Result:
        """Asks all the same and waits for every answer, at most ``timeout`` seconds.

        Each is told its ``rank`` and the number of ``workers`` as well. ``on_event`` is
        called with what the first reports.
        """
        if self._over is not None:
            return Result(False, error=self._over)
        if "program" in arguments:
            self._program = str(arguments["program"])
        deadline = None if timeout is None else time.monotonic() + timeout
        with ThreadPoolExecutor(len(self.workers)) as pool:
            asked = {
                pool.submit(
                    worker.ask,
                    verb,
                    on_event=None if rank else on_event,
                    rank=rank,
                    workers=len(self.workers),
                    **arguments,
                ): rank
                for rank, worker in enumerate(self.workers)
            }
            try:
                over = self._wait(asked, deadline, timeout, verb)
            except BaseException:
                self._over = Failure("died", f"{self.name} was ended by its user")
                self._interrupt()
                raise
            if over is not None:
                self._over = over
                self._interrupt()
                return Result(False, error=over)
            answers = [future.result().answer for future in asked]
        return Result(True, {**answers[0], "ranks": answers})

    def close(self) -> None:
        """Ends all of them and everything they started."""
        self._interrupt()
        wait(self._serving)
        for worker in (*self.workers, *self._beside):
            worker.close()
        if self._launcher is not None:
            self._launcher.close()
        if self._over is None:
            self._over = Failure("died", f"{self.name} was closed")

    def __enter__(self) -> Self:
        """The team itself."""
        return self

    def __exit__(self, *details: object) -> None:
        """Ends it."""
        self.close()

    def _wait(
        self,
        asked: Mapping[Future[Result], int],
        deadline: float | None,
        timeout: float | None,
        verb: str,
    ) -> Failure | None:
        """Until all have answered, one has failed, or the time is over."""
        everybody = {**asked, **self._serving}
        waiting = set(everybody)
        while waiting & asked.keys():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            done, waiting = wait(waiting, left, FIRST_COMPLETED)
            if not done:
                late = {asked[future] for future in waiting & asked.keys()}
                return self._too_long(verb, timeout or 0.0, late)
            if any(not future.result().ok for future in done):
                wait(waiting, GRACE)
                return self._blamed(everybody, done)
        return None

    def _serve(
        self,
        env: Env,
        environment: Environment,
        engine: Engine,
        ports: Sequence[int],
        log: Path,
    ) -> None:
        """Starts those beside: the framework serves as soon as they import it."""
        count = len(self.workers)
        for rank, own in enumerate(engine.beside, count):
            role = " ".join(f"{name}={value}" for name, value in own.items())
            server = Worker.start_for(
                env,
                environment,
                log=log.with_stem(f"{log.stem}-beside{rank - count}"),
                threads=1,
                more={**variables(engine, rank, ports), **own},
                name=f"{self.name} {role}",
            )
            self._beside = (*self._beside, server)
        if self._beside:
            pool = ThreadPoolExecutor(len(self._beside))
            for rank, server in enumerate(self._beside, count):
                serving = pool.submit(server.ask, "import", imports=env.imports)
                self._serving[serving] = rank
            pool.shutdown(wait=False)

    def _blamed(
        self, asked: Mapping[Future[Result], int], first: set[Future[Result]]
    ) -> Failure:
        """The failure of the one that took the others along.

        A process that ended is the cause; of several that raised, the ``first``: the
        others lost their connection to it.
        """
        failed = [
            (error.kind == "raised", future not in first, rank, error)
            for future, rank in asked.items()
            if future.done() and (error := future.result().error)
        ]
        *_, rank, error = min(failed, key=lambda item: item[:3])
        log = (*self.workers, *self._beside)[rank].log
        where = "" if str(log) in error.message else f" Its log is {log}."
        message = (
            f"{error.message}{where} The other processes of {self.name} were ended."
        )
        return Failure(error.kind, message, error.type, error.traceback)

    def _too_long(self, verb: str, timeout: float, late: set[int]) -> Failure:
        """Who did not answer in time, and the line of the program where each stands."""
        for rank in late:
            self.workers[rank].tell_where()
        time.sleep(GRACE)
        rows = [
            f"    rank {rank} {self._place(worker) if rank in late else 'had answered'}"
            f" (log: {worker.log})"
            for rank, worker in enumerate(self.workers)
        ]
        return Failure(
            "timeout",
            f"{self.name} was ended: {verb} took more than {timeout:g} s.\n"
            + "\n".join(rows),
        )

    def _place(self, worker: Worker) -> str:
        """The innermost line of the program in the stack that ends the log."""
        tail = worker.log_tail(200)
        starts = [i for i, row in enumerate(tail) if row.startswith("Stack (most")]
        # On another host it may lie in another folder.
        mark = f'/{Path(self._program).name}", line '
        for row in tail[starts[-1] :] if starts and self._program else ():
            if mark in row:
                number, _, function = row.split(mark)[1].partition(" in ")
                lines = Path(self._program).read_text().splitlines()
                text = lines[int(number) - 1].strip()
                return f"stood in line {number} ({function.strip()}): {text}"
        return "did not answer"

    def _interrupt(self) -> None:
        for worker in (*self.workers, *self._beside):
            worker.interrupt()


#: Who is asked: one process, or several as one.
Asked = Worker | Team


def started(
    env: Env, environment: Environment, engine: Engine | str, count: int, **given: Any
) -> Asked:
    """One worker, or as many as ``count`` that train together by the engine.

    ``given`` is what ``Team.start_for`` takes by name. A framework without an engine
    has no program for several.
    """
    if count == 1 or not isinstance(engine, Engine):
        return Worker.start_for(env, environment, **given)
    return Team.start_for(env, environment, engine, count, **given)
