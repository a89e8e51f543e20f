"""The gradient of every parameter, read off one step of plain gradient descent.

A step with a huge rate turns a weight into the negative of its gradient: the weight
itself is nothing beside it. So no program has to be asked for its gradients, and what
is compared is the program that is shown, with another optimizer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from netglot.check.compare import VALUES, Difference
from netglot.check.gate import Verdict
from netglot.recipe import SGD
from netglot.workloads import Workload

#: A power of two: multiplying by it does not round.
RATE = 2.0**20


def descending(workload: Workload) -> Workload:
    """The same network and loss, trained by huge steps of gradient descent."""
    assert workload.recipe is not None
    recipe = replace(workload.recipe, optimizer=SGD(rate=RATE))
    return replace(workload, recipe=recipe)


def of_gradients(workload: Workload, verdict: Verdict) -> Verdict:
    """The verdict on the first step of ``descending``, as one on gradients.

    In float64 they have to be as close as values. What is no parameter (scores, running
    statistics) is left out: it is compared with the recipe's own optimizer.
    """
    found = tuple(_gradients(workload, verdict.differences))
    equal = not verdict.error and all(difference.equal for difference in found)
    return replace(verdict, equal=equal, differences=found)


def _gradients(workload: Workload, found: Iterable[Difference]) -> Iterable[Difference]:
    names = {"all weights": "all gradients"}
    for path, weight in workload.graph.weights().items():
        if weight.trained:
            names[path] = f"gradient of {path}"
    for difference in found:
        what, step, which = difference.what.partition(" after step 1")
        if step and what in names:
            twin = which.endswith(" (float64)")
            allowed = VALUES["float64"] if twin else difference.allowed
            yield replace(difference, what=names[what] + which, allowed=allowed)
