"""Masks that make the fullest network a member: of its cost, of its text, and with its outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasc.compiler.cost import cost_of
from nasc.compiler.expected import kept_cost
from nasc.compiler.fullest import fullest
from nasc.compiler.masked_member import Kept, member_of
from nasc.compiler.masked_weights import gathered
from nasc.compiler.masks import masked
from nasc.compiler.member import Member, member_text
from nasc.compiler.member_masks import member_widths, stays_in_masks
from nasc.compiler.network import network_of
from nasc.compiler.sample import sample_members
from nasc.dsl.diagnostics import NascError
from nasc.runtime.masks import masking_modules
from nasc.runtime.masks_state import gathered_state
from nasc.runtime.member_model import module_of as model_of
from nasc.runtime.methods.spos import Paths, kept_of
from nasc.runtime.supernet import seed_noise
from tests.masked import REFUSED, Relaxed, relaxed, shipped, supernet_of
from tests.spaces import SPACES, space_of
from tests.test_figs_export import MIXED, images

SHARED = """nas 1
space shared {
  input  image 3 x 8 x 8
  output classes 4
  stage stem  conv { kernel 3 }                                         -> 4 .. 12 step 4
  stage a     one of { conv { kernel {1, 3} }  sep_conv { kernel 3 } }  -> 8
  stage b     irb x 2 { kernel {3, 5}  expand {1, 2}  se {0, 1} }       -> 8
  head        global_pool | linear
}
"""
GONE = """nas 1
space gone {
  input  image 3 x 8 x 8
  output classes 4
  skip   same_shape
  let w = 4 .. 12 step 4
  stage stem  conv { kernel 3 }                                     -> 8
  stage a     irb { kernel {3, 5}  hidden w }                       -> 8
  stage b     irb { kernel 3  hidden w  se {0, 2, 4} }              -> 8
  stage c     one of { conv { kernel 3 }  identity  max_pool { kernel 3 } }  -> 8
  head        global_pool | linear
}
"""
LARGE = {"figs_oneshot", "figs_oneshot_add", "figs_resnet152"}
NAMES = [path.stem for path in SPACES if path.stem not in REFUSED]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def members_of(given: Relaxed, count: int) -> list[Member]:
    return sample_members(given.space, count, 3, accept=lambda member: stays_in_masks(given.masks, member))


def text_of(given: Relaxed, member: Member) -> str:
    return member_text(given.space, member, given.module)


@pytest.mark.parametrize("name", NAMES)
def test_the_masks_of_a_member_cost_what_it_does(name: str) -> None:
    """And the network that they stand for, written, is one of the same cost."""
    given = shipped(name)
    for member in members_of(given, 1 if name in LARGE else 3):
        widths = member_widths(given.masks, member)
        cost = cost_of(space_of(text_of(given, member)))
        kept = cost_of(space_of(text_of(given, member_of(given.masks, Kept(widths, {})))))
        for metric in ("macs", "params"):
            found = kept_cost(given.masks, widths, metric)
            assert getattr(cost, metric).min == getattr(kept, metric).min == found


@pytest.mark.parametrize("name", ["digits", "fashion", "gpunet1", "efficientnet_v2"])
def test_there_and_back(name: str) -> None:
    """Where no alternative hands on its input (which is then a dropped layer), it is the same text."""
    given = shipped(name)
    for member in members_of(given, 12):
        back = member_of(given.masks, Kept(member_widths(given.masks, member), {}))
        assert text_of(given, back) == text_of(given, member)


@pytest.mark.parametrize("source", [SHARED, MIXED, "digits", "figs_resnet50"])
def test_the_supernet_as_a_member_computes_what_the_member_does(source: str) -> None:
    """With the member's part of its weights, in float64; and in training the member that is drawn is one of these."""
    given = relaxed(source) if "\n" in source else shipped(source)
    same_outputs(given, sample_members(given.space, 3, 8))


