"""Every block of the library as a candidate of PruNet's search: each width against the literal small block."""

from __future__ import annotations

import re
from functools import cache
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from nasc.compiler.check import check
from nasc.compiler.cost import cost_of
from nasc.compiler.expr import (
    variable,
)
from nasc.compiler.ir import Variant
from nasc.compiler.lower_supernet import supernet_source
from nasc.compiler.lower_torch import model_source
from nasc.compiler.methods.elastic import NotElastic, elastic_of
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.relax import RelaxedLayer, relax
from nasc.compiler.network import network_of
from nasc.dsl.diagnostics import NascError
from nasc.dsl.loader import load
from nasc.runtime.costs import formula_costs
from nasc.runtime.supernet import Prunode, StochasticLayer, stochastic_layers
from tests.spaces import in_space, module_of, space_of

OWN = """
block resnext(hidden, share) -> filters {
  in | conv2d(1) -> hidden | bn | relu | conv2d(3, groups = hidden / share) -> hidden | bn | relu | conv2d(1) -> filters
}
block spread(hidden) -> filters {
  in | conv2d(1) -> hidden | bn | conv2d(3, groups = hidden) -> 2 * hidden | bn | relu | conv2d(1) -> filters
}
block overlap(hidden) -> filters {
  in | conv2d(1) -> hidden | bn | relu | residual_prefix | conv2d(1) -> filters
}
block halves(hidden) -> filters {
  wide = in | conv2d(1) -> hidden | bn
  concat(wide | channels(hidden / 2, hidden), wide | channels(0, hidden / 2) | relu) | shuffle(2) | conv2d(1) -> filters
}
block beside(hidden) -> filters {
  wide = in | conv2d(1) -> hidden | bn
  near = wide | relu | bn
  far = near | conv2d(3, groups = hidden / 4) -> hidden | bn | relu | conv2d(1) -> hidden | bn
  add(far, wide | conv2d(3, groups = hidden / 8) -> hidden | bn) | conv2d(1) -> filters
}
block opposite(hidden) -> filters {
  a = in | conv2d(1) -> hidden
  b = in | conv2d(1) -> 40 - hidden
  concat(a, b) | conv2d(1) -> filters
}
"""
"""Blocks that the library does not have, for what a user may write."""

GRID = "8 .. 40 step 8"

