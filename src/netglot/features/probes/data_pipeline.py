"""Native data pipeline.

The framework's own: every observation once, in another order in each epoch, and worked
upon by several workers at the same time, which keep the order.
"""

import time

import numpy as np

COUNT, WORKERS, WAIT = 24, 4, 0.1


def shuffled_anew(epochs):
    """two epochs with every observation once, in two orders, neither as they came"""
    rows = [np.asarray(epoch).reshape(-1).tolist() for epoch in epochs]
    whole = list(range(COUNT))
    return (
        len(rows) == 2
        and all(sorted(row) == whole and row != whole for row in rows)
        and rows[0] != rows[1]
    )


CHECKS = {
    "shuffled anew in each epoch": shuffled_anew,
    # Three batches of eight and the numbers doubled.
    "batches, in order": (2 * np.arange(COUNT)).reshape(3, 8),
    "several workers at a time": True,
}


def _slowly(number):
    time.sleep(WAIT)
    return 2 * number


def _by_several(check, seconds):
    """Whether they waited at the same time; a busy machine may take some of it."""
    check.note("%.2f s; one worker would wait %.2f s" % (seconds, COUNT * WAIT))
    return seconds < 0.7 * COUNT * WAIT


def numpy(check):
    for name in CHECKS:

        @check(name)
        def pipeline():
            check.lacks("autograd.data", "autograd has nothing for data")


class _Numbers:
    """What a DataLoader takes: anything with a length and items."""

    def __init__(self, function):
        self.function = function

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return self.function(index)


def pytorch(check):
    import torch
    from torch.utils.data import DataLoader

    torch.manual_seed(0)

    @check("shuffled anew in each epoch")
    def shuffled():
        loader = DataLoader(_Numbers(lambda i: i), batch_size=8, shuffle=True)
        return [torch.cat(list(loader)).tolist() for _ in range(2)]

    @check("batches, in order")
    def batches():
        loader = DataLoader(_Numbers(lambda i: 2 * i), batch_size=8)
        return torch.stack(list(loader)).numpy()

    # Processes, which start with the first batch.
    @check("several workers at a time")
    def workers():
        loader = DataLoader(
            _Numbers(_slowly),
            batch_size=2,
            num_workers=WORKERS,
            persistent_workers=True,
        )
        list(loader)
        begin = time.perf_counter()
        assert torch.cat(list(loader)).tolist() == list(range(0, 2 * COUNT, 2))
        return _by_several(check, time.perf_counter() - begin)


def jax(check):
    for name in CHECKS:

        @check(name)
        def pipeline():
            check.lacks(
                "jax.data", "JAX leaves data to others: tf.data, Grain, PyTorch"
            )


def tensorflow(check):
    import tensorflow as tf

    @check("shuffled anew in each epoch")
    def shuffled():
        data = tf.data.Dataset.range(COUNT).shuffle(COUNT, seed=0)
        return [list(data.as_numpy_iterator()) for _ in range(2)]

    @check("batches, in order")
    def batches():
        data = tf.data.Dataset.range(COUNT).map(lambda i: 2 * i).batch(8)
        return np.stack(list(data.as_numpy_iterator()))

    @check("several workers at a time")
    def workers():
        def slowly(i):
            return tf.numpy_function(_slowly, [i], tf.int64)

        # It has a pool of its own, as the limit of threads holds for it too.
        options = tf.data.Options()
        options.threading.private_threadpool_size = WORKERS
        data = tf.data.Dataset.range(COUNT).map(slowly, num_parallel_calls=WORKERS)
        data = data.with_options(options)
        begin = time.perf_counter()
        assert list(data.as_numpy_iterator()) == list(range(0, 2 * COUNT, 2))
        return _by_several(check, time.perf_counter() - begin)


