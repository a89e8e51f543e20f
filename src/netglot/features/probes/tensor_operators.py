"""Low-level tensor operators.

Which functions of the Python array API standard are there, under their own or another
name, and right: each is called on small arrays and compared with NumPy.
"""

import numpy as np

A = np.array([[0.5, -1.25, 2.0], [3.0, 0.25, -0.75]], "float32")
B = np.array([[1.5, 2.0, -0.5], [0.75, -2.0, 1.0]], "float32")
S = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.25], [0.0, 0.25, 3.0]], "float32")
P = np.abs(A) + 0.125
U = np.array([[0.5, -0.25, 0.75], [0.125, -0.5, 0.25]], "float32")
H = np.array([[3, 5, 6], [12, 7, 1]], "int32")
J = np.array([[1, 2, 3], [2, 1, 4]], "int32")
K = np.array([2, 0], "int32")
M, N = A > 0, B > 0
D = np.array([2.0, 1.0, 2.0, 3.0, 1.0], "float32")

#: Group -> name -> arguments. Arrays are handed over as the framework's, all else as
#: it is.
TABLE = {
    "elementwise": {
        "abs": (A,),
        "acos": (U,),
        "acosh": (P + 1,),
        "add": (A, B),
        "asin": (U,),
        "asinh": (A,),
        "atan": (A,),
        "atan2": (A, B),
        "atanh": (U,),
        "bitwise_and": (H, J),
        "bitwise_left_shift": (H, J),
        "bitwise_invert": (H,),
        "bitwise_or": (H, J),
        "bitwise_right_shift": (H, J),
        "bitwise_xor": (H, J),
        "ceil": (A,),
        "clip": (A, -1.0, 1.0),
        "copysign": (A, B),
        "cos": (A,),
        "cosh": (A,),
        "divide": (A, B),
        "equal": (H, J),
        "exp": (A,),
        "expm1": (A,),
        "floor": (A,),
        "floor_divide": (A, B),
        "greater": (A, B),
        "greater_equal": (A, B),
        "hypot": (A, B),
        "isfinite": (A,),
        "isinf": (A,),
        "isnan": (A,),
        "less": (A, B),
        "less_equal": (A, B),
        "log": (P,),
        "log1p": (P,),
        "log2": (P,),
        "log10": (P,),
        "logaddexp": (A, B),
        "logical_and": (M, N),
        "logical_not": (M,),
        "logical_or": (M, N),
        "logical_xor": (M, N),
        "maximum": (A, B),
        "minimum": (A, B),
        "multiply": (A, B),
        "negative": (A,),
        "nextafter": (A, B),
        "not_equal": (H, J),
        "positive": (A,),
        "pow": (P, B),
        "reciprocal": (P,),
        "remainder": (A, B),
        "round": (A,),
        "sign": (A,),
        "signbit": (A,),
        "sin": (A,),
        "sinh": (A,),
        "sqrt": (P,),
        "square": (A,),
        "subtract": (A, B),
        "tan": (A,),
        "tanh": (A,),
        "trunc": (A,),
    },
    "creation": {
        "arange": (2, 11, 3),
        "eye": (3,),
        "full": ((2, 3), 1.5),
        "full_like": (A, 1.5),
        "linspace": (0.0, 1.0, 5),
        "ones": ((2, 3),),
        "ones_like": (A,),
        "tril": (S,),
        "triu": (S,),
        "zeros": ((2, 3),),
        "zeros_like": (A,),
    },
    "manipulation": {
        "broadcast_to": (A, (2, 2, 3)),
        "concat": ([A, B], 1),
        "expand_dims": (A, 1),
        "flip": (A, (1,)),
        "moveaxis": (A, 0, 1),
        "permute_dims": (A, (1, 0)),
        "repeat": (A, 2, 1),
        "reshape": (A, (3, 2)),
        "roll": (A, 1, 1),
        "squeeze": (A[:, None], 1),
        "stack": ([A, B], 1),
        "tile": (A, (2, 1)),
    },
    "search, sort, sets": {
        "argmax": (A, 1),
        "argmin": (A, 1),
        "argsort": (A, 1),
        "count_nonzero": (M,),
        "nonzero": (M,),
        "searchsorted": (np.array([0.0, 1.0, 2.0], "float32"), B[0]),
        "sort": (A, 1),
        "take": (A, K, 1),
        "take_along_axis": (A, np.array([[2], [0]], "int64"), 1),
        "unique_values": (D,),
        "where": (M, A, B),
    },
    "statistics": {
        "all": (M, 1),
        "any": (M, 1),
        "cumulative_prod": (A, 1),
        "cumulative_sum": (A, 1),
        "diff": (A,),
        "max": (A, 1),
        "mean": (A, 1),
        "min": (A, 1),
        "prod": (A, 1),
        "std": (A, 1),
        "sum": (A, 1),
        "var": (A, 1),
    },
    "linear algebra": {
        "matmul": (A, S),
        "matrix_transpose": (A,),
        "tensordot": (A, S, 1),
        "vecdot": (A, B),
        "linalg.cholesky": (S,),
        "linalg.cross": (A, B),
        "linalg.det": (S,),
        "linalg.diagonal": (S,),
        "linalg.eigvalsh": (S,),
        "linalg.inv": (S,),
        "linalg.matrix_norm": (S,),
        "linalg.matrix_power": (S, 3),
        "linalg.matrix_rank": (S,),
        "linalg.outer": (A[0], B[0]),
        "linalg.pinv": (A,),
        "linalg.solve": (S, A[0]),
        "linalg.svdvals": (A,),
        "linalg.trace": (S,),
        "linalg.vector_norm": (A[0],),
    },
}


