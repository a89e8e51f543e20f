"""What PyTorch does when told nothing: ``read_pytorch.py ANSWERS``."""

import platform
import warnings

import numpy as np
import solving
import torch
from answering import lacking, to_be_told, write_answers
from torch import nn


def array(tensor):
    """A tensor as NumPy has it."""
    return tensor.detach().numpy()


def tensor(values):
    """Single precision, as PyTorch has it."""
    return torch.tensor(np.asarray(values), dtype=torch.float32)


def put(parameter, values):
    """Set a parameter; returns the values."""
    parameter.data = tensor(values).reshape(parameter.shape)
    return np.asarray(values)


# --- Dense, convolution, pooling ------------------------------------------------------


def dense():
    """Linear."""
    return {
        "bias": nn.Linear(3, 4).bias is not None,
        "kernel_init": solving.distribution(
            lambda i, o: array(nn.Linear(i, o).weight), solving.MATRICES, solving.fans
        ),
        "bias_init": solving.distribution(
            lambda i, o: array(nn.Linear(i, o).bias), solving.WIDE, one_fan
        ),
    }


def one_fan(inputs, outputs):
    """The only size that changes among ``solving.WIDE``."""
    return {"fan_in": inputs}


def nine(inputs, outputs):
    """Fans of a 3 x 3 kernel."""
    return solving.fans(inputs, outputs, 9)


def conv():
    """Conv2d."""
    found = solving.conv_geometry(
        nn.Conv2d(2, 11, 3)(torch.zeros(1, 2, 9, 9)).shape, 11
    )
    layer = nn.Conv2d(1, 1, 3)
    put(layer.weight, solving.KERNEL)
    put(layer.bias, 0.0)
    centre = array(layer(tensor(solving.IMAGE)[None, None]))[0, 0, 0, 0]
    return {
        **found,
        "bias": layer.bias is not None,
        "flipped": solving.flips(centre),
        "kernel_init": solving.distribution(
            lambda i, o: array(nn.Conv2d(i, o, 3).weight), solving.KERNELS, nine
        ),
        "bias_init": solving.distribution(
            lambda i, o: array(nn.Conv2d(i, o, 3).bias), solving.WIDE[:3], nine_in
        ),
    }


def nine_in(inputs, outputs):
    """The only size that changes among ``solving.WIDE``, of a 3 x 3 kernel."""
    return {"fan_in": inputs * 9}


def conv_transpose():
    """ConvTranspose2d."""
    layer = nn.ConvTranspose2d(1, 1, 3)
    put(layer.weight, solving.KERNEL)
    put(layer.bias, 0.0)
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 2] = 1
    doubled = nn.ConvTranspose2d(1, 1, 3, stride=2)(torch.zeros(1, 1, 4, 4))
    return {
        **solving.transposed_geometry(array(layer(point))[0, 0], doubled.shape[-1]),
        "bias": layer.bias is not None,
        "stride": 1 if layer(torch.zeros(1, 1, 9, 9)).shape[-1] < 13 else 2,
        "kernel_init": solving.distribution(
            lambda i, o: array(nn.ConvTranspose2d(i, o, 3).weight),
            solving.KERNELS,
            nine,
        ),
    }


def max_pool():
    """MaxPool2d."""
    layer = nn.MaxPool2d(3)
    stride, padding = solving.window_geometry(layer(torch.zeros(1, 1, 9, 9)).shape[-1])
    padded = nn.MaxPool2d(3, padding=1)(-torch.ones(1, 1, 9, 9))
    return {
        "kernel": to_be_told(lambda: nn.MaxPool2d()),
        "stride": "kernel" if stride == 3 else stride,
        "padding": padding,
        "ceil": layer(torch.zeros(1, 1, 8, 8)).shape[-1] == 3,
        "padding_wins": bool(padded.max() == 0),
    }


