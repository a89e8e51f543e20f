"""Attention: fused, causal, grouped.

Scaled dot-product attention in one call of the framework; the same where no query sees
what comes after it; and with two heads of queries for each head of keys.
"""

import numpy as np

_random = np.random.RandomState(4)


def _some(heads):
    return (_random.randint(-96, 97, (2, heads, 5, 4)) / 64.0).astype("float32")


#: (batch, heads, steps, width); the keys and values of the grouped form have two heads.
Q, K, V = _some(4), _some(4), _some(4)
K2, V2 = _some(2), _some(2)


def _attention(q, k, v, causal):
    scores = np.einsum("bhqd,bhkd->bhqk", q, k) / np.sqrt(q.shape[-1])
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:])) > 0, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def _gradient(step=1e-5):
    gradient = np.zeros(Q.shape)
    for index in np.ndindex(*Q.shape):
        up, down = Q.astype("float64"), Q.astype("float64")
        up[index] += step
        down[index] -= step
        change = _attention(up, K, V, True) - _attention(down, K, V, True)
        gradient[index] = (change * V).sum() / (2 * step)
    return gradient


CHECKS = {
    "one call": _attention(Q, K, V, False),
    "causal": _attention(Q, K, V, True),
    # Query heads 0 and 1 look at key head 0, 2 and 3 at 1.
    "grouped": _attention(Q, np.repeat(K2, 2, 1), np.repeat(V2, 2, 1), False),
    # Of the sum of the causal outputs times V, for the queries.
    "gradient of the causal": _gradient(),
}


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad

    def attention(q, k, v, causal=False):
        scores = q @ anp.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
        if causal:
            scores = anp.where(np.tril(np.ones(scores.shape[-2:])) > 0, scores, -1e30)
        weights = anp.exp(scores - anp.max(scores, -1, keepdims=True))
        return weights / anp.sum(weights, -1, keepdims=True) @ v

    by_hand = "no such operation: products and exp by hand"

    @check("one call")
    def plain():
        check.fallback(by_hand)
        return attention(Q, K, V)

    @check("causal")
    def causal():
        check.fallback(by_hand)
        return attention(Q, K, V, causal=True)

    @check("grouped")
    def grouped():
        check.fallback(by_hand)
        return attention(Q, np.repeat(K2, 2, 1), np.repeat(V2, 2, 1))

    @check("gradient of the causal")
    def gradient():
        check.fallback(by_hand)
        return grad(lambda q: anp.sum(attention(q, K, V, causal=True) * V))(Q)


def pytorch(check):
    import torch
    from torch.nn.functional import scaled_dot_product_attention as attention

    q, k, v, k2, v2 = map(torch.from_numpy, (Q, K, V, K2, V2))

    @check("one call")
    def plain():
        return attention(q, k, v).numpy()

    @check("causal")
    def causal():
        return attention(q, k, v, is_causal=True).numpy()

    @check("grouped")
    def grouped():
        return attention(q, k2, v2, enable_gqa=True).numpy()

    @check("gradient of the causal")
    def gradient():
        query = q.clone().requires_grad_()
        attention(query, k, v, is_causal=True).backward(v)
        return query.grad.numpy()


def jax(check):
    import jax
    import jax.numpy as jnp

    # (batch, steps, heads, width) here.
    q, k, v, k2, v2 = (jnp.asarray(x.swapaxes(1, 2)) for x in (Q, K, V, K2, V2))
    attention = jax.jit(jax.nn.dot_product_attention, static_argnames="is_causal")

    @check("one call")
    def plain():
        return np.swapaxes(attention(q, k, v), 1, 2)

    @check("causal")
    def causal():
        return np.swapaxes(attention(q, k, v, is_causal=True), 1, 2)

    @check("grouped")
    def grouped():
        return np.swapaxes(attention(q, k2, v2), 1, 2)

    @check("gradient of the causal")
    def gradient():
        total = jax.grad(lambda q: jnp.sum(attention(q, k, v, is_causal=True) * v))
        return np.swapaxes(jax.jit(total)(q), 1, 2)


def tensorflow(check):
    import tensorflow as tf

    # Layers of one head, which take further axes in front; sqrt(width) is its scale.
    def attention(q, k, v, causal=False):
        layer = tf.keras.layers.Attention(use_scale=False)
        scale = q.shape[-1] ** -0.5
        rows = [tf.reshape(x, [-1, 5, 4]) for x in (q * scale, v, k)]
        return tf.reshape(layer(rows, use_causal_mask=causal), q.shape)

    @check("one call")
    def plain():
        return attention(tf.constant(Q), tf.constant(K), tf.constant(V)).numpy()

    @check("causal")
    def causal():
        return attention(tf.constant(Q), tf.constant(K), tf.constant(V), True).numpy()

    @check("grouped")
    def grouped():
        check.fallback("keys and values are repeated")
        k2, v2 = tf.repeat(K2, 2, axis=1), tf.repeat(V2, 2, axis=1)
        return attention(tf.constant(Q), k2, v2).numpy()

    @check("gradient of the causal")
    def gradient():
        q = tf.Variable(Q)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(
                attention(q.value(), tf.constant(K), tf.constant(V), True) * V
            )
        return tape.gradient(total, q).numpy()


