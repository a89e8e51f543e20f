"""Transfer learning and fine-tuning.

The weights of a trained body are loaded from a file, the body is frozen, a head of
another size is put on it and trained: the body must stay as it was.
"""

import numpy as np

#: The body: tanh(x BODY). The file also has a head of one output, which is left out.
BODY = np.array([[0.5, -1.0, 0.25], [1.0, 0.5, -0.75]], "float32")
HEAD = np.array([[1.0], [2.0], [3.0]], "float32")
X = np.random.RandomState(3).randn(16, 2).astype("float32")
#: What the new head of two outputs shall learn.
Y = np.tanh(X @ BODY) @ np.array([[1.0, -1.0], [0.5, 0.0], [0.0, 2.0]], "float32")


def learned(losses):
    """the loss with the new head falls to under a tenth"""
    return 0 <= losses[1] < losses[0] / 10


CHECKS = {
    # The features of the first observation, from the loaded body.
    "the body is loaded": np.tanh(X[0] @ BODY),
    "the body did not move": BODY,
    "the new head learned": learned,
}


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad

    with check.folder() as folder:
        np.savez(folder + "/weights.npz", body=BODY, head=HEAD)
        weights = dict(np.load(folder + "/weights.npz"))
    weights["head"] = np.zeros((3, 2))

    # What is not an argument is not trained.
    def loss(head):
        return anp.mean((anp.tanh(X @ weights["body"]) @ head - Y) ** 2)

    first = loss(weights["head"])
    for _ in range(200):
        weights["head"] = weights["head"] - 0.5 * grad(loss)(weights["head"])

    @check("the body is loaded")
    def loaded():
        return np.tanh(X[0] @ weights["body"])

    @check("the body did not move")
    def frozen():
        return weights["body"]

    @check("the new head learned")
    def trained():
        return [first, loss(weights["head"])]


def pytorch(check):
    import torch
    from torch import nn

    def network(outputs):
        return nn.Sequential(
            nn.Linear(2, 3, bias=False), nn.Tanh(), nn.Linear(3, outputs, bias=False)
        )

    old = network(1)
    with torch.no_grad():
        old[0].weight.copy_(torch.from_numpy(BODY.T))
    torch.manual_seed(0)
    model = network(1)
    with check.folder() as folder:
        torch.save(old.state_dict(), folder + "/weights.pt")
        model.load_state_dict(torch.load(folder + "/weights.pt"))
    model.requires_grad_(False)
    model[2] = nn.Linear(3, 2, bias=False)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)

    @check("the body is loaded")
    def loaded():
        return model[:2](x)[0].numpy()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    @check("the body did not move")
    def frozen():
        return model[0].weight.numpy().T

    @check("the new head learned")
    def trained():
        return [losses[0], losses[-1]]


def jax(check):
    import jax
    import jax.numpy as jnp
    import optax

    with check.folder() as folder:
        np.savez(folder + "/weights.npz", body=BODY, head=HEAD)
        weights = dict(np.load(folder + "/weights.npz"))
    weights["head"] = jnp.zeros((3, 2))
    tx = optax.multi_transform(
        {"train": optax.sgd(0.5), "freeze": optax.set_to_zero()},
        {"body": "freeze", "head": "train"},
    )

    @jax.value_and_grad
    def loss(weights):
        return jnp.mean((jnp.tanh(X @ weights["body"]) @ weights["head"] - Y) ** 2)

    @jax.jit
    def step(weights, state):
        value, gradients = loss(weights)
        updates, state = tx.update(gradients, state)
        return optax.apply_updates(weights, updates), state, value

    @check("the body is loaded")
    def loaded():
        return jnp.tanh(X[0] @ weights["body"])

    state, losses = tx.init(weights), []
    for _ in range(200):
        weights, state, value = step(weights, state)
        losses.append(float(value))

    @check("the body did not move")
    def frozen():
        return weights["body"]

    @check("the new head learned")
    def trained():
        return [losses[0], losses[-1]]


