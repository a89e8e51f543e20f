"""Steps of an optimizer of Keras, which TensorFlow programs use as well."""

import numpy as np
import solving

NAMES = {"rate": "learning_rate", "accumulator": "initial_accumulator_value"}


def walk(keras, name):
    """``walk`` of solving.py for a class of ``keras.optimizers``."""

    def run(gradients, start=0.0, rates=None, **arguments):
        told = {NAMES.get(key, key): value for key, value in arguments.items()}
        optimizer = getattr(keras.optimizers, name)(**told)
        weight = keras.Variable(np.array([start], "float32"))
        optimizer.build([weight])
        path = [start]
        for step, gradient in enumerate(gradients):
            if rates:
                optimizer.learning_rate = rates[step]
            slope = keras.ops.convert_to_tensor(np.array([gradient], "float32"))
            optimizer.apply([slope], [weight])
            path.append(float(np.asarray(keras.ops.convert_to_numpy(weight))[0]))
        return path

    return run


def sgd(keras):
    """SGD."""
    steps = walk(keras, "SGD")
    rate = solving.default_rate(steps)
    return {"rate": rate, **solving.sgd(steps), **solving.sgd_decay(steps)}


def adam(keras, name="Adam"):
    """Adam or AdamW."""
    steps = walk(keras, name)
    rate = solving.default_rate(steps)
    return {"rate": rate, **solving.adam(steps), **solving.adam_decay(steps)}


def rmsprop(keras):
    """RMSprop."""
    steps = walk(keras, "RMSprop")
    return {"rate": solving.rmsprop_rate(steps), **solving.rmsprop(steps)}


def adagrad(keras):
    """Adagrad."""
    steps = walk(keras, "Adagrad")
    return {"rate": solving.adagrad_rate(steps), **solving.adagrad(steps)}


def probes(keras, prefix):
    """All optimizers, called by their names below ``prefix``."""
    return [
        ("SGD", prefix + ".SGD", lambda: sgd(keras)),
        ("Adam", prefix + ".Adam", lambda: adam(keras)),
        ("AdamW", prefix + ".AdamW", lambda: adam(keras, "AdamW")),
        ("RMSprop", prefix + ".RMSprop", lambda: rmsprop(keras)),
        ("Adagrad", prefix + ".Adagrad", lambda: adagrad(keras)),
    ]
