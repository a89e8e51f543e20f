"""Profiler.

A few products of matrices are run under the framework's profiler: does it name the
product, and count how often it ran?
"""

TIMES, SIZE = 7, 300


def names_the_product(names):
    """a name of the product of matrices among what took time"""
    words = ("mm", "matmul", "dot", "gemm", "fullyconnected", "fully_connected")
    return any(word in str(name).lower() for name in names for word in words)


CHECKS = {
    "names what took time": names_the_product,
    "counts the product": TIMES,
}


def numpy(check):
    check.nothing("Python's cProfile sees functions of Python", "autograd.profiler")


def pytorch(check):
    import torch
    from torch.profiler import ProfilerActivity, profile

    a = torch.ones(SIZE, SIZE)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(TIMES):
            a @ a
    rows = {row.key: row.count for row in profiled.key_averages()}
    check("names what took time")(lambda: sorted(rows))
    check("counts the product")(lambda: rows["aten::mm"])


def jax(check):
    import glob

    import jax
    from jax.profiler import ProfileData

    product = jax.jit(lambda x: x @ x)
    a = jax.numpy.ones((SIZE, SIZE))
    product(a).block_until_ready()
    with check.folder() as folder:
        with jax.profiler.trace(folder):
            for _ in range(TIMES):
                product(a).block_until_ready()
        (path,) = glob.glob(folder + "/**/*.xplane.pb", recursive=True)
        # Operations of XLA, which are often fusions of several, have this statistic.
        found = [
            event.name
            for plane in ProfileData.from_file(path).planes
            for line in plane.lines
            for event in line.events
            if "hlo_op" in dict(event.stats)
        ]

    @check("names what took time")
    def names():
        return sorted(set(found))

    @check("counts the product")
    def count():
        return max([found.count(name) for name in set(found)] or [0])


def tensorflow(check):
    import glob

    import tensorflow as tf

    a = tf.ones((SIZE, SIZE))
    with check.folder() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(TIMES):
                tf.matmul(a, a)
        (path,) = glob.glob(folder + "/**/*.xplane.pb", recursive=True)
        with open(path, "rb") as file:
            content = file.read()

    # TensorBoard's plugin reads the file; here it is only searched.
    @check("names what took time")
    def names():
        return ["MatMul"] if b"MatMul" in content else []

    @check("counts the product")
    def count():
        from tensorflow.tsl.profiler.protobuf import xplane_pb2

        found = [
            plane.event_metadata[event.metadata_id].name
            for plane in xplane_pb2.XSpace.FromString(content).planes
            for line in plane.lines
            for event in line.events
        ]
        kinds = {name for name in found if "MatMul" in name}
        check.note("as %s" % sorted(kinds)[:4])
        return max([found.count(name) for name in kinds] or [0])


# Keras has TensorBoard's callback for TensorFlow; else the engine's profiler.
def keras_tensorflow(check):
    tensorflow(check)


def keras_jax(check):
    jax(check)


def keras_torch(check):
    pytorch(check)


def paddle(check):
    import json

    import paddle
    from paddle import profiler

    a = paddle.ones([SIZE, SIZE])
    with check.folder() as folder:
        # Else it writes to the folder it is started in.
        profiled = profiler.Profiler(
            targets=[profiler.ProfilerTarget.CPU],
            on_trace_ready=lambda p: p.export(folder + "/trace.json", format="json"),
        )
        with profiled:
            for _ in range(TIMES):
                a @ a
        with open(folder + "/trace.json") as file:
            events = json.load(file)["traceEvents"]
    names = [event.get("name", "") for event in events if event.get("ph") == "X"]

    @check("names what took time")
    def seen():
        return sorted({name.split("[")[0].strip() for name in names})

    @check("counts the product")
    def count():
        return max(
            sum(n.split("[")[0].strip() == kind for n in names)
            for kind in {n.split("[")[0].strip() for n in names}
            if "matmul" in kind.lower()
        )