def flax(check):
    import jax.numpy as jnp
    import optax
    import orbax.checkpoint as ocp
    from flax import nnx

    def network(outputs):
        return nnx.Sequential(
            nnx.Linear(2, 3, use_bias=False, rngs=nnx.Rngs(0)),
            jnp.tanh,
            nnx.Linear(3, outputs, use_bias=False, rngs=nnx.Rngs(1)),
        )

    old, model = network(1), network(1)
    old.layers[0].kernel[...] = jnp.asarray(BODY)
    with check.folder() as folder, ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder + "/weights", nnx.state(old))
        checkpointer.wait_until_finished()
        nnx.update(model, checkpointer.restore(folder + "/weights", nnx.state(model)))
    model.layers[2] = nnx.Linear(3, 2, use_bias=False, rngs=nnx.Rngs(2))

    @check("the body is loaded")
    def loaded():
        return jnp.tanh(model.layers[0](X[0]))

    # Only what the filter finds is differentiated and updated.
    head = nnx.All(nnx.Param, nnx.PathContains(2))
    optimizer = nnx.Optimizer(model, optax.sgd(0.5), wrt=head)

    @nnx.jit
    def step(model, optimizer):
        value, gradients = nnx.value_and_grad(
            lambda m: jnp.mean((m(X) - Y) ** 2), argnums=nnx.DiffState(0, head)
        )(model)
        optimizer.update(model, gradients)
        return value

    losses = [float(step(model, optimizer)) for _ in range(200)]

    @check("the body did not move")
    def frozen():
        return model.layers[0].kernel[...]

    @check("the new head learned")
    def trained():
        return [losses[0], losses[-1]]


def equinox(check):
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax

    def network(outputs, key):
        first, second = jax.random.split(jax.random.key(key))
        return eqx.nn.Sequential(
            [
                eqx.nn.Linear(2, 3, use_bias=False, key=first),
                eqx.nn.Lambda(jnp.tanh),
                eqx.nn.Linear(3, outputs, use_bias=False, key=second),
            ]
        )

    old = eqx.tree_at(lambda m: m[0].weight, network(1, 0), jnp.asarray(BODY.T))
    with check.folder() as folder:
        eqx.tree_serialise_leaves(folder + "/weights.eqx", old)
        model = eqx.tree_deserialise_leaves(folder + "/weights.eqx", network(1, 1))
    model = eqx.tree_at(lambda m: m.layers[2], model, network(2, 2)[2])

    @check("the body is loaded")
    def loaded():
        return jax.vmap(lambda x: jnp.tanh(model[0](x)))(X)[0]

    # What is True here is trained; the rest is handed in beside it.
    trainable = jax.tree.map(lambda _: False, model)
    trainable = eqx.tree_at(lambda m: m[2].weight, trainable, True)
    head, body = eqx.partition(model, trainable)
    tx = optax.sgd(0.5)

    @eqx.filter_value_and_grad
    def loss(head, body):
        return jnp.mean((jax.vmap(eqx.combine(head, body))(X) - Y) ** 2)

    @eqx.filter_jit
    def step(head, body, state):
        value, gradients = loss(head, body)
        updates, state = tx.update(gradients, state)
        return eqx.apply_updates(head, updates), state, value

    state, losses = tx.init(head), []
    for _ in range(200):
        head, state, value = step(head, body, state)
        losses.append(float(value))

    @check("the body did not move")
    def frozen():
        return eqx.combine(head, body)[0].weight.T

    @check("the new head learned")
    def trained():
        return [losses[0], losses[-1]]


def tensorflow(check):
    import tensorflow as tf

    # Only what the tape is asked for is trained.
    body, head = tf.Variable(tf.zeros((2, 3))), tf.Variable(tf.zeros((3, 2)))
    with check.folder() as folder:
        old = tf.train.Checkpoint(body=tf.Variable(BODY), head=tf.Variable(HEAD))
        path = old.write(folder + "/weights")
        tf.train.Checkpoint(body=body).read(path).expect_partial()

    @check("the body is loaded")
    def loaded():
        return tf.tanh(X @ body)[0].numpy()

    optimizer = tf.keras.optimizers.SGD(0.5)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((tf.tanh(X @ body) @ head - Y) ** 2)
        optimizer.apply_gradients([(tape.gradient(loss, head), head)])
        return loss

    losses = [float(step()) for _ in range(200)]

    @check("the body did not move")
    def frozen():
        return body.numpy()

    @check("the new head learned")
    def trained():
        return [losses[0], losses[-1]]


