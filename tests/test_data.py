"""Data sources, splits, batches and augmentation."""

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from nasc.dsl.diagnostics import NascError
from nasc.runtime import data_arrays
from nasc.runtime.data import DataSplits, load_data, loader, size, split_at_random
from nasc.runtime.data_idx import read_idx
from tests.images import everything, idx, write_fashion, write_images

# Specifications


@pytest.mark.parametrize(
    ("spec", "classes", "words", "help_words"),
    [
        ("digit", 10, "unknown data `digit`", "did you mean `digits`"),
        ("imagenet", 10, "unknown data `imagenet`", "data is `digits`"),
        ("./none", 10, "there is no folder", "data is `digits`"),
        ("digits", 7, "`digits` has 10 classes, the network has 7", "head 10 classes"),
        ("fashion", 7, "`fashion` has 10 classes, the network has 7", "head 10 classes"),
        ("synthetic:0", 10, "positive integer", ""),
        ("synthetic:-1", 10, "positive integer", ""),
        ("fashion:none", 10, "has no train-images-idx3-ubyte or", "four IDX files"),
        ("no_such_module_here:data", 10, "cannot import `no_such_module_here`", "looked for in"),
        ("json:lods", 10, "`json` has no function `lods`", "did you mean `loads`"),
    ],
)
def test_bad_specifications(tmp_path: Path, spec: str, classes: int, words: str, help_words: str) -> None:
    with pytest.raises(NascError, match=words) as caught:
        load_data(spec, input_shape=(1, 8, 8), classes=classes, root=tmp_path)
    assert help_words in (caught.value.help or "")


# Digits


def test_digits_are_the_bundled_images() -> None:
    from sklearn.datasets import load_digits

    data = load_data("digits", input_shape=(1, 8, 8), classes=10)
    parts = [everything(part) for part in (data.train, data.val, data.test)]
    assert [len(labels) for _, labels in parts] == [1258, 270, 269]
    images, labels = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
    pixels = (images * data.std[0] + data.mean[0]).mul(16).round().to(torch.int64)
    ours = sorted((label, *image) for label, image in zip(labels.tolist(), pixels.flatten(1).tolist(), strict=True))
    digits = load_digits()
    theirs = sorted((label, *image) for label, image in zip(digits.target.tolist(), digits.data.tolist(), strict=True))
    assert ours == theirs
    assert images.mean().abs() < 1e-4 and (images.std() - 1).abs() < 1e-4


def test_digits_are_resized_and_repeated() -> None:
    small = load_data("digits", input_shape=(1, 8, 8), classes=10)
    large = load_data("digits", input_shape=(3, 16, 12), classes=10)
    (one, label), (three, other) = small.train[3], large.train[3]
    assert one.shape == (1, 8, 8) and three.shape == (3, 16, 12) and label == other
    assert three.dtype == torch.float32 and label.dtype == torch.int64
    assert torch.equal(three[0], three[1]) and torch.equal(three[0], three[2])
    image = Image.fromarray(one[0].numpy(), "F").resize((12, 16), Image.Resampling.BILINEAR)
    assert np.allclose(three[0], np.asarray(image), atol=1e-4)
    assert large.mean == small.mean * 3 and large.augment is not None and not large.augment.flip


def test_splits_depend_on_the_seed_alone() -> None:
    def labels(seed: int) -> list[int]:
        return everything(load_data("digits", input_shape=(1, 8, 8), classes=10, seed=seed).val)[1].tolist()

    assert labels(1) == labels(1)
    assert labels(1) != labels(2)


@given(total=st.integers(3, 50), share=st.floats(0.2, 0.8), seed=st.integers(0, 100))
def test_random_parts_are_a_partition(total: int, share: float, seed: int) -> None:
    parts = split_at_random(TensorDataset(torch.arange(total)), (share, 1 - share), seed)
    assert sorted(int(item[0]) for part in parts for item in part) == list(range(total))
    assert size(parts[0]) == round(share * total)


def test_too_few_images_to_split() -> None:
    with pytest.raises(NascError, match="1 images are too few"):
        split_at_random(TensorDataset(torch.arange(1)), (0.8, 0.2), 0)


# IDX files and Fashion-MNIST