def same_outputs(given: Relaxed, members: list[Member]) -> None:
    supernet, x = supernet_of(given), images(given)
    paths = Paths(supernet.eval(), given.masks, given.space)
    for member in members:
        kept = kept_of(given.masks, member)
        paths.take(member)
        text = text_of(given, member_of(given.masks, kept))
        assert cost_of(space_of(text)) == cost_of(space_of(text_of(given, member)))
        network = network_of(space_of(text))
        model = model_of(network).double()
        model.load_state_dict(gathered_state(supernet, gathered(given.masks, kept, network)))
        with torch.no_grad():
            one, other = supernet(x), model.eval()(x)
        assert one.abs().max() > 0
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9 * float(one.abs().max()))


def test_what_members_do_not_have() -> None:
    """A shared width of which both layers are gone; a layer that `identity` would stand for, which masks cannot."""
    given = relaxed(GONE)
    every, members = sample_members(given.space, 60, 3), members_of(given, 16)
    assert any("@w" not in member.shared for member in members)
    identities = [member for member in every if (member.layers["c.1"] or {"of": "identity"})["of"] == "identity"]
    assert identities and not any(stays_in_masks(given.masks, member) for member in identities)
    assert all(stays_in_masks(given.masks, member) for member in every if member not in identities)
    same_outputs(given, members)


def test_members_are_drawn_uniformly_and_by_the_noise_alone() -> None:
    given = shipped("digits")
    supernet = supernet_of(given).train()
    paths = Paths(supernet, given.masks, given.space)
    found: list[torch.Tensor] = []
    for step in (*range(300), 0):
        seed_noise(step)
        torch.rand(step % 3)  # what else draws changes nothing
        paths._draw()
        found.append(fixed_masks(supernet))
    assert torch.equal(found[0], found[-1]) and not torch.equal(found[0], found[1])
    seen, expected = torch.stack(found[:-1]), torch.zeros_like(found[0])
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    for member in sample_members(given.space, 600, 1):
        paths.take(member)
        expected += fixed_masks(supernet) / 600
    # The standard deviation of the difference of two frequencies is 0.035 at most.
    assert (seen.mean(0) - expected).abs().max() < 0.16


def test_in_evaluation_the_member_stays() -> None:
    given = shipped("digits")
    supernet, x = supernet_of(given).eval(), images(given)
    paths = Paths(supernet, given.masks, given.space)
    (member,) = sample_members(given.space, 1, 4)
    paths.take(member)
    before = fixed_masks(supernet)
    supernet(x)
    assert torch.equal(before, fixed_masks(supernet))
    supernet.train()(x)
    assert not torch.equal(before, fixed_masks(supernet))


def fixed_masks(supernet: nn.Module) -> torch.Tensor:
    return torch.cat([module.fixed for module in masking_modules(supernet).values() if module.fixed is not None])


def test_layers_that_masks_cannot_drop_stay() -> None:
    given = shipped("gpunet1")
    supernet = supernet_of(given).train()
    paths = Paths(supernet, given.masks, given.space)
    members = sample_members(given.space, 40, 0)
    dropped = [member for member in members if not stays_in_masks(given.masks, member)]
    assert 0 < len(dropped) < 40 and all(
        member.layers["conv.1"] is None or member.layers["conv.2"] is None for member in dropped
    )
    for step in range(10):
        seed_noise(step)
        paths._draw()  # else nothing would reach the output


def test_a_supernet_of_another_space_is_refused() -> None:
    with pytest.raises(NascError, match="not of the same space"):
        Paths(supernet_of(shipped("fbnet")), shipped("digits").masks, shipped("digits").space)


def test_a_member_of_another_space_is_refused() -> None:
    masks = masked(fullest(space_of(SHARED)))
    (member,) = sample_members(space_of(SHARED), 1, 0)
    strange = Member({**member.layers, "a.1": {"of": "pool"}}, member.shared)
    with pytest.raises(NascError, match=r"`a\.1` has no operator with the decisions"):
        member_widths(masks, strange)
