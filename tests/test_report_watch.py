"""A report that follows its runs: on this machine alone, its own files alone, made anew when records change."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

from bench.errors import BenchError, UsageError
from bench.report import watch
from bench.report.watch import Watcher, server, signature
from tests.synthetic_runs import Runs


@pytest.fixture
def runs(tmp_path):
    runs = Runs(tmp_path / "results")
    runs.cells(["patchvae", "random"], [0])
    return runs


def ask(port, path, method="GET", host=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    assert answer.status != 200 or answer.getheader("Cache-Control") == "no-store"
    return answer.status, body


@pytest.fixture
def served(tmp_path):
    """A server of one page, and the port it listens on."""
    watcher = Watcher(tmp_path, lambda version: f"page of {version}".encode(), print)
    assert watcher.refresh()
    (tmp_path / "tables.md").write_text("# t")
    (tmp_path / "secret.txt").write_text("no")
    with server(tmp_path, 0, watcher, frozenset(("index.html", "tables.md"))) as one:
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield one.server_address[1]
        one.shutdown()
        thread.join(20)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:{}", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:{}", 200),
        ("evil.example:{}", 421),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:{}", 421),
        ("localhost@evil.example:{}", 421),
        ("", 421),
    ],
)
@pytest.mark.parametrize("path", ["/", "/version", "/tables.md"])
def test_only_who_asks_for_this_machine_by_its_name_is_answered(served, host, status, path):
    for method in ("GET", "HEAD"):
        found, body = ask(served, path, method, host.format(served))
        assert found == status
        assert found == 200 or "page of" not in body
    assert ask(served, path, "HEAD", host.format(served))[1] == ""


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/x",
        "//etc/passwd",
        "/.",
        "/index.html/",
        "/x\\y",
        "/secret.txt",
    ],
)
def test_nothing_but_the_reports_own_files_is_served(served, path):
    assert ask(served, path)[0] == ask(served, path, "HEAD")[0] == 404


def test_it_listens_on_this_machine_alone(served):
    addresses = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in (one for one in addresses if not one.startswith("127.")):
        with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
            socket.create_connection((address, served), timeout=2).close()


def test_the_signature_changes_with_whatever_a_report_would_show(runs):
    first = signature(runs.root)
    assert signature(runs.root) == first
    metrics = next(runs.root.glob("runs/*/attempts/0001/metrics.jsonl"))
    metrics.write_text(metrics.read_text() + "{}\n")
    second = signature(runs.root)
    runs.probe(runs.pretrain("bigan", 0), "conv1-5")
    assert len({first, second, signature(runs.root)}) == 3
    assert signature(runs.root / "nowhere")


@pytest.mark.parametrize(
    "error", [BenchError("x is\nbroken"), OSError("x is broken"), KeyError("x is broken")]
)
def test_a_report_that_cannot_be_made_leaves_the_last_one_standing(runs, error):
    said, made = [], []

    def render(version):
        if made:
            raise error
        made.append(version)
        return version.encode()

    watcher = Watcher(runs.root, render, said.append)
    assert watcher.refresh()
    assert not watcher.refresh()
    runs.probe(runs.pretrain("bigan", 0), "conv1-5")
    assert not watcher.refresh()
    assert watcher.version == made[0] == watcher.page.decode()
    assert said[-1].replace("'", "") == "the report stays as it was: x is broken"
    assert not watcher.refresh()
    assert len(said) == 2, "said once until the records change again"
    made.clear()
    runs.probe(runs.pretrain("bigan", 1), "conv1-5")
    assert watcher.refresh()


def test_a_report_that_takes_long_is_made_less_often(monkeypatch):
    watcher = Watcher(Path(), lambda version: b"", print)
    waited: list[float] = []

    def wait(seconds):
        waited.append(seconds)
        return len(waited) == 3

    took = iter([0.0, 0.5, 0.0, 60.0])
    monkeypatch.setattr(watcher, "refresh", lambda: True)
    monkeypatch.setattr(watcher, "_stop", types.SimpleNamespace(wait=wait))
    monkeypatch.setattr(watch.time, "monotonic", lambda: next(took))
    watcher.follow()
    assert waited == [watch.SECONDS, watch.SECONDS, 60.0 * watch.REST]


def test_the_signature_changes_with_every_epoch_state_result_and_attempt(runs):
    seen = [signature(runs.root)]

    def changed():
        seen.append(signature(runs.root))
        return seen[-1] != seen[-2]

    folder = next(path.parent for path in runs.root.glob("runs/*/result.json"))
    (folder / "result.json").unlink()
    assert changed()
    with (folder / "attempts/0001/metrics.jsonl").open("a") as file:
        file.write("{}\n")
    assert changed()
    (folder / "attempts/0001/status.json").write_text('{"state": "failed"}')
    assert changed()
    (folder / "attempts/0002").mkdir()
    (folder / "attempts/0002/status.json").write_text("{}")
    assert changed()
    assert not changed()


def test_a_taken_port_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} cannot be taken"):
            server(tmp_path, port, Watcher(tmp_path, str.encode, print), frozenset())


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
    # What lies on the disk is for a reader without a server.
    assert "data-refresh" not in (out / "index.html").read_text()
