"""A checkpoint of two processes, loaded by one.

A matrix of 4 by 3 of which each process holds two rows; both save it together, and a
third process, alone, reads the whole.
"""

import json

TIMEOUT = 300.0
MATRIX = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0], [10.0, 11.0, 12.0]]
CHECKS = {"the whole": MATRIX}

_BEGIN = """
import json, os, sys
import numpy as np
folder, matrix = sys.argv[1], np.array(json.loads(sys.argv[2]), "float32")
"""


def _both(check, saving, loading):
    with check.folder() as folder:
        given = (folder, json.dumps(MATRIX))
        check.processes(2, _BEGIN + saving, *given, timeout=140)
        (found,) = check.answers(1, _BEGIN + loading, *given, timeout=140)
    return found


def numpy(check):
    check.nothing("NumPy and autograd know one process", lacks="autograd.distributed")


def pytorch(check):
    @check("the whole")
    def whole():
        check.note("torch.distributed.checkpoint of a DTensor")
        return _both(
            check,
            """
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.tensor import Shard, distribute_tensor

mesh = dist.init_device_mesh("cpu", (2,))
rows = distribute_tensor(torch.from_numpy(matrix), mesh, [Shard(0)])
assert rows.to_local().shape == (2, 3)
dcp.save({"matrix": rows}, checkpoint_id=folder)
dist.destroy_process_group()
""",
            """
import torch
import torch.distributed.checkpoint as dcp

state = {"matrix": torch.zeros(4, 3)}
dcp.load(state, checkpoint_id=folder)
print(json.dumps(state["matrix"].tolist()))
""",
        )


def jax(check):
    @check("the whole")
    def whole():
        try:
            import orbax.checkpoint  # noqa: F401
        except ImportError:
            check.not_here("the package orbax-checkpoint, which JAX's users save with")
        return _both(
            check,
            """
import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

jax.config.update("jax_cpu_collectives_implementation", "gloo")
rank = int(os.environ["RANK"])
address = os.environ["MASTER_ADDR"] + ":" + os.environ["MASTER_PORT"]
jax.distributed.initialize(address, 2, rank)
rows = NamedSharding(Mesh(jax.devices(), ("rows",)), P("rows"))
mine = matrix[2 * rank : 2 * rank + 2]
whole = jax.make_array_from_process_local_data(rows, mine)
with ocp.StandardCheckpointer() as saver:
    saver.save(os.path.join(folder, "saved"), {"matrix": whole})
""",
            """
import jax
import orbax.checkpoint as ocp

empty = {"matrix": jax.numpy.zeros((4, 3))}
with ocp.StandardCheckpointer() as saver:
    state = saver.restore(os.path.join(folder, "saved"), empty)
print(json.dumps(state["matrix"].tolist()))
""",
        )


def keras(check):
    check.nothing(
        "Keras saves what one process holds", lacks="keras.saving.save_distributed"
    )


def cntk(check):
    check.nothing(
        "every process holds the whole model, and the first one saves it",
        "cntk.train.distributed.save_checkpoint",
    )
