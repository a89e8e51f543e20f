"""Obeys a limit of threads.

Products of matrices in a process of its own that was told to use one thread, by the
framework's own setting: the processor time it took over the time on the clock, and how
many of its threads computed. The same without the limit is noted.
"""

import os

ALONE = True


def one_thread(share):
    """no more processor time than time on the clock, a tenth allowed"""
    return 0 < share < 1.1


def one_computes(threads):
    """one thread has nearly all of the processor time"""
    return threads == 1


CHECKS = {
    "processor time over time on the clock": one_thread,
    "threads that computed": one_computes,
}

#: What an environment may say about threads; the other process starts without.
_SAID = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")
_UNSAID = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "CPU_NUM")

_MEASURE = """
import os, time

def threads():
    found = {}
    for task in os.listdir("/proc/self/task"):
        with open("/proc/self/task/%s/stat" % task) as file:
            fields = file.read().rpartition(")")[2].split()
        found[task] = int(fields[11]) + int(fields[12])
    return found

def measure(work, least=1.0):
    work()
    before, processor, clock = threads(), time.process_time(), time.perf_counter()
    while time.perf_counter() - clock < least:
        work()
    processor = time.process_time() - processor
    clock = time.perf_counter() - clock
    ticks = [n - before.get(task, 0) for task, n in threads().items()]
    # A thread that has a tenth of what was computed is one of those that compute.
    print(processor / clock, sum(tick > sum(ticks) / 10 for tick in ticks))
"""


def _measured(check, source, limit, variables=None):
    """Runs the source, in which LIMIT stands for the setting."""
    if not os.path.exists("/proc/self/task"):
        for name in CHECKS:
            check(name)(lambda: check.not_here("the folder /proc of Linux"))
        return
    unset = {name: "" for name in _SAID + _UNSAID}
    kept = {name: os.environ.pop(name, None) for name in unset}
    try:
        free = check.python(_MEASURE + source.replace("LIMIT", "pass"))
        found = check.python(
            _MEASURE + source.replace("LIMIT", limit), variables=variables or {}
        )
    finally:
        os.environ.update({k: v for k, v in kept.items() if v is not None})
    share, threads = found.split()[-2:]

    @check("processor time over time on the clock")
    def share_of_time():
        check.note("without a limit: %.2f" % float(free.split()[-2]))
        told = " and ".join(sorted(variables or ())) or limit.replace("\n", "; ")
        check.note("set by " + told)
        return round(float(share), 2)

    @check("threads that computed")
    def computing():
        check.note("without a limit: " + free.split()[-1])
        return int(threads)


def numpy(check):
    _measured(
        check,
        """
import numpy as np
a = np.ones((800, 800), "float32")
measure(lambda: a @ a)
""",
        "pass",
        {"OPENBLAS_NUM_THREADS": "1"},
    )


def pytorch(check):
    _measured(
        check,
        """
import torch
LIMIT
a = torch.ones(800, 800)
measure(lambda: a @ a)
""",
        "torch.set_num_threads(1)",
    )


def jax(check):
    # XLA_FLAGS=--xla_cpu_multi_thread_eigen=false, often quoted, limits nothing.
    _measured(
        check,
        """
import jax.numpy as jnp
a = jnp.ones((800, 800))
measure(lambda: (a @ a).block_until_ready())
""",
        "pass",
        {"NPROC": "1"},
    )


def tensorflow(check):
    _measured(
        check,
        """
import tensorflow as tf
LIMIT
a = tf.ones((800, 800))
measure(lambda: (a @ a).numpy())
""",
        "tf.config.threading.set_intra_op_parallelism_threads(1); "
        "tf.config.threading.set_inter_op_parallelism_threads(1)",
    )


# Keras has no setting: that of its engine holds.
def keras_tensorflow(check):
    _measured(
        check,
        """
import keras, tensorflow as tf
LIMIT
a = keras.ops.ones((800, 800))
measure(lambda: keras.ops.convert_to_numpy(a @ a))
""",
        "tf.config.threading.set_intra_op_parallelism_threads(1); "
        "tf.config.threading.set_inter_op_parallelism_threads(1)",
    )


def keras_jax(check):
    _measured(
        check,
        """
import keras
a = keras.ops.ones((800, 800))
measure(lambda: keras.ops.convert_to_numpy(a @ a))
""",
        "pass",
        {"NPROC": "1"},
    )


def keras_torch(check):
    _measured(
        check,
        """
import keras, torch
LIMIT
a = keras.ops.ones((800, 800))
measure(lambda: keras.ops.convert_to_numpy(a @ a))
""",
        "torch.set_num_threads(1)",
    )


def paddle(check):
    _measured(
        check,
        """
import paddle
a = paddle.ones([800, 800])
measure(lambda: (a @ a).numpy())
""",
        "pass",
        {"OMP_NUM_THREADS": "1"},
    )


def mxnet(check):
    _measured(
        check,
        """
from mxnet import nd
a = nd.ones((800, 800))
measure(lambda: nd.dot(a, a).wait_to_read())
""",
        "pass",
        {"OMP_NUM_THREADS": "1", "MXNET_CPU_WORKER_NTHREADS": "1"},
    )


def mlx(check):
    _measured(
        check,
        """
import mlx.core as mx
a = mx.ones((800, 800))
measure(lambda: mx.eval(a @ a))
""",
        "pass",
        {"OPENBLAS_NUM_THREADS": "1"},
    )


def chainer(check):
    _measured(
        check,
        """
import numpy as np
from chainer import functions
a = np.ones((800, 800), "float32")
measure(lambda: functions.matmul(a, a))
""",
        "pass",
        {"OPENBLAS_NUM_THREADS": "1"},
    )


def cntk(check):
    _measured(
        check,
        """
import cntk as C
import numpy as np
LIMIT
a = C.input_variable((800, 800))
product = C.reduce_sum(C.times(a, a))
ones = np.ones((1, 800, 800), "float32")
measure(lambda: product.eval({a: ones}))
""",
        "C.cntk_py.set_max_num_cputhreads(1)",
    )


def caffe2(check):
    _measured(
        check,
        """
import numpy as np
from caffe2.python import core, workspace
LIMIT
workspace.FeedBlob("a", np.ones((800, 800), "float32"))
net = core.Net("product")
net.MatMul(["a", "a"], "b")
workspace.CreateNet(net)
measure(lambda: workspace.RunNet(net))
""",
        'core.GlobalInit(["", "--caffe2_omp_num_threads=1"])',
    )
