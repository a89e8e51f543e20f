"""Formats of weights that it loads.

The same weights in five files: the framework's own format, NumPy's archive,
safetensors, PyTorch's archive and a caffemodel. Which does it read by itself, without
a reader of one's own and without another package?
"""

import base64
import json
import struct
import zlib

import numpy as np

W = np.array([[0.5, -1.5, 2.0], [3.0, 0.25, -0.75]], "float32")

CHECKS = {
    "its own": W,
    "NumPy's archive (npz)": W,
    "safetensors": W,
    "PyTorch's archive (pt)": W,
    "caffemodel": W,
}

#: torch.save({"w": W}), packed.
_PT = (
    b"c-o~@J#W)c6n(ZECm2W@B-GNOD?xy3CyvvAXutvwcpwb|A|zzF&Ldd3ai9H?3J_8yL?kBu0T"
    b"bdcFqVxGm6?qNCbp_<ycbi~c2tLtt5{dD?>YC}=X2dMxETNn1uzkF;1sZY`;jw*%Uugw;^t#"
    b"l*NWhNBDUG*2y_@yzl9hZdjuew1MIkgVES-<;J95A!+zlT=CC3lwp{MyNpV0btsX>N2oZGGv"
    b"+(WkrhsO~gc8biIFjwn0pblFqx_ly4A$UAs9<mgGeXB+*|z7p(8i9}4}@EO7y7V!-LbKNgmZ"
    b"0l9HSF$bTSZIM!qn5`}6fXLPxLGkyFou)6vx8L(ku^usMW&KpN;;DK$I^nNq+1@#O_o%w$q8"
    b"g8Cu#?*lL`*Xi{)U?1yRb&`F0s0tO(+(O@3(t^ztPy)?J!1@ymJ$hcccKKiW9)#;)>_V#H<("
    b"02zc+!Q>)KCPg30Eykx_0S51Q5z503UWpzDj=N+Fm7jhbp?cdres&4;C^N&4TlhqUcSZ{ZmO"
    b"*fp*$`)4MbM{FgxG&;aA%1L!-%0Z%PzVAJX9n)sJzA=m1a6}i!<$?{4~QI)DxQKgz%ZzvVD("
    b"U4?Cs@ALI4pn*Y!Hs8SqN6-k$xyM8&iHoBO(;))2h!;H0?a3ndogrspVB086E7x6))<hnIcc"
    b"7_5lac4&oQ280n+feYl;c@T^6Lgo5sd{Fq^=Bi(!wLKmK}_65uumrWmJX@ce}Xn{gK-WImNY"
    b"F=5{4!c1`EM;~+H|L_Zz<3mh-Tp!l{0y)rCCI"
)