@settings(deadline=None)
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), cut=st.integers(0, 10_000), zipped=st.booleans())
def test_idx_files_whole_and_cut(
    shape: list[int], cut: int, zipped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape)
    content = gzip.compress(idx(array)) if zipped else idx(array)
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(content)
    assert np.array_equal(read_idx(path), array)
    path.write_bytes(content[: cut % len(content)])
    with pytest.raises(NascError, match=str(path)):
        read_idx(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (idx(np.zeros((2, 3))) + b"\0", "holds more data than the 6 bytes"),
        (b"\0\0\x0d\1\0\0\0\1\0\0\0\0", "not an IDX file of unsigned bytes"),
        (b"\0\0\x08\0", "not an IDX file"),
        (b"\0\0\x08\3" + b"\xff" * 12, "bytes of data, not between"),
        (b"\0\0\x08\3" + b"\0\0\0\0" + b"\xff" * 8, "states 0 bytes"),
        (gzip.compress(idx(np.zeros(9)), mtime=0)[:-8] + b"\1" * 8, "cannot read .*CRC"),
    ],
)
def test_malformed_idx_files(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(NascError, match=words):
        read_idx(tmp_path / "file")


def test_fashion_from_a_folder_and_from_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fashion(tmp_path)
    data = load_data("fashion:.", input_shape=(3, 32, 32), classes=10, root=tmp_path)
    assert [size(part) for part in (data.train, data.val, data.test)] == [55, 5, 20]
    images, labels = everything(data.test)
    assert images.shape == (20, 3, 32, 32) and labels.tolist() == [i % 10 for i in range(20)]
    assert data.augment is not None and data.augment.flip
    monkeypatch.setattr(data_arrays, "FASHION_DIRECTORIES", (tmp_path / "none", tmp_path))
    assert torch.equal(everything(load_data("fashion", input_shape=(3, 32, 32), classes=10).test)[0], images)
    monkeypatch.setattr(data_arrays, "FASHION_DIRECTORIES", (tmp_path / "none",))
    with pytest.raises(NascError, match="not installed") as caught:
        load_data("fashion", input_shape=(3, 32, 32), classes=10)
    assert "apt-get install dataset-fashion-mnist" in (caught.value.help or "")


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("train_labels", np.zeros(59), "train images and labels do not belong together"),
        ("t10k_images", np.zeros((20, 784)), "t10k images and labels do not belong together"),
        ("t10k_labels", np.full(20, 10), "t10k labels go up to 10"),
    ],
)
def test_fashion_files_that_do_not_fit(tmp_path: Path, name: str, array: np.ndarray, words: str) -> None:
    write_fashion(tmp_path, **{name: array})
    with pytest.raises(NascError, match=words):
        load_data(f"fashion:{tmp_path}", input_shape=(1, 28, 28), classes=10)


# Image folders


def folder(path: Path, channels: int = 3, classes: int = 2) -> DataSplits:
    return load_data(str(path), input_shape=(channels, 8, 12), classes=classes)


def test_folder_with_parts(tmp_path: Path) -> None:
    write_images(tmp_path / "train")
    write_images(tmp_path / "val", count=2)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    data = folder(tmp_path)
    assert (size(data.train), size(data.val), data.test) == (10, 4, None)
    images, labels = everything(data.train)
    assert images.shape == (10, 3, 8, 12) and images.dtype == torch.float32 and labels.tolist() == [0] * 5 + [1] * 5
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (data.mean, data.std))
    pixels = (images * std + mean) * 255
    assert torch.allclose(pixels[8, :, 4, 6], torch.tensor([200.0, 30.0, 0.0]), atol=1)
    assert folder(tmp_path, channels=1).train[0][0].shape == (1, 8, 12)


def test_folder_without_parts_is_split(tmp_path: Path) -> None:
    write_images(tmp_path, ("a", "b", "c"))
    data = folder(tmp_path, classes=3)
    assert (size(data.train), size(data.val)) == (12, 3)
    assert sorted(everything(data.train)[1].tolist() + everything(data.val)[1].tolist()) == [0] * 5 + [1] * 5 + [2] * 5


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_an_unreadable_image_is_named(tmp_path: Path, content: bytes, workers: int) -> None:
    write_images(tmp_path)
    bad = tmp_path / "cat" / "bad.png"
    bad.write_bytes(content)
    data = folder(tmp_path)
    with pytest.raises(NascError, match=r"^cannot read the image .*cat/bad\.png"):
        for part in (data.train, data.val):
            everything(part, workers=workers)


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    write_images(tmp_path)
    path = tmp_path / "dog" / "0.JPG"
    path.write_bytes(path.read_bytes()[:-20])
    data = folder(tmp_path)
    with pytest.raises(NascError, match=r"dog/0\.JPG"):
        for part in (data.train, data.val):
            everything(part)


