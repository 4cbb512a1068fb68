"""A report that follows its runs: served on this machine alone, made anew when records change."""

import functools
import hashlib
import http.server
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.errors import BenchError, UsageError
from bench.run_folder import METRICS, RESULT, STATUS

# Records change with every epoch of every cell; a report takes seconds.
SECONDS = 3.0
VERSION = "version"


def signature(results: Path) -> str:
    """What changes whenever a report would: names, sizes and times of the files that say where each run stands."""
    digest = hashlib.sha256()
    if results.is_file():
        stat = results.stat()
        digest.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]
    runs = results / "runs"
    try:
        names = sorted(entry.name for entry in os.scandir(runs))
    except FileNotFoundError:
        names = []
    for name in names:
        digest.update(name.encode())
        folder = runs / name
        for path in (folder / RESULT, *_newest(folder)):
            try:
                stat = path.stat()
            except OSError:
                continue
            digest.update(f" {path.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _newest(folder: Path) -> list[Path]:
    """The files of a run's newest attempt that grow while it works."""
    try:
        attempts = sorted(entry.name for entry in os.scandir(folder / "attempts") if entry.name.isdecimal())
    except OSError:
        return []
    if not attempts:
        return []
    return [folder / "attempts" / attempts[-1] / name for name in (STATUS, METRICS)]


class Watcher:
    """Keeps a report's folder up to date.

    Args:
        results: whose runs are watched.
        render: writes the report for a version into the folder.
        say: told of each report, and of why one could not be made.
    """

    def __init__(self, results: Path, render: Callable[[str], None], say: Callable[[str], None]) -> None:
        self.results, self.render, self.say = results, render, say
        self.version = ""
        self._stop = threading.Event()

    def refresh(self) -> bool:
        """Make the report anew if its runs have changed; one that cannot be made leaves the last one standing."""
        found = signature(self.results)
        if found == self.version:
            return False
        begun = time.monotonic()
        try:
            self.render(found)
        except (BenchError, OSError) as error:
            self.say(f"the report stays as it was: {error}")
            return False
        self.version = found
        self.say(f"report made in {time.monotonic() - begun:.1f} s")
        return True

    def follow(self) -> None:
        """Refresh until `stop`."""
        while not self._stop.wait(SECONDS):
            self.refresh()

    def stop(self) -> None:
        """End `follow`."""
        self._stop.set()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The report's files, and the version of the page."""

    def __init__(self, *args: object, watcher: Watcher, files: frozenset[str], **options: object) -> None:
        self.watcher, self.files = watcher, files
        super().__init__(*args, **options)  # pyright: ignore[reportArgumentType]

    def do_GET(self) -> None:
        """Answer with the version, or with a file of the report; nothing else in the folder is shown."""
        name = self.path.split("?")[0].lstrip("/") or "index.html"
        if name == VERSION:
            body = self.watcher.version.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)
        elif name in self.files:
            self.path = f"/{name}"
            super().do_GET()
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        """As for GET, a file of the report only."""
        if (self.path.split("?")[0].lstrip("/") or "index.html") in self.files:
            super().do_HEAD()
        else:
            self.send_error(404)

    def end_headers(self) -> None:
        """Let no browser keep a page that may be old."""
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not worth a line."""


def server(
    folder: Path, port: int, watcher: Watcher, files: frozenset[str]
) -> http.server.ThreadingHTTPServer:
    """A server of a report's folder on the loopback address.

    Args:
        folder: of the report.
        port: 0 takes any that is free.
        watcher: that keeps the folder up to date.
        files: names that are served.

    Raises:
        UsageError: the port is taken or not allowed.
    """
    handler = functools.partial(_Handler, directory=os.fspath(folder), watcher=watcher, files=files)
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be taken: {error.strerror or error}; --port names another, 0 takes any that is free"
        ) from None