#: NumPy of before 2 knows some by another name, and lacks a few.
_OLD = {
    "acos": "arccos",
    "acosh": "arccosh",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atan2": "arctan2",
    "atanh": "arctanh",
    "bitwise_left_shift": "left_shift",
    "bitwise_invert": "invert",
    "bitwise_right_shift": "right_shift",
    "pow": "power",
    "concat": "concatenate",
    "permute_dims": "transpose",
    "unique_values": "unique",
    "cumulative_prod": "cumprod",
    "cumulative_sum": "cumsum",
    "linalg.outer": "outer",
    "linalg.diagonal": "diagonal",
    "linalg.trace": "trace",
    "linalg.cross": "cross",
    "linalg.matrix_norm": "linalg.norm",
    "linalg.vector_norm": "linalg.norm",
}
_MADE = {
    "vecdot": lambda a, b: (a * b).sum(-1),
    "matrix_transpose": lambda a: a.swapaxes(-1, -2),
    "linalg.svdvals": lambda a: np.linalg.svd(a, compute_uv=False),
    "take": lambda a, k, axis: np.take(a, k, axis),
}


def _looked_up(space, name):
    for part in name.split("."):
        space = getattr(space, part, None)
    return space


def _right(name, arguments):
    function = _MADE.get(name) or _looked_up(np, _OLD.get(name, name))
    return function(*arguments)


def _count(text):
    right, _, whole = text.partition(" of ")
    return int(right), int(whole)


def nearly_all(text):
    """nine of ten are there and right"""
    right, whole = _count(text)
    return right >= 0.9 * whole


CHECKS = {group: nearly_all for group in TABLE}


def _same(found, right):
    if isinstance(right, tuple):
        found = [np.asarray(part) for part in found]
        return len(found) == len(right) and all(
            np.array_equal(a.reshape(-1), b) for a, b in zip(found, right)
        )
    found = np.asarray(found)
    return found.shape == np.shape(right) and np.allclose(
        found.astype("float64"), np.asarray(right, "float64"), rtol=1e-4, atol=1e-5
    )


def _counted(check, spaces, array, numbers, others=None):
    """Asks each function for its answer.

    ``spaces``: where functions are looked for, first to last. ``array`` makes the
    framework's array of NumPy's, ``numbers`` the other way round. ``others``: the names
    here by which the framework knows a function, or a short function that calls it.
    """
    others = others or {}

    def asked(name):
        wanted = others.get(name, name)
        functions = (
            [wanted] if callable(wanted) else [_looked_up(s, wanted) for s in spaces]
        )
        return next((f for f in functions if f is not None), None)

    def given(value):
        if isinstance(value, np.ndarray):
            return array(value)
        return [given(part) for part in value] if isinstance(value, list) else value

    for group, functions in TABLE.items():

        @check(group)
        def _():
            absent, wrong = [], []
            for name, arguments in functions.items():
                function = asked(name)
                if function is None:
                    absent.append(name)
                    continue
                try:
                    found = function(*[given(value) for value in arguments])
                    if isinstance(found, (tuple, list)):
                        found = tuple(numbers(part) for part in found)
                    else:
                        found = numbers(found)
                    if not _same(found, _right(name, arguments)):
                        wrong.append(name)
                except Exception as error:
                    wrong.append("%s (%s)" % (name, str(error).split("\n")[0][:60]))
            for word, names in (("absent", absent), ("not right", wrong)):
                if names:
                    check.note("%s: %s" % (word, ", ".join(names)))
            right = len(functions) - len(absent) - len(wrong)
            return "%d of %d" % (right, len(functions))


