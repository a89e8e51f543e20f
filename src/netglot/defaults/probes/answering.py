"""How a probe's answers reach netglot: one line of JSON per operation, in a file."""

import inspect
import json
import sys
import traceback

import numpy as np


def lacking(reason):
    """A fact that cannot be had, and why."""
    return {"value": None, "source": None, "reason": reason}


def from_signature(function, parameter):
    """A fact for which there is no experiment: the default that the text declares."""
    value = inspect.signature(function).parameters[parameter].default
    return {"value": value, "source": "signature"}


def to_be_told(without):
    """The fact of what has no default: ``without`` leaves it out, and must raise."""
    try:
        without()
    except TypeError:
        return lacking("has no default: it has to be told")
    raise AssertionError("it can be left out after all")


def has_no(given, reason):
    """The fact of an argument that does not exist: ``given`` names it, and must raise.

    Python functions raise ``TypeError`` for a name that they do not have.
    """
    try:
        given()
    except TypeError:
        return lacking(reason)
    raise AssertionError("there is such an argument after all")


def write_answers(versions, probes, lacks):
    """Run the probes and write what they found to the file named on the command line.

    ``probes`` holds (operation, what it is called in the framework, function that
    returns the value by attribute); ``lacks`` maps an operation to the reason why the
    framework has no defaults for it. The first line tells the versions. Each line is
    flushed, so that a crash costs one operation.
    """
    with open(sys.argv[1], "w") as file:

        def tell(answer):
            file.write(json.dumps(answer) + "\n")
            file.flush()

        tell({"versions": versions})
        for operation, reason in lacks.items():
            tell({"operation": operation, "called": None, "reason": reason})
        for operation, called, probe in probes:
            answer = {"operation": operation, "called": called}
            try:
                found = probe()
                answer["facts"] = {name: _fact(found[name]) for name in found}
            except Exception as error:
                # One operation that fails costs no other; the reason goes in its cells.
                text = f"{type(error).__name__}: {error}"
                answer["reason"] = "the probe failed: " + text.splitlines()[0]
                traceback.print_exc()
            tell(answer)


def _fact(value):
    """What is no fact yet was found by execution."""
    if isinstance(value, dict):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    return {"value": value, "source": "executed"}
