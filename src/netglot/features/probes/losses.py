"""Losses: label smoothing, CTC.

Cross entropy with smoothed labels, Huber's loss, and connectionist temporal
classification with its gradient, which is compared with the sum over every path.
"""

import itertools

import numpy as np

_random = np.random.RandomState(6)
#: Three observations, four classes; a tenth of each label is spread over all classes.
LOGITS = (_random.randint(-96, 97, (3, 4)) / 64.0).astype("float32")
LABELS = np.array([2, 0, 3])
SMOOTHING = 0.1
#: Huber's loss with a bend at 1.
ERRORS = np.array([0.5, -0.25, 3.0, -2.0], "float32")
#: CTC: five steps, three classes, the blank first; the label is 1 2.
STEPS = (_random.randint(-96, 97, (5, 3)) / 64.0).astype("float32")
TARGET = [1, 2]


def _log_softmax(x):
    x = x.astype("float64")
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def _smoothed():
    wanted = (1 - SMOOTHING) * np.eye(4)[LABELS] + SMOOTHING / 4
    return -(wanted * _log_softmax(LOGITS)).sum(1).mean()


def _ctc(steps):
    logs, total = _log_softmax(steps), 0.0
    for path in itertools.product(range(3), repeat=len(steps)):
        label = [k for k, _ in itertools.groupby(path) if k]
        if label == TARGET:
            total += np.exp(sum(logs[t, k] for t, k in enumerate(path)))
    return -np.log(total)


def _ctc_gradient(step=1e-5):
    gradient = np.zeros(STEPS.shape)
    for index in np.ndindex(*STEPS.shape):
        up, down = STEPS.astype("float64"), STEPS.astype("float64")
        up[index] += step
        down[index] -= step
        gradient[index] = (_ctc(up) - _ctc(down)) / (2 * step)
    return gradient


CHECKS = {
    "cross entropy with label smoothing": _smoothed(),
    "Huber": [0.125, 0.03125, 2.5, 1.5],
    "CTC": _ctc(STEPS),
    "gradient of CTC": _ctc_gradient(),
}


def numpy(check):
    import autograd.numpy as anp

    @check("cross entropy with label smoothing")
    def smoothed():
        check.fallback("no losses: the formula")
        logs = LOGITS - anp.log(anp.sum(anp.exp(LOGITS), axis=1, keepdims=True))
        wanted = (1 - SMOOTHING) * np.eye(4)[LABELS] + SMOOTHING / 4
        return -anp.mean(anp.sum(wanted * logs, axis=1))

    @check("Huber")
    def huber():
        check.fallback("no losses: the formula")
        size = anp.abs(ERRORS)
        return anp.where(size < 1, 0.5 * size**2, size - 0.5)

    for name in ("CTC", "gradient of CTC"):

        @check(name)
        def ctc():
            check.lacks("autograd.numpy.ctc_loss", "autograd has no losses")


def pytorch(check):
    import torch
    from torch.nn import functional

    @check("cross entropy with label smoothing")
    def smoothed():
        return functional.cross_entropy(
            torch.from_numpy(LOGITS),
            torch.from_numpy(LABELS),
            label_smoothing=SMOOTHING,
        ).item()

    @check("Huber")
    def huber():
        errors = torch.from_numpy(ERRORS)
        return functional.huber_loss(errors, 0 * errors, reduction="none").tolist()

    steps = torch.tensor(STEPS[:, None], requires_grad=True)
    loss = functional.ctc_loss(
        steps.log_softmax(-1), torch.tensor([TARGET]), (5,), (2,), reduction="sum"
    )

    @check("CTC")
    def ctc():
        return loss.item()

    @check("gradient of CTC")
    def gradient():
        loss.backward()
        return steps.grad[:, 0].numpy()


def jax(check):
    import jax
    import optax

    @check("cross entropy with label smoothing")
    def smoothed():
        wanted = optax.smooth_labels(jax.nn.one_hot(LABELS, 4), SMOOTHING)
        return optax.softmax_cross_entropy(LOGITS, wanted).mean()

    @check("Huber")
    def huber():
        return optax.huber_loss(ERRORS)

    def loss(steps):
        return optax.ctc_loss(
            steps[None], np.zeros((1, 5)), np.array([TARGET]), np.zeros((1, 2))
        )[0]

    @check("CTC")
    def ctc():
        return loss(STEPS)

    @check("gradient of CTC")
    def gradient():
        return jax.grad(loss)(STEPS)


def tensorflow(check):
    import tensorflow as tf

    @check("cross entropy with label smoothing")
    def smoothed():
        loss = tf.keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=SMOOTHING
        )
        return loss(tf.one_hot(LABELS, 4), LOGITS).numpy()

    @check("Huber")
    def huber():
        loss = tf.keras.losses.Huber(reduction="none")
        return loss(tf.zeros((4, 1)), ERRORS[:, None]).numpy()

    steps = tf.constant(STEPS[:, None])
    with tf.GradientTape() as tape:
        tape.watch(steps)
        loss = tf.nn.ctc_loss(
            tf.constant([TARGET]),
            steps,
            tf.constant([2]),
            tf.constant([5]),
            blank_index=0,
        )

    @check("CTC")
    def ctc():
        return loss[0].numpy()

    @check("gradient of CTC")
    def gradient():
        return tape.gradient(loss, steps)[:, 0].numpy()


