"""Sameness: does a program compute what its definition says?"""

from netglot.check.compare import Difference, relative
from netglot.check.gate import Verdict, gate

__all__ = ["Difference", "Verdict", "gate", "relative"]
