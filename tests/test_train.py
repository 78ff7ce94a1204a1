"""Training: it learns, and a killed run goes on as if nothing had happened."""

import itertools
import json
import math
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from nasc.dsl.diagnostics import NascError
from nasc.runtime import checkpoint, progress
from nasc.runtime.data import DataSplits, load_data
from nasc.runtime.ema import average_of
from nasc.runtime.evaluate import evaluate
from nasc.runtime.metrics import append_metrics, read_metrics, rewind_metrics
from nasc.runtime.optimizers import make_optimizer, rate_at
from nasc.runtime.progress import SilentProgress
from nasc.runtime.train import KIND, VERSION, TrainResult, train
from nasc.runtime.train_options import TrainOptions, pick_device


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(width: int = 16, classes: int = 10) -> nn.Module:
    """Dropout makes it depend on the global random state, BatchNorm on the order of the steps."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, 1, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(2 * width, classes),
    )


class Killed(BaseException):
    """What no `except Exception` stops, as little as it stops a kill."""


class KillAt(SilentProgress):
    """Ends the run after so many steps, in the middle of whatever it is doing."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, text: str = "") -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def digits() -> DataSplits:
    return load_data("digits", input_shape=(1, 8, 8), classes=10)


def synthetic() -> DataSplits:
    return load_data("synthetic:64", input_shape=(1, 6, 6), classes=10)


def run(out: Path, data: DataSplits, shown: progress.Progress | None = None, **options: object) -> TrainResult:
    resume = bool(options.pop("resume", False))
    return train(network(4), data, TrainOptions.model_validate(options), out, shown or SilentProgress(), resume)


def outcome(out: Path) -> tuple[bytes, list[dict[str, object]], dict[str, object]]:
    """All that a run leaves, but for the time that it took."""
    metrics = [{k: v for k, v in record.items() if k != "seconds"} for record in read_metrics(out / "metrics.jsonl")]
    result = json.loads((out / "result.json").read_text())
    del result["seconds"]
    return (out / "weights.safetensors").read_bytes(), metrics, result


def saved(out: Path) -> dict[str, Any]:
    return checkpoint.load(out / "checkpoint.pt", KIND, VERSION)


# Learning


def test_digits_are_learned(tmp_path: Path) -> None:
    model, data = network(), digits()
    result = train(model, data, TrainOptions(epochs=12, batch=32, threads=1), tmp_path, SilentProgress())
    assert result.top1 > 0.9 and result.test_top1 is not None and result.test_top1 > 0.9
    again = network()
    checkpoint.restore_weights(again, checkpoint.load_weights(tmp_path / "weights.safetensors"), "weights")
    for one in (model, again):
        assert evaluate(one, data.val).top1 == result.top1
        assert evaluate(one, data.test).top1 == result.test_top1  # type: ignore[arg-type]
    written = json.loads((tmp_path / "result.json").read_text())
    assert (written["top1"], written["epochs"], written["options"]["batch"]) == (result.top1, 12, 32)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [record["epoch"] for record in records] == list(range(12))
    assert records[-1]["loss"] < records[0]["loss"] and records[-1]["val_top1"] == result.top1


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "rmsprop", "rate": 0.005},
        {"optimizer": "adamw", "rate": 0.01},
        {"ema": None},
        {"momentum": 0.0},
        {"schedule": "exponential", "clip_norm": 1.0},
    ],
)
def test_other_settings_learn_too(tmp_path: Path, options: dict[str, object]) -> None:
    data = load_data("synthetic:256", input_shape=(1, 8, 8), classes=4)
    result = train(network(8, 4), data, TrainOptions(epochs=4, batch=16, **options), tmp_path, SilentProgress())
    assert result.top1 > 0.9 and result.top5 is None and result.test_top1 is None


def test_the_callers_surroundings_are_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model, before = network(4), torch.get_rng_state()
    train(model, synthetic(), TrainOptions(epochs=1, threads=2), tmp_path, SilentProgress())
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == 1


# Interruption


