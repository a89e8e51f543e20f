"""A new operation in C or C++.

Swish and its gradient, compiled here: do they become an operation like others, with a
gradient, in a network?
"""

import ctypes
import os
import subprocess
import time

import _swish
import numpy as np
from _swish import IMAGES, LABELS, POINTS, W1, W2, X, Y

CHECKS = _swish.CHECKS
TIMEOUT = 400

#: What every framework's operation computes; the rest is the framework's own form.
SWISH = """
#include <cmath>
#include <cstdint>

static void swish(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = x[i] / (1 + std::exp(-x[i]));
}

static void swish_slope(const float* x, const float* upstream, float* g, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    float s = 1 / (1 + std::exp(-x[i]));
    g[i] = upstream[i] * (s + x[i] * s * (1 - s));
  }
}
"""


def _built(check, folder, source, *flags):
    """A shared library of this C++ source, built by g++ in the folder."""
    compiler = check.command("g++")
    path = os.path.join(folder, "swish.cc")
    library = os.path.join(folder, "libswish.so")
    with open(path, "w") as file:
        file.write(SWISH + source)
    begin = time.time()
    command = [compiler, "-O2", "-shared", "-fPIC", path, "-o", library]
    done = subprocess.run(
        command + list(flags), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise RuntimeError("g++: " + done.stdout.decode("utf-8", "replace")[:3000])
    check.note(
        "%d lines of C++ beside swish itself, built in %.0f s"
        % (len(source.strip().splitlines()), time.time() - begin)
    )
    return library


#: For those that call plain functions.
PLAIN = """
extern "C" void swish_f(const float* x, float* y, int64_t n) { swish(x, y, n); }
extern "C" void swish_slope_f(const float* x, const float* up, float* g, int64_t n) {
  swish_slope(x, up, g, n);
}
"""


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad
    from autograd.extend import defvjp, primitive

    operation = []

    @check("its value")
    def value():
        with check.folder() as folder:
            library = ctypes.CDLL(_built(check, folder, PLAIN))
        array = np.ctypeslib.ndpointer("float32", flags="C_CONTIGUOUS")
        library.swish_f.argtypes = [array, array, ctypes.c_int64]
        library.swish_slope_f.argtypes = [array, array, array, ctypes.c_int64]

        @primitive
        def swish(x):
            x = np.ascontiguousarray(x, "float32")
            y = np.empty_like(x)
            library.swish_f(x, y, x.size)
            return y

        def slope(x, upstream):
            x, upstream = (np.ascontiguousarray(v, "float32") for v in (x, upstream))
            g = np.empty_like(x)
            library.swish_slope_f(x, upstream, g, x.size)
            return g

        defvjp(swish, lambda answer, x: lambda upstream: slope(x, upstream))
        operation.append(swish)
        return swish(POINTS)

    @check("its gradient")
    def gradient():
        return grad(lambda x: anp.sum(operation[0](x)))(POINTS)

    @check("a network with it, trained a step")
    def trained():
        def loss(weights):
            w1, w2 = weights
            return anp.mean((anp.dot(operation[0](anp.dot(X, w1)), w2) - Y) ** 2)

        gradients = grad(loss)([W1, W2])
        stepped = [w - 0.1 * g for w, g in zip((W1, W2), gradients)]
        return np.concatenate([w.ravel() for w in stepped])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(
            check, _swish.numpy, operation[0], lambda x: x / (1 + anp.exp(-x))
        )


def _torch_swish(check):
    """Builds the operation and registers it with its gradient."""
    import sysconfig

    import torch
    from torch.utils import cpp_extension

    source = """
#include <torch/library.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

at::Tensor forward(const at::Tensor& input) {
  auto x = input.contiguous();
  auto y = at::empty_like(x);
  swish(x.const_data_ptr<float>(), y.mutable_data_ptr<float>(), x.numel());
  return y;
}

at::Tensor backward(const at::Tensor& input, const at::Tensor& up) {
  auto x = input.contiguous(), upstream = up.contiguous();
  auto g = at::empty_like(x);
  swish_slope(x.const_data_ptr<float>(), upstream.const_data_ptr<float>(),
              g.mutable_data_ptr<float>(), x.numel());
  return g;
}

TORCH_LIBRARY(netglot_probe_c, m) {
  m.def("swish(Tensor x) -> Tensor");
  m.def("swish_slope(Tensor x, Tensor upstream) -> Tensor");
}

TORCH_LIBRARY_IMPL(netglot_probe_c, CPU, m) {
  m.impl("swish", &forward);
  m.impl("swish_slope", &backward);
}
"""

    with check.folder() as folder:
        include = [sysconfig.get_paths()["include"], *cpp_extension.include_paths()]
        libraries = cpp_extension.library_paths()
        library = _built(
            check,
            folder,
            source,
            "-std=c++20",
            *("-I" + path for path in include),
            *("-L" + path for path in libraries),
            "-lc10",
            "-ltorch_cpu",
            "-D_GLIBCXX_USE_CXX11_ABI=%d" % torch.compiled_with_cxx11_abi(),
        )
        torch.ops.load_library(library)

    def backward(ctx, upstream):
        x = ctx.saved_tensors[0]
        return torch.ops.netglot_probe_c.swish_slope(x, upstream)

    def keep(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    torch.library.register_autograd(
        "netglot_probe_c::swish", backward, setup_context=keep
    )
    return torch.ops.netglot_probe_c.swish


def pytorch(check):
    import torch

    @check("its value")
    def value():
        return _torch_swish(check)(torch.tensor(POINTS).float())

    @check("its gradient")
    def gradient():
        x = torch.tensor(POINTS, dtype=torch.float32, requires_grad=True)
        torch.ops.netglot_probe_c.swish(x).sum().backward()
        return x.grad

    @check("a network with it, trained a step")
    def trained():
        swish = torch.ops.netglot_probe_c.swish
        x, y = torch.tensor(X).float(), torch.tensor(Y).float()
        w1, w2 = (torch.nn.Parameter(torch.tensor(w).float()) for w in (W1, W2))
        optimizer = torch.optim.SGD([w1, w2], lr=0.1)
        torch.nn.functional.mse_loss(swish(x @ w1) @ w2, y).backward()
        optimizer.step()
        return torch.cat([w1.flatten(), w2.flatten()]).detach()

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(
            check,
            _swish.pytorch,
            torch.ops.netglot_probe_c.swish,
            lambda x: x * torch.sigmoid(x),
        )


def _jax_swish(check):
    """Builds the operation and registers it with its gradient."""
    import jax
    import jax.numpy as jnp

    source = """
#include "xla/ffi/api/ffi.h"
namespace ffi = xla::ffi;
using Array = ffi::Buffer<ffi::F32>;

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    Swish,
    [](Array x, ffi::ResultBuffer<ffi::F32> y) {
      swish(x.typed_data(), y->typed_data(), x.element_count());
      return ffi::Error::Success();
    },
    ffi::Ffi::Bind().Arg<Array>().Ret<Array>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    SwishSlope,
    [](Array x, Array upstream, ffi::ResultBuffer<ffi::F32> g) {
      swish_slope(x.typed_data(), upstream.typed_data(), g->typed_data(),
                  x.element_count());
      return ffi::Error::Success();
    },
    ffi::Ffi::Bind().Arg<Array>().Arg<Array>().Ret<Array>());
"""

    def called(name, *arguments):
        result = jax.ShapeDtypeStruct(arguments[0].shape, jnp.float32)
        return jax.ffi.ffi_call(name, result, vmap_method="broadcast_all")(*arguments)

    @jax.custom_vjp
    def swish(x):
        return called("netglot_swish", x)

    def forward(x):
        return swish(x), x

    def backward(x, upstream):
        return (called("netglot_swish_slope", x, upstream),)

    swish.defvjp(forward, backward)

    with check.folder() as folder:
        include = "-I" + jax.ffi.include_dir()
        library = ctypes.CDLL(_built(check, folder, source, "-std=c++17", include))
    for name in ("Swish", "SwishSlope"):
        target = "netglot_swish" + ("_slope" if "Slope" in name else "")
        handler = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(target, handler, platform="cpu")
    return swish


def jax(check):
    import jax
    import jax.numpy as jnp

    made = []

    @check("its value")
    def value():
        made.append(_jax_swish(check))
        return jax.jit(made[0])(jnp.float32(POINTS))

    @check("its gradient")
    def gradient():
        return jax.jit(jax.grad(lambda x: jnp.sum(made[0](x))))(jnp.float32(POINTS))

    @check("a network with it, trained a step")
    def trained():
        @jax.jit
        def step(w1, w2):
            def loss(w1, w2):
                return jnp.mean((made[0](X @ w1) @ w2 - Y) ** 2)

            by_w1, by_w2 = jax.grad(loss, (0, 1))(w1, w2)
            return w1 - 0.1 * by_w1, w2 - 0.1 * by_w2

        return jnp.concatenate([w.ravel() for w in step(W1, W2)])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(check, _swish.jax, made[0], lambda x: x * jax.nn.sigmoid(x))


#: TensorFlow's form, the same in versions 1 and 2.
TENSORFLOW = """
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
using namespace tensorflow;

REGISTER_OP("NetglotSwish").Input("x: float").Output("y: float").SetShapeFn(
    [](shape_inference::InferenceContext* c) {
      c->set_output(0, c->input(0));
      return STATUS_OK;
    });
REGISTER_OP("NetglotSwishSlope").Input("x: float").Input("upstream: float")
    .Output("g: float").SetShapeFn([](shape_inference::InferenceContext* c) {
      c->set_output(0, c->input(0));
      return STATUS_OK;
    });

class SwishOp : public OpKernel {
 public:
  explicit SwishOp(OpKernelConstruction* c) : OpKernel(c) {}
  void Compute(OpKernelContext* c) override {
    const Tensor& x = c->input(0);
    Tensor* y = nullptr;
    OP_REQUIRES_OK(c, c->allocate_output(0, x.shape(), &y));
    swish(x.flat<float>().data(), y->flat<float>().data(), x.NumElements());
  }
};
REGISTER_KERNEL_BUILDER(Name("NetglotSwish").Device(DEVICE_CPU), SwishOp);

class SwishSlopeOp : public OpKernel {
 public:
  explicit SwishSlopeOp(OpKernelConstruction* c) : OpKernel(c) {}
  void Compute(OpKernelContext* c) override {
    const Tensor& x = c->input(0);
    const Tensor& upstream = c->input(1);
    Tensor* g = nullptr;
    OP_REQUIRES_OK(c, c->allocate_output(0, x.shape(), &g));
    swish_slope(x.flat<float>().data(), upstream.flat<float>().data(),
                g->flat<float>().data(), x.NumElements());
  }
};
REGISTER_KERNEL_BUILDER(Name("NetglotSwishSlope").Device(DEVICE_CPU), SwishSlopeOp);
"""


def _tensorflow_swish(check):
    """Builds the operation and registers it with its gradient."""
    import tensorflow as tf

    with check.folder() as folder:
        flags = tf.sysconfig.get_compile_flags() + tf.sysconfig.get_link_flags()
        source = TENSORFLOW.replace("STATUS_OK", "absl::OkStatus()")
        loaded = tf.load_op_library(_built(check, folder, source, *flags))

    @tf.RegisterGradient("NetglotSwish")
    def gradient(op, upstream):
        return loaded.netglot_swish_slope(op.inputs[0], upstream)

    return loaded.netglot_swish


def tensorflow(check):
    import tensorflow as tf

    made = []

    @check("its value")
    def value():
        made.append(_tensorflow_swish(check))
        return made[0](tf.constant(POINTS, tf.float32))

    @check("its gradient")
    def gradient():
        x = tf.Variable(POINTS, dtype=tf.float32)
        with tf.GradientTape() as tape:
            y = made[0](x)
        return tape.gradient(y, x)

    @check("a network with it, trained a step")
    def trained():
        weights = [tf.Variable(w, dtype=tf.float32) for w in (W1, W2)]

        @tf.function
        def step():
            w1, w2 = weights
            with tf.GradientTape() as tape:
                scores = made[0](X @ w1) @ w2
                loss = tf.reduce_mean((scores - Y) ** 2)
            for w, gradient in zip(weights, tape.gradient(loss, weights)):
                w.assign_sub(0.1 * gradient)

        step()
        return tf.concat([tf.reshape(w, [-1]) for w in weights], 0)

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(
            check, _swish.tensorflow, made[0], lambda x: x * tf.sigmoid(x)
        )


def _keras_layer(check, build):
    """The checks for an operation in C of the engine, made a layer of Keras."""
    import keras

    how = "an operation of its engine, in a layer: Keras has no kernels of its own"
    made = []

    class Swish(keras.layers.Layer):
        def call(self, x):
            return made[0](x)

        def compute_output_shape(self, shape):
            return shape

    @check("its value")
    def value():
        check.fallback(how)
        made.append(build(check))
        return keras.ops.convert_to_numpy(Swish()(POINTS[None]))[0]

    # One step of descent of a weight that is x itself takes its gradient off.
    @check("its gradient")
    def gradient():
        check.fallback(how)
        start = keras.layers.Dense(4, use_bias=False)
        model = keras.Sequential([keras.Input((1,)), start, Swish()])
        total = keras.ops.sum
        model.compile(keras.optimizers.SGD(1.0), lambda y, scores: total(scores))
        start.set_weights([POINTS[None]])
        model.train_on_batch(np.ones((1, 1)), np.zeros((1, 4)))
        return POINTS - start.get_weights()[0][0]

    @check("a network with it, trained a step")
    def trained():
        check.fallback(how)
        model = keras.Sequential(
            [
                keras.Input((2,)),
                *(keras.layers.Dense(3, use_bias=False), Swish()),
                keras.layers.Dense(1, use_bias=False),
            ]
        )
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.set_weights([W1, W2])
        model.train_on_batch(X, Y)
        return np.concatenate([w.ravel() for w in model.get_weights()])

    def network(activation):
        keras.utils.set_random_seed(0)
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                *(layers.Conv2D(32, 3), activation()),
                *(layers.Conv2D(64, 3), activation()),
                *(layers.MaxPooling2D(), layers.Flatten()),
                *(layers.Dense(128), activation(), layers.Dense(10)),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.02), loss)
        return lambda: model.train_on_batch(IMAGES, LABELS), model.get_weights

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        check.fallback(how)

        def composed():
            return keras.layers.Lambda(lambda x: x * keras.ops.sigmoid(x))

        return _swish.alike(check, network, Swish, composed)


