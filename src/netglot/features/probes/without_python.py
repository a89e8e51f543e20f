"""Runs without Python.

A trained network is exported, and a program in C or C++, built here against the
framework's own library, loads it and prints what it gives.
"""

import os
import subprocess

import numpy as np

TIMEOUT = 400

W = np.array([[1, -2], [0.5, 3], [-1, 0.25]], "float32")

# relu of [1 2 3] W, which is [-1 4.75]
CHECKS = {"the numbers of a program in C or C++": [0.0, 4.75]}


def _built(check, folder, name, source, options, libraries=()):
    """Builds and runs the program; it gets the folder and prints numbers."""
    compiler = check.command("g++" if name.endswith("cpp") else "gcc")
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write(source)
    program = os.path.join(folder, "program")
    found = subprocess.run(
        [compiler, path, "-o", program] + options,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if found.returncode:
        raise RuntimeError("it cannot be built: " + found.stdout.decode()[-250:])
    variables = dict(os.environ, LD_LIBRARY_PATH=os.pathsep.join(libraries))
    told = subprocess.run(
        [program, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=variables,
        timeout=60,
    )
    if told.returncode:
        raise RuntimeError(
            "it ended with %d: %s" % (told.returncode, told.stderr[-250:])
        )
    return [float(number) for number in told.stdout.decode().split()]


_NAME = "the numbers of a program in C or C++"


def numpy(check):
    check.nothing("a model is a function of Python", "autograd.export")


_LIBTORCH = """
#include <torch/script.h>
#include <cstdio>
int main(int, char** arguments) {
  auto model = torch::jit::load(std::string(arguments[1]) + "/model.pt");
  auto y = model.forward({torch::tensor({{1.f, 2.f, 3.f}})}).toTensor();
  for (int i = 0; i < y.numel(); ++i) std::printf("%g ", y[0][i].item<float>());
}
"""


def pytorch(check):
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False), torch.nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(W.T))
    home = os.path.dirname(torch.__file__)

    @check(_NAME)
    def program():
        with check.folder() as folder:
            torch.jit.trace(model, torch.ones(1, 3)).save(folder + "/model.pt")
            return _built(
                check,
                folder,
                "program.cpp",
                _LIBTORCH,
                [
                    "-std=c++20",
                    "-O0",
                    "-I%s/include" % home,
                    "-I%s/include/torch/csrc/api/include" % home,
                    "-L%s/lib" % home,
                    "-ltorch",
                    "-ltorch_cpu",
                    "-lc10",
                ],
                [home + "/lib"],
            )


def jax(check):
    import glob

    import jaxlib

    @check(_NAME)
    def program():
        home = os.path.dirname(jaxlib.__file__)
        found = glob.glob(home + "/**/*pjrt_c_api*", recursive=True)
        if found:
            raise AssertionError("jaxlib has %s: the probe is out of date" % found[0])
        check.no("it exports StableHLO, but the wheel has no library that runs it in C")


_LIBTENSORFLOW = """
#include <stdio.h>
#include <string.h>
#include "tensorflow/c/c_api.h"
int main(int count, char** arguments) {
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(
      options, NULL, arguments[1], tags, 1, graph, NULL, status);
  if (TF_GetCode(status)) return puts(TF_Message(status)), 1;
  int64_t shape[] = {1, 3};
  float x[] = {1, 2, 3};
  TF_Tensor* in = TF_AllocateTensor(TF_FLOAT, shape, 2, sizeof x);
  memcpy(TF_TensorData(in), x, sizeof x);
  TF_Output from = {TF_GraphOperationByName(graph, "INPUT"), 0};
  TF_Output to = {TF_GraphOperationByName(graph, "OUTPUT"), 0};
  TF_Tensor* out = NULL;
  TF_SessionRun(session, NULL, &from, &in, 1, &to, &out, 1, NULL, 0, NULL, status);
  if (TF_GetCode(status)) return puts(TF_Message(status)), 1;
  float* y = TF_TensorData(out);
  printf("%g %g", y[0], y[1]);
}
"""


