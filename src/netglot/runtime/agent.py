"""Starts workers for a netglot that is on another host or of another rank.

An agent is asked over one connection (the pipes of ssh, or TCP within a job), starts
workers, passes requests, answers and events through, and keeps the files that it is
sent in a folder of its own. When the connection ends it ends, with all of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

import netglot
from netglot.backend import Env
from netglot.runtime import envs, launchers, machine
from netglot.runtime.envs import clean_variables
from netglot.runtime.jobs import WORKER, Result, Worker

#: What an agent says first: all before it was said by a shell on the way.
MARK = b"\nnetglot agent\n"
#: Seconds for the trial of a connection between two hosts.
_TRIAL = 5.0


def edition() -> str:
    """What both ends must have alike: the version, and the text of what speaks."""
    texts = b"".join(path.read_bytes() for path in (Path(__file__), WORKER))
    return f"{netglot.__version__} ({hashlib.sha256(texts).hexdigest()[:8]})"


class Channel:
    """Messages with arrays of bytes in both directions; several threads may send."""

    def __init__(self, reader: Connection, writer: Connection | None = None) -> None:
        """Over one connection, or one for each direction."""
        self.reader, self.writer = reader, writer or reader
        self._turn = threading.Lock()

    def send(self, message: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Sends a message whole; raises ``OSError`` where nobody listens any more."""
        text = json.dumps({**message, "blobs": len(blobs)}, default=str)
        with self._turn:
            for part in (text.encode(), *blobs):
                self.writer.send_bytes(part)

    def receive(self) -> tuple[dict[str, Any], list[bytes]]:
        """The next message; raises ``EOFError`` or ``OSError`` after the last."""
        message = json.loads(self.reader.recv_bytes())
        return message, [self.reader.recv_bytes() for _ in range(message.pop("blobs"))]


def digest(content: bytes) -> str:
    """By which a file is known on both ends."""
    return hashlib.sha256(content).hexdigest()


@dataclass
class _Kept:
    """A worker, its log and how much of that was told; one request at a time."""

    worker: Worker
    log: Path
    read: int = 0
    asking: threading.Lock = field(default_factory=threading.Lock)
    reading: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        """Ends it; its request is answered first, by its end."""
        self.worker.interrupt()
        with self.asking:
            self.worker.close()

    def logged(self) -> dict[str, Any]:
        """What was logged since it was asked last."""
        with contextlib.suppress(OSError), self.reading, self.log.open("rb") as file:
            file.seek(self.read)
            new = file.read()
            self.read += len(new)
            return {"logged": new.decode("utf-8", "replace")}
        return {"logged": ""}