def keras_torch(check):
    _keras_layer(check, _torch_swish)


def keras_jax(check):
    _keras_layer(check, _jax_swish)


def keras_tensorflow(check):
    _keras_layer(check, _tensorflow_swish)


def paddle(check):
    import paddle

    source = """
#include "paddle/extension.h"

using Tensor = paddle::Tensor;

std::vector<Tensor> Forward(const Tensor& x) {
  auto y = paddle::empty_like(x);
  swish(x.data<float>(), y.data<float>(), x.numel());
  return {y};
}

std::vector<Tensor> Backward(const Tensor& x, const Tensor& up) {
  auto g = paddle::empty_like(x);
  swish_slope(x.data<float>(), up.data<float>(), g.data<float>(), x.numel());
  return {g};
}

PD_BUILD_OP(netglot_swish).Inputs({"X"}).Outputs({"Y"}).SetKernelFn(PD_KERNEL(Forward));
PD_BUILD_GRAD_OP(netglot_swish)
    .Inputs({"X", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .SetKernelFn(PD_KERNEL(Backward));
"""
    loaded = []

    @check("its value")
    def value():
        import sys
        import types

        check.command("g++")
        with check.folder() as folder:
            path = os.path.join(folder, "swish.cc")
            with open(path, "w") as file:
                file.write(SWISH + source)
            begin = time.time()
            # It wants no more than a name of setuptools' packages.
            sys.modules.setdefault("paddle_swish", types.ModuleType("paddle_swish"))
            loaded.append(
                paddle.utils.cpp_extension.load(
                    "netglot_swish_op", [path], build_directory=folder
                )
            )
            check.note("built in %.0f s" % (time.time() - begin))
        return loaded[0].netglot_swish(paddle.to_tensor(POINTS, "float32")).numpy()

    @check("its gradient")
    def gradient():
        x = paddle.to_tensor(POINTS, "float32", stop_gradient=False)
        loaded[0].netglot_swish(x).sum().backward()
        return x.grad.numpy()

    @check("a network with it, trained a step")
    def trained():
        x, y = paddle.to_tensor(X, "float32"), paddle.to_tensor(Y, "float32")
        weights = [paddle.create_parameter(w.shape, "float32") for w in (W1, W2)]
        for parameter, w in zip(weights, (W1, W2)):
            parameter.set_value(w.astype("float32"))
        optimizer = paddle.optimizer.SGD(0.1, weights)
        w1, w2 = weights
        scores = loaded[0].netglot_swish(x @ w1) @ w2
        paddle.nn.functional.mse_loss(scores, y).backward()
        optimizer.step()
        return np.concatenate([w.numpy().ravel() for w in weights])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        composed = paddle.nn.functional.sigmoid
        return _swish.alike(
            check,
            _swish.paddle,
            loaded[0].netglot_swish,
            lambda x: x * composed(x),
        )


