"""Data from a user's own code."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nasc.dsl.diagnostics import NascError
from nasc.runtime.data import DataSplits, load_data, size
from nasc.runtime.data_classes import draw_classes
from tests.images import everything

MODULE = """
import torch
from torch.utils.data import Dataset, TensorDataset

class Squares(Dataset):
    def __init__(self, label=1, side=4): self.label, self.side = label, side
    def __len__(self): return 10
    def __getitem__(self, i):
        return torch.full((1, self.side, self.side), float(i), dtype=torch.float64), self.label

def one(): return Squares()
def pair(): return Squares(), Squares(0)
def three(): return Squares(), Squares(0), Squares(1)
def four(): return (*three(), Squares())
def tensors(): return TensorDataset(torch.rand(10, 1, 4, 4), torch.arange(10, dtype=torch.int32) % 2)
def high(): return Squares(2)
def low(): return Squares(-1)
def wide(): return Squares(side=5)
def high_tensors(): return TensorDataset(torch.rand(9, 1, 4, 4), torch.arange(9))
def wide_tensors(): return TensorDataset(torch.rand(9, 1, 5, 4), torch.zeros(9))
def lonely_tensors(): return TensorDataset(torch.rand(9, 1, 4, 4))
def nothing(): return None
def fractional(): return Squares(0.5)
def worded(): return Squares("cat")
def one_hot(): return Squares(torch.tensor([0, 1]))
def fractional_tensors(): return TensorDataset(torch.rand(9, 1, 4, 4), torch.tensor([0.0] * 7 + [float("nan"), 0.5]))
def failing(): raise OSError("no disk")
def asking(shape, classes=2): return Squares()
def offering(side=4): return Squares(side=side)
constant = 3

class Broken(Squares):
    def __init__(self, value): super().__init__(); self.value = value
    def __getitem__(self, i):
        if isinstance(self.value, Exception) and i == 7: raise self.value
        image, label = super().__getitem__(i)
        if i == 7: image[0, 1, 2] = self.value
        return image, label

def nan(): return Broken(float("nan")), Squares()
def infinite(): return Broken(float("-inf")), Squares()
def too_large(): return Broken(1e300), Squares()
def raising(): return Broken(KeyError("seven")), Squares()
def nan_tensors():
    images, labels = tensors().tensors
    images[6, 0, 3, 3] = float("nan")
    return TensorDataset(images, labels)
def colourless(): return torch.nn.Module()

class Targets(Squares):  # as torchvision's; taking an item would fail
    targets, target_transform = [i % 2 for i in range(10)], None
    def __getitem__(self, i): raise RuntimeError("taken")
class Transformed(Targets):
    target_transform = True
    def __getitem__(self, i): return super(Targets, self).__getitem__(i)

def targets(): return Targets(), Targets()
def transformed(): return Transformed(), Transformed()
def short_targets():
    dataset = Targets()
    dataset.targets = [0]
    return dataset
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], DataSplits]:
    (tmp_path / "own_data_module.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, "own_data_module", raising=False)
    return lambda name: load_data(f"own_data_module:{name}", input_shape=(1, 4, 4), classes=2, root=tmp_path)


def test_own_datasets(own: Callable[[str], DataSplits]) -> None:
    path = list(sys.path)
    one, pair, tensors, three = own("one"), own("pair"), own("tensors"), own("three")
    assert three.test is not None and everything(three.test)[1].tolist() == [1] * 10 and pair.test is None
    with pytest.raises(NascError, match="nor two or three of them"):
        own("four")
    assert size(own("offering").train) == 8
    assert sys.path == path
    assert (size(one.train), size(one.val)) == (8, 2) and (size(pair.train), size(pair.val)) == (10, 10)
    images, labels = everything(pair.train)
    assert images[:, 0, 0, 0].tolist() == list(range(10)) and images.dtype == torch.float32
    assert labels.tolist() == [1] * 10 and everything(pair.val)[1].tolist() == [0] * 10
    assert everything(tensors.train)[1].dtype == torch.int64 and one.augment is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("high", r"has the label 2, the network has the classes 0 to 1"),
        ("low", r"has the label -1"),
        ("wide", r"images of shape \(1, 5, 5\), the network wants \(1, 4, 4\)"),
        ("high_tensors", r"has the label 8"),
        ("wide_tensors", r"images of shape \(1, 5, 4\)"),
        ("lonely_tensors", r"holds images N×C×H×W and labels N"),
        ("nothing", r"returned neither"),
        ("constant", r"has no function `constant`"),
        ("colourless", r"returned neither"),
        ("fractional", r"the label of item \d is not an integer: 0.5"),
        ("worded", r"the label of item \d is not an integer: 'cat'"),
        ("one_hot", r"the label of item \d is not an integer: tensor"),
        ("fractional_tensors", r"the label of item 7 is not an integer: tensor\(nan"),
        ("nan", r"`own_data_module:nan`: item 7 has pixels that are not finite"),
        ("infinite", r"item 7 has pixels that are not finite"),
        ("too_large", r"item 7 has pixels that are not finite"),
        ("nan_tensors", r"item 6 has pixels that are not finite"),
        ("raising", r"`own_data_module:raising`: taking item 7 failed: KeyError: 'seven'"),
        ("failing", r"`own_data_module:failing` failed: OSError: no disk"),
        ("asking", r"`own_data_module:asking` is called without arguments: missing a required argument: 'shape'"),
    ],
)
def test_own_datasets_that_do_not_fit(own: Callable[[str], DataSplits], name: str, words: str) -> None:
    with pytest.raises(NascError, match=words):
        everything(own(name).train)


def test_an_own_error_tells_its_place_with_worker_processes_too(own: Callable[[str], DataSplits]) -> None:
    line = MODULE.splitlines().index("        if isinstance(self.value, Exception) and i == 7: raise self.value") + 1
    for workers in (0, 2):
        with pytest.raises(NascError, match="KeyError: 'seven'") as caught:
            everything(own("raising").train, workers=workers)
        assert (caught.value.help or "").endswith(f"own_data_module.py:{line}")


def test_an_own_module_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "unfinished_data_module.py").write_text("def data(:")
    with pytest.raises(NascError, match=r"importing `unfinished_data_module` .* failed: SyntaxError"):
        load_data("unfinished_data_module:data", input_shape=(1, 4, 4), classes=2, root=tmp_path)


# A fraction of the classes


def test_targets_tell_the_labels_without_taking_images(own: Callable[..., DataSplits], tmp_path: Path) -> None:
    def load(name: str) -> DataSplits:
        own(name)
        return load_data(
            f"own_data_module:{name}", input_shape=(1, 4, 4), classes=4, class_fraction=0.5, seed=seed, root=tmp_path
        )

    seed = next(seed for seed in range(99) if draw_classes(4, 0.5, seed).tolist() == [1, 2])
    data = load("targets")
    assert data.train.indices == data.val.indices == [1, 3, 5, 7, 9]  # type: ignore[attr-defined]
    assert size(load("transformed").train) == 10
    with pytest.raises(NascError, match="has 10 items and 1 `targets`"):
        load("short_targets")


def test_a_part_without_the_drawn_classes(own: Callable[..., DataSplits], tmp_path: Path) -> None:
    own("pair")
    seed = next(seed for seed in range(99) if draw_classes(4, 0.5, seed).tolist() == [1, 2])
    with pytest.raises(NascError, match="none of the validation images of `own_data_module:pair` is of the 2 classes"):
        load_data(
            "own_data_module:pair", input_shape=(1, 4, 4), classes=4, class_fraction=0.5, seed=seed, root=tmp_path
        )