SEARCHED = {
    "irb": (GRID, "irb { kernel 3  hidden W  act swish } -> 4"),
    "irb_strided": (GRID, "irb { kernel 5  hidden W  stride 2 } -> 6"),
    "irb_in_groups": (GRID, "irb { kernel 3  hidden W  groups 4  act swish } -> 8"),
    "irb_in_groups_gated": (GRID, "irb { kernel 3  hidden W  groups 4  se yes } -> 4"),
    "irb_gate": ("1 .. 4", "irb { kernel 3  hidden 16  se yes  se_width W } -> 6"),
    "irb_layer_norm": (GRID, "irb { kernel 3  hidden W  norm layer_norm  act gelu } -> 4"),
    "fused_irb": (GRID, "fused_irb { kernel 3  hidden W  se yes  stride 2 } -> 6"),
    "mbv3": (GRID, "mbv3 { kernel 3  hidden W  act hard_swish } -> 4"),
    "mbv3_gated": ("8 .. 80 step 24", "mbv3 { kernel 5  hidden W  se yes  act hard_swish } -> 4"),
    "mbv3_gate": ("1 .. 5", "mbv3 { kernel 5  hidden 16  se yes  se_width W } -> 4"),
    "mbv3_fewer": ("3 .. 12 step 3", "mbv3 { kernel 3  hidden 12  dw W  se yes } -> 4"),
    "mbv3_idle": ("8 .. 24 step 8", "mbv3 { kernel 3  hidden W  dw 8 } -> 6"),
    "mbv3_passing": ("2 .. 6", "mbv3 { kernel 3  hidden W  bypass 3  dw_bypass 3  stride 2 } -> 4"),
    "mbv3_passing_fewer": ("2 .. 6", "mbv3 { kernel 3  hidden 6  dw W  dw_bypass inf  se yes } -> 4"),
    "depthwise_separable": ("1 .. 4", "depthwise_separable { kernel 3  dw W } -> 6"),
    "depthwise_separable_more": ("1 .. 6", "depthwise_separable { kernel 3  dw W  act swish } -> 4"),
    "depthwise_separable_passing": ("1 .. 4", "depthwise_separable { kernel 3  dw W  dw_bypass inf } -> 4"),
    "depthwise_separable_bypass": ("1 .. 4", "depthwise_separable { kernel 3  dw W  bypass inf } -> 4"),
    "depthwise_separable_gate": ("1 .. 4", "depthwise_separable { kernel 3  se yes  se_width W } -> 6"),
    "basic": (GRID, "basic { mid W  stride 2 } -> 6"),
    "bottleneck": (GRID, "bottleneck { reduce W } -> 4"),
    "bottleneck_middle": (GRID, "bottleneck { reduce 6  mid W } -> 6"),
    "sep_pair": ("3 .. 12 step 3", "sep_pair { kernel 3  mid W  stride 2 } -> 6"),
    "cross_pair": ("3 .. 12 step 3", "cross_pair { length 3  mid W } -> 6"),
    "regnet": (GRID, "regnet { group_width 4  mid W } -> 6"),
    "regnet_gated": (GRID, "regnet { group_width 8  mid W  se yes  stride 2 } -> 6"),
    "convnext": (GRID, "convnext { kernel 3  hidden W  scale 0.5 }"),
    "uib": (GRID, "uib { start 3  kernel 5  hidden W  se yes } -> 4"),
    "squeeze_excite": ("1 .. 4", "squeeze_excite { width W }"),
    "up": ("1 .. 4", "up { dw W } -> 6"),
    "up_passing": ("1 .. 4", "up { dw W  dw_bypass inf } -> 6"),
    "own_resnext": (GRID, "resnext { hidden W  share 4 } -> 6"),
    "own_spread": (GRID, "spread { hidden W } -> 6"),
    "own_overlap": ("2 .. 8 step 2", "overlap { hidden W } -> 6"),
    "own_beside": (GRID, "beside { hidden W } -> 6"),
    "own_halves": (GRID, "halves { hidden W } -> 6"),
}
"""A grid of widths, and a layer with `W` in their place."""

FIXED = {
    "conv": ("conv { kernel 3  act swish  stride 2 }", "-> 8", "conv { kernel 1  stride 2 }"),
    "conv_in_groups": ("conv { kernel 3  groups 2  dilation 2 }", "-> 8", "conv { kernel 1 }"),
    "conv_bypass": ("conv { kernel 3  bypass inf }", "-> 3", "conv { kernel 1  bypass inf }"),
    "conv_residual": ("conv { kernel 3  shortcut residual }", "-> 4", "conv { kernel 1 }"),
    "depthwise": ("depthwise { kernel 3  stride 2 }", "", "depthwise { kernel 5  stride 2 }"),
    "sep_conv": ("sep_conv { kernel 5 }", "-> 8", "conv { kernel 1 }"),
    "skip_or_project": ("skip_or_project", "-> 8", "conv { kernel 3 }"),
    "skip_or_project_same": ("skip_or_project", "-> 4", "conv { kernel 1 }"),
    "irb_in_groups": ("irb { kernel 3  hidden 16  groups 2  se yes }", "-> 4", "basic"),
    "bottleneck": ("bottleneck { stride 2 }", "-> 8", "fused_irb { kernel 3  hidden 16  stride 2 }"),
    "up": ("up", "-> 6", "up { kernel 3 }"),
    "downsample": ("downsample", "-> 8", "conv { kernel 2  stride 2  padding 0 }"),
}
"""A layer without a searched width, its width, and another candidate of the same shape."""

TOKENS = {
    "patch_embed": "patch_embed { patch 4 } -> 8",
    "attention": "patch_embed { patch 4 } -> 8\n stage t attention { heads 2 }",
    "mlp": "patch_embed { patch 4 } -> 8\n stage t mlp { hidden 8 .. 16 step 8 }",
    "transformer": "patch_embed { patch 4 } -> 8\n stage t transformer { heads 2 }",
}
"""Blocks that make or take tokens: `tests/test_tokens.py` has them."""

INSIDE = {"fill"}
"""Blocks that are parts of others only: `fill` takes a second tensor (`mbv3_passing` has it)."""


