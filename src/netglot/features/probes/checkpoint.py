"""Checkpoint loaded in another process.

SGD with momentum takes a step and is saved; another process loads the weights and the
optimizer and takes the next one. Where the momentum were lost, the weights would come
out as 0.81 of the first instead of 0.72.
"""

import numpy as np

#: The loss is half the sum of the squared weights, the rate 0.1, the momentum 0.9.
W = np.array([1.0, 2.0], "float32")

CHECKS = {
    "weights": 0.9 * W,
    # v = 0.9 W + 0.9 W = 1.8 W; w = 0.9 W - 0.18 W
    "the next step, with the state of the optimizer": 0.72 * W,
}


def _numbers(text):
    return [float(number) for number in text.split()]


def _compared(check, lines):
    """What the other process printed: the weights, then those after its step."""
    after, then = [_numbers(line) for line in lines.splitlines()[-2:]]

    @check("weights")
    def weights():
        return after

    @check("the next step, with the state of the optimizer")
    def step():
        return then


def numpy(check):
    with check.folder() as folder:
        np.savez(folder + "/checkpoint.npz", w=0.9 * W, velocity=W)
        found = check.python(
            """
            import sys, numpy as np
            from autograd import grad
            saved = np.load(sys.argv[1])
            w, velocity = saved["w"], saved["velocity"]
            print(*w)
            velocity = 0.9 * velocity + grad(lambda w: 0.5 * (w**2).sum())(w)
            print(*(w - 0.1 * velocity))
            """,
            folder + "/checkpoint.npz",
        )

    _compared(check, found)


def pytorch(check):
    import torch

    w = torch.nn.Parameter(torch.from_numpy(W.copy()))
    optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9)
    (0.5 * (w**2).sum()).backward()
    optimizer.step()
    with check.folder() as folder:
        path = folder + "/checkpoint.pt"
        torch.save({"w": w.data, "optimizer": optimizer.state_dict()}, path)
        found = check.python(
            """
            import sys, torch
            saved = torch.load(sys.argv[1])
            w = torch.nn.Parameter(saved["w"])
            optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9)
            optimizer.load_state_dict(saved["optimizer"])
            print(*w.tolist())
            (0.5 * (w**2).sum()).backward()
            optimizer.step()
            print(*w.tolist())
            """,
            path,
        )
    _compared(check, found)


def jax(check):
    import pickle

    import jax
    import jax.numpy as jnp
    import optax

    tx = optax.sgd(0.1, momentum=0.9)
    w = jnp.asarray(W)
    updates, state = tx.update(jax.grad(lambda w: 0.5 * jnp.sum(w**2))(w), tx.init(w))
    with check.folder() as folder:
        with open(folder + "/checkpoint", "wb") as file:
            pickle.dump(jax.device_get((w + updates, state)), file)
        check_text = check.python(
            """
            import sys, pickle, jax, jax.numpy as jnp, optax
            with open(sys.argv[1], "rb") as file:
                w, state = pickle.load(file)
            print(*w.tolist())
            tx = optax.sgd(0.1, momentum=0.9)
            gradient = jax.grad(lambda w: 0.5 * jnp.sum(w**2))(w)
            updates, state = tx.update(gradient, state)
            print(*(w + updates).tolist())
            """,
            folder + "/checkpoint",
        )
    after, then = [_numbers(line) for line in check_text.splitlines()[-2:]]
    by_hand = "JAX has no file of its own: its arrays and trees are pickled"

    @check("weights")
    def weights():
        check.fallback(by_hand)
        return after

    @check("the next step, with the state of the optimizer")
    def step():
        check.fallback(by_hand)
        return then


def flax(check):
    import jax.numpy as jnp
    import optax
    import orbax.checkpoint as ocp
    from flax import nnx

    class Model(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jnp.asarray(W))

    model = Model()
    optimizer = nnx.Optimizer(model, optax.sgd(0.1, momentum=0.9), wrt=nnx.Param)
    optimizer.update(model, nnx.grad(lambda m: 0.5 * jnp.sum(m.w**2))(model))
    with check.folder() as folder, ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder + "/checkpoint", nnx.state((model, optimizer)))
        checkpointer.wait_until_finished()
        found = check.python(
            """
            import sys, jax.numpy as jnp, optax, orbax.checkpoint as ocp
            from flax import nnx

            class Model(nnx.Module):
                def __init__(self):
                    self.w = nnx.Param(jnp.zeros(2))

            model = Model()
            tx = optax.sgd(0.1, momentum=0.9)
            optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
            with ocp.StandardCheckpointer() as checkpointer:
                empty = nnx.state((model, optimizer))
                saved = checkpointer.restore(sys.argv[1], empty)
            nnx.update((model, optimizer), saved)
            print(*model.w[...].tolist())
            optimizer.update(model, nnx.grad(lambda m: 0.5 * jnp.sum(m.w**2))(model))
            print(*model.w[...].tolist())
            """,
            folder + "/checkpoint",
        )
    _compared(check, found)


