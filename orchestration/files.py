"""Files that must be whole: hashes, and writes that survive a power cut."""

import hashlib
import os
from pathlib import Path


def sha256_of(path: Path) -> str:
    """SHA-256 hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Makes a file's content, or a folder's entries, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(building: Path, target: Path) -> None:
    """Gives a finished file its name in the same folder; content and name are on disk when this returns."""
    fsync(building)
    building.replace(target)
    fsync(target.parent)
