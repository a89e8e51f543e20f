"""What is asked of a race."""

from __future__ import annotations

from dataclasses import dataclass

from netglot.check import settings
from netglot.errors import UserError
from netglot.race.statistics import ENOUGH


@dataclass(frozen=True)
class Settings(settings.Settings):
    """A race; ``timeout`` is for each run.

    ``epochs`` and ``limit`` (observations) are the recipe's and the data set's unless
    given. ``start``: ``same`` initial weights for all, or ``native`` ones of each
    framework's own generator. ``repeats`` runs of each framework, and with ``until``
    more of those whose 95 % interval of the time of training is wider than this many
    percent of the median to either side, ``at_most`` in all. With more than one of
    ``workers`` a run is several processes, on ``hosts`` where some are named.
    """

    repeats: int = 1
    epochs: int | None = None
    limit: int | None = None
    start: str = "same"
    until: float | None = None
    at_most: int = 20
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Reject numbers that make no race; raises ``UserError``."""
        super().__post_init__()
        self.at_least_one("repeats", "epochs", "limit")
        if self.until is not None and self.until <= 0:
            raise UserError(f"--until {self.until:g}: more than 0 percent are needed.")
        if self.until is not None and self.at_most < max(self.repeats, ENOUGH):
            raise UserError(
                f"--at-most {self.at_most}: an interval needs {ENOUGH} runs, and "
                f"--repeats asks for {self.repeats}."
            )
