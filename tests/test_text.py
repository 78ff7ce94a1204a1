"""Text as data, and training a small language model on it through the command line."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasc.cli import main
from nasc.dsl.diagnostics import NascError
from nasc.runtime.data import load_data
from nasc.runtime.data_loader import loader
from nasc.runtime.data_splits import DataSplits
from nasc.runtime.data_text import TextWindows
from nasc.runtime.evaluate import evaluate, mean_cross_entropy, require_labels, right_answers

torch.set_num_threads(1)
SENTENCE = b"the quick brown fox jumps over the lazy dog. "
TINY = """nas 1
network tiny {
  input  tokens 16
  output tokens 128
  stage words   embedding    { vocabulary 128 }  -> 32
  stage places  position
  stage body    transformer  { heads 2  expand 2  causal yes }
  head          layer_norm | linear(bias = no)
}
"""


def text(spec: str, root: Path, tokens: int = 8, vocabulary: int = 256, **options: Any) -> DataSplits:
    return load_data(spec, input_shape=(tokens,), classes=vocabulary, root=root, **options)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_bytes(SENTENCE * 40)
    return tmp_path


# ------------------------------------------------------------------------------------------------ sequences


@settings(deadline=None)
@given(length=st.integers(4, 60), tokens=st.integers(1, 20), seed=st.integers(0, 5), epoch=st.integers(0, 5))
def test_each_number_is_followed_by_the_one_after_it(length: int, tokens: int, seed: int, epoch: int) -> None:
    if length < tokens + 2:
        return
    windows = TextWindows(torch.arange(length, dtype=torch.uint8), tokens)
    for found in (windows, windows.drawn(seed, epoch)):
        assert len(found) == (length - 1) // tokens
        sequences, following = found.batch(torch.arange(len(found)))
        assert sequences.dtype == following.dtype == torch.int64 and sequences.shape == (len(found), tokens)
        assert torch.equal(following, sequences + 1) and int(following.max()) < length
    whole = windows.batch(torch.arange(len(windows)))[0].flatten()
    assert len(set(whole.tolist())) == len(whole), "unshifted, no token is read twice"


def test_epochs_cut_the_text_at_other_places_which_the_seed_decides() -> None:
    windows = TextWindows(torch.arange(200, dtype=torch.uint8), 16)
    first = {windows.drawn(0, epoch).first for epoch in range(20)}
    assert len(first) > 5 and first <= set(range(16))
    assert [windows.drawn(1, e).first for e in range(9)] == [windows.drawn(1, e).first for e in range(9)]
    batches = [x for x, _ in loader(windows, 4, shuffle=True, seed=0, epoch=0)]
    again = [x for x, _ in loader(windows, 4, shuffle=True, seed=0, epoch=0)]
    other = [x for x, _ in loader(windows, 4, shuffle=True, seed=0, epoch=1)]
    assert all(map(torch.equal, batches, again)) and not all(map(torch.equal, batches, other))


def test_the_end_of_a_text_is_for_validation(corpus: Path) -> None:
    data = text("text:a.txt", corpus)
    assert (data.name, data.classes, data.input_shape, data.test) == ("text:a.txt", 256, (8,), None)
    whole = SENTENCE * 40
    assert bytes(data.train.numbers.tolist()) == whole[:1620]  # type: ignore[attr-defined]
    assert bytes(data.val.numbers.tolist()) == whole[1620:]  # type: ignore[attr-defined]


def test_a_folder_is_one_text_or_has_parts_of_its_own(corpus: Path) -> None:
    (corpus / "deeper").mkdir()
    (corpus / "deeper" / "b.txt").write_bytes(b"x" * 200)
    whole = text(f"text:{corpus}", Path("/"))
    assert len(whole.train.numbers) + len(whole.val.numbers) == 2000  # type: ignore[attr-defined]
    for part, count in (("train", 100), ("val", 50), ("test", 30)):
        np.save(corpus / f"{part}.npy", np.arange(count, dtype=np.uint16) + 1000)
    parts = text("text:.", corpus, vocabulary=1100)
    assert parts.test is not None
    assert [len(p.numbers) for p in (parts.train, parts.val, parts.test)] == [100, 50, 30]  # type: ignore[attr-defined]
    assert int(parts.train[0][1][-1]) == 1008


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"", "a.txt", "0 tokens are too few for train"),
        (b"abc", "a.txt", "are too few"),
        (b"\xff" * 400, "a.txt", "has the token 255, the network only 200"),
        (b"no numpy", "a.npy", "no readable .npy file"),
        (np.zeros((20, 20), np.uint16), "a.npy", "one row of uint8 or uint16"),
        (np.zeros(400, np.float32), "a.npy", "one row of uint8 or uint16"),
        (np.array([{}] * 400), "a.npy", "no readable .npy file"),
    ],
)
def test_what_is_no_text_is_refused(content: Any, name: str, words: str, tmp_path: Path) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        np.save(tmp_path / name, content, allow_pickle=True)
    with pytest.raises(NascError, match=words):
        text(f"text:{name}", tmp_path, vocabulary=200)


def test_data_of_another_kind_is_refused(corpus: Path) -> None:
    for spec, words in (
        ("text:none", "cannot be read: No such file"),
        ("digits", "reads token numbers, which `digits` has not"),
        ("text:", "reads token numbers"),
    ):
        with pytest.raises(NascError, match=words):
            text(spec, corpus)
    with pytest.raises(NascError, match=r"has no \.txt files"):
        (corpus / "empty").mkdir()
        text("text:empty", corpus)
    with pytest.raises(NascError, match=r"looks at images, which `text:a\.txt` has not"):
        load_data("text:a.txt", input_shape=(1, 8, 8), classes=10, root=corpus)
    for options, words in (({"class_fraction": 0.5}, "no classes"), ({"crop": 0.9}, "cropped")):
        with pytest.raises(NascError, match=words):
            text("text:a.txt", corpus, **options)


# ------------------------------------------------------------------------------------------------ scores


def test_scores_of_sequences_are_those_of_their_tokens() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 7), torch.randint(0, 7, (3, 5))
    chances = torch.log_softmax(logits, -1)
    rows = [(b, i) for b in range(3) for i in range(5)]
    expected = -sum(float(chances[b, i, labels[b, i]]) for b, i in rows) / 15
    assert float(mean_cross_entropy(logits, labels)) == pytest.approx(expected, rel=1e-5)
    hits = sum(int(logits[b, i].argmax()) == int(labels[b, i]) for b, i in rows)
    assert float(right_answers(logits, labels)) == pytest.approx(3 * hits / 15)

    class Given(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return logits[x[:, 0]]

    data = torch.utils.data.TensorDataset(torch.arange(3)[:, None].expand(3, 5), labels)
    for batch in (1, 2, 3):
        scores = evaluate(Given(), data, batch)
        assert (scores.top1, scores.count) == (pytest.approx(hits / 15), 3)
        assert scores.loss == pytest.approx(expected, rel=1e-5)
        assert scores.perplexity == pytest.approx(math.exp(expected), rel=1e-5)


def test_logits_that_do_not_suit_the_tokens_are_refused() -> None:
    labels = torch.zeros(2, 5, dtype=torch.int64)
    with pytest.raises(NascError, match=r"gives 2×5×classes numbers for a batch, not \(2, 7\)"):
        require_labels(torch.zeros(2, 7), labels)
    with pytest.raises(NascError, match="the label 9, the network only 7"):
        require_labels(torch.zeros(2, 5, 7), labels + 9)


# ------------------------------------------------------------------------------------------------ from end to end


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == 0, done.stderr
    return str(done.stdout)


def trained(corpus: Path, out: str, *options: str) -> Path:
    (corpus / "tiny.nas").write_text(TINY, encoding="utf-8")
    common = ["--data", f"text:{corpus / 'a.txt'}", "--batch", "16", "--optimizer", "adamw", "--rate", "0.01"]
    run("train", str(corpus / "tiny.nas"), *common, "--ema", "0", "--out", str(corpus / out), *options)
    return corpus / out


def test_a_language_model_learns_a_sentence_and_is_evaluated(corpus: Path) -> None:
    """A single sentence again and again: next to nothing is left to guess, where 27 kinds of letters have 3.3 nats."""
    out = trained(corpus, "run", "--epochs", "25")
    result = json.loads((out / "result.json").read_text())
    assert result["top1"] > 0.85 and result["loss"] < 0.6
    assert result["perplexity"] == pytest.approx(math.exp(result["loss"]))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["val_perplexity"] < lines[0]["val_perplexity"] < 128
    given = ["--weights", str(out / "weights.safetensors"), "--data", f"text:{corpus / 'a.txt'}"]
    shown = run("eval", str(corpus / "tiny.nas"), *given)
    found = re.fullmatch(r"accuracy ([\d.]+)%, top 5 .*, loss ([\d.]+), perplexity ([\d.]+) on 11 sequences\n", shown)
    assert found is not None, shown
    assert float(found[1]) == pytest.approx(100 * result["top1"], abs=0.01)
    assert json.loads(run("eval", str(corpus / "tiny.nas"), *given, "--format", "json"))["count"] == 11


def test_a_run_that_is_resumed_ends_bit_for_bit_as_one_that_was_not(corpus: Path) -> None:
    whole, parts = trained(corpus, "whole", "--epochs", "3"), trained(corpus, "parts", "--epochs", "3")
    assert (whole / "weights.safetensors").read_bytes() == (parts / "weights.safetensors").read_bytes()
    longer = trained(corpus, "longer", "--epochs", "5", "--schedule", "exponential")
    begun = trained(corpus, "begun", "--epochs", "2", "--schedule", "exponential")
    (begun / "result.json").unlink()
    resumed = trained(corpus, "begun", "--epochs", "5", "--schedule", "exponential", "--resume")
    assert (longer / "weights.safetensors").read_bytes() == (resumed / "weights.safetensors").read_bytes()


def test_a_teacher_of_images_is_refused(corpus: Path) -> None:
    (corpus / "tiny.nas").write_text(TINY, encoding="utf-8")
    arguments = ["train", str(corpus / "tiny.nas"), "--data", f"text:{corpus / 'a.txt'}", "--out", str(corpus / "out")]
    done = CliRunner().invoke(main, [*arguments, "--teacher", "some.onnx"])
    assert done.exit_code == 1 and "a teacher looks at images" in done.stderr


def test_a_search_on_text_starts_from_its_seed_alone(corpus: Path) -> None:
    """Two searches of one epoch, positions and embeddings included, whatever was drawn before."""
    (corpus / "space.nas").write_text(TINY.replace("network", "space").replace("expand 2", "hidden {16, 32}"))
    (corpus / "space.nas").write_text((corpus / "space.nas").read_text() + "\nsearch fbnet { epochs 1  warmup 0 }\n")
    run("compile", str(corpus / "space.nas"), "--out", str(corpus / "built"))
    found = []
    for name in ("one", "other"):
        torch.rand(len(name))
        given = ["--data", f"text:{corpus / 'a.txt'}", "--cost", "macs", "--batch", "16", "--out", str(corpus / name)]
        run("search", str(corpus / "built"), *given)
        found.append((corpus / name / "best.safetensors").read_bytes())
    assert found[0] == found[1]
    assert run("count", str(corpus / "one" / "best.nas")) == "1\n"
