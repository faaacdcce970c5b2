"""Reading a file that an operator named, so that no path can make us wait.

To open a pipe waits for whoever writes to it, and a device may never end.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: Path, most: int) -> bytes:
    """At most `most` bytes of a regular file; OSError when it is none, or cannot be read."""
    _require_regular(path.stat().st_mode)  # first: to open some devices does something
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        _require_regular(os.fstat(number).st_mode)  # it may have been replaced meanwhile
        return file.read(most)


def _require_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is no regular file: name one")