def keras(check):
    import keras
    from keras import ops

    # (batch, steps, heads, width) here.
    q, k, v, k2, v2 = (ops.array(x.swapaxes(1, 2)) for x in (Q, K, V, K2, V2))

    def heads_first(x):
        return ops.convert_to_numpy(x).swapaxes(1, 2)

    @check("one call")
    def plain():
        return heads_first(ops.dot_product_attention(q, k, v))

    @check("causal")
    def causal():
        return heads_first(ops.dot_product_attention(q, k, v, is_causal=True))

    @check("grouped", refused_by=(ValueError, RuntimeError, TypeError))
    def grouped():
        try:
            return heads_first(ops.dot_product_attention(q, k2, v2))
        except Exception as error:
            check.note("refuses heads of other numbers: %s" % str(error)[:80])
        check.fallback("keys and values are repeated, as GroupQueryAttention does")
        return heads_first(
            ops.dot_product_attention(
                q, ops.repeat(k2, 2, axis=2), ops.repeat(v2, 2, axis=2)
            )
        )

    # The queries are the weight of a layer: a step of SGD at rate 1 shows the gradient.
    @check("gradient of the causal")
    def gradient():
        class Queries(keras.layers.Layer):
            def build(self, shape):
                self.q = self.add_weight(shape=q.shape, initializer="zeros")

            def call(self, rows):
                query = ops.take(self.q, rows, axis=0)
                keys, values = ops.take(k, rows, axis=0), ops.take(v, rows, axis=0)
                return ops.dot_product_attention(query, keys, values, is_causal=True)

        queries = Queries()
        model = keras.Sequential([keras.Input((), dtype="int32"), queries])
        queries.set_weights([Q.swapaxes(1, 2)])
        model.compile(
            keras.optimizers.SGD(1.0),
            loss=lambda true, found: ops.sum(true * found),
        )
        model.train_on_batch(np.arange(2), V.swapaxes(1, 2))
        return Q - queries.get_weights()[0].swapaxes(1, 2)


def paddle(check):
    import paddle
    from paddle.nn.functional import scaled_dot_product_attention as attention

    # (batch, steps, heads, width) here.
    q, k, v, k2, v2 = (paddle.to_tensor(x.swapaxes(1, 2)) for x in (Q, K, V, K2, V2))

    def heads_first(x):
        return x.numpy().swapaxes(1, 2)

    @check("one call")
    def plain():
        return heads_first(attention(q, k, v))

    @check("causal")
    def causal():
        return heads_first(attention(q, k, v, is_causal=True))

    @check("grouped")
    def grouped():
        try:
            return heads_first(attention(q, k2, v2))
        except ValueError as error:
            check.note("refuses heads of other numbers: %s" % str(error)[-80:])
        check.fallback("keys and values are repeated")
        k4, v4 = (paddle.repeat_interleave(x, 2, axis=2) for x in (k2, v2))
        return heads_first(attention(q, k4, v4))

    @check("gradient of the causal")
    def gradient():
        query = q.clone().detach()
        query.stop_gradient = False
        (attention(query, k, v, is_causal=True) * v).sum().backward()
        return heads_first(query.grad)


def mxnet(check):
    from mxnet import autograd, nd

    # Heads of a batch, one after the other; the operations of 1.9 for attention take
    # queries, keys and values interleaved and know no mask.
    def attention(q, k, v, causal=False):
        rows = [x.reshape((-1, 5, 4)) for x in (q, k, v)]
        scores = nd.batch_dot(rows[0], rows[1], transpose_b=True) / 2
        if causal:
            mask = nd.array(np.tril(np.ones((1, 5, 5))))
            scores = nd.where(
                mask.broadcast_like(scores), scores, -1e30 * nd.ones_like(scores)
            )
        return nd.batch_dot(nd.softmax(scores), rows[2]).reshape(q.shape)

    q, k, v, k2, v2 = map(nd.array, (Q, K, V, K2, V2))
    by_hand = "nd.batch_dot and nd.softmax"

    @check("one call")
    def plain():
        check.fallback(by_hand)
        return attention(q, k, v).asnumpy()

    @check("causal")
    def causal():
        check.fallback(by_hand)
        return attention(q, k, v, causal=True).asnumpy()

    @check("grouped")
    def grouped():
        check.fallback(by_hand)
        return attention(q, k2.repeat(2, 1), v2.repeat(2, 1)).asnumpy()

    @check("gradient of the causal")
    def gradient():
        check.fallback(by_hand)
        q.attach_grad()
        with autograd.record():
            found = attention(q, k, v, causal=True)
        found.backward(v)
        return q.grad.asnumpy()