def mxnet(check):
    import json

    import mxnet as mx

    a = mx.nd.ones((SIZE, SIZE))
    with check.folder() as folder:
        mx.profiler.set_config(
            profile_imperative=True, aggregate_stats=True, filename=folder + "/p.json"
        )
        mx.profiler.set_state("run")
        for _ in range(TIMES):
            mx.nd.dot(a, a).wait_to_read()
        mx.profiler.set_state("stop")
        table = json.loads(mx.profiler.dumps(format="json"))
    rows = {}
    for kind in table["Time"].values():
        rows.update({name: row["Count"] for name, row in kind.items()})

    check("names what took time")(lambda: sorted(rows))
    check("counts the product")(lambda: rows["dot"])


def mlx(check):
    import mlx.core as mx

    for name in CHECKS:

        @check(name)
        def profile():
            if not mx.metal.is_available():
                check.not_here("Metal, whose captures mx.metal.start_capture makes")
            check.no("a capture is for Xcode: it is no table")


def chainer(check):
    import numpy
    from chainer import function_hooks, functions

    a = numpy.ones((SIZE, SIZE), "float32")
    hook = function_hooks.TimerHook()
    with hook:
        for _ in range(TIMES):
            functions.matmul(a, a)
    summary = hook.summary()

    check("names what took time")(lambda: sorted(summary))
    check("counts the product")(lambda: summary["MatMul"]["occurrence"])


def cntk(check):
    import os

    import cntk as C
    import numpy as np

    a, w = C.input_variable((SIZE, SIZE)), C.parameter((SIZE, SIZE))
    product = C.times(a, w)
    learner = C.sgd([w], 0.0, minibatch_size=C.learners.IGNORE)
    trainer = C.Trainer(product, C.reduce_sum(product), [learner])
    with check.folder() as folder:
        C.debugging.start_profiler(folder)
        C.debugging.enable_profiler()
        for _ in range(TIMES):
            trainer.train_minibatch({a: np.ones((1, SIZE, SIZE), "float32")})
        C.debugging.stop_profiler()
        (summary,) = [name for name in os.listdir(folder) if "summary" in name]
        with open(os.path.join(folder, summary)) as file:
            rows = [line.split(":") for line in file if " ms " in line and ":" in line]
    counts = {row[0].strip("_ "): row[-1].split() for row in rows}

    @check("names what took time")
    def names():
        check.note("it knows the phases of training and no operation")
        return sorted(counts)

    @check("counts the product")
    def count():
        found = [row for name, row in counts.items() if "times" in name.lower()]
        return found[0] if found else np.nan


def caffe2(check):
    import numpy as np
    from caffe2.python import core, workspace

    workspace.ResetWorkspace()
    workspace.FeedBlob("a", np.ones((SIZE, SIZE), "float32"))
    net = core.Net("products")
    for _ in range(TIMES):
        net.MatMul(["a", "a"], 1)
    workspace.CreateNet(net)
    # Milliseconds of the net and of each of its operators.
    times = workspace.BenchmarkNet(net.Name(), 1, 2, True)
    rows = list(zip([op.type for op in net.Proto().op], times[1:]))

    check("names what took time")(lambda: sorted({name for name, _ in rows}))
    check("counts the product")(
        lambda: len([t for n, t in rows if n == "MatMul" and t > 0])
    )


def tensorflow1(check):
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2

    with tf.Graph().as_default(), tf.Session() as session:
        y = a = tf.Variable(tf.ones((SIZE, SIZE)) / SIZE)
        for _ in range(TIMES):
            y = tf.matmul(y, a)
        session.run(tf.global_variables_initializer())
        seen = config_pb2.RunMetadata()
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        session.run(y, options=options, run_metadata=seen)
    names = [
        node.timeline_label for d in seen.step_stats.dev_stats for node in d.node_stats
    ]
    products = [name for name in names if "= MatMul(" in name]

    check("names what took time")(lambda: sorted(set(names)))
    check("counts the product")(lambda: len(products))