class Agent:
    """What one connection is answered."""

    def __init__(self, channel: Channel, **known: Any) -> None:
        """``known`` is told of it at the beginning."""
        self.channel, self.known = channel, known
        self.folder = Path(tempfile.mkdtemp(prefix="netglot-"))
        self.workers: dict[int, _Kept] = {}
        self.done = False
        self._numbers = itertools.count(1)

    def serve(self) -> None:
        """Answers until the other end is gone; then ends its workers.

        ``done`` is then whether the other end said that it had all it wanted.
        """
        try:
            with ThreadPoolExecutor(16) as pool:
                try:
                    self.channel.send(self._hello())
                    while True:
                        pool.submit(self._answer, *self.channel.receive())
                except (EOFError, OSError):
                    pass
                finally:
                    for kept in list(self.workers.values()):
                        kept.close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _hello(self) -> dict[str, Any]:
        addresses = [
            address.address
            for name, given in psutil.net_if_addrs().items()
            for address in given
            if address.family == socket.AF_INET
            and not address.address.startswith("127.")
        ]
        boot = ""
        with contextlib.suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return {
            "edition": edition(),
            "host": socket.gethostname(),
            "boot": boot,
            "addresses": addresses,
            "machine": asdict(machine.describe()),
            **self.known,
        }

    def _answer(self, message: dict[str, Any], blobs: list[bytes]) -> None:
        number, verb = message.pop("id"), message.pop("do")
        do: Callable[..., tuple[dict[str, Any], list[bytes]] | dict[str, Any]]
        do = getattr(self, f"do_{verb}")
        more = {"blobs": blobs} if blobs else {}
        if verb == "ask":
            more["number"] = number
        try:
            answer = do(**message, **more)
            told, arrays = answer if isinstance(answer, tuple) else (answer, [])
        except Exception as error:
            told, arrays = {"fault": f"{type(error).__name__}: {error}"}, []
        with contextlib.suppress(OSError):
            self.channel.send({"id": number, **told}, arrays)

    def do_environment(self, keys: list[str], commands: list[str]) -> dict[str, Any]:
        """The environment of one of these names; which commands are missing."""
        missing = [name for name in commands if shutil.which(name) is None]
        folder = str(envs.envs_folder())
        found = [e for e in envs.everything() if e.key in keys]
        told = {**asdict(found[0]), "versions": found[0].versions} if found else None
        return {"environment": told, "missing": missing, "folder": folder}

    def do_interpreter(
        self, python: str, label: str, requirements: list[str], imports: list[str]
    ) -> dict[str, Any]:
        """An interpreter of the user's as an environment, or what it lacks."""
        env = Env((), tuple(requirements), tuple(imports))
        try:
            found = envs.here(env, python, label)
        except envs.EnvError as error:
            return {"lacking": str(error)}
        return {"lacking": "", "environment": asdict(found)}

    def do_port(self) -> dict[str, Any]:
        """A port that nothing listens on."""
        with socket.socket() as free:
            free.bind(("", 0))
            return {"port": free.getsockname()[1]}

    def do_listen(self) -> dict[str, Any]:
        """Listens for a while; whoever connects is told a word that only it knows."""
        word = secrets.token_hex(8)
        listener = socket.create_server(("", 0))

        def welcome() -> None:
            with listener, contextlib.suppress(OSError):
                listener.settimeout(10 * _TRIAL)
                while True:
                    with listener.accept()[0] as guest:
                        guest.sendall(word.encode())

        threading.Thread(target=welcome, daemon=True).start()
        return {"port": listener.getsockname()[1], "word": word}

    def do_reach(self, addresses: list[str], port: int, word: str) -> dict[str, Any]:
        """Which of these addresses lead to the listener with that word, or why not.

        With each the network interface through which it is reached.
        """
        reached, reasons = {}, []
        for address in addresses:
            try:
                with socket.create_connection((address, port), _TRIAL) as link:
                    own, heard = link.getsockname()[0], link.recv(64)
                if heard == word.encode():
                    reached[address] = _interface(own)
                else:
                    reasons.append(f"{address} is another host")
            except OSError as error:
                reasons.append(f"{address}: {error.strerror or error}")
        return {"reached": reached, "reasons": reasons}

    def do_file(self, path: str, known: str) -> dict[str, Any]:
        """Where a file is here: at its own path with that content, or sent before."""
        own = self.folder / known / Path(path).name
        if own.exists():
            return {"path": str(own)}
        with contextlib.suppress(OSError):
            if digest(Path(path).read_bytes()) == known:
                return {"path": path}
        return {"path": None}

    def do_put(self, path: str, known: str, blobs: list[bytes]) -> dict[str, Any]:
        """Keeps a file."""
        own = self.folder / known / Path(path).name
        own.parent.mkdir(exist_ok=True)
        own.write_bytes(blobs[0])
        return {"path": str(own)}

    def do_start(
        self,
        interpreter: str,
        variables: dict[str, str],
        cpus: list[int],
        name: str,
    ) -> dict[str, Any]:
        """Starts a worker, known by its number from now on."""
        number = next(self._numbers)
        log = self.folder / f"log-{number}"
        inherited = launchers.without_launcher(clean_variables())
        worker = Worker.start(
            interpreter,
            log=log,
            variables={**inherited, **variables},
            cpus=cpus,
            name=name,
        )
        self.workers[number] = _Kept(worker, log)
        return {"worker": number, "hello": worker.hello, "log": str(log)}

    def do_ask(
        self,
        number: int,
        worker: int,
        verb: str,
        arguments: dict[str, Any],
        events: bool,
        timeout: float | None,
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Passes a request to a worker; answers with what it wrote, and its log."""
        kept, output = self.workers[worker], None

        def on_event(event: Mapping[str, Any]) -> None:
            self.channel.send({"id": number, "event": {**event}})

        if arguments.get("output"):
            # Of the same name: a suffix may say what is in it.
            place = self.folder / f"output-{next(self._numbers)}"
            place.mkdir()
            output = place / Path(arguments["output"]).name
            arguments["output"] = str(output)
        with kept.asking:
            result: Result = kept.worker.ask(
                verb,
                timeout=timeout,
                on_event=on_event if events else None,
                **arguments,
            )
        names, arrays = [], []
        if output is not None:
            files = [p for p in (output, *output.rglob("*")) if p.is_file()]
            names = [str(path.relative_to(output)) for path in files]
            arrays = [path.read_bytes() for path in files]
            shutil.rmtree(output.parent)
        return {"result": asdict(result), "files": names, **kept.logged()}, arrays

    def do_log(self, worker: int) -> dict[str, Any]:
        """What a worker logged since it was asked last."""
        return self.workers[worker].logged()

    def do_where(self, worker: int) -> dict[str, Any]:
        """Has a worker log in which lines it is."""
        self.workers[worker].worker.tell_where()
        return {}

    def do_interrupt(self, worker: int) -> dict[str, Any]:
        """Ends a worker's processes while it is asked."""
        self.workers[worker].worker.interrupt()
        return {}

    def do_close(self, worker: int) -> dict[str, Any]:
        """Ends a worker."""
        self.workers[worker].close()
        return self.workers.pop(worker).logged()

    def do_leave(self) -> dict[str, Any]:
        """Says that nothing more will be asked."""
        self.done = True
        return {}


def _interface(own: str) -> str:
    """The name of the network interface that has this address; "" where none has."""
    for name, given in psutil.net_if_addrs().items():
        if any(address.address == own for address in given):
            return name
    return ""


def ends_on_signals() -> None:
    """Whoever ends this process lets it clean up."""

    def end(*_: object) -> None:
        sys.exit(143)

    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, end)


def main() -> None:
    """An agent on standard input and output, as ssh and netglot itself start it."""
    ends_on_signals()
    answers = os.dup(1)
    # What is printed by mistake is no message.
    os.dup2(2, 1)
    os.write(answers, MARK)
    Agent(
        Channel(
            Connection(os.dup(0), writable=False), Connection(answers, readable=False)
        )
    ).serve()


if __name__ == "__main__":
    main()
