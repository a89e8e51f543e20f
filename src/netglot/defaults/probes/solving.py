"""Solves what a framework did from the numbers that it gave. NumPy only.

Every function is given something that runs the framework on plain arrays, runs it on
chosen numbers, and returns what follows from the answers. ``Unsolved`` is raised where
the answers fit nothing known: a guess is never returned.
"""

# Old interpreters know no ``zip(strict=True)``.
# ruff: noqa: B905

import itertools
import math
from fractions import Fraction

import numpy as np

#: The deviation of a normal distribution that is cut at 2 deviations, over that before.
CUT = 0.87962566103423978
#: Numbers with which no two things come out equal by chance.
RANDOM = np.random.RandomState(7)


class Unsolved(Exception):
    """The answers of the framework fit none of the known forms."""


def rounded(value, digits=3):
    """So many significant digits: what single precision gives away."""
    # Plus 0, so that there is no -0.
    return float("{:.{}g}".format(float(value), digits)) + 0.0


def near(answer, expected, tolerance=1e-4):
    """Whether shapes are equal and numbers within a share of the largest."""
    answer, expected = np.asarray(answer, float), np.asarray(expected, float)
    if answer.shape != expected.shape:
        return False
    size = max(float(np.max(np.abs(expected))), 1e-30)
    return bool(np.max(np.abs(answer - expected)) <= tolerance * size)


def which(answer, candidates, tolerance=1e-4):
    """The name of the one candidate (pairs of name and numbers) that fits."""
    candidates = list(candidates)
    fits = [name for name, value in candidates if near(answer, value, tolerance)]
    if len(fits) != 1:
        raise Unsolved(f"{len(fits)} of {len(candidates)} candidates fit")
    return fits[0]


def agreed(values, tolerance=0.02):
    """The mean of numbers that have to be equal."""
    values = np.asarray(values, float)
    if np.ptp(values) > tolerance * np.max(np.abs(values)):
        raise Unsolved(f"should be one number: {values.tolist()}")
    return float(np.mean(values))


# --- Initial weights ------------------------------------------------------------------


def distribution(draw, shapes, fans, gates=1):
    """The distribution of initial values, in words.

    ``draw(*shape)`` gives fresh values, ``fans(*shape)`` the sizes on which the scale
    may depend, by name. Shapes must differ in every ratio of these sizes. ``gates``:
    into how many squares a matrix may be cut that is orthogonal square by square.
    """
    first = [np.asarray(draw(*shape), float) for shape in shapes]
    if all(np.ptp(values) == 0 for values in first):
        levels = {float(values.flat[0]) for values in first}
        if len(levels) != 1:
            raise Unsolved("constants that depend on the shape")
        return f"all {levels.pop():g}"
    if gates and all(values.ndim == 2 for values in first):
        words = _orthogonal(first, gates)
        if words:
            return words
    samples = [_many(draw, shape, one) for shape, one in zip(shapes, first)]
    family = {_family(values) for values in samples}
    if len(family) != 1:
        raise Unsolved(f"several families: {sorted(family)}")
    return _in_words(family.pop(), samples, [fans(*shape) for shape in shapes])


def _many(draw, shape, first, count=100000):
    """At least so many values of one shape."""
    pieces, total = [first.ravel()], first.size
    while total < count:
        pieces.append(np.asarray(draw(*shape), float).ravel())
        total += pieces[-1].size
    return np.concatenate(pieces)


def _family(values):
    """Told by how far the outermost of 10,000 lie, in deviations.

    Not by the very last one: a cut that a few values in a million escape is a cut.
    """
    ratio = np.quantile(np.abs(values - values.mean()), 0.9999) / values.std()
    if abs(ratio - math.sqrt(3)) < 0.03:
        return "uniform"
    if abs(ratio - 2 / CUT) < 0.04:
        return "cut"
    if abs(ratio - 3.89) < 0.3:
        return "normal"
    raise Unsolved(f"the outermost lie at {ratio:.3f} deviations")


