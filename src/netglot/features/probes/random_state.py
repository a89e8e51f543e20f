"""Random state saved and resumed.

Numbers are drawn, the state is saved, more are drawn; when the state is put back, are
those drawn again, and not the first ones?
"""

CHECKS = {
    # whether they are the second numbers, and whether they are the first
    "put back in the same process": [True, False],
    "from a file": [True, False],
    "dropout goes on where it was": [True, False],
}


def _resumes(draw, save, restore):
    first = draw()
    state = save()
    second = draw()
    draw()
    restore(state)
    third = draw()
    return [bool((third == second).all()), bool((third == first).all())]


def numpy(check):
    import os
    import pickle

    import numpy as np

    random = np.random.default_rng(0)

    def draw():
        return random.random(20)

    def restore(state):
        random.bit_generator.state = state

    @check("put back in the same process")
    def same():
        return _resumes(draw, lambda: random.bit_generator.state, restore)

    @check("from a file")
    def file():
        with check.folder() as folder:
            path = os.path.join(folder, "state")

            def save():
                with open(path, "wb") as file:
                    pickle.dump(random.bit_generator.state, file)

            def load(_):
                with open(path, "rb") as file:
                    restore(pickle.load(file))

            return _resumes(draw, save, load)

    @check("dropout goes on where it was")
    def dropout():
        def dropped():
            return np.where(random.random(50) < 0.5, 0, 2.0)

        return _resumes(dropped, lambda: random.bit_generator.state, restore)


def pytorch(check):
    import os

    import torch

    before = torch.get_rng_state()
    torch.manual_seed(0)

    @check("put back in the same process")
    def same():
        return _resumes(
            lambda: torch.rand(20), torch.get_rng_state, torch.set_rng_state
        )

    @check("from a file")
    def file():
        with check.folder() as folder:
            path = os.path.join(folder, "state.pt")
            return _resumes(
                lambda: torch.rand(20),
                lambda: torch.save(torch.get_rng_state(), path),
                lambda _: torch.set_rng_state(torch.load(path)),
            )

    @check("dropout goes on where it was")
    def dropout():
        layer = torch.nn.Dropout(0.5)
        return _resumes(
            lambda: layer(torch.ones(50)), torch.get_rng_state, torch.set_rng_state
        )

    torch.set_rng_state(before)


def jax(check):
    import os

    import jax
    import numpy as np

    # The state is the key: an array that the program hands on.
    class Drawn:
        key = jax.random.key(0)

        def draw(self, sample=jax.random.uniform, shape=(20,)):
            self.key, key = jax.random.split(self.key)
            return sample(key, shape=shape)

        def restore(self, key):
            self.key = key

    @check("put back in the same process")
    def same():
        drawn = Drawn()
        return _resumes(drawn.draw, lambda: drawn.key, drawn.restore)

    @check("from a file")
    def file():
        drawn = Drawn()
        with check.folder() as folder:
            path = os.path.join(folder, "key.npy")
            return _resumes(
                drawn.draw,
                lambda: np.save(path, jax.random.key_data(drawn.key)),
                lambda _: drawn.restore(jax.random.wrap_key_data(np.load(path))),
            )

    @check("dropout goes on where it was")
    def dropout():
        drawn = Drawn()

        def dropped():
            kept = drawn.draw(
                lambda k, shape: jax.random.bernoulli(k, 0.5, shape), (50,)
            )
            return jax.numpy.where(kept, 2.0, 0)

        return _resumes(dropped, lambda: drawn.key, drawn.restore)


def flax(check):
    import os

    import jax
    import numpy as np
    from flax import nnx

    rngs = nnx.Rngs(0)

    def save():
        return jax.tree.map(lambda leaf: leaf.copy(), nnx.state(rngs))

    def restore(state):
        nnx.update(rngs, jax.tree.map(lambda leaf: leaf.copy(), state))

    def draw():
        return jax.random.uniform(rngs(), (20,))

    @check("put back in the same process")
    def same():
        return _resumes(draw, save, restore)

    @check("from a file")
    def file():
        with check.folder() as folder:
            path = os.path.join(folder, "state.npz")

            def write():
                stream = rngs.default
                key = jax.random.key_data(stream.key[...])
                np.savez(path, key=key, count=stream.count[...])

            def load(_):
                with np.load(path) as file:
                    rngs.default.key[...] = jax.random.wrap_key_data(file["key"])
                    rngs.default.count[...] = jax.numpy.array(file["count"])

            return _resumes(draw, write, load)

    @check("dropout goes on where it was")
    def dropout():
        layer = nnx.Dropout(0.5, rngs=rngs)

        def state():
            return jax.tree.map(lambda leaf: leaf.copy(), nnx.state(layer))

        return _resumes(
            lambda: layer(jax.numpy.ones(50)),
            state,
            lambda kept: nnx.update(layer, kept),
        )


