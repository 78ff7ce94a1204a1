"""Published networks against their public definitions in timm, with the public model's weights copied over.

timm is no dependency: where it cannot be imported these tests are skipped, and docs/networks.md says how to run them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nasc.compiler.cost import cost_of
from nasc.compiler.identifiers import class_name
from nasc.compiler.lower_torch import model_source
from nasc.compiler.network import network_of
from tests.spaces import ROOT, space_of
from tests.test_networks import Call, macs, parameters, weighted_calls

# Ours, timm's name, and where the file follows another public source than timm's defaults: MobileNetV3's batch norms
# have torchvision's epsilon.
PUBLIC: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("efficientnet_b0", "efficientnet_b0", {}),
    ("mobilenet_v3_large", "mobilenetv3_large_100", {"bn_eps": 1e-3}),
    ("resnet50", "resnet50", {}),
    ("mobilenet_v1", "mobilenetv1_100", {}),
    ("fbnet_c", "fbnetc_100", {}),
)
# Relative to the largest output, in float32; an epsilon of 1e-5 for 1e-3 makes more than ten times this.
TOLERANCE = 1e-5
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def create_model() -> Callable[..., nn.Module]:
    """timm's `create_model`; skips where timm, or the torchvision that it imports, is missing or does not fit torch."""
    try:
        create: Callable[..., nn.Module] = importlib.import_module("timm").create_model
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        pytest.skip(f"timm cannot be imported: {error}; docs/networks.md says how to run this")
    return create


def generated(name: str) -> nn.Module:
    """The generated `model.py`'s network, ready to evaluate."""
    net = network_of(space_of(ROOT / "spaces" / "networks" / f"{name}.nas"))
    names: dict[str, Any] = {"__name__": "model"}
    exec(compile(model_source(net), "model.py", "exec"), names)
    module = names[class_name(net.name, ())]()
    assert isinstance(module, nn.Module)
    return module.eval()


def randomise(module: nn.Module, seed: int) -> None:
    """Weights that keep activations at one scale, and statistics with nothing at 0 or 1, so that a mix-up shows."""
    random = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            part.running_mean.normal_(0, 0.3, generator=random)
            part.running_var.uniform_(0.5, 2, generator=random)
            nn.init.uniform_(part.weight, 0.5, 1.5, generator=random)
            nn.init.normal_(part.bias, 0, 0.3, generator=random)
        elif isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(part.weight, 0, (2 / part.weight[0].numel()) ** 0.5, generator=random)
            if part.bias is not None:
                nn.init.normal_(part.bias, 0, 0.3, generator=random)


def evaluated(module: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[Call]]:
    """The output, and the modules with weights in the order in which they ran."""
    with torch.no_grad(), weighted_calls() as calls:
        output = module(x)
    assert isinstance(output, torch.Tensor)
    return output, calls


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Give the n-th module with weights that runs in `target` the tensors of the n-th in `source`, all of them."""
    given, taken = ([part for part, _ in evaluated(module, images(1, 64))[1]] for module in (source, target))
    for module, parts in ((source, given), (target, taken)):
        assert len(set(parts)) == len(parts) and sum(map(parameters, parts)) == parameters(module)
    for one, other in zip(given, taken, strict=True):
        other.load_state_dict(one.state_dict())


def images(count: int, size: int) -> torch.Tensor:
    """Coarse patterns (count, 3, size, size), which global pooling does not level out as it does white noise."""
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return 2 * nn.functional.interpolate(coarse, size=(size, size))


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference of the outputs for two inputs, which must depend on the input a hundred times more."""
    assert found.shape == expected.shape and len(expected) == 2
    scale = float(expected.abs().max())
    assert float((expected[0] - expected[1]).abs().max()) > 100 * TOLERANCE * scale
    return float((found - expected).abs().max())


@pytest.mark.parametrize(("name", "public", "options"), PUBLIC, ids=[name for name, _, _ in PUBLIC])
def test_equal_to_the_public_definition(
    create_model: Callable[..., nn.Module], name: str, public: str, options: dict[str, Any]
) -> None:
    theirs, ours = create_model(public, pretrained=False, **options).eval(), generated(name)
    randomise(theirs, seed=0)
    copy_weights(theirs, ours)

    x = images(2, 224)
    (expected, their_calls), (found, our_calls) = evaluated(theirs, x), evaluated(ours, x)
    cost = cost_of(space_of(ROOT / "spaces" / "networks" / f"{name}.nas")).as_json()
    for module, calls in ((theirs, their_calls), (ours, our_calls)):
        assert {"params": parameters(module), "macs": macs(calls) / len(x)} == cost
    largest, scale = difference(found, expected), float(expected.abs().max())
    print(f"{name}: {cost['params']} parameters, {cost['macs']} MACs", end=", ")
    print(f"largest output {scale:.3g}, largest difference {largest:.1e}")
    assert largest <= TOLERANCE * scale


def test_a_copy_is_equal_and_an_epsilon_shows() -> None:
    """What the comparison rests on, without timm."""
    source, target, x = generated("mobilenet_v3_large"), generated("mobilenet_v3_large"), images(2, 64)
    randomise(source, seed=0)
    randomise(target, seed=1)
    expected = evaluated(source, x)[0]
    tolerance = TOLERANCE * float(expected.abs().max())
    assert difference(evaluated(target, x)[0], expected) > 1e3 * tolerance
    copy_weights(source, target)
    assert difference(evaluated(target, x)[0], expected) <= tolerance
    for part in target.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 1e-5
    assert difference(evaluated(target, x)[0], expected) > 10 * tolerance
