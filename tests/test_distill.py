"""Distillation: the loss, teachers from files, files that lie, and training with all of PruNet's recipe."""

from __future__ import annotations

import io
import json
import math
import os
import random
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from nasc.cli import main
from nasc.dsl.diagnostics import NascError
from nasc.runtime import checkpoint
from nasc.runtime.data import DataSplits, load_data, loader, size
from nasc.runtime.distill import distillation_loss, load_teacher
from nasc.runtime.member_model import load_model
from nasc.runtime.progress import SilentProgress
from nasc.runtime.train import train
from nasc.runtime.train_options import TrainOptions

CPU = torch.device("cpu")
SHAPE = (4, 1, 8, 8)
Net = nn.Module


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Small(nn.Module):
    """Reads the batch's size, works in place, and has a buffer: what exported graphs are made of."""

    scale: Tensor

    def __init__(self, classes: int = 10, width: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.Hardswish(),
            nn.Dropout(0.1),
        )
        self.linear = nn.Linear(2 * width, classes)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        # In place on what came in.
        x.mul_(1.5)
        y = self.features(x)
        logits: Tensor = self.linear(y.mean((2, 3)).view(x.shape[0], -1) * self.scale)
        return logits


def small(classes: int = 10) -> Small:
    torch.manual_seed(0)
    return Small(classes).eval()


def export(model: nn.Module, path: Path, batch: int | None = None, side: int = 8) -> Path:
    """A module as a .pt2 or .onnx file, with an open or a fixed batch."""
    images = torch.randn(batch or 2, 1, side, side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix == ".pt2":
            shapes = None if batch else ({0: torch.export.Dim.AUTO},)
            torch.export.save(torch.export.export(model, (images,), dynamic_shapes=shapes), path)
        else:
            axes = {} if batch else {"images": {0: "n"}}
            torch.onnx.export(model, (images,), path, dynamo=False, input_names=["images"], dynamic_axes=axes)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("teachers")
    return {suffix: export(small(), folder / f"small.{suffix}") for suffix in ("pt2", "onnx")}


def opened(path: Path, shape: tuple[int, int, int, int] = SHAPE, classes: int = 10) -> Any:
    return load_teacher(path, shape, classes, CPU, 1)


def images(count: int = 4, side: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_by_hand(temperature: float) -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 7, 5))

    def softmax(logits: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        powers = np.exp(logits / temperature)
        return powers / powers.sum(1, keepdims=True)

    p, q = softmax(teacher), softmax(student)
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    logits = torch.tensor(student, requires_grad=True)
    wanted = torch.tensor(teacher, requires_grad=True)
    loss = distillation_loss(logits, wanted.detach(), temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert logits.grad is not None and wanted.grad is None
    np.testing.assert_allclose(logits.grad.numpy(), temperature * (q - p) / 7, rtol=1e-4, atol=1e-7)
    assert distillation_loss(wanted, wanted, temperature).item() == pytest.approx(0, abs=1e-6)


# ------------------------------------------------------------------------------------------------- teachers


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_a_file_computes_what_the_module_does(files: dict[str, Path], suffix: str) -> None:
    teacher = opened(files[suffix])
    for count in (4, 7):
        x = images(count)
        before = x.clone()
        logits = teacher(x.requires_grad_())
        assert not logits.requires_grad and torch.equal(x, before)
        with torch.no_grad():
            torch.testing.assert_close(logits, small()(before), rtol=1e-4, atol=1e-5)
    assert logits.abs().max() > 0.1


class Vit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True, norm_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(len(x), -1, -1), y], 1)
        logits: Tensor = self.head(self.encoder(y)[:, 0])
        return logits


BLOCKS = """nas 1
network blocks {
  input image 1 x 8 x 8
  output classes 10
  default { act hard_swish }
  stage stem conv       { kernel 3 }                                 -> 8
  stage a    irb x 2    { kernel 5  expand 2  se 1 } -> 8
  stage b    fused_irb  { kernel 3  expand 2  act swish }            -> 8
  stage c    basic      { stride 2 }                                 -> 16
  stage d    bottleneck { act relu6 }                                -> 16
  head global_pool | dropout(0.2) | linear
}
"""