def equinox(check):
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax

    tx = optax.sgd(0.1, momentum=0.9)
    w = jnp.asarray(W)
    updates, state = tx.update(jax.grad(lambda w: 0.5 * jnp.sum(w**2))(w), tx.init(w))
    with check.folder() as folder:
        path = folder + "/checkpoint.eqx"
        eqx.tree_serialise_leaves(path, (eqx.apply_updates(w, updates), state))
        found = check.python(
            """
            import sys, equinox as eqx, jax, jax.numpy as jnp, optax
            tx = optax.sgd(0.1, momentum=0.9)
            like = jnp.zeros(2), tx.init(jnp.zeros(2))
            w, state = eqx.tree_deserialise_leaves(sys.argv[1], like)
            print(*w.tolist())
            gradient = jax.grad(lambda w: 0.5 * jnp.sum(w**2))(w)
            updates, state = tx.update(gradient, state)
            print(*eqx.apply_updates(w, updates).tolist())
            """,
            path,
        )
    _compared(check, found)


def tensorflow(check):
    import tensorflow as tf

    w, optimizer = tf.Variable(W), tf.keras.optimizers.SGD(0.1, momentum=0.9)
    with tf.GradientTape() as tape:
        loss = 0.5 * tf.reduce_sum(w**2)
    optimizer.apply_gradients([(tape.gradient(loss, w), w)])
    with check.folder() as folder:
        path = tf.train.Checkpoint(w=w, optimizer=optimizer).save(
            folder + "/checkpoint"
        )
        found = check.python(
            """
            import sys, tensorflow as tf
            w, optimizer = tf.Variable([0.0, 0.0]), tf.keras.optimizers.SGD(0.1, 0.9)
            optimizer.build([w])
            tf.train.Checkpoint(w=w, optimizer=optimizer).restore(sys.argv[1])
            print(*w.numpy())
            with tf.GradientTape() as tape:
                loss = 0.5 * tf.reduce_sum(w**2)
            optimizer.apply_gradients([(tape.gradient(loss, w), w)])
            print(*w.numpy())
            """,
            path,
        )
    _compared(check, found)


def keras(check):
    import keras

    # The output is the weight itself, as the input is one.
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([W[None]])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    # The mean of two squares has their sum's half as value: the gradient is w.
    model.train_on_batch(np.ones((1, 1)), np.zeros((1, 2)))
    with check.folder() as folder:
        model.save(folder + "/checkpoint.keras")
        found = check.python(
            """
            import sys, keras, numpy as np
            model = keras.models.load_model(sys.argv[1])
            print(*model.get_weights()[0][0])
            model.train_on_batch(np.ones((1, 1)), np.zeros((1, 2)))
            print(*model.get_weights()[0][0])
            """,
            folder + "/checkpoint.keras",
        )
    _compared(check, found)


def paddle(check):
    import paddle

    # The state of the optimizer is found again by the name of the parameter.
    w = paddle.create_parameter([2], "float32", name="w")
    w.set_value(W)
    optimizer = paddle.optimizer.Momentum(0.1, 0.9, parameters=[w])
    (0.5 * (w**2).sum()).backward()
    optimizer.step()
    with check.folder() as folder:
        path = folder + "/checkpoint"
        paddle.save(optimizer.state_dict(), path + ".pdopt")
        paddle.save({"w": w}, path + ".pdparams")
        found = check.python(
            """
            import sys, paddle
            w = paddle.create_parameter([2], "float32", name="w")
            w.set_value(paddle.load(sys.argv[1] + ".pdparams")["w"])
            optimizer = paddle.optimizer.Momentum(0.1, 0.9, parameters=[w])
            optimizer.set_state_dict(paddle.load(sys.argv[1] + ".pdopt"))
            print(*w.tolist())
            (0.5 * (w**2).sum()).backward()
            optimizer.step()
            print(*w.tolist())
            """,
            path,
        )
    _compared(check, found)