def keras(check):
    import keras

    def network(outputs):
        return keras.Sequential(
            [
                keras.Input((2,)),
                keras.layers.Dense(3, "tanh", use_bias=False, name="body"),
                keras.layers.Dense(outputs, use_bias=False),
            ]
        )

    old, model = network(1), network(1)
    old.set_weights([BODY, HEAD])
    keras.utils.set_random_seed(0)
    with check.folder() as folder:
        old.save_weights(folder + "/old.weights.h5")
        model.load_weights(folder + "/old.weights.h5")
    body = keras.Model(model.inputs, model.get_layer("body").output)
    body.trainable = False
    model = keras.Sequential([body, keras.layers.Dense(2, use_bias=False)])

    @check("the body is loaded")
    def loaded():
        return body.predict(X, verbose=0)[0]

    model.compile(keras.optimizers.SGD(0.5), "mse")
    history = model.fit(X, Y, batch_size=16, epochs=200, verbose=0)
    losses = history.history["loss"]

    @check("the body did not move")
    def frozen():
        return body.get_weights()[0]

    @check("the new head learned")
    def trained():
        return [losses[0], losses[-1]]


def paddle(check):
    import paddle
    from paddle import nn

    def network(outputs):
        return nn.Sequential(
            nn.Linear(2, 3, bias_attr=False),
            nn.Tanh(),
            nn.Linear(3, outputs, bias_attr=False),
        )

    old, model = network(1), network(1)
    old[0].weight.set_value(BODY)
    paddle.seed(0)
    with check.folder() as folder:
        paddle.save(old.state_dict(), folder + "/weights.pdparams")
        model.set_state_dict(paddle.load(folder + "/weights.pdparams"))
    for parameter in model.parameters():
        parameter.stop_gradient = True
    model[2] = nn.Linear(3, 2, bias_attr=False)
    x, y = paddle.to_tensor(X), paddle.to_tensor(Y)

    @check("the body is loaded")
    def loaded():
        return model[1](model[0](x))[0].numpy()

    optimizer = paddle.optimizer.SGD(0.5, parameters=model.parameters())
    losses = []
    for _ in range(200):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(loss.item())

    @check("the body did not move")
    def frozen():
        return model[0].weight.numpy()

    @check("the new head learned")
    def trained():
        return [losses[0], losses[-1]]


def mxnet(check):
    import mxnet as mx
    from mxnet import autograd, gluon, nd

    def network(outputs):
        found = gluon.nn.HybridSequential()
        found.add(
            gluon.nn.Dense(3, "tanh", use_bias=False, in_units=2),
            gluon.nn.Dense(outputs, use_bias=False, in_units=3),
        )
        return found

    mx.random.seed(0)
    old, trained = network(1), network(1)
    old.initialize()
    old[0].weight.set_data(nd.array(BODY.T))
    with check.folder() as folder:
        old.save_parameters(folder + "/weights.params")
        trained.load_parameters(folder + "/weights.params")
    body, head = trained[0], gluon.nn.Dense(2, use_bias=False, in_units=3)
    body.collect_params().setattr("grad_req", "null")
    head.initialize()
    model = gluon.nn.HybridSequential()
    model.add(body, head)
    x, y = nd.array(X), nd.array(Y)

    @check("the body is loaded")
    def loaded():
        return body(x)[0].asnumpy()

    # The gradient of a sum of half squares per observation is divided by the batch.
    trainer = gluon.Trainer(model.collect_params(), "sgd", {"learning_rate": 0.5})
    loss_of, losses = gluon.loss.L2Loss(), []
    for _ in range(200):
        with autograd.record():
            loss = loss_of(model(x), y)
        loss.backward()
        trainer.step(len(X))
        losses.append(loss.mean().asscalar())

    @check("the body did not move")
    def frozen():
        return body.weight.data().asnumpy().T

    @check("the new head learned")
    def learned():
        return [losses[0], losses[-1]]


