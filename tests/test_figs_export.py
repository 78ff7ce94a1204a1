"""What is kept: whatever the probabilities, the written network computes what the SuperNet does with fixed masks."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor, nn

from nasc.compiler.contains import contains
from nasc.compiler.count import count_members
from nasc.compiler.masked_member import Kept, keep, kept_widths
from nasc.compiler.masked_weights import gathered, kept_channels
from nasc.compiler.methods.refused import Refused
from nasc.compiler.network import network_of
from nasc.compiler.segments import Taken
from nasc.dsl.diagnostics import NascError
from nasc.dsl.format import format_text
from nasc.runtime.masks import MaskBank, masking_modules, with_masks
from nasc.runtime.masks_state import gathered_state
from tests.masked import (
    REFUSED,
    Relaxed,
    fixed,
    model_with,
    probabilities,
    relaxed,
    shipped,
    supernet_of,
    written,
)
from tests.spaces import SPACES, in_space, module_of, space_of

LIKE_GPUNET1 = {"gpunet1_product", "gpunet1_table1"}
SEARCHED = [path.stem for path in SPACES if path.stem not in {*REFUSED, *LIKE_GPUNET1, "detection"}]
"""The spaces that can be searched (`detection` has no labels), one of the three readings of GPUNet-1."""
SMALL = {"digits"}
SIDE = 32


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def images(given: Relaxed) -> Tensor:
    channels, height, width = given.masks.fullest.network.input.layout
    size = (2, int(channels), min(int(height), SIDE), min(int(width), SIDE))  # type: ignore[arg-type]
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def compare(given: Relaxed, supernet: nn.Module, kept: Kept) -> str:
    """The outputs of both, to rounding; the written text.

    Statistics are first made those of the images, else nothing of them would reach the outputs of a deep network.
    """
    x = images(given)
    fixed(given, supernet, kept).train()
    for module in supernet.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    text = written(given, kept)
    with torch.no_grad():
        supernet(x)
        one, other = supernet.eval()(x), model_with(given, supernet, kept, text)(x)
    assert (one[0] - one[1]).abs().max() > 1e-3 * one.abs().max(), "the outputs do not depend on the images"
    torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9 * float(one.abs().max()))
    return text


# ------------------------------------------------------------------------------------------------ every space


@pytest.mark.parametrize("name", SEARCHED)
def test_the_written_network_computes_what_the_supernet_does(name: str) -> None:
    """With all operators, with some, and with as few as can be; the text is a network as nasc writes it."""
    given = shipped(name)
    supernet = supernet_of(given)
    for gone in (0.0, 0.5, 1.0) if name in SMALL else (0.4,):
        kept = keep(given.masks, probabilities(given.masks, 1, gone))
        text = compare(given, supernet, kept)
        assert format_text(text) == text
        assert module_of(text).space is not None and "network " in text
        assert count_members(space_of(text)) == 1


@pytest.mark.parametrize("name", ["digits", "fashion"])
@pytest.mark.parametrize("seed", range(1))
def test_random_probabilities(name: str, seed: int) -> None:
    given = shipped(name)
    for gone in (0.0, 0.3, 0.8):
        compare(given, supernet_of(given, seed), keep(given.masks, probabilities(given.masks, seed, gone)))


@pytest.mark.parametrize("name", ["digits", "fashion", "fbnet", "fbnet_paper", "figs_resnet50"])
def test_one_operator_a_layer_is_a_member_of_the_space(name: str) -> None:
    """Where one operator of each layer is kept, nothing is left that the space does not have."""
    given = shipped(name)
    draw = random.Random(4)
    found = probabilities(given.masks, 4)
    for layer in given.masks.fullest.layers:
        stays = draw.choice(layer.operators) if layer.operators else None
        for operator in layer.operators:
            for each in operator.opens:
                if operator is not stays and 0 in each.widths:
                    found[each.name] = [0.0] * each.widths[-1]
                elif 0 in each.widths:
                    found[each.name] = [1.0] * each.widths[-1]
    kept = keep(given.masks, found)
    text = written(given, kept)
    assert "all of" not in text
    assert contains(given.space, space_of(text)).yes is True


# ------------------------------------------------------------------------------------------------ what stays


def test_widths_are_floors_on_the_grid_and_the_most_probable_stay() -> None:
    """Against a direct reading: of the allowed widths the largest up to the floor of the sum, of channels the best."""
    given = shipped("digits")
    for seed in range(30):
        found = probabilities(given.masks, seed, gone=0.2)
        kept = keep(given.masks, found)
        for name, each in given.masks.opens.items():
            most = math.floor(sum(found[name]))
            allowed = [w for w in each.widths if w <= most]
            if allowed and max(allowed) > 0:
                assert kept.widths[name] == max(allowed)
            kept_ones = kept.ranked[name][: kept.widths[name]]
            left_out = kept.ranked[name][kept.widths[name] :]
            assert sorted(kept.ranked[name]) == list(range(each.widths[-1]))
            if kept_ones and left_out:
                assert min(found[name][i] for i in kept_ones) >= max(found[name][i] for i in left_out)


STAIRS = in_space("stage s irb { kernel 3  hidden 8 .. 40 step 8  shortcut identity } -> 4\n head global_pool | linear")


@pytest.mark.parametrize(
    ("sums", "width"),
    [(40.0, 40), (39.99, 32), (24.0, 24), (23.999, 16), (16.0, 16), (15.9, 8), (8.0, 8), (7.9, 8), (0.0, 8)],
)
def test_a_sum_of_probabilities_as_a_width(sums: float, width: int) -> None:
    """Down to the grid; what has to be there keeps its smallest width."""
    masks = relaxed(STAIRS).masks
    (name,) = masks.opens
    assert keep(masks, {name: [sums / 40] * 40}).widths[name] == width


def test_kept_channels_are_the_most_probable_in_the_networks_order() -> None:
    given = relaxed(STAIRS)
    (name,) = given.masks.opens
    best = [3, 7, 11, 12, 20, 21, 38, 39]
    kept = keep(given.masks, {name: [0.9 if i in best else 0.1 for i in range(40)]})
    channels = kept_channels(given.masks, kept)
    hidden = {tuple(c) for (layer, _), c in channels.items() if layer == "s.1" and len(c) == 8}
    assert hidden == {tuple(best)}
    supernet = supernet_of(given)
    compare(given, supernet, kept)
    state = gathered_state(supernet, gathered(given.masks, kept, network_of(space_of(written(given, kept)))))
    first = next(k for k, v in state.items() if v.shape == (8, 4, 1, 1))
    same = [k for k, v in supernet.state_dict().items() if v.shape == (40, 4, 1, 1)]
    torch.testing.assert_close(state[first], supernet.state_dict()[same[0]][best])


def test_a_presence_is_rounded() -> None:
    given = relaxed(
        in_space("stage s one of { conv { kernel 3 }  conv { kernel 1 } } -> 4\n head global_pool | linear")
    )
    one, other = given.masks.opens
    for p, q, there in ((0.5, 0.49, (1, 0)), (0.51, 0.9, (1, 1)), (0.2, 0.3, (0, 1)), (0.3, 0.2, (1, 0))):
        kept = keep(given.masks, {one: [p], other: [q]})
        assert (kept.widths[one], kept.widths[other]) == there
        compare(given, supernet_of(given), kept)


# ------------------------------------------------------------------------------------------------ what goes


def two(skip: str) -> Relaxed:
    items = "stage s one of { irb { kernel 3  hidden 8 .. 32 step 8 }  irb { kernel 5  hidden 8 .. 32 step 8 } } -> 4"
    return relaxed(in_space(f"{skip}\n{items}\n head global_pool | linear"))


@pytest.mark.parametrize("skip", ["", "skip same_shape"])
@pytest.mark.parametrize("alive", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_operators_that_go(skip: str, alive: tuple[int, int]) -> None:
    """A layer that the space lets be dropped may lose both; another keeps the more probable at its smallest."""
    given = two(skip)
    names = list(given.masks.opens)
    found = {n: [0.9 if a else 0.02 + 0.001 * i] * 32 for i, (n, a) in enumerate(zip(names, alive, strict=True))}
    kept = keep(given.masks, found)
    text = compare(given, supernet_of(given), kept)
    widths = tuple(kept.widths[n] for n in names)
    if any(alive):
        assert widths == tuple(24 * a for a in alive)
    else:
        assert widths == ((0, 0) if skip else (0, 8))
    assert ("all of" in text) == (sum(alive) == 2)
    assert text.count("shortcut identity") == (sum(alive) == 2)
    assert ("irb" in text) == any(widths)


@pytest.mark.parametrize(
    "order",
    ["irb { kernel 3  hidden 8 .. 32 step 8 }  conv { kernel 3 }", "conv { kernel 3 }  irb { kernel 3  hidden 8 }"],
)
def test_alternatives_of_which_some_add_the_input_are_refused(order: str) -> None:
    """Else it would hang on what is left whether the layer's input is added, and no mask says so."""
    with pytest.raises(NascError, match="some of its alternatives add the layer's input"):
        relaxed(in_space(f"stage s one of {{ {order} }} -> 4\n head global_pool | linear"))


