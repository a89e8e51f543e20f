"""Calls a function when a module has been imported, and not before."""

import importlib.abc
import importlib.util
import sys

# Name of a module -> what to call with it.
_WAITING = {}


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        functions = _WAITING.pop(name, None)
        if functions is None:
            return None
        # It waits no longer: now the other finders are asked.
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for function in functions:
                function(module)

        spec.loader.exec_module = exec_module
        return spec


def call(name, function):
    """Calls ``function(module)`` once the module ``name`` is there."""
    if name in sys.modules:
        function(sys.modules[name])
    else:
        _WAITING.setdefault(name, []).append(function)


sys.meta_path.insert(0, _Finder())
