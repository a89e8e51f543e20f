"""Training on two processes.

Each process sees half of every batch; the framework's own engine makes the mean of the
gradients. After ten steps the weights must be those of one process that saw it all.
"""

import json

import numpy as np

TIMEOUT = 240.0
STEPS, BATCH = 10, 8
_random = np.random.RandomState(0)
X = _random.randn(STEPS, BATCH, 3).astype("float32")
Y = _random.randn(STEPS, BATCH, 1).astype("float32")
W1 = _random.randn(3, 4).astype("float32") / 2
W2 = _random.randn(4, 1).astype("float32") / 2
RATE = 0.1


def _one_process():
    """Gradient descent on the squared error of tanh(x W1) W2."""
    w1, w2 = W1.astype("float64"), W2.astype("float64")
    for x, y in zip(X, Y):
        h = np.tanh(x @ w1)
        error = 2 * (h @ w2 - y) / BATCH
        slope = (error @ w2.T) * (1 - h * h)
        w1, w2 = w1 - RATE * x.T @ slope, w2 - RATE * h.T @ error
    return np.concatenate([w1.ravel(), w2.ravel()])


def _given():
    """What a process is told, as one argument."""
    return json.dumps([a.tolist() for a in (X, Y, W1, W2)])


def as_one_process(values):
    """Both processes end with the weights of a single one, within 1e-5."""
    wanted = _one_process()
    return len(values) == 2 and all(
        np.allclose(value, wanted, rtol=1e-5, atol=1e-5) for value in values
    )


CHECKS = {"ten steps": as_one_process}

_BEGIN = """
import json, os, sys
import numpy as np
x, y, w1, w2 = [np.array(a, "float32") for a in json.loads(sys.argv[1])]
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
half = slice(rank * x.shape[1] // world, (rank + 1) * x.shape[1] // world)
x, y = x[:, half], y[:, half]
"""

_END = """
print(json.dumps(np.concatenate([np.ravel(w) for w in weights]).tolist()))
"""


def _run(check, source, **options):
    program = _BEGIN + source + _END
    return check.answers(2, program, _given(), timeout=200, **options)


def numpy(check):
    check.nothing("NumPy and autograd know one process", lacks="autograd.distributed")


def pytorch(check):
    @check("ten steps")
    def steps():
        check.note("DistributedDataParallel over gloo")
        return _run(
            check,
            """
import torch
from torch import nn
import torch.distributed as dist

dist.init_process_group("gloo")
model = nn.Sequential(
    nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 1, bias=False)
)
with torch.no_grad():
    model[0].weight.copy_(torch.from_numpy(w1.T))
    model[2].weight.copy_(torch.from_numpy(w2.T))
parallel = nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
for a, b in zip(torch.from_numpy(x), torch.from_numpy(y)):
    optimizer.zero_grad()
    nn.functional.mse_loss(parallel(a), b).backward()
    optimizer.step()
weights = [p.detach().numpy().T for p in model.parameters()]
dist.destroy_process_group()
""",
        )


def jax(check):
    @check("ten steps")
    def steps():
        check.note("jax.distributed, collectives over gloo")
        return _run(
            check,
            """
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

jax.config.update("jax_cpu_collectives_implementation", "gloo")
address = os.environ["MASTER_ADDR"] + ":" + os.environ["MASTER_PORT"]
jax.distributed.initialize(address, world, rank)
mesh = Mesh(jax.devices(), ("data",))
rows, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())


def loss(params, a, b):
    return jnp.mean((jnp.tanh(a @ params[0]) @ params[1] - b) ** 2)


@jax.jit
def step(params, a, b):
    gradients = jax.grad(loss)(params, a, b)
    return [p - 0.1 * g for p, g in zip(params, gradients)]


params = [jax.make_array_from_process_local_data(everywhere, w) for w in (w1, w2)]
for a, b in zip(x, y):
    a, b = (jax.make_array_from_process_local_data(rows, v) for v in (a, b))
    params = step(params, a, b)
weights = [np.asarray(p.addressable_data(0)) for p in params]
""",
        )


def tensorflow(check):
    @check("ten steps")
    def steps():
        check.note("MultiWorkerMirroredStrategy over gRPC")
        return _run(
            check,
            """
workers = ["127.0.0.1:" + port for port in os.environ["PORTS"].split(",")]
os.environ["TF_CONFIG"] = json.dumps(
    {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
)
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    params = [tf.Variable(w1), tf.Variable(w2)]


@tf.function
def step(a, b):
    def one(a, b):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((tf.tanh(a @ params[0]) @ params[1] - b) ** 2)
        context = tf.distribute.get_replica_context()
        gradients = context.all_reduce("mean", tape.gradient(loss, params))
        for p, g in zip(params, gradients):
            p.assign_sub(0.1 * g)

    strategy.run(one, args=(a, b))


for a, b in zip(tf.constant(x), tf.constant(y)):
    step(a, b)
weights = [p.numpy() for p in params]
""",
        )


_KERAS = """
import keras

model = keras.Sequential(
    [
        keras.Input((3,)),
        keras.layers.Dense(4, activation="tanh", use_bias=False),
        keras.layers.Dense(1, use_bias=False),
    ]
)
model.set_weights([w1, w2])
model.compile(keras.optimizers.SGD(0.1), "mse")
"""


def keras_jax(check):
    @check("ten steps")
    def steps():
        check.note("keras.distribution.DataParallel over jax.distributed")
        return _run(
            check,
            """
import jax

jax.config.update("jax_cpu_collectives_implementation", "gloo")
address = os.environ["MASTER_ADDR"] + ":" + os.environ["MASTER_PORT"]
jax.distributed.initialize(address, world, rank)
import keras

keras.utils.set_random_seed(0)
parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
keras.distribution.set_distribution(parallel)
"""
            + _KERAS
            + """
for a, b in zip(x, y):
    model.train_on_batch(a, b)
weights = [np.asarray(w.value.addressable_data(0)) for w in model.weights]
""",
        )


def keras_tensorflow(check):
    @check("ten steps")
    def steps():
        check.note("MultiWorkerMirroredStrategy around a Keras model")
        return _run(
            check,
            """
workers = ["127.0.0.1:" + port for port in os.environ["PORTS"].split(",")]
os.environ["TF_CONFIG"] = json.dumps(
    {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
)
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
"""
            + "\n".join("    " + line for line in _KERAS.strip().splitlines())
            + """

@tf.function
def step(a, b):
    def one(a, b):
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((model(a) - b) ** 2)
        context = tf.distribute.get_replica_context()
        params = model.trainable_weights
        gradients = tape.gradient(loss, [p.value for p in params])
        for p, g in zip(params, context.all_reduce("mean", gradients)):
            p.value.assign_sub(0.1 * g)

    strategy.run(one, args=(a, b))


for a, b in zip(tf.constant(x), tf.constant(y)):
    step(a, b)
weights = model.get_weights()
""",
        )


def keras_torch(check):
    @check("ten steps")
    def steps():
        check.note("torch's DistributedDataParallel around a Keras model")
        return _run(
            check,
            """
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
"""
            + _KERAS
            + """
parallel = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
for a, b in zip(torch.from_numpy(x), torch.from_numpy(y)):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(parallel(a), b).backward()
    optimizer.step()
weights = model.get_weights()
dist.destroy_process_group()
""",
        )
