"""A fraction of the classes."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasc.dsl.diagnostics import NascError
from nasc.runtime.data import DataSplits, load_data
from nasc.runtime.data_classes import draw_classes
from tests.images import everything, write_fashion, write_images


def sources(tmp_path: Path) -> list[str]:
    """Sources of ten classes each."""
    write_fashion(tmp_path / "fashion")
    write_images(tmp_path / "photographs", tuple("abcdefghij"), count=6)
    (tmp_path / "ten_classes_module.py").write_text(
        "import torch\nfrom torch.utils.data import Dataset, TensorDataset\n"
        "def tensors(): return TensorDataset(torch.arange(60 * 64.0).reshape(60, 1, 8, 8), torch.arange(60) % 10)\n"
        "class Plain(Dataset):\n"
        "    def __len__(self): return 60\n"
        "    def __getitem__(self, i): return torch.full((1, 8, 8), float(i)), i % 10\n"
        "def plain(): return Plain(), Plain()\n"
    )
    module = "ten_classes_module"
    return ["digits", "fashion:fashion", "photographs", "synthetic:40", f"{module}:tensors", f"{module}:plain"]


def parts_of(data: DataSplits) -> list[Any]:
    return [part for part in (data.train, data.val, data.test) if part is not None]


def test_all_sources_and_parts_keep_the_same_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = sources(tmp_path)
    monkeypatch.delitem(sys.modules, "ten_classes_module", raising=False)
    kept = set(draw_classes(10, 0.5, 3).tolist())
    assert len(kept) == 5
    for spec in names:
        options: dict[str, Any] = {"input_shape": (1, 8, 8), "classes": 10, "seed": 3, "root": tmp_path}
        whole, data = load_data(spec, **options), load_data(spec, **options, class_fraction=0.5)
        assert data.name == f"{whole.name} (5 of 10 classes)" and data.classes == 10
        labels = [everything(part)[1] for part in parts_of(data)]
        assert all(set(part.tolist()) <= kept for part in labels) and set(labels[0].tolist()) == kept
        if not spec.startswith("synthetic"):
            expected = [
                [item for item in zip(*(x.tolist() for x in everything(part)), strict=True) if item[1] in kept]
                for part in parts_of(whole)
            ]
            found = [list(zip(*(x.tolist() for x in everything(part)), strict=True)) for part in parts_of(data)]
            assert found == expected, spec


def test_synthetic_images_stay_as_many() -> None:
    data = load_data("synthetic:40", input_shape=(1, 4, 4), classes=1000, class_fraction=0.01)
    kept = draw_classes(1000, 0.01, 0).tolist()
    assert everything(data.train)[1].tolist() == kept * 4 and everything(data.val)[1].tolist() == kept


@given(classes=st.integers(1, 1000), fraction=st.floats(0.001, 1), seed=st.integers(0, 99))
def test_drawn_classes(classes: int, fraction: float, seed: int) -> None:
    drawn = draw_classes(classes, fraction, seed).tolist()
    assert drawn == sorted(set(drawn)) == draw_classes(classes, fraction, seed).tolist()
    assert set(drawn) <= set(range(classes)) and len(drawn) == min(classes, max(2, round(fraction * classes)))
    assert set(drawn) <= set(draw_classes(classes, (fraction + 1) / 2, seed).tolist())


def test_other_seeds_draw_other_classes() -> None:
    draws = [draw_classes(1000, 0.1, seed) for seed in range(20)]
    assert len({tuple(draw.tolist()) for draw in draws}) == 20
    assert abs(torch.cat(draws).double().mean() - 499.5) < 40


def test_all_classes_are_the_data_itself() -> None:
    one, other = (load_data("digits", input_shape=(1, 8, 8), classes=10, class_fraction=f) for f in (1.0, 0.96))
    assert other.name == "digits" and torch.equal(everything(one.train)[0], everything(other.train)[0])


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, float("nan")])
def test_fractions_out_of_range(fraction: float) -> None:
    with pytest.raises(NascError, match="fraction of the classes lies between 0 and 1"):
        load_data("digits", input_shape=(1, 8, 8), classes=10, class_fraction=fraction)
