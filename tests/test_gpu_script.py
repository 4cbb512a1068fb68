"""gpu/measure asks for what there is."""

import os
import subprocess
from pathlib import Path

import click
import pytest

from bench.cli import cli

SCRIPT = Path(__file__).parent.parent / "gpu" / "measure"


def lines(folder, *parts):
    """What it would run, where Python only repeats its arguments."""
    environment = {**os.environ, "PYTHON": "echo", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [str(SCRIPT), str(folder), *parts], env=environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("-m ")]


def test_every_line_of_it_is_understood(tmp_path):
    code, found = lines(tmp_path)
    asked = [line.split()[2:] for line in found if line.startswith("-m bench ")]
    assert (code, len(found) - len(asked)) == (0, 1)
    assert [words[0] for words in asked].count("perf") == 3
    for words in asked:
        command, context = cli, click.Context(cli)
        while isinstance(command, click.Group):
            command = command.get_command(context, words[0])
            words = words[1:]
        assert command is not None, words
        # Raises where an option or its value is unknown.
        command.make_context("bench", words, resilient_parsing=False)


@pytest.mark.parametrize("part", ["speed", "table1"])
def test_a_part_alone_is_run_alone(part, tmp_path):
    code, found = lines(tmp_path, part)
    assert code == 0
    assert found
    assert all("perf" in line for line in found) == (part == "speed")


def test_an_unknown_part_is_refused(tmp_path):
    assert lines(tmp_path, "sped")[0] == 2