def _message(number, content):
    """A field of a protocol buffer that holds bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def _write(folder):
    """The files that are the same for all; name of a check -> path."""
    npz, safetensors = folder + "/w.npz", folder + "/w.safetensors"
    pt, caffe = folder + "/w.pt", folder + "/w.caffemodel"
    np.savez(npz, w=W)
    where = {"dtype": "F32", "shape": W.shape, "data_offsets": [0, W.nbytes]}
    header = json.dumps({"w": where}).encode()
    header += b" " * (-len(header) % 8)
    with open(safetensors, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + W.tobytes())
    with open(pt, "wb") as file:
        file.write(zlib.decompress(base64.b85decode(_PT)))
    # NetParameter.layer (100): name, type, blobs (7): shape (7): dim (1), data (5).
    blob = _message(7, _message(1, bytes(W.shape))) + _message(5, W.tobytes())
    layer = _message(1, b"w") + _message(2, b"InnerProduct") + _message(7, blob)
    with open(caffe, "wb") as file:
        file.write(bytes([0xA2, 0x06, len(layer)]) + layer)
    return dict(zip(list(CHECKS)[1:], (npz, safetensors, pt, caffe)))


def _tried(check, own, read, refused_by, readers=None):
    """Reads each file: by ``read``, or by its own function in ``readers``."""
    with check.folder() as folder:
        files = _write(folder)

        @check("its own")
        def _():
            return own(folder)

        for name, path in files.items():
            reader = (readers or {}).get(name, read)

            @check(name, refused_by=refused_by)
            def _():
                return reader(path)


def numpy(check):
    import pickle

    import autograd.numpy as anp

    def own(folder):
        np.save(folder + "/w.npy", W)
        return anp.load(folder + "/w.npy")

    def read(path):
        found = anp.load(path, allow_pickle=True)
        return found["w"]

    _tried(check, own, read, (ValueError, KeyError, pickle.UnpicklingError))


def pytorch(check):
    import pickle

    import torch

    def own(folder):
        torch.save({"w": torch.from_numpy(W)}, folder + "/own.pt")
        return read(folder + "/own.pt")

    def read(path):
        try:
            return torch.load(path)["w"].numpy()
        except RuntimeError as error:
            if "safetensors is not installed" in str(error):
                check.not_here("the package safetensors")
            raise

    _tried(check, own, read, (RuntimeError, pickle.UnpicklingError, EOFError))


def jax(check):
    import pickle

    import jax.numpy as jnp

    def own(folder):
        jnp.save(folder + "/w.npy", jnp.asarray(W))
        return jnp.load(folder + "/w.npy")

    def read(path):
        found = jnp.load(path, allow_pickle=True)
        return found["w"]

    _tried(check, own, read, (ValueError, KeyError, pickle.UnpicklingError))


def flax(check):
    import orbax.checkpoint as ocp
    from flax import serialization

    def own(folder):
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder + "/own", {"w": W})
            checkpointer.wait_until_finished()
            return checkpointer.restore(folder + "/own")["w"]

    # The format of Flax' own serialization is msgpack.
    def read(path):
        with open(path, "rb") as file:
            return serialization.msgpack_restore(file.read())["w"]

    import msgpack

    refused = (ValueError, TypeError, msgpack.exceptions.UnpackException)
    _tried(check, own, read, refused)


def equinox(check):
    import equinox as eqx
    import jax.numpy as jnp

    def own(folder):
        eqx.tree_serialise_leaves(folder + "/w.eqx", jnp.asarray(W))
        return read(folder + "/w.eqx")

    def read(path):
        with open(path, "rb") as file:
            return eqx.tree_deserialise_leaves(file, jnp.zeros(W.shape))

    _tried(check, own, read, (ValueError, TypeError, RuntimeError, EOFError))


def tensorflow(check):
    import tensorflow as tf

    def own(folder):
        path = tf.train.Checkpoint(w=tf.Variable(W)).write(folder + "/own")
        return read(path)

    def read(path):
        w = tf.Variable(tf.zeros(W.shape))
        tf.train.Checkpoint(w=w).read(path).assert_consumed()
        return w.numpy()

    _tried(check, own, read, (tf.errors.OpError, ValueError))


def keras(check):
    import keras

    def model():
        return keras.Sequential(
            [keras.Input((2,)), keras.layers.Dense(3, use_bias=False)]
        )

    def own(folder):
        trained = model()
        trained.set_weights([W])
        trained.save_weights(folder + "/own.weights.h5")
        check.note("HDF5, or JSON with HDF5 for large ones")
        return read(folder + "/own.weights.h5")

    def read(path):
        empty = model()
        empty.load_weights(path)
        return empty.get_weights()[0]

    _tried(check, own, read, (ValueError, OSError, KeyError))


def paddle(check):
    import pickle

    import paddle

    def own(folder):
        paddle.save({"w": paddle.to_tensor(W)}, folder + "/own.pdparams")
        return read(folder + "/own.pdparams")

    def read(path):
        return paddle.load(path)["w"].numpy()

    refused = (ValueError, RuntimeError, TypeError, pickle.UnpicklingError, OSError)
    _tried(check, own, read, refused)


def mxnet(check):
    import mxnet as mx

    def own(folder):
        mx.nd.save(folder + "/own.params", {"w": mx.nd.array(W)})
        return read(folder + "/own.params")

    def read(path):
        return mx.nd.load(path)["w"].asnumpy()

    _tried(check, own, read, (mx.base.MXNetError, KeyError))


def mlx(check):
    import mlx.core as mx

    def own(folder):
        mx.save(folder + "/w.npy", mx.array(W))
        check.note("its own are NumPy's, safetensors and GGUF")
        return np.array(mx.load(folder + "/w.npy"))

    _tried(
        check,
        own,
        lambda path: np.array(mx.load(path)["w"]),
        (RuntimeError, ValueError),
    )


def chainer(check):
    import pickle
    import zipfile

    import chainer
    from chainer import serializers

    class Network(chainer.Chain):
        def __init__(self):
            super(Network, self).__init__()
            with self.init_scope():
                self.w = chainer.Parameter(np.zeros_like(W))

    def own(folder):
        network = Network()
        network.w.array[...] = W
        serializers.save_npz(folder + "/own.npz", network)
        return read(folder + "/own.npz")

    def read(path):
        network = Network()
        serializers.load_npz(path, network)
        return network.w.array

    def caffe(path):
        try:
            from chainer.links.caffe import CaffeFunction
        except TypeError as error:
            check.not_here("protobuf 3.20 or older: %s" % str(error).split("\n")[0])
        return CaffeFunction(path)["w"].W.array

    refused = (ValueError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError)
    _tried(check, own, read, refused, {"caffemodel": caffe})


def keras2(check):
    import keras

    def model():
        return keras.Sequential(
            [keras.layers.Dense(3, use_bias=False, input_shape=(2,))]
        )

    def own(folder):
        trained = model()
        trained.set_weights([W])
        trained.save_weights(folder + "/own.h5")
        check.note("HDF5")
        return read(folder + "/own.h5")

    def read(path):
        empty = model()
        empty.load_weights(path)
        return empty.get_weights()[0]

    _tried(check, own, read, (OSError, ValueError, KeyError))


def tinygrad(check):
    from tinygrad import Tensor
    from tinygrad.nn.state import safe_load, safe_save, torch_load

    def own(folder):
        safe_save({"w": Tensor(W)}, folder + "/own.safetensors")
        check.note("its own is safetensors; GGUF is read as well")
        return read(folder + "/own.safetensors")

    def read(path):
        return safe_load(path)["w"].numpy()

    refused = (ValueError, KeyError, AssertionError, UnicodeDecodeError, RuntimeError)
    _tried(
        check,
        own,
        read,
        refused + (OverflowError, MemoryError, OSError),
        {"PyTorch's archive (pt)": lambda path: torch_load(path)["w"].numpy()},
    )


def cntk(check):
    import cntk as C

    def own(folder):
        x = C.input_variable(3)
        C.times(C.parameter(init=W), x).save(folder + "/own.model")
        return C.load_model(folder + "/own.model").parameters[0].value

    # "Failed to parse Dictionary from the input stream"
    def read(path):
        return C.load_model(path).parameters[0].value

    _tried(check, own, read, (RuntimeError,))


def caffe2(check):
    from caffe2.python import core, workspace

    def loaded(path, kind):
        workspace.ResetWorkspace()
        load = core.CreateOperator(
            "Load", [], ["w"], db=path, db_type=kind, absolute_path=1
        )
        workspace.RunOperatorOnce(load)
        return workspace.FetchBlob("w")

    def own(folder):
        workspace.ResetWorkspace()
        workspace.FeedBlob("w", W)
        path = folder + "/own.minidb"
        save = core.CreateOperator(
            "Save", ["w"], [], db=path, db_type="minidb", absolute_path=1
        )
        workspace.RunOperatorOnce(save)
        return loaded(path, "minidb")

    def read(path):
        return loaded(path, "minidb")

    def caffe(path):
        try:
            from caffe2.python import caffe_translator
        except ImportError as error:
            if error.name != "caffe":
                raise
            check.not_here("Caffe, whose messages its translator reads files with")
        with open(path, "rb") as file:
            network = caffe_translator.caffe_pb2.NetParameter.FromString(file.read())
        return caffe_translator.utils.CaffeBlobToNumpyArray(network.layer[0].blobs[0])

    _tried(check, own, read, (RuntimeError,), {"caffemodel": caffe})


def caffe(check):
    import caffe
    from caffe import layers as L
    from google.protobuf.message import DecodeError

    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [1, 3]})
    n.w = L.InnerProduct(n.data, num_output=2, bias_term=False)

    def network(folder):
        with open(folder + "/net.prototxt", "w") as file:
            file.write(str(n.to_proto()))
        return caffe.Net(folder + "/net.prototxt", caffe.TEST)

    def own(folder):
        net = network(folder)
        net.params["w"][0].data[...] = W
        net.save(folder + "/own.caffemodel")
        return read(folder + "/own.caffemodel")

    def read(path):
        with check.folder() as folder:
            net = network(folder)
        net.copy_from(path)
        return net.params["w"][0].data.copy()

    _tried(check, own, read, (DecodeError, RuntimeError))
