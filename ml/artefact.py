"""Model files: one JSON text, and its SHA-256, checked before a byte of it is parsed.

LightGBM aborts the process on a truncated model text and loads a changed one silently, so nothing reaches it
unchecked. Nothing here knows what a model is; nothing in the project pickles.
"""

import hashlib
import json
import os
import tempfile
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

FORMAT = "customer360-model"
VERSION = 1


class ArtefactError(ValueError):
    """A model file that cannot be used: what is wrong, and what to do."""


def sha256_of(content: bytes) -> str:
    """SHA-256 of `content`, in hex."""
    return hashlib.sha256(content).hexdigest()


@lru_cache
def made_by(*libraries: str) -> str:
    """A hash over what something is made by: the code here, and the versions of some libraries."""
    digest = hashlib.sha256(" ".join(version(name) for name in libraries).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def to_text(kind: str, state: dict[str, Any]) -> bytes:
    """A model's state as the bytes of its file: the same state, the same bytes.

    Raises:
        ValueError: A number is not finite.
    """
    document = {"format": FORMAT, "version": VERSION, "kind": kind, "state": state}
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()


def write(path: Path, content: bytes) -> str:
    """Writes a model file in one step: readers see all of it or nothing.

    Returns:
        Its SHA-256; whoever loads the file must give it back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    return sha256_of(content)


def keep(folder: Path, fingerprint: str, content: bytes) -> None:
    """Writes what was computed from what the fingerprint is a hash of, for `kept` to find."""
    write(folder / f"{fingerprint}.{sha256_of(content)}", content)


def kept(folder: Path, fingerprint: str) -> bytes | None:
    """What `keep` wrote, if it is there and whole; it counts as used then, which pruning goes by."""
    for path in folder.glob(f"{fingerprint}.*"):
        content = path.read_bytes()
        if sha256_of(content) == path.suffix[1:]:
            path.touch()
            return content
    return None


def read(path: Path, sha256: str, kind: str) -> dict[str, Any]:
    """The state in a model file, if the file is the one that was written.

    Args:
        path: The file.
        sha256: What `write` returned, as the registry recorded it.
        kind: The kind of model expected.

    Raises:
        ArtefactError: The file is missing, damaged, not the recorded one, or of another kind or version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtefactError(
            f"cannot read the model file {path}: {error}. Fetch it from the registry again, or train anew"
        ) from error
    return from_text(content, sha256, kind, str(path))


def from_text(content: bytes, sha256: str, kind: str, name: str = "the model file") -> dict[str, Any]:
    """As `read`, from bytes."""
    found = sha256_of(content)
    if found != sha256.strip().lower():
        raise ArtefactError(
            f"{name} ({len(content)} bytes) is not what was recorded:"
            f" SHA-256 {found[:12]}…, recorded {sha256[:12] or 'none'}."
            " It was damaged or replaced and is not loaded. Fetch it from the registry again, or train anew"
        )
    try:
        document = json.loads(content)
        state = document["state"]
        described = (document["format"], document["version"], document["kind"])
    except (ValueError, TypeError, KeyError) as error:
        raise ArtefactError(f"{name} is whole but no model of this project ({error!r}). Train anew") from error
    if described != (FORMAT, VERSION, kind) or not isinstance(state, dict):
        raise ArtefactError(
            f"{name} holds {described}, expected is {(FORMAT, VERSION, kind)}. Train anew with this version"
        )
    return state