def mlx(check):
    import mlx.core as mx

    q, k, v, k2, v2 = map(mx.array, (Q, K, V, K2, V2))

    def attention(q, k, v, mask=None):
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=0.5, mask=mask)

    check("one call")(lambda: np.array(attention(q, k, v)))
    check("causal")(lambda: np.array(attention(q, k, v, "causal")))
    check("grouped")(lambda: np.array(attention(q, k2, v2)))

    @check("gradient of the causal")
    def gradient():
        return np.array(mx.grad(lambda q: (attention(q, k, v, "causal") * v).sum())(q))


def chainer(check):
    import chainer
    from chainer import functions

    def attention(q, k, v, causal=False):
        scores = functions.matmul(q, k, transb=True) / np.sqrt(4).astype("float32")
        if causal:
            mask = np.broadcast_to(np.tril(np.ones((5, 5))) > 0, scores.shape)
            scores = functions.where(mask, scores, np.full(scores.shape, -1e30, "f"))
        return functions.matmul(functions.softmax(scores, axis=-1), v)

    by_hand = "functions.matmul and softmax"

    @check("one call")
    def plain():
        check.fallback(by_hand)
        return attention(Q, K, V).array

    @check("causal")
    def causal():
        check.fallback(by_hand)
        return attention(Q, K, V, causal=True).array

    @check("grouped")
    def grouped():
        check.fallback(by_hand)
        return attention(Q, K2.repeat(2, 1), V2.repeat(2, 1)).array

    @check("gradient of the causal")
    def gradient():
        check.fallback(by_hand)
        q = chainer.Variable(Q.copy())
        functions.sum(attention(q, K, V, causal=True) * V).backward()
        return q.grad


def tinygrad(check):
    from tinygrad import Tensor

    q, k, v, k2, v2 = map(Tensor, (Q, K, V, K2, V2))

    @check("one call")
    def plain():
        return q.scaled_dot_product_attention(k, v).numpy()

    @check("causal")
    def causal():
        return q.scaled_dot_product_attention(k, v, is_causal=True).numpy()

    @check("grouped")
    def grouped():
        return q.scaled_dot_product_attention(k2, v2, enable_gqa=True).numpy()

    @check("gradient of the causal")
    def gradient():
        query = Tensor(Q)
        found = query.scaled_dot_product_attention(k, v, is_causal=True)
        (found * v).sum().backward()
        return query.grad.numpy()


def cntk(check):
    import cntk as C

    by_hand = "times and softmax, the heads beside the batch"
    names = q, k, v = [C.input_variable((5, 4), needs_gradient=True) for _ in range(3)]

    def attention(causal):
        scores = C.times_transpose(q, k) / 2
        if causal:
            scores = scores + np.where(np.tri(5) > 0, 0, -1e30).astype("float32")
        return C.times(C.softmax(scores, axis=1), v)

    def fed(*arrays):
        return {n: np.reshape(a, (-1, 5, 4)) for n, a in zip(names, arrays)}

    @check("one call")
    def plain():
        check.fallback(by_hand)
        check.note("layers.AttentionModel is the additive form, for sequences")
        return attention(False).eval(fed(Q, K, V)).reshape(Q.shape)

    @check("causal")
    def causal():
        check.fallback(by_hand)
        return attention(True).eval(fed(Q, K, V)).reshape(Q.shape)

    @check("grouped")
    def grouped():
        check.fallback(by_hand)
        pairs = fed(Q, np.repeat(K2, 2, 1), np.repeat(V2, 2, 1))
        return attention(False).eval(pairs).reshape(Q.shape)

    @check("gradient of the causal")
    def gradient():
        check.fallback(by_hand)
        total = C.reduce_sum(attention(True) * v)
        return total.grad(fed(Q, K, V), wrt=[q]).reshape(Q.shape)


def caffe2(check):
    from caffe2.python import core, workspace

    by_hand = "BatchMatMul and Softmax"

    def attention(q, k, v, causal=False, gradient=False):
        workspace.ResetWorkspace()
        mask = np.where(np.tri(5) > 0, 0, -1e30).astype("float32")
        for name, array in (("q", q / 2), ("k", k), ("v", v), ("mask", mask)):
            workspace.FeedBlob(name, array)
        net = core.Net("attention")
        scores = net.BatchMatMul(["q", "k"], 1, trans_b=1)
        if causal:
            scores = net.Add([scores, "mask"], 1, broadcast=1)
        weights = net.Softmax(scores, 1, axis=3)
        found = net.BatchMatMul([weights, "v"], 1)
        if not gradient:
            workspace.RunNetOnce(net)
            return workspace.FetchBlob(found)
        total = net.SumElements(net.Mul([found, "v"], 1), 1)
        gradients = net.AddGradientOperators([total])
        workspace.RunNetOnce(net)
        return workspace.FetchBlob(gradients["q"]) / 2

    @check("one call")
    def plain():
        check.fallback(by_hand)
        return attention(Q, K, V)

    @check("causal")
    def causal():
        check.fallback(by_hand)
        return attention(Q, K, V, causal=True)

    @check("grouped")
    def grouped():
        check.fallback(by_hand)
        return attention(Q, K2.repeat(2, 1), V2.repeat(2, 1))

    @check("gradient of the causal")
    def gradient():
        check.fallback(by_hand)
        return attention(Q, K, V, causal=True, gradient=True)
