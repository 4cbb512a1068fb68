"""`bench data`: its parts are loaded when they are called."""

import importlib

import click

from bench.errors import choice_error

# Name of a part -> what `bench data --help` says of it. Each is `command` in the module data_<name>.
PARTS: dict[str, str] = {
    "list": "What is found, what is prepared, what is missing and where it comes from.",
    "prepare": "Decode them ahead of runs, with all cores; goes on where it was killed.",
    "verify": "Counts, balance, sizes, broken files, fingerprint, copies and leaks.",
}


class _Parts(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(PARTS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in PARTS:
            return None
        return importlib.import_module(f"bench.commands.data_{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(PARTS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in PARTS and not args[0].startswith("-"):
            raise choice_error("part of bench data", args[0], PARTS)
        return super().resolve_command(ctx, args)


@click.group("data", cls=_Parts)
def command() -> None:
    """Data sets: what is there, their arrays prepared ahead of runs, what is wrong with them."""