def keras(check):
    import keras

    @check("cross entropy with label smoothing")
    def smoothed():
        loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=SMOOTHING
        )
        return float(loss(np.eye(4)[LABELS], LOGITS))

    @check("Huber")
    def huber():
        loss = keras.losses.Huber(reduction="none")
        return keras.ops.convert_to_numpy(loss(np.zeros((4, 1)), ERRORS[:, None]))

    # Its blank is class 0 and no label may be 0.
    @check("CTC")
    def ctc():
        return float(keras.losses.CTC()(np.array([TARGET]), STEPS[None]))

    # The steps are the bias of a layer, of which a step of SGD at rate 1 shows the
    # gradient, whatever the engine.
    @check("gradient of CTC")
    def gradient():
        class Steps(keras.layers.Layer):
            def build(self, shape):
                self.steps = self.add_weight(shape=STEPS.shape, initializer="zeros")

            def call(self, x):
                return x + self.steps

        model = keras.Sequential([keras.Input(STEPS.shape), Steps()])
        model.set_weights([STEPS])
        model.compile(keras.optimizers.SGD(1.0), keras.losses.CTC(), jit_compile=False)
        model.train_on_batch(np.zeros((1,) + STEPS.shape), np.array([TARGET]))
        return STEPS - model.get_weights()[0]


def paddle(check):
    import paddle
    from paddle.nn import functional

    @check("cross entropy with label smoothing")
    def smoothed():
        return functional.cross_entropy(
            paddle.to_tensor(LOGITS),
            paddle.to_tensor(LABELS),
            label_smoothing=SMOOTHING,
        ).item()

    @check("Huber")
    def huber():
        errors = paddle.to_tensor(ERRORS)
        return functional.smooth_l1_loss(errors, 0 * errors, reduction="none").numpy()

    # The softmax is in it.
    steps = paddle.to_tensor(STEPS[:, None], stop_gradient=False)
    loss = functional.ctc_loss(
        steps,
        paddle.to_tensor([TARGET], dtype="int32"),
        paddle.to_tensor([5]),
        paddle.to_tensor([2]),
        reduction="sum",
    )

    @check("CTC")
    def ctc():
        return loss.item()

    @check("gradient of CTC")
    def gradient():
        loss.backward()
        return steps.grad[:, 0].numpy()


def mxnet(check):
    from mxnet import autograd, gluon, nd

    @check("cross entropy with label smoothing")
    def smoothed():
        check.fallback("the labels are smoothed by hand")
        wanted = (1 - SMOOTHING) * nd.one_hot(nd.array(LABELS), 4) + SMOOTHING / 4
        loss = gluon.loss.SoftmaxCELoss(sparse_label=False)
        return loss(nd.array(LOGITS), wanted).mean().asscalar()

    @check("Huber")
    def huber():
        errors = nd.array(ERRORS[:, None])
        return gluon.loss.HuberLoss()(errors, 0 * errors).asnumpy()

    # The blank is the last class here, and the softmax is in it.
    steps = nd.array(np.roll(STEPS, -1, axis=1)[None])
    steps.attach_grad()
    with autograd.record():
        loss = gluon.loss.CTCLoss()(steps, nd.array([TARGET]) - 1)
    loss.backward()

    check("CTC")(lambda: loss.asscalar())
    check("gradient of CTC")(lambda: np.roll(steps.grad.asnumpy()[0], 1, axis=1))


def mlx(check):
    import mlx.core as mx
    from mlx.nn import losses

    @check("cross entropy with label smoothing")
    def smoothed():
        return losses.cross_entropy(
            mx.array(LOGITS),
            mx.array(LABELS),
            label_smoothing=SMOOTHING,
            reduction="mean",
        ).item()

    @check("Huber")
    def huber():
        errors = mx.array(ERRORS)
        return np.array(losses.huber_loss(errors, 0 * errors))

    for name in ("CTC", "gradient of CTC"):

        @check(name)
        def ctc():
            check.lacks("mlx.nn.losses.ctc_loss", "MLX has no such loss")


def chainer(check):
    import chainer
    from chainer import functions

    @check("cross entropy with label smoothing")
    def smoothed():
        check.fallback("of the labels smoothed by hand")
        wanted = ((1 - SMOOTHING) * np.eye(4)[LABELS] + SMOOTHING / 4).astype("float32")
        return functions.softmax_cross_entropy(LOGITS, wanted).array

    @check("Huber")
    def huber():
        errors = ERRORS[:, None]
        return functions.huber_loss(errors, 0 * errors, 1.0, reduce="no").array[:, 0]

    steps = chainer.Variable(STEPS.copy())
    loss = functions.connectionist_temporal_classification(
        list(functions.split_axis(steps, 5, 0)),
        np.array([TARGET], "int32"),
        blank_symbol=0,
        reduce="no",
    )

    check("CTC")(lambda: loss.array[0])

    @check("gradient of CTC")
    def gradient():
        functions.sum(loss).backward()
        return steps.grad