def keras(check):
    import keras

    asked = []

    class Batches(keras.utils.PyDataset):
        def __init__(self, size, function, **options):
            super().__init__(**options)
            self.size, self.function = size, function

        def __len__(self):
            return COUNT // self.size

        def __getitem__(self, index):
            asked.append(index)
            rows = range(self.size * index, self.size * (index + 1))
            numbers = np.array([[self.function(i)] for i in rows], "float32")
            return numbers, numbers

    # A model that gives back what it is fed.
    model = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    model.compile("sgd", "mse")

    # The order of the batches, here of one observation each, is fit's to choose.
    @check("shuffled anew in each epoch")
    def shuffled():
        keras.utils.set_random_seed(0)
        model.fit(Batches(1, float), epochs=2, shuffle=True, verbose=0)
        return [asked[-2 * COUNT : -COUNT], asked[-COUNT:]]

    @check("batches, in order")
    def batches():
        data = Batches(8, lambda i: 2 * i)
        return np.stack([model.predict_on_batch(data[k][0])[:, 0] for k in range(3)])

    # Threads, or processes with use_multiprocessing=True.
    @check("several workers at a time")
    def workers():
        data = Batches(2, _slowly, workers=WORKERS)
        model.predict(Batches(2, float), verbose=0)
        begin = time.perf_counter()
        found = model.predict(data, verbose=0)[:, 0]
        assert found.tolist() == list(range(0, 2 * COUNT, 2))
        return _by_several(check, time.perf_counter() - begin)


def paddle(check):
    import paddle
    from paddle.io import DataLoader

    class Numbers(paddle.io.Dataset):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def __len__(self):
            return COUNT

        def __getitem__(self, index):
            return np.array(self.function(index))

    @check("shuffled anew in each epoch")
    def shuffled():
        np.random.seed(0)
        loader = DataLoader(Numbers(lambda i: i), batch_size=8, shuffle=True)
        epochs = [[batch.numpy() for batch in loader] for _ in range(2)]
        return [np.concatenate([b.reshape(-1) for b in epoch]) for epoch in epochs]

    @check("batches, in order")
    def batches():
        loader = DataLoader(Numbers(lambda i: 2 * i), batch_size=8)
        return np.stack([batch.numpy().reshape(-1) for batch in loader])

    @check("several workers at a time")
    def workers():
        loader = DataLoader(
            Numbers(_slowly),
            batch_size=2,
            num_workers=WORKERS,
            persistent_workers=True,
            use_shared_memory=False,
        )
        list(loader)
        begin = time.perf_counter()
        found = np.concatenate([batch.numpy().reshape(-1) for batch in loader])
        assert found.tolist() == list(range(0, 2 * COUNT, 2))
        return _by_several(check, time.perf_counter() - begin)


def mxnet(check):
    from mxnet.gluon.data import DataLoader, SimpleDataset

    numbers = SimpleDataset(list(range(COUNT)))

    @check("shuffled anew in each epoch")
    def shuffled():
        np.random.seed(0)
        loader = DataLoader(numbers, 8, shuffle=True)
        return [np.concatenate([batch.asnumpy() for batch in loader]) for _ in range(2)]

    @check("batches, in order")
    def batches():
        loader = DataLoader(numbers.transform(lambda i: 2 * i), 8)
        return np.stack([batch.asnumpy() for batch in loader])

    @check("several workers at a time")
    def workers():
        loader = DataLoader(
            numbers.transform(_slowly), 2, num_workers=WORKERS, thread_pool=True
        )
        begin = time.perf_counter()
        found = np.concatenate([batch.asnumpy() for batch in loader])
        assert found.tolist() == list(range(0, 2 * COUNT, 2))
        return _by_several(check, time.perf_counter() - begin)


def mlx(check):
    for name in CHECKS:

        @check(name)
        def pipeline():
            try:
                import mlx.data  # noqa: F401
            except ImportError:
                check.not_here("the package mlx-data")
            check.no("mlx.data is there: the probe is out of date")


def chainer(check):
    from chainer import iterators
    from chainer.datasets import TransformDataset

    numbers = list(range(COUNT))

    @check("shuffled anew in each epoch")
    def shuffled():
        np.random.seed(0)
        data = iterators.SerialIterator(numbers, 8, shuffle=True)
        return [np.concatenate([data.next() for _ in range(3)]) for _ in range(2)]

    @check("batches, in order")
    def batches():
        doubled = TransformDataset(numbers, lambda i: 2 * i)
        data = iterators.SerialIterator(doubled, 8, repeat=False, shuffle=False)
        return np.stack(list(data))

    @check("several workers at a time")
    def workers():
        slow = TransformDataset(numbers, _slowly)
        data = iterators.MultithreadIterator(
            slow, 8, repeat=False, shuffle=False, n_threads=WORKERS
        )
        begin = time.perf_counter()
        found = np.concatenate(list(data))
        taken = time.perf_counter() - begin
        data.finalize()
        assert found.tolist() == list(range(0, 2 * COUNT, 2))
        return _by_several(check, taken)