def tensorflow(check):
    import os

    import tensorflow as tf

    def put(generator):
        return lambda state: generator.reset(state)

    @check("put back in the same process")
    def same():
        random = tf.random.Generator.from_seed(0)
        return _resumes(
            lambda: random.uniform([20]).numpy(),
            lambda: tf.identity(random.state),
            put(random),
        )

    @check("from a file")
    def file():
        random = tf.random.Generator.from_seed(0)
        kept = tf.train.Checkpoint(random=random)
        with check.folder() as folder:
            path = os.path.join(folder, "state")
            return _resumes(
                lambda: random.uniform([20]).numpy(),
                lambda: kept.write(path),
                lambda _: kept.read(path).assert_consumed(),
            )

    @check("dropout goes on where it was")
    def dropout():
        random = tf.random.Generator.from_seed(0)
        layer = tf.nn.experimental.stateless_dropout

        def dropped():
            seed = random.make_seeds(1)[:, 0]
            return layer(tf.ones(50), 0.5, seed=seed).numpy()

        check.note(
            "stateless_dropout with a Generator; tf.nn.dropout's own state is hidden"
        )
        return _resumes(dropped, lambda: tf.identity(random.state), put(random))


def keras(check):
    import os

    import keras
    import numpy as np

    def seeds():
        return keras.random.SeedGenerator(0)

    def state_of(generator):
        return np.array(keras.ops.convert_to_numpy(generator.state.value))

    @check("put back in the same process")
    def same():
        generator = seeds()
        return _resumes(
            lambda: keras.ops.convert_to_numpy(
                keras.random.uniform((20,), seed=generator)
            ),
            lambda: state_of(generator),
            generator.state.assign,
        )

    # The file of a model has weights, and not the random states of its layers.
    @check("from a file")
    def file():
        model = keras.Sequential(
            [keras.Input((50,)), keras.layers.Dropout(0.5, seed=0)]
        )
        with check.folder() as folder:
            path = os.path.join(folder, "model.weights.h5")
            return _resumes(
                lambda: keras.ops.convert_to_numpy(
                    model(np.ones((1, 50)), training=True)
                ),
                lambda: model.save_weights(path),
                lambda _: model.load_weights(path),
            )

    @check("dropout goes on where it was")
    def dropout():
        layer = keras.layers.Dropout(0.5, seed=0)
        return _resumes(
            lambda: keras.ops.convert_to_numpy(layer(np.ones((1, 50)), training=True)),
            lambda: state_of(layer.seed_generator),
            layer.seed_generator.state.assign,
        )


def paddle(check):
    import os

    import paddle

    def draw():
        return paddle.rand((20,)).numpy()

    @check("put back in the same process")
    def same():
        return _resumes(draw, paddle.get_rng_state, paddle.set_rng_state)

    @check("from a file", refused_by=(TypeError,))
    def file():
        import pickle

        with check.folder() as folder:
            path = os.path.join(folder, "state")

            def save():
                with open(path, "wb") as file:
                    pickle.dump(paddle.get_rng_state(), file)

            def load(_):
                with open(path, "rb") as file:
                    paddle.set_rng_state(pickle.load(file))

            return _resumes(draw, save, load)

    @check("dropout goes on where it was")
    def dropout():
        layer = paddle.nn.Dropout(0.5)
        return _resumes(
            lambda: layer(paddle.ones((50,))).numpy(),
            paddle.get_rng_state,
            paddle.set_rng_state,
        )


