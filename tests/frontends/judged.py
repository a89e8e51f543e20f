"""Whether the operations that were read give what the model gave."""

from __future__ import annotations

import numpy as np

from netglot import reference
from netglot.frontends import Reading
from netglot.frontends.reading import Relabel
from netglot.ops import Op


def judge(
    reading: Reading, tolerance: float, rounded: tuple[type[Op], ...] = ()
) -> None:
    """Every operation on its recorded inputs; weights there and back.

    ``rounded`` are operations that are held to 1e-5 alone.
    """
    weights = reading.weights()
    known: dict[str, np.ndarray] = {}
    for name in reading.recording.values:
        value = reading.value(name)
        if value is not None:
            known[name] = value
    for layer in reading.layers:
        if layer.op is None:
            continue
        inputs = [known[name] for name in layer.inputs]
        if isinstance(layer.op, Relabel):
            result = np.transpose(inputs[0], layer.op.order)
        else:
            types = tuple(reading.types[name] for name in layer.inputs)
            prefix = f"{layer.name}."
            own = {
                name[len(prefix) :]: weights[name]
                for weight in layer.weights
                for name in weight.sources
            }
            site = reference.Site(own, types, layer.op.infer(*types), layer.training)
            result = reference.MEANING[type(layer.op)](layer.op, site, *inputs)
        (output,) = layer.outputs
        # What lies between the operations of one layer was not seen.
        expected = known.setdefault(output, result)
        scale = max(1.0, float(np.abs(expected).max()))
        assert result.shape == expected.shape, f"{layer}: {layer.op}"
        worst = float(np.abs(result - expected).max()) / scale
        allowed = max(tolerance, 1e-5) if isinstance(layer.op, rounded) else tolerance
        assert worst <= allowed, f"{layer}: {layer.op} is {worst:.1e} off"
    missing = set(reading.outputs) - {
        o for layer in reading.layers for o in layer.outputs
    }
    assert not missing
    own_weights = reading.recording.weights()
    for path, array in reading.lay_out(weights).items():
        np.testing.assert_array_equal(array, own_weights[path], err_msg=path)
