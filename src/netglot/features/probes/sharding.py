"""Weights in pieces on two processes.

The product of a batch with a matrix of 4 by 6: with half of its columns in each
process; and a training step of a layer whose weights, gradients and update are each
held by halves (FSDP), against one process.
"""

import json

import numpy as np

TIMEOUT = 240.0
_random = np.random.RandomState(0)
X = _random.randn(5, 4).astype("float32")
W = _random.randn(4, 6).astype("float32")
RATE = 0.1


def _stepped():
    """A step down the mean square of X W."""
    x, w = X.astype("float64"), W.astype("float64")
    return w - RATE * x.T @ (2 * x @ w) / (5 * 6)


#: What both processes say: the result, and the numbers of the matrix that they held.
CHECKS = {
    "product, columns in pieces": [(X.astype("float64") @ W).tolist()] * 2,
    "each held half of the columns": [12, 12],
    "step, all in pieces": [_stepped().tolist()] * 2,
    "each held half of the weights": [12, 12],
}

_BEGIN = """
import json, os, sys
import numpy as np
x, w = [np.array(a, "float32") for a in json.loads(sys.argv[1])]
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
"""


def _all(check, source):
    given = json.dumps([X.tolist(), W.tolist()])
    found = check.answers(2, _BEGIN + source, given, timeout=200)
    for at, name in enumerate(CHECKS):
        check(name)(lambda at=at: [process[at] for process in found])


def numpy(check):
    check.nothing("NumPy and autograd know one process", lacks="autograd.distributed")


def pytorch(check):
    _all(
        check,
        """
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module


def layer():
    model = nn.Sequential(nn.Linear(4, 6, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(w.T))
    return model


x = torch.from_numpy(x)
mesh = dist.init_device_mesh("cpu", (world,))
columns = parallelize_module(layer(), mesh, {"0": ColwiseParallel()})
mine = columns[0].weight.to_local().numel()
pieces = [torch.empty(5, 3) for _ in range(world)]
dist.all_gather(pieces, columns(x).detach())

model = fully_shard(layer(), mesh=mesh)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(x).square().mean().backward()
optimizer.step()
weight = model[0].weight
held = weight.to_local().numel()
stepped = weight.full_tensor().detach().T
product = torch.cat(pieces, dim=1)
print(json.dumps([product.tolist(), mine, stepped.tolist(), held]))
dist.destroy_process_group()
""",
    )


def jax(check):
    _all(
        check,
        """
import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

jax.config.update("jax_cpu_collectives_implementation", "gloo")
address = os.environ["MASTER_ADDR"] + ":" + os.environ["MASTER_PORT"]
jax.distributed.initialize(address, world, rank)
mesh = Mesh(jax.devices(), ("processes",))
columns = NamedSharding(mesh, P(None, "processes"))
rows = NamedSharding(mesh, P("processes"))


def placed(array, sharding):
    return jax.make_array_from_callback(array.shape, sharding, lambda at: array[at])


def held(array):
    return sum(piece.data.size for piece in array.addressable_shards)


def whole(array):
    return multihost_utils.process_allgather(array, tiled=True).tolist()


batch = placed(x, NamedSharding(mesh, P()))
kernel = placed(w, columns)
product = jax.jit(jnp.matmul)(batch, kernel)


@jax.jit(out_shardings=rows)
def step(weights):
    gradient = jax.grad(lambda w: jnp.mean((batch @ w) ** 2))(weights)
    return weights - 0.1 * gradient


weights = step(placed(w, rows))
print(json.dumps([whole(product), held(kernel), whole(weights), held(weights)]))
""",
    )


def cntk(check):
    check.nothing(
        "every process holds the whole model", "cntk.train.distributed.sharded_learner"
    )