def avg_pool():
    """AvgPool2d."""
    layer = nn.AvgPool2d(3)
    stride, padding = solving.window_geometry(layer(torch.zeros(1, 1, 9, 9)).shape[-1])
    padded = nn.AvgPool2d(3, padding=1)(torch.ones(1, 1, 9, 9))
    return {
        "kernel": to_be_told(lambda: nn.AvgPool2d()),
        "stride": "kernel" if stride == 3 else stride,
        "padding": padding,
        "ceil": layer(torch.zeros(1, 1, 8, 8)).shape[-1] == 3,
        "count_padding": bool(padded.min() < 0.9),
    }


# --- Normalisation, dropout, embedding ------------------------------------------------


def batch_norm():
    """BatchNorm2d."""
    x = solving.RANDOM.normal(1, 2, size=(4, 3, 2, 2))
    layer = nn.BatchNorm2d(3)
    by_batch = array(layer(tensor(x)))
    signs = tensor(solving.signs((4, 3, 2, 2), 0))
    return {
        **solving.running(x[:, 0], layer.running_mean[0], layer.running_var[0]),
        "epsilon": solving.norm_epsilon(
            lambda s: array(nn.BatchNorm2d(3)(s * signs)).max()
        ),
        "scale": layer.weight is not None,
        "shift": layer.bias is not None,
        "mode": "training" if abs(by_batch.mean()) < 1e-3 else "evaluation",
    }


def layer_norm():
    """LayerNorm."""
    layer = nn.LayerNorm(6)
    signs = tensor(solving.signs((2, 6), 1))
    return {
        "epsilon": solving.norm_epsilon(lambda s: array(layer(s * signs)).max()),
        "axes": solving.normalised_axes(lambda x: array(layer(tensor(x))), "NTF"),
        "scale": layer.weight is not None,
        "shift": layer.bias is not None,
    }


def group_norm():
    """GroupNorm."""
    layer = nn.GroupNorm(2, 4)
    signs = tensor(solving.signs((1, 4, 2, 2), 2))
    return {
        "groups": to_be_told(lambda: nn.GroupNorm(num_channels=4)),
        "epsilon": solving.norm_epsilon(lambda s: array(layer(s * signs)).max()),
        "scale": layer.weight is not None,
        "shift": layer.bias is not None,
    }


def rms_norm():
    """RMSNorm: its epsilon is that of the element type."""
    layer = nn.RMSNorm(6)
    signs = tensor(solving.signs((2, 6), 1))
    return {
        "epsilon": solving.norm_epsilon(lambda s: array(layer(s * signs)).max()),
        "axes": solving.root_mean_axes(lambda x: array(layer(tensor(x))), "NTF"),
        "scale": layer.weight is not None,
    }


def dropout():
    """Dropout."""
    ones = torch.ones(100000)
    rate = float((nn.Dropout()(ones) == 0).float().mean())
    layer = nn.Dropout(0.75)
    fresh = bool((layer(ones) == 0).any())
    kept = array(layer(ones))
    assert bool((layer.eval()(ones) == 1).all())
    return {
        "rate": solving.rounded(rate, 2),
        "scaling": solving.dropped(kept, 0.75),
        "mode": "training" if fresh else "evaluation",
        "switch": "model.eval()",
    }


def embedding():
    """Embedding."""
    layer = nn.Embedding(5, 3)
    layer(torch.tensor([[0, 1]])).sum().backward()
    try:
        beyond = str(array(layer(torch.tensor([7]))))
    except IndexError:
        beyond = "raises"
    return {
        "table_init": solving.distribution(
            lambda v, f: array(nn.Embedding(v, f).weight), solving.MATRICES, table
        ),
        "padding_index": "none" if bool((layer.weight.grad[0] == 1).all()) else 0,
        "out_of_range": beyond,
    }


def table(vocabulary, features):
    """Sizes that the scale of a table may follow."""
    return {"vocabulary": vocabulary, "features": features}


# --- Recurrent layers, attention ------------------------------------------------------


