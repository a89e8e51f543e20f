"""What machine this is, for the records: processor, memory, system, accelerators."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Gpu:
    """An accelerator as its driver names it; ``megabytes`` is its memory."""

    name: str
    driver: str
    megabytes: int


@dataclass(frozen=True)
class GpuProcess:
    """Somebody's process on an accelerator; ``megabytes`` is None where not told."""

    pid: int
    name: str
    megabytes: int | None


@dataclass(frozen=True)
class Machine:
    """What does not change while a race runs. ``cores`` are physical, ``cpus`` logical
    and of the whole machine, ``allowed`` those this process may use.
    """

    cpu: str
    cores: int | None
    cpus: int | None
    allowed: tuple[int, ...]
    memory_bytes: int
    system: str
    kernel: str
    python: str
    governor: str | None
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class Disturbance:
    """What changes while a race runs: the load (1, 5, 15 minutes), free memory, the
    clock in MHz, and other people's processes on the accelerators.
    """

    load: tuple[float, float, float] | None
    available_bytes: int
    megahertz: float | None
    gpu_processes: tuple[GpuProcess, ...]


@dataclass(frozen=True)
class Usage:
    """A moment: the clock, and CPU seconds used so far on the allowed CPUs.

    ``busy`` is by anybody, time that a host took from this machine included; ``own`` by
    this process and its children that have ended.
    """

    clock: float
    busy: float
    own: float


def usage() -> Usage:
    """Who has used the CPUs until now."""
    times = psutil.cpu_times(percpu=True)
    # Guests are counted under user and nice already.
    kinds = ("user", "nice", "system", "irq", "softirq", "steal")
    busy = sum(
        getattr(times[number], kind, 0.0)
        for number in allowed_cpus()
        if number < len(times)
        for kind in kinds
    )
    own = os.times()
    used = own.user + own.system + own.children_user + own.children_system
    return Usage(time.perf_counter(), busy, used)


def others(before: Usage, after: Usage) -> float:
    """How many of the allowed CPUs others kept busy between two moments, on average."""
    foreign = (after.busy - before.busy) - (after.own - before.own)
    return max(0.0, foreign) / max(after.clock - before.clock, 1e-9)


def describe() -> Machine:
    """This machine."""
    return Machine(
        cpu=cpu_model(),
        cores=psutil.cpu_count(logical=False),
        cpus=psutil.cpu_count(),
        allowed=allowed_cpus(),
        memory_bytes=psutil.virtual_memory().total,
        system=_system(),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        governor=governor(),
        gpus=gpus(),
    )


def disturbance() -> Disturbance:
    """What could disturb a measurement now."""
    try:
        load: tuple[float, float, float] | None = os.getloadavg()
    except OSError:
        load = None
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError):
        frequency = None
    return Disturbance(
        load=load,
        available_bytes=psutil.virtual_memory().available,
        megahertz=None if frequency is None else frequency.current,
        gpu_processes=gpu_processes(),
    )


def cpu_model() -> str:
    """The processor's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    if platform.system() == "Darwin":
        told = _lines(["sysctl", "-n", "machdep.cpu.brand_string"])
        if told:
            return told[0]
    return platform.processor() or platform.machine()


def allowed_cpus() -> tuple[int, ...]:
    """The CPUs this process may use, by number."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(psutil.cpu_count() or 1))


def governor() -> str | None:
    """How the clock of the first CPU is governed; None where it is not told."""
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        return path.read_text().strip()
    except OSError:
        return None


def gpus() -> tuple[Gpu, ...]:
    """The accelerators nvidia-smi knows; empty where there is no nvidia-smi."""
    found = []
    for row in _nvidia("--query-gpu=name,driver_version,memory.total"):
        found.append(Gpu(row[0], row[1], _whole(row[2]) or 0))
    return tuple(found)


def gpu_processes() -> tuple[GpuProcess, ...]:
    """Processes on the accelerators that are neither this one nor its children."""
    rows = _nvidia("--query-compute-apps=pid,process_name,used_memory")
    if not rows:
        return ()
    own = {os.getpid(), *(p.pid for p in psutil.Process().children(recursive=True))}
    found = [GpuProcess(int(row[0]), row[1], _whole(row[2])) for row in rows]
    return tuple(process for process in found if process.pid not in own)


def _nvidia(query: str) -> list[list[str]]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    lines = _lines([tool, query, "--format=csv,noheader,nounits"])
    rows = [[part.strip() for part in line.split(",")] for line in lines]
    return [row for row in rows if len(row) == 3]


def _lines(command: list[str]) -> list[str]:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line for line in done.stdout.splitlines() if line.strip()]


def _whole(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)
