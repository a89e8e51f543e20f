"""Trained weights as they come from PyTorch, in its names and layouts."""

import numpy as np

_random = np.random.default_rng(5)


def _draw(**shapes):
    return {
        name: _random.uniform(-0.6, 0.6, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


IMAGES = _draw(
    **{
        "conv.weight": (5, 2, 3, 3),
        "conv.bias": (5,),
        "norm.weight": (5,),
        "norm.bias": (5,),
        "norm.running_mean": (5,),
        "fc1.weight": (9, 60),
        "fc1.bias": (9,),
        "fc2.weight": (9, 9),
        "fc2.bias": (9,),
    }
)
IMAGES["norm.running_var"] = _random.uniform(0.5, 2, 5).astype(np.float32)

MEMORY = _draw(
    **{
        "embedding.weight": (30, 6),
        "lstm.weight_ih_l0": (24, 6),
        "lstm.weight_hh_l0": (24, 6),
        "lstm.bias_ih_l0": (24,),
        "lstm.bias_hh_l0": (24,),
        "fc.weight": (3, 6),
        "fc.bias": (3,),
    }
)

GATES = _draw(
    **{
        "embedding.weight": (30, 6),
        "gru.weight_ih_l0": (15, 6),
        "gru.weight_hh_l0": (15, 5),
        "gru.bias_ih_l0": (15,),
        "gru.bias_hh_l0": (15,),
        "fc.weight": (3, 5),
        "fc.bias": (3,),
    }
)