def mxnet(check):
    from mxnet import autograd, gluon, nd

    class Network(gluon.Block):
        def __init__(self):
            super(Network, self).__init__()
            self.w = self.params.get("w", shape=(2,), init="zeros")

    network = Network()
    network.initialize()
    network.w.set_data(nd.array(W))
    settings = {"learning_rate": 0.1, "momentum": 0.9}
    trainer = gluon.Trainer(network.collect_params(), "sgd", settings)
    with autograd.record():
        loss = 0.5 * (network.w.data() ** 2).sum()
    loss.backward()
    trainer.step(1)
    with check.folder() as folder:
        network.save_parameters(folder + "/w.params")
        trainer.save_states(folder + "/w.states")
        found = check.python(
            """
            import sys
            from mxnet import autograd, gluon

            class Network(gluon.Block):
                def __init__(self):
                    super(Network, self).__init__()
                    self.w = self.params.get("w", shape=(2,), init="zeros")

            network = Network()
            network.load_parameters(sys.argv[1] + "/w.params")
            settings = {"learning_rate": 0.1, "momentum": 0.9}
            trainer = gluon.Trainer(network.collect_params(), "sgd", settings)
            trainer.load_states(sys.argv[1] + "/w.states")
            print(*network.w.data().asnumpy())
            with autograd.record():
                loss = 0.5 * (network.w.data() ** 2).sum()
            loss.backward()
            trainer.step(1)
            print(*network.w.data().asnumpy())
            """,
            folder,
        )
    _compared(check, found)


def mlx(check):
    import mlx.core as mx
    from mlx import optimizers
    from mlx.utils import tree_flatten

    weights, optimizer = {"w": mx.array(W)}, optimizers.SGD(0.1, momentum=0.9)
    gradients = mx.grad(lambda p: 0.5 * (p["w"] ** 2).sum())(weights)
    weights = optimizer.apply_gradients(gradients, weights)
    with check.folder() as folder:
        mx.save_safetensors(folder + "/w.safetensors", weights)
        state = dict(tree_flatten(optimizer.state))
        mx.save_safetensors(folder + "/state.safetensors", state)
        found = check.python(
            """
            import sys, mlx.core as mx
            from mlx import optimizers
            from mlx.utils import tree_unflatten
            weights = mx.load(sys.argv[1] + "/w.safetensors")
            optimizer = optimizers.SGD(0.1, momentum=0.9)
            state = mx.load(sys.argv[1] + "/state.safetensors")
            optimizer.state = tree_unflatten(list(state.items()))
            print(*weights["w"].tolist())
            gradients = mx.grad(lambda p: 0.5 * (p["w"] ** 2).sum())(weights)
            print(*optimizer.apply_gradients(gradients, weights)["w"].tolist())
            """,
            folder,
        )
    _compared(check, found)


def chainer(check):
    import chainer
    from chainer import functions, optimizers, serializers

    class Network(chainer.Link):
        def __init__(self):
            super(Network, self).__init__()
            with self.init_scope():
                self.w = chainer.Parameter(W.copy())

    network = Network()
    optimizer = optimizers.MomentumSGD(0.1, 0.9).setup(network)
    (0.5 * functions.sum(network.w**2)).backward()
    optimizer.update()
    with check.folder() as folder:
        serializers.save_npz(folder + "/w.npz", network)
        serializers.save_npz(folder + "/state.npz", optimizer)
        found = check.python(
            """
            import sys, chainer, numpy as np
            from chainer import functions, optimizers, serializers

            class Network(chainer.Link):
                def __init__(self):
                    super(Network, self).__init__()
                    with self.init_scope():
                        self.w = chainer.Parameter(np.zeros(2, "float32"))

            network = Network()
            optimizer = optimizers.MomentumSGD(0.1, 0.9).setup(network)
            serializers.load_npz(sys.argv[1] + "/w.npz", network)
            serializers.load_npz(sys.argv[1] + "/state.npz", optimizer)
            print(*network.w.array)
            network.cleargrads()
            (0.5 * functions.sum(network.w**2)).backward()
            optimizer.update()
            print(*network.w.array)
            """,
            folder,
        )
    _compared(check, found)


def keras2(check):
    import keras

    model = keras.Sequential([keras.layers.Dense(2, use_bias=False, input_shape=(1,))])
    model.set_weights([W[None]])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    # The mean of two squares has their sum's half as value: the gradient is w.
    model.train_on_batch(np.ones((1, 1)), np.zeros((1, 2)))
    with check.folder() as folder:
        model.save(folder + "/checkpoint.h5")
        found = check.python(
            """
            import sys, keras, numpy as np
            model = keras.models.load_model(sys.argv[1])
            print(*model.get_weights()[0][0])
            model.train_on_batch(np.ones((1, 1)), np.zeros((1, 2)))
            print(*model.get_weights()[0][0])
            """,
            folder + "/checkpoint.h5",
        )
    _compared(check, found)


