"""Checkpoints and weight files: what is written comes back, and nothing else is accepted."""

import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasc.dsl.diagnostics import NascError
from nasc.runtime import checkpoint

PAYLOAD = {
    "epoch": 3,
    "rate": 0.1,
    "name": "irb",
    "none": None,
    "flags": [True, False],
    "pair": (1, 2.5),
    "nested": {0: {"moment": torch.arange(6.0).reshape(2, 3)}},
    "generator": torch.Generator().manual_seed(1).get_state(),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "checkpoint.pt"
    checkpoint.save(path, PAYLOAD, "train", 2)
    return path


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_round_trip(path: Path) -> None:
    loaded = checkpoint.load(path, "train", 2)
    assert loaded.keys() == PAYLOAD.keys()
    for name in ("epoch", "rate", "name", "none", "flags", "pair"):
        assert loaded[name] == PAYLOAD[name]
        assert type(loaded[name]) is type(PAYLOAD[name])
    assert torch.equal(loaded["nested"][0]["moment"], torch.arange(6.0).reshape(2, 3))
    assert torch.equal(loaded["generator"], PAYLOAD["generator"])


@pytest.mark.parametrize(
    ("kind", "version", "words"), [("search", 2, "'train', not of 'search'"), ("train", 1, "reads")]
)
def test_other_kinds_and_versions_are_refused(path: Path, kind: str, version: int, words: str) -> None:
    with pytest.raises(NascError, match=words):
        checkpoint.load(path, kind, version)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_cut_or_changed_byte_is_noticed(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("damage") / "checkpoint.pt"
    checkpoint.save(path, {"weights": torch.arange(8.0)}, "train")
    whole = path.read_bytes()
    body = whole.index(b"\n") + 1
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()) or place < body:
        path.write_bytes(whole[:place])
    else:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :])
    with pytest.raises(NascError):
        checkpoint.load(path, "train")


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}\n", b"[" * 100_000, b'{"format": 1}\n', b"\xff\xfe\0", b"[" * 2000 + b"\n", b"PK\3\4"]
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(NascError, match="is not a nasc checkpoint"):
        checkpoint.load(path, "train")


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NascError, match=r"cannot read the checkpoint .*No such file"):
        checkpoint.load(tmp_path / "none.pt", "train")


def bomb_pickle(target: Path) -> bytes:
    return pickle.dumps({"epoch": Bomb(target)})


def bomb_archive(target: Path) -> bytes:
    path = target.parent / "bomb.pt"
    torch.save({"epoch": Bomb(target)}, path)
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("make", [bomb_pickle, bomb_archive])
@pytest.mark.parametrize("headed", [False, True])
def test_a_hostile_pickle_runs_no_code(tmp_path: Path, make: object, headed: bool) -> None:
    target = tmp_path / "pwned"
    body = make(target)  # type: ignore[operator]
    header = {
        "format": checkpoint.FORMAT,
        "kind": "train",
        "version": 1,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    path = tmp_path / "checkpoint.pt"
    path.write_bytes((json.dumps(header).encode() + b"\n" if headed else b"") + body)
    with pytest.raises(NascError):
        checkpoint.load(path, "train")
    assert not target.exists()
    # The bomb is live: what guards against it is the loader.
    pickle.loads(bomb_pickle(target))
    assert target.exists()


def test_what_could_not_be_read_back_is_not_written(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(TypeError, match=r"payload\['scores'\]\[1\] is a float64"):
        checkpoint.save(path, {"scores": [1.0, np.float64(2)]}, "train")
    assert path.read_bytes() == before


def test_a_failing_write_keeps_the_old_checkpoint(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NascError, match="No space left"):
        checkpoint.save(path, {"epoch": 4}, "train", 2)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


def test_weights_round_trip_even_when_tied(tmp_path: Path) -> None:
    model, other = tied(), tied()
    checkpoint.save_weights(tmp_path / "w.safetensors", model.state_dict())
    state = checkpoint.load_weights(tmp_path / "w.safetensors")
    assert sorted(state) == sorted(model.state_dict())
    checkpoint.restore_weights(other, state, "w.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("0.weight"), "has no `0.weight`"),
        (lambda state: state.update({"0.weight": torch.zeros(4, 3)}), "has shape 4×3, the network's has 4×4"),
        (lambda state: state.update(extra=torch.zeros(1)), "the network has no `extra`"),
    ],
)
def test_weights_that_do_not_fit(change: object, words: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    before = model[0].weight.clone()
    state = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    change(state)  # type: ignore[operator]
    with pytest.raises(NascError, match=words):
        checkpoint.restore_weights(model, state, "w.safetensors")
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("content", [b"", b"12345678", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0{}x", pickle.dumps({"a": 1})])
def test_weights_that_are_no_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(NascError, match="not a valid safetensors"):
        checkpoint.load_weights(path)
