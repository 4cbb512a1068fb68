"""gpu/measure asks for what there is."""

import os
import subprocess
import tarfile
from pathlib import Path

import click
import pytest

from bench.cli import cli

SCRIPT = Path(__file__).parent.parent / "gpu" / "measure"


def lines(folder, *parts, **more):
    """What it would run, where Python only repeats its arguments."""
    environment = {**os.environ, "PYTHON": "echo", "PATH": "/usr/bin:/bin", **more}
    done = subprocess.run(
        [str(SCRIPT), str(folder), *parts], env=environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("-m ")]


def test_every_line_of_it_is_understood(tmp_path):
    code, found = lines(tmp_path)
    asked = [line.split()[2:] for line in found if line.startswith("-m bench ")]
    assert (code, len(found) - len(asked)) == (0, 1)
    # Of four methods speed and memory, two probes, seeds; these not once more where there is no MPS.
    assert [words[0] for words in asked].count("perf") == 11
    daemon = tmp_path / "bin" / "nvidia-cuda-mps-control"
    daemon.parent.mkdir()
    daemon.write_text("#!/bin/sh\n")
    daemon.chmod(0o755)
    code, under = lines(tmp_path / "out", PATH=f"{daemon.parent}:/usr/bin:/bin")
    assert (code, len(under) - len(found)) == (0, 2)
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
    assert lines(tmp_path, "speed probe")[0] == 2


def test_what_the_caller_has_to_import_stays_to_be_imported(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "-m $PYTHONPATH"\n')
    python.chmod(0o755)
    _, found = lines(tmp_path / "out", "probe", PYTHON=str(python), PYTHONPATH="/wheels")
    assert set(found) == {f"-m {SCRIPT.parent.parent}:/wheels"}


def test_what_is_worth_keeping_comes_as_few_files(tmp_path):
    out, to = tmp_path / "out", tmp_path / "to"
    for name in (
        "probe-fp32.txt",
        "probe-fp32/perf.json",
        "tables/runs/a/attempts/0001/log.txt",
        "tables/report/tables.md",
    ):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    (out / "tables.parquet").write_bytes(b"records")
    assert lines(out, "bring", BRING=str(to))[0] == 0
    assert sorted(path.name for path in to.iterdir()) == ["said.tar.gz", "tables.md", "tables.parquet"]
    with tarfile.open(to / "said.tar.gz") as archive:
        assert sorted(archive.getnames()) == ["./probe-fp32.txt", "./probe-fp32/perf.json"]
    assert lines(out, "bring")[0] != 0
