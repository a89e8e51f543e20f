"""Runs one generated program in its framework's interpreter and answers questions.

One file, standard library and NumPy only, syntax of Python 3.5, nothing of netglot. The
protocol is described in docs/architecture.md. Requests come as JSON lines on stdin,
answers leave as JSON lines on what was stdout when the process started; whatever the
framework prints goes to what was stderr: the log.
"""

# Old interpreters know no annotations of variables, so there are no types to check.
# mypy: no-check-untyped-defs

import os
import sys


def _own_descriptors():
    """Moves requests and answers away from 0 and 1, before anything else is imported.

    Descriptor 1 becomes the log, so that what C code prints ends there too; descriptor
    0 becomes empty, so that nobody eats the requests. Copies made by ``os.dup`` are not
    inherited by programs that are started.
    """
    requests = os.dup(0)
    answers = os.dup(1)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests, answers


if __name__ == "__main__":
    _REQUESTS, _ANSWERS = _own_descriptors()
    # This file's folder is not where programs look for modules.
    if sys.path and os.path.abspath(sys.path[0]) == os.path.dirname(
        os.path.abspath(__file__)
    ):
        sys.path.pop(0)

import faulthandler  # noqa: E402
import importlib  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import select  # noqa: E402
import signal  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

CLOCK = time.perf_counter
GUARD_PERIOD_MS = 2000
EVENT_PERIOD = 0.2


def start_guard(requests, answers):
    """Forks the process that ends this one and its children when the parent is gone.

    A thread could not do it: a framework that hangs while it holds the interpreter's
    lock would hang the thread as well. The guard only ever sleeps: it wakes when the
    last writer of the requests is gone, and every two seconds to see whether parent and
    worker still live. Returns its process id, so that its memory is not counted.
    """
    parent, worker = os.getppid(), os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.close(answers)
        # No events asked for: only "hung up" is ever reported.
        watch = select.poll()
        watch.register(requests, 0)
        while not watch.poll(GUARD_PERIOD_MS):
            if os.getppid() != worker:
                break
            os.kill(parent, 0)
    except OSError:
        pass
    finally:
        # The parent gave the worker a group of its own: nobody else is in it.
        if os.getpgrp() == worker:
            os.killpg(worker, signal.SIGKILL)
        os._exit(0)


class Mistake(Exception):
    """The program or the request does not keep to the protocol."""


class Memory:
    """The memory of this process and of those it starts, in bytes."""

    def __init__(self, guard):
        """Of the worker whose guard, not counted, is the process ``guard``."""
        self.guard = guard
        self.resets = False
        self.after_import = 0
        self.after_data = 0

    def mark(self):
        """Takes the resident size as the base, and starts the peak anew there."""
        self.after_import = self.resident()
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
            # Where the reset is not supported the peak stays above what is resident.
            peak = _status("self", "VmHWM")
            self.resets = peak is not None and peak <= self.resident() * 1.05
        except (OSError, IOError):
            self.resets = False

    def resident(self):
        """Resident bytes now, of this process and of its children."""
        own = _status("self", "VmRSS")
        if own is None:
            return _largest(resource.RUSAGE_SELF) if resource else 0
        return own + sum(_status(p, "VmRSS") or 0 for p in self.children())

    def children(self):
        """The other processes of this group, without the guard."""
        found = []
        group, own = os.getpgrp(), os.getpid()
        try:
            names = os.listdir("/proc")
        except OSError:
            return found
        for name in names:
            if not name.isdigit() or int(name) in (own, self.guard):
                continue
            try:
                if os.getpgid(int(name)) == group:
                    found.append(name)
            except OSError:
                continue
        return found

    def answer(self):
        """Peak since ``mark`` and what it stood on, with the source of the figure."""
        children = sum(_status(p, "VmHWM") or 0 for p in self.children())
        if resource:
            children = max(children, _largest(resource.RUSAGE_CHILDREN))
        peak, source = _status("self", "VmHWM"), "VmHWM, reset after import"
        if peak is None or not self.resets:
            peak = _largest(resource.RUSAGE_SELF) if resource else 0
            source = "ru_maxrss, import included"
        return {
            "peak": peak + children,
            "after_import": self.after_import,
            "after_data": self.after_data,
            "above_import": max(0, peak + children - self.after_import),
            "children": children,
            "source": source,
            "device": _device_memory(),
        }


def _status(process, name):
    """A size of /proc/<process>/status in bytes, None where there is none."""
    try:
        with open("/proc/%s/status" % process) as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) * 1024
    except (OSError, IOError, ValueError):
        pass
    return None