def tinygrad(check):
    from tinygrad import Tensor

    @check("cross entropy with label smoothing")
    def smoothed():
        loss = Tensor(LOGITS).cross_entropy(Tensor(LABELS), label_smoothing=SMOOTHING)
        return loss.item()

    @check("Huber")
    def huber():
        check.lacks("tinygrad.Tensor.huber_loss", "tinygrad has no such loss")

    for name in ("CTC", "gradient of CTC"):

        @check(name)
        def ctc():
            check.lacks("tinygrad.Tensor.ctc_loss", "tinygrad has no such loss")


def cntk(check):
    import cntk as C

    @check("cross entropy with label smoothing")
    def smoothed():
        check.fallback("the labels are smoothed by hand")
        scores, wanted = C.input_variable(4), C.input_variable(4)
        loss = C.cross_entropy_with_softmax(scores, wanted)
        targets = (1 - SMOOTHING) * np.eye(4)[LABELS] + SMOOTHING / 4
        return loss.eval({scores: LOGITS, wanted: targets.astype("float32")}).mean()

    @check("Huber")
    def huber():
        check.fallback("by element_select")
        size = C.abs(C.constant(ERRORS))
        return C.element_select(
            C.less_equal(size, 1), C.square(size) / 2, size - 0.5
        ).eval()

    # The label has a frame for each step: 2 where a symbol begins, 1 where it goes on.
    steps, label = (
        C.sequence.input_variable(3, needs_gradient=True),
        C.sequence.input_variable(3),
    )
    loss = C.forward_backward(C.labels_to_graph(label), steps, blankTokenId=0)
    frames = np.zeros((5, 3), "float32")
    frames[[0, 1, 2, 3, 4], [1, 1, 2, 2, 2]] = [2, 1, 2, 1, 1]
    fed = {steps: [STEPS], label: [frames]}

    check("CTC")(lambda: loss.eval(fed))
    check("gradient of CTC")(lambda: loss.grad(fed, wrt=[steps])[0])


def caffe2(check):
    from caffe2.python import core, workspace

    @check("cross entropy with label smoothing")
    def smoothed():
        check.note("SoftmaxWithLoss takes probabilities with label_prob=1")
        check.fallback("the labels are smoothed by hand")
        wanted = (1 - SMOOTHING) * np.eye(4)[LABELS] + SMOOTHING / 4
        workspace.FeedBlob("scores", LOGITS)
        workspace.FeedBlob("wanted", wanted.astype("float32"))
        op = core.CreateOperator(
            "SoftmaxWithLoss", ["scores", "wanted"], ["p", "loss"], label_prob=1
        )
        workspace.RunOperatorOnce(op)
        return workspace.FetchBlob("loss")

    def without(word):
        names = workspace.RegisteredOperators()
        found = [name for name in names if word in name.lower()]
        check.note("of that kind: %s" % (", ".join(found) or "nothing"))
        return found

    @check("Huber")
    def huber():
        assert not without("huber"), "the probe is out of date"
        check.no("SmoothL1Loss, for boxes, is one of GPUs")

    # Decoders of CTC, whose loss was a package of GPUs.
    for name in ("CTC", "gradient of CTC"):

        @check(name)
        def ctc():
            assert "CTC" not in without("ctc"), "the probe is out of date"
            check.no("it has decoders, and the loss in a package beside it")


def keras2_tensorflow(check):
    import keras
    from keras import backend as K

    @check("cross entropy with label smoothing")
    def smoothed():
        labels = K.variable(np.eye(4)[LABELS])
        found = keras.losses.categorical_crossentropy(
            labels, K.variable(LOGITS), from_logits=True, label_smoothing=SMOOTHING
        )
        return K.eval(K.mean(found))

    @check("Huber")
    def huber():
        errors = K.variable(ERRORS[:, None])
        loss = keras.losses.Huber(reduction="none")
        return K.eval(loss(K.zeros_like(errors), errors)).ravel()

    # The blank is the last class here, and probabilities go in.
    def ctc(gradient):
        steps = K.variable(np.roll(STEPS, -1, axis=1)[None])
        label = K.variable(np.array([TARGET]) - 1, dtype="int32")
        sizes = [K.variable(np.array([[n]]), dtype="int32") for n in (2, 5)]
        cost = K.ctc_batch_cost(label, K.softmax(steps), sizes[1], sizes[0])
        if not gradient:
            return float(K.eval(cost).ravel()[0])
        (found,) = K.gradients(K.sum(cost), [steps])
        return np.roll(K.eval(found)[0], 1, axis=1)

    check("CTC")(lambda: ctc(False))
    check("gradient of CTC")(lambda: ctc(True))