def _orthogonal(matrices, gates):
    """In words, where every matrix (or every square of it) has orthonormal rows."""
    whole = [_rows(matrix) for matrix in matrices]
    if all(gain is not None for gain in whole):
        gain = agreed(whole)
        scaled = "" if abs(gain - 1) < 1e-3 else f", times {rounded(gain):g}"
        return "orthogonal" + (" (all gates one matrix)" if gates > 1 else "") + scaled
    for axis in (0, 1):
        if all(m.shape[axis] % gates == 0 for m in matrices):
            parts = [p for m in matrices for p in np.split(m, gates, axis)]
            if all(_rows(part) is not None for part in parts):
                return "orthogonal (gate by gate)"
    return ""


def _rows(matrix):
    """By what the orthonormal rows of the wide form are multiplied, or None."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    gram = wide @ wide.T
    if near(gram, gram[0, 0] * np.eye(len(wide)), 1e-3):
        return math.sqrt(gram[0, 0])
    return None


def _in_words(family, samples, fans):
    """With its scale: a number, or a number over a fan."""
    if abs(np.mean(samples[0])) > 0.05 * np.std(samples[0]):
        ends = agreed([s.min() for s in samples], 1), agreed([s.max() for s in samples])
        low = 0 if abs(ends[0]) < 1e-3 * abs(ends[1]) else rounded(ends[0])
        return f"{family} from {low:g} to {rounded(ends[1]):g}"
    if family == "uniform":
        squares = [float(np.max(np.abs(values))) ** 2 for values in samples]
    else:
        squares = [float(values.var()) for values in samples]
    spreads = {}
    for name in fans[0]:
        scaled = [s * fan[name] for s, fan in zip(squares, fans)]
        spreads[name] = np.ptp(scaled) / np.mean(scaled)
    spreads[""] = np.ptp(squares) / np.mean(squares)
    best = min(spreads, key=lambda name: spreads[name])
    if spreads[best] > 0.05 or sorted(spreads.values())[1] < 0.1:
        raise Unsolved(f"the scale follows no size: {spreads}")
    if best == "":
        return _plain(family, math.sqrt(np.mean(squares)))
    factor = float(np.mean([s * fan[best] for s, fan in zip(squares, fans)]))
    nearest = Fraction(factor).limit_denominator(6)
    exact = nearest and abs(float(nearest) - factor) < 0.03 * factor
    told = str(nearest.numerator) if exact else f"{rounded(factor):g}"
    below = best if not exact or nearest.denominator == 1 else None
    below = below or f"({nearest.denominator} {best})"
    if family == "uniform":
        return f"uniform within sqrt({told} / {below})"
    return f"{_NORMAL[family]}, variance {told} / {below}"


_NORMAL = {"normal": "normal", "cut": "normal cut at 2 deviations"}


def _plain(family, scale):
    """A scale that no size changes; of samples, so of two digits."""
    if family == "uniform":
        return f"uniform within {rounded(scale):g}"
    if family == "normal":
        return f"normal, deviation {rounded(scale, 2):g}"
    before = f"{rounded(scale / CUT, 2):g}"
    return f"normal, deviation {before}, cut at 2 deviations"


def cut(draw, deviation):
    """Where a normal distribution that was told its deviation is cut.

    ``draw(count)`` gives so many values.
    """
    values = np.abs(np.asarray(draw(4000000), float)) / deviation
    outside = float(np.mean(values > 2.0001))
    if values.max() > 4.5:
        return "at -2 and 2, not at 2 deviations"
    if outside == 0:
        return "at 2 deviations"
    if outside < 1e-4:
        # Of 4 million: the order of magnitude, which is the same at every run.
        return "at 2 deviations, which a few in a million escape"
    raise Unsolved(f"a share of {outside:g} lies outside 2 deviations")


def fans(inputs, outputs, space=1):
    """Sizes that the scale of a kernel may follow."""
    return {
        "fan_in": inputs * space,
        "fan_out": outputs * space,
        "(fan_in + fan_out)": (inputs + outputs) * space,
    }


def gate_fans(gates):
    """Of a recurrent layer's arrays: function of the sizes of input and state."""

    def sizes(inputs, units):
        found = {
            "inputs": inputs,
            "units": units,
            "(inputs + units)": inputs + units,
        }
        if gates > 1:
            found[f"(inputs + {gates} units)"] = inputs + gates * units
        return found

    return sizes