def recurrent(kind, gates):
    """What RNN, LSTM and GRU have in common."""
    layer = kind(2, 3)
    _, state = layer(torch.zeros(5, 7, 2))
    state = state[0] if isinstance(state, tuple) else state
    names = [name for name, _ in layer.named_parameters() if "bias" in name]
    found = {
        "bias": {2: "two", 1: "one", 0: "none"}[len(names)],
        "order": {7: "TNF", 5: "NTF"}[state.shape[1]],
        "returns": solving.returned(layer(torch.zeros(5, 7, 2))[0].shape, 5, 3),
    }
    fans = solving.gate_fans(gates)
    arrays = (("kernel", "weight_ih_l0"), ("recurrent", "weight_hh_l0"))
    for name, attribute in (*arrays, ("bias", "bias_ih_l0")):
        found[name + "_init"] = solving.distribution(
            lambda i, h, a=attribute: array(getattr(kind(i, h), a)),
            solving.CELLS,
            fans,
            gates if name == "recurrent" else 0,
        )
    return found


def run_recurrent(kind):
    """States of random steps, the steps and the weights: kernel, recurrent, biases."""
    layer = kind(2, 3)
    x = solving.RANDOM.normal(size=(5, 2))
    weights = [
        put(parameter, solving.RANDOM.normal(size=tuple(parameter.shape)))
        for parameter in layer.parameters()
    ]
    return array(layer(tensor(x)[:, None])[0])[:, 0], x, weights


def simple_rnn():
    """RNN."""
    states, x, (kernel, hidden, b, c) = run_recurrent(nn.RNN)
    activation = solving.rnn_activation(states, x, kernel, hidden, b + c)
    return {"activation": activation, **recurrent(nn.RNN, 1)}


def lstm():
    """LSTM."""
    states, x, (kernel, hidden, b, c) = run_recurrent(nn.LSTM)
    gates = solving.lstm_gates(states, x, kernel, hidden, b + c)
    place = gates.index("f")
    layers = [nn.LSTM(2, 300) for _ in range(300)]
    biases = [array(layer.bias_ih_l0 + layer.bias_hh_l0) for layer in layers]
    mean = float(np.mean([np.split(bias, 4)[place] for bias in biases]))
    return {
        "gates": gates,
        "forget_bias": "random, mean 0" if abs(mean) < 1e-3 else solving.rounded(mean),
        **recurrent(nn.LSTM, 4),
    }


def gru():
    """GRU."""
    states, x, (kernel, hidden, b, c) = run_recurrent(nn.GRU)
    form = solving.gru_form(states, x, kernel, hidden, b, c)
    return {**form, **recurrent(nn.GRU, 3)}


def attention():
    """MultiheadAttention."""
    layer = nn.MultiheadAttention(8, 2)
    x = solving.RANDOM.normal(size=(3, 8))
    w = put(layer.in_proj_weight, solving.RANDOM.normal(size=(24, 8)))
    b = put(layer.in_proj_bias, solving.RANDOM.normal(size=24))
    out = put(layer.out_proj.weight, solving.RANDOM.normal(size=(8, 8)))
    end = put(layer.out_proj.bias, solving.RANDOM.normal(size=8))
    query = tensor(x)[:, None]
    answer = array(layer(query, query, query)[0])
    # In training mode: a share that is dropped would differ.
    assert np.array_equal(answer, array(layer(query, query, query)[0]))
    kernels = [*(piece.T for piece in np.split(w, 3)), out.T]
    return {
        "bias": layer.in_proj_bias is not None,
        "scale": solving.attention_scale(
            answer[:, 0], x, kernels, [*np.split(b, 3), end], 2
        ),
        # Had the first axis been the batch, the scale would not have been found.
        "order": "TNF",
        "dropout": 0.0,
        "kernel_init": solving.distribution(
            lambda e: array(nn.MultiheadAttention(e, 1).in_proj_weight),
            ((256,), (128,), (512,)),
            lambda e: {"features": e},
        ),
    }


