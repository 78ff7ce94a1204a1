"""The fullest network of a space with masks, as `supernet.py`: what FiGS trains."""

from __future__ import annotations

import re
from pathlib import Path

from nasc.compiler.concrete import ConcreteNetwork, concrete
from nasc.compiler.identifiers import class_name
from nasc.compiler.ir import Graph, Layer, Network
from nasc.compiler.lower_torch import Forward, helpers_of, layer_classes, returned, stage_lines
from nasc.compiler.masks import MaskedNetwork
from nasc.compiler.specialise import specialise, without_idle_slices

TEMPLATE = Path(__file__).parent / "templates" / "masked.py.jinja"
MODULES = ("ChannelMask", "MaskedBatchNorm1d", "MaskedBatchNorm2d")
"""The modules of `nasc.runtime.masks` that generated code may use."""


def widest(masked: MaskedNetwork) -> Network:
    """The SuperNet as a network with one member: every width at its largest."""
    graphs = {layer.layer.address: _widest(masked, layer.graph) for layer in masked.layers}
    network = masked.fullest.network

    def built(layer: Layer) -> Layer:
        graph = graphs[layer.address]
        variant = layer.variants[0].model_copy(update={"graph": graph, "decisions": ()})
        shape = graph.inputs.get("in", graph.result)
        return layer.model_copy(update={"variants": (variant,), "input": shape, "output": graph.result})

    stages = tuple(
        stage.model_copy(update={"layers": tuple(built(layer) for layer in stage.layers)}) for stage in network.stages
    )
    head = network.head and built(network.head)
    return network.model_copy(update={"stages": stages, "head": head, "shared": ()})


def _widest(masked: MaskedNetwork, graph: Graph) -> Graph:
    return without_idle_slices(specialise(graph, {name: each.widths[-1] for name, each in masked.opens.items()}))


def masked_paths(masked: MaskedNetwork) -> dict[tuple[str, str], str]:
    """Where the module of a node lies in the SuperNet, by its layer's address and its name."""
    return {
        (layer.address, node): path
        for layer in concrete(widest(masked)).layers()
        for node, path in layer.parameters().items()
    }


def masked_source(masked: MaskedNetwork, about: str) -> str:
    """The text of `supernet.py`: the same for the same space, always."""
    from jinja2 import Environment, StrictUndefined

    flat = concrete(widest(masked))
    name = class_name(flat.name, ())
    classes, made = layer_classes(flat, {name, *MODULES}, 0.0)
    init = [line for stage in flat.stages for line in stage_lines(stage, made)]
    lines = [*init, *(line for block in classes for line in block.init)]
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=name,
        network=flat.name,
        about=about,
        input_shape=repr(flat.input.layout),
        classes=flat.shape(flat.results[0]).channels,
        summary=_summary(masked, flat),
        imports=[module for module in MODULES if any(re.search(rf"\b{module}\(", line) for line in lines)],
        blocks=classes,
        helpers=sorted({helper for block in classes for helper in block.helpers} | helpers_of(flat)),
        init=init,
        forward=returned(Forward(flat, None).lines()),
    )


def _summary(masked: MaskedNetwork, flat: ConcreteNetwork) -> str:
    opens = list(masked.opens.values())
    logits = sum(each.widths[-1] for each in opens)
    return f"The fullest network of `{flat.name}`: {len(opens)} masks of {logits:,} channels and operators."