def mlx(check):
    import mlx.core as mx
    from mlx import nn, optimizers

    def network(outputs):
        return nn.Sequential(
            nn.Linear(2, 3, bias=False), nn.Tanh(), nn.Linear(3, outputs, bias=False)
        )

    mx.random.seed(0)
    old, model = network(1), network(1)
    old.layers[0].weight = mx.array(BODY.T)
    with check.folder() as folder:
        old.save_weights(folder + "/weights.safetensors")
        model.load_weights(folder + "/weights.safetensors")
        mx.eval(model.parameters())
    model.freeze()
    model.layers[2] = nn.Linear(3, 2, bias=False)
    x, y = mx.array(X), mx.array(Y)

    @check("the body is loaded")
    def loaded():
        return np.array(mx.tanh(model.layers[0](x))[0])

    optimizer, losses = optimizers.SGD(0.5), []
    step = nn.value_and_grad(model, lambda: nn.losses.mse_loss(model(x), y))
    for _ in range(200):
        loss, gradients = step()
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), loss)
        losses.append(loss.item())

    @check("the body did not move")
    def frozen():
        return np.array(model.layers[0].weight).T

    @check("the new head learned")
    def trained():
        return [losses[0], losses[-1]]


def chainer(check):
    import chainer
    from chainer import functions, links, optimizers, serializers

    class Network(chainer.Chain):
        def __init__(self, outputs):
            super(Network, self).__init__()
            with self.init_scope():
                self.body = links.Linear(2, 3, nobias=True)
                self.head = links.Linear(3, outputs, nobias=True)

        def forward(self, x):
            return self.head(functions.tanh(self.body(x)))

    np.random.seed(0)
    old, model = Network(1), Network(1)
    old.body.W.array[...] = BODY.T
    with check.folder() as folder:
        serializers.save_npz(folder + "/weights.npz", old)
        serializers.load_npz(folder + "/weights.npz", model)
    del model.head
    with model.init_scope():
        model.head = links.Linear(3, 2, nobias=True)
    optimizer = optimizers.SGD(0.5).setup(model)
    model.body.disable_update()

    @check("the body is loaded")
    def loaded():
        return functions.tanh(model.body(X)).array[0]

    losses = []
    for _ in range(200):
        loss = functions.mean_squared_error(model(X), Y)
        model.cleargrads()
        loss.backward()
        optimizer.update()
        losses.append(float(loss.array))

    @check("the body did not move")
    def frozen():
        return model.body.W.array.T

    @check("the new head learned")
    def trained():
        return [losses[0], losses[-1]]


def keras2(check):
    import keras

    def network(outputs):
        return keras.Sequential(
            [
                keras.layers.Dense(
                    3, activation="tanh", use_bias=False, input_shape=(2,)
                ),
                keras.layers.Dense(outputs, use_bias=False),
            ]
        )

    np.random.seed(0)
    old, model = network(1), network(1)
    old.set_weights([BODY, HEAD])
    with check.folder() as folder:
        old.save_weights(folder + "/weights.h5")
        model.load_weights(folder + "/weights.h5")
    model.pop()
    model.layers[0].trainable = False
    body = model.predict(X)
    model.add(keras.layers.Dense(2, use_bias=False))

    @check("the body is loaded")
    def loaded():
        return body[0]

    model.compile(keras.optimizers.SGD(0.5), "mse")
    history = model.fit(X, Y, batch_size=16, epochs=200, verbose=0)
    losses = history.history["loss"]

    @check("the body did not move")
    def frozen():
        return model.layers[0].get_weights()[0]

    @check("the new head learned")
    def trained():
        return [losses[0], losses[-1]]


