"""mnist-cnn by hand, as short as it gets: what a raced program is measured against."""

import tensorflow as tf

glorot = tf.keras.initializers.GlorotUniform()
SHAPES = [(3, 3, 1, 32), (3, 3, 32, 64), (9216, 128), (128, 10)]
weights = [tf.Variable(glorot(s)) for s in SHAPES]
biases = [tf.Variable(tf.zeros(s[-1])) for s in SHAPES]
optimizer = tf.keras.optimizers.Adam(1e-3, epsilon=1e-8)
optimizer.build(weights + biases)


@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        h = x
        for i in (0, 1):
            h = tf.nn.relu(tf.nn.conv2d(h, weights[i], 1, "VALID") + biases[i])
        h = tf.nn.dropout(tf.nn.max_pool2d(h, 2, 2, "VALID"), 0.25)
        h = tf.nn.relu(tf.reshape(h, [len(h), 9216]) @ weights[2] + biases[2])
        scores = tf.nn.dropout(h, 0.5) @ weights[3] + biases[3]
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=scores)
        )
    grads = tape.gradient(loss, weights + biases)
    optimizer.apply_gradients(zip(grads, weights + biases, strict=True))
    return loss


def run(batches):
    """Yield the loss of every step, not waited for."""
    for x, y in batches:
        yield step(x.transpose(0, 2, 3, 1), y)