def _largest(who):
    size = resource.getrusage(who).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def _device_memory():
    """What the framework's own allocator says of an accelerator, labelled; or None."""
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_initialized():
            return {
                "source": "torch.cuda.max_memory_allocated",
                "peak": torch.cuda.max_memory_allocated(),
                "reserved": torch.cuda.max_memory_reserved(),
            }
        jax = sys.modules.get("jax")
        if jax is not None and jax.default_backend() != "cpu":
            told = jax.local_devices()[0].memory_stats() or {}
            return {
                "source": "jax memory_stats",
                "peak": told.get("peak_bytes_in_use"),
                "reserved": told.get("bytes_limit"),
            }
        tensorflow = sys.modules.get("tensorflow")
        if tensorflow is not None and tensorflow.config.list_logical_devices("GPU"):
            told = tensorflow.config.experimental.get_memory_info("GPU:0")
            return {
                "source": "tensorflow get_memory_info",
                "peak": told["peak"],
                "reserved": None,
            }
    except Exception as error:
        # A figure that the framework does not give is no reason to lose the run.
        return {"source": "not told: %s" % error, "peak": None, "reserved": None}
    return None


def _cpu_seconds():
    """CPU time of this process and of its children that have ended."""
    if not resource:
        return time.process_time()
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


def _load():
    try:
        return list(os.getloadavg())
    except (OSError, AttributeError):
        return None


def _governor():
    path = "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor"
    try:
        with open(path % min(os.sched_getaffinity(0))) as file:
            return file.read().strip()
    except (OSError, IOError, AttributeError):
        return None


def number(value):
    """A framework's scalar as a float; waits until it is computed."""
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    for name in ("item", "asscalar", "numpy", "asnumpy", "array", "data"):
        inner = getattr(value, name, None)
        if inner is None:
            continue
        inner = inner() if callable(inner) else inner
        try:
            return float(inner.reshape(-1)[0] if hasattr(inner, "reshape") else inner)
        except (TypeError, ValueError, IndexError):
            continue
    raise Mistake("a loss of type %s is not a number" % type(value).__name__)


def keeper(loss):
    """How to keep a loss without the graph that made it: that would hold memory."""
    if callable(getattr(loss, "detach", None)):
        return lambda value: value.detach()
    if hasattr(loss, "unchain_backward"):
        return lambda value: value.array
    return lambda value: value


def _first(values, count):
    return values if count is None else values[:count]


class Clock:
    """The time of a training: told of every step, it costs next to nothing.

    The first step is waited for; of the later ones only the loss object is kept. Now
    and then the parent is told how far it is; a loss is read for it at most every
    ``loss_every`` seconds, because reading waits for the framework. How often that was
    is in ``reads``.
    """

    def __init__(self, send, loss_every):
        """Events go to ``send``; ``loss_every`` is in seconds, 0 for never."""
        self.send, self.loss_every = send, loss_every
        self.losses = []
        self.reads = 0
        self.begin = self.first = self.event = self.read = None
        self.cpu_begin = self.cpu_first = None
        self.keep = None

    def start(self):
        """The training begins now."""
        self.cpu_begin = _cpu_seconds()
        self.begin = CLOCK()

    def tick(self, loss):
        """``on_step`` of the program."""
        if self.keep is None:
            value = number(loss)
            self.first = self.event = self.read = CLOCK()
            self.cpu_first = _cpu_seconds()
            self.keep = keeper(loss)
            self.losses.append(self.keep(loss))
            self.send({"event": "step", "step": 1, "loss": value})
            return
        loss = self.keep(loss)
        self.losses.append(loss)
        now = CLOCK()
        if now - self.event >= EVENT_PERIOD:
            event = {"event": "step", "step": len(self.losses)}
            if self.loss_every and now - self.read >= self.loss_every:
                event["loss"] = number(loss)
                self.reads += 1
                self.read = now
            self.send(event)
            self.event = now


