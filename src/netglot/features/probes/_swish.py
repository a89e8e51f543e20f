"""What the probes of new operations share: swish, by NumPy, and a network to use it in.

The functions called as frameworks build the network of ``mnist-cnn``, without its
dropout and with the same weights each time, around an activation; they give a step of
its training and what lists its weights.
"""

import numpy as np

# One step of descent, 0.1 times the gradient, of the mean squared error of
# swish(X w1) w2 from Y.
X = np.array([[0.3, -0.7], [0.9, 0.2], [-0.4, 1.1], [0.5, 0.6]])
Y = np.array([[0.1], [-0.3], [0.8], [0.0]])
W1 = np.array([[0.7, -0.2, 0.4], [-0.5, 0.3, 0.9]])
W2 = np.array([[0.6], [-1.1], [0.2]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slope(x):
    s = sigmoid(x)
    return s + x * s * (1 - s)


def stepped():
    hidden = X @ W1
    swished = hidden * sigmoid(hidden)
    distance = 2 * (swished @ W2 - Y) / len(X)
    by_w1 = X.T @ (distance @ W2.T * slope(hidden))
    return np.concatenate(
        [(W1 - 0.1 * by_w1).ravel(), (W2 - 0.1 * swished.T @ distance).ravel()]
    )


POINTS = np.array([-2.0, -0.3, 0.4, 1.5])


def as_composed(share):
    """trained, every weight within 1/200 of its way of the composed form"""
    return share < 0.005


CHECKS = {
    "its value": POINTS * sigmoid(POINTS),
    "its gradient": slope(POINTS),
    "a network with it, trained a step": stepped(),
    "in mnist-cnn, trained like the composed form": as_composed,
}

#: Images and labels for the network of mnist-cnn, without its dropout.
IMAGES = np.random.RandomState(1).rand(16, 28, 28, 1).astype("float32")
LABELS = np.arange(16) % 10


def alike(check, build, swish, composed):
    """Trains a network with both forms; by how much its weights then differ.

    ``build(activation)`` makes the network with the same weights each time, and gives a
    step of training and what lists its weights. The difference is over the way that the
    weights have gone.
    """
    (step, weights), (other, others) = build(swish), build(composed)
    start = [np.array(w) for w in weights()]
    mine, its = check.by_turns([step, other])
    check.note(
        "a step takes %.2f times that of the composed form (%.0f ms, %.0f ms)"
        % (mine / its, 1000 * mine, 1000 * its)
    )
    pairs = [[np.array(w) for w in each] for each in (weights(), others())]
    way = max(np.abs(w - w0).max() for w, w0 in zip(pairs[0], start))
    return max(np.abs(a - b).max() for a, b in zip(*pairs)) / way


def numpy(activation):
    import autograd.numpy as anp
    from autograd import grad

    rng = np.random.RandomState(0)
    shapes = (3, 3, 1, 32), (3, 3, 32, 64), (9216, 128), (128, 10)
    weights = [(rng.randn(*s) / 30).astype("float32") for s in shapes]
    labels = np.eye(10, dtype="float32")[LABELS]

    def conv(x, w):
        """The sum of what each of nine places of the kernel sees."""
        size = x.shape[1] - 2
        return sum(
            anp.dot(x[:, a : a + size, b : b + size], w[a, b])
            for a in range(3)
            for b in range(3)
        )

    def loss(weights):
        w1, w2, w3, w4 = weights
        x = activation(conv(activation(conv(IMAGES, w1)), w2))
        x = anp.max(anp.reshape(x, (-1, 12, 2, 12, 2, 64)), axis=(2, 4))
        x = activation(anp.dot(anp.reshape(x, (-1, 9216)), w3))
        scores = anp.dot(x, w4)
        logs = scores - anp.log(anp.sum(anp.exp(scores), axis=1, keepdims=True))
        return -anp.sum(labels * logs) / len(labels)

    def step():
        for w, gradient in zip(weights, grad(loss)(weights)):
            w -= 0.02 * gradient

    return step, lambda: weights


def pytorch(activation):
    import torch

    class Activation(torch.nn.Module):
        def forward(self, x):
            return activation(x)

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 32, 3), Activation()),
        *(torch.nn.Conv2d(32, 64, 3), Activation()),
        *(torch.nn.MaxPool2d(2), torch.nn.Flatten()),
        *(torch.nn.Linear(9216, 128), Activation(), torch.nn.Linear(128, 10)),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    x, y = torch.tensor(IMAGES).permute(0, 3, 1, 2), torch.tensor(LABELS)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step, lambda: [w.detach() for w in model.parameters()]


