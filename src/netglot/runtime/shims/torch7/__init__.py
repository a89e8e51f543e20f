"""Programs of Torch7 where there is no Torch7: LuaJIT runs them, PyTorch computes.

The tensors, the modules of ``nn`` and ``rnn`` and the rules of ``optim`` that programs
use, as Torch7's sources and manuals describe them, on the tensors of PyTorch. It is a
stand-in: what a program computes forward is worth comparing; how long it takes, and
what a training of Torch7 itself would do, it does not tell.
"""

from .program import load_program

__version__ = "7"
__all__ = ["load_program"]
