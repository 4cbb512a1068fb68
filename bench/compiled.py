"""C compiled on the machine that runs it, once, and loaded; whoever asks has a plain way for where that fails."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-pthread", "-std=gnu11")


class NoCompiler(Exception):
    """There is no C compiler, or it does not compile this; the text says which."""


def cache_folder() -> Path:
    """Where compiled code is kept: `BENCH_CACHE`, else the user's cache.

    Raises:
        FileNotFoundError: the user has no home.
    """
    given = os.environ.get("BENCH_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "bench"
    except RuntimeError as error:
        # A user whom the machine does not know, as in some containers.
        raise FileNotFoundError(f"{error} BENCH_CACHE may name a folder for what is compiled") from error


def compiler() -> Path:
    """The C compiler.

    Raises:
        NoCompiler: there is none.
    """
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        path = shutil.which(name) if name else None
        if path:
            return Path(path)
    raise NoCompiler("no C compiler (cc, gcc, clang) was found")


def _version(path: Path) -> str:
    """What changes with a compiler; it is not run to be asked, which each process of a study would have to."""
    found = path.resolve()
    facts = found.stat()
    return f"{found} {facts.st_size} {facts.st_mtime_ns}"


def _instructions() -> str:
    """What this processor can do: the folder of compiled code may be shared by unlike machines of one name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.node()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.node())


def load_library(name: str, source: str) -> ctypes.CDLL:
    """Compile C and load it; what this machine has compiled before is taken from its cache.

    Raises:
        NoCompiler: there is no compiler, or it fails, or what it makes cannot be loaded.
    """
    try:
        path = compiler()
        words = (source, _version(path), _instructions(), sysconfig.get_platform(), *FLAGS)
        key = hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{name}-{key}.so"
        if target.exists():
            try:
                return ctypes.CDLL(str(target))
            except OSError:
                # Cut short by a power cut, say: it is made anew.
                target.unlink(missing_ok=True)
        _compile(path, name, source, target)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.SubprocessError) as error:
        raise NoCompiler(str(error)) from error


def _compile(path: Path, name: str, source: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        code, made = Path(work, f"{name}.c"), Path(work, f"{name}.so")
        code.write_text(source)
        line = [path, *FLAGS, code, "-o", made]
        # One pipe and no limit of time: then nothing waits by the clock, which may be wrong.
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise NoCompiler(f"{path} fails: {done.stdout.strip()[:200]}")
        # Several processes may compile at once; each puts a whole file in place.
        made.replace(target)
