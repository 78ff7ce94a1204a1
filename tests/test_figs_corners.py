"""Small spaces that broke masks once: what is kept of each is the network that its text describes, or it is refused."""

from __future__ import annotations

import pytest
import torch

from nasc.compiler.cost import cost_of
from nasc.compiler.expected import kept_cost
from nasc.compiler.masked_member import keep
from nasc.compiler.methods.refused import Refused
from nasc.compiler.network import network_of
from tests.masked import fixed, model_with, probabilities, relaxed, supernet_of, written
from tests.spaces import in_space, space_of

HEAD = "head global_pool | linear"
STEM = "stage s conv { kernel 3 } -> 8"
PLAIN = "block plain(kernel, mid) -> filters { in | conv2d(kernel) -> mid | bn | relu | conv2d(1) -> filters | bn }"
TOKENS = """nas 1
space t {
  input image 3 x 16 x 16
  output classes 3
  stage p patch_embed { patch 4 } -> 4 .. 8 step 2
  stage c class_token
  stage q position
  stage b inner { hidden 4 .. 16 step 4 }
  head first_token | linear
}
block inner(hidden) { in | mlp(hidden = hidden) | residual }
"""


def space(stage: str, block: str = "") -> str:
    """A small space with one stage behind its stem."""
    return in_space(f"{STEM}\n stage {stage}\n {HEAD}") + block


SPACES = {
    "channels from a fixed place": space(
        "a cut { w 4 .. 8 step 4 } -> 8",
        "block cut(w) -> filters { a = in | channels(0, 4)\n b = in | channels(4, 8) | conv2d(3) -> w | bn\n"
        " concat(a, b) | conv2d(1) -> filters }",
    ),
    "a choice among alternatives": space(
        "a one of { all of { conv { kernel 3 } plain { kernel 5 mid 4 .. 8 } } by add plain { kernel 3 mid 4 } } -> 8",
        PLAIN,
    ),
    "alternatives of several steps": space(
        "a one of { conv { kernel 3 } -> 8 | max_pool { kernel 3 }  conv { kernel 5 } -> 8 }"
    ),
    "residuals inside alternatives": space(
        "a wrap { k {3, 5} } -> 8",
        "block wrap(k, body = irb { kernel k  hidden 4 .. 8 }) -> filters { in | relu | body -> filters }",
    ),
    "two residuals": space(
        "a wrap x 2 { k {3, 5} } -> 8",
        "block wrap(k, shortcut = residual) -> filters { in | irb(k, hidden = 8) -> filters | shortcut }",
    ),
    "the input added first": space(
        "a one of { late { k 3 } irb { kernel 3 hidden 4 .. 8 } } x 2 { skip same_shape } -> 8",
        "block late(k) -> filters { p = in | conv2d(k) -> filters | bn\n in | add(p) }",
    ),
    "a width called there": space(
        "a bb -> 8",
        "block tk(there = 4 .. 8 step 4) -> filters { in | conv2d(3) -> filters | bn | squeeze_excite(there) }\n"
        "block bb(ops = any of { tk conv { kernel 3 } } by add) -> filters { in | ops -> filters }",
    ),
    "a stage called masks": space("masks irb x 2 { kernel {3, 5}  hidden 4 .. 8 } -> 8"),
    "a class token": TOKENS,
}


@pytest.mark.parametrize("name", SPACES)
def test_what_is_kept_is_what_is_written(name: str) -> None:
    given = relaxed(SPACES[name])
    supernet = supernet_of(given)
    for seed in range(3):
        kept = keep(given.masks, probabilities(given.masks, seed, gone=0.2 * seed))
        text = written(given, kept)
        network = space_of(text)
        assert cost_of(network).params.min == kept_cost(given.masks, kept.widths, "params"), text
        images = torch.randn(2, *network_of(network).input.layout, dtype=torch.float64)
        with torch.no_grad():
            ours, theirs = fixed(given, supernet, kept)(images), model_with(given, supernet, kept, text)(images)
        assert (ours - theirs).abs().max() <= 1e-8 * ours.abs().max(), text


WHY = {
    "a gate that may be gone": (
        space("a irb { kernel {3, 5}  hidden 4 .. 8  se yes  se_width 0 .. 8 step 4 } -> 8"),
        "may be gone, which is a factor of 1",
    ),
    "a choice in a choice": (
        space("a any of { any of { conv { kernel 3 } conv { kernel 1 } } by add  conv { kernel 5 } } by add -> 8"),
        "has a choice inside",
    ),
    "a shared decision that no channels have": (
        in_space(f"let w = 4 .. 12 step 4\n stage s conv {{ kernel 3 }} -> 2 * w\n {HEAD}"),
        "`w` is no width that channels have",
    ),
    "alternatives of other shapes": (
        space(
            "a one of { all of { conv { kernel 3 } conv { kernel 5 } } by concat  plain { kernel 3 mid 4 } } -> 8",
            PLAIN,
        ),
        "different shapes",
    ),
    "a shortcut that is none": (
        space(
            "a wrap { k {3, 5} } -> 8",
            "block wrap(k, shortcut = 3) -> filters { in | conv2d(k) -> filters | bn | max_pool(shortcut) | residual }",
        ),
        "must be added once",
    ),
}


@pytest.mark.parametrize("name", WHY)
def test_what_is_refused(name: str) -> None:
    text, why = WHY[name]
    with pytest.raises(Refused, match=why) as caught:
        relaxed(text)
    assert caught.value.help and caught.value.place
