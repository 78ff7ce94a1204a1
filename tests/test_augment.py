"""Crops and augmentation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nasc.dsl.diagnostics import NascError
from nasc.runtime import augment_policy
from nasc.runtime.augment import Augment
from nasc.runtime.augment_policy import OPERATIONS, Operation, Policy
from nasc.runtime.data import DataSplits, load_data, loader
from nasc.runtime.data_crop import random_box
from tests.images import everything, write_fashion

# Crop


def test_cropped_digits_are_the_centre_of_larger_ones() -> None:
    whole = load_data("digits", input_shape=(1, 8, 8), classes=10)
    data = load_data("digits", input_shape=(1, 4, 4), classes=10, crop=0.5)
    for part, larger in ((data.val, whole.val), (data.test, whole.test)):
        assert torch.equal(everything(part)[0], everything(larger)[0][..., 2:6, 2:6])
    plain = load_data("digits", input_shape=(1, 4, 4), classes=10)
    assert torch.equal(everything(data.train)[0], everything(plain.train)[0])
    nearly = load_data("digits", input_shape=(1, 4, 4), classes=10, crop=0.9)
    assert torch.equal(everything(nearly.val)[0], everything(plain.val)[0])  # 4 / 0.9 rounded down is 4


def test_cropped_fashion(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    whole = load_data(f"fashion:{tmp_path}", input_shape=(1, 28, 28), classes=10)
    data = load_data(f"fashion:{tmp_path}", input_shape=(1, 14, 7), classes=10, crop=0.5)
    plain = load_data(f"fashion:{tmp_path}", input_shape=(1, 28, 14), classes=10)
    assert torch.equal(everything(data.test)[0], everything(plain.test)[0][..., 7:21, 4:11])  # 3.5 rounds to even
    assert everything(data.val)[0].shape[1:] == (1, 14, 7) == everything(data.train)[0].shape[1:]
    assert everything(data.val)[1].tolist() == everything(whole.val)[1].tolist()


def write_gradients(directory: Path, extent: tuple[int, int] = (32, 16)) -> np.ndarray:
    """Pixels that tell their place: red grows to the right, green downwards."""
    rows, columns = np.mgrid[: extent[1], : extent[0]]
    pixels = np.stack([columns * 8, rows * 8, 0 * rows], axis=-1).astype(np.uint8)
    for name in ("a", "b"):
        (directory / name).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(pixels).save(directory / name / f"{i}.png")
    return pixels


def pixels_of(data: DataSplits, images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (data.mean, data.std))
    return (images * std + mean) * 255


def test_cropped_folder(tmp_path: Path) -> None:
    pixels = write_gradients(tmp_path)
    data = load_data(str(tmp_path), input_shape=(3, 8, 8), classes=2, crop=0.5)
    # The central 16×16 of 32×16, of which the network sees the central 8×8.
    expected = torch.from_numpy(pixels[4:12, 12:20]).permute(2, 0, 1)
    for image in pixels_of(data, everything(data.val)[0]):
        assert torch.equal(image.round(), expected.float())
    assert torch.equal(
        everything(data.train)[0], everything(load_data(str(tmp_path), input_shape=(3, 8, 8), classes=2).train)[0]
    )


@pytest.mark.parametrize("parted", [False, True])
def test_training_sees_random_parts_of_a_folders_images(tmp_path: Path, parted: bool) -> None:
    for part in ("train", "val") if parted else (".",):
        write_gradients(tmp_path / part)

    def load(**options: str) -> DataSplits:
        return load_data(str(tmp_path), input_shape=(3, 8, 8), classes=2, **options)  # type: ignore[arg-type]

    def read(data: DataSplits, epoch: int, seed: int = 0, workers: int = 0) -> torch.Tensor:
        return torch.cat([images for images, _ in loader(data.train, 4, True, seed, epoch, workers=workers)])

    data = load()
    first = read(data, 0)
    assert torch.equal(first, read(data, 0)) and torch.equal(first, read(data, 0, workers=2))
    # As sets, because the order differs too.
    drawn = torch.cat([first, read(data, 1), read(data, 0, seed=1)])
    assert len(torch.unique(drawn, dim=0)) == 3 * len(first)
    red, green = pixels_of(data, first)[:, :2].unbind(1)
    assert (red.diff(dim=2) > 0).all() and (green.diff(dim=1) > 0).all()
    assert (red.amax((1, 2)) - red.amin((1, 2))).std() > 10
    for still in (everything(data.train)[0], everything(data.val)[0], read(load(augment="none"), 0)):
        assert len(torch.unique(still, dim=0)) == 1
    assert load(augment="none").augment is None


@given(width=st.integers(1, 400), height=st.integers(1, 400), seed=st.integers(0, 1000))
def test_random_parts_lie_within(width: int, height: int, seed: int) -> None:
    left, upper, right, lower = random_box((width, height), torch.Generator().manual_seed(seed))
    assert 0 <= left < right <= width and 0 <= upper < lower <= height
    if min(width, height) >= 100:
        across, down = right - left, lower - upper
        assert 0.07 < across * down / (width * height) <= 1
        assert 0.73 < across / down < 1.37


def test_random_parts_are_drawn_evenly() -> None:
    boxes = [random_box((300, 300), torch.Generator().manual_seed(seed)) for seed in range(2000)]
    left, upper, right, lower = np.array(boxes, float).T
    areas, ratios = (right - left) * (lower - upper) / 300**2, (right - left) / (lower - upper)
    # Those near the whole image's area lie within it less often.
    assert 0.4 < areas.mean() < 0.54 and areas.min() < 0.1 and areas.max() > 0.9
    assert abs(np.log(ratios).mean()) < 0.02 and abs(np.log(ratios).std() - np.log(16 / 9) / 12**0.5) < 0.02
    free = 300 - (right - left) > 100
    assert abs((left / (300 - (right - left) + 1e-9))[free].mean() - 0.5) < 0.03
    assert abs((upper + lower).mean() - 300) < 6
    small = [random_box((6, 6), torch.Generator().manual_seed(seed)) for seed in range(400)]
    assert {box[:2] for box in small if box[2] - box[0] == box[3] - box[1] == 4} == {
        (left, upper) for left in range(3) for upper in range(3)
    }


def test_images_too_long_for_any_part_are_cropped_in_the_middle() -> None:
    assert random_box((1000, 30), torch.Generator()) == (480, 0, 520, 30)
    assert random_box((30, 1000), torch.Generator()) == (0, 480, 30, 520)
    assert random_box((1, 1), torch.Generator()) == (0, 0, 1, 1)


@pytest.mark.parametrize("crop", [0.0, -1.0, 0.05, 1.01, float("nan")])
def test_crops_out_of_range(crop: float) -> None:
    with pytest.raises(NascError, match=r"crop fraction lies between 0\.1 and 1"):
        load_data("digits", input_shape=(1, 8, 8), classes=10, crop=crop)


@pytest.mark.parametrize("options", [{"augment": "policy"}, {"crop": 0.9}])
def test_ready_images_are_not_prepared(options: dict[str, Any]) -> None:
    with pytest.raises(NascError, match="`synthetic:8` gives images"):
        load_data("synthetic:8", input_shape=(1, 4, 4), classes=2, **options)
    with pytest.raises(NascError, match="`json:loads` gives images"):
        load_data("json:loads", input_shape=(1, 4, 4), classes=2, **options)


# The standard augmentation


@settings(deadline=None)
@given(height=st.integers(3, 9), width=st.integers(3, 9), padding=st.integers(0, 2), seed=st.integers(0, 1000))
def test_augmented_images_are_windows_of_the_padded_ones(height: int, width: int, padding: int, seed: int) -> None:
    images = torch.rand(4, 2, height, width, generator=torch.Generator().manual_seed(seed))
    result = Augment(padding, flip=True)(images, torch.Generator().manual_seed(seed))
    assert result.shape == images.shape
    for image, new in zip(images.numpy(), result.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), mode="reflect")
        windows = [
            padded[:, y : y + height, x : x + width] for y in range(2 * padding + 1) for x in range(2 * padding + 1)
        ]
        assert any(np.array_equal(new, w) or np.array_equal(new, w[:, :, ::-1]) for w in windows)


def test_every_place_and_both_sides_are_drawn() -> None:
    image = torch.arange(25.0).reshape(1, 1, 5, 5).repeat(400, 1, 1, 1)
    crops = Augment(1, flip=False)(image, torch.Generator().manual_seed(0))
    assert len(torch.unique(crops, dim=0)) == 9
    flips = Augment(0, flip=True)(image, torch.Generator().manual_seed(0))
    changed = (flips != image).flatten(1).any(1)
    assert torch.equal(flips[changed], image[changed].flip(-1)) and 150 < changed.sum() < 250


# The policy: its operations

FILL = 99


def apply(name: str, image: np.ndarray, level: float) -> np.ndarray:
    fill = FILL if image.ndim == 2 else (FILL,) * 3
    result = OPERATIONS[name].apply(Image.fromarray(image.astype(np.uint8)), level, fill)
    return np.asarray(result).astype(int)


RAMP = np.arange(256).reshape(16, 16)
COLOURS = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=-1)


def enhanced(start: np.ndarray | float, image: np.ndarray, level: float) -> np.ndarray:
    """Away from `start`, by 0.1 to 1.9 times the way to the image."""
    return np.clip(start + (0.1 + 1.8 * level) * (image - start), 0, 255)


def luma(image: np.ndarray) -> np.ndarray:
    """ITU-R 601."""
    return (image @ [0.299, 0.587, 0.114]).round()


@pytest.mark.parametrize("image", [RAMP, COLOURS])
@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        ("invert", 0.3, lambda x: 255 - x),
        ("solarize", 0.9, lambda x: np.where(x < 230, x, 255 - x)),
        ("solarize", 0.5, lambda x: np.where(x < 128, x, 255 - x)),
        ("solarize", 0.0, lambda x: 255 - x),
        ("solarize", 1.0, lambda x: x),
        ("solarize_add", 0.9, lambda x: np.where(x < 128, x + 99, x)),
        ("solarize_add", 0.0, lambda x: x),
        ("posterize", 0.9, lambda x: x // 32 * 32),
        ("posterize", 1.0, lambda x: x // 16 * 16),
        ("posterize", 0.5, lambda x: x // 64 * 64),
        ("posterize", 0.0, lambda x: x // 128 * 128),
        ("brightness", 0.9, lambda x: enhanced(0, x, 0.9)),
        ("brightness", 0.5, lambda x: x),
        ("brightness", 0.0, lambda x: x / 10),
        ("color", 0.5, lambda x: x),
        ("contrast", 0.5, lambda x: x),
        ("sharpness", 0.5, lambda x: x),
        ("rotate", 0.0, lambda x: x),
        ("rotate", 3.0, lambda x: np.rot90(x)),
        ("shear_x", 0.0, lambda x: x),
        ("shear_y", 0.0, lambda x: x),
        ("translate_x", 0.0, lambda x: x),
        ("translate_y", 0.0, lambda x: x),
    ],
)
def test_operations_on_all_levels_of_grey(
    image: np.ndarray, name: str, level: float, expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert np.abs(apply(name, image, level) - expected(image)).max() < 1


def test_operations_that_look_at_the_whole_image() -> None:
    image = np.array([[50, 100], [150, 100]])
    assert apply("autocontrast", image, 0.9).tolist() == [[0, 127], [255, 127]]
    assert np.abs(apply("contrast", image, 0.9) - enhanced(100, image, 0.9)).max() < 1
    assert apply("contrast", COLOURS, 0.0).std() < COLOURS.std() / 9
    two = np.repeat([10, 20], 255).reshape(2, 255)
    assert apply("equalize", two, 0.9).tolist() == [[0] * 255, [255] * 255]
    grey = luma(COLOURS)[..., None]
    assert np.abs(apply("color", COLOURS, 0.9) - enhanced(grey, COLOURS, 0.9)).max() <= 2
    assert np.array_equal(apply("color", RAMP, 0.9), RAMP)
    spot = np.full((5, 5), 100)
    spot[2, 2] = 113  # Pillow's smoothing gives the centre a weight of 5/13
    assert apply("sharpness", spot, 0.9)[2, 2] == int(105 + 1.72 * 8) and apply("sharpness", spot, 0.0)[2, 2] == 105


def sources_of(
    name: str, level: float, x: np.ndarray, y: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixel at (x, y) comes from; all from the image's upper left corner."""
    if name == "rotate":
        turn, u, v = np.deg2rad(30 * level), x - width / 2, y - height / 2
        return width / 2 + u * np.cos(turn) - v * np.sin(turn), height / 2 + u * np.sin(turn) + v * np.cos(turn)
    return {
        "shear_x": (x + 0.3 * level * y, y),
        "shear_y": (x, y + 0.3 * level * x),
        "translate_x": (x + 0.45 * level * width, y),
        "translate_y": (x, y + 0.45 * level * height),
    }[name]