@pytest.mark.parametrize("options", [{"optimizer": "sgd"}, {"optimizer": "rmsprop", "rate": 0.01}, {"ema": None}])
def test_killed_and_resumed_runs_end_bit_for_bit_alike(tmp_path: Path, options: dict[str, object]) -> None:
    data = digits()
    options = {"epochs": 3, "batch": 128, "label_smoothing": 0.1, **options}
    run(tmp_path / "whole", data, **options)
    expected = outcome(tmp_path / "whole")
    for place in random.Random(0).sample(range(27), 4):
        out = tmp_path / str(place)
        with pytest.raises(Killed):
            run(out, data, KillAt(place), **options)
        run(out, data, resume=True, **options)
        assert outcome(out) == expected, f"killed at step {place}"


def test_a_run_killed_between_log_and_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = synthetic()
    run(tmp_path / "whole", data, epochs=3)

    def killed(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", killed)
        with pytest.raises(Killed):
            run(tmp_path / "cut", data, epochs=3)
    run(tmp_path / "cut", data, epochs=3, resume=True)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


CHILD = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import test_train
from pathlib import Path

class Kill(test_train.KillAt):
    def advance(self, text=""):
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

test_train.torch.set_num_threads(1)
test_train.run(Path({out!r}), test_train.synthetic(), Kill(9), epochs=4, batch=16)
"""


def test_a_process_killed_by_the_system(tmp_path: Path) -> None:
    run(tmp_path / "whole", synthetic(), epochs=4, batch=16)
    script = CHILD.format(folder=str(Path(__file__).parent), out=str(tmp_path / "cut"))
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    run(tmp_path / "cut", synthetic(), epochs=4, batch=16, resume=True)
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_resuming_a_finished_run_trains_no_further(tmp_path: Path) -> None:
    run(tmp_path, synthetic(), epochs=2)
    before = outcome(tmp_path)
    run(tmp_path, synthetic(), KillAt(0), epochs=2, resume=True)
    assert outcome(tmp_path) == before


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run(tmp_path, synthetic(), epochs=1)
    before = outcome(tmp_path)
    with pytest.raises(NascError, match="already holds a training run") as caught:
        run(tmp_path, synthetic(), epochs=1)
    assert "--resume" in (caught.value.help or "") and outcome(tmp_path) == before


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"optimizer": "adamw"}, {"ema": None}, {"drop_path": 0.1}, {"crop": 0.9}]
)
def test_settings_that_a_resumed_run_cannot_change(tmp_path: Path, changed: dict[str, object]) -> None:
    run(tmp_path, synthetic(), epochs=1)
    with pytest.raises(NascError, match=f"other settings: {next(iter(changed))}"):
        run(tmp_path, synthetic(), resume=True, **{"epochs": 2, **changed})
    with pytest.raises(NascError, match="other settings: data synthetic"):
        run(tmp_path, digits(), epochs=2, resume=True)


def test_a_resumed_run_may_go_on_at_another_rate(tmp_path: Path) -> None:
    run(tmp_path, synthetic(), epochs=1, weight_decay=0.0)
    run(tmp_path, synthetic(), epochs=3, rate=0.003, weight_decay=0.1, resume=True)
    rates = [record["rate"] for record in read_metrics(tmp_path / "metrics.jsonl")]
    assert rates[0] == 0.1 and rates[1] == 0.003 and 0 < rates[2] < 0.003
    groups = saved(tmp_path)["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]


def test_checkpoints_of_other_networks_and_other_makers(tmp_path: Path) -> None:
    run(tmp_path, synthetic(), epochs=1)
    with pytest.raises(NascError, match="does not fit this network"):
        train(network(8), synthetic(), TrainOptions(epochs=2), tmp_path, SilentProgress(), resume=True)
    path = tmp_path / "checkpoint.pt"
    whole = saved(tmp_path)
    for name, value in (("optimizer", {"state": {}}), ("average", None), ("epoch", "two"), ("options", {})):
        checkpoint.save(path, {**whole, name: value}, KIND, VERSION)
        with pytest.raises(NascError, match="is not one of this training run"):
            run(tmp_path, synthetic(), epochs=2, resume=True)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(NascError, match="is damaged"):
        run(tmp_path, synthetic(), epochs=2, resume=True)


# Mishaps


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, synthetic(), epochs=1, batch=16)
    before = saved(tmp_path)["model"]
    with pytest.raises(NascError, match=r"became (nan|inf) in epoch 2.*checkpoint of epoch 1 is kept") as caught:
        run(tmp_path, synthetic(), epochs=4, batch=16, rate=1e30, warmup_epochs=0, resume=True)
    assert "lower the rate (now 1e+30)" in (caught.value.help or "")
    after = saved(tmp_path)["model"]
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert run(tmp_path, synthetic(), epochs=2, batch=16, rate=0.01, resume=True).epochs == 2


def test_weights_ruined_by_an_epochs_last_step_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(NascError, match=r"the validation loss became nan in epoch 1"):
        run(tmp_path, synthetic(), epochs=2, rate=1e38, weight_decay=1e30, warmup_epochs=0)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_an_unreadable_image_loses_no_epoch(tmp_path: Path) -> None:
    class Fragile(Dataset[tuple[torch.Tensor, int]]):
        broken = False

        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            if self.broken:
                raise NascError("cannot read the image")
            return torch.zeros(1, 6, 6), index

    images, plain = Fragile(), synthetic()
    data = DataSplits("own", 10, (1, 6, 6), (0.0,), (1.0,), images, plain.val)
    run(tmp_path, data, epochs=1)
    images.broken = True
    with pytest.raises(NascError, match="cannot read the image"):
        run(tmp_path, data, epochs=2, resume=True)
    images.broken = False
    assert run(tmp_path, data, epochs=2, resume=True).epochs == 2


def test_a_network_with_too_few_classes(tmp_path: Path) -> None:
    with pytest.raises(NascError, match=r"label \d, the network only 3 classes"):
        train(network(4, 3), synthetic(), TrainOptions(epochs=1), tmp_path, SilentProgress())
    with pytest.raises(NascError, match="classes numbers for a batch"):
        train(network(4)[:-3], synthetic(), TrainOptions(epochs=1), tmp_path, SilentProgress())  # type: ignore[index]
    with pytest.raises(NascError, match="no weights to train"):
        train(nn.Flatten(), synthetic(), TrainOptions(epochs=1), tmp_path, SilentProgress())


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", ""])
def test_devices_that_are_not_there(name: str) -> None:
    with pytest.raises(NascError, match="device"):
        pick_device(name)


@pytest.mark.parametrize("options", [{"epochs": 0}, {"rate": math.nan}, {"ema": 1.0}, {"epoch": 3}, {"momentum": 1}])
def test_options_out_of_range(options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        TrainOptions.model_validate(options)


# The parts


def test_scores_against_numpy() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(33, 8)), rng.integers(0, 8, 33)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9))
    images = TensorDataset(torch.tensor(logits, dtype=torch.float32)[:, :, None, None], torch.tensor(labels))
    result = evaluate(model.train(), images, batch=10)
    ranks = (-logits).argsort(1)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(33), labels]
    assert result.count == 33 and model.training
    assert result.top1 == pytest.approx((ranks[:, 0] == labels).mean())
    assert result.top5 == pytest.approx((ranks[:, :5] == labels[:, None]).any(1).mean())
    assert result.loss == pytest.approx(losses.mean(), rel=1e-5)


def test_no_images_to_evaluate_on() -> None:
    with pytest.raises(NascError, match="no images"):
        evaluate(nn.Flatten(), TensorDataset(torch.zeros(0, 2), torch.zeros(0)))


def test_averages_by_hand() -> None:
    model = nn.BatchNorm1d(1)
    average = average_of(model, 0.3)
    values, expected = [2.0, 5.0, 1.0, 4.0], None
    for n, value in enumerate(values):
        with torch.no_grad():
            model.weight.fill_(value)
            model.running_mean.fill_(10 * value)  # type: ignore[union-attr]
            model.num_batches_tracked.fill_(n)  # type: ignore[union-attr]
        average.update_parameters(model)
        decay = min(0.3, (1 + n) / (10 + n))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected)
        assert average.module.running_mean.item() == pytest.approx(10 * expected)
        assert average.module.num_batches_tracked.item() == n


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adamw"])
def test_weight_decay_spares_biases_and_norms(optimizer: str) -> None:
    model = network(4)
    made = make_optimizer(model, TrainOptions(optimizer=optimizer, rate=0.5, weight_decay=0.1, momentum=0.0))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    made.step()
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {"0.weight", "3.weight", "9.weight"}


def test_rates_rise_and_fall() -> None:
    cosine = TrainOptions(epochs=4, warmup_epochs=1, rate=0.4)
    rates = [rate_at(step, 5, cosine) for step in range(20)]
    assert rates[:5] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    assert rates[5] == 0.4 and rates[19] < 0.01
    assert rates[5 + 5] == pytest.approx(0.4 * (1 + math.cos(math.pi / 3)) / 2)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[5:]))
    for warmup in (1, 0):
        assert rate_at(0, 1, TrainOptions(epochs=1, warmup_epochs=warmup, rate=0.4)) == 0.4


def test_rates_fall_by_steps() -> None:
    """PruNet, A.2.2: 0.06, times 0.97 every 2.4 epochs, for 450 epochs."""
    options = TrainOptions(epochs=450, rate=0.06, warmup_epochs=0, schedule="exponential")
    rates = [rate_at(step, 10, options) for step in range(4500)]
    # 2.4 epochs are 24 steps of these.
    assert rates == pytest.approx([0.06 * 0.97 ** (step // 24) for step in range(4500)])
    assert len(set(rates)) == 188 and rates[23] == 0.06 > rates[24] == pytest.approx(0.0582)
    assert rates[-1] == pytest.approx(0.06 * 0.97**187)
    warm = options.model_copy(update={"warmup_epochs": 3.0})
    assert [rate_at(step, 10, warm) for step in (0, 14, 29)] == pytest.approx([0.002, 0.03, 0.06])
    assert [rate_at(step, 10, warm) for step in range(30, 4500)] == rates[30:]
    slower = options.model_copy(update={"decay_rate": 0.5, "decay_epochs": 0.05})
    assert [rate_at(step, 10, slower) for step in range(3)] == pytest.approx([0.06, 0.015, 0.00375])


def test_the_gradient_is_clipped(tmp_path: Path) -> None:
    """Plain SGD at rate 1: the weights move by no more than the largest norm in a step."""
    options = {"epochs": 1, "batch": 32, "rate": 1.0, "momentum": 0.0, "weight_decay": 0.0, "warmup_epochs": 0}
    moved = {}
    for norm in (0.01, None):
        model = network(4)
        before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        data = load_data("synthetic:32", input_shape=(1, 6, 6), classes=10)
        given = TrainOptions.model_validate({**options, "ema": None, "clip_norm": norm})
        assert len(data.train) == 32  # type: ignore[arg-type]
        train(model, data, given, tmp_path / str(norm), SilentProgress())
        moved[norm] = float((nn.utils.parameters_to_vector(model.parameters()).detach() - before).norm())
    assert moved[0.01] == pytest.approx(0.01, rel=1e-3) and moved[None] > 0.1


def test_metrics_survive_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for epoch in range(3):
        append_metrics(path, {"epoch": epoch, "loss": math.nan if epoch else 0.5})
    path.write_bytes(path.read_bytes() + b'{"epoch": 3, "lo')
    assert read_metrics(path) == [{"epoch": 0, "loss": 0.5}, {"epoch": 1, "loss": None}, {"epoch": 2, "loss": None}]
    rewind_metrics(path, 2)
    append_metrics(path, {"epoch": 2})
    assert [record["epoch"] for record in read_metrics(path)] == [0, 1, 2]


def test_progress_keeps_standard_output_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    for shown in (progress.PlainProgress(), progress.LiveProgress()):
        shown.line("before all")  # as a comparison says what comes next
        run(tmp_path / type(shown).__name__, synthetic(), shown, epochs=2, batch=16)
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "epoch 2/2  loss" in printed.err and "left" in printed.err
        assert "8/8" in printed.err and "before all" in printed.err


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59.4, "59s"), (59.6, "1m00s"), (3725, "1h02m")])
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text
