"""Puts back the names of Python's own types that NumPy took out in its version 1.24."""

import netglot_after


def mend(numpy):
    """Gives ``numpy.bool`` and its like to the module."""
    for name, kind in (
        ("bool", bool),
        ("int", int),
        ("float", float),
        ("complex", complex),
        ("object", object),
        ("str", str),
    ):
        if name not in vars(numpy):
            setattr(numpy, name, kind)


netglot_after.call("numpy", mend)