@pytest.mark.parametrize("kind", ["blocks", "attention"])
def test_other_networks_as_programs(tmp_path: Path, kind: str) -> None:
    """As exported, and decomposed into the core operators."""
    torch.manual_seed(0)
    (tmp_path / "blocks.nas").write_text(BLOCKS)
    model = Vit().eval() if kind == "attention" else load_model(tmp_path / "blocks.nas").module.eval()
    x = images()
    program = torch.export.export(model, (x,))
    for form, exported in (("plain", program), ("core", program.run_decompositions())):
        torch.export.save(exported, tmp_path / f"{form}.pt2")
        with torch.no_grad():
            torch.testing.assert_close(opened(tmp_path / f"{form}.pt2")(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_a_fixed_batch_and_another_size(tmp_path: Path, suffix: str) -> None:
    """Batches are cut into the teacher's, images resized to its own: Table 4's teachers see larger ones."""
    path = export(small(), tmp_path / f"t.{suffix}", batch=2, side=12)
    teacher, x = opened(path), images(6)
    resized = functional.interpolate(x, (12, 12), mode="bilinear")
    with torch.no_grad():
        torch.testing.assert_close(teacher(x), small()(resized), rtol=1e-4, atol=1e-4)
    with pytest.raises(NascError, match="batches of 2 images only") as caught:
        opened(path, (3, 1, 8, 8))
    assert "multiple of 2" in (caught.value.help or "")


# ------------------------------------------------------------------------------------------------- unsuited files


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_unsuited_teachers(tmp_path: Path, files: dict[str, Path], suffix: str) -> None:
    with pytest.raises(NascError, match="gives 4×10 numbers for 4 images, the student's classes need 4×3"):
        opened(files[suffix], classes=3)
    with pytest.raises(NascError, match="the student images of 3 channels: 4×3×8×8"):
        opened(files[suffix], (4, 3, 8, 8))
    with pytest.raises(NascError, match=r"cannot read the teacher .*No such file"):
        opened(tmp_path / f"none.{suffix}")
    for name, body in (("empty", b""), ("text", b"a teacher"), ("half", files[suffix].read_bytes()[:1500])):
        path = tmp_path / f"{name}.{suffix}"
        path.write_bytes(body)
        with pytest.raises(NascError, match="the teacher"):
            opened(path)
    with pytest.raises(NascError, match=r"is a file \.onnx or \.pt2"):
        opened(tmp_path / "teacher.pt")


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (4, 1, 0, 8), (4, 1, 8, 1 << 20), (4, 64)])
def test_impossible_sizes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = onnx_model()
    sizes = [onnx.TensorShapeProto.Dimension(dim_value=size) for size in shape]
    del model.graph.input[0].type.tensor_type.shape.dim[:]
    model.graph.input[0].type.tensor_type.shape.dim.extend(sizes)
    (tmp_path / "t.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(NascError, match=r"the teacher .*t\.onnx (takes|cannot be used)"):
        opened(tmp_path / "t.onnx")


def test_two_inputs_or_outputs(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.mean((2, 3)), x

    for suffix in ("pt2", "onnx"):
        with pytest.raises(NascError, match=r"takes 1 inputs .*gives"):
            opened(export(Two(), tmp_path / f"two.{suffix}"))


def test_a_network_exported_in_training(tmp_path: Path) -> None:
    for model in (small().train(), nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))):
        with pytest.raises(NascError, match="as it is in training") as caught:
            opened(export(model, tmp_path / "t.pt2"))
        assert ".eval()" in (caught.value.help or "")


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_damaged_files_are_refused_or_still_run(tmp_path: Path, files: dict[str, Path], suffix: str) -> None:
    """Whatever byte is wrong, nothing but a NascError is raised."""
    whole, generator = files[suffix].read_bytes(), random.Random(0)
    path = tmp_path / f"damaged.{suffix}"
    refused = 0
    for _ in range(60):
        body = bytearray(whole)
        for _ in range(generator.randint(1, 20)):
            body[generator.randrange(len(body))] = generator.randrange(256)
        path.write_bytes(body)
        try:
            opened(path)
        except NascError:
            refused += 1
    assert refused > 5


# ------------------------------------------------------------------------------------------------- hostile files