#: Kernel shapes whose fans have different ratios.
MATRICES = ((256, 1024), (1024, 256), (512, 512))
WIDE = ((4, 30000), (16, 30000), (64, 30000))
KERNELS = ((32, 128), (128, 32), (64, 64))
CELLS = ((96, 64), (64, 96), (24, 96))


# --- Convolution and pooling ----------------------------------------------------------

#: A kernel and an image of 3 x 3 without symmetry.
KERNEL = np.arange(1.0, 10.0).reshape(3, 3)
IMAGE = np.array([[2.0, 7.0, 1.0], [8.0, 2.0, 8.0], [1.0, 8.0, 3.0]])


def conv_geometry(shape, channels, size=9, kernel=3):
    """Layout, stride and padding from the shape of a convolution's output.

    The input is ``size`` in both directions; nothing else in it has the size
    ``channels``.
    """
    place = list(shape).index(channels)
    space = [n for n in list(shape)[1:] if n != channels]
    stride, padding = window_geometry(space[0], size, kernel)
    return {
        "layout": {1: "NCHW", 3: "NHWC"}[place],
        "stride": stride,
        "padding": padding,
    }


def window_geometry(outputs, size=9, kernel=3):
    """Stride and padding (0 or ``same``) of a window, from how often it fits."""
    for stride in (1, 2, 3):
        if outputs == (size - kernel) // stride + 1:
            return stride, 0
        if outputs == -(-size // stride):
            return stride, "same"
    raise Unsolved(f"a window fits {outputs} times into {size}")


def middle(values, size):
    """The middle of a picture, ``size`` in both directions."""
    start = (np.shape(values)[0] - size) // 2
    return np.asarray(values)[start : start + size, start : start + size]


def flips(centre):
    """Whether a convolution turns ``KERNEL`` round before it lies it on ``IMAGE``."""
    turned = KERNEL[::-1, ::-1]
    forms = [(False, np.sum(KERNEL * IMAGE)), (True, np.sum(turned * IMAGE))]
    return which(centre, forms)


def transposed_geometry(once, doubled):
    """Padding, output size and flip of a transposed convolution with ``KERNEL``.

    ``once``: its picture (stride 1) of a single 1 in the middle of 5 x 5; ``doubled``:
    the size that 4 x 4 becomes at stride 2.
    """
    forms = [(False, KERNEL), (True, KERNEL[::-1, ::-1])]
    return {
        "padding": {7: 0, 5: "same"}[np.shape(once)[0]],
        "output_size": int(doubled),
        "flipped": which(middle(once, 3), forms),
    }


# --- Normalisation --------------------------------------------------------------------


def norm_epsilon(run):
    """The epsilon of ``x / sqrt(mean(x^2) + epsilon)``.

    ``run(scale)`` gives the normalised value of ``scale``, which stands among as many
    values of ``-scale``.
    """
    found = []
    for scale in (1e-5, 3e-5):
        value = float(run(scale))
        found.append(scale**2 * (1 / value**2 - 1))
    return rounded(agreed(found))


def signs(shape, axis):
    """1 and -1 in turn along an axis."""
    turn = np.where(np.arange(shape[axis]) % 2, -1.0, 1.0)
    wide = [1] * len(shape)
    wide[axis] = shape[axis]
    return (np.ones(shape) * turn.reshape(wide)).astype("float32")


def running(values, mean, variance):
    """Momentum and form of the running variance after one batch, from 0 and 1.

    ``values``: all values of one channel in the batch; ``mean`` and ``variance``: the
    running ones afterwards.
    """
    momentum = 1 - float(mean) / float(np.mean(values))
    forms = [
        (unbiased, momentum + (1 - momentum) * np.var(values, ddof=int(unbiased)))
        for unbiased in (False, True)
    ]
    return {"momentum": rounded(momentum), "unbiased": which(variance, forms, 1e-5)}


def normalised_axes(run, letters):
    """Over which axes of a random (2, 4, 6) input the mean of the output is 0."""
    values = np.asarray(run(RANDOM.normal(size=(2, 4, 6)).astype("float32")))
    for axes in ((2,), (1, 2), (1,), (0,), (0, 1, 2)):
        if np.max(np.abs(values.mean(axis=axes))) < 1e-5:
            return "".join(letters[axis] for axis in axes)
    raise Unsolved("no axes have the mean 0")


def root_mean_axes(run, letters):
    """Over which axes of a random (2, 4, 6) input the mean of the square is 1."""
    values = np.asarray(run(RANDOM.normal(size=(2, 4, 6)).astype("float32")))
    for axes in ((2,), (1, 2), (1,), (0,), (0, 1, 2)):
        if np.max(np.abs((values**2).mean(axis=axes) - 1)) < 1e-4:
            return "".join(letters[axis] for axis in axes)
    raise Unsolved("no axes have the mean square 1")


def dropped(values, rate):
    """By what a dropout of ``rate`` multiplied the ones that it kept."""
    kept = np.unique(np.asarray(values)[np.asarray(values) != 0])
    forms = [("1 / (1 - rate)", [1 / (1 - rate)]), ("none", [1.0])]
    return which(kept, forms)


# --- Recurrent layers -----------------------------------------------------------------


def sigmoid(x):
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = (
    ("tanh", np.tanh),
    ("relu", lambda x: np.maximum(x, 0)),
    ("sigmoid", sigmoid),
)


def rnn_activation(states, x, kernel, recurrent, bias):
    """The activation of a simple recurrent layer; arrays as of ``lstm_gates``."""

    def run(function):
        h, found = np.zeros(recurrent.shape[1]), []
        for step in x:
            h = function(kernel @ step + recurrent @ h + bias)
            found.append(h)
        return np.array(found)

    return which(states, [(name, run(function)) for name, function in ACTIVATIONS])


def lstm_gates(states, x, kernel, recurrent, bias):
    """The order of the gates along the first axis of the weights, as in ``ifgo``.

    ``states`` T x units, ``x`` T x inputs, ``kernel`` G x inputs, ``recurrent`` G x
    units, ``bias`` G: the sum of all biases.
    """

    def run(order):
        units = recurrent.shape[1]
        h, c, found = np.zeros(units), np.zeros(units), []
        for step in x:
            pieces = np.split(kernel @ step + recurrent @ h + bias, 4)
            gate = dict(zip(order, pieces))
            c = sigmoid(gate["f"]) * c + sigmoid(gate["i"]) * np.tanh(gate["g"])
            h = sigmoid(gate["o"]) * np.tanh(c)
            found.append(h)
        return np.array(found)

    orders = ["".join(order) for order in itertools.permutations("ifgo")]
    return which(states, [(order, run(order)) for order in orders])


def gru_form(states, x, kernel, recurrent, bias, recurrent_bias):
    """Order of the gates, side of the reset gate, and what the update gate keeps."""

    def run(order, reset, keeps):
        h, found = np.zeros(recurrent.shape[1]), []
        u, c = (dict(zip(order, np.split(a, 3))) for a in (recurrent, recurrent_bias))
        for step in x:
            w = dict(zip(order, np.split(kernel @ step + bias, 3)))
            r, z = (sigmoid(w[g] + u[g] @ h + c[g]) for g in "rz")
            if reset == "after":
                n = np.tanh(w["n"] + r * (u["n"] @ h + c["n"]))
            else:
                n = np.tanh(w["n"] + u["n"] @ (r * h) + c["n"])
            old = z if keeps == "z" else 1 - z
            h = old * h + (1 - old) * n
            found.append(h)
        return np.array(found)

    orders = ["".join(order) for order in itertools.permutations("rzn")]
    forms = itertools.product(orders, ("after", "before"), ("z", "1 - z"))
    order, reset, keeps = which(states, [(form, run(*form)) for form in forms])
    return {"gates": order, "reset": reset, "keeps": keeps}


def returned(shape, steps, units):
    """Whether a recurrent layer gives all steps or the last one, from its shape."""
    if len(shape) == 2 and shape[-1] == units:
        return "last"
    if len(shape) == 3 and steps in shape:
        return "sequence"
    raise Unsolved(f"output of shape {tuple(shape)}")


def attention_scale(answer, x, kernels, biases, heads):
    """By what the scores of self-attention are multiplied.

    ``x`` T x features; ``kernels``: query, key, value, output, each inputs x outputs.
    """
    q, k, v = (x @ w + b for w, b in zip(kernels[:3], biases[:3]))
    width = q.shape[1] // heads

    def run(scale):
        pieces = []
        for head in range(heads):
            columns = slice(head * width, (head + 1) * width)
            scores = scale * q[:, columns] @ k[:, columns].T
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            shares /= shares.sum(axis=1, keepdims=True)
            pieces.append(shares @ v[:, columns])
        return np.concatenate(pieces, axis=1) @ kernels[3] + biases[3]

    forms = [
        ("1 / sqrt(head width)", run(width**-0.5)),
        ("1 / sqrt(features)", run(q.shape[1] ** -0.5)),
        ("1", run(1.0)),
    ]
    return which(answer, forms)


# --- Activations, shape ---------------------------------------------------------------

POINTS = np.array([-2.0, -1.0, -0.3, 0.4, 1.5, 2.5])


def gelu_approximate(values):
    """Whether ``values`` of ``POINTS`` are by tanh; False: by the error function."""
    error = np.array([math.erf(x / math.sqrt(2)) for x in POINTS])
    inner = math.sqrt(2 / math.pi) * (POINTS + 0.044715 * POINTS**3)
    exact, tanh = 0.5 * POINTS * (1 + error), 0.5 * POINTS * (1 + np.tanh(inner))
    return which(values, [(False, exact), (True, tanh)], 2e-5)


def slope(values):
    """The slope of ``POINTS`` under 0."""
    return rounded(agreed((np.asarray(values, float) / POINTS)[POINTS < 0]))


def elu_alpha(values):
    """The alpha of an ELU of ``POINTS``."""
    below = POINTS < 0
    return rounded(agreed(np.asarray(values, float)[below] / np.expm1(POINTS[below])))


def softmax_axis(run):
    """The axis of a softmax, of inputs with 2, 3 and 4 axes: ``last``, or by each."""
    found = {}
    for count in (2, 3, 4):
        values = np.asarray(run(RANDOM.normal(size=(2, 3, 4, 5)[:count])))
        sums = [np.max(np.abs(values.sum(axis=a) - 1)) < 1e-4 for a in range(count)]
        found[count] = sums.index(True)
    if all(axis == count - 1 for count, axis in found.items()):
        return "last"
    return ", ".join(f"{found[n] + 1} of {n}" for n in sorted(found))


def flattened(run, layout):
    """The letters of a flattened picture, slowest first, and whether N stays."""
    shape = (2, 3, 4, 5)
    values = np.arange(120.0).reshape(shape)
    answer = np.asarray(run(values))
    keeps = answer.ndim == 2
    forms = []
    for order in itertools.permutations(range(1, 4)):
        flat = values.transpose(0, *order).reshape(2, -1)
        letters = "".join(layout[axis] for axis in order)
        forms.append((letters, flat if keeps else flat.ravel()))
    return {"order": which(answer, forms), "keeps_batch": keeps}


def enlarged(row):
    """How the row 0, 4, 4, 8 was enlarged to twice its length."""
    small = np.array([0.0, 4.0, 4.0, 8.0])
    half = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    forms = [
        ("nearest", np.repeat(small, 2)),
        ("bilinear, half pixels", np.interp(half, range(4), small)),
        ("bilinear, corners", np.interp(np.linspace(0, 3, 8), range(4), small)),
        ("bilinear, edges", np.interp(np.arange(8) / 2, range(4), small)),
    ]
    return which(row, forms)


# --- Losses ---------------------------------------------------------------------------

# Five rows of three: no mean of one kind is a half or a third of a sum of another.
SCORES = np.array(
    [
        [0.2, 0.5, 0.9],
        [0.7, 0.1, 0.3],
        [0.4, 0.8, 0.6],
        [0.15, 0.35, 0.25],
        [0.55, 0.45, 0.65],
    ]
)
LABELS = np.array([2, 1, 0, 0, 1])


def reductions(each):
    """One loss per observation, reduced in every way."""
    return [("none", each), ("mean", np.mean(each)), ("sum", np.sum(each))]


def cross_entropy(answer):
    """What a cross entropy of ``SCORES`` and ``LABELS`` reads, and how it reduces."""
    picked = SCORES[np.arange(len(LABELS)), LABELS]
    forms = {
        "scores": np.log(np.exp(SCORES).sum(axis=1)) - picked,
        "probabilities": -np.log(picked),
        "probabilities, divided by their sum": -np.log(picked / SCORES.sum(axis=1)),
    }
    candidates = []
    for reads, smoothing in itertools.product(forms, (0.0, 0.1)):
        each = forms[reads]
        if smoothing:
            if reads != "scores":
                continue
            log = np.log(np.exp(SCORES).sum(axis=1, keepdims=True)) - SCORES
            each = 0.9 * each + 0.1 * log.mean(axis=1)
        for reduction, value in reductions(each):
            candidates.append(((reads, reduction, smoothing), value))
    reads, reduction, smoothing = which(answer, candidates)
    return {"reads": reads, "reduction": reduction, "label_smoothing": smoothing}


TARGETS = np.array(
    [
        [0.0, 1.0, 0.0],
        [1.0, 0.0, 1.0],
        [1.0, 1.0, 0.0],
        [0.0, 0.0, 1.0],
        [0.0, 0.0, 0.0],
    ]
)


def squared_error(answer):
    """Reduction and factor of a squared error of ``SCORES`` to ``TARGETS``."""
    square = (SCORES - TARGETS) ** 2
    candidates = []
    for factor in (1.0, 0.5):
        forms = [
            *reductions(square),
            ("mean over features", square.mean(axis=1)),
            ("sum over features, mean over batch", square.sum(axis=1).mean()),
        ]
        candidates += [((name, factor), factor * value) for name, value in forms]
    reduction, factor = which(answer, candidates)
    return {"reduction": reduction, "factor": factor}


def binary_cross_entropy(run):
    """What it reads, how it reduces, and the largest loss of one value.

    ``run(values, targets)`` of two arrays of one shape.
    """
    y = TARGETS
    forms = {
        "scores": np.log1p(np.exp(SCORES)) - y * SCORES,
        "probabilities": -(y * np.log(SCORES) + (1 - y) * np.log(1 - SCORES)),
    }
    candidates = []
    for reads, each in forms.items():
        named = [*reductions(each), ("mean over features", each.mean(axis=1))]
        candidates += [((reads, name), value) for name, value in named]
    reads, reduction = which(run(SCORES, TARGETS), candidates)
    worst = np.array([[-1e4 if reads == "scores" else 0.0]])
    largest = float(np.max(np.asarray(run(worst, np.array([[1.0]])), float)))
    return {
        "reads": reads,
        "reduction": reduction,
        "largest": "none" if largest > 9e3 else rounded(largest),
    }


# --- Optimizers -----------------------------------------------------------------------
#
# walk(gradients, start=0.0, rates=None, **arguments) makes an optimizer with these
# arguments (netglot's names; what is left out is left out), gives it one gradient after
# the other for a weight that begins at ``start``, and returns all values of the weight,
# ``start`` first. ``rates`` is a learning rate for each step.

RATE = 0.5


def moves(walk, gradients, **arguments):
    """How far each step went down."""
    gradients = [float(gradient) for gradient in gradients]
    return -np.diff(np.asarray(walk(gradients, **arguments), float))


def default_rate(walk, first=1.0):
    """The learning rate, where one step on 1 goes ``first`` rates far."""
    return rounded(moves(walk, [1.0])[0] / first)


def sgd(walk):
    """All but the rate."""
    one = moves(walk, [1.0, 0.0], rate=RATE)
    heavy = {"rate": RATE, "momentum": 0.9}
    quicker = moves(walk, [1.0, 0.0], nesterov=True, **heavy) / RATE
    forms = [("g + momentum v", [1.9, 0.81]), ("v", [1.0, 0.9])]
    # The velocity of the first step, used at a rate twice as high.
    second = moves(walk, [1.0, 0.0], rates=[0.25, 0.5], momentum=0.9)[1]
    entered = [("velocity", 0.9 * 0.25), ("step", 0.9 * 0.5)]
    return {
        "momentum": rounded(one[1] / one[0]),
        "dampening": rounded(1 - moves(walk, [0.0, 1.0], **heavy)[1] / RATE),
        "nesterov": which(
            moves(walk, [1.0], **heavy) / RATE, [(False, [1.0]), (True, [1.9])]
        ),
        "nesterov_form": which(quicker, forms),
        "rate_enters": which(second, entered),
    }


def sgd_decay(walk):
    """Default weight decay of SGD, and whether it goes through the velocity."""
    heavy = {"rate": RATE, "momentum": 0.9}
    default = moves(walk, [0.0], start=1.0, rate=RATE)[0] / RATE
    steps = walk([0.0, 0.0], start=1.0, weight_decay=0.1, **heavy)
    forms = [
        ("decoupled", [1.0, 0.95, 0.95**2]),
        ("coupled", [1.0, 0.95, 0.95 - 0.5 * (0.09 + 0.095)]),
    ]
    return {"weight_decay": rounded(default), "decay_form": which(steps, forms)}


def adam(walk, takes_decay=True):
    """Betas, epsilon and its place, AMSGrad; without weight decay, if it has one."""
    told = {"rate": RATE, "weight_decay": 0.0} if takes_decay else {"rate": RATE}
    turn = moves(walk, [1.0, -1.0], **told)[1] / RATE
    beta1 = rounded((1 + turn) / (1 - turn))
    # Large, so that epsilon is nothing; at the 21st step single precision still has the
    # bias corrections, and the mean square has faded by much more than that loses.
    fading = [1000.0] + [0.0] * 20
    beta2 = _beta2(moves(walk, fading, **told)[-1] / RATE, fading, beta1)
    gradients = [100.0] + [1.0] * 30
    forms = [(a, _adam_path(gradients, beta1, beta2, a)) for a in (False, True)]
    found = {
        "beta1": beta1,
        "beta2": beta2,
        "amsgrad": which(moves(walk, gradients, **told)[-1] / RATE, forms, 1e-3),
    }
    found.update(_adam_epsilon(walk, beta2, told))
    return found


def _beta2(step, gradients, beta1):
    """By bisection: the last step falls as beta2 grows."""
    low, high = 0.5, 0.99999
    for _ in range(60):
        middle = (low + high) / 2
        if _adam_path(gradients, beta1, middle, False) > step:
            low = middle
        else:
            high = middle
    return rounded(low, 4)


def _adam_path(gradients, beta1, beta2, amsgrad):
    """The last step, at a rate of 1."""
    m = v = largest = step = 0.0
    for t, g in enumerate(gradients, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        largest = max(largest, v) if amsgrad else v
        step = m / (1 - beta1**t) / math.sqrt(largest / (1 - beta2**t))
    return step


def _adam_epsilon(walk, beta2, told):
    """From gradients so small that epsilon is what matters, at steps 1 and 2."""
    small = (1e-7, 4e-7)
    shares = np.array([moves(walk, [g, g], **told) / RATE for g in small])
    g = np.array(small)[:, None]
    outside, inside = g * (1 / shares - 1), g**2 * (1 / shares**2 - 1)
    if near(outside[0], outside[1], 0.01):
        first, second = outside[0]
        if abs(first / second - 1) < 0.01:
            return {"epsilon": rounded(first), "epsilon_form": "after"}
        grown = math.sqrt((1 - beta2**2) / (1 - beta2))
        if abs(first / second / grown - 1) < 0.01:
            epsilon = rounded(first * math.sqrt(1 - beta2))
            return {"epsilon": epsilon, "epsilon_form": "before"}
    if near(inside[0], inside[1], 0.01):
        return {"epsilon": rounded(inside.mean()), "epsilon_form": "inside the root"}
    raise Unsolved(f"epsilon fits no form: {outside.tolist()}")


def adam_decay(walk):
    """Default weight decay of Adam, and its form."""
    default = moves(walk, [0.0], start=1.0, rate=RATE)[0] / RATE
    step = moves(walk, [0.0], start=1.0, rate=RATE, weight_decay=0.1)[0]
    forms = [
        ("decoupled", 0.1 * RATE),
        ("decoupled, without the rate", 0.1),
        ("coupled", RATE),
    ]
    return {
        "weight_decay": rounded(default, 2),
        "decay_form": which(step, forms, 1e-3),
    }


def rmsprop(walk):
    """Decay of the mean square, epsilon and its place, momentum, centring."""
    one = moves(walk, [1.0, 1.0], rate=RATE) / RATE
    kept = (one[0] / one[1]) ** 2 - 1
    if kept < 1e-3:
        raise Unsolved("corrects its bias: its decay does not show")
    rest = moves(walk, [1.0, 0.0], rate=RATE)
    gradients = [1.0, -2.0, 3.0]
    forms = [(c, _rmsprop_path(gradients, kept, c)) for c in (False, True)]
    found = {
        "decay": rounded(kept),
        "bias_correction": False,
        "momentum": rounded(rest[1] / rest[0]),
        "centered": which(moves(walk, gradients, rate=RATE) / RATE, forms, 1e-3),
    }
    small = np.array((1e-7, 1e-6, 1e-5, 1e-4))
    shares = np.array([moves(walk, [g], rate=RATE)[0] / RATE for g in small])
    root = math.sqrt(1 - kept) * small
    found.update(_epsilon(small / shares, root))
    return found


def rmsprop_rate(walk):
    """The learning rate of RMSprop: its first step on 1 is rate / sqrt(1 - decay)."""
    one = moves(walk, [1.0, 1.0])
    kept = (one[0] / one[1]) ** 2 - 1
    return rounded(one[0] * math.sqrt(1 - kept))


def _rmsprop_path(gradients, kept, centered):
    v = m = 0.0
    steps = []
    for g in gradients:
        v, m = kept * v + (1 - kept) * g * g, kept * m + (1 - kept) * g
        steps.append(g / math.sqrt(v - m * m if centered else v))
    return steps


def _epsilon(below, root):
    """Epsilon and its place, from what gradients were divided by, and their roots.

    Of the sizes that were tried only those count at which epsilon is a good part of the
    divisor, and the root as well.
    """
    outside, inside = below - root, below**2 - root**2
    for found, form in ((outside, "outside the root"), (inside, "inside the root")):
        share = found / (below if form == "outside the root" else below**2)
        told = found[(share > 0.01) & (share < 0.999999)]
        if len(told) > 1 and near(told, np.full(len(told), told[0]), 0.02):
            return {"epsilon": rounded(told[0]), "epsilon_form": form}
    raise Unsolved(f"epsilon fits no form: {outside.tolist()}")


def adagrad(walk):
    """First accumulator; epsilon and its place, which show with an accumulator of 0."""
    one = moves(walk, [1.0, 1.0], rate=RATE)
    accumulator = 1 / ((one[0] / one[1]) ** 2 - 1) - 1
    found = {"accumulator": rounded(accumulator) if abs(accumulator) > 1e-4 else 0.0}
    small = np.array((1e-10, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3))
    shares = [moves(walk, [g], rate=RATE, accumulator=0.0)[0] / RATE for g in small]
    found.update(_epsilon(small / np.array(shares), small))
    return found


def adagrad_rate(walk):
    """The learning rate of Adagrad: its first step on 1 is rate / sqrt(a + 1)."""
    one = moves(walk, [1.0, 1.0])
    accumulator = 1 / ((one[0] / one[1]) ** 2 - 1) - 1
    return rounded(one[0] * math.sqrt(accumulator + 1))
