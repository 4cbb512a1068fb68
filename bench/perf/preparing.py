"""A synthetic Places205, and its preparation in a process of its own that is killed on the way. No torch.

`python -m bench.perf.preparing NAME ROOT` prepares a data set and says how it went: what `prepare` starts.
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.places import IMAGES, SPLIT
from bench.errors import BenchError
from bench.provenance import source_root

CLASSES, SIDE = 205, 256
# So many pictures differ; the others are the same pixels in files of their own, which cost as much to decode.
PICTURES = 250


@dataclass(frozen=True)
class Prepared:
    """How a preparation went.

    Attributes:
        fingerprint: of the arrays.
        peak_bytes: most memory that a process of it held, pages of mapped files included.
        decoded: files that each of the processes had dealt with when it was killed or had ended, as it told.
        seconds: of all of them.
    """

    fingerprint: str
    peak_bytes: int
    decoded: tuple[int, ...]
    seconds: float


def make_places(folder: Path, images: int) -> str:
    """Write a tree in Places205's layout, its classes' images in a row as in its lists; gives its name for `bench`.

    Args:
        folder: that will hold it.
        images: to train on; a tenth as many to test.
    """
    pictures = _pictures(min(PICTURES, images))
    number = 0
    (folder / SPLIT).mkdir(parents=True)
    for split, count in (("train", images), ("val", max(CLASSES, images // 10))):
        lines = []
        for i in range(count):
            label = i * CLASSES // count
            path = f"{chr(ord('a') + label % 26)}/class{label:03d}/{split}_{i:08d}.jpg"
            file = folder / IMAGES / path
            if i == 0 or label != (i - 1) * CLASSES // count:
                file.parent.mkdir(parents=True, exist_ok=True)
            # A comment of its own behind the marker with which a JPEG begins.
            picture, comment = pictures[number % len(pictures)], f"{number:08d}".encode()
            head = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
            file.write_bytes(picture[:2] + head + picture[2:])
            lines.append(f"{path} {label}")
            number += 1
        (folder / SPLIT / f"{split}_places205.csv").write_text("\n".join(lines) + "\n")
    return f"places205:{folder}"


def _pictures(count: int) -> list[bytes]:
    """JPEGs of 256 x 256 pixels, as those of Places205 are: a coarse pattern and some noise, 20 KB or so."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    found = []
    for _ in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.int16)
        pixels += draw.normal(0, 8, pixels.shape).astype(np.int16)
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
        found.append(buffer.getvalue())
    return found


def prepare(name: str, root: Path, kill_at: Sequence[int] = ()) -> Prepared:
    """Prepare a data set in processes of their own, each but the last killed (SIGKILL) at a number of files.

    Args:
        name: of the data set.
        root: the data folder.
        kill_at: files done, of all, at which a process is killed.

    Raises:
        BenchError: one has ended by itself before it was killed, or failed.
    """
    begun, peak, fingerprint = time.monotonic(), 0, ""
    decoded: list[int] = []
    path = os.pathsep.join(filter(None, [str(source_root()), os.environ.get("PYTHONPATH")]))
    for end in [*kill_at, None]:
        told: dict[str, int | str] = {}
        with subprocess.Popen(
            [sys.executable, "-m", "bench.perf.preparing", name, str(root)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                told = json.loads(line)
                peak = max(peak, int(told["peak"]))
                fingerprint = str(told.get("fingerprint", ""))
                if end is not None and int(told.get("done", 0)) >= end:
                    process.send_signal(signal.SIGKILL)
                    break
        decoded.append(int(told.get("done", 0)))
        if process.returncode != (0 if end is None else -signal.SIGKILL):
            raise BenchError(f"the preparation of {name} ended with code {process.returncode}")
    return Prepared(fingerprint, peak, tuple(decoded), time.monotonic() - begun)


def _peak() -> int:
    """Bytes that this process has held at most: its own high-water mark, not that of the one that started it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _tell(**facts: int | str) -> None:
    print(json.dumps({**facts, "peak": _peak()}), flush=True)


def _main(name: str, root: str) -> None:
    from bench.data import registry

    done = 0

    def progress(files: int, total: int) -> None:
        nonlocal done
        del total
        done = files
        _tell(done=files)

    data = registry.load(name, Path(root), progress=progress)
    _tell(done=done, fingerprint=data.fingerprint)


if __name__ == "__main__":
    _main(*sys.argv[1:])
