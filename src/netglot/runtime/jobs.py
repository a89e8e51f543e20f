"""Workers as seen from netglot: started, asked, watched, ended."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from netglot.backend import Env
from netglot.runtime import machine
from netglot.runtime.envs import (
    Environment,
    Pace,
    clean_variables,
    folder_of,
    variables_of,
)

WORKER = Path(__file__).parent / "worker.py"

OnEvent = Callable[[Mapping[str, Any]], None]

TAIL = 15
_MEMORY_WORDS = (
    "out of memory",
    "outofmemory",
    "resource_exhausted",
    "resource exhausted",
    "bad_alloc",
    "can't allocate memory",
    "cannot allocate memory",
)


@dataclass(frozen=True)
class Failure:
    """Why there is no answer. ``kind`` is one of

    ``raised`` (the program raised: ``type`` and ``traceback`` are its), ``died`` (the
    process ended), ``timeout`` (it was ended for taking too long), ``memory`` (it ran
    out of memory), ``protocol`` (it said what no worker says). ``message`` is for
    people, with the last lines of the log where they help.
    """

    kind: str
    message: str
    type: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Result:
    """What came of one request: ``answer`` where ``ok``, else ``error``."""

    ok: bool
    answer: Mapping[str, Any] = field(default_factory=dict)
    error: Failure | None = None


def variables_for(
    env: Env,
    interpreter: Path,
    threads: int | None = None,
    accelerator: bool = False,
    pace: Pace = "raced",
) -> dict[str, str]:
    """The environment variables of a worker for ``env`` in ``interpreter``.

    ``threads`` limits the framework's thread pools (None: not at all); without
    ``accelerator`` the worker sees none; ``pace`` adds what ``env`` sets for it, which
    goes before the limit.
    Variables of the user's that would leak other packages in are left out.
    """
    folder = folder_of(interpreter)
    return {
        **clean_variables(),
        **variables_in(env, folder, threads, accelerator, pace),
    }


def variables_in(
    env: Env,
    folder: Path | None,
    threads: int | None,
    accelerator: bool,
    pace: Pace,
) -> dict[str, str]:
    """Those of ``variables_for`` that are not the user's own, on whatever host.

    ``folder`` is the environment's; None for an interpreter of the user's.
    """
    limits = {} if threads is None else dict.fromkeys(env.threads, str(threads))
    chosen = {
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        **limits,
        **variables_of(env, folder, pace),
    }
    if accelerator:
        # float32 means float32: the textbook lane does not round to TF32.
        chosen.update({"NVIDIA_TF32_OVERRIDE": "0", **env.accelerator})
    else:
        chosen.update(env.cpu)
    return chosen


def first_cpus(threads: int | None) -> tuple[int, ...]:
    """The first ``threads`` CPUs that netglot itself may use; none: no limit."""
    return () if threads is None else machine.allowed_cpus()[:threads]


class Worker:
    """One foreign interpreter with one program in it.

    Made by ``start`` or ``start_for``. Nothing that happens in there raises here: it is
    a ``Result`` with an error. Only one request is answered at a time. Ends with the
    ``with`` block, with ``close``, and with netglot's process, however that ends.
    """

    def __init__(self, name: str, log: Path) -> None:
        """Not started yet: use ``start``."""
        self.name = name
        self.log = log
        self.hello: Mapping[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._selector: selectors.BaseSelector | None = None
        self._lines: list[bytes] = []
        self._rest = b""
        self._number = 0
        self._turn = threading.Lock()
        self._over: Failure | None = None
        self._log_start = 0
        self._kills = 0
        self._killed = False

    @classmethod
    def start(
        cls,
        interpreter: Path | str,
        *,
        log: Path,
        variables: Mapping[str, str] | None = None,
        cpus: Sequence[int] = (),
        name: str = "",
        timeout: float = 60.0,
    ) -> Self:
        """Starts ``worker.py`` in ``interpreter``; what it prints goes to ``log``.

        ``variables`` is its whole environment (None: that of this process); ``cpus``
        are the CPUs it keeps to (empty: no limit). A start that fails is told by the
        first ``ask``.
        """
        worker = cls(name or Path(interpreter).name, Path(log))
        worker.log.parent.mkdir(parents=True, exist_ok=True)
        command = [str(interpreter), "-u", str(WORKER)]
        if cpus:
            command.append(",".join(str(cpu) for cpu in cpus))
        worker._launch(command, variables, timeout)
        return worker

    @classmethod
    def start_for(
        cls,
        env: Env,
        environment: Environment,
        *,
        log: Path,
        threads: int | None = None,
        accelerator: bool = False,
        pace: Pace = "raced",
        timed: bool = False,
        cpus: Sequence[int] = (),
        more: Mapping[str, str] | None = None,
        name: str = "",
    ) -> Self:
        """Starts a worker for a framework's environment, held to ``threads``.

        With ``timed`` also to as many processors, always the first ones: only where it
        is alone, since several at a time would all be on these; else to ``cpus``, where
        some are named. ``more`` are further environment variables.
        """
        usual = variables_for(env, environment.interpreter, threads, accelerator, pace)
        return cls.start(
            environment.interpreter,
            log=log,
            variables={**usual, **(more or {})},
            cpus=first_cpus(threads) if timed else cpus,
            name=name,
        )

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._over is None

    @property
    def pid(self) -> int | None:
        """Its process id, also that of its process group."""
        return None if self._process is None else self._process.pid

    def ask(
        self,
        verb: str,
        *,
        timeout: float | None = None,
        on_event: OnEvent | None = None,
        **arguments: Any,
    ) -> Result:
        """Sends a request and waits for its answer, at most ``timeout`` seconds.

        ``on_event`` is called with what is reported in between. A worker that has
        ended answers every further request with the reason of its end.
        """
        with self._turn:
            if self._over is not None:
                return Result(False, error=self._over)
            try:
                return self._ask(verb, timeout, on_event, arguments)
            except BaseException:
                # Ctrl-C, or a fault in on_event: the answer would come to the next.
                self._kill()
                self._over = Failure("died", f"{self.name} was ended by its user")
                raise

    def close(self) -> None:
        """Ends the worker and everything it started."""
        self._kill()
        if self._over is None:
            self._over = Failure("died", f"{self.name} was closed")

    def interrupt(self) -> None:
        """Ends its processes while another thread waits for it, which is told so."""
        self._send(signal.SIGKILL, group=True)

    def tell_where(self) -> None:
        """Has it write into its log which lines it is in, whatever it is doing."""
        self._send(signal.SIGUSR1, group=False)

    def _send(self, what: signal.Signals, group: bool) -> None:
        if self._process is not None and not self._killed:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                (os.killpg if group else os.kill)(self._process.pid, what)

    def __enter__(self) -> Self:
        """The worker itself."""
        return self

    def __exit__(self, *details: object) -> None:
        """Ends it."""
        self.close()

    def _launch(
        self,
        command: list[str],
        variables: Mapping[str, str] | None,
        timeout: float,
    ) -> None:
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._kills = _kernel_kills()
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=None if variables is None else dict(variables),
                    # A group of its own: it ends with all that it starts, and Ctrl-C
                    # in the terminal reaches netglot alone.
                    start_new_session=True,
                    bufsize=0,
                )
            except OSError as error:
                self._over = Failure(
                    "died", f"{self.name} cannot be started: {command[0]}: {error}"
                )
                return
        assert self._process.stdout is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + timeout
        while not self.hello and self._over is None:
            message = self._next(deadline, timeout, "start", ignore_noise=True)
            if isinstance(message, Result):
                self._over = message.error
            elif message.get("event") == "hello":
                self.hello = message

    def _ask(
        self,
        verb: str,
        timeout: float | None,
        on_event: OnEvent | None,
        arguments: Mapping[str, Any],
    ) -> Result:
        assert self._process is not None and self._process.stdin is not None
        self._number += 1
        with contextlib.suppress(OSError):
            self._log_start = self.log.stat().st_size
        self._kills = _kernel_kills()
        request = {"id": self._number, "do": verb, **arguments}
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            _write(self._process.stdin, json.dumps(request, default=str) + "\n")
        except OSError:
            return self._ended(verb)
        while True:
            message = self._next(deadline, timeout, verb)
            if isinstance(message, Result):
                return message
            if message.get("id") != self._number:
                return self._end(
                    "protocol", f"{self.name} answered another request: {message}"
                )
            if "event" in message:
                if on_event is not None:
                    on_event(message)
            elif message.get("ok"):
                answer = {k: v for k, v in message.items() if k not in ("id", "ok")}
                return Result(True, answer)
            else:
                return Result(False, error=self._raised(verb, message["error"]))

    def _next(
        self,
        deadline: float | None,
        timeout: float | None,
        verb: str,
        ignore_noise: bool = False,
    ) -> dict[str, Any] | Result:
        """The next message, or the Result that says why there is none."""
        assert self._process is not None and self._selector is not None
        while True:
            while self._lines:
                line = self._lines.pop(0)
                try:
                    message = json.loads(line)
                except ValueError:
                    message = None
                if isinstance(message, dict):
                    return message
                # What an interpreter prints while it starts is not the worker's.
                if not ignore_noise:
                    return self._end(
                        "protocol",
                        f"{self.name} said during {verb} what is no message: "
                        f"{line[:200]!r}",
                    )
            left = 0.25 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return self._end(
                    "timeout",
                    f"{self.name} was ended: {verb} took more than {timeout:g} s.",
                )
            # The process is looked at as well: a child that it forked may hold the
            # pipe open after its death.
            if self._selector.select(min(left, 0.25)):
                assert self._process.stdout is not None
                chunk = os.read(self._process.stdout.fileno(), 1 << 16)
                if not chunk:
                    return self._ended(verb)
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                self._lines.extend(lines)
            elif self._process.poll() is not None:
                return self._ended(verb)

    def _raised(self, verb: str, error: Mapping[str, Any]) -> Failure:
        kind, text = error.get("type"), str(error.get("message"))
        lowered = f"{kind} {text}".lower()
        memory = kind == "MemoryError" or any(w in lowered for w in _MEMORY_WORDS)
        return Failure(
            "memory" if memory else "raised",
            f"{self.name} failed during {verb}: {kind}: {text}",
            kind,
            error.get("traceback"),
        )

    def _ended(self, verb: str) -> Result:
        """The process closed its answers: why?"""
        assert self._process is not None
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return self._end("protocol", f"{self.name} closed its answers")
        if status == -signal.SIGKILL:
            said = (
                "the kernel says that memory ran out"
                if _kernel_kills() > self._kills
                else "most probably because memory ran out"
            )
            return self._end("memory", f"{self.name} was killed during {verb}: {said}.")
        if status < 0:
            try:
                how = f"crashed during {verb}: {signal.Signals(-status).name}."
            except ValueError:
                how = f"crashed during {verb}: signal {-status}."
        else:
            how = f"ended during {verb} with status {status}."
        return self._end("died", f"{self.name} {how}")

    def _end(self, kind: str, message: str) -> Result:
        self._kill()
        tail = self.log_tail()
        if tail:
            lines = "\n".join("    " + line for line in tail)
            message = f"{message} The end of its log ({self.log}):\n{lines}"
        else:
            message = f"{message} Its log is empty ({self.log})."
        self._over = Failure(kind, message)
        return Result(False, error=self._over)

    def log_tail(self, count: int = TAIL) -> list[str]:
        """The last lines that were logged since the last request."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, size - 20_000))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-count:]

    def _kill(self) -> None:
        """Ends the whole group, whether or not its leader still lives."""
        process = self._process
        if process is None or self._killed:
            return
        self._killed = True
        # Once only: later the number may be another group's. The guard, which stays
        # for a while when the leader dies, keeps it until then.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if self._selector is not None:
            self._selector.close()
            self._selector = None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _write(pipe: Any, text: str) -> None:
    stream: BinaryIO = pipe
    data = memoryview(text.encode())
    while data:
        data = data[stream.write(data) :]


def _kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory, as far as told."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0
