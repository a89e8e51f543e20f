"""Looks at a live model: runs beside it, in the interpreter of its framework.

One file per framework, with the same functions (see ``pytorch.py``). Standard library,
NumPy and the framework only, nothing of netglot, syntax of Python 3.7: the package is
also loaded into foreign interpreters, under the name ``netglot_watch``.
"""
