"""High-level support.

One call that trains, with something called at the end of each epoch; a loader that
hands out shuffled batches; augmentation of images; a model kept in a file.
"""

import random

import numpy as np

#: Observations of y = 2 a - b: 32 of them, four batches.
X = np.random.RandomState(2).randn(32, 2).astype("float32")
Y = X @ np.array([[2.0], [-1.0]], "float32")
#: An image that is not its own mirror.
IMAGE = np.arange(12, dtype="float32").reshape(2, 2, 3)


def falls(losses):
    """a loss for each of ten epochs, the last under a tenth of the first"""
    return len(losses) == 10 and 0 <= losses[-1] < losses[0] / 10


def shuffled_batches(batches):
    """four batches of eight with every observation once, not in their order"""
    batches = [np.asarray(batch).reshape(-1) for batch in batches]
    if [len(batch) for batch in batches] != [8] * 4:
        return False
    found = np.concatenate(batches)
    return bool((np.sort(found) == np.sort(X[:, 0])).all() and (found != X[:, 0]).any())


def mirrored_at_random(images):
    """of 32 equal images some are mirrored and some are not, and nothing else"""
    kinds = [
        1 if np.allclose(i, IMAGE) else 2 if np.allclose(i, IMAGE[:, ::-1]) else 0
        for i in np.asarray(images).reshape((-1,) + IMAGE.shape)
    ]
    return len(kinds) == 32 and set(kinds) == {1, 2}


CHECKS = {
    "one call that trains": falls,
    "a callback in each epoch": list(range(10)),
    "data loading": shuffled_batches,
    "augmentation": mirrored_at_random,
    # The network in the file is read without the code that built it: 2 * 3 - 4.
    "model saving": [[2.0]],
}


def numpy(check):
    for name in ("one call that trains", "a callback in each epoch"):

        @check(name)
        def fit():
            check.lacks("autograd.fit", "autograd differentiates; loops are one's own")

    @check("data loading")
    def loading():
        check.fallback("by a permutation")
        order = np.random.RandomState(0).permutation(len(X))
        return [X[order[i : i + 8], 0] for i in range(0, len(X), 8)]

    @check("augmentation")
    def augmentation():
        check.fallback("by slices")
        coins = np.random.RandomState(0).rand(32) < 0.5
        return [IMAGE[:, ::-1] if coin else IMAGE for coin in coins]

    @check("model saving")
    def saving():
        check.lacks("autograd.save", "a model is a function of Python")


def pytorch(check):
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    for name in ("one call that trains", "a callback in each epoch"):

        @check(name)
        def fit():
            check.lacks(
                "torch.nn.Module.fit", "the loop is one's own, or another package's"
            )

    @check("data loading")
    def loading():
        torch.manual_seed(0)
        data = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
        return [x[:, 0].numpy() for x, _ in DataLoader(data, 8, shuffle=True)]

    @check("augmentation")
    def augmentation():
        try:
            from torchvision.transforms import v2
        except ImportError:
            check.not_here("the package torchvision")
        torch.manual_seed(0)
        flip = v2.RandomHorizontalFlip()
        image = torch.from_numpy(IMAGE).permute(2, 0, 1)
        return np.stack([flip(image).permute(1, 2, 0).numpy() for _ in range(32)])

    @check("model saving")
    def saving():
        model = torch.nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[2.0, -1.0]]))
        x = torch.tensor([[3.0, 4.0]])
        with check.folder() as folder:
            torch.export.save(torch.export.export(model, (x,)), folder + "/model.pt2")
            return torch.export.load(folder + "/model.pt2").module()(x).tolist()


