"""A report that follows its runs: on this machine alone, its own files alone, made anew when records change."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from bench.errors import BenchError, UsageError
from bench.report.watch import Watcher, server, signature
from tests.synthetic_runs import Runs


@pytest.fixture
def runs(tmp_path):
    runs = Runs(tmp_path / "results")
    runs.cells(["patchvae", "random"], [0])
    return runs


def ask(port, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def test_the_signature_changes_with_whatever_a_report_would_show(runs):
    first = signature(runs.root)
    assert signature(runs.root) == first
    metrics = next(runs.root.glob("runs/*/attempts/0001/metrics.jsonl"))
    metrics.write_text(metrics.read_text() + "{}\n")
    second = signature(runs.root)
    runs.probe(runs.pretrain("bigan", 0), "conv1-5")
    assert len({first, second, signature(runs.root)}) == 3
    assert signature(runs.root / "nowhere")


def test_a_report_that_cannot_be_made_leaves_the_last_one_standing(runs):
    said, made = [], []

    def render(version):
        if made:
            raise BenchError("broken")
        made.append(version)

    watcher = Watcher(runs.root, render, said.append)
    assert watcher.refresh()
    assert not watcher.refresh()
    runs.probe(runs.pretrain("bigan", 0), "conv1-5")
    assert not watcher.refresh()
    assert watcher.version == made[0]
    assert said[-1] == "the report stays as it was: broken"


def test_a_taken_port_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} cannot be taken"):
            server(tmp_path, port, Watcher(tmp_path, print, print), frozenset())


def test_the_page_follows_the_runs_and_nothing_else_is_served(runs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "secret.txt").write_text("no")
    command = [
        sys.executable,
        "-m",
        "bench",
        "report",
        str(runs.root),
        "--watch",
        "--port",
        "0",
        "--out",
        str(out),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), process.stderr and process.stderr.read()
        port = int(line.split(":")[2].split("/")[0])
        status, page = ask(port, "/")
        assert status == 200
        version = ask(port, "/version")[1]
        assert f'data-version="{version}"' in page
        assert ask(port, "/tables.csv")[0] == 200
        for path in ("/secret.txt", "/../results/bench.json", "/%2e%2e/results/bench.json", "//etc/passwd"):
            assert ask(port, path)[0] == 404, path
        assert ask(port, "/secret.txt", "HEAD")[0] == 404
        runs.probe(runs.pretrain("bigan", 0), "conv1-5")
        deadline = time.monotonic() + 60
        while ask(port, "/version")[1] == version and time.monotonic() < deadline:
            time.sleep(0.2)
        assert ask(port, "/version")[1] != version
        assert ",bigan," in ask(port, "/tables.csv")[1]
    finally:
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