def mlx(check):
    for name in CHECKS:

        @check(name)
        def built():
            import mlx.extension

            check.note("a C++ primitive, bound by nanobind: mlx.extension")
            if not mlx.extension.CMakeBuild:
                raise AssertionError("mlx.extension is not what it was")
            check.command("cmake")
            try:
                import nanobind
            except ImportError:
                check.not_here("the package nanobind")
            check.no("%s builds nothing here" % nanobind.__name__)


def _symbolic(check, library, T, swish, conv2d, sigmoid):
    x = T.matrix("x", dtype="float32")
    points = POINTS.astype("float32")[None]

    @check("its value")
    def value():
        check.command("g++")
        begin = time.time()
        function = library.function([x], swish(x))
        check.note("in the graph's own C code, built in %.0f s" % (time.time() - begin))
        return function(points)[0]

    @check("its gradient")
    def gradient():
        return library.function([x], library.grad(T.sum(swish(x)), x))(points)[0]

    @check("a network with it, trained a step")
    def trained():
        inputs, targets = X.astype("float32"), Y.astype("float32")
        weights = [library.shared(w.astype("float32")) for w in (W1, W2)]
        scores = T.dot(swish(T.dot(inputs, weights[0])), weights[1])
        loss = T.sum((scores - targets) ** 2) / np.float32(len(X))
        gradients = library.grad(loss, weights)
        rate = np.float32(0.1)
        updates = [(w, w - rate * g) for w, g in zip(weights, gradients)]
        library.function([], [], updates=updates)()
        return np.concatenate([w.get_value().ravel() for w in weights])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(
            check, _swish.symbolic(library, T, conv2d), swish, lambda x: x * sigmoid(x)
        )