class Evil:
    """Unpickled, it makes the file `owned`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes], compression: int = 0) -> Path:
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", compression) as changed:
        for name in archive.namelist():
            changed.writestr(name, change(name, archive.read(name)))
    return target


def replaced(old: str, new: str, file: str = "model.json") -> Callable[[str, bytes], bytes]:
    def change(name: str, body: bytes) -> bytes:
        if not name.endswith(file):
            return body
        assert old.encode() in body
        return body.replace(old.encode(), new.encode())

    return change


def test_nothing_in_a_program_is_run_as_code(tmp_path: Path, files: dict[str, Path]) -> None:
    """The two archives make `torch.export.load` run code; the teacher is read all the same, without those parts."""
    owned = tmp_path / "owned"
    pickled = io.BytesIO()
    torch.save(Evil(owned), pickled)
    hostile = {
        "pickle": lambda name, body: pickled.getvalue() if name.endswith("sample_inputs/model.pt") else body,
        "expression": replaced("positive=True, integer=True)", f"x=__import__('os').mkdir('{owned}'))"),
    }
    for name, change in hostile.items():
        path = rewritten(files["pt2"], tmp_path / f"{name}.pt2", change)
        torch.testing.assert_close(opened(path)(images()), opened(files["pt2"])(images()))
        assert not owned.exists()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                torch.export.load(path)
            except Exception as error:
                assert error
        assert owned.exists(), "the archive is harmless to everybody: the test shows nothing"
        owned.rmdir()


def test_pickled_weights_are_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    owned = tmp_path / "owned"
    pickled = io.BytesIO()
    torch.save(Evil(owned), pickled)

    def change(name: str, body: bytes) -> bytes:
        if name.endswith("/weight_0"):
            return pickled.getvalue()
        return replaced('"use_pickle": false', '"use_pickle": true', "weights_config.json")(name, body)

    with pytest.raises(NascError, match="as a pickle, which could run code"):
        opened(rewritten(files["pt2"], tmp_path / "t.pt2", change))
    assert not owned.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.as_strided.default",
        "torch.ops.aten.relu_.__class__",
        "torch.ops.aten.relu_.op",
        "torch.ops.load_library",
        "torch.ops.aten.linear.default.__call__",
        "torch.hub.load",
        "_operator.attrgetter",
        "builtins.eval",
    ],
)
def test_other_operators_are_refused(tmp_path: Path, files: dict[str, Path], target: str) -> None:
    with pytest.raises(NascError, match=r"not one of those that may be run|cannot be used"):
        opened(rewritten(files["pt2"], tmp_path / "t.pt2", replaced("torch.ops.aten.relu_.default", target)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"sizes": [{"as_int": 16}', '"sizes": [{"as_int": 16000000}'),
        ('"storage_offset": {"as_int": 0}', '"storage_offset": {"as_int": 4000}'),
        ('"storage_offset": {"as_int": 0}', '"storage_offset": {"as_int": -1}'),
        ('"path_name": "weight_0"', '"path_name": "../../../../etc/passwd"'),
        ('"dtype": 7', '"dtype": 99'),
        ('"layout": 7', '"layout": 1'),
    ],
)
def test_weights_that_are_not_in_the_archive(tmp_path: Path, files: dict[str, Path], old: str, new: str) -> None:
    with pytest.raises(NascError, match="cannot be used"):
        opened(rewritten(files["pt2"], tmp_path / "t.pt2", replaced(old, new, "weights_config.json")))


def test_archives_of_other_kinds(tmp_path: Path, files: dict[str, Path]) -> None:
    def same(name: str, body: bytes) -> bytes:
        return body

    with pytest.raises(NascError, match="not an archive of one exported program"):
        opened(rewritten(files["pt2"], tmp_path / "deflated.pt2", same, zipfile.ZIP_DEFLATED))
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pt2")
    with pytest.raises(NascError, match="not an archive of one exported program") as caught:
        opened(tmp_path / "weights.pt2")
    assert "ONNX" in (caught.value.help or "")
    with pytest.raises(NascError, match="another version of the format"):
        opened(rewritten(files["pt2"], tmp_path / "new.pt2", replaced('"major": 8', '"major": 9')))


def onnx_model(location: str = "", place: str = "initializer", op: str = "Add", domain: str = "") -> onnx.ModelProto:
    """Adds ten numbers, kept in the file `location` or none, to zeros."""
    numbers = numpy_helper.from_array(np.zeros((1, 10), np.float32), "numbers")
    if location:
        numbers.ClearField("raw_data")
        numbers.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "40")):
            numbers.external_data.add(key=key, value=value)
    constant = helper.make_node("Constant", [], ["numbers"], value=numbers)
    default = helper.make_opsetid("", 17)
    function = helper.make_function("own", "Numbers", [], ["numbers"], [constant], [default])
    first = {
        "initializer": [],
        "attribute": [constant],
        "function": [helper.make_node("Numbers", [], ["numbers"], domain="own")],
    }
    nodes = [
        *first[place],
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Sub", ["flat", "flat"], ["zero"]),
        helper.make_node(op, ["zero", "numbers"], ["logits"], domain=domain),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [numbers] if place == "initializer" else [],
    )
    functions = [function] if place == "function" else []
    opsets = [default, helper.make_opsetid("own", 1), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions)


@pytest.mark.parametrize("place", ["initializer", "attribute", "function"])
def test_external_data_comes_from_the_model_s_folder_only(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for path, value in ((tmp_path / "secret", 7.0), (folder / "data", 3.0)):
        np.full(10, value, np.float32).tofile(path)
    (folder / "link").symlink_to(tmp_path / "secret")
    path = folder / "t.onnx"
    path.write_bytes(onnx_model("data", place).SerializeToString())
    digest = opened(path).network.digest
    assert opened(path)(images()).unique().tolist() == [3.0]
    np.full(10, 4.0, np.float32).tofile(folder / "data")
    assert opened(path).network.digest != digest
    for location in ("../secret", str(tmp_path / "secret"), "link", "x/../../secret", "none", "/dev/zero"):
        path.write_bytes(onnx_model(location, place).SerializeToString())
        with pytest.raises(NascError, match="teacher"):
            opened(path)


def test_operators_of_libraries_and_unknown_operator_sets(tmp_path: Path) -> None:
    path = tmp_path / "t.onnx"
    for op, domain in (("EPContext", "com.microsoft"), ("Evil", "own")):
        path.write_bytes(onnx_model(op=op, domain=domain).SerializeToString())
        with pytest.raises(NascError, match=f"`{op}` of `{domain}`, which is not ONNX's own"):
            opened(path)
    path.write_bytes(onnx_model(op="Evil").SerializeToString())
    with pytest.raises(NascError, match="Evil"):
        opened(path)
    model = onnx_model()
    model.opset_import[0].version = 99
    path.write_bytes(model.SerializeToString())
    with pytest.raises(NascError, match="opset"):
        opened(path)


# ------------------------------------------------------------------------------------------------- training

STUDENT = """nas 1
network student {
  input image 1 x 8 x 8
  output classes 10
  default { act relu }
  stage stem conv    { kernel 3 }           -> 8
  stage a    irb x 3 { kernel 3  expand 2 } -> 8
  head global_pool | linear
}
"""


@pytest.fixture
def student(tmp_path: Path) -> Path:
    file = tmp_path / "student.nas"
    file.write_text(STUDENT)
    return file


def digits(options: TrainOptions) -> DataSplits:
    return load_data("digits", input_shape=(1, 8, 8), classes=10, augment=options.augment, crop=options.crop)


def test_a_student_believes_its_teacher(tmp_path: Path) -> None:
    """A teacher that turns the classes round teaches them turned round, against the labels."""
    order = torch.tensor([1, 2, 3, 0])
    data = load_data("synthetic:256", input_shape=(1, 8, 8), classes=4)
    options = {"epochs": 4, "batch": 16}
    teacher = small(4)
    train(teacher, data, TrainOptions.model_validate(options), tmp_path / "teacher", SilentProgress())

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = teacher.eval()

        def forward(self, x: Tensor) -> Tensor:
            # Column order[c] has the teacher's logit of class c.
            logits = self.network(x)
            return torch.cat([logits.narrow(1, c, 1) for c in (3, 0, 1, 2)], 1)

    path = export(Turned(), tmp_path / "turned.pt2")
    right, turned = {}, {}
    for weight in (1.0, 0.0):
        pupil = small(4)
        given = TrainOptions.model_validate({**options, "teacher": str(path), "distillation_weight": weight})
        right[weight] = train(pupil, data, given, tmp_path / f"{weight}", SilentProgress()).top1
        ((x, labels),) = loader(data.val, size(data.val), shuffle=False)
        with torch.no_grad():
            turned[weight] = (pupil.eval()(x).argmax(1) == order[labels]).double().mean().item()
    assert turned[1.0] > 0.9 and right[1.0] < 0.1
    assert turned[0.0] < 0.1 and right[0.0] > 0.9


RECIPE: dict[str, object] = {
    "epochs": 3,
    "batch": 256,
    "rate": 0.06,
    "schedule": "exponential",
    "decay_epochs": 0.6,
    "ema": 0.9999,
    "label_smoothing": 0.1,
    "drop_path": 0.2,
    "augment": "policy",
    "crop": 0.9,
    "clip_norm": 5.0,
    "threads": 1,
}


def outcome(out: Path) -> tuple[bytes, list[dict[str, Any]]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return (out / "weights.safetensors").read_bytes(), [{**line, "seconds": 0} for line in lines]


class Killed(BaseException):
    pass


class KillAt(SilentProgress):
    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, text: str = "") -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_killed_runs_of_the_whole_recipe_end_bit_for_bit_alike(
    tmp_path: Path, files: dict[str, Path], student: Path, suffix: str
) -> None:
    options = TrainOptions.model_validate({**RECIPE, "teacher": str(files[suffix])})
    data = digits(options)

    def run(out: str, progress: SilentProgress, resume: bool = False) -> None:
        torch.manual_seed(0)
        train(load_model(student, options.drop_path).module, data, options, tmp_path / out, progress, resume)

    run("whole", SilentProgress())
    expected = outcome(tmp_path / "whole")
    assert all(math.isfinite(line["loss"]) for line in expected[1])
    assert [line["rate"] for line in expected[1]] == pytest.approx([0.06, 0.06 * 0.97**2, 0.06 * 0.97**4])
    for place in (2, 7, 11):
        with pytest.raises(Killed):
            run(f"cut{place}", KillAt(place))
        run(f"cut{place}", SilentProgress(), resume=True)
        assert outcome(tmp_path / f"cut{place}") == expected


def test_a_resumed_run_keeps_its_teacher(tmp_path: Path, files: dict[str, Path]) -> None:
    data = load_data("synthetic:64", input_shape=(1, 8, 8), classes=10)

    def run(teacher: Path | None, epochs: int) -> None:
        options = TrainOptions(epochs=epochs, batch=32, teacher=teacher and str(teacher))
        train(small(), data, options, tmp_path / "run", SilentProgress(), resume=True)

    run(files["onnx"], 1)
    for other in (None, files["pt2"]):
        with pytest.raises(NascError, match=r"other settings: teacher .*small\.onnx"):
            run(other, 2)
    moved = tmp_path / "moved.onnx"
    moved.write_bytes(files["onnx"].read_bytes())
    run(moved, 2)
    assert checkpoint.load(tmp_path / "run" / "checkpoint.pt", "train", 2)["epoch"] == 2


def test_the_command_line(tmp_path: Path, files: dict[str, Path], student: Path) -> None:
    def nasc(*arguments: object) -> Any:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    out = tmp_path / "run"
    recipe = "--schedule exponential --decay-rate 0.97 --decay-epochs 2.4 --ema 0.9999 --drop-path 0.2 --augment policy"
    done = nasc(
        *("train", student, "--data", "digits", "--epochs", 1, "--batch", 256, "--rate", 0.06, *recipe.split()),
        *("--magnitude", 9, "--deviation", 0.5, "--crop", 0.904, "--clip-norm", 5, "--class-fraction", 0.5),
        *("--teacher", files["onnx"], "--distillation-weight", 0.7, "--temperature", 2, "--out", out, "--threads", 1),
        *("--format", "json"),
    )
    assert done.exit_code == 0, done.output
    options = json.loads((out / "result.json").read_text())["options"]
    wanted = {"schedule": "exponential", "ema": 0.9999, "drop_path": 0.2, "augment": "policy", "crop": 0.904}
    wanted |= {"distillation_weight": 0.7, "temperature": 2.0, "teacher": str(files["onnx"]), "class_fraction": 0.5}
    assert {name: options[name] for name in wanted} == wanted
    weights = out / "weights.safetensors"
    same = ("--data", "digits", "--crop", 0.904, "--class-fraction", 0.5, "--format", "json")
    measured = nasc("eval", out / "network.nas", "--weights", weights, *same)
    assert measured.exit_code == 0, measured.output
    assert json.loads(measured.stdout)["top1"] == pytest.approx(json.loads(done.stdout)["top1"])
    wrong = nasc("train", student, "--data", "digits", "--teacher", "none.onnx", "--out", tmp_path / "other")
    assert wrong.exit_code == 1 and "cannot read the teacher none.onnx" in wrong.output
    assert "--schedule exponential --decay-rate 0.97 --decay-epochs 2.4" in nasc("train", "--help").output