def jax(check):
    import jax
    from jax import export

    for name in ("one call that trains", "a callback in each epoch"):

        @check(name)
        def fit():
            check.lacks("jax.fit", "the loop is one's own")

    @check("data loading")
    def loading():
        check.fallback("by a permutation of jax.random; there is no loader")
        order = jax.random.permutation(jax.random.key(0), len(X))
        return [X[order[i : i + 8], 0] for i in range(0, len(X), 8)]

    @check("augmentation")
    def augmentation():
        check.fallback(
            "by jnp.where; there are no transformations of images but resizing"
        )
        coins = jax.random.bernoulli(jax.random.key(0), shape=(32, 1, 1, 1))
        return jax.numpy.where(coins, IMAGE[:, ::-1], IMAGE)

    @check("model saving")
    def saving():
        weights = np.array([[2.0], [-1.0]], "float32")
        x = np.array([[3.0, 4.0]], "float32")
        exported = export.export(jax.jit(lambda x: x @ weights))(x)
        with check.folder() as folder:
            with open(folder + "/model", "wb") as file:
                try:
                    file.write(exported.serialize())
                except ImportError as error:
                    check.not_here("the package flatbuffers: %s" % error)
            with open(folder + "/model", "rb") as file:
                return export.deserialize(bytearray(file.read())).call(x)


def tensorflow(check):
    import tensorflow as tf

    _with_keras(check, tf.keras)

    @check("data loading")
    def loading():
        data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(32, seed=0).batch(8)
        return [x[:, 0].numpy() for x, _ in data]


def keras(check):
    import keras

    _with_keras(check, keras)

    @check("data loading")
    def loading():
        # An index file and one image per observation is what the loaders are for:
        # image_dataset_from_directory. This one is for arrays.
        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 4

            def __getitem__(self, index):
                rows = order[8 * index : 8 * index + 8]
                return X[rows], Y[rows]

        check.fallback("PyDataset hands out batches, the shuffling is one's own")
        order = np.random.RandomState(0).permutation(len(X))
        data = Batches()
        return [data[i][0][:, 0] for i in range(len(data))]


def _with_keras(check, keras):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    epochs, losses = [], []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            epochs.append(epoch)

    @check("one call that trains")
    def fit():
        model.compile(keras.optimizers.SGD(0.1), "mse")
        history = model.fit(
            X, Y, batch_size=8, epochs=10, verbose=0, callbacks=[Watch()]
        )
        losses.extend(history.history["loss"])
        return losses

    @check("a callback in each epoch")
    def callback():
        return epochs

    @check("augmentation")
    def augmentation():
        flip = keras.layers.RandomFlip("horizontal", seed=0)
        return np.stack([flip(IMAGE[None], training=True) for _ in range(32)])

    @check("model saving")
    def saving():
        model.set_weights([np.array([[2.0], [-1.0]])])
        with check.folder() as folder:
            model.save(folder + "/model.keras")
            loaded = keras.models.load_model(folder + "/model.keras")
        return loaded.predict(np.array([[3.0, 4.0]]), verbose=0)


