"""Compiled code kept for the next process.

Two processes compile the same function: does the second find what the first one left?
"""

TIMEOUT = 400

CHECKS = {
    # compilations in the first process and in the second, and the value in both
    "compiled once for two processes": [1, 0],
    "the value in the second": 3.5,
}


def numpy(check):
    check.nothing("autograd compiles nothing", "autograd.jit")


def _twice(check, source, variables):
    """``source`` prints how often it compiled, and the value."""
    found = []

    @check("compiled once for two processes")
    def compilations():
        with check.folder() as folder:
            given = {
                name: value.format(folder=folder) for name, value in variables.items()
            }
            for _ in range(2):
                last = check.python(source, variables=given).splitlines()[-1]
                found.append([float(word) for word in last.split()])
        return [count for count, _ in found]

    @check("the value in the second")
    def value():
        return found[1][1]


def pytorch(check):
    source = """
import torch
from torch._dynamo.utils import counters

@torch.compile
def function(x):
    return (x * 2 + 1.5).sum()

value = function(torch.ones(1)).item()
print(counters["inductor"]["fxgraph_cache_miss"], value)
"""
    _twice(check, source, {"TORCHINDUCTOR_CACHE_DIR": "{folder}"})


def jax(check):
    source = """
import jax

missed = []
jax.monitoring.register_event_listener(
    lambda name, **_: missed.append(name) if name.endswith("/cache_misses") else None
)
value = jax.jit(lambda x: x * 2 + 1.5)(1.0).item()
print(len(missed), value)
"""
    _twice(
        check,
        source,
        {
            "JAX_COMPILATION_CACHE_DIR": "{folder}",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        },
    )


def tensorflow(check):

    # What XLA compiles can be kept; what tf.function traces is traced anew.
    source = """
import os
import sys
import tensorflow as tf

folder = os.environ["KEPT"]
before = len(os.listdir(folder))

@tf.function(jit_compile=True)
def function(x):
    return x * 2 + 1.5

value = float(function(tf.constant(1.0)))
print(len(os.listdir(folder)) - before, value)
"""
    _twice(
        check,
        source,
        {
            "KEPT": "{folder}",
            "TF_XLA_FLAGS": "--tf_xla_persistent_cache_directory={folder}",
        },
    )


def keras_jax(check):
    source = """
import jax
import keras
import numpy as np

missed = []
jax.monitoring.register_event_listener(
    lambda name, **_: missed.append(name) if name.endswith("/cache_misses") else None
)
model = keras.Sequential([keras.Input((1,)), keras.layers.Rescaling(2.0, 1.5)])
model.compile()
del missed[:]
value = model.predict_on_batch(np.ones((1, 1)))[0, 0]
print(min(len(missed), 1), value)
"""
    _twice(
        check,
        source,
        {
            "JAX_COMPILATION_CACHE_DIR": "{folder}",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        },
    )


def keras(check):
    check.nothing(
        "Keras keeps no compiled code of its own", "keras.config.set_cache_dir"
    )


def paddle(check):
    check.nothing(
        "to_static keeps nothing; paddle.jit.save is an export", "paddle.jit.cache_dir"
    )


def mlx(check):
    check.nothing(
        "mx.compile keeps what it traced in its process", "mlx.core.cache_dir"
    )


def theano(check):
    source = """
import theano
import theano.tensor as T
from theano.gof import cmodule

compiled = []
build = cmodule.GCC_compiler.compile_str
cmodule.GCC_compiler.compile_str = staticmethod(
    lambda *a, **k: compiled.append(1) or build(*a, **k)
)
x = T.vector("x", dtype="float64")
value = theano.function([x], T.sum(x * 2 + 1.5))([1.0])
print(min(len(compiled), 1), float(value))
"""
    import os

    kept = os.environ.get("THEANO_FLAGS", "")
    flags = ",".join(f for f in kept.split(",") if "base_compiledir" not in f)
    _twice(check, source, {"THEANO_FLAGS": flags + ",base_compiledir={folder}"})


def pytensor(check):
    source = """
import pytensor
import pytensor.tensor as T
from pytensor.link.c import cmodule

compiled = []
build = cmodule.GCC_compiler.compile_str
cmodule.GCC_compiler.compile_str = staticmethod(
    lambda *a, **k: compiled.append(1) or build(*a, **k)
)
x = T.vector("x", dtype="float64")
value = pytensor.function([x], T.sum(x * 2 + 1.5))([1.0])
print(min(len(compiled), 1), float(value))
"""
    import os

    kept = os.environ.get("PYTENSOR_FLAGS", "")
    flags = ",".join(f for f in kept.split(",") if "base_compiledir" not in f)
    _twice(check, source, {"PYTENSOR_FLAGS": flags + ",base_compiledir={folder}"})


def tensorflow1(check):
    check.nothing("a session interprets its graph", "tensorflow.config.set_cache_dir")


def chainer(check):
    check.nothing("Chainer compiles nothing on a processor", "chainer.compile")


def mxnet(check):
    check.nothing("MXNet's engine interprets its graphs", "mxnet.config.cache_dir")


def dynet(check):
    check.nothing("DyNet compiles nothing", "dynet.compile")


def cntk(check):
    check.nothing(
        "a graph is interpreted by nodes that are compiled already",
        "cntk.Function.compile",
    )


def caffe2(check):
    check.nothing(
        "operators are compiled already, a net is a list of them",
        "caffe2.python.workspace.CompileNet",
    )