def _in_c(check, folder):
    """Runs the SavedModel in this folder by TensorFlow's library for C."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    home = os.path.dirname(tf.__file__)
    with open(folder + "/saved_model.pb", "rb") as file:
        saved = saved_model_pb2.SavedModel.FromString(file.read())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    # Names are "operation:number of its output".
    (came,), (went,) = signature.inputs.values(), signature.outputs.values()
    source = _LIBTENSORFLOW.replace("INPUT", came.name.split(":")[0])
    source = source.replace("OUTPUT", went.name.split(":")[0])
    return _built(
        check,
        folder,
        "program.c",
        source,
        ["-I%s/include" % home]
        + ["%s/libtensorflow_%s.so.2" % (home, part) for part in ("cc", "framework")],
        [home],
    )


def tensorflow(check):
    import tensorflow as tf

    class Network(tf.Module):
        def __init__(self):
            self.w = tf.Variable(W)

        @tf.function(input_signature=[tf.TensorSpec((None, 3))])
        def __call__(self, x):
            return {"y": tf.nn.relu(x @ self.w)}

    @check(_NAME)
    def program():
        with check.folder() as folder:
            model = Network()
            tf.saved_model.save(model, folder, signatures=model.__call__)
            return _in_c(check, folder)


def _keras_network():
    import keras

    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, "relu", use_bias=False)]
    )
    model.set_weights([W])
    return model


def keras_tensorflow(check):
    @check(_NAME)
    def program():
        with check.folder() as folder:
            _keras_network().export(folder, verbose=False)
            return _in_c(check, folder)


def keras_jax(check):
    @check(_NAME)
    def program():
        with check.folder() as folder:
            try:
                _keras_network().export(folder, verbose=False)
            except ImportError as error:
                check.not_here("the package tensorflow: %s" % str(error).split("\n")[0])
            return _in_c(check, folder)


def keras_torch(check):
    import torch

    home = os.path.dirname(torch.__file__)

    @check(_NAME)
    def program():
        check.fallback("by the engine: traced by torch.jit, run by libtorch")
        with check.folder() as folder:
            model = _keras_network().eval()
            torch.jit.trace(model, torch.ones(1, 3)).save(folder + "/model.pt")
            return _built(
                check,
                folder,
                "program.cpp",
                _LIBTORCH,
                [
                    "-std=c++20",
                    "-O0",
                    "-I%s/include" % home,
                    "-I%s/include/torch/csrc/api/include" % home,
                    "-L%s/lib" % home,
                    "-ltorch",
                    "-ltorch_cpu",
                    "-lc10",
                ],
                [home + "/lib"],
            )


def cntk(check):
    import cntk as C

    @check(_NAME)
    def program():
        package = os.path.dirname(C.__file__)
        headers = [
            name
            for _, _, names in os.walk(package)
            for name in names
            if name == "CNTKLibrary.h"
        ]
        if not headers:
            check.not_here(
                "CNTKLibrary.h, the header of its library, which its wheel lacks"
            )
        check.no("the header is there: the probe is out of date")


def caffe2(check):
    import torch
    from caffe2.python import model_helper, workspace
    from caffe2.python.modeling.initializers import Initializer
    from caffe2.python.predictor import mobile_exporter

    source = r"""
#include <caffe2/core/init.h>
#include <caffe2/core/workspace.h>
#include <caffe2/proto/caffe2_pb.h>
#include <caffe2/utils/proto_utils.h>
#include <iostream>
#include <string>

int main(int count, char** arguments) {
  std::string folder = arguments[1];
  caffe2::NetDef init, predict;
  if (!caffe2::ReadProtoFromFile(folder + "/init.pb", &init)) return 1;
  if (!caffe2::ReadProtoFromFile(folder + "/predict.pb", &predict)) return 1;
  caffe2::Workspace workspace;
  workspace.RunNetOnce(init);
  auto* x = BlobGetMutableTensor(workspace.CreateBlob("x"), caffe2::CPU);
  x->Resize(1, 3);
  for (int i = 0; i < 3; i++) x->mutable_data<float>()[i] = i + 1;
  workspace.RunNetOnce(predict);
  const auto& y = workspace.GetBlob("y")->Get<caffe2::Tensor>();
  for (int i = 0; i < 2; i++) std::cout << y.data<float>()[i] << " ";
}
"""

    @check(_NAME)
    def program():
        workspace.ResetWorkspace()
        model = model_helper.ModelHelper("network")
        w = model.create_param(
            "w", W.shape, initializer=Initializer("GivenTensorFill", values=W)
        )
        model.net.AddExternalInput("x")
        y = model.net.Relu(model.net.MatMul(["x", w], "product"), "y")
        model.net.AddExternalOutput(y)
        workspace.RunNetOnce(model.param_init_net)
        nets = mobile_exporter.Export(workspace, model.net, [w])
        package = os.path.dirname(torch.__file__)
        include, libraries = package + "/include", package + "/lib"
        if not os.path.exists(include + "/google/protobuf/message_lite.h"):
            check.not_here("the headers of protobuf 3.13, which its wheel lacks")
        with check.folder() as folder:
            for name, net in zip(("/init.pb", "/predict.pb"), nets):
                with open(folder + name, "wb") as file:
                    file.write(net.SerializeToString())
            options = [
                "-std=c++14",
                "-I" + include,
                "-L" + libraries,
                "-D_GLIBCXX_USE_CXX11_ABI=0",
                "-ltorch",
                "-ltorch_cpu",
                "-lc10",
            ]
            return _built(check, folder, "program.cpp", source, options, [libraries])
