"""Networks that OpenCV runs forward, and solvers that hold their weights."""

import os
from collections import OrderedDict

import numpy as np
from google.protobuf import text_format

from .proto import caffe_pb2
from .shapes import infer

_RANDOM = np.random.RandomState(0)

#: Layers of Caffe that OpenCV does not have.
ABSENT = ("Bias", "Embed", "Log", "LSTM", "RNN", "Reduction", "Tile")


def _absent(layer, blobs):
    """What of a layer OpenCV does not have, or nothing."""
    if layer.type in ABSENT:
        return "has no layer " + layer.type
    if layer.type == "Deconvolution":
        if max(layer.convolution_param.dilation or [1]) > 1:
            return "does not dilate a Deconvolution"
        if len(blobs[layer.bottom[0]].data.shape) != 4:
            return "has a Deconvolution of images alone"
    return ""


class NotHere(NotImplementedError):
    """What only Caffe itself can do."""


def set_random_seed(seed):
    """Weights are drawn from this seed on."""
    _RANDOM.seed(seed)


def set_mode_cpu():
    """Everything is computed on the processor."""


def _read(path, message):
    with open(path) as file:
        return text_format.Parse(file.read(), message)


class Blob:
    """An array."""

    def __init__(self, shape):
        self.data = np.zeros(shape, np.float32)

    def reshape(self, *shape):
        """Changes the shape; what was in it is lost."""
        if tuple(shape) != self.data.shape:
            self.data = np.zeros(shape, np.float32)


def _fill(blob, filler):
    """Draws initial weights."""
    shape, kind = blob.data.shape, filler.type
    if kind == "constant":
        blob.data[...] = filler.value
    elif kind == "uniform":
        blob.data[...] = _RANDOM.uniform(filler.min, filler.max, shape)
    elif kind == "gaussian":
        blob.data[...] = _RANDOM.normal(filler.mean, filler.std, shape)
    elif kind in ("xavier", "msra"):
        ins, outs = blob.data.size / shape[0], blob.data.size / shape[1]
        count = (ins, outs, (ins + outs) / 2)[filler.variance_norm]
        if kind == "xavier":
            limit = np.sqrt(3 / count)
            blob.data[...] = _RANDOM.uniform(-limit, limit, shape)
        else:
            blob.data[...] = _RANDOM.normal(0, np.sqrt(2 / count), shape)
    else:
        raise NotHere("not here: there is no filler of type " + kind)


def _taken(layer, phase):
    """Whether a layer is part of the network in a phase."""
    if layer.include:
        return any(not r.HasField("phase") or r.phase == phase for r in layer.include)
    return not any(r.HasField("phase") and r.phase == phase for r in layer.exclude)


