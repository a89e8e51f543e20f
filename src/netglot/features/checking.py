"""What a probe is handed, and how its answers become records.

Runs in the framework's interpreter: standard library and NumPy only, nothing of
netglot, syntax of Python 3.6.
"""

import contextlib
import importlib
import importlib.util
import inspect
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback

_SHOWN = 300


class No(Exception):
    """The framework cannot; the text says what was tried."""


class NotHere(Exception):
    """This machine lacks something; the text says what."""


class Check(object):
    """The checks of one row in one framework.

    ``@check("name")`` runs the function below it at once and compares what it returns
    with what the row expects under that name: a number or an array within 1e-5, a
    text as it is, or whatever a function of the row says of it. An exception of the
    kinds in ``refused_by`` is the framework's refusal; any other is a fault of the
    probe.
    """

    def __init__(self, expected):
        """``expected``: name of a check -> value, or function that judges one."""
        self.expected = expected
        self.found = {}
        self._now = None

    def __call__(self, name, refused_by=()):
        """The decorator."""
        if name not in self.expected:
            raise KeyError("the row has no check %r" % name)

        def run(function):
            record = self.found[name] = {"state": "error", "value": "", "notes": []}
            self._now = record
            begin = time.time()
            try:
                value = function()
                record["value"] = _text(value)
                if agrees(value, self.expected[name]):
                    record["state"] = record.pop("way", "yes")
                else:
                    record["state"] = "no"
                    record["notes"].append(_wrong(self.expected[name]))
            except No as error:
                record["state"] = "no"
                record["notes"].append(str(error))
            except NotHere as error:
                record["state"] = "not here"
                record["notes"].append(str(error))
            except Exception as error:
                told = "%s: %s" % (type(error).__name__, error)
                if refused_by and isinstance(error, refused_by):
                    record["state"] = "no"
                    record["notes"].append("refused: " + told[:_SHOWN])
                else:
                    record["notes"].append(told[:_SHOWN])
                    record["traceback"] = traceback.format_exc()
            record.pop("way", None)
            record["ms"] = 1000 * (time.time() - begin)
            self._now = None
            return function

        return run

    def note(self, text):
        """Something worth knowing beside the value: a time, a size, a name."""
        self._now["notes"].append(str(text))

    def fallback(self, how):
        """The value will be right, but not by the framework's own means."""
        self._now["way"] = "fallback"
        self._now["notes"].append(how)

    def no(self, why):
        """The framework cannot, for a reason that was just seen."""
        raise No(why)

    def lacks(self, name, why):
        """The framework cannot, as ``name`` (``module.attribute``) is not in it.

        Where it is, the probe is out of date: an error.
        """
        if _has(name):
            raise AssertionError("%s is there: the probe is out of date" % name)
        raise No("%s (there is no %s)" % (why, name))

    def nothing(self, why, lacks):
        """``lacks`` for every check of the row."""
        for name in self.expected:
            self(name)(lambda: self.lacks(lacks, why))

    def not_here(self, what):
        """This machine lacks ``what``."""
        raise NotHere(what)

    def command(self, *names):
        """The path of the first of these commands that the machine has."""
        for name in names:
            path = shutil.which(name)
            if path:
                return path
        raise NotHere("no command %s on the PATH" % " or ".join(names))

    @contextlib.contextmanager
    def folder(self):
        """A folder that is gone afterwards."""
        path = tempfile.mkdtemp(prefix="netglot-probe-")
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def seconds(self, function, repeats=5):
        """The shortest of some runs of a function that waits for its result."""
        taken = []
        for _ in range(repeats):
            begin = time.perf_counter()
            function()
            taken.append(time.perf_counter() - begin)
        return min(taken)

    def by_turns(self, functions, rounds=6):
        """Median seconds of each of some functions that wait for their results.

        They take turns, so that what slows this machine down for a while slows all of
        them; the first round, which may compile, does not count.
        """
        taken = [[] for _ in functions]
        for _ in range(rounds):
            for seconds, function in zip(taken, functions):
                begin = time.perf_counter()
                function()
                seconds.append(time.perf_counter() - begin)
        return [sorted(seconds[1:])[(rounds - 1) // 2] for seconds in taken]

    def python(self, source, *arguments, **options):
        """What another process of this interpreter prints; it must end well."""
        (told,) = self.processes(1, source, *arguments, **options)
        return told

    def processes(self, count, source, *arguments, **options):
        """What so many processes of this interpreter print that run side by side.

        Each has ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT`` in its
        environment, as launchers of distributed training set them, ``PORTS`` (a free
        one for each, by commas), and the options' ``variables``.
        """
        ports = _free_ports(count)
        started = []
        with self.folder() as folder, contextlib.ExitStack() as opened:
            try:
                for rank in range(count):
                    variables = dict(os.environ, **options.get("variables", {}))
                    if count > 1:
                        variables.update(
                            RANK=str(rank),
                            LOCAL_RANK=str(rank),
                            WORLD_SIZE=str(count),
                            MASTER_ADDR="127.0.0.1",
                            MASTER_PORT=ports[0],
                            PORTS=",".join(ports),
                        )
                    # In files: a process that waits for a pipe waits for all.
                    files = [
                        opened.enter_context(tempfile.TemporaryFile(dir=folder))
                        for _ in range(2)
                    ]
                    process = subprocess.Popen(
                        [sys.executable, "-c", inspect.cleandoc(source)]
                        + list(arguments),
                        stdin=subprocess.DEVNULL,
                        stdout=files[0],
                        stderr=files[1],
                        env=variables,
                    )
                    started.append((process, files))
                return self._ended(started, options.get("timeout", 100))
            finally:
                for process, _ in started:
                    if process.poll() is None:
                        process.kill()
                        process.wait()

    def answers(self, count, source, *arguments, **options):
        """What each of so many processes printed last, which is JSON."""
        told = self.processes(count, source, *arguments, **options)
        return [json.loads(text.splitlines()[-1]) for text in told]

    def _ended(self, started, timeout):
        """What they printed, when all have ended, or one has failed."""
        until = time.time() + timeout
        while True:
            states = [process.poll() for process, _ in started]
            for state, (_, (_, err)) in zip(states, started):
                if state:
                    err.seek(0)
                    told = err.read().decode("utf-8", "replace").strip()[-_SHOWN:]
                    raise RuntimeError("a process ended with %d: %s" % (state, told))
            if None not in states:
                break
            if time.time() > until:
                raise RuntimeError("the processes took more than %d s" % timeout)
            time.sleep(0.02)
        printed = []
        for _, (out, _) in started:
            out.seek(0)
            printed.append(out.read().decode("utf-8", "replace").strip())
        return printed


def _free_ports(count):
    asked = [socket.socket() for _ in range(count)]
    try:
        for each in asked:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in asked]
    finally:
        for each in asked:
            each.close()


def agrees(value, expected):
    """Whether a value is what a row expects."""
    if callable(expected):
        return bool(expected(value))
    if isinstance(expected, (str, bool)) or expected is None:
        return value == expected
    import numpy

    found = numpy.asarray(value, dtype="float64")
    wanted = numpy.asarray(expected, dtype="float64")
    return found.shape == wanted.shape and bool(
        numpy.allclose(found, wanted, rtol=1e-5, atol=1e-6)
    )


def run(path, variant):
    """Runs a variant of a file; its answers by check."""
    spec = importlib.util.spec_from_file_location("probe", path)
    probe = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    # For what probes share, which lies beside them.
    sys.path.insert(0, os.path.dirname(path))
    try:
        spec.loader.exec_module(probe)
    finally:
        sys.path.pop(0)
        sys.dont_write_bytecode = before
    check, printed = Check(probe.CHECKS), io.StringIO()
    broken = ""
    with contextlib.redirect_stdout(printed):
        try:
            getattr(probe, variant)(check)
        except Exception:
            # Outside of every check: what it has not come to is a fault as well.
            broken = traceback.format_exc()
    for name in probe.CHECKS:
        if name not in check.found:
            told = broken.strip().splitlines()[-1] if broken else "never looked at"
            check.found[name] = {
                "state": "error",
                "value": "",
                "notes": [told[:_SHOWN]],
                "traceback": broken,
                "ms": 0.0,
            }
    checks = [dict(check.found[name], name=name) for name in probe.CHECKS]
    return {"checks": checks, "printed": printed.getvalue()[-4000:]}


def _has(name):
    """Whether a module or an attribute of one is there."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def _text(value):
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (list, tuple)):
        value = [v.item() if isinstance(v, numpy.generic) else v for v in value]
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _wrong(expected):
    if callable(expected):
        return "not what was asked for: " + (expected.__doc__ or "").strip()
    return "expected " + _text(expected)
