"""A report that follows its runs: served on this machine alone, made anew when records change."""

import functools
import hashlib
import http.server
import os
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from bench.errors import UsageError
from bench.run_folder import METRICS, RESULT, STATUS

# Records change with every epoch of every cell; a report takes seconds.
SECONDS = 3.0
# The report is made while runs need the processor: it takes a fifth of one at most.
REST = 4.0
HOST = "127.0.0.1"
VERSION, PAGE = "version", "index.html"


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
    """Keeps a report up to date.

    Args:
        results: whose runs are watched.
        render: writes the report's files for a version, and gives the page that asks for it.
        say: told of each report, and of why one could not be made.

    Attributes:
        version: of the newest page; "" before there is one.
        page: as it is served.
    """

    def __init__(self, results: Path, render: Callable[[str], bytes], say: Callable[[str], None]) -> None:
        self.results, self.render, self.say = results, render, say
        self.version, self.page = "", b""
        self._tried = ""
        self._stop = threading.Event()

    def refresh(self) -> bool:
        """Make the report anew if its runs have changed; one that cannot be made leaves the last one standing."""
        found = signature(self.results)
        if found == self._tried:
            return False
        self._tried = found
        begun = time.monotonic()
        try:
            self.page = self.render(found)
        except Exception as error:  # Whatever half a record does, the next may be whole.
            # Said once; what was read in the midst of a change is read again after the next.
            self.say(f"the report stays as it was: {' '.join(str(error).split())}")
            return False
        self.version = found
        self.say(f"report made in {time.monotonic() - begun:.1f} s")
        return True

    def follow(self) -> None:
        """Refresh until `stop`."""
        wait = SECONDS
        while not self._stop.wait(wait):
            begun = time.monotonic()
            self.refresh()
            wait = max(SECONDS, REST * (time.monotonic() - begun))

    def stop(self) -> None:
        """End `follow`."""
        self._stop.set()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The report's files, and the version of the page."""

    def __init__(self, *args: object, watcher: Watcher, files: frozenset[str], **options: object) -> None:
        self.watcher, self.files = watcher, files
        super().__init__(*args, **options)  # pyright: ignore[reportArgumentType]

    def do_GET(self) -> None:
        """Answer with the version, the page, or another file of the report; nothing else in the folder is shown."""
        self._answer(super().do_GET)

    def do_HEAD(self) -> None:
        """As for GET, without the content."""
        self._answer(super().do_HEAD)

    def _answer(self, as_file: Callable[[], None]) -> None:
        host = self.headers.get("Host") or ""
        if (host.rpartition(":")[0] or host).lower() not in (HOST, "localhost"):
            # A page from elsewhere may have let its own name point to this machine, so as to read what is here.
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        name = self.path.split("?")[0].removeprefix("/") or PAGE
        if name == VERSION:
            self._say(self.watcher.version.encode(), "text/plain")
        elif name == PAGE:
            self._say(self.watcher.page, "text/html")
        elif name in self.files:
            self.path = f"/{name}"
            as_file()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _say(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self) -> None:
        """Let no browser keep a page that may be old."""
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not worth a line."""


def server(
    folder: Path, port: int, watcher: Watcher, files: frozenset[str]
) -> http.server.ThreadingHTTPServer:
    """A server of a report's folder on the loopback address, to whoever asks for it by that name.

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
        return http.server.ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be taken: {error.strerror or error}; --port names another, 0 takes any that is free"
        ) from None
