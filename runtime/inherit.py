"""A SuperNet reduced to the member that a search found, and the weights that the member takes from it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nasc.compiler.inherit import Chosen, Inherited, chosen_candidates
from nasc.compiler.member import Choices
from nasc.compiler.methods.relax import RelaxedLayer
from nasc.dsl.diagnostics import NascError
from nasc.runtime.supernet import StochasticLayer, stochastic_layers


def settle(supernet: nn.Module, layers: Sequence[RelaxedLayer], choices: Choices) -> None:
    """Reduce a SuperNet to one member, in place: every layer is the chosen candidate at its width, or its input.

    `layers` are the space's, relaxed. Nothing is drawn any more, and neither phi nor lambda scales anything.
    Raises `NascError` for choices or a SuperNet of another space, and for a candidate that is no longer there.
    """
    chosen = chosen_candidates(layers, choices)
    stochastic = stochastic_layers(supernet)
    if set(stochastic) != {layer.address for layer in layers if not layer.fixed}:
        raise NascError("the SuperNet and the choices are not of the same space", help="compile the space again")
    for address, layer in stochastic.items():
        try:
            _settle(layer, chosen[address])
        except ValueError as error:
            raise NascError(f"the SuperNet cannot be reduced to what was chosen: {error}") from None


def _settle(layer: StochasticLayer, chosen: Chosen | None) -> None:
    layer.settle(layer.count if chosen is None else chosen.number)
    nodes = list(layer.prunodes().values())
    widths = [chosen.width] if chosen is not None and chosen.width is not None else []
    if len(nodes) != len(widths):
        raise ValueError(f"{layer.address} has {len(nodes) or 'no'} width under search")
    for node, width in zip(nodes, widths, strict=True):
        node.settle(width)


def inherited_state(supernet: nn.Module, names: Sequence[Inherited]) -> dict[str, Tensor]:
    """The state dict of a member's `model.py`: copies of slices of the SuperNet's tensors, contiguous.

    Candidates that were not chosen may be gone from the SuperNet. Raises `NascError` where a tensor is not there or
    is too small.
    """
    state = supernet.state_dict()
    return {name.target: _slice(state.get(name.source), name) for name in names}


def _slice(source: Tensor | None, name: Inherited) -> Tensor:
    if source is None:
        raise NascError(f"the SuperNet has no tensor `{name.source}` for the network's `{name.target}`")
    have, want = tuple(source.shape), name.shape
    if len(have) != len(want) or any(a < b for a, b in zip(have, want, strict=True)):
        raise NascError(f"the SuperNet's `{name.source}` has the shape {have}: the network's `{name.target}` is {want}")
    return source.detach()[tuple(map(slice, want))].clone().contiguous()