def _c_operations(Op, Apply, as_tensor, gradient):
    """Two operations with C code, the second the slope of the first."""
    allocate = """
        Py_XDECREF(%(out)s);
        %(out)s = (PyArrayObject*) PyArray_SimpleNew(
            PyArray_NDIM(%(x)s), PyArray_DIMS(%(x)s), NPY_FLOAT32);
        if (!%(out)s) { %(fail)s }
    """

    class Slope(Op):
        __props__ = ()

        def make_node(self, x, upstream):
            inputs = [as_tensor(x), as_tensor(upstream)]
            return Apply(self, inputs, [inputs[0].type()])

        def perform(self, node, inputs, outputs):
            raise NotImplementedError("only in C")

        def c_code_cache_version(self):
            return (1,)

        def c_support_code(self, **_):
            return SWISH

        def c_code(self, node, name, inputs, outputs, sub):
            names = {
                "x": inputs[0],
                "up": inputs[1],
                "out": outputs[0],
                "fail": sub["fail"],
            }
            called = """
                %(x)s = PyArray_GETCONTIGUOUS(%(x)s);
                %(up)s = PyArray_GETCONTIGUOUS(%(up)s);
                swish_slope((float*) PyArray_DATA(%(x)s), (float*) PyArray_DATA(%(up)s),
                            (float*) PyArray_DATA(%(out)s), PyArray_SIZE(%(x)s));
                Py_DECREF(%(x)s);
                Py_DECREF(%(up)s);
            """
            return (allocate + called) % names

    class Swish(Op):
        __props__ = ()

        def make_node(self, x):
            x = as_tensor(x)
            return Apply(self, [x], [x.type()])

        def perform(self, node, inputs, outputs):
            raise NotImplementedError("only in C")

        def c_code_cache_version(self):
            return (1,)

        def c_support_code(self, **_):
            return SWISH

        def c_code(self, node, name, inputs, outputs, sub):
            names = {"x": inputs[0], "out": outputs[0], "fail": sub["fail"]}
            called = """
                %(x)s = PyArray_GETCONTIGUOUS(%(x)s);
                swish((float*) PyArray_DATA(%(x)s), (float*) PyArray_DATA(%(out)s),
                      PyArray_SIZE(%(x)s));
                Py_DECREF(%(x)s);
            """
            return (allocate + called) % names

    def slope(self, inputs, *upstream):
        return [Slope()(inputs[0], upstream[-1][0])]

    setattr(Swish, gradient, slope)
    return Swish()


