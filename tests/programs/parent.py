"""Starts a worker that has children, tells their numbers, and waits to be killed."""

import json
import sys
import time
from pathlib import Path

from netglot.runtime.jobs import Worker

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    variables = {"BAD": sys.argv[2], "PATH": "/usr/bin:/bin"}
    worker = Worker.start(sys.executable, log=folder / "log", variables=variables)
    program = str(Path(__file__).parent / "bad.py")
    assert worker.ask("import", program=program, imports=["numpy"]).ok
    print(json.dumps(worker.pid), flush=True)
    worker.ask("build", timeout=1 if sys.argv[2] == "timeout" else None)
    print("built", flush=True)
    time.sleep(1000)