def numpy(check):
    import autograd.numpy as anp

    _counted(
        check,
        [anp, np],
        np.asarray,
        np.asarray,
        {
            "cumulative_prod": lambda x, axis: np.cumulative_prod(x, axis=axis),
            "cumulative_sum": lambda x, axis: np.cumulative_sum(x, axis=axis),
        },
    )


def pytorch(check):
    import torch

    _counted(
        check,
        [torch],
        torch.from_numpy,
        lambda x: x.numpy(),
        {
            "bitwise_invert": "bitwise_not",
            "equal": "eq",
            "expand_dims": "unsqueeze",
            "permute_dims": "permute",
            "repeat": "repeat_interleave",
            "take": lambda a, k, axis: torch.index_select(a, axis, k),
            "take_along_axis": "take_along_dim",
            "cumulative_prod": "cumprod",
            "cumulative_sum": "cumsum",
            "unique_values": "unique",
            "nonzero": lambda x: torch.nonzero(x, as_tuple=True),
            "sort": lambda x, axis: torch.sort(x, axis).values,
            "max": "amax",
            "min": "amin",
            "std": lambda x, axis: torch.std(x, axis, correction=0),
            "var": lambda x, axis: torch.var(x, axis, correction=0),
            "matrix_transpose": lambda x: x.mT,
            "vecdot": "linalg.vecdot",
            "linalg.outer": "outer",
            "linalg.trace": "trace",
        },
    )


def jax(check):
    import jax.numpy as jnp

    _counted(
        check,
        [jnp],
        jnp.asarray,
        np.asarray,
        {
            "cumulative_prod": lambda x, axis: jnp.cumulative_prod(x, axis=axis),
            "cumulative_sum": lambda x, axis: jnp.cumulative_sum(x, axis=axis),
        },
    )


def tensorflow(check):
    import tensorflow as tf
    import tensorflow.experimental.numpy as tnp

    _counted(
        check,
        [tf, tf.math, tf.bitwise, tnp],
        tf.constant,
        np.asarray,
        {
            "bitwise_left_shift": "left_shift",
            "bitwise_right_shift": "right_shift",
            "bitwise_invert": "invert",
            "clip": "clip_by_value",
            "floor_divide": "math.floordiv",
            "remainder": "math.floormod",
            "arange": "range",
            "full": "fill",
            "tril": lambda x: tf.linalg.band_part(x, -1, 0),
            "triu": lambda x: tf.linalg.band_part(x, 0, -1),
            "flip": "reverse",
            "permute_dims": "transpose",
            "take": lambda a, k, axis: tf.gather(a, k, axis=axis),
            "unique_values": lambda x: tf.sort(tf.unique(x).y),
            "nonzero": lambda x: tuple(tf.transpose(tf.where(x))),
            "all": "reduce_all",
            "any": "reduce_any",
            "max": "reduce_max",
            "mean": "reduce_mean",
            "min": "reduce_min",
            "prod": "reduce_prod",
            "sum": "reduce_sum",
            "std": "math.reduce_std",
            "var": "math.reduce_variance",
            "cumulative_prod": "math.cumprod",
            "cumulative_sum": "cumsum",
            "matrix_transpose": "linalg.matrix_transpose",
            "linalg.diagonal": "linalg.diag_part",
            "linalg.matrix_norm": "norm",
            "linalg.vector_norm": "norm",
            "linalg.solve": lambda a, b: tf.linalg.solve(a, b[:, None])[:, 0],
            "linalg.svdvals": lambda x: tf.linalg.svd(x, compute_uv=False),
            "acos": "math.acos",
            "pow": "pow",
            "logaddexp": "logaddexp",
        },
    )


def keras(check):
    from keras import ops

    _counted(
        check,
        [ops],
        ops.array,
        ops.convert_to_numpy,
        {
            "acos": "arccos",
            "acosh": "arccosh",
            "asin": "arcsin",
            "asinh": "arcsinh",
            "atan": "arctan",
            "atan2": "arctan2",
            "atanh": "arctanh",
            "concat": "concatenate",
            "permute_dims": "transpose",
            "pow": "power",
            "cumulative_prod": "cumprod",
            "cumulative_sum": "cumsum",
            "unique_values": "unique",
            "linalg.cross": "cross",
            "linalg.diagonal": "diagonal",
            "linalg.outer": "outer",
            "linalg.trace": "trace",
            "linalg.matrix_norm": "norm",
            "linalg.vector_norm": "norm",
            "linalg.svdvals": lambda x: ops.svd(x, compute_uv=False),
            "linalg.cholesky": "cholesky",
            "linalg.det": "det",
            "linalg.inv": "inv",
            "linalg.solve": "solve",
            "linalg.eigvalsh": lambda x: ops.eigh(x)[0],
        },
    )


