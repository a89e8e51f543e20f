"""Inputs of the models in keras_small.py; this file needs no Keras."""

import numpy as np

SHAPES = {
    "image": (2, 13, 11, 3),
    "first": (2, 3, 10, 9),
    "series": (2, 11, 5),
    "attentive": (2, 7, 8),
    "volume": (2, 7, 6, 5, 2),
    "odd": (2, 6, 8, 4),
}


def example(name: str, seed: int = 0) -> list[np.ndarray]:
    """What a model is given."""
    rng = np.random.default_rng(seed)
    if name == "words":
        return [rng.integers(0, 40, (3, 9)).astype(np.int32)]
    if name == "image":
        return [rng.uniform(0, 255, SHAPES[name])]
    return [rng.normal(size=SHAPES.get(name, (4, 5)))]