def theano(check):
    import theano
    import theano.tensor as T

    swish = _c_operations(theano.Op, theano.Apply, T.as_tensor_variable, "grad")
    _symbolic(check, theano, T, swish, T.nnet.conv2d, T.nnet.sigmoid)


def tensorflow1(check):
    import tensorflow as tf

    loaded = []

    @check("its value")
    def value():
        with check.folder() as folder:
            flags = tf.sysconfig.get_compile_flags() + tf.sysconfig.get_link_flags()
            source = TENSORFLOW.replace("STATUS_OK", "Status::OK()")
            library = _built(check, folder, source, "-std=c++11", *flags)
            loaded.append(tf.load_op_library(library))

        @tf.RegisterGradient("NetglotSwish")
        def gradient(op, upstream):
            return loaded[0].netglot_swish_slope(op.inputs[0], upstream)

        with tf.Session() as session:
            return session.run(loaded[0].netglot_swish(tf.constant(POINTS, tf.float32)))

    @check("its gradient")
    def gradient():
        x = tf.constant(POINTS, tf.float32)
        with tf.Session() as session:
            return session.run(tf.gradients(loaded[0].netglot_swish(x), x)[0])

    @check("a network with it, trained a step")
    def trained():
        w1, w2 = weights = [tf.Variable(w, dtype=tf.float32) for w in (W1, W2)]
        x, y = tf.constant(X, tf.float32), tf.constant(Y, tf.float32)
        scores = tf.matmul(loaded[0].netglot_swish(tf.matmul(x, w1)), w2)
        loss = tf.reduce_mean((scores - y) ** 2)
        step = tf.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=weights)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(step)
            return np.concatenate([w.ravel() for w in session.run(weights)])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(
            check,
            _swish.tensorflow1,
            loaded[0].netglot_swish,
            lambda x: x * tf.sigmoid(x),
        )