def paddle(check):
    import paddle

    _counted(
        check,
        [paddle],
        paddle.to_tensor,
        lambda x: x.numpy(),
        {
            "concat": "concat",
            "bitwise_invert": "bitwise_not",
            "expand_dims": "unsqueeze",
            "permute_dims": "transpose",
            "pow": "pow",
            "negative": "neg",
            "repeat": "repeat_interleave",
            "take": lambda a, k, axis: paddle.index_select(a, k, axis),
            "cumulative_prod": "cumprod",
            "cumulative_sum": "cumsum",
            "unique_values": "unique",
            "nonzero": lambda x: [
                part.reshape([-1]) for part in paddle.nonzero(x, as_tuple=True)
            ],
            "std": lambda x, axis: paddle.std(x, axis, unbiased=False),
            "var": lambda x, axis: paddle.var(x, axis, unbiased=False),
            "matrix_transpose": lambda x: x.mT,
            "linalg.diagonal": "diagonal",
            "linalg.cross": "cross",
            "linalg.outer": "outer",
            "linalg.trace": "trace",
        },
    )


def mxnet(check):
    import mxnet as mx

    mx.npx.set_np()
    try:
        _counted(
            check,
            [mx.np, mx.npx],
            lambda x: mx.np.array(x, dtype=x.dtype),
            lambda x: x.asnumpy() if hasattr(x, "asnumpy") else x,
            {
                **_OLD,
                "linalg.matrix_norm": "linalg.norm",
                "linalg.svdvals": "linalg.svdvals",
                "linalg.cross": "cross",
                "linalg.outer": "outer",
            },
        )
    finally:
        mx.npx.reset_np()


def mlx(check):
    import mlx.core as mx

    _counted(
        check,
        [mx],
        mx.array,
        np.array,
        {
            "acos": "arccos",
            "acosh": "arccosh",
            "asin": "arcsin",
            "asinh": "arcsinh",
            "atan": "arctan",
            "atan2": "arctan2",
            "atanh": "arctanh",
            "bitwise_left_shift": "left_shift",
            "bitwise_right_shift": "right_shift",
            "concat": "concatenate",
            "permute_dims": "transpose",
            "pow": "power",
            "cumulative_prod": "cumprod",
            "cumulative_sum": "cumsum",
            "linalg.diagonal": "diagonal",
            "linalg.outer": "outer",
            "linalg.trace": "trace",
            "linalg.matrix_norm": "linalg.norm",
            "linalg.vector_norm": "linalg.norm",
            "linalg.cholesky": lambda x: mx.linalg.cholesky(x, stream=mx.cpu),
            "linalg.inv": lambda x: mx.linalg.inv(x, stream=mx.cpu),
            "linalg.pinv": lambda x: mx.linalg.pinv(x, stream=mx.cpu),
            "linalg.solve": lambda a, b: mx.linalg.solve(a, b, stream=mx.cpu),
            "linalg.eigvalsh": lambda x: mx.linalg.eigvalsh(x, stream=mx.cpu),
            "linalg.svdvals": lambda x: mx.linalg.svd(x, False, stream=mx.cpu),
        },
    )


def cntk(check):
    import cntk as C

    def array(value):
        return C.constant(value.astype("float32"))

    # What is reduced keeps its axis unless told; axes of 1 have names of their own.
    def reduced(name):
        function = getattr(C, name)
        return lambda x, axis: function(x, axis, keepdims=False)

    def squeezed(name):
        return lambda x, axis: C.squeeze(getattr(C, name)(x, axis), axis)

    others = {
        "add": "plus",
        "subtract": "minus",
        "multiply": "element_times",
        "divide": "element_divide",
        "maximum": "element_max",
        "minimum": "element_min",
        "negative": "negate",
        "logaddexp": "log_add_exp",
        "logical_and": "element_and",
        "logical_or": "element_or",
        "logical_xor": "element_xor",
        "logical_not": "element_not",
        "concat": lambda parts, axis: C.splice(*parts, axis=axis),
        "permute_dims": "transpose",
        "argmax": squeezed("argmax"),
        "argmin": squeezed("argmin"),
        "take": "gather",
        "where": "element_select",
        "max": reduced("reduce_max"),
        "mean": reduced("reduce_mean"),
        "min": reduced("reduce_min"),
        "prod": reduced("reduce_prod"),
        "sum": reduced("reduce_sum"),
        "matmul": "times",
        "matrix_transpose": "transpose",
    }
    _counted(check, [C.ops], array, lambda found: found.eval(), others)