def test_a_residual_of_what_may_be_its_source_alone_is_refused() -> None:
    """A residual of a tensor itself is that tensor; masks would add it twice."""
    twice = """nas 1
block mix(ops = any of { depthwise { kernel 3 }  identity } by add) -> filters { in | ops | residual }
space two {
  input  image 3 x 8 x 8
  output classes 4
  stage stem  conv { kernel 3 }  -> 8
  stage a     mix                -> 8
  head        global_pool | linear
}
"""
    with pytest.raises(Refused, match="hands on what the residual adds"):
        relaxed(twice)
    relaxed(twice.replace("identity }", "avg_pool { kernel 3 } }"))


def test_a_network_that_was_not_kept_is_noticed() -> None:
    given = shipped("digits")
    kept = keep(given.masks, probabilities(given.masks, 0))
    other = keep(given.masks, probabilities(given.masks, 0, gone=1.0))
    network = network_of(space_of(written(given, other)))
    with pytest.raises(NascError, match="not what was kept"):
        gathered(given.masks, kept, network)
    wide = keep(given.masks, {n: [1.0] * each.widths[-1] for n, each in given.masks.opens.items()})
    narrow = keep(given.masks, {n: [0.8] * each.widths[-1] for n, each in given.masks.opens.items()})
    names = gathered(given.masks, wide, network_of(space_of(written(given, narrow))))
    with pytest.raises(NascError, match="what is kept of"):
        gathered_state(supernet_of(given), names)