def cntk(check):
    import cntk as C

    source = """
import cntk as C
import numpy as np

def trainer_of(start):
    w, x = C.parameter(init=start), C.input_variable(())
    loss = C.reduce_sum(C.square(w)) / 2 + 0 * x
    learner = C.momentum_sgd(
        [w], 0.1, 0.9, unit_gain=False, minibatch_size=C.learners.IGNORE
    )
    return w, C.Trainer(loss, loss, [learner]), {x: np.zeros(1, "float32")}
"""
    names = {}
    exec(source, names)
    assert C
    _, trainer, batch = names["trainer_of"](W)
    trainer.train_minibatch(batch)
    with check.folder() as folder:
        trainer.save_checkpoint(folder + "/checkpoint")
        found = check.python(
            source
            + """
import sys
w, trainer, batch = trainer_of(np.zeros(2, "float32"))
trainer.restore_from_checkpoint(sys.argv[1] + "/checkpoint")
print(*w.value)
trainer.train_minibatch(batch)
print(*w.value)
""",
            folder,
        )
    _compared(check, found)


def caffe2(check):
    source = """
import sys
import numpy as np
from caffe2.python import core, model_helper, optimizer, workspace
from caffe2.python.modeling.initializers import Initializer

model = model_helper.ModelHelper("model")
start = Initializer("GivenTensorFill", values=np.float32([1, 2]))
w = model.create_param("w", (2,), initializer=start)
squares = model.net.Scale(model.net.Sqr(w, "squares"), "halves", scale=0.5)
model.AddGradientOperators([model.net.SumElements(squares, "loss")])
rule = optimizer.build_sgd(model, 0.1, policy="fixed", momentum=0.9, nesterov=0)
workspace.RunNetOnce(model.param_init_net)
workspace.CreateNet(model.net)
kept = ["w"] + [str(blob) for blob in rule.get_auxiliary_parameters().local]
where = {"db": sys.argv[1] + "/kept", "db_type": "minidb", "absolute_path": 1}
"""
    with check.folder() as folder:
        check.python(
            source
            + """
workspace.RunNet(model.net)
workspace.RunOperatorOnce(core.CreateOperator("Save", kept, [], **where))
""",
            folder,
        )
        found = check.python(
            source
            + """
workspace.RunOperatorOnce(core.CreateOperator("Load", [], kept, **where))
print(*workspace.FetchBlob("w"))
workspace.RunNet(model.net)
print(*workspace.FetchBlob("w"))
""",
            folder,
        )
    _compared(check, found)


def tensorflow1(check):
    source = """
import sys
import tensorflow as tf
w = tf.get_variable("w", initializer=tf.constant([1.0, 2.0]))
optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
step = optimizer.minimize(0.5 * tf.reduce_sum(w ** 2))
saver = tf.train.Saver()
session = tf.Session()
"""
    with check.folder() as folder:
        check.python(
            source
            + """
session.run(tf.global_variables_initializer())
session.run(step)
saver.save(session, sys.argv[1] + "/model")
""",
            folder,
        )
        found = check.python(
            source
            + """
saver.restore(session, sys.argv[1] + "/model")
print(*session.run(w))
session.run(step)
print(*session.run(w))
""",
            folder,
        )
    _compared(check, found)


def tinygrad(check):
    source = """
import sys
from tinygrad import Context, Tensor, nn
w = Tensor(START).is_param_()
optimizer = nn.optim.SGD([w], 0.1, momentum=0.9)
path = sys.argv[1] + "/state.safetensors"
state = {"w": w, "momentum": optimizer.b[0]}

def step():
    optimizer.zero_grad()
    (0.5 * (w**2).sum()).backward()
    with Context(TRAINING=1):
        optimizer.step()
"""
    with check.folder() as folder:
        check.python(
            source.replace("START", "[1.0, 2.0]")
            + """
step()
nn.state.safe_save(state, path)
""",
            folder,
        )
        found = check.python(
            source.replace("START", "[0.0, 0.0]")
            + """
for name, kept in nn.state.safe_load(path).items():
    state[name].assign(kept.to(state[name].device)).realize()
print(*w.numpy())
step()
print(*w.numpy())
""",
            folder,
        )
    _compared(check, found)