def tinygrad(check):
    for name in CHECKS:

        @check(name)
        def pipeline():
            check.lacks("tinygrad.nn.data", "tinygrad has data sets, and no pipeline")


def cntk(check):
    from cntk.io import (
        CTFDeserializer,
        MinibatchSource,
        StreamDef,
        StreamDefs,
        StreamInformation,
        UserDeserializer,
    )

    with check.folder() as folder:
        path = folder + "/numbers.txt"
        with open(path, "w") as file:
            file.writelines("|x %d\n" % i for i in range(COUNT))
        streams = StreamDefs(x=StreamDef("x", shape=1))
        source = MinibatchSource(CTFDeserializer(path, streams), max_sweeps=2)
        found = [source.next_minibatch(8)[source.streams.x].asarray() for _ in range(6)]

    @check("shuffled anew in each epoch")
    def shuffled():
        return np.reshape(found, (2, COUNT))

    class Numbers(UserDeserializer):
        """Hands out chunks of two numbers."""

        def __init__(self, function):
            super(Numbers, self).__init__()
            self.function = function

        def stream_infos(self):
            return [StreamInformation("x", 0, "dense", np.float32, (1,))]

        def num_chunks(self):
            return COUNT // 2

        def get_chunk(self, chunk_id):
            numbers = [self.function(2 * chunk_id + i) for i in (0, 1)]
            return {"x": np.float32(numbers)[:, None]}

    def read(function, size, **options):
        source = MinibatchSource(
            [Numbers(function)], randomize=False, max_sweeps=1, **options
        )
        found = []
        for _ in range(COUNT // size):
            batch = source.next_minibatch(size)[source.streams.x]
            found.append(batch.asarray().reshape(-1))
        return found

    @check("batches, in order")
    def batches():
        return read(lambda i: 2 * i, 8)

    @check("several workers at a time")
    def workers():
        begin = time.perf_counter()
        found = np.concatenate(read(_slowly, 2, multithreaded_deserializer=True))
        assert found.tolist() == list(range(0, 2 * COUNT, 2))
        return _by_several(check, time.perf_counter() - begin)


def keras2(check):
    import keras

    class Numbers(keras.utils.Sequence):
        """Batches of the numbers; shuffled anew at the end of an epoch."""

        def __init__(self, size, function, shuffled=False):
            self.rows, self.size = np.arange(COUNT), size
            self.function, self.shuffled = function, shuffled
            self.on_epoch_end()

        def __len__(self):
            return COUNT // self.size

        def __getitem__(self, index):
            rows = self.rows[index * self.size : (index + 1) * self.size]
            return np.array([self.function(row) for row in rows])

        def on_epoch_end(self):
            if self.shuffled:
                np.random.shuffle(self.rows)

    def read(sequence, epochs=1, workers=1):
        enqueuer = keras.utils.OrderedEnqueuer(sequence)
        enqueuer.start(workers)
        try:
            batches = enqueuer.get()
            return [next(batches) for _ in range(epochs * len(sequence))]
        finally:
            enqueuer.stop()

    @check("shuffled anew in each epoch")
    def shuffled():
        check.note("by on_epoch_end of a Sequence of one's own")
        np.random.seed(0)
        numbers = Numbers(8, lambda i: i, shuffled=True)
        return np.reshape(read(numbers, epochs=2), (2, COUNT))

    check("batches, in order")(lambda: read(Numbers(8, lambda i: 2 * i)))

    @check("several workers at a time")
    def workers():
        begin = time.perf_counter()
        found = np.concatenate(read(Numbers(2, _slowly), workers=WORKERS))
        assert found.tolist() == list(range(0, 2 * COUNT, 2))
        return _by_several(check, time.perf_counter() - begin)