@pytest.mark.parametrize("level", [0.9, -0.9, 1.0, -0.37])
@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_operations_that_move_pixels(name: str, level: float) -> None:
    width, height = 24, 16
    y, x = np.mgrid[:height, :width] + 0.5
    image = (5 * x + 7 * y - 6).astype(int)
    source_x, source_y = sources_of(name, level, x, y, width, height)
    found = apply(name, image, level)
    nearest = np.minimum.reduce([source_x, source_y, width - source_x, height - source_y])
    inside, outside = nearest > 0.51, nearest < -0.01
    assert inside.sum() > 100 and outside.sum() > 4
    assert np.abs(found - (5 * source_x + 7 * source_y - 6))[inside].max() <= 1.1
    assert (found[outside] == FILL).all()


# The policy as a whole


def grey_policy(**options: float) -> Policy:
    return Policy((0.5,), (0.25,), **options)


def pictures(count: int, channels: int = 1, side: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 levels, and the same normalised for the policies of these tests."""
    levels = torch.randint(256, (count, channels, side, side), generator=torch.Generator().manual_seed(1))
    return levels, (levels / 255 - 0.5) / 0.25


@pytest.mark.parametrize("channels", [1, 3])
def test_the_generator_decides(channels: int) -> None:
    policy = Policy((0.5,) * channels, (0.25,) * channels)
    levels, images = pictures(64, channels)
    before = images.clone()
    first, again, other = (policy(images, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other) and torch.equal(images, before)
    assert first.shape == images.shape and first.dtype == torch.float32
    pixels = (first * 0.25 + 0.5) * 255
    assert (pixels - pixels.round()).abs().max() < 1e-3 and pixels.min() > -0.1 and pixels.max() < 255.1
    same = (pixels.round() == levels).flatten(1).all(1)
    assert 10 < same.sum() < 34  # a quarter of the images has no operation, some operations do nothing


def test_images_do_not_depend_on_their_neighbours_pixels() -> None:
    _, images = pictures(16)
    whole = grey_policy()(images, torch.Generator().manual_seed(0))
    others = torch.cat([images[:8], images[:8]])
    assert torch.equal(grey_policy()(others, torch.Generator().manual_seed(0))[:8], whole[:8])


def test_the_mean_comes_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_policy, "OPERATIONS", {"translate_x": OPERATIONS["translate_x"]})
    means = (0.2, 0.4, 0.6)
    policy = Policy(means, (0.5, 0.25, 1.0), magnitude=10, deviation=0)
    images = torch.full((50, 3, 4, 20), 2.0)
    result = policy(images, torch.Generator().manual_seed(0))
    far = result[..., [0, -1]].abs().amax((1, 2))
    assert ((far < 0.01) | (far > 0.3)).all() and (far < 0.01).any(0).all()


Calls = list[list[tuple[str, float]]]


def record(monkeypatch: pytest.MonkeyPatch, count: int, **options: float) -> Calls:
    """The operations and levels that each of `count` images gets; images are told apart by their pixel."""
    calls: Calls = [[] for _ in range(count)]

    def recorder(name: str) -> Operation:
        def note(image: Image.Image, level: float, fill: object) -> Image.Image:
            calls[sum(value << 8 * i for i, value in enumerate(image.getpixel((0, 0))))].append((name, level))  # type: ignore
            return image

        return Operation(note, OPERATIONS[name].signed)

    monkeypatch.setattr(augment_policy, "OPERATIONS", {name: recorder(name) for name in OPERATIONS})
    numbers = torch.arange(count)
    images = torch.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], dim=1)[:, :, None, None] / 255
    Policy((0.0,) * 3, (1.0,) * 3, **options)(images, torch.Generator().manual_seed(0))
    return calls


def test_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 12_000
    calls = record(monkeypatch, count)
    numbers = np.bincount([len(call) for call in calls]) / count
    assert np.allclose(numbers, [0.25, 0.5, 0.25], atol=0.02)
    flat = [call for image in calls for call in image]
    names = [name for name, _ in flat]
    shares = np.array([names.count(name) for name in OPERATIONS]) / len(flat)
    assert len(OPERATIONS) == 15 and np.abs(shares - 1 / 15).max() < 0.008
    pairs = [call for call in calls if len(call) == 2]
    assert abs(sum(a[0] == b[0] for a, b in pairs) / len(pairs) - 1 / 15) < 0.015  # with replacement
    levels = np.array([abs(level) for _, level in flat])
    assert levels.max() == 1.0 and abs((levels == 1).mean() - 0.0228) < 0.006
    assert abs(np.median(levels) - 0.9) < 0.003 and abs(np.quantile(levels, 0.1587) - 0.85) < 0.004
    negative = {name: np.mean([level < 0 for other, level in flat if other == name]) for name in OPERATIONS}
    signed = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}
    assert all(abs(share - 0.5) < 0.06 if name in signed else share == 0 for name, share in negative.items())


@pytest.mark.parametrize(
    ("magnitude", "deviation", "lowest", "highest"), [(4.0, 0.0, 0.4, 0.4), (0.0, 0.0, 0.0, 0.0), (5.0, 1e6, 0.0, 1.0)]
)
def test_magnitudes_and_their_limits(
    monkeypatch: pytest.MonkeyPatch, magnitude: float, deviation: float, lowest: float, highest: float
) -> None:
    calls = record(monkeypatch, 300, magnitude=magnitude, deviation=deviation)
    levels = [abs(level) for call in calls for _, level in call]
    assert (min(levels), max(levels)) == (lowest, highest)


# The policy of a data source


def load_digits(channels: int = 1, **options: Any) -> DataSplits:
    return load_data("digits", input_shape=(channels, 8, 8), classes=10, **options)


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_and_flip_come_before_the_policy(channels: int) -> None:
    data, plain = load_digits(channels, augment="policy", magnitude=7, deviation=0.25), load_digits(channels)
    images = everything(data.train)[0][:40]
    assert torch.equal(images, everything(plain.train)[0][:40])
    assert plain.augment is not None and not plain.augment.flip and data.augment is not None
    generator = torch.Generator().manual_seed(5)
    expected = Policy(data.mean, data.std, 7, 0.25)(plain.augment(images, generator), generator)
    assert torch.equal(data.augment(images, torch.Generator().manual_seed(5)), expected)
    assert load_digits(channels, augment="none").augment is None


def test_a_policy_on_photographs(tmp_path: Path) -> None:
    write_gradients(tmp_path)
    for channels in (1, 3):
        data = load_data(str(tmp_path), input_shape=(channels, 16, 16), classes=2, augment="policy")
        images = everything(data.train)[0]
        assert data.augment is not None
        assert data.augment(images, torch.Generator().manual_seed(0)).shape == images.shape


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"augment": "strong"}, "unknown augmentation `strong`"),
        ({"channels": 2, "augment": "policy"}, "1 or 3 channels, those of `digits` are given 2"),
        ({"magnitude": 10.5}, "magnitude of a policy lies between 0 and 10"),
        ({"magnitude": -1.0}, "magnitude of a policy lies between 0 and 10"),
        ({"magnitude": float("nan")}, "magnitude of a policy lies between 0 and 10"),
        ({"deviation": -0.1}, "deviation of a policy's magnitude is 0 or more"),
        ({"deviation": float("inf")}, "deviation of a policy's magnitude is 0 or more"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(NascError, match=words):
        load_digits(**options)