def test_a_supernet_without_a_tensor_is_noticed() -> None:
    given = relaxed(STAIRS)
    kept = keep(given.masks, probabilities(given.masks, 0))
    names = gathered(given.masks, kept, network_of(space_of(written(given, kept))))
    with pytest.raises(NascError, match="has no tensor"):
        gathered_state(nn.Linear(2, 2), names)


# ------------------------------------------------------------------------------------------------ what is drawn


MIXED = """nas 1
block mix(full, read = 1 .. full,
          ops = any of {
            take                                    -> 1 .. full
            sep_pair   { kernel 3  mid 1 .. full }  -> 1 .. full
            max_pool   { kernel 3 } | take          -> 1 .. full
          } by concat,
          more = any of { identity  avg_pool { kernel 3 }  depthwise { kernel 3 } } by add) -> filters {
  in | conv2d(1) -> read | bn | ops | conv2d(1) -> filters | bn | more
}
space mixed {
  input  image 3 x 8 x 8
  output classes 4

  stage stem  conv { kernel 3 }                                        -> 4 .. 12 step 4
  stage a     mix  { full 9 }                                          -> 4 .. 10
  stage b     irb  { kernel 3  hidden 2 .. 16  se 1  shortcut identity }  -> 12
  stage c     one of { conv { kernel 3 }  conv { kernel 1 } }          -> 12
  head        global_pool | linear
}
"""


@pytest.mark.parametrize("source", [MIXED, "digits", "fashion", "figs_fbnet", "figs_resnet50"])
@pytest.mark.parametrize("seed", range(2))
def test_masks_that_are_drawn_as_kept_compute_the_written_network(source: str, seed: int) -> None:
    """Probabilities of 0 and 1, with every operator there: what the bank draws is what is cut out."""
    given = relaxed(source) if "\n" in source else shipped(source)
    draw = random.Random(seed)
    every = (s for segments in given.masks.masks.values() for s in segments)
    taking = {s.name for s in every if isinstance(s, Taken)}
    bank = MaskBank(given.masks).double()
    for name, each in given.masks.opens.items():
        stay = [40.0] * draw.choice([w for w in each.widths if w])
        logits = stay + [-40.0] * (each.widths[-1] - len(stay))
        if name not in taking:  # which take the first so many, in the order of the others' probabilities
            draw.shuffle(logits)
        bank.logits.data[bank.places[name]] = torch.tensor(logits, dtype=torch.float64)
    supernet, x = supernet_of(given, seed), images(given)
    kept = Kept(kept_widths(given.masks, bank.widths()), bank.ranked())
    text = compare(given, supernet, kept)
    for module in masking_modules(supernet).values():
        module.fixed = None
    with_masks(supernet, bank)
    with torch.no_grad():
        one, other = supernet.eval()(x), model_with(given, supernet, kept, text)(x)
    torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9 * float(one.abs().max()))
    if source == MIXED:
        assert len(taking) == 2 and any(each.presence for each in given.masks.opens.values())


@pytest.mark.parametrize("seed", range(6))
def test_mixed_operators_that_go(seed: int) -> None:
    """Takes, pools and convolutions joined by concatenation and by addition, with any of them gone."""
    given = relaxed(MIXED)
    for gone in (0.0, 0.3, 0.6):
        text = compare(given, supernet_of(given, seed), keep(given.masks, probabilities(given.masks, seed, gone)))
        assert format_text(text) == text and count_members(space_of(text)) == 1
