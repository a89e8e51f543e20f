"""Jobs that a launcher has started: which of how many processes this one is.

torchrun, mpirun and srun start the same command several times and tell each by
environment variables who it is.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from netglot.errors import UserError

#: What launchers leave in the environment. A worker does not inherit it: a framework
#: would take it for its own, and join the launcher's job instead of the other workers.
_PREFIXES = (
    *("OMPI_", "PMIX_", "PRTE_", "PMI_", "HYDI_", "HYDRA_", "MPI_LOCAL", "MPIR_"),
    *("SLURM_", "SRUN_", "TORCHELASTIC_", "GROUP_", "ROLE_"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_"),
)
_LOCAL = "127.0.0.1"
#: Ports above those that the system gives out by itself.
_PORTS = range(61440, 65536)


@dataclass(frozen=True)
class Job:
    """One process of ``size``. The first is met at ``port`` of one of ``addresses``.

    ``launcher`` is its name for messages.
    """

    launcher: str
    rank: int
    size: int
    addresses: tuple[str, ...]
    port: int

    @property
    def on_one_host(self) -> bool:
        """Whether all its processes are on one host, as far as the launcher tells."""
        return self.addresses == (_LOCAL,)


def job(told: Mapping[str, str] = os.environ) -> Job | None:
    """The job that this process belongs to; None where it was started alone.

    Raises ``UserError`` for variables that contradict each other.
    """
    if "RANK" in told and "WORLD_SIZE" in told:
        names = ("torchrun", "RANK", "WORLD_SIZE")
        host = told.get("MASTER_ADDR", _LOCAL)
        where: tuple[str, ...] = (_LOCAL if host == "localhost" else host,)
        # Nothing else is known to all of them.
        key = told.get("MASTER_PORT", "") + told.get("TORCHELASTIC_RUN_ID", "")
    elif "OMPI_COMM_WORLD_RANK" in told:
        names = ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")
        where = _open_mpi(told)
        key = told.get("PMIX_NAMESPACE", "") + told.get("OMPI_MCA_ess_base_jobid", "")
    elif "PMI_RANK" in told and ("MPI_LOCALNRANKS" in told or not _in_step(told)):
        names = ("mpirun", "PMI_RANK", "PMI_SIZE")
        local = told.get("MPI_LOCALNRANKS", told.get("PMI_SIZE"))
        where = (_LOCAL,) if local == told.get("PMI_SIZE") else ()
        # Those of one host have one parent, the launcher's own process there.
        key = told.get("PMI_JOBID", "") or str(os.getppid())
    elif _in_step(told):
        size = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in told else ""
        names = ("srun", "SLURM_PROCID", size or "SLURM_NTASKS")
        listed = told.get("SLURM_STEP_NODELIST") or told.get("SLURM_JOB_NODELIST", "")
        nodes = nodes_of(listed)
        where = (_LOCAL,) if len(nodes) < 2 else nodes[:1]
        key = told.get("SLURM_JOB_ID", "") + "." + told["SLURM_STEP_ID"]
    else:
        return None
    launcher, *variables = names
    rank, size_ = (_number(told, name) for name in variables)
    if not 0 <= rank < size_:
        raise UserError(
            f"{variables[0]}={rank} and {variables[1]}={size_}, which {launcher} set, "
            "contradict each other."
        )
    if size_ == 1:
        return None
    if not where and "MASTER_ADDR" not in told:
        raise UserError(
            f"This {launcher} does not tell on which host its first process is. Say it "
            "in MASTER_ADDR, for example `mpirun -x MASTER_ADDR=HOST ...` (Open MPI) "
            "or `mpirun -genv MASTER_ADDR HOST ...` (MPICH), and a free port of that "
            "host in NETGLOT_PORT."
        )
    if launcher != "torchrun" and "MASTER_ADDR" in told:
        where = (told["MASTER_ADDR"],)
    if "NETGLOT_PORT" in told:
        return Job(launcher, rank, size_, where, _number(told, "NETGLOT_PORT"))
    digest = int(hashlib.sha256(key.encode()).hexdigest(), 16)
    return Job(launcher, rank, size_, where, _PORTS[digest % len(_PORTS)])


def without_launcher(variables: Mapping[str, str]) -> dict[str, str]:
    """Environment variables without those of a launcher."""
    return {k: v for k, v in variables.items() if not k.startswith(_PREFIXES)}


def nodes_of(listed: str) -> tuple[str, ...]:
    """The hosts of Slurm's ``a[1-3,07],b``: ``a1``, ``a2``, ``a3``, ``a07``, ``b``."""
    found: list[str] = []
    for word in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", listed):
        parts = re.split(r"\[([^\]]*)\]", word)
        choices = [_numbers(p) if i % 2 else [p] for i, p in enumerate(parts)]
        found += ["".join(chosen) for chosen in itertools.product(*choices)]
    return tuple(found)


def _numbers(text: str) -> list[str]:
    """``1-3,07``: each as it is written."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        last = last or first
        found += [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    return found


def _in_step(told: Mapping[str, str]) -> bool:
    """Whether srun started it; a batch script by itself is one process."""
    return "SLURM_PROCID" in told and "SLURM_STEP_ID" in told


def _open_mpi(told: Mapping[str, str]) -> tuple[str, ...]:
    """Where its first process is: with mpirun itself, whose addresses it tells."""
    if told.get("OMPI_COMM_WORLD_LOCAL_SIZE") == told.get("OMPI_COMM_WORLD_SIZE"):
        return (_LOCAL,)
    found = re.search(r"tcp://([^:]+):", told.get("OMPI_MCA_orte_hnp_uri", ""))
    return tuple(found[1].split(",")) if found else ()


def _number(told: Mapping[str, str], name: str) -> int:
    text = told.get(name, "")
    if not text.isdigit():
        raise UserError(f"{name}={text!r}: a whole number is wanted there.")
    return int(text)
