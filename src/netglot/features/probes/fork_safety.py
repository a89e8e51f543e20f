"""Works after a fork.

A process computes with two threads and a gradient, forks, and the child computes the
same again, as the workers of a data loader do on Linux. Is the child right, is it
refused, does it crash, or does it wait for ever?
"""

import os

CHECKS = {"a child computes after its parent did": "right"}

_FORK = """
import os, signal, sys, time, warnings
warnings.filterwarnings("ignore")

def fork(work, right):
    assert abs(work() - right) < 1e-3 * right, "wrong before the fork"
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 3
        try:
            code = 0 if abs(work() - right) < 1e-3 * right else 1
        except BaseException as error:
            sys.stderr.write(str(error))
            code = 2
        finally:
            os._exit(code)
    end = time.time() + 20
    while time.time() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status):
                print("crashes: signal %d" % os.WTERMSIG(status))
            else:
                print(("right", "wrong", "refused", "ends")[os.WEXITSTATUS(status)])
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("waits for ever (20 s)")

def finish():
    # What the framework does at its own end is not the question.
    sys.stdout.flush()
    os._exit(0)
"""

_TWO = {
    name: "2"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
}


def _forked(check, source):
    @check("a child computes after its parent did")
    def child():
        if not hasattr(os, "fork"):
            check.not_here("fork, which this system has not")
        told = check.python(_FORK + source + "\nfinish()\n", variables=_TWO)
        return told.splitlines()[-1]


def numpy(check):
    _forked(
        check,
        """
import autograd.numpy as np
from autograd import grad
gradient = grad(lambda w: np.sum(w @ w))
fork(lambda: gradient(np.ones((300, 300))).sum(), 2 * 300.0**3)
""",
    )


def pytorch(check):
    _forked(
        check,
        """
import torch
torch.set_num_threads(2)
def work():
    w = torch.ones(300, 300, requires_grad=True)
    (w @ w).sum().backward()
    return w.grad.sum().item()
fork(work, 2 * 300.0**3)
""",
    )


def jax(check):
    _forked(
        check,
        """
import jax, jax.numpy as jnp
gradient = jax.jit(jax.grad(lambda w: jnp.sum(w @ w)))
fork(lambda: float(gradient(jnp.ones((300, 300))).sum()), 2 * 300.0**3)
""",
    )


def tensorflow(check):
    _forked(
        check,
        """
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(2)
@tf.function
def gradient(w):
    with tf.GradientTape() as tape:
        tape.watch(w)
        loss = tf.reduce_sum(w @ w)
    return tf.reduce_sum(tape.gradient(loss, w))
fork(lambda: float(gradient(tf.ones((300, 300)))), 2 * 300.0**3)
""",
    )


def keras(check):
    _forked(
        check,
        """
import keras, numpy as np
model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(1, "relu")])
model.compile("sgd", "mse")
model.set_weights([np.ones((300, 1)), np.zeros(1)])
x = np.ones((300, 300), "float32")
def work():
    model.set_weights([np.ones((300, 1)), np.zeros(1)])
    return float(model.train_on_batch(x, np.zeros((300, 1))))
fork(work, 300.0**2)
""",
    )


def paddle(check):
    _forked(
        check,
        """
import paddle
def work():
    w = paddle.ones([300, 300])
    w.stop_gradient = False
    (w @ w).sum().backward()
    return w.grad.sum().item()
fork(work, 2 * 300.0**3)
""",
    )


def mxnet(check):
    _forked(
        check,
        """
from mxnet import autograd, nd
def work():
    w = nd.ones((300, 300))
    w.attach_grad()
    with autograd.record():
        loss = nd.dot(w, w).sum()
    loss.backward()
    return float(w.grad.sum().asscalar())
fork(work, 2 * 300.0**3)
""",
    )


def mlx(check):
    _forked(
        check,
        """
import mlx.core as mx
gradient = mx.grad(lambda w: (w @ w).sum())
fork(lambda: gradient(mx.ones((300, 300))).sum().item(), 2 * 300.0**3)
""",
    )


def chainer(check):
    _forked(
        check,
        """
import chainer, numpy as np
from chainer import functions
def work():
    w = chainer.Variable(np.ones((300, 300), "float32"))
    functions.sum(functions.matmul(w, w)).backward()
    return float(w.grad.sum())
fork(work, 2 * 300.0**3)
""",
    )


def cntk(check):
    _forked(
        check,
        """
import cntk as C
import numpy as np
C.cntk_py.set_max_num_cputhreads(2)
a = C.input_variable((200, 200), needs_gradient=True)
total = C.reduce_sum(C.times(a, a))
ones = np.ones((1, 200, 200), "float32")
def work():
    return float(total.eval({a: ones})) + float(total.grad({a: ones}, wrt=[a]).sum())
fork(work, 200.0**3 + 2 * 200.0**3)
""",
    )


def caffe2(check):
    _forked(
        check,
        """
import numpy as np
from caffe2.python import core, workspace
core.GlobalInit(["caffe2", "--caffe2_omp_num_threads=2"])
workspace.FeedBlob("a", np.ones((200, 200), "float32"))
net = core.Net("product")
total = net.SumElements(net.MatMul(["a", "a"], 1), 1)
gradients = net.AddGradientOperators([total])
workspace.CreateNet(net)
def work():
    workspace.RunNet(net)
    found = workspace.FetchBlob(gradients["a"])
    return float(workspace.FetchBlob(total)) + float(found.sum())
fork(work, 200.0**3 + 2 * 200.0**3)
""",
    )


def tensorflow1(check):
    _forked(
        check,
        """
import numpy as np
import tensorflow as tf
config = tf.ConfigProto(intra_op_parallelism_threads=2, inter_op_parallelism_threads=2)
a = tf.placeholder(tf.float32, (200, 200))
total = tf.reduce_sum(tf.matmul(a, a))
gradient = tf.reduce_sum(tf.gradients(total, a)[0])
session = tf.Session(config=config)
ones = np.ones((200, 200), "float32")
def work():
    return float(sum(session.run([total, gradient], {a: ones})))
fork(work, 200.0**3 + 2 * 200.0**3)
""",
    )


def theano(check):
    _forked(
        check,
        """
import numpy as np
import theano
import theano.tensor as T
a = T.fmatrix()
total = T.dot(a, a).sum()
function = theano.function([a], [total, theano.grad(total, a).sum()])
ones = np.ones((200, 200), "float32")
def work():
    return float(sum(function(ones)))
fork(work, 200.0**3 + 2 * 200.0**3)
""",
    )
