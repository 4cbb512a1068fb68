"""Whether a folder holds the code that the authors of PatchVAE released; nothing of it is imported here.

Their repository: https://github.com/kampta/PatchVAE (Gupta, Singh, Shrivastava, CVPR 2020).
"""

import hashlib
from pathlib import Path

from bench.errors import UsageError

# What their step is called among the ways.
AUTHORS = "authors"
REPOSITORY = "github.com/kampta/PatchVAE"
COMMIT = "816f4b49fd8b836641d7e1068c1e802ae0453742"
# What a training step of theirs needs, and git's name for what the file holds at that commit.
RELEASED = {
    "run.py": "096b3b878c08f6ba21432355cfef1328654cf1dc",
    "model.py": "e59f25696c6f471400e62d88345dc27efbf03658",
    "loss.py": "671e89082ec1019ad73bebb581730f1bb93aac45",
    "utils/__init__.py": "57725fa624c8b1e90eae89a49d8ee3051fea9ac1",
    "utils/commons.py": "7cef4637354544d88f0d9d29827fa8ec9dbfa5e3",
    "utils/timer.py": "e51e5c01cfef4e0b660c0e9332d41681798b4566",
    "utils/torchsummary.py": "dbf3eb6c32a53e9443a3bddef33ac81bc07fa8e6",
}


def check_clone(folder: Path) -> None:
    """Refuse a folder that is not a clone of the authors' code as it was released.

    Raises:
        UsageError: a file is missing, or holds something else: what would be timed then is not theirs.
    """
    for name, released in RELEASED.items():
        try:
            # A checkout may have turned the ends of lines.
            content = (folder / name).read_bytes().replace(b"\r\n", b"\n")
        except OSError as error:
            raise UsageError(
                f"--authors {folder}: {name} cannot be read ({error.strerror}); give a clone of {REPOSITORY}"
            ) from None
        if blob_id(content) != released:
            raise UsageError(
                f"--authors {folder}: {name} is not as the authors released it;"
                f" `git checkout {COMMIT[:12]}` in a clone of {REPOSITORY} has it"
            )


def blob_id(content: bytes) -> str:
    """Git's name for the content of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
