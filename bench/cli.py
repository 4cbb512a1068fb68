"""The command line: parse, call, print. Commands are loaded when they are called, torch when a cell runs."""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

import click

from bench import __version__
from bench.errors import BenchError

# Name of a command -> what `bench --help` says of it. Each is `command` in the module of its name.
COMMANDS: dict[str, str] = {
    "run": "Pretrain methods, probe them, keep what came out.",
    "status": "Where every cell stands, here and on the cluster.",
    "logs": "What a cell and its job have written.",
    "retry": "Run what failed, was lost or stopped again.",
    "cancel": "Stop cells: jobs, and processes of this machine.",
    "report": "Tables and figures of what is there.",
    "pack": "All records as one file, fit to be published.",
    "data": "Data sets: what is there, prepared ahead of runs, checked.",
    "export": "A backbone as a folder that timm opens.",
    "probe": "Judge a backbone that exists, ours or not.",
    "embed": "Features of a data set as npy or Parquet.",
    "list": "What there is: methods, data sets, backbones, runs, studies, architectures.",
    "show": "Everything about one run.",
    "clean": "Remove what nobody needs any more; asks first.",
    "contract": "Whether a method, data set or backbone keeps the promises that make it comparable.",
    "doctor": "Whether this machine is ready.",
    "perf": "How fast this machine computes, against the plain path and its own ceiling.",
    "stats": "Whether the statistics keep what they promise.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"bench.commands.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from bench.errors import choice_error

            raise choice_error("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="bench")
def cli() -> None:
    """Compare representation learners: same backbone, data order, probe and budget; several seeds, paired.

    \b
    bench run -m patchvae,beta-vae,random -d digits -s 2
    bench report
    """  # noqa: D301


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        The exit code: 0 all done, 1 some cells failed, 2 usage, 3 stopped early, resumable, 130 interrupted.
    """
    try:
        words = sys.argv[1:] if argv is None else list(argv)
        # https://no-color.org; None leaves it to whether a terminal looks on.
        color = False if os.environ.get("NO_COLOR") else None
        code = cli.main(args=list(words), prog_name="bench", standalone_mode=False, obj=words, color=color)
        sys.stdout.flush()
    except BenchError as error:
        return _refuse(str(error), error.exit_code)
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            # Its message is the help; click has the class since 8.2.
            click.echo(error.format_message(), err=True)
            return 2
        return _refuse(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        return _refuse("interrupted", 130)
    except BrokenPipeError:
        # The reader, such as `head`, has had enough; keep Python from saying so once more at its exit.
        sys.stderr.close()
        return 0
    except OSError as error:
        # Standard output on a full disk, most likely: what is still in its buffer would fail again at the exit.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f"{error.filename}: " if error.filename else ""
        return _refuse(f"{where}{error.strerror or error}", 1)
    return code if isinstance(code, int) else 0


def _refuse(text: str, code: int) -> int:
    click.echo(f"bench: error: {' '.join(text.split())}", err=True)
    return code