def widths_of(grid: str) -> list[int]:
    first, last, step = re.fullmatch(r"(\d+) \.\. (\d+)(?: step (\d+))?", grid).groups()  # type: ignore[union-attr]
    return list(range(int(first), int(last) + 1, int(step or 1)))


def space_text(items: str) -> str:
    return in_space(f"{items}\n head global_pool | linear") + (OWN if _uses_own(items) else "")


def _uses_own(items: str) -> bool:
    return any(re.search(rf"\b{name}\b", items) for name in re.findall(r"^block (\w+)", OWN, re.M))


def loaded(source: str) -> nn.Module:
    module = ModuleType("generated")
    exec(compile(source, "generated.py", "exec"), module.__dict__)
    network: nn.Module = module.__dict__["Small"]()
    return network


@cache
def generated(items: str, masks: bool = False) -> tuple[str, tuple[RelaxedLayer, ...]]:
    """`masks`: Prunodes in the literal form."""
    network = network_of(space_of(space_text(items)))
    layers = relax(network)
    return supernet_source(network, layers, find_method("prunet"), literal=masks), layers


def variant_of(layer: str) -> Variant:
    return network_of(space_of(space_text(f" stage s {layer}"))).stages[0].layers[0].variants[0]


def supernet_of(items: str, masks: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return loaded(generated(items, masks)[0])


def literal(layer: str) -> nn.Module:
    """The layer as a network of its own has it."""
    stage = loaded(model_source(network_of(space_of(space_text(f" stage s {layer}")))))
    found = getattr(stage, "s", None)
    return found[0] if isinstance(found, nn.Sequential) else nn.Identity()


def stirred(module: nn.Module) -> nn.Module:
    """In double precision, with weights and statistics of which none is as it started."""
    for name, tensor in module.double().state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 2) if name.endswith("running_var") else tensor.normal_()
    return module