def jax(activation):
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.key(0), 4)
    shapes = (3, 3, 1, 32), (3, 3, 32, 64), (9216, 128), (128, 10)
    glorot = jax.nn.initializers.glorot_uniform()
    now = [[glorot(key, shape) for key, shape in zip(keys, shapes)]]

    def conv(x, w):
        layout = "NHWC", "HWIO", "NHWC"
        return jax.lax.conv_general_dilated(
            x, w, (1, 1), "VALID", dimension_numbers=layout
        )

    def loss(weights):
        w1, w2, w3, w4 = weights
        x = activation(conv(activation(conv(IMAGES, w1)), w2))
        x = jnp.max(x.reshape(-1, 12, 2, 12, 2, 64), (2, 4))
        logs = jax.nn.log_softmax(activation(x.reshape(-1, 9216) @ w3) @ w4)
        return -jnp.mean(logs[jnp.arange(len(LABELS)), LABELS])

    @jax.jit
    def stepped(weights):
        gradients = jax.grad(loss)(weights)
        return [w - 0.02 * g for w, g in zip(weights, gradients)]

    def step():
        now[0] = jax.block_until_ready(stepped(now[0]))

    return step, lambda: now[0]


def tensorflow(activation):
    import tensorflow as tf

    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Conv2D(32, 3, activation=activation),
            layers.Conv2D(64, 3, activation=activation),
            *(layers.MaxPooling2D(), layers.Flatten()),
            *(layers.Dense(128, activation=activation), layers.Dense(10)),
        ]
    )

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                LABELS, model(IMAGES)
            )
            loss = tf.reduce_mean(losses)
        weights = model.trainable_variables
        for w, gradient in zip(weights, tape.gradient(loss, weights)):
            w.assign_sub(0.02 * gradient)
        return loss

    model(IMAGES)
    return lambda: step().numpy(), model.get_weights


def paddle(activation):
    import paddle

    class Activation(paddle.nn.Layer):
        def forward(self, x):
            return activation(x)

    paddle.seed(0)
    model = paddle.nn.Sequential(
        *(paddle.nn.Conv2D(1, 32, 3), Activation()),
        *(paddle.nn.Conv2D(32, 64, 3), Activation()),
        *(paddle.nn.MaxPool2D(2), paddle.nn.Flatten()),
        *(paddle.nn.Linear(9216, 128), Activation(), paddle.nn.Linear(128, 10)),
    )
    optimizer = paddle.optimizer.SGD(0.02, model.parameters())
    x, y = paddle.to_tensor(IMAGES.transpose(0, 3, 1, 2)), paddle.to_tensor(LABELS)

    def step():
        paddle.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.clear_grad()

    return step, lambda: [w.numpy() for w in model.parameters()]


def symbolic(library, T, conv2d):
    """Of Theano and its heir: what builds the network for an activation."""

    def network(activation):
        rng = np.random.RandomState(0)
        shapes = (32, 1, 3, 3), (64, 32, 3, 3), (9216, 128), (128, 10)
        weights = [
            library.shared((rng.randn(*shape) / 30).astype("float32"))
            for shape in shapes
        ]
        w1, w2, w3, w4 = weights
        x = T.as_tensor_variable(IMAGES.transpose(0, 3, 1, 2))
        x = activation(conv2d(activation(conv2d(x, w1)), w2))
        x = T.max(x.reshape((-1, 64, 12, 2, 12, 2)), axis=(3, 5))
        scores = T.dot(activation(T.dot(x.reshape((-1, 9216)), w3)), w4)
        logs = scores - T.log(T.sum(T.exp(scores), axis=1, keepdims=True))
        loss = -T.mean(logs[T.arange(16), LABELS])
        gradients = library.grad(loss, weights)
        rate = np.float32(0.02)
        updates = [
            (w, T.cast(w - rate * g, "float32")) for w, g in zip(weights, gradients)
        ]
        step = library.function([], loss, updates=updates)
        return step, lambda: [w.get_value() for w in weights]

    return network