def chainer(check):
    import chainer
    import chainer.functions as F

    operation = []
    how = "by ctypes, inside a node in Python: Chainer has kernels in C for GPUs only"

    @check("its value")
    def value():
        check.fallback(how)
        with check.folder() as folder:
            library = ctypes.CDLL(_built(check, folder, PLAIN))
        array = np.ctypeslib.ndpointer("float32", flags="C_CONTIGUOUS")
        library.swish_f.argtypes = [array, array, ctypes.c_int64]
        library.swish_slope_f.argtypes = [array, array, array, ctypes.c_int64]

        class Swish(chainer.FunctionNode):
            def forward(self, inputs):
                self.retain_inputs((0,))
                x = np.ascontiguousarray(inputs[0])
                y = np.empty_like(x)
                library.swish_f(x, y, x.size)
                return (y,)

            def backward(self, indexes, upstream):
                x = np.ascontiguousarray(self.get_retained_inputs()[0].array)
                g = np.empty_like(x)
                up = np.ascontiguousarray(upstream[0].array)
                library.swish_slope_f(x, up, g, x.size)
                return (chainer.Variable(g),)

        operation.append(lambda x: Swish().apply((x,))[0])
        return operation[0](chainer.Variable(POINTS.astype("float32"))).array

    @check("its gradient")
    def gradient():
        check.fallback(how)
        x = chainer.Variable(POINTS.astype("float32"))
        F.sum(operation[0](x)).backward()
        return x.grad

    @check("a network with it, trained a step")
    def trained():
        check.fallback(how)
        w1, w2 = (chainer.Parameter(w.astype("float32")) for w in (W1, W2))
        hidden = operation[0](F.matmul(X.astype("float32"), w1))
        F.mean_squared_error(F.matmul(hidden, w2), Y.astype("float32")).backward()
        rule = chainer.optimizers.SGD(0.1).create_update_rule()
        rule.update(w1), rule.update(w2)
        return np.concatenate([w1.array.ravel(), w2.array.ravel()])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        check.fallback(how)
        return _swish.alike(
            check, _swish.chainer, operation[0], lambda x: x * F.sigmoid(x)
        )