# --- Activations, shape ---------------------------------------------------------------


def gelu():
    """GELU."""
    points = array(nn.GELU()(tensor(solving.POINTS)))
    return {"approximate": solving.gelu_approximate(points)}


def leaky_relu():
    """LeakyReLU, and the function."""
    function = nn.functional.leaky_relu(tensor(solving.POINTS))
    return {
        "slope": solving.slope(array(nn.LeakyReLU()(tensor(solving.POINTS)))),
        "function_slope": solving.slope(array(function)),
    }


def elu():
    """ELU."""
    return {"alpha": solving.elu_alpha(array(nn.ELU()(tensor(solving.POINTS))))}


def softmax():
    """Softmax without a dimension: it warns, and takes one by the number of axes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axis = solving.softmax_axis(lambda x: array(nn.Softmax()(tensor(x))))
    return {"axis": axis}


def flatten():
    """Flatten."""
    return solving.flattened(lambda x: array(nn.Flatten()(tensor(x))), "NCHW")


def upsample():
    """Upsample."""
    row = tensor([0.0, 4.0, 4.0, 8.0]).expand(1, 1, 4, 4)
    by_default = array(nn.Upsample(scale_factor=2)(row))[0, 0, 0]
    bilinear = array(nn.Upsample(scale_factor=2, mode="bilinear")(row))[0, 0, 0]
    return {
        "scale": to_be_told_at_call(lambda: nn.Upsample()(row)),
        "mode": solving.enlarged(by_default),
        "bilinear": solving.enlarged(bilinear),
    }


def to_be_told_at_call(without):
    """The fact of what is only missed when the layer is used."""
    try:
        without()
    except ValueError:
        return lacking("has no default: it has to be told")
    raise AssertionError("it can be left out after all")


# --- Losses ---------------------------------------------------------------------------


def cross_entropy():
    """CrossEntropyLoss."""
    labels = torch.tensor(solving.LABELS)
    answer = nn.CrossEntropyLoss()(tensor(solving.SCORES), labels)
    return solving.cross_entropy(array(answer))


def squared_error():
    """MSELoss."""
    answer = nn.MSELoss()(tensor(solving.SCORES), tensor(solving.TARGETS))
    return solving.squared_error(array(answer))


def binary_cross_entropy():
    """BCELoss."""
    return solving.binary_cross_entropy(
        lambda values, targets: array(nn.BCELoss()(tensor(values), tensor(targets)))
    )


# --- Optimizers -----------------------------------------------------------------------

NAMES = {"rate": "lr", "accumulator": "initial_accumulator_value"}


def walk(optimizer):
    """``walk`` of solving.py for a class of torch.optim."""

    def run(gradients, start=0.0, rates=None, **arguments):
        weight = nn.Parameter(torch.tensor([start]))
        told = {NAMES.get(name, name): value for name, value in arguments.items()}
        made = optimizer([weight], **told)
        path = [start]
        for step, gradient in enumerate(gradients):
            if rates:
                made.param_groups[0]["lr"] = rates[step]
            weight.grad = torch.tensor([gradient])
            made.step()
            path.append(weight.item())
        return path

    return run


def sgd():
    """SGD."""
    steps = walk(torch.optim.SGD)
    rate = solving.default_rate(steps)
    return {"rate": rate, **solving.sgd(steps), **solving.sgd_decay(steps)}


def adam(optimizer):
    """Adam or AdamW."""
    steps = walk(optimizer)
    rate = solving.default_rate(steps)
    return {"rate": rate, **solving.adam(steps), **solving.adam_decay(steps)}


def rmsprop():
    """RMSprop."""
    steps = walk(torch.optim.RMSprop)
    return {"rate": solving.rmsprop_rate(steps), **solving.rmsprop(steps)}


def adagrad():
    """Adagrad."""
    steps = walk(torch.optim.Adagrad)
    return {"rate": solving.adagrad_rate(steps), **solving.adagrad(steps)}


# --- Initializers ---------------------------------------------------------------------


def initializer(function):
    """The distribution with which a function of torch.nn.init fills a matrix."""

    def draw(inputs, outputs):
        return array(function(torch.empty(outputs, inputs)))

    words = solving.distribution(draw, solving.MATRICES, solving.fans)
    return {"distribution": words}


def truncated_normal():
    """Cut at -2 and 2, whatever the deviation is."""
    found = initializer(nn.init.trunc_normal_)
    return {
        **found,
        "cut": solving.cut(
            lambda n: array(nn.init.trunc_normal_(torch.empty(n), std=0.1)), 0.1
        ),
    }


PROBES = [
    ("Dense", "nn.Linear", dense),
    ("Conv", "nn.Conv2d", conv),
    ("ConvTranspose", "nn.ConvTranspose2d", conv_transpose),
    ("MaxPool", "nn.MaxPool2d", max_pool),
    ("AvgPool", "nn.AvgPool2d", avg_pool),
    ("BatchNorm", "nn.BatchNorm2d", batch_norm),
    ("LayerNorm", "nn.LayerNorm", layer_norm),
    ("GroupNorm", "nn.GroupNorm", group_norm),
    ("RMSNorm", "nn.RMSNorm", rms_norm),
    ("Dropout", "nn.Dropout", dropout),
    ("Embedding", "nn.Embedding", embedding),
    ("SimpleRNN", "nn.RNN", simple_rnn),
    ("LSTM", "nn.LSTM", lstm),
    ("GRU", "nn.GRU", gru),
    ("MultiHeadAttention", "nn.MultiheadAttention", attention),
    ("Gelu", "nn.GELU", gelu),
    ("LeakyRelu", "nn.LeakyReLU", leaky_relu),
    ("Elu", "nn.ELU", elu),
    ("Softmax", "nn.Softmax", softmax),
    ("Flatten", "nn.Flatten", flatten),
    ("Upsample", "nn.Upsample", upsample),
    ("SoftmaxCrossEntropy", "nn.CrossEntropyLoss", cross_entropy),
    ("MeanSquaredError", "nn.MSELoss", squared_error),
    ("BinaryCrossEntropy", "nn.BCELoss", binary_cross_entropy),
    ("SGD", "torch.optim.SGD", sgd),
    ("Adam", "torch.optim.Adam", lambda: adam(torch.optim.Adam)),
    ("AdamW", "torch.optim.AdamW", lambda: adam(torch.optim.AdamW)),
    ("RMSprop", "torch.optim.RMSprop", rmsprop),
    ("Adagrad", "torch.optim.Adagrad", adagrad),
    ("Normal", "nn.init.normal_", lambda: initializer(nn.init.normal_)),
    ("Uniform", "nn.init.uniform_", lambda: initializer(nn.init.uniform_)),
    ("TruncatedNormal", "nn.init.trunc_normal_", truncated_normal),
    (
        "GlorotUniform",
        "nn.init.xavier_uniform_",
        lambda: initializer(nn.init.xavier_uniform_),
    ),
    (
        "GlorotNormal",
        "nn.init.xavier_normal_",
        lambda: initializer(nn.init.xavier_normal_),
    ),
    (
        "HeUniform",
        "nn.init.kaiming_uniform_",
        lambda: initializer(nn.init.kaiming_uniform_),
    ),
    (
        "HeNormal",
        "nn.init.kaiming_normal_",
        lambda: initializer(nn.init.kaiming_normal_),
    ),
    ("Orthogonal", "nn.init.orthogonal_", lambda: initializer(nn.init.orthogonal_)),
]
LACKS = {"L2Loss": "PyTorch has no half squared error"}

if __name__ == "__main__":
    torch.manual_seed(1)
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    write_answers(versions, PROBES, LACKS)