class Net:
    """The network of a prototxt, with the weights of a caffemodel if one is given."""

    def __init__(self, network_file, phase, weights=None):
        whole = _read(network_file, caffe_pb2.NetParameter())
        layers = [layer for layer in whole.layer if _taken(layer, phase)]
        del whole.layer[:]
        whole.layer.extend(layers)
        self._message = whole
        self.blobs, self.params = OrderedDict(), OrderedDict()
        self._made = None
        shapes = {}
        read, self._writers = set(), {}
        self.inputs = []
        for layer in self._message.layer:
            tops, held = infer(layer, [shapes[bottom] for bottom in layer.bottom])
            for top, shape in zip(layer.top, tops):
                shapes[top] = shape
                self.blobs[top] = Blob(shape)
                self._writers[top] = layer.name, list(layer.top).index(top)
            if layer.type == "Input":
                self.inputs += layer.top
            read |= set(layer.bottom) - set(layer.top)
            if held:
                blobs = [Blob(shape) for shape, _ in held]
                for blob, (_, filler) in zip(blobs, held):
                    _fill(blob, filler)
                self.params[layer.name] = blobs
        self.outputs = [top for top in self.blobs if top not in read]
        if weights:
            self.copy_from(weights)

    def copy_from(self, path):
        """Reads the weights of layers of the same name from a caffemodel."""
        model = caffe_pb2.NetParameter()
        with open(path, "rb") as file:
            model.ParseFromString(file.read())
        for layer in model.layer:
            for blob, given in zip(self.params.get(layer.name, ()), layer.blobs):
                array = np.array(given.data, np.float32)
                blob.data[...] = array.reshape(blob.data.shape)

    def _with_weights(self):
        model = caffe_pb2.NetParameter()
        model.CopyFrom(self._message)
        for layer in model.layer:
            for blob in self.params.get(layer.name, ()):
                held = layer.blobs.add()
                held.shape.dim.extend(blob.data.shape)
                held.data.extend(blob.data.ravel().tolist())
        return model

    def save(self, path):
        """Writes the network and its weights as a caffemodel."""
        with open(path, "wb") as file:
            file.write(self._with_weights().SerializeToString())

    def share_with(self, other):
        """Takes the arrays of the layers of the same name of another network."""
        for name, blobs in self.params.items():
            for blob, given in zip(blobs, other.params.get(name, ())):
                blob.data = given.data

    def forward(self, **inputs):
        """The outputs for arrays by input; these keep what they were given."""
        for name, array in inputs.items():
            if array.shape[0] != self.blobs[name].data.shape[0]:
                raise ValueError("Input is not batch sized")
            self.blobs[name].data[...] = array
        engine = self._engine()
        for name in self.inputs:
            engine.setInput(self.blobs[name].data, name)
        for name in self.outputs:
            layer, index = self._writers[name]
            (tops,) = engine.forwardAndRetrieve([layer])
            self.blobs[name].data = np.array(tops[index])
        return {name: self.blobs[name].data for name in self.outputs}

    def _engine(self):
        """OpenCV's network, made anew where weights or the sizes of inputs changed."""
        import cv2

        state = [b.data for blobs in self.params.values() for b in blobs]
        shapes = [self.blobs[name].data.shape for name in self.inputs]
        if self._made is not None:
            engine, before, sizes = self._made
            if sizes == shapes and all(map(np.array_equal, state, before)):
                return engine
        for layer in self._message.layer:
            absent = _absent(layer, self.blobs)
            if absent:
                raise NotHere("not here: of Caffe's layers, OpenCV " + absent)
        if os.environ.get("OMP_NUM_THREADS"):
            cv2.setNumThreads(int(os.environ["OMP_NUM_THREADS"]))
        for layer in self._message.layer:
            if layer.type == "Input":
                for top, shape in zip(layer.top, layer.input_param.shape):
                    shape.dim[:] = self.blobs[top].data.shape
        text = text_format.MessageToString(self._message)
        # OpenCV's own name for it.
        text = text.replace("round_mode: FLOOR", "ceil_mode: false")
        engine = cv2.dnn.readNetFromCaffe(
            np.frombuffer(text.encode(), np.uint8),
            np.frombuffer(self._with_weights().SerializeToString(), np.uint8),
        )
        # Its convolutions by Winograd are less exact; of two layers of type Power, one
        # after the other, fusing them loses the second.
        engine.enableWinograd(False)
        engine.enableFusion(False)
        self._made = engine, [array.copy() for array in state], shapes
        return engine


class Solver:
    """The network of a solver's prototxt; it does not train."""

    def __init__(self, path):
        parameters = _read(path, caffe_pb2.SolverParameter())
        if parameters.random_seed >= 0:
            set_random_seed(parameters.random_seed)
        file = parameters.train_net or parameters.net
        self.net = Net(file, caffe_pb2.TRAIN)

    def step(self, count):
        """Raises ``NotHere``."""
        raise NotHere(
            "not here: OpenCV runs Caffe's networks forward; only Caffe itself trains "
            "them (--python with an interpreter that has it)"
        )


get_solver = Solver