def paddle(check):
    import paddle
    from paddle.vision.transforms import RandomHorizontalFlip

    paddle.seed(0)
    np.random.seed(0)
    random.seed(0)
    network = paddle.nn.Linear(2, 1, bias_attr=False)
    data = paddle.io.TensorDataset([paddle.to_tensor(X), paddle.to_tensor(Y)])
    epochs, losses = [], []

    class Watch(paddle.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            epochs.append(epoch)
            losses.append(logs["loss"][0])

    @check("one call that trains")
    def fit():
        model = paddle.Model(network)
        model.prepare(
            paddle.optimizer.SGD(0.1, parameters=network.parameters()),
            paddle.nn.MSELoss(),
        )
        model.fit(data, batch_size=8, epochs=10, verbose=0, callbacks=[Watch()])
        return losses

    @check("a callback in each epoch")
    def callback():
        return epochs

    @check("data loading")
    def loading():
        loader = paddle.io.DataLoader(data, batch_size=8, shuffle=True)
        return [x[:, 0].numpy() for x, _ in loader]

    @check("augmentation")
    def augmentation():
        try:
            flip = RandomHorizontalFlip()
            return np.stack([flip(IMAGE) for _ in range(32)])
        except ImportError as error:
            check.not_here("the package opencv-python: %s" % error)

    @check("model saving")
    def saving():
        network.weight.set_value(np.array([[2.0], [-1.0]], "float32"))
        spec = paddle.static.InputSpec([None, 2])
        with check.folder() as folder:
            paddle.jit.save(network, folder + "/model", input_spec=[spec])
            loaded = paddle.jit.load(folder + "/model")
            return loaded(paddle.to_tensor([[3.0, 4.0]])).numpy()


def mxnet(check):
    import mxnet as mx
    from mxnet import gluon, nd
    from mxnet.gluon.data.vision import transforms

    epochs, losses = [], []

    # The Module API has a fit.
    @check("one call that trains")
    def fit():
        mx.random.seed(0)
        output = mx.sym.FullyConnected(
            mx.sym.Variable("data"), num_hidden=1, no_bias=True, name="output"
        )
        network = mx.sym.LinearRegressionOutput(output, mx.sym.Variable("label"))
        module = mx.mod.Module(network, ["data"], ["label"])

        def ended(epoch, *rest):
            epochs.append(epoch)

        def watch(now):
            if now.nbatch == 3:
                losses.append(dict(now.eval_metric.get_name_value())["mse"])

        module.fit(
            mx.io.NDArrayIter(X, Y, 8, shuffle=True, label_name="label"),
            eval_metric="mse",
            num_epoch=10,
            optimizer_params={"learning_rate": 0.2},
            batch_end_callback=watch,
            epoch_end_callback=ended,
        )
        return losses

    @check("a callback in each epoch")
    def callback():
        return epochs

    @check("data loading")
    def loading():
        np.random.seed(0)
        data = gluon.data.ArrayDataset(X, Y)
        loader = gluon.data.DataLoader(data, 8, shuffle=True)
        return [x[:, 0].asnumpy() for x, _ in loader]

    @check("augmentation")
    def augmentation():
        flip = transforms.RandomFlipLeftRight()
        return np.stack([flip(nd.array(IMAGE)).asnumpy() for _ in range(32)])

    @check("model saving")
    def saving():
        network = gluon.nn.HybridSequential()
        network.add(gluon.nn.Dense(1, use_bias=False, in_units=2))
        network.initialize()
        network[0].weight.set_data(nd.array([[2, -1]]))
        network.hybridize()
        network(nd.zeros((1, 2)))
        with check.folder() as folder:
            network.export(folder + "/model")
            loaded = gluon.SymbolBlock.imports(
                folder + "/model-symbol.json", ["data"], folder + "/model-0000.params"
            )
            return loaded(nd.array([[3, 4]])).asnumpy()


def mlx(check):
    import mlx.core as mx

    for name in ("one call that trains", "a callback in each epoch"):

        @check(name)
        def fit():
            check.lacks("mlx.nn.Module.fit", "the loop is one's own")

    for name in ("data loading", "augmentation"):

        @check(name)
        def data():
            try:
                import mlx.data  # noqa: F401
            except ImportError:
                check.not_here("the package mlx-data")
            check.no("mlx.data is there: the probe is out of date")

    @check("model saving")
    def saving():
        weights = mx.array([[2.0], [-1.0]])
        x = mx.array([[3.0, 4.0]])
        with check.folder() as folder:
            mx.export_function(folder + "/model.mlxfn", lambda x: x @ weights, x)
            return np.array(mx.import_function(folder + "/model.mlxfn")(x)[0])


def chainer(check):
    import chainer
    from chainer import functions, iterators, links, optimizers, training
    from chainer.training import extensions

    epochs, losses = [], []

    class Watch(training.Extension):
        trigger = (1, "epoch")

        def __call__(self, trainer):
            epochs.append(trainer.updater.epoch - 1)

    @check("one call that trains")
    def fit():
        np.random.seed(0)
        network = links.Linear(2, 1, nobias=True)
        model = links.Classifier(network, functions.mean_squared_error)
        model.compute_accuracy = False
        optimizer = optimizers.SGD(0.1).setup(model)
        data = iterators.SerialIterator(chainer.datasets.TupleDataset(X, Y), 8)
        updater = training.StandardUpdater(data, optimizer)
        with check.folder() as folder:
            trainer = training.Trainer(updater, (10, "epoch"), out=folder)
            log = extensions.LogReport()
            trainer.extend(log)
            trainer.extend(Watch())
            trainer.run()
        losses.extend(row["main/loss"] for row in log.log)
        return losses

    @check("a callback in each epoch")
    def callback():
        return epochs

    @check("data loading")
    def loading():
        np.random.seed(0)
        data = iterators.SerialIterator(X[:, 0].copy(), 8, repeat=False, shuffle=True)
        return [np.array(batch) for batch in data]

    @check("augmentation")
    def augmentation():
        try:
            from chainercv import transforms
        except ImportError:
            check.not_here("the package chainercv")
        image = IMAGE.transpose(2, 0, 1)
        flipped = [transforms.random_flip(image, x_random=True) for _ in range(32)]
        return np.stack([image.transpose(1, 2, 0) for image in flipped])

    @check("model saving")
    def saving():
        check.lacks(
            "chainer.serializers.load_model", "the weights are saved, the code is not"
        )


def keras2(check):
    import keras
    from keras.preprocessing.image import ImageDataGenerator

    np.random.seed(0)
    model = keras.Sequential([keras.layers.Dense(1, use_bias=False, input_shape=(2,))])
    epochs, losses = [], []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            epochs.append(epoch)

    @check("one call that trains")
    def fit():
        model.compile(keras.optimizers.SGD(0.1), "mse")
        history = model.fit(
            X, Y, batch_size=8, epochs=10, verbose=0, callbacks=[Watch()]
        )
        losses.extend(history.history["loss"])
        return losses

    @check("a callback in each epoch")
    def callback():
        return epochs

    # The generator of images is the loader that shuffles.
    @check("data loading")
    def loading():
        images = X[:, :1, None, None]
        data = ImageDataGenerator().flow(images, batch_size=8, shuffle=True, seed=0)
        return [data[i].reshape(-1) for i in range(len(data))]

    @check("augmentation")
    def augmentation():
        data = ImageDataGenerator(horizontal_flip=True, data_format="channels_last")
        return np.stack([data.random_transform(IMAGE, seed=i) for i in range(32)])

    @check("model saving")
    def saving():
        model.set_weights([np.array([[2.0], [-1.0]])])
        with check.folder() as folder:
            model.save(folder + "/model.h5")
            loaded = keras.models.load_model(folder + "/model.h5")
        return loaded.predict(np.array([[3.0, 4.0]]))


def cntk(check):
    import cntk as C
    from cntk.io import (
        CTFDeserializer,
        MinibatchSource,
        StreamDef,
        StreamDefs,
        transforms,
    )
    from cntk.logging import ProgressPrinter, TrainingSummaryProgressCallback

    epochs, losses = [], []

    @check("one call that trains")
    def fit():
        x, y = C.input_variable(2), C.input_variable(1)
        model = C.layers.Dense(1, bias=False, init=0)(x)
        learner = C.sgd(model.parameters, 0.1, minibatch_size=C.learners.IGNORE)

        def ended(epoch, loss, metric, samples):
            epochs.append(epoch)

        summary = C.squared_error(model, y).train(
            (X, Y),
            minibatch_size=8,
            epoch_size=len(X),
            max_epochs=10,
            parameter_learners=[learner],
            callbacks=[
                ProgressPrinter(),
                TrainingSummaryProgressCallback(len(X), ended),
            ],
        )
        losses.extend(epoch.loss for epoch in summary.epoch_summaries)
        return losses

    @check("a callback in each epoch")
    def callback():
        return epochs

    def source_of(kind, path, streams):
        return MinibatchSource(kind(path, StreamDefs(**streams)), max_sweeps=1)

    # From a file of text, a line for each observation.
    @check("data loading")
    def loading():
        with check.folder() as folder:
            with open(folder + "/data.txt", "w") as file:
                file.writelines(
                    "|x %r %r |y %r\n" % tuple(map(float, row))
                    for row in np.hstack([X, Y])
                )
            streams = {"x": StreamDef("x", shape=2), "y": StreamDef("y", shape=1)}
            source = source_of(CTFDeserializer, folder + "/data.txt", streams)
            batches = (source.next_minibatch(8) for _ in range(4))
            found = [batch[source.streams.x].asarray() for batch in batches]
        check.note("the last digits are lost in its reading of text")
        read = [batch.reshape(8, 2)[:, 0] for batch in found]
        return [[min(X[:, 0], key=lambda x: abs(x - v)) for v in row] for row in read]

    @check("augmentation")
    def augmentation():
        with check.folder() as folder:
            with open(folder + "/image.ppm", "wb") as file:
                pixels = IMAGE[:, :, ::-1].astype("uint8")
                file.write(b"P6 2 2 255\n" + pixels.tobytes())
            with open(folder + "/map.txt", "w") as file:
                file.write((folder + "/image.ppm\t0\n") * 32)
            flip = transforms.crop("randomside", side_ratio=1.0)
            streams = {
                "image": StreamDef(
                    "image", transforms=[flip, transforms.scale(2, 2, 3)]
                ),
                "label": StreamDef("label", shape=1),
            }
            try:
                source = source_of(C.io.ImageDeserializer, folder + "/map.txt", streams)
            except RuntimeError as error:
                if "libjpeg.so.8" not in str(error):
                    raise
                check.not_here("libjpeg.so.8, which its reader of images is linked to")
            found = source.next_minibatch(32)[source.streams.image].asarray()
        return found.reshape(32, 3, 2, 2).transpose(0, 2, 3, 1)

    @check("model saving")
    def saving():
        x = C.input_variable(2)
        network = C.times(x, C.parameter(init=np.float32([[2], [-1]])))
        with check.folder() as folder:
            network.save(folder + "/network.model")
            return C.load_model(folder + "/network.model").eval(np.float32([[3, 4]]))


def caffe2(check):
    from caffe2.python import workspace

    for name in ("one call that trains", "a callback in each epoch"):

        @check(name)
        def fit():
            check.lacks(
                "caffe2.python.model_helper.ModelHelper.fit",
                "a loop of one's own runs the nets",
            )

    @check("data loading")
    def loading():
        check.fallback("rows are shuffled by NumPy before they are fed")
        rows = np.random.RandomState(1).permutation(len(X)).reshape(4, 8)
        found = []
        for batch in rows:
            workspace.FeedBlob("x", X[batch])
            found.append(workspace.FetchBlob("x")[:, 0])
        return found

    @check("augmentation")
    def augmentation():
        names = workspace.RegisteredOperators()
        if "ImageInput" not in names:
            check.not_here("ImageInput, which this build, without OpenCV, lacks")
        check.no("ImageInput is there: the probe is out of date")

    @check("model saving")
    def saving():
        from caffe2.python import model_helper
        from caffe2.python.predictor import predictor_exporter as exporter

        workspace.ResetWorkspace()
        workspace.FeedBlob("w", np.float32([[2], [-1]]))
        # The export looks at the shapes of what goes in and comes out.
        workspace.FeedBlob("x", np.zeros((1, 2), "float32"))
        workspace.FeedBlob("y", np.zeros((1, 1), "float32"))
        model = model_helper.ModelHelper("network", init_params=False)
        y = model.net.MatMul(["x", "w"], "y")
        meta = exporter.PredictorExportMeta(
            predict_net=model.net.Proto(),
            parameters=["w"],
            inputs=["x"],
            outputs=[str(y)],
        )
        with check.folder() as folder:
            exporter.save_to_db("minidb", folder + "/network.minidb", meta)
            workspace.ResetWorkspace()
            net = exporter.prepare_prediction_net(folder + "/network.minidb", "minidb")
        workspace.FeedBlob("x", np.float32([[3, 4]]))
        workspace.RunNet(net)
        return workspace.FetchBlob("y")