def tensorflow1(activation):
    import tensorflow as tf

    with tf.Graph().as_default():
        return _tensorflow1(tf, activation)


def _tensorflow1(tf, activation):
    start = tf.glorot_uniform_initializer(seed=0)
    x, y = tf.constant(IMAGES), tf.constant(LABELS)
    with tf.variable_scope("network", initializer=start):
        x = tf.layers.conv2d(x, 32, 3, activation=activation)
        x = tf.layers.conv2d(x, 64, 3, activation=activation)
        x = tf.layers.flatten(tf.layers.max_pooling2d(x, 2, 2))
        x = tf.layers.dense(x, 128, activation=activation)
        scores = tf.layers.dense(x, 10)
    loss = tf.losses.sparse_softmax_cross_entropy(y, scores)
    weights = tf.trainable_variables()
    train = tf.train.GradientDescentOptimizer(0.02).minimize(loss)
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return lambda: session.run([loss, train]), lambda: session.run(weights)


def chainer(activation):
    import chainer
    import chainer.functions as F
    import chainer.links as L

    np.random.seed(0)
    model = chainer.Sequential(
        *(L.Convolution2D(1, 32, 3), activation),
        *(L.Convolution2D(32, 64, 3), activation),
        *(lambda x: F.max_pooling_2d(x, 2), L.Linear(9216, 128)),
        *(activation, L.Linear(128, 10)),
    )
    optimizer = chainer.optimizers.SGD(0.02).setup(model)
    x = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))
    y = LABELS.astype("int32")

    def step():
        optimizer.update(lambda: F.softmax_cross_entropy(model(x), y))

    return step, lambda: [w.array for w in model.params()]


def mxnet(activation):
    import mxnet as mx
    from mxnet import autograd, nd
    from mxnet.gluon import nn

    mx.random.seed(0)
    model = nn.Sequential()
    model.add(
        *(nn.Conv2D(32, 3, in_channels=1), nn.Lambda(activation)),
        *(nn.Conv2D(64, 3, in_channels=32), nn.Lambda(activation)),
        *(nn.MaxPool2D(2), nn.Flatten()),
        *(nn.Dense(128, in_units=9216), nn.Lambda(activation)),
        nn.Dense(10, in_units=128),
    )
    model.initialize(mx.init.Xavier())
    parameters = model.collect_params()
    trainer = mx.gluon.Trainer(parameters, "sgd", {"learning_rate": 0.02})
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    x, y = nd.array(IMAGES.transpose(0, 3, 1, 2)), nd.array(LABELS)

    def step():
        with autograd.record():
            found = loss(model(x), y)
        found.backward()
        trainer.step(len(LABELS))
        nd.waitall()

    return step, lambda: [w.data().asnumpy() for w in parameters.values()]


def cntk(activation):
    import cntk as C
    from cntk.layers import Convolution2D, Dense, MaxPooling

    start = C.glorot_uniform(seed=1)
    x, y = C.input_variable((1, 28, 28)), C.input_variable(())
    hidden = activation(Convolution2D((3, 3), 32, init=start)(x))
    hidden = activation(Convolution2D((3, 3), 64, init=start)(hidden))
    hidden = activation(Dense(128, init=start)(MaxPooling((2, 2), 2)(hidden)))
    model = Dense(10, init=start)(hidden)
    loss = C.cross_entropy_with_softmax(model, C.one_hot(y, 10))
    learner = C.sgd(model.parameters, 0.02, minibatch_size=C.learners.IGNORE)
    trainer = C.Trainer(model, loss, [learner])
    images = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))
    batch = {x: images, y: LABELS.astype("float32")}

    def step():
        trainer.train_minibatch(batch)

    return step, lambda: [w.value for w in model.parameters]
