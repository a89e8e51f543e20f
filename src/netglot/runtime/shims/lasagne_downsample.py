"""Puts back ``theano.tensor.signal.downsample``, by which Lasagne 0.1 pools.

Theano has called it ``pool.pool_2d`` since its version 0.9, and its arguments anew.
"""

import sys
import types

import netglot_after


def mend(signal):
    """Makes the old module of the new one."""

    def max_pool_2d(input, ds, ignore_border=None, st=None, padding=(0, 0), mode="max"):
        from theano.tensor.signal.pool import pool_2d

        return pool_2d(
            input, ws=ds, ignore_border=ignore_border, stride=st, pad=padding, mode=mode
        )

    module = types.ModuleType("theano.tensor.signal.downsample")
    module.max_pool_2d = max_pool_2d
    sys.modules[module.__name__] = module
    signal.downsample = module


netglot_after.call("theano.tensor.signal", mend)
