"""The command line: one file per verb, loaded when it is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

#: The verbs, in the order in which ``netglot --help`` shows them.
VERBS = (
    "workloads",
    "frameworks",
    "show",
    "write",
    "summary",
    "check",
    "race",
    "report",
    "defaults",
    "features",
    "env",
    "data",
)


class Verbs(click.Group):
    """The group of verbs; an unknown one is answered with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in their own order."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb of that name, loaded now."""
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"netglot.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, but with "did you mean"."""
        from netglot.errors import unknown

        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise unknown("command", args[0], VERBS)
        return super().resolve_command(ctx, args)


@click.command(cls=Verbs)
@click.version_option(package_name="netglot", prog_name="netglot")
def command() -> None:
    """One network, every deep-learning framework.

    Write a network and its training recipe down once; read it, run it and race it in
    PyTorch, Flax, TensorFlow, Keras, NumPy and the frameworks before them.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line; never returns. Exit status as in docs/architecture.md."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status.

    0: done. 1: a run failed, or a program is not equal. 2: a mistake in what was asked.
    70: a fault of netglot's own. 130: Ctrl-C.
    """
    from netglot.errors import UserError

    try:
        status = command.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="netglot",
            standalone_mode=False,
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except UserError as error:
        click.echo(f"netglot: {error}", err=True)
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("netglot: stopped.", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception:
        import traceback

        traceback.print_exc()
        click.echo(
            "netglot: this is a fault of netglot, not of yours. Please report it with "
            "the lines above and the command.",
            err=True,
        )
        return 70
    return status if isinstance(status, int) else 0
