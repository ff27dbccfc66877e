"""Nothing is parsed that is not, byte for byte, what was recorded."""

from pathlib import Path

import pytest

from ml import artefact
from ml.artefact import ArtefactError


@pytest.fixture
def content() -> bytes:
    return artefact.to_text("demo", {"numbers": [0.1, 1e-300, 2], "text": "tree\n"})


def test_round_trip(tmp_path: Path, content: bytes) -> None:
    sha256 = artefact.write(tmp_path / "a" / "model.json", content)
    assert artefact.read(tmp_path / "a" / "model.json", sha256, "demo") == {
        "numbers": [0.1, 1e-300, 2],
        "text": "tree\n",
    }
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["model.json"]


def test_a_flipped_bit_a_cut_and_another_hash_are_found_before_parsing(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(*_: object) -> None:
        raise AssertionError("parsed something unchecked")

    monkeypatch.setattr("ml.artefact.json.loads", parse)
    path = tmp_path / "model.json"
    sha256 = artefact.write(path, content)
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 1
    for damaged, recorded in (
        (bytes(flipped), sha256),
        (content[:-5], sha256),
        (b"", sha256),
        (content, "0" * 64),
        (content, ""),
    ):
        path.write_bytes(damaged)
        with pytest.raises(
            ArtefactError, match=r"not what was recorded.*Fetch it from the registry again, or train anew"
        ):
            artefact.read(path, recorded, "demo")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"cannot read the model file .*train anew"):
        artefact.read(tmp_path / "none.json", "0" * 64, "demo")


@pytest.mark.parametrize(
    "content",
    [b"tree\nversion=v4", b"[]", b"{}", b'"text"', b'{"format": "x", "version": 1, "kind": "demo", "state": {}}'],
)
def test_a_whole_file_of_something_else_is_refused(content: bytes) -> None:
    with pytest.raises(ArtefactError, match="Train anew"):
        artefact.from_text(content, artefact.sha256_of(content), "demo")


def test_another_kind_or_version_is_refused(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtefactError, match="expected is"):
        artefact.from_text(content, artefact.sha256_of(content), "forecast")
    monkeypatch.setattr(artefact, "VERSION", 2)
    with pytest.raises(ArtefactError, match="expected is"):
        artefact.from_text(content, artefact.sha256_of(content), "demo")


def test_a_number_that_is_not_finite_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        artefact.to_text("demo", {"x": float("nan")})


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.json"
    sha256 = artefact.write(path, content)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("ml.artefact.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        artefact.write(path, b"half")
    assert artefact.read(path, sha256, "demo")
    assert [each.name for each in tmp_path.iterdir()] == ["model.json"]