def first_part(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor[tuple(map(slice, like.shape))]


def assert_same(block: nn.Module, ours: Tensor, small: nn.Module, theirs: Tensor, before: dict[str, Tensor]) -> None:
    """Output, gradients and statistics of `small` are those of the first parts of `block`; the others are untouched."""
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    for output in (ours, theirs):
        output.sin().sum().backward()  # type: ignore[no-untyped-call]
    for large, part in zip(block.parameters(), small.parameters(), strict=True):
        assert part.grad is not None or large.grad is None
        if part.grad is not None and large.grad is not None:
            torch.testing.assert_close(first_part(large.grad, part), part.grad, rtol=1e-8, atol=1e-8)
            first_part(large.grad, part).zero_()
            assert not large.grad.any()
    for (name, whole), part in zip(block.state_dict().items(), small.state_dict().values(), strict=True):
        torch.testing.assert_close(first_part(whole, part), part)
        rest = whole.clone()
        first_part(rest, part).copy_(first_part(before[name], part))
        assert torch.equal(rest, before[name])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


# ------------------------------------------------------------------------------------------------ each block


def test_every_block_of_the_library_is_here() -> None:
    module = module_of(space_text(" stage s conv { kernel 3 } -> 4"))
    cases = (
        [layer for _, layer in SEARCHED.values()] + [layer for layer, _, _ in FIXED.values()] + list(TOKENS.values())
    )
    covered = {name for layer in cases for name in re.findall(r"^\w+|(?<=stage t )\w+", layer)}
    assert set(module.library) <= covered | INSIDE


@pytest.mark.parametrize("name", SEARCHED)
def test_a_width_is_the_literal_small_block(name: str) -> None:
    grid, layer = SEARCHED[name]
    supernet = supernet_of(f" stage s {layer.replace('W', grid)}")
    (node,) = (m for m in supernet.modules() if isinstance(m, Prunode))
    assert list(node.widths) == widths_of(grid)
    block, x = stirred(node.block), torch.randn(3, 4, 8, 8, dtype=torch.float64)
    for width in node.widths:
        small = literal(layer.replace("W", str(width))).double()
        for training in (False, True):
            block.train(training).zero_grad()
            small.train(training).zero_grad()
            before = {key: tensor.clone() for key, tensor in block.state_dict().items()}
            for tensor, whole in zip(small.state_dict().values(), block.state_dict().values(), strict=True):
                tensor.copy_(first_part(whole, tensor))
            (ours,) = block(x, (width,))
            assert_same(block, ours, small, small(x), before)


@pytest.mark.parametrize("name", SEARCHED)
def test_two_widths_at_once_are_each_as_alone(name: str) -> None:
    grid, layer = SEARCHED[name]
    node = next(m for m in supernet_of(f" stage s {layer.replace('W', grid)}").modules() if isinstance(m, Prunode))
    block, x = stirred(node.block).train(), torch.randn(3, 4, 8, 8, dtype=torch.float64)
    pair = (node.widths[0], node.widths[-2])
    for together, width in zip(block(x, pair), pair, strict=True):
        torch.testing.assert_close(together, block(x, (width,))[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SEARCHED)
@pytest.mark.parametrize("training", [False, True])
def test_both_forms_of_a_prunode_agree(name: str, training: bool) -> None:
    """Shared prefixes against the literal form: outputs, gradients, and the statistics of channels that are used."""
    grid, layer = SEARCHED[name]
    x = torch.randn(3, 4, 8, 8, dtype=torch.float64)
    found = []
    for masks in (False, True):
        supernet = supernet_of(f" stage s {layer.replace('W', grid)}", masks)
        node = next(m for m in supernet.modules() if isinstance(m, Prunode))
        block = stirred(node.block).train(training)  # alike: the random numbers begin anew with each SuperNet
        outputs = block(x, (node.widths[0], node.widths[-1]))
        sum(output.sin().sum() for output in outputs).backward()
        found.append((outputs, block))
    (ours, shared), (theirs, literal_form) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
    for (key, mine), other in zip(shared.named_parameters(), literal_form.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-8, atol=1e-8, msg=key)
    for (key, mine), other in zip(shared.named_buffers(), literal_form.buffers(), strict=True):
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-8, msg=key)


@pytest.mark.parametrize("name", SEARCHED)
def test_the_cost_of_a_width_is_that_of_the_literal_network(name: str) -> None:
    grid, layer = SEARCHED[name]
    _, layers = generated(f" stage s {layer.replace('W', grid)}")
    for kind in ("macs", "params"):
        costs = formula_costs(layers, kind)  # type: ignore[arg-type]
        for width, cost in costs.blocks["s.1", 0].items():
            found = cost_of(space_of(space_text(f" stage s {layer.replace('W', str(width))}")))
            whole = found.macs if kind == "macs" else found.params
            assert cost + costs.fixed == whole.min == whole.max


@pytest.mark.parametrize("name", FIXED)
def test_a_candidate_without_a_width_is_the_literal_block(name: str) -> None:
    layer, width, other = FIXED[name]
    supernet = supernet_of(f" stage s one of {{ {layer}  {other} }} {width}")
    stochastic = next(m for m in supernet.modules() if isinstance(m, StochasticLayer))
    block, small = stirred(stochastic.candidates["0"]), literal(f"{layer} {width}").double()
    before = {key: tensor.clone() for key, tensor in block.state_dict().items()}
    small.load_state_dict(before)
    x = torch.randn(3, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    assert_same(block, block(x), small, small(x), before)


@pytest.mark.parametrize("name", SEARCHED)
def test_a_supernet_of_it_learns(name: str) -> None:
    grid, layer = SEARCHED[name]
    supernet = supernet_of(f" stage s {layer.replace('W', grid)}")
    supernet(torch.randn(3, 4, 8, 8)).square().sum().backward()
    node = next(m for m in supernet.modules() if isinstance(m, Prunode))
    assert node.theta.grad is not None and node.theta.grad.isfinite()
    for parameter in node.block.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


# ------------------------------------------------------------------------------------------------ widths that cannot be


REFUSED = {
    "two ranges": (
        "mbv3 { kernel 3  hidden 8 .. 16 step 8  se yes  se_width 1 .. 4 } -> 4",
        "2 ranges: `hidden`, `se_w",
    ),
    "its output": ("irb { kernel 3  hidden 8 } -> 8 .. 16 step 8", "shared between layers, or is the width of a stage"),
    "not a width": ("resnext { hidden 16  share 2 .. 4 step 2 } -> 4", "`share` is not a width"),
    "more weights": (
        "opposite { hidden 8 .. 32 step 8 } -> 4",
        "with `hidden` 8, `conv2d_2` has more weights than wit",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_ranges_are_refused_at_their_layer(name: str) -> None:
    layer, words = REFUSED[name]
    with pytest.raises(NascError, match=words) as caught:
        generated(f" stage s {layer}")
    assert str(caught.value).startswith(("`s.1` cannot be ", "`s.width` cannot be "))


@pytest.mark.parametrize(
    ("layer", "widths", "words"),
    [
        ("opposite { hidden 8 .. 32 step 8 } -> 4", (8, 40), "`conv2d_2` is gone at some values"),
        ("overlap { hidden 8 .. 32 step 8 } -> 4", (0, 8), "gone|nothing"),
        ("halves { hidden 8 .. 40 step 8 } -> 4", (6, 9), "with `hidden` 9, `slice_1` has 9/2 channels"),
        ("resnext { hidden 8 .. 40 step 8  share 4 } -> 4", (6, 8), "6 channels do not divide into 3/2 groups"),
    ],
)
def test_widths_that_do_not_fit_the_largest(layer: str, widths: tuple[int, ...], words: str) -> None:
    """Such widths do not get through the elaborator; a compiled space may come from elsewhere."""
    with pytest.raises(NotElastic, match=words):
        elastic_of(variant_of(layer).graph, "hidden", widths)


def test_a_setting_that_follows_the_width_is_refused() -> None:
    variant = variant_of("irb { kernel 3  hidden 8 .. 16 } -> 4")
    first, *others = variant.graph.nodes
    kernel = first.model_copy(update={"attributes": {**first.attributes, "kernel": (variable("hidden"), 1)}})
    graph = variant.graph.model_copy(update={"nodes": (kernel, *others)})
    with pytest.raises(NotElastic, match="`hidden` sets the kernel of `conv2d`"):
        elastic_of(graph, "hidden", (8, 16))


def test_widths_that_do_not_divide_into_the_groups_are_refused_before() -> None:
    with pytest.raises(AssertionError, match="hidden channels do not divide into 4 groups"):
        generated(" stage s irb { kernel 3  hidden 4 .. 12  groups 4 } -> 8")


# ------------------------------------------------------------------------------------------------ layers

LAYERS = {
    "1 candidate": ("stage s conv { kernel 3 } -> 8", {}),
    "1 candidate that may go": ("skip same_shape\n stage s conv { kernel 3 } -> 4", {"s.1": (1, True)}),
    "2 candidates": ("stage s conv { kernel {3, 5} } -> 8", {"s.1": (2, False)}),
    "9 candidates": ("stage s conv { kernel {1, 3, 5}  act {relu, swish, relu6} } -> 8", {"s.1": (9, False)}),
    "20 candidates": (
        "stage s irb { kernel {3, 5}  hidden {1, 2, 3, 4, 5, 6, 7, 8, 9, 10} } -> 4",
        {"s.1": (20, False)},
    ),
    "a width of one value": ("stage s irb { kernel 3  hidden 8 .. 8 step 8 } -> 4", {}),
    "an interval of one value": ("stage s irb { kernel 3  expand (1, 2] } -> 4", {}),
    "several layers": ("stage s conv x 7 { kernel {1, 3} } -> 8", {f"s.{i}": (2, False) for i in range(1, 8)}),
    "a first layer of another shape": (
        "skip same_shape\n stage s irb x 3 { kernel 3  stride 2  hidden 8 .. 24 step 8 } -> 8",
        {"s.1": (1, False), "s.2": (1, True), "s.3": (1, True)},
    ),
    "blocks of several kinds": (
        "stage s one of { mbv3 { kernel 3  hidden 8 .. 40 step 8  se yes }  basic { mid 2 .. 6 }  sep_conv { kernel 3 }"
        "  irb { kernel 3  hidden 8 .. 24 step 8  groups 2 } } -> 8",
        {"s.1": (4, False)},
    ),
    "strided blocks of several kinds": (
        "stage s one of { irb { kernel 3  hidden 8 .. 24 step 8  stride 2 }  conv { kernel 5  stride 2 } } -> 8",
        {"s.1": (2, False)},
    ),
    "one block, two widths": (
        "stage s irb { kernel 3  hidden 8 .. 24 step 8  se yes  se_width 4 } -> 6\n"
        " stage t irb { kernel 3  hidden 24  se yes  se_width 1 .. 4 } -> 4",
        {"s.1": (1, False), "t.1": (1, False)},
    ),
    "one block, two formulas": (
        "stage s one of {"
        "  resnext { hidden 8 .. 24 step 8  share 4 }  resnext { hidden 8 .. 16 step 8  share 8 } } -> 4",
        {"s.1": (2, False)},
    ),
}
"""Stages, and of each layer that is searched the number of candidates and whether it may go."""


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_any_make(name: str) -> None:
    items, expected = LAYERS[name]
    supernet = supernet_of(f" {items}")
    layers = stochastic_layers(supernet)
    assert {address: (layer.count, layer.skippable) for address, layer in layers.items()} == expected
    output = supernet(torch.randn(3, 4, 8, 8))
    assert output.shape == (3, 3)
    cost = sum((layer.cost for layer in layers.values()), torch.zeros(()))
    (output.square().sum() + cost).backward()  # type: ignore[no-untyped-call]
    for layer in layers.values():
        assert layer.theta.tolist() == pytest.approx([1 / layer.count] * (layer.count + 1))
        assert layer.count == 1 or (layer.theta.grad is not None and layer.theta.grad.isfinite().all())
    for relaxed in generated(f" {items}")[1]:
        nodes = layers[relaxed.address].prunodes() if relaxed.address in layers else {}
        assert {n: c.widths for n, c in enumerate(relaxed.candidates) if c.width} == {
            n: node.widths for n, node in nodes.items()
        }


def test_candidates_of_one_block_are_each_their_own() -> None:
    """One class for both formulas, or for both searched widths, would give one of them the other's."""
    for name in ("one block, two widths", "one block, two formulas"):
        source, layers = generated(f" {LAYERS[name][0]}")
        assert source.count("def forward(self, x: torch.Tensor, widths: Sequence[int])") == 2
        assert len({c.elastic.key for layer in layers for c in layer.candidates if c.elastic is not None}) == 2
    supernet = supernet_of(f" {LAYERS['one block, two formulas'][0]}")
    for number, share in enumerate((4, 8)):
        block = stirred(stochastic_layers(supernet)["s.1"].prunodes()[number].block).eval()
        small = literal(f"resnext {{ hidden 16  share {share} }} -> 4").double().eval()
        for tensor, whole in zip(small.state_dict().values(), block.state_dict().values(), strict=True):
            tensor.copy_(first_part(whole, tensor))
        x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
        torch.testing.assert_close(block(x, (16,))[0], small(x), rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------------------------ the first threshold


@pytest.mark.parametrize(
    ("stage", "section", "place"),
    [
        ("conv { kernel {1, 3, 5}  act {relu, swish, relu6} } -> 8", "epochs 3", "prunet"),
        ("conv { kernel {1, 3, 5} } -> 8", "epochs 3  threshold 0.334 .. 0.6", "threshold 0.334 .. 0.6"),
        ("conv { kernel {1, 3, 5} } -> 8", "epochs 3  threshold 0.333 .. 0.6", None),
        ("irb { kernel {3, 5}  hidden 8 .. 80 step 8 } -> 8", "threshold 0.5 .. 0.6", None),
        ("conv { kernel 3 } -> 8", "threshold 0.9 .. 0.9", None),
        # PruNet is not for this space at all: a compilation with it would say so.
        ("conv { kernel {1, 3, 5} } -> 8 .. 16 step 8", "threshold 0.9 .. 0.9", None),
    ],
)
def test_a_first_threshold_that_removes_everything_is_reported_at_its_place(
    stage: str, section: str, place: str | None
) -> None:
    text = space_text(f" stage s {stage}") + f"search prunet {{ {section} }}\n"
    found = check(load("test.nas", text)).diagnostics.found
    if place is None:
        assert not found
        return
    ((diagnostic,), count) = found, 9 if place == "prunet" else 3
    assert diagnostic.code == "E0363" and diagnostic.span is not None
    assert text[diagnostic.span.start : diagnostic.span.end] == place
    assert f"layer `s.1` has {count} candidates" in diagnostic.message
    mended = re.search(r"threshold [\d.]+ \.\. [\d.]+", diagnostic.help or "")
    assert mended is not None
    again = space_text(f" stage s {stage}") + f"search prunet {{ {mended.group()} }}\n"
    assert not check(load("test.nas", again)).diagnostics.found