def mlx(check):
    import os

    import mlx.core as mx
    import numpy as np

    mx.random.seed(0)

    def save():
        return [mx.array(np.array(part)) for part in mx.random.state]

    def restore(state):
        mx.random.state[:] = state

    def draw():
        return np.array(mx.random.uniform(shape=(20,)))

    @check("put back in the same process")
    def same():
        return _resumes(draw, save, restore)

    @check("from a file")
    def file():
        with check.folder() as folder:
            path = os.path.join(folder, "state.npy")
            return _resumes(
                draw,
                lambda: mx.save(path, mx.random.state[0]),
                lambda _: restore([mx.load(path)]),
            )

    @check("dropout goes on where it was")
    def dropout():
        import mlx.nn as nn

        layer = nn.Dropout(0.5)
        return _resumes(lambda: np.array(layer(mx.ones(50))), save, restore)


def _symbolic(check, library, draw, dropped, generators):
    import os
    import pickle

    def save():
        return [g.get_value(borrow=False) for g in generators]

    def restore(states):
        for generator, state in zip(generators, states):
            generator.set_value(state, borrow=False)

    @check("put back in the same process")
    def same():
        return _resumes(draw, save, restore)

    @check("from a file")
    def file():
        with check.folder() as folder:
            path = os.path.join(folder, "state")

            def write():
                with open(path, "wb") as file:
                    pickle.dump(save(), file)

            def load(_):
                with open(path, "rb") as file:
                    restore(pickle.load(file))

            return _resumes(draw, write, load)

    @check("dropout goes on where it was")
    def dropout():
        return _resumes(dropped, save, restore)


def theano(check):
    import theano
    import theano.tensor as T
    from theano.tensor.shared_randomstreams import RandomStreams

    streams = RandomStreams(0)
    draw = theano.function([], streams.uniform((20,)), mode="FAST_COMPILE")
    kept = streams.binomial((50,), p=0.5)
    dropped = theano.function([], T.ones(50) * kept / 0.5, mode="FAST_COMPILE")
    generators = [generator for generator, _ in streams.updates()]
    _symbolic(check, theano, draw, dropped, generators)


def pytensor(check):
    import pytensor
    import pytensor.tensor as pt
    from pytensor.tensor.random.utils import RandomStream

    streams = RandomStream(0)
    uniform, kept = streams.uniform(size=(20,)), streams.bernoulli(0.5, size=(50,))
    updates = list(streams.updates())
    draw = pytensor.function([], uniform, updates=updates[:1], mode="FAST_COMPILE")
    dropped = pytensor.function(
        [], pt.ones(50) * kept / 0.5, updates=updates[1:], mode="FAST_COMPILE"
    )
    generators = [generator for generator, _ in updates]
    _symbolic(check, pytensor, draw, dropped, generators)


def tensorflow1(check):
    import os

    import tensorflow as tf

    with tf.Graph().as_default(), tf.Session() as session:
        generator = tf.random.experimental.Generator.from_seed(0)
        uniform = generator.uniform([20])
        dropped = tf.where(generator.uniform([50]) < 0.5, tf.zeros(50), 2 * tf.ones(50))
        value = tf.placeholder(generator.state.dtype, generator.state.shape)
        put_back = generator.state.assign(value)
        session.run(tf.global_variables_initializer())

        def save():
            return session.run(generator.state)

        def restore(state):
            session.run(put_back, {value: state})

        @check("put back in the same process")
        def same():
            check.note("tf.random.uniform's own state is in the session and hidden")
            return _resumes(lambda: session.run(uniform), save, restore)

        @check("from a file")
        def file():
            saver = tf.train.Saver([generator.state])
            with check.folder() as folder:
                path = os.path.join(folder, "state")
                return _resumes(
                    lambda: session.run(uniform),
                    lambda: saver.save(session, path),
                    lambda _: saver.restore(session, path),
                )

        @check("dropout goes on where it was")
        def dropout():
            check.fallback(
                "a dropout made of the generator's numbers: tf.nn.dropout has its own"
            )
            return _resumes(lambda: session.run(dropped), save, restore)