def mxnet(check):
    import mxnet as mx
    from mxnet import autograd, nd

    source = """
#include "mxnet/lib_api.h"
using namespace mxnet::ext;
using Attributes = std::unordered_map<std::string, std::string>;
using Tensors = std::vector<MXTensor>;

MXReturnValue parse(const Attributes& a, int* inputs, int* outputs) {
  *inputs = *outputs = 1;
  return MX_SUCCESS;
}

MXReturnValue types(const Attributes& a, std::vector<int>* in, std::vector<int>* out) {
  out->at(0) = in->at(0);
  return MX_SUCCESS;
}

MXReturnValue shapes(const Attributes& a, std::vector<std::vector<unsigned int>>* in,
                     std::vector<std::vector<unsigned int>>* out) {
  out->at(0) = in->at(0);
  return MX_SUCCESS;
}

MXReturnValue forward(const Attributes& a, Tensors* in, Tensors* out,
                      const OpResource& resource) {
  swish(in->at(0).data<float>(), out->at(0).data<float>(), in->at(0).size());
  return MX_SUCCESS;
}

// What comes in: the gradient of the output, the input, the output.
MXReturnValue backward(const Attributes& a, Tensors* in, Tensors* out,
                       const OpResource& resource) {
  swish_slope(in->at(1).data<float>(), in->at(0).data<float>(),
              out->at(0).data<float>(), in->at(1).size());
  return MX_SUCCESS;
}

REGISTER_OP(netglot_swish)
    .setForward(forward, "cpu")
    .setBackward(backward, "cpu")
    .setParseAttrs(parse)
    .setInferType(types)
    .setInferShape(shapes);

MXReturnValue initialize(int version) { return MX_SUCCESS; }
"""

    @check("its value")
    def value():
        package = os.path.dirname(mx.__file__)
        common = os.path.join(package, "src", "lib_api.cc")
        include = os.path.join(package, "include")
        with check.folder() as folder:
            library = _built(
                check, folder, source, common, "-std=c++11", "-I" + include
            )
            mx.library.load(library, False)
        return nd.netglot_swish(nd.array(POINTS)).asnumpy()

    @check("its gradient")
    def gradient():
        x = nd.array(POINTS)
        x.attach_grad()
        with autograd.record():
            y = nd.netglot_swish(x)
        y.backward()
        return x.grad.asnumpy()

    @check("a network with it, trained a step")
    def trained():
        w1, w2 = weights = [nd.array(W1), nd.array(W2)]
        for w in weights:
            w.attach_grad()
        with autograd.record():
            scores = nd.dot(nd.netglot_swish(nd.dot(nd.array(X), w1)), w2)
            loss = nd.mean((scores - nd.array(Y)) ** 2)
        loss.backward()
        optimizer = mx.optimizer.SGD(learning_rate=0.1)
        for i, w in enumerate(weights):
            optimizer.update(i, w, w.grad, optimizer.create_state(i, w))
        return np.concatenate([w.asnumpy().ravel() for w in weights])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        return _swish.alike(
            check, _swish.mxnet, nd.netglot_swish, lambda x: x * nd.sigmoid(x)
        )


