"""Keeps the Java of H2O in the group of processes of the program that starts it."""

import subprocess
import types

import netglot_after


class _Popen(subprocess.Popen):
    """A process that begins no group."""

    def __init__(self, *arguments, **settings):
        settings["preexec_fn"] = None
        super().__init__(*arguments, **settings)


def mend(server):
    """Gives the module that starts Java another ``Popen``."""
    server.subprocess = types.SimpleNamespace(**{**vars(subprocess), "Popen": _Popen})


netglot_after.call("h2o.backend.server", mend)