class Worker:
    """What is kept between requests: the program, its state, its data."""

    def __init__(self, send, guard):
        """Events go to ``send``; ``guard`` is the process id of the guard."""
        self.send = send
        self.memory = Memory(guard)
        self.phases = {}
        self.program = None
        self.state = ()
        self.data = {}

    # The verbs. Each takes the request and returns the answer.

    def do_import(self, request):
        """Imports the framework, then the program.

        Before a second program in this process, calls the function that ``forget``
        names, where one is named.
        """
        seconds, versions = {}, {}
        for name in request.get("imports", ()):
            begin = CLOCK()
            module = importlib.import_module(name)
            seconds[name] = CLOCK() - begin
            told = getattr(module, "__version__", None)
            versions[name] = None if told is None else str(told)
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            versions["numpy"] = numpy.__version__
        self.phases["import_framework"] = sum(seconds.values())
        if self.program is not None and request.get("forget"):
            module, _, function = request["forget"].partition(":")
            getattr(importlib.import_module(module), function)()
        if request.get("program"):
            begin = CLOCK()
            self.program = _load_program(request["program"], request.get("imports", ()))
            self.phases["import_program"] = CLOCK() - begin
        self.memory.mark()
        return {
            "seconds": seconds,
            "program_seconds": self.phases.get("import_program"),
            "versions": versions,
            "python": "%d.%d.%d" % sys.version_info[:3],
            "resident": self.memory.after_import,
            "cpus": _cpus(),
        }

    def do_build(self, request):
        """Makes the network, and gives it the weights of a file if one is named."""
        begin = CLOCK()
        self.state = _as_state(self._function("build")(seed=request.get("seed", 0)))
        self.phases["build"] = CLOCK() - begin
        self.phases.pop("load_weights", None)
        if request.get("weights"):
            begin = CLOCK()
            self._load_weights(request["weights"])
            self.phases["load_weights"] = CLOCK() - begin
        return {
            "seconds": self.phases["build"],
            "load_weights_seconds": self.phases.get("load_weights"),
        }

    def do_save(self, request):
        """Writes the weights as they are now."""
        begin = CLOCK()
        self._function("save_weights")(self._model(), request["output"])
        return {"seconds": CLOCK() - begin}

    def do_predict(self, request):
        """Scores of one batch."""
        import numpy

        x = numpy.load(request["inputs"])["x"]
        begin = CLOCK()
        scores = numpy.asarray(self._function("predict")(self._model(), x))
        seconds = CLOCK() - begin
        numpy.savez(request["output"], scores=scores)
        return {"seconds": seconds, "shape": list(scores.shape)}

    def do_steps(self, request):
        """Optimizer steps on given batches, with the weights after every one.

        Before them the scores of the first batch, unless they are not wanted.
        """
        import numpy

        inputs, output = numpy.load(request["inputs"]), request["output"]
        xs = inputs["x"]
        ys = inputs["y"] if "y" in inputs.files else xs
        count = request.get("count")
        count = len(xs) if count is None else count
        if count > len(xs):
            raise Mistake(
                "%d steps were asked for, %d batches given" % (count, len(xs))
            )
        rank, workers = request.get("rank", 0), request.get("workers", 1)
        whole = xs[0]
        if workers > 1:
            # One of several that train together takes its share of every batch.
            xs, ys = xs[:, rank::workers], ys[:, rank::workers]
            output = os.path.join(output, "rank_%d" % rank) if rank else output
        os.makedirs(output, exist_ok=True)
        if request.get("weights"):
            self._load_weights(request["weights"])
        save = self._function("save_weights")
        step = self._function("train_step")
        if request.get("scores", True):
            scores = numpy.asarray(self._function("predict")(self._model(), whole))
            numpy.savez(os.path.join(output, "scores.npz"), scores=scores)
        losses, seconds = [], []
        for index in range(count):
            begin = CLOCK()
            losses.append(number(self._step(step, xs[index], ys[index])))
            seconds.append(CLOCK() - begin)
            save(self._model(), os.path.join(output, "step_%d.npz" % (index + 1)))
        return {"losses": losses, "seconds": seconds}

    def do_train(self, request):
        """The whole training under the clock, then the metric."""
        x, y, x_test, y_test = self._four(request)
        barrier = self._barrier(request)
        load_before = _load()
        self._settle(barrier)
        clock, end, returned = self._timed(request, barrier, x, y, x_test, y_test)
        cpu_end = _cpu_seconds()
        again = CLOCK()
        checksum = barrier()
        second = CLOCK() - again
        steps = len(clock.losses)
        answer = {
            "steps": steps,
            "train_seconds": end - clock.begin,
            "first_step_seconds": clock.first - clock.begin,
            "steps_seconds": end - clock.first,
            "barrier_seconds": end - returned,
            "second_barrier_seconds": second,
            "step_ms": 1000 * (end - clock.first) / (steps - 1) if steps > 1 else None,
            "checksum": checksum,
            "loss_reads": clock.reads,
            "cpu_seconds": cpu_end - clock.cpu_begin,
            "threads_used": (cpu_end - clock.cpu_begin) / (end - clock.begin),
            "threads_used_steady": (cpu_end - clock.cpu_first)
            / max(end - clock.first, 1e-9),
            "cpus": _cpus(),
            "sizes": {"train": len(x), "test": len(x_test)},
            "memory": self.memory.answer(),
        }
        self.phases["first_step"] = answer["first_step_seconds"]
        self.phases["steps"] = answer["steps_seconds"] - answer["barrier_seconds"]
        self.phases["barrier"] = answer["barrier_seconds"]
        # Outside the timed region: every loss, then the metric.
        answer["losses"] = [number(loss) for loss in clock.losses]
        clock.losses = None
        if request.get("evaluate", True):
            begin = CLOCK()
            answer["metric"], seen = self._evaluate(x_test, y_test)
            self.phases["evaluate"] = CLOCK() - begin
            # May predict once more: a phase that the program alone does not have.
            begin = CLOCK()
            answer["confusion"] = self._confusion(seen, x_test, y_test)
            self.phases["confusion"] = CLOCK() - begin
        answer["machine"] = {
            "load_before": load_before,
            "load_after": _load(),
            "governor": _governor(),
        }
        answer["phases"] = dict(self.phases)
        return answer

    def do_evaluate(self, request):
        """The metric over the test set; on request the scores as well."""
        import numpy

        data = self._data(request)
        model = self._model()
        answer = {"sizes": {"test": len(data[-1])}}
        if len(data) == 4:
            begin = CLOCK()
            answer["metric"] = number(
                self._function("evaluate")(model, data[2], data[3])
            )
            answer["seconds"] = CLOCK() - begin
            self.phases["evaluate"] = answer["seconds"]
        x = data[2] if len(data) == 4 else data[0]
        if request.get("output"):
            predict, batch = self._function("predict"), request.get("batch", 100)
            begin = CLOCK()
            scores = [
                numpy.asarray(predict(model, x[at : at + batch]))
                for at in range(0, len(x), batch)
            ]
            answer["predict_seconds"] = CLOCK() - begin
            numpy.savez(request["output"], scores=numpy.concatenate(scores))
        return answer

    def do_look(self, request):
        """A function of the package that looks at live models."""
        package = request["package"]
        if "netglot_watch" not in sys.modules:
            _load_beside(
                "netglot_watch", os.path.join(package, "__init__.py"), [package]
            )
        session = importlib.import_module("netglot_watch.session")
        return getattr(session, request["function"])(**request["arguments"])

    def do_probe(self, request):
        """The checks of a row of features, by the file that reads them."""
        if "netglot_checking" not in sys.modules:
            _load_beside("netglot_checking", request["checking"])
        checking = sys.modules["netglot_checking"]
        return checking.run(request["path"], request["variant"])

    def do_proofs(self, request):
        """Whether the clock can be believed: doubling, second barrier, no barrier.

        Trains on ``limit`` and on twice ``limit`` observations, ``repeats`` times each
        after one training that is not counted, and compares. Then takes ``bare`` steps
        without reading a loss: the time until the last call returns is what a clock
        without a barrier would have shown.
        """
        limit, repeats = request["limit"], request.get("repeats", 3)
        once, twice = dict(request), dict(request, limit=2 * limit)
        barrier = self._barrier(request)
        few, many = self._four(once), self._four(twice)
        if len(many[0]) < 2 * limit:
            raise Mistake(
                "the proof needs %d observations, the data set has %d"
                % (2 * limit, len(many[0]))
            )
        self._settle(barrier)
        self._timed(once, barrier, *few)
        runs = {"once": [], "twice": []}
        counts, seconds_barriers = {}, []
        for _ in range(repeats):
            for name, data in (("once", few), ("twice", many)):
                clock, end, _returned = self._timed(request, barrier, *data)
                runs[name].append(end - clock.begin)
                counts[name] = len(clock.losses)
                begin = CLOCK()
                barrier()
                seconds_barriers.append(CLOCK() - begin)
        step_seconds = _median(runs["twice"]) / counts["twice"]
        batch = limit * request.get("epochs", 1) // counts["once"]
        x, y = few[0][:batch], few[1][:batch]
        step, bare = self._function("train_step"), request.get("bare", 5)
        self._step(step, x, y)
        barrier()
        begin = CLOCK()
        for _ in range(bare):
            loss = self._step(step, x, y)
        returned = CLOCK() - begin
        number(loss)
        barrier()
        finished = CLOCK() - begin
        second = _median(seconds_barriers)
        return {
            "steps": counts["once"],
            "steps_twice": counts["twice"],
            "seconds": runs["once"],
            "seconds_twice": runs["twice"],
            "ratio": _median(runs["twice"]) / _median(runs["once"]),
            "step_seconds": step_seconds,
            "second_barrier_seconds": second,
            "second_barrier_share": second / step_seconds,
            "unsynchronised": {
                "steps": bare,
                "returned": returned,
                "finished": finished,
                "share": returned / finished,
            },
        }

    def do_extract(self, request):
        """One pass of a network that is only run forward, under the clock.

        The first batch has gone through before: its compilation is a phase of its own.
        """
        x = self._data(request)[0]
        batch = min(len(x), getattr(self.program, "BATCH_SIZE", len(x)))
        predict, extract = self._function("predict"), self._function("extract")
        load_before = _load()
        begin = CLOCK()
        predict(self._model(), x[:batch])
        first = CLOCK() - begin
        cpu_begin = _cpu_seconds()
        begin = CLOCK()
        # An array of the host: there is nothing left to wait for.
        features = extract(self._model(), x)
        seconds = CLOCK() - begin
        cpu = _cpu_seconds() - cpu_begin
        self.phases["first_step"] = first
        self.phases["steps"] = seconds
        steps = -(-len(x) // batch)
        return {
            "train_seconds": seconds,
            "first_step_seconds": first,
            "step_ms": 1000 * seconds / steps,
            "steps": steps,
            "checksum": float(features.sum(dtype="float64")),
            "sizes": {"test": len(x)},
            "cpu_seconds": cpu,
            "threads_used": cpu / seconds,
            "memory": self.memory.answer(),
            "machine": {
                "load_before": load_before,
                "load_after": _load(),
                "governor": _governor(),
            },
            "phases": dict(self.phases),
        }

    # What the verbs share.

    def _evaluate(self, x, y):
        """The program's metric, and the scores that it was made of.

        ``evaluate`` calls ``predict``: what that returns is looked at in passing.
        """
        predict, seen = self._function("predict"), []

        def watching(model, batch):
            scores = predict(model, batch)
            seen.append(scores)
            return scores

        self.program.predict = watching
        try:
            metric = number(self._function("evaluate")(self._model(), x, y))
        finally:
            self.program.predict = predict
        return metric, seen

    def _confusion(self, seen, x, y):
        """Which class was taken for which; None where the labels are not classes."""
        if getattr(y, "ndim", 0) != 1:
            return None
        if not seen:
            # Its evaluate has a way of its own to the scores.
            predict, model = self._function("predict"), self._model()
            batch = min(len(x), getattr(self.program, "BATCH_SIZE", len(x)))
            seen = [
                predict(model, x[at : at + batch]) for at in range(0, len(x), batch)
            ]
        return _confusion(seen, y)

    def _function(self, name):
        if self.program is None:
            raise Mistake("no program was imported")
        found = getattr(self.program, name, None)
        if found is None:
            raise Mistake("the program has no function %s" % name)
        return found

    def _model(self):
        if not self.state:
            raise Mistake("the network was not built")
        return self.state[0]

    def _load_weights(self, path):
        loaded = self._function("load_weights")(self._model(), path)
        # Purely functional frameworks return the new model.
        if loaded is not None:
            self.state = (loaded,) + self.state[1:]

    def _step(self, train_step, x, y):
        """One step; returns the loss, and keeps the new state where there is one."""
        result = train_step(*(self.state + (x, y)))
        if isinstance(result, tuple):
            self.state, result = tuple(result[:-1]), result[-1]
        return result

    def _data(self, request):
        """The arrays of ``load_data``, cut to ``limit`` observations per set."""
        path = request["data"]
        if path not in self.data:
            begin = CLOCK()
            loaded = self._function("load_data")(path)
            self.phases["load_data"] = CLOCK() - begin
            self.data = {path: loaded if isinstance(loaded, tuple) else (loaded,)}
            self.memory.after_data = self.memory.resident()
        limit = request.get("limit")
        return tuple(_first(values, limit) for values in self.data[path])

    def _four(self, request):
        data = self._data(request)
        if len(data) != 4:
            raise Mistake("the data set has no training data")
        self._model()
        return data

    def _barrier(self, request):
        """The function that waits for every parameter and returns their sum."""
        text = request.get("barrier")
        if not text:
            return lambda: None
        names = dict(vars(self.program))

        def look():
            names["model"] = self.state[0]
            names["state"] = self.state

        look()
        # Made once: a framework may compile it.
        function = eval(compile(text, "<barrier>", "eval"), names)

        def barrier():
            look()
            return number(function())

        return barrier

    def _settle(self, barrier):
        """Waits for the build and lets the barrier be compiled, off the clock."""
        begin = CLOCK()
        barrier()
        self.phases["settle"] = CLOCK() - begin

    def _timed(self, request, barrier, x, y, x_test, y_test):
        """Trains; returns the clock, the end, and when ``train`` returned."""
        train = self._function("train")
        arguments = {"seed": request.get("seed", 0)}
        if request.get("epochs") is not None:
            arguments["epochs"] = request["epochs"]
        if request.get("validation"):
            arguments["validation"] = (x_test, y_test)
        clock = Clock(self.send, request.get("loss_every", 2.0))
        arguments["on_step"] = clock.tick
        state = self.state + (x, y)
        clock.start()
        result = train(*state, **arguments)
        returned = CLOCK()
        del state
        if clock.first is None:
            raise Mistake(
                "train took no step: %d observations make no complete batch" % len(x)
            )
        if result is not None:
            result = _as_state(result)
            if len(result) != len(self.state):
                raise Mistake(
                    "train returned %d values, the state has %d"
                    % (len(result), len(self.state))
                )
            self.state = result
        number(clock.losses[-1])
        barrier()
        return clock, CLOCK(), returned


def _confusion(seen, labels):
    """Rows: true class; columns: the class with the highest score; counts."""
    import numpy

    labels = numpy.asarray(labels)
    if not seen or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return None
    scores = numpy.concatenate([numpy.asarray(part) for part in seen])
    if scores.ndim != 2 or len(scores) != len(labels):
        return None
    classes = scores.shape[1]
    flat = labels.astype(int) * classes + scores.argmax(axis=1)
    counts = numpy.bincount(flat, minlength=classes * classes)
    return counts.reshape(classes, classes).tolist()


def _as_state(built):
    # A named tuple is one value: the model.
    return built if type(built) is tuple else (built,)


def _median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def _cpus():
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:
        return None


def _load_beside(name, path, folders=None):
    """A file of netglot's that runs beside a framework, under a name of its own."""
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=folders
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _load_program(path, imports=()):
    """The program as a module; of one that is no Python a framework's own loader."""
    name, suffix = os.path.splitext(os.path.basename(path))
    loaders = [getattr(sys.modules[i], "load_program", None) for i in imports]
    if suffix != ".py" and any(loaders):
        return next(load for load in loaders if load)(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Mistake("%s is no Python file" % path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Leaves nothing beside the program.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def _sender(answers):
    """A function that writes one message as one line, whole."""

    def send(message):
        left = (json.dumps(message) + "\n").encode("utf-8")
        while left:
            left = left[os.write(answers, left) :]

    return send


def serve(requests, answers, guard):
    """Answers requests until there are no more."""
    send = _sender(answers)
    current = [None]

    def event(message):
        send(dict(message, id=current[0]))

    worker = Worker(event, guard)
    send(
        {
            "event": "hello",
            "pid": os.getpid(),
            "python": "%d.%d.%d" % sys.version_info[:3],
            "cpus": _cpus(),
        }
    )
    with os.fdopen(requests, "r", encoding="utf-8") as lines:
        for line in iter(lines.readline, ""):
            request = json.loads(line)
            current[0] = request.get("id")
            try:
                verb = getattr(worker, "do_" + str(request.get("do")), None)
                if verb is None:
                    raise Mistake("unknown verb %r" % request.get("do"))
                answer = verb(request)
            except (Exception, SystemExit) as error:
                told = {
                    "type": type(error).__name__,
                    "message": str(error),
                    "traceback": traceback.format_exc(),
                }
                send({"id": current[0], "ok": False, "error": told})
            else:
                send(dict(answer, id=current[0], ok=True))


def main(requests, answers):
    """Keeps to the CPUs named by the first argument (``0,1``), then serves."""
    if hasattr(signal, "SIGUSR1"):
        # Tells the log where it is, also while the framework hangs in C code.
        faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=False)
    if len(sys.argv) > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(cpu) for cpu in sys.argv[1].split(",")])
    serve(requests, answers, start_guard(requests, answers))


if __name__ == "__main__":
    main(_REQUESTS, _ANSWERS)
