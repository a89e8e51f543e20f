"""One file per row, to be read: how the thing is done in each framework.

A file has a docstring with the question, ``CHECKS`` (what is looked at -> the value
that is right, or a function that judges one), and a function per framework or family,
which is handed a ``check`` (``features/checking.py``). The values are stated once for
all: no framework has its own truth. ``TIMEOUT`` (seconds), ``ALONE`` (a process of its
own) and ``VARIABLES`` (set in it) are optional.
"""
