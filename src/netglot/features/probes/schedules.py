"""Learning-rate schedules.

The rate of a schedule at ten steps, against its formula: falling by half every three
steps, exponentially, along half a cosine, and after a linear warm-up.
"""

import numpy as np

RATE, STEPS = 0.8, np.arange(10)

CHECKS = {
    "half every three steps": RATE * 0.5 ** (STEPS // 3),
    "exponential": RATE * 0.9**STEPS,
    "cosine to zero in nine steps": RATE * (1 + np.cos(np.pi * STEPS / 9)) / 2,
    # From a quarter of the rate to the whole in three steps.
    "linear warm-up": RATE * np.minimum(1, 0.25 + 0.25 * STEPS),
}


def numpy(check):
    for name in CHECKS:

        @check(name)
        def schedule():
            check.lacks(
                "autograd.misc.optimizers.exponential_decay",
                "the step size of autograd's optimizers is one number",
            )


def pytorch(check):
    import torch
    from torch.optim import lr_scheduler

    def rates(kind, **options):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
        scheduler, found = kind(optimizer, **options), []
        for _ in STEPS:
            found.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        return found

    check("half every three steps")(
        lambda: rates(lr_scheduler.StepLR, step_size=3, gamma=0.5)
    )
    check("exponential")(lambda: rates(lr_scheduler.ExponentialLR, gamma=0.9))
    check("cosine to zero in nine steps")(
        lambda: rates(lr_scheduler.CosineAnnealingLR, T_max=9)
    )
    check("linear warm-up")(
        lambda: rates(lr_scheduler.LinearLR, start_factor=0.25, total_iters=3)
    )


def jax(check):
    import optax

    def rates(schedule):
        return [float(schedule(step)) for step in STEPS]

    check("half every three steps")(
        lambda: rates(optax.exponential_decay(RATE, 3, 0.5, staircase=True))
    )
    check("exponential")(lambda: rates(optax.exponential_decay(RATE, 1, 0.9)))
    check("cosine to zero in nine steps")(
        lambda: rates(optax.cosine_decay_schedule(RATE, 9))
    )
    check("linear warm-up")(lambda: rates(optax.linear_schedule(RATE / 4, RATE, 3)))


def tensorflow(check):
    import tensorflow as tf

    _with_keras(check, tf.keras)


def keras(check):
    import keras

    _with_keras(check, keras)


def _with_keras(check, keras):
    schedules = keras.optimizers.schedules

    def rates(schedule):
        return [float(schedule(step)) for step in STEPS]

    check("half every three steps")(
        lambda: rates(schedules.ExponentialDecay(RATE, 3, 0.5, staircase=True))
    )
    check("exponential")(lambda: rates(schedules.ExponentialDecay(RATE, 1, 0.9)))
    check("cosine to zero in nine steps")(lambda: rates(schedules.CosineDecay(RATE, 9)))
    check("linear warm-up")(
        lambda: rates(schedules.PolynomialDecay(RATE / 4, 3, end_learning_rate=RATE))
    )


def paddle(check):
    from paddle.optimizer import lr

    def rates(scheduler):
        found = []
        for _ in STEPS:
            found.append(scheduler())
            scheduler.step()
        return found

    check("half every three steps")(lambda: rates(lr.StepDecay(RATE, 3, 0.5)))
    check("exponential")(lambda: rates(lr.ExponentialDecay(RATE, 0.9)))
    check("cosine to zero in nine steps")(
        lambda: rates(lr.CosineAnnealingDecay(RATE, T_max=9))
    )
    check("linear warm-up")(
        lambda: rates(lr.LinearWarmup(RATE, 3, start_lr=RATE / 4, end_lr=RATE))
    )


def mxnet(check):
    from mxnet import lr_scheduler

    def rates(scheduler):
        return [scheduler(int(step)) for step in STEPS]

    # Of what is given as the count of steps the scheduler falls one later.
    @check("half every three steps")
    def steps():
        scheduler = lr_scheduler.FactorScheduler(3, 0.5, base_lr=RATE)
        return [scheduler(int(step) + 1) for step in STEPS]

    @check("exponential")
    def exponential():
        scheduler = lr_scheduler.FactorScheduler(1, 0.9, base_lr=RATE)
        return [scheduler(int(step) + 1) for step in STEPS]

    check("cosine to zero in nine steps")(
        lambda: rates(lr_scheduler.CosineScheduler(9, RATE))
    )

    @check("linear warm-up")
    def warm_up():
        return rates(
            lr_scheduler.FactorScheduler(
                100, base_lr=RATE, warmup_steps=3, warmup_begin_lr=RATE / 4
            )
        )


def mlx(check):
    import mlx.core as mx
    from mlx import optimizers as optim

    def rates(schedule):
        return [schedule(mx.array(int(step))).item() for step in STEPS]

    check("half every three steps")(lambda: rates(optim.step_decay(RATE, 0.5, 3)))
    check("exponential")(lambda: rates(optim.exponential_decay(RATE, 0.9)))
    check("cosine to zero in nine steps")(lambda: rates(optim.cosine_decay(RATE, 9)))
    check("linear warm-up")(lambda: rates(optim.linear_schedule(RATE / 4, RATE, 3)))


def tinygrad(check):
    for name in CHECKS:

        @check(name)
        def schedule():
            check.lacks(
                "tinygrad.nn.optim.LRScheduler", "schedules are in its examples only"
            )


def cntk(check):
    import cntk as C

    def rates(values, steps):
        schedule = C.learning_parameter_schedule(
            [float(value) for value in values], minibatch_size=1, epoch_size=steps
        )
        return [schedule[int(step)] for step in STEPS]

    @check("half every three steps")
    def half():
        return rates([RATE * 0.5**k for k in range(4)], 3)

    by_hand = "a schedule is a list of rates: the formula is one's own"

    @check("exponential")
    def exponential():
        check.fallback(by_hand)
        return rates(RATE * 0.9**STEPS, 1)

    @check("cosine to zero in nine steps")
    def cosine():
        check.fallback(by_hand)
        return rates(RATE * (1 + np.cos(np.pi * STEPS / 9)) / 2, 1)

    @check("linear warm-up")
    def warm_up():
        check.fallback(by_hand)
        return rates(RATE * np.minimum(1, (1 + STEPS) / 4), 1)


def caffe2(check):
    from caffe2.python import core, workspace

    def rates(policy, **options):
        found = []
        for step in STEPS:
            workspace.FeedBlob("iteration", np.array([step], "int64"))
            op = core.CreateOperator(
                "LearningRate", "iteration", "rate", policy=policy, **options
            )
            workspace.RunOperatorOnce(op)
            # It goes with a minus: gradients are added.
            found.append(float(workspace.FetchBlob("rate")))
        return found

    @check("half every three steps")
    def half():
        return rates("step", base_lr=RATE, stepsize=3, gamma=0.5)

    check("exponential")(lambda: rates("exp", base_lr=RATE, gamma=0.9))

    @check("cosine to zero in nine steps")
    def cosine():
        check.note("at the ninth step it begins again")
        return rates(
            "cosine", base_lr=1.0, max_lr=RATE, min_lr=0.0, period=9, t_mult=1.0
        )

    @check("linear warm-up")
    def warm_up():
        return rates("linearWarmup", base_lr=RATE, start_multiplier=0.25, num_iter=3)


def keras2(check):
    import keras
    from keras import backend as K

    # A callback sets the rate for each epoch: the formula is one's own.
    def rates(formula):
        check.fallback("LearningRateScheduler, which takes a function of one's own")
        model = keras.models.Sequential([keras.layers.Dense(1, input_shape=(1,))])
        model.compile(keras.optimizers.SGD(1.0), "mse")
        seen = []
        watch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: seen.append(
                K.get_value(model.optimizer.lr)
            )
        )
        scheduler = keras.callbacks.LearningRateScheduler(lambda i: float(formula(i)))
        x = np.zeros((1, 1))
        model.fit(x, x, epochs=len(STEPS), verbose=0, callbacks=[scheduler, watch])
        return seen

    check("half every three steps")(lambda: rates(lambda i: RATE * 0.5 ** (i // 3)))
    check("exponential")(lambda: rates(lambda i: RATE * 0.9**i))
    check("cosine to zero in nine steps")(
        lambda: rates(lambda i: RATE * (1 + np.cos(np.pi * i / 9)) / 2)
    )
    check("linear warm-up")(lambda: rates(lambda i: RATE * min(1, (1 + i) / 4)))
