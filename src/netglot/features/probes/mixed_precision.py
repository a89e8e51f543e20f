"""Mixed precision with loss scaling.

Products in half precision, weights in float32, and a loss that is multiplied before the
way back so that small gradients survive in half precision.
"""


def a_ten_millionth(gradient):
    """1e-8, within a hundredth: float16 alone has nothing between 0 and 6e-8"""
    return 0.99e-8 < gradient < 1.01e-8


CHECKS = {
    # 2049 times 1: float16 and bfloat16 say 2048, float32 2049
    "products are of half precision": 2048.0,
    # a weight of 2049, after a step of descent that takes 0.5 off
    "weights stay float32": 2048.5,
    "scaling keeps a gradient of 1e-8": a_ten_millionth,
    # weight and scale before and after a step with an infinite gradient
    "an overflow skips the step, halves the scale": [3.0, 3.0, 1024.0, 512.0],
}


def numpy(check):
    check.nothing("autograd has no mixed precision", "autograd.amp")


def pytorch(check):
    import torch

    def layer(weight):
        linear = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(linear.weight, weight)
        return linear

    one = torch.ones(1, 1)

    @check("products are of half precision")
    def products():
        with torch.autocast("cpu", dtype=torch.float16):
            return layer(2049)(one).item()

    @check("weights stay float32")
    def weights():
        linear = layer(2049)
        with torch.autocast("cpu", dtype=torch.float16):
            loss = linear(0.5 * one).sum()
        loss.backward()
        torch.optim.SGD(linear.parameters(), lr=1.0).step()
        return linear.weight.item()

    @check("scaling keeps a gradient of 1e-8")
    def small():
        linear = layer(1)
        optimizer = torch.optim.SGD(linear.parameters(), lr=1.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
        with torch.autocast("cpu", dtype=torch.float16):
            scores = linear(one)
        scaler.scale(scores.float().sum() * 1e-8).backward()
        scaler.unscale_(optimizer)
        return linear.weight.grad.item()

    @check("an overflow skips the step, halves the scale")
    def overflow():
        linear = layer(3)
        optimizer = torch.optim.SGD(linear.parameters(), lr=1.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        before = linear.weight.item(), scaler.scale(one).item()
        scaler.scale(linear(one * float("inf")).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        return [before[0], linear.weight.item(), before[1], scaler.get_scale()]


def jax(check):
    import jax
    import jax.numpy as jnp

    @check("products are of half precision")
    def products():
        check.fallback("by casting: JAX has no policy")
        return float(jnp.float16(2049) * jnp.float16(1))

    @check("weights stay float32")
    def weights():
        check.fallback("by casting: JAX has no policy")
        w = jnp.float32(2049)
        gradient = jax.grad(lambda w: w.astype(jnp.float16) * jnp.float16(0.5))(w)
        return float(w - gradient)

    @check("scaling keeps a gradient of 1e-8")
    def small():
        check.lacks(
            "jax.loss_scale", "JAX scales no loss; jmp or Flax's DynamicScale do"
        )

    @check("an overflow skips the step, halves the scale")
    def overflow():
        check.lacks(
            "jax.loss_scale", "JAX scales no loss; jmp or Flax's DynamicScale do"
        )


def flax(check):
    import jax.numpy as jnp
    from flax import nnx
    from flax.training.dynamic_scale import DynamicScale

    def layer(weight):
        """Computes in float16, keeps float32."""
        linear = nnx.Linear(1, 1, use_bias=False, dtype=jnp.float16, rngs=nnx.Rngs(0))
        linear.kernel[...] = jnp.full((1, 1), weight, jnp.float32)
        return linear

    one = jnp.ones((1, 1))

    def kernel(linear):
        return float(linear.kernel[0, 0])

    @check("products are of half precision")
    def products():
        return float(layer(2049)(one)[0, 0])

    @check("weights stay float32")
    def weights():
        import optax

        linear = layer(2049)
        optimizer = nnx.Optimizer(linear, optax.sgd(1.0), wrt=nnx.Param)
        gradients = nnx.grad(lambda linear: linear(0.5 * one).sum())(linear)
        optimizer.update(linear, gradients)
        return kernel(linear)

    @check("scaling keeps a gradient of 1e-8")
    def small():
        def loss(w):
            return (w.astype(jnp.float16) * 1).astype(jnp.float32) * 1e-8

        gradient = DynamicScale(scale=2.0**16).value_and_grad(loss)
        _, _, _, found = gradient(jnp.float32(1))
        return float(found)

    @check("an overflow skips the step, halves the scale")
    def overflow():
        w, scale = jnp.float32(3), DynamicScale(scale=1024.0)
        gradient = scale.value_and_grad(lambda w: w * jnp.inf)
        after, finite, _, found = gradient(w)
        stepped = jnp.where(finite, w - found, w)
        return [float(v) for v in (w, stepped, scale.scale, after.scale)]


def tensorflow(check):
    import tensorflow as tf

    # TensorFlow's own is that of its Keras.
    def layer(weight):
        linear = tf.keras.layers.Dense(1, use_bias=False, dtype="mixed_float16")
        linear.build((None, 1))
        linear.set_weights([tf.constant([[weight]])])
        return linear

    one = tf.ones((1, 1))

    @check("products are of half precision")
    def products():
        return float(layer(2049)(one)[0, 0])

    @check("weights stay float32")
    def weights():
        linear = layer(2049)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(linear(0.5 * one))
        gradient = tape.gradient(loss, linear.trainable_variables)
        tf.keras.optimizers.SGD(1.0).apply(gradient, linear.trainable_variables)
        return float(linear.kernel[0, 0])

    def scaled_step(weight, x, scale, factor=1.0):
        linear = layer(weight)
        inner = tf.keras.optimizers.SGD(1.0)
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(inner, scale)
        optimizer.build(linear.trainable_variables)
        with tf.GradientTape() as tape:
            scores = tf.cast(linear(x), tf.float32)
            loss = optimizer.scale_loss(tf.reduce_sum(scores) * factor)
        gradient = tape.gradient(loss, linear.trainable_variables)
        optimizer.apply(gradient, linear.trainable_variables)
        return linear, optimizer

    # What a step with a rate of 1 takes off a weight of 0 is the gradient.
    @check("scaling keeps a gradient of 1e-8")
    def small():
        linear, _ = scaled_step(0, one, 2.0**16, 1e-8)
        return -float(linear.kernel[0, 0])

    @check("an overflow skips the step, halves the scale")
    def overflow():
        linear, optimizer = scaled_step(3, one * float("inf"), 1024.0)
        return [3.0, float(linear.kernel[0, 0]), 1024.0, float(optimizer.dynamic_scale)]


def keras(check):
    import keras
    import numpy as np
    from keras import ops

    def trained(weight, x, scale, factor=1.0):
        """The weight and the scale after one step, and the scores before it."""
        optimizer = keras.optimizers.SGD(1.0)
        if scale:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, scale)
        layer = keras.layers.Dense(1, use_bias=False, dtype="mixed_float16")
        model = keras.Sequential([keras.Input((1,)), layer])

        def loss(y, scores):
            return ops.sum(ops.cast(scores, "float32")) * factor

        model.compile(optimizer, loss, auto_scale_loss=False)
        model.set_weights([np.full((1, 1), weight)])
        scores = model.predict_on_batch(x)[0, 0]
        model.train_on_batch(x, np.zeros((1, 1)))
        after = float(model.get_weights()[0][0, 0])
        return scores, after, float(optimizer.dynamic_scale) if scale else None

    one = np.ones((1, 1), "float32")

    @check("products are of half precision")
    def products():
        return trained(2049, one, None)[0]

    @check("weights stay float32")
    def weights():
        return trained(2049, 0.5 * one, None)[1]

    # What a step with a rate of 1 takes off a weight of 0 is the gradient.
    @check("scaling keeps a gradient of 1e-8")
    def small():
        return -trained(0, one, 2.0**16, 1e-8)[1]

    @check("an overflow skips the step, halves the scale")
    def overflow():
        _, weight, scale = trained(3, one * np.inf, 1024.0)
        return [3.0, weight, 1024.0, scale]


def paddle(check):
    import warnings

    import paddle

    def layer(weight):
        start = paddle.nn.initializer.Constant(weight)
        return paddle.nn.Linear(1, 1, weight_attr=start, bias_attr=False)

    def step(weight, x, scale=1.0, factor=1.0):
        """The scores, the weight and the scale after a step of descent."""
        linear = layer(weight)
        optimizer = paddle.optimizer.SGD(1.0, parameters=linear.parameters())
        scaler = paddle.amp.GradScaler(True, scale, decr_every_n_nan_or_inf=1)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with paddle.amp.auto_cast(dtype="float16"):
                scores = linear(x)
        if any("amp" in str(one.message).lower() for one in told):
            check.not_here("a GPU: " + str(told[0].message)[:120])
        scaler.scale(scores.astype("float32").sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        after = float(scaler.state_dict()["scale"][0])
        return scores.astype("float32").item(), linear.weight.item(), after

    one = paddle.ones((1, 1))

    @check("products are of half precision")
    def products():
        return step(2049.0, one)[0]

    @check("weights stay float32")
    def weights():
        return step(2049.0, 0.5 * one)[1]

    @check("scaling keeps a gradient of 1e-8")
    def small():
        return -step(0.0, one, 2.0**16, 1e-8)[1]

    @check("an overflow skips the step, halves the scale")
    def overflow():
        _, weight, scale = step(3.0, one * float("inf"), 1024.0)
        return [3.0, weight, 1024.0, scale]


def mlx(check):
    import mlx.core as mx

    @check("products are of half precision")
    def products():
        check.fallback("by casting: MLX has no policy")
        return (mx.array(2049.0).astype(mx.float16) * mx.array(1.0, mx.float16)).item()

    @check("weights stay float32")
    def weights():
        check.fallback("by casting: MLX has no policy")

        def loss(w):
            return w.astype(mx.float16) * mx.array(0.5, mx.float16)

        w = mx.array(2049.0)
        return (w - mx.grad(loss)(w)).item()

    @check("scaling keeps a gradient of 1e-8")
    def small():
        check.lacks("mlx.optimizers.LossScale", "MLX scales no loss")

    @check("an overflow skips the step, halves the scale")
    def overflow():
        check.lacks("mlx.optimizers.LossScale", "MLX scales no loss")


def theano(check):
    check.nothing("Theano computes in what its symbols say", "theano.mixed_precision")


def pytensor(check):
    check.nothing(
        "PyTensor computes in what its symbols say", "pytensor.mixed_precision"
    )


def tensorflow1(check):
    import tensorflow as tf

    mixed = tf.contrib.mixed_precision

    def step(weight, x, scale, factor=1.0):
        """The scores, the weight and the scale after a step of descent."""
        with tf.Graph().as_default(), tf.Session() as session:
            w = tf.Variable([[float(weight)]])
            product = tf.matmul(tf.cast([[x]], tf.float16), tf.cast(w, tf.float16))
            scores = tf.cast(product, tf.float32)
            manager = mixed.ExponentialUpdateLossScaleManager(
                scale,
                incr_every_n_steps=1000,
                decr_every_n_nan_or_inf=1,
                decr_ratio=0.5,
            )
            optimizer = mixed.LossScaleOptimizer(
                tf.train.GradientDescentOptimizer(1.0), manager
            )
            train = optimizer.minimize(tf.reduce_sum(scores) * factor)
            session.run(tf.global_variables_initializer())
            before = session.run(scores).item()
            session.run(train)
            after = session.run([w, manager.get_loss_scale()])
            return before, after[0].item(), float(after[1])

    @check("products are of half precision")
    def products():
        check.fallback("by casting; the automatic rewrite of the graph is for GPUs")
        return step(2049, 1.0, 1.0)[0]

    @check("weights stay float32")
    def weights():
        check.fallback("by casting")
        return step(2049, 0.5, 1.0)[1]

    @check("scaling keeps a gradient of 1e-8")
    def small():
        return -step(0, 1.0, 2.0**16, 1e-8)[1]

    @check("an overflow skips the step, halves the scale")
    def overflow():
        _, weight, scale = step(3, float("inf"), 1024.0)
        return [3.0, weight, 1024.0, scale]


def chainer(check):
    import chainer
    import chainer.functions as F
    import numpy as np

    def layer(weight):
        # mixed16: weights are float16, and the optimizer keeps a float32 copy of them.
        with chainer.using_config("dtype", chainer.mixed16):
            return chainer.links.Linear(1, 1, nobias=True, initialW=weight)

    def trained(weight, x, scale=None, factor=1.0):
        linear = layer(weight)
        optimizer = chainer.optimizers.SGD(1.0)
        optimizer.use_fp32_update()
        optimizer.setup(linear)
        if scale is not None:
            optimizer.loss_scaling(scale=scale)
        scores = linear(np.full((1, 1), x, "float16"))
        loss = F.sum(F.cast(scores, "float32")) * factor
        linear.cleargrads()
        loss.backward(loss_scale=scale)
        optimizer.update()
        rule = linear.W.update_rule
        return float(scores.array[0, 0]), float(rule._fp32_param.array[0, 0])

    @check("products are of half precision")
    def products():
        return trained(2049, 1.0)[0]

    @check("weights stay float32")
    def weights():
        check.note("a float32 copy in the optimizer: use_fp32_update()")
        return trained(2050, 1.5)[1]

    @check("scaling keeps a gradient of 1e-8")
    def small():
        return -trained(0, 1.0, 2.0**16, 1e-8)[1]

    @check("an overflow skips the step, halves the scale")
    def overflow():
        check.lacks("chainer.optimizers.LossScale", "its scale is halved on GPUs only")


def mxnet(check):
    import mxnet as mx
    from mxnet import nd
    from mxnet.contrib.amp.loss_scaler import LossScaler

    def trained(weight, x, scale=1.0, factor=1.0):
        """The scores and the weight after a step that keeps a float32 copy of it."""
        w = nd.array([[weight]], dtype="float16")
        w.attach_grad()
        optimizer = mx.optimizer.SGD(learning_rate=1.0, multi_precision=True)
        optimizer.rescale_grad = 1 / scale
        state = optimizer.create_state_multi_precision(0, w)
        with mx.autograd.record():
            scores = nd.full((1, 1), x, dtype="float16") * w
            loss = scores.astype("float32") * factor * scale
        loss.backward()
        optimizer.update_multi_precision(0, w, w.grad, state)
        copy = state[-1] if isinstance(state, (list, tuple)) else state
        return float(scores.asscalar()), float(copy.asscalar()), w

    @check("products are of half precision")
    def products():
        check.note("pointwise: dot in float16 is for GPUs")
        return trained(2049, 1.0)[0]

    @check("weights stay float32")
    def weights():
        check.note("a float32 copy in the optimizer: multi_precision=True")
        return trained(2050, 1.5)[1]

    @check("scaling keeps a gradient of 1e-8")
    def small():
        return -trained(0, 1.0, 2.0**16, 1e-8)[1]

    @check("an overflow skips the step, halves the scale")
    def overflow():
        check.fallback("amp's LossScaler; skipping the step is the Trainer's business")
        scaler = LossScaler()
        before = scaler.loss_scale
        w = mx.gluon.Parameter("w", shape=(1,))
        w.initialize(mx.init.Constant(3.0))
        with mx.autograd.record():
            loss = w.data() * float("inf")
        loss.backward()
        if not scaler.has_overflow([w]):
            w.set_data(w.data() - w.grad())
        # The halved scale counts from the next step on.
        scaler.has_overflow([w])
        check.note("its scale begins at %d: told as if at 1024" % before)
        scale = 1024 * scaler.loss_scale / before
        return [3.0, float(w.data().asscalar()), 1024.0, scale]


def dynet(check):
    check.nothing("DyNet computes in float32 alone", "dynet.float16")


def keras2(check):
    check.nothing("Keras 2 has one floatx for all", "keras.mixed_precision")


def cntk(check):
    import cntk as C
    import numpy as np

    # The guide of CNTK 2.7: half precision by cast, the weights' own copy in float32.
    def network(weight):
        w = C.parameter(init=np.full((1, 1), weight, "float32"))
        x = C.input_variable(1)
        half = C.times(C.cast(x, np.float16), C.cast(w, np.float16))
        return w, x, C.cast(half, np.float32)

    refused = (RuntimeError, ValueError)

    @check("products are of half precision", refused_by=refused)
    def products():
        _, x, y = network(2049)
        return float(y.eval({x: np.ones((1, 1), "float32")}))

    @check("weights stay float32", refused_by=refused)
    def weights():
        w, x, y = network(2049)
        learner = C.sgd([w], 1.0, minibatch_size=C.learners.IGNORE)
        trainer = C.Trainer(y, C.reduce_sum(y), [learner])
        trainer.train_minibatch({x: np.full((1, 1), 0.5, "float32")})
        return float(w.value)

    @check("scaling keeps a gradient of 1e-8", refused_by=refused)
    def small():
        check.fallback("the loss times 65536, and the gradient over it, by hand")
        w, x, y = network(1)
        loss = C.reduce_sum(y) * (1e-8 * 2.0**16)
        found = loss.grad({x: np.ones((1, 1), "float32")}, wrt=[w])
        return float(found) / 2.0**16

    @check("an overflow skips the step, halves the scale")
    def overflow():
        check.lacks("cntk.learners.loss_scale", "no learner knows a scale")


def caffe2(check):
    import numpy as np
    from caffe2.python import core, workspace

    # Its operators of half precision are those of GPUs: on a processor a product of
    # float16 is refused.
    def product():
        workspace.FeedBlob("x", np.ones((1, 1), "float32"))
        workspace.FeedBlob("w", np.full((1, 1), 2049, "float32"))
        net = core.Net("half")
        halves = [net.FloatToHalf(name, 1) for name in ("x", "w")]
        y = net.HalfToFloat(net.MatMul(halves, 1), 1)
        workspace.RunNetOnce(net)
        return float(workspace.FetchBlob(y)[0, 0])

    for name in list(CHECKS)[:3]:

        @check(name)
        def half():
            if workspace.NumCudaDevices():
                return product()
            try:
                product()
            except RuntimeError as error:
                told = str(error).split("(")[0]
                check.not_here("a GPU, whose operators know float16: %s" % told)

    @check("an overflow skips the step, halves the scale")
    def overflow():
        names = workspace.RegisteredOperators()
        assert not [n for n in names if "lossscale" in n.lower()], "out of date"
        check.no("none of its %d operators scales a loss" % len(names))
