"""What pycaffe offers of Caffe's forward half, computed by OpenCV's DNN module.

Networks are written by NetSpec as prototxt and read from it; a Net runs them forward.
Nothing here trains: a solver reads its networks and has their weights, and its ``step``
raises. A program is the same as with Caffe itself.
"""

from .net import Net, Solver, get_solver, set_mode_cpu, set_random_seed
from .net_spec import NetSpec, layers, params
from .proto import caffe_pb2
from .proto.caffe_pb2 import TEST, TRAIN

__version__ = "1.0.0"
__all__ = [
    "TEST",
    "TRAIN",
    "Net",
    "NetSpec",
    "Solver",
    "caffe_pb2",
    "get_solver",
    "layers",
    "params",
    "set_mode_cpu",
    "set_random_seed",
]
