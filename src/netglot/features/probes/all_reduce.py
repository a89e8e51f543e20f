"""Sums over processes.

Two processes, each with a vector of its own: their sum in both, that of the first in
both, and both in both.
"""

TIMEOUT = 240.0
CHECKS = {
    "the sum": [[11.0, 22.0], [11.0, 22.0]],
    "the first one's": [[1.0, 2.0], [1.0, 2.0]],
    "all of them": [[1.0, 2.0, 10.0, 20.0], [1.0, 2.0, 10.0, 20.0]],
}

_BEGIN = """
import json, os
import numpy as np
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
mine = np.array([[1, 2], [10, 20]][rank], "float32")
"""

_END = """
print(json.dumps([np.ravel(each).tolist() for each in (total, first, every)]))
"""


def _all(check, source):
    found = check.answers(2, _BEGIN + source + _END, timeout=200)
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

dist.init_process_group("gloo")
total, first = torch.from_numpy(mine.copy()), torch.from_numpy(mine.copy())
dist.all_reduce(total)
dist.broadcast(first, src=0)
every = [torch.empty(2) for _ in range(world)]
dist.all_gather(every, torch.from_numpy(mine))
every = torch.cat(every)
dist.destroy_process_group()
""",
    )


def jax(check):
    _all(
        check,
        """
import jax
from jax.experimental import multihost_utils

jax.config.update("jax_cpu_collectives_implementation", "gloo")
address = os.environ["MASTER_ADDR"] + ":" + os.environ["MASTER_PORT"]
jax.distributed.initialize(address, world, rank)
sums = jax.pmap(lambda x: jax.lax.psum(x, "i"), axis_name="i")
total = sums(mine[None])
first = multihost_utils.broadcast_one_to_all(mine)
every = multihost_utils.process_allgather(mine)
""",
    )


def tensorflow(check):
    _all(
        check,
        """
workers = ["127.0.0.1:" + port for port in os.environ["PORTS"].split(",")]
os.environ["TF_CONFIG"] = json.dumps(
    {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
)
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()


def one():
    context = tf.distribute.get_replica_context()
    return context.all_reduce("sum", mine), context.all_gather(mine, axis=0)


total, every = strategy.run(tf.function(one))
with strategy.scope():
    # A variable begins in every process as it does in the first.
    first = tf.Variable(mine).numpy()
""",
    )


def keras(check):
    check.nothing(
        "Keras leaves collectives to its engine", lacks="keras.distribution.all_reduce"
    )


def cntk(check):
    for name in CHECKS:

        @check(name)
        def collective():
            check.lacks(
                "cntk.train.distributed.all_reduce",
                "its communicator tells ranks and waits; sums are for its learners",
            )