def keras2(check):
    check.nothing(
        "Keras 2 has no kernels of its own: an operation in C is one of its engine",
        "keras.backend.load_library",
    )


def cntk(check):
    import cntk as C
    from cntk.ops.functions import UserFunction

    made = []
    how = "by ctypes, in a UserFunction: the wheel has no headers for a native one"

    class Swish(UserFunction):
        def infer_outputs(self):
            x = self.inputs[0]
            return [C.output_variable(x.shape, x.dtype, x.dynamic_axes)]

        def forward(self, x, device=None, outputs_to_retain=None):
            y = np.empty_like(x)
            made[0].swish_f(x, y, x.size)
            return x, y

        def backward(self, x, upstream):
            g = np.empty_like(x)
            made[0].swish_slope_f(x, np.ascontiguousarray(upstream), g, x.size)
            return g

    def swish(x):
        return C.user_function(Swish([x]))

    x = C.input_variable(4, needs_gradient=True)
    points = {x: POINTS[None].astype("float32")}

    @check("its value")
    def value():
        check.fallback(how)
        with check.folder() as folder:
            library = ctypes.CDLL(_built(check, folder, PLAIN))
        array = np.ctypeslib.ndpointer("float32", flags="C_CONTIGUOUS")
        library.swish_f.argtypes = [array, array, ctypes.c_int64]
        library.swish_slope_f.argtypes = [array, array, array, ctypes.c_int64]
        made.append(library)
        return swish(x).eval(points)[0]

    @check("its gradient")
    def gradient():
        check.fallback(how)
        return swish(x).grad(points, wrt=[x])[0]

    @check("a network with it, trained a step")
    def trained():
        check.fallback(how)
        x, y = C.input_variable(2), C.input_variable(1)
        weights = [C.parameter(init=w.astype("float32")) for w in (W1, W2)]
        scores = C.times(swish(C.times(x, weights[0])), weights[1])
        learner = C.sgd(weights, 0.1, minibatch_size=C.learners.IGNORE)
        trainer = C.Trainer(scores, C.squared_error(scores, y), [learner])
        trainer.train_minibatch({x: X.astype("float32"), y: Y.astype("float32")})
        return np.concatenate([w.value.ravel() for w in weights])

    @check("in mnist-cnn, trained like the composed form")
    def in_mnist_cnn():
        check.fallback(how)
        return _swish.alike(check, _swish.cntk, swish, lambda x: x * C.sigmoid(x))


def caffe2(check):
    import torch
    from caffe2.python import dyndep  # noqa: F401

    # An operator of C++ is loaded by dyndep, and wants the headers of protobuf.
    for name in CHECKS:

        @check(name)
        def built():
            include = os.path.join(os.path.dirname(torch.__file__), "include")
            if not os.path.exists(include + "/google/protobuf/message_lite.h"):
                check.not_here("the headers of protobuf 3.13, which its wheel lacks")
            check.no("the headers are there: the probe is out of date")