@pytest.mark.parametrize(
    ("prepare", "classes", "words"),
    [
        (lambda root: write_images(root), 3, "has 2 classes, the network has 3"),
        (lambda root: (write_images(root), (root / "eel").mkdir()), 3, "eel holds no images"),
        (lambda root: (write_images(root / "train"), write_images(root / "val", ("cat",))), 2, "see `dog`"),
        (lambda root: write_images(root / "train"), 2, "cannot read the folder .*val"),
        (lambda root: None, 2, "has no folder of a class"),
    ],
)
def test_bad_folders(tmp_path: Path, prepare: Callable[[Path], object], classes: int, words: str) -> None:
    prepare(tmp_path)
    with pytest.raises(NascError, match=words):
        folder(tmp_path, classes=classes)


def png_of_extent(width: int, height: int) -> bytes:
    """A PNG that states an extent and holds no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_monstrous_image_is_not_decoded(tmp_path: Path, workers: int) -> None:
    write_images(tmp_path)
    (tmp_path / "cat" / "bomb.png").write_bytes(png_of_extent(30_000, 30_000))
    data = folder(tmp_path)
    with pytest.raises(NascError, match=r"cat/bomb\.png.*900000000 pixels"):
        for part in (data.train, data.val):
            everything(part, workers=workers)


def test_a_class_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path)
    iterdir = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "dog":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(NascError, match=r"cannot read the folder .*dog: Permission denied"):
        folder(tmp_path)


def test_two_channels_are_no_photograph(tmp_path: Path) -> None:
    write_images(tmp_path)
    with pytest.raises(NascError, match="1 or 3 channels"):
        folder(tmp_path, channels=2)


# Synthetic images


def test_synthetic_images_are_made_of_seed_and_index() -> None:
    def make(seed: int = 0, **options: int) -> DataSplits:
        return load_data("synthetic:40", input_shape=(3, 9, 7), classes=4, seed=seed, **options)

    images, labels = everything(make().train)
    assert images.shape == (40, 3, 9, 7) and labels.tolist() == [i % 4 for i in range(40)]
    assert size(make().val) == 10 and make().augment is None
    assert torch.equal(make().train[13][0], images[13])
    assert not torch.equal(everything(make(1).train)[0], images)
    assert not torch.equal(everything(make().val)[0][:10], images[:10])


def test_synthetic_classes_can_be_told_apart() -> None:
    data = load_data("synthetic", input_shape=(3, 12, 12), classes=5)
    images, labels = everything(data.train)
    means = torch.stack([images[labels == label].mean(0) for label in range(5)])
    others, truth = everything(data.val)
    nearest = (others[:, None] - means).flatten(2).norm(dim=2).argmin(1)
    assert (nearest == truth).float().mean() > 0.95


def test_large_synthetic_images_are_not_made_beforehand() -> None:
    data = load_data("synthetic:1000000", input_shape=(3, 288, 288), classes=1000)
    images, labels = next(iter(loader(data.train, 2, True)))
    assert images.shape == (2, 3, 288, 288) and labels.shape == (2,)


# Batches


class Plain(Dataset[tuple[torch.Tensor, int]]):
    """Not in memory, as far as the loader can know."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((1, 2, 2), float(index)), index


def in_memory() -> TensorDataset:
    return TensorDataset(torch.arange(23.0)[:, None, None, None].expand(-1, 1, 2, 2), torch.arange(23))


def seen(dataset: object, epoch: int = 0, seed: int = 0, **options: int) -> list[list[int]]:
    batches = loader(dataset, 5, True, seed, epoch, **options)  # type: ignore[arg-type]
    found = [(images[:, 0, 0, 0].tolist(), labels.tolist()) for images, labels in batches]
    assert len(batches) == len(found)
    assert all(images == labels for images, labels in found)
    return [labels for _, labels in found]


def test_batches_do_not_depend_on_how_they_are_read() -> None:
    expected = seen(Plain())
    assert [len(batch) for batch in expected] == [5, 5, 5, 5, 3]
    assert sorted(label for batch in expected for label in batch) == list(range(23))
    assert seen(in_memory()) == expected == seen(Plain(), workers=2) == seen(Plain())
    assert seen(Plain(), epoch=1) != expected != seen(Plain(), seed=1)
    assert seen(Plain(), drop_last=True) == expected[:4]


def test_subsets_of_subsets_are_looked_through() -> None:
    part = split_at_random(split_at_random(in_memory(), (0.6, 0.4), 0)[0], (0.5, 0.5), 1)[1]
    assert everything(part)[1].tolist() == [int(part[i][1]) for i in range(len(part))]


def test_reading_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    seen(Plain(), workers=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_one_small_batch_is_kept() -> None:
    batches = loader(in_memory(), 100, False, drop_last=True)
    assert len(batches) == len(list(batches)) == 1
    with pytest.raises(NascError, match="at least one image"):
        loader(in_memory(), 0, False)