def cntk(check):
    import cntk as C

    def network(x, outputs):
        body = C.layers.Dense(3, C.tanh, bias=False, name="body")(x)
        return C.layers.Dense(outputs, bias=False)(body)

    old = network(C.input_variable(2), 1)
    old.body.W.value = BODY
    with check.folder() as folder:
        old.save(folder + "/trained.model")
        trained = C.load_model(folder + "/trained.model")
    # A copy of the function up to the body, whose weights become constants.
    x, y = C.input_variable(2), C.input_variable(2)
    kept = C.combine([trained.find_by_name("body").owner])
    body = kept.clone(C.CloneMethod.freeze, {kept.arguments[0]: x})
    model = C.layers.Dense(2, bias=False)(body)

    @check("the body is loaded")
    def loaded():
        return body.eval({x: X[:1]})[0]

    loss = C.squared_error(model, y)
    learner = C.sgd(model.parameters, 0.2, minibatch_size=C.learners.IGNORE)
    trainer, losses = C.Trainer(model, loss, [learner]), []
    for _ in range(200):
        trainer.train_minibatch({x: X, y: Y})
        losses.append(trainer.previous_minibatch_loss_average)

    @check("the body did not move")
    def frozen():
        return body.constants[0].value

    @check("the new head learned")
    def learned():
        return [losses[0], losses[-1]]


def caffe2(check):
    from caffe2.python import brew, core, model_helper, optimizer, workspace

    def run(kind, inputs, outputs, **options):
        workspace.RunOperatorOnce(core.CreateOperator(kind, inputs, outputs, **options))

    workspace.ResetWorkspace()
    with check.folder() as folder:
        where = {"db": folder + "/trained", "db_type": "minidb", "absolute_path": 1}
        workspace.FeedBlob("body_w", BODY.T.copy())
        workspace.FeedBlob("head_w", HEAD.T.copy())
        run("Save", ["body_w", "head_w"], [], **where)
        workspace.ResetWorkspace()
        run("Load", [], ["body_w"], **where)
    workspace.FeedBlob("x", X)
    workspace.FeedBlob("y", Y)
    model = model_helper.ModelHelper("model")
    # What is no parameter of the model is not trained.
    body = model.net.Tanh(model.net.MatMul(["x", "body_w"], 1, trans_b=1), "body")
    scores = brew.fc(model, body, "new_head", 3, 2)
    errors = model.net.SquaredL2Distance([scores, "y"], "errors")
    loss = model.net.AveragedLoss(errors, "loss")
    model.AddGradientOperators([loss])
    optimizer.build_sgd(model, 0.4, policy="fixed")
    for op in model.param_init_net.Proto().op:
        op.device_option.random_seed = 1
    workspace.RunNetOnce(model.param_init_net)
    workspace.CreateNet(model.net)
    losses = []
    for _ in range(200):
        workspace.RunNet(model.net)
        losses.append(float(workspace.FetchBlob(loss)))

    check("the body is loaded")(lambda: workspace.FetchBlob(body)[0])
    check("the body did not move")(lambda: workspace.FetchBlob("body_w").T)
    check("the new head learned")(lambda: [losses[0], losses[-1]])


def tensorflow1(check):
    import tensorflow as tf

    with tf.Graph().as_default(), tf.Session() as session, check.folder() as folder:
        body = tf.get_variable("body", initializer=BODY)
        tf.get_variable("head", initializer=HEAD)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, folder + "/trained")
        with tf.Graph().as_default(), tf.Session() as session:
            body = tf.get_variable("body", BODY.shape, trainable=False)
            features = tf.tanh(tf.matmul(X, body))
            scores = tf.layers.dense(features, 2, use_bias=False)
            loss = tf.losses.mean_squared_error(Y, scores)
            train = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
            session.run(tf.global_variables_initializer())
            tf.train.Saver([body]).restore(session, folder + "/trained")
            losses = [session.run([loss, train])[0] for _ in range(200)]
            first, after = session.run([features, body])

    check("the body is loaded")(lambda: first[0])
    check("the body did not move")(lambda: after)
    check("the new head learned")(lambda: [losses[0], losses[-1]])