def chainer(check):
    import os
    import pickle

    import chainer.functions as F
    import numpy as np

    # On a processor Chainer's random numbers are NumPy's.
    def draw():
        return np.random.uniform(size=20)

    before = np.random.get_state()

    @check("put back in the same process")
    def same():
        return _resumes(draw, np.random.get_state, np.random.set_state)

    @check("from a file")
    def file():
        with check.folder() as folder:
            path = os.path.join(folder, "state")

            def save():
                with open(path, "wb") as file:
                    pickle.dump(np.random.get_state(), file)

            def load(_):
                with open(path, "rb") as file:
                    np.random.set_state(pickle.load(file))

            return _resumes(draw, save, load)

    @check("dropout goes on where it was")
    def dropout():
        return _resumes(
            lambda: F.dropout(np.ones(50, "float32"), 0.5).array,
            np.random.get_state,
            np.random.set_state,
        )

    np.random.set_state(before)


def mxnet(check):
    check.nothing(
        "MXNet's random state is set by a seed and cannot be read",
        "mxnet.random.get_state",
    )


def dynet(check):
    check.nothing(
        "DyNet's random state is set by a seed and cannot be read",
        "dynet.get_random_state",
    )


def keras2(check):
    check.nothing(
        "the state is in the engine's graph and is not among the weights",
        "keras.backend.get_random_state",
    )


def cntk(check):
    import cntk as C
    import numpy as np

    # A seed can be fixed; what was drawn since cannot be asked for or put back.
    noise = C.random.uniform(20, seed=7)

    def draw():
        return noise.eval()

    @check("put back in the same process")
    def same():
        return _resumes(
            draw, C.cntk_py.get_random_seed, C.cntk_py.set_fixed_random_seed
        )

    # A function is saved with the state of its random numbers.
    @check("from a file")
    def file():
        with check.folder() as folder:
            path = folder + "/noise.model"
            state = []
            first = noise.eval()
            noise.save(path)
            second, _ = noise.eval(), noise.eval()
            state.append(C.load_model(path))
            third = state[0].eval()
            return [bool((third == second).all()), bool((third == first).all())]

    @check("dropout goes on where it was")
    def dropout():
        x = C.input_variable(50)
        w = C.parameter(init=np.ones(50, "float32"))
        model = C.dropout(x, 0.5, seed=3) * w
        learner = C.sgd([w], 1.0, minibatch_size=C.learners.IGNORE)
        trainer = C.Trainer(model, C.reduce_sum(model), [learner])
        ones = np.ones((1, 50), "float32")

        def kept():
            w.value = np.ones(50, "float32")
            trainer.train_minibatch({x: ones})
            return w.value

        with check.folder() as folder:
            path = folder + "/trainer"
            first = kept()
            trainer.save_checkpoint(path)
            second, _ = kept(), kept()
            trainer.restore_from_checkpoint(path)
            third = kept()
        return [bool((third == second).all()), bool((third == first).all())]


def caffe2(check):
    import numpy as np
    from caffe2.python import core, workspace

    # Each operator has a generator of its own, of which only the seed is known.
    workspace.ResetWorkspace()
    net = core.Net("noise")
    noise = net.UniformFill([], "noise", shape=[20])
    net.Proto().op[0].device_option.random_seed = 7
    workspace.CreateNet(net)

    def draw():
        workspace.RunNet(net)
        return workspace.FetchBlob(noise)

    # What can be put back is the net, which is made anew with its seed.
    def save():
        return net.Proto().SerializeToString()

    def restore(state):
        from caffe2.proto import caffe2_pb2

        workspace.CreateNet(caffe2_pb2.NetDef.FromString(state), overwrite=True)

    check("put back in the same process")(lambda: _resumes(draw, save, restore))

    @check("from a file")
    def file():
        with check.folder() as folder:

            def keep():
                with open(folder + "/state", "wb") as file:
                    file.write(save())

            def load(_):
                with open(folder + "/state", "rb") as file:
                    restore(file.read())

            return _resumes(draw, keep, load)

    @check("dropout goes on where it was")
    def dropout():
        workspace.FeedBlob("ones", np.ones(50, "float32"))
        drop = core.Net("drop")
        kept, _ = drop.Dropout("ones", ["kept", "mask"], ratio=0.5, is_test=0)
        drop.Proto().op[0].device_option.random_seed = 3
        workspace.CreateNet(drop)

        def dropped():
            workspace.RunNet(drop)
            return workspace.FetchBlob(kept)

        return _resumes(
            dropped, lambda: None, lambda _: workspace.CreateNet(drop, overwrite=True)
        )
