"""MPI's launcher: it keeps places for processes that netglot starts itself.

A process finds the others by what its launcher says in environment variables. Each
process of the launcher only writes down its variables and waits; a worker started with
them is taken for it. So a worker of MPI is one like any other: with pipes, a log and a
group of its own, and ended by netglot.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from netglot.errors import UserError

#: Seconds that a launcher may take until every place is kept.
PATIENCE = 60.0
#: Seconds that it may take to end.
GRACE = 5.0

# Ends with the launcher and with netglot, however these end.
_PLACE = """
import json, os, sys, time
path, netglot = sys.argv[1], int(sys.argv[2])
with open(path + ".new", "w") as file:
    json.dump(dict(os.environ), file)
os.rename(path + ".new", path)
launcher = os.getppid()
while os.getppid() == launcher:
    os.kill(netglot, 0)
    time.sleep(0.5)
"""


class LaunchError(UserError):
    """No launcher, or one that does not start anything; the message says which."""


class Launcher:
    """A running ``command``. ``told`` are the variables of each place, by rank."""

    def __init__(
        self, command: str, interpreter: Path, variables: Mapping[str, str], count: int
    ) -> None:
        """Starts ``command`` (``mpiexec``) for ``count`` processes.

        It is looked for beside ``interpreter``, then in the path; ``variables`` are set
        for it beside those of netglot. Raises ``LaunchError``.
        """
        self.command = command
        program, *options = command.split()
        path = f"{interpreter.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        found = shutil.which(program, path=path)
        if found is None:
            raise LaunchError(
                f"Several processes need the command {program} of MPI: there is none "
                f"beside {interpreter}, and none in the path."
            )
        given = {**os.environ, **variables}
        with tempfile.TemporaryDirectory(prefix="netglot-") as folder:
            files = [Path(folder, str(rank)) for rank in range(count)]
            line = [found, *options]
            for file in files:
                # Ranks are given in the order of the parts of the command.
                place = [sys.executable, "-c", _PLACE, str(file), str(os.getpid())]
                line += [*([":"] if file != files[0] else []), "-n", "1", *place]
            log = Path(folder, "log")
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    line,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=given,
                    start_new_session=True,
                )
            try:
                self._wait(files, log)
                told = [json.loads(file.read_text()) for file in files]
            except BaseException:
                self.close()
                raise
        self.told: tuple[Mapping[str, str], ...] = tuple(
            {name: text for name, text in each.items() if given.get(name) != text}
            for each in told
        )

    @property
    def pid(self) -> int:
        """Its process id, also that of its process group."""
        return self._process.pid

    def close(self) -> None:
        """Ends it, and the places that it keeps."""
        # Asked to end, it takes its temporary files along.
        for what, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
            if self._process.poll() is None:
                os.killpg(self._process.pid, what)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience)

    def _wait(self, files: list[Path], log: Path) -> None:
        end = time.monotonic() + PATIENCE
        while not all(file.exists() for file in files):
            over = self._process.poll() is not None
            if over or time.monotonic() > end:
                how = "ended" if over else f"kept no places within {PATIENCE:g} s"
                raise LaunchError(
                    f"{self.command} {how}. It said:\n"
                    + log.read_text(errors="replace")[-2000:]
                )
            time.sleep(0.02)
