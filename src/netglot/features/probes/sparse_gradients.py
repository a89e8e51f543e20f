"""Sparse gradients of embeddings.

A table of 5000 rows of which three are looked up, one of them twice: has the gradient
5000 rows or as many as were looked up? Does an optimizer with momentum leave the others
alone?
"""

import numpy as np

ROWS, WIDTH = 5000, 4
LOOKED_UP = [3, 7, 3, 4999]


def four_at_most(rows):
    """As many rows as were looked up, not the 5000 of the table"""
    return 1 <= rows <= 4


CHECKS = {
    "rows in the gradient": four_at_most,
    # of the sum of what is looked up: how often each was; of rows 3, 7, 4999 and 0
    "its values": [2.0, 1.0, 1.0, 0.0],
    # How far rows 3 and 0 go in two steps, the second of which looks up row 7 alone:
    # momentum would move row 3 on in the second step, were it not told to wait.
    "an optimizer that skips the others": [True, False],
}


def numpy(check):
    import autograd.numpy as anp
    from autograd import grad

    table = np.zeros((ROWS, WIDTH))
    gradient = grad(lambda table: anp.sum(table[np.array(LOOKED_UP)]))(table)

    @check("rows in the gradient")
    def rows():
        return len(gradient)

    @check("its values")
    def values():
        return gradient[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def optimizer():
        check.lacks("autograd.sparse", "autograd's gradients are dense arrays")


def _moves(first, second, third):
    """Whether row 3 moved in the first step, and in the second, about row 7."""
    moved = first[3, 0] != second[3, 0]
    if second[7, 0] == third[7, 0] or second[0, 0] != third[0, 0]:
        raise ValueError("row 7 did not move, or row 0 did")
    return [bool(moved), bool(second[3, 0] != third[3, 0])]


def pytorch(check):
    import torch

    def embedding():
        layer = torch.nn.Embedding(ROWS, WIDTH, sparse=True)
        torch.nn.init.zeros_(layer.weight)
        return layer

    layer = embedding()
    layer(torch.tensor(LOOKED_UP)).sum().backward()
    gradient = layer.weight.grad

    @check("rows in the gradient")
    def rows():
        return len(gradient.coalesce().values())

    @check("its values")
    def values():
        return gradient.to_dense()[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def optimizer():
        check.note("SparseAdam")
        layer = embedding()
        optimizer = torch.optim.SparseAdam(layer.parameters(), lr=0.1)
        tables = [layer.weight.detach().clone()]
        for looked_up in ([3, 7], [7]):
            optimizer.zero_grad()
            layer(torch.tensor(looked_up)).sum().backward()
            optimizer.step()
            tables.append(layer.weight.detach().clone())
        return _moves(*tables)


def jax(check):
    import jax
    import jax.numpy as jnp

    table = jnp.zeros((ROWS, WIDTH))
    gradient = jax.grad(lambda table: jnp.sum(table[jnp.array(LOOKED_UP)]))(table)

    @check("rows in the gradient")
    def rows():
        check.note("jax.experimental.sparse.grad is sparse for sparse arguments only")
        return len(gradient)

    @check("its values")
    def values():
        return gradient[jnp.array([3, 7, 4999, 0]), 0]

    @check("an optimizer that skips the others")
    def optimizer():
        import optax

        optimizer = optax.adam(0.1)
        tables, table = [jnp.zeros((ROWS, WIDTH))], jnp.zeros((ROWS, WIDTH))
        state = optimizer.init(table)
        for looked_up in ([3, 7], [7]):
            gradient = jax.grad(lambda t, at: jnp.sum(t[at]))(
                table, jnp.array(looked_up)
            )
            updates, state = optimizer.update(gradient, state)
            table = optax.apply_updates(table, updates)
            tables.append(table)
        return _moves(*tables)


def tensorflow(check):
    import tensorflow as tf

    def gradient_of(table, looked_up):
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(tf.nn.embedding_lookup(table, looked_up))
        return tape.gradient(y, table)

    gradient = gradient_of(tf.Variable(tf.zeros((ROWS, WIDTH))), LOOKED_UP)

    @check("rows in the gradient")
    def rows():
        return len(gradient.values)

    @check("its values")
    def values():
        return tf.gather(tf.convert_to_tensor(gradient)[:, 0], [3, 7, 4999, 0])

    @check("an optimizer that skips the others")
    def optimizer():
        check.note("Keras' Adam, with IndexedSlices")
        table = tf.Variable(tf.zeros((ROWS, WIDTH)))
        optimizer = tf.keras.optimizers.Adam(0.1)
        tables = [table.numpy()]
        for looked_up in ([3, 7], [7]):
            optimizer.apply([gradient_of(table, looked_up)], [table])
            tables.append(table.numpy())
        return _moves(*tables)


def keras(check):
    import keras

    seen = []

    class Watched(keras.optimizers.Adam):
        def apply(self, gradients, variables=None):
            seen.extend(gradients)
            return super().apply(gradients, variables)

    layer = keras.layers.Embedding(ROWS, WIDTH, embeddings_initializer="zeros")
    model = keras.Sequential([keras.Input((None,), dtype="int32"), layer])
    model.compile(Watched(0.1), lambda y, s: keras.ops.sum(s), run_eagerly=True)

    def train(looked_up):
        model.train_on_batch(np.array([looked_up]), np.zeros((1, 1)))
        return model.get_weights()[0]

    def gradient():
        if not seen:
            train(LOOKED_UP)
        return seen[0]

    @check("rows in the gradient")
    def rows():
        # With TensorFlow they are tf.IndexedSlices.
        sparse = hasattr(gradient(), "dense_shape")
        return len(gradient().values if sparse else gradient())

    @check("its values")
    def values():
        dense = keras.ops.convert_to_numpy(gradient())
        return dense[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def optimizer():
        fresh = keras.layers.Embedding(ROWS, WIDTH, embeddings_initializer="zeros")
        model = keras.Sequential([keras.Input((None,), dtype="int32"), fresh])
        model.compile(keras.optimizers.Adam(0.1), lambda y, s: keras.ops.sum(s))
        tables = [model.get_weights()[0]]
        for looked_up in ([3, 7], [7]):
            model.train_on_batch(np.array([looked_up]), np.zeros((1, 1)))
            tables.append(model.get_weights()[0])
        return _moves(*tables)


def paddle(check):
    import paddle

    def embedding():
        zeros = paddle.nn.initializer.Constant(0.0)
        return paddle.nn.Embedding(ROWS, WIDTH, sparse=True, weight_attr=zeros)

    layer = embedding()
    layer(paddle.to_tensor(LOOKED_UP)).sum().backward()

    @check("rows in the gradient")
    def rows():
        selected = layer.weight._grad_ivar()
        return len(selected.get_selected_rows().rows())

    @check("its values")
    def values():
        table = embedding()
        optimizer = paddle.optimizer.SGD(1.0, parameters=table.parameters())
        table(paddle.to_tensor(LOOKED_UP)).sum().backward()
        optimizer.step()
        return -table.weight.numpy()[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def optimizer():
        check.note("Adam(lazy_mode=True)")
        layer = embedding()
        optimizer = paddle.optimizer.Adam(
            0.1, parameters=layer.parameters(), lazy_mode=True
        )
        tables = [layer.weight.numpy().copy()]
        for looked_up in ([3, 7], [7]):
            layer(paddle.to_tensor(looked_up)).sum().backward()
            optimizer.step()
            optimizer.clear_grad()
            tables.append(layer.weight.numpy().copy())
        return _moves(*tables)


def mlx(check):
    import mlx.core as mx
    from mlx import optimizers

    def gradient_of(table, looked_up):
        return mx.grad(lambda table: mx.sum(table[mx.array(looked_up)]))(table)

    gradient = gradient_of(mx.zeros((ROWS, WIDTH)), LOOKED_UP)

    @check("rows in the gradient")
    def rows():
        return len(gradient)

    @check("its values")
    def values():
        return np.array(gradient)[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def optimizer():
        optimizer = optimizers.Adam(0.1)
        table = {"table": mx.zeros((ROWS, WIDTH))}
        tables = [np.array(table["table"])]
        for looked_up in ([3, 7], [7]):
            gradient = {"table": gradient_of(table["table"], looked_up)}
            table = optimizer.apply_gradients(gradient, table)
            tables.append(np.array(table["table"]))
        return _moves(*tables)


def _symbolic(check, library, T, incremented):
    at = T.ivector("at")
    table = library.shared(np.zeros((ROWS, WIDTH)))
    looked_up = table[at]
    # By what was looked up, not by the table: the rows to change are then few.
    gradient = library.grad(T.sum(looked_up), looked_up)
    picked = np.array(LOOKED_UP, "int32")

    @check("rows in the gradient")
    def rows():
        function = library.function([at], gradient, mode="FAST_COMPILE")
        return len(function(picked))

    @check("its values")
    def values():
        changed = incremented(looked_up, -gradient)
        library.function([at], [], updates=[(table, changed)], mode="FAST_COMPILE")(
            picked
        )
        return -table.get_value()[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def optimizer():
        check.note("written by hand: momentum of the rows that were looked up")
        table, velocity = [library.shared(np.zeros((ROWS, WIDTH))) for _ in range(2)]
        rows, speeds = table[at], velocity[at]
        moved = 0.9 * speeds + library.grad(T.sum(rows), rows)
        step = library.function(
            [at],
            [],
            updates=[
                (velocity, T.set_subtensor(speeds, moved)),
                (table, incremented(rows, -0.1 * moved)),
            ],
            mode="FAST_COMPILE",
        )
        tables = [table.get_value()]
        for picked in ([3, 7], [7]):
            step(np.array(picked, "int32"))
            tables.append(table.get_value())
        return _moves(*tables)


def theano(check):
    import theano
    import theano.tensor as T

    _symbolic(check, theano, T, T.inc_subtensor)


def pytensor(check):
    import pytensor
    import pytensor.tensor as T

    _symbolic(check, pytensor, T, T.inc_subtensor)


def tensorflow1(check):
    import tensorflow as tf

    table = tf.Variable(tf.zeros((ROWS, WIDTH)))
    at = tf.placeholder(tf.int32, [None])
    loss = tf.reduce_sum(tf.nn.embedding_lookup(table, at))
    (gradient,) = tf.gradients(loss, table)

    def run(graph):
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            return session.run(graph, {at: LOOKED_UP})

    @check("rows in the gradient")
    def rows():
        return len(run(gradient.values))

    @check("its values")
    def values():
        return run(tf.convert_to_tensor(gradient))[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def optimizer():
        check.note("tf.contrib.opt.LazyAdamOptimizer")
        step = tf.contrib.opt.LazyAdamOptimizer(0.1).minimize(loss, var_list=[table])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            tables = [session.run(table)]
            for looked_up in ([3, 7], [7]):
                session.run(step, {at: looked_up})
                tables.append(session.run(table))
        return _moves(*tables)


def chainer(check):
    import chainer
    import chainer.functions as F

    table = chainer.Parameter(np.zeros((ROWS, WIDTH), "float32"))

    def train(table, looked_up, rule):
        table.cleargrad()
        F.sum(F.embed_id(np.array(looked_up, "int32"), table)).backward()
        gradient = table.grad
        rule.update(table)
        return gradient

    rule = chainer.optimizers.Adam(0.1).create_update_rule()
    gradient = train(table, LOOKED_UP, rule)

    @check("rows in the gradient")
    def rows():
        return len(gradient)

    @check("its values")
    def values():
        return gradient[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def optimizer():
        table = chainer.Parameter(np.zeros((ROWS, WIDTH), "float32"))
        rule = chainer.optimizers.Adam(0.1).create_update_rule()
        tables = [table.array.copy()]
        for looked_up in ([3, 7], [7]):
            train(table, looked_up, rule)
            tables.append(table.array.copy())
        return _moves(*tables)


def mxnet(check):
    import mxnet as mx
    from mxnet import autograd, nd

    def gradient_of(table, looked_up):
        with autograd.record():
            y = nd.Embedding(nd.array(looked_up), table, ROWS, WIDTH, sparse_grad=True)
            loss = nd.sum(y)
        loss.backward()
        return table.grad

    def zeros():
        table = nd.zeros((ROWS, WIDTH))
        table.attach_grad(stype="row_sparse")
        return table

    gradient = gradient_of(zeros(), LOOKED_UP)

    @check("rows in the gradient")
    def rows():
        return len(gradient.indices)

    @check("its values")
    def values():
        return gradient.tostype("default").asnumpy()[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def optimizer():
        check.note("Adam(lazy_update=True), for row_sparse gradients")
        optimizer = mx.optimizer.Adam(learning_rate=0.1, lazy_update=True)
        dense = zeros()
        state = optimizer.create_state(0, dense)
        tables = [dense.asnumpy()]
        for looked_up in ([3, 7], [7]):
            gradient = gradient_of(dense, looked_up)
            optimizer.update(0, dense, gradient, state)
            tables.append(dense.asnumpy())
        return _moves(*tables)


def dynet(check):
    import dynet as dy

    def table():
        collection = dy.ParameterCollection()
        found = collection.lookup_parameters_from_numpy(np.zeros((ROWS, WIDTH)))
        return collection, found

    def train(rows, looked_up, trainer):
        dy.renew_cg()
        looked = dy.concatenate([rows[i] for i in looked_up])
        dy.sum_elems(looked).backward()
        trainer.update()

    @check("rows in the gradient")
    def count():
        _collection, rows = table()
        dy.renew_cg()
        dy.sum_elems(dy.concatenate([rows[i] for i in LOOKED_UP])).backward()
        gradient = rows.grad_as_array()
        check.note("kept as one array; the list of the rows that changed is beside it")
        return len(gradient)

    @check("its values")
    def values():
        collection, rows = table()
        trainer = dy.SimpleSGDTrainer(collection, 1.0)
        trainer.set_clip_threshold(0)
        train(rows, LOOKED_UP, trainer)
        return -rows.as_array()[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def optimizer():
        check.note("sparse updates are the default of its trainers")
        collection, rows = table()
        trainer = dy.AdamTrainer(collection, 0.1)
        tables = [np.array(rows.as_array())]
        for looked_up in ([3, 7], [7]):
            train(rows, looked_up, trainer)
            tables.append(np.array(rows.as_array()))
        return _moves(*tables)


def cntk(check):
    import cntk as C

    # An embedding is the product of a sparse row with a table.
    x = C.input_variable(ROWS, is_sparse=True)
    table = C.parameter(init=np.zeros((ROWS, WIDTH), "float32"))
    chosen = C.times(x, table)

    def fed(rows):
        return {x: C.Value.one_hot([[row] for row in rows], ROWS)}

    def trained(learner, batches):
        trainer = C.Trainer(chosen, C.reduce_sum(chosen), [learner])
        tables = [table.value.copy()]
        for looked_up in batches:
            trainer.train_minibatch(fed(looked_up))
            tables.append(table.value.copy())
        return tables

    # It is sparse, but by a format of its own from which no number gets out.
    @check("rows in the gradient", refused_by=(ValueError,))
    def rows():
        found = C.reduce_sum(chosen).grad(fed(LOOKED_UP), wrt=[table], as_numpy=False)
        check.note("is_sparse: %s" % found.is_sparse)
        return len(found.data.to_ndarray())

    @check("its values")
    def values():
        check.note("as one step of descent has them")
        learner = C.sgd([table], 1.0, minibatch_size=1)
        before, after = trained(learner, [LOOKED_UP])
        return (before - after)[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def skips():
        learner = C.momentum_sgd(
            [table], 1.0, 0.9, unit_gain=False, minibatch_size=C.learners.IGNORE
        )
        return _moves(*trained(learner, ([3, 7], [7])))


def caffe2(check):
    from caffe2.python import core, model_helper, optimizer, workspace
    from caffe2.python.modeling.initializers import Initializer

    workspace.ResetWorkspace()
    workspace.FeedBlob("rows", np.array(LOOKED_UP, "int32"))
    model = model_helper.ModelHelper("table")
    table = model.create_param(
        "table", (ROWS, WIDTH), initializer=Initializer("ConstantFill", value=0.0)
    )
    total = model.net.SumElements(model.net.Gather([table, "rows"], 1), "total")
    gradients = model.AddGradientOperators([total])
    workspace.RunNetOnce(model.param_init_net)
    workspace.RunNetOnce(model.net)
    found = gradients[str(table)]

    @check("rows in the gradient")
    def rows():
        return len(workspace.FetchBlob(found.values))

    @check("its values")
    def values():
        dense = np.zeros((ROWS, WIDTH))
        np.add.at(
            dense, workspace.FetchBlob(found.indices), workspace.FetchBlob(found.values)
        )
        return dense[[3, 7, 4999, 0], 0]

    @check("an optimizer that skips the others")
    def skips():
        check.note("optimizer.build_adam, by SparseAdam")
        optimizer.build_adam(model, 0.1)
        workspace.RunNetOnce(model.param_init_net)
        workspace.CreateNet(model.net, overwrite=True)
        tables = [workspace.FetchBlob(table)]
        for looked_up in ([3, 7], [7]):
            workspace.FeedBlob("rows", np.array(looked_up, "int32"))
            workspace.RunNet(model.net)
            tables.append(workspace.FetchBlob(table))
        assert core
        return _moves(*tables)
