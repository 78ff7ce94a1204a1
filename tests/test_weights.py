"""State dicts: seeds, files, and files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasc.compiler.ir import Graph, Network
from nasc.compiler.network import network_of
from nasc.compiler.weights import network_state, read_weights, seeded_weights, write_weights
from nasc.dsl.diagnostics import NascError
from tests.graphs import GraphMaker, image, network
from tests.spaces import ROOT, space_of


def block(channels: int, to: int) -> Graph:
    make = GraphMaker(input=image(channels, 6))
    return make.graph(make.add("relu", make.add("bn", make.add("conv2d", "in", to=to, kernel=3))))


def small(width: int = 8, depth: int = 2) -> Network:
    top = GraphMaker(input=image(width, 6))
    head = top.graph(top.add("linear", top.add("global_pool", "in"), to=5))
    return network({"a": [block(3, width), *[block(width, width)] * (depth - 1)]}, head)


@pytest.mark.parametrize(
    "name, parameters", [("efficientnet_b0", 5_288_548), ("fastdepth", 3_960_930), ("fbnet_c", 5_572_200)]
)
def test_a_state_dict_has_the_published_number_of_parameters(name: str, parameters: int) -> None:
    state = network_state(network_of(space_of(ROOT / "spaces" / "networks" / f"{name}.nas")))
    assert sum(t.size for t in state.values() if t.learned) == parameters


def test_a_seed_gives_the_same_weights_whatever_else_the_network_has() -> None:
    two, three, other = seeded_weights(small(), 5), seeded_weights(small(depth=3), 5), seeded_weights(small(), 6)
    for name, array in two.items():
        np.testing.assert_array_equal(array, three[name])
    assert not np.array_equal(two["a.0.conv.weight"], other["a.0.conv.weight"])
    assert not np.array_equal(three["a.1.conv.weight"], three["a.2.conv.weight"])


def test_weights_start_where_training_wants_them() -> None:
    weights = seeded_weights(small(width=64), 0)
    # sqrt(2 / (3 * 3 * 64 filters))
    assert weights["a.1.conv.weight"].std() == pytest.approx((2 / 576) ** 0.5, rel=0.02)
    assert (weights["a.1.norm.weight"] == 1).all() and (weights["a.1.norm.bias"] == 0).all()
    assert (weights["a.1.norm.running_var"] == 1).all() and (weights["head.2.bias"] == 0).all()
    assert {w.dtype for n, w in weights.items() if "num_batches" not in n} == {np.dtype(np.float32)}
    with pytest.raises(NascError, match="seed"):
        seeded_weights(small(), -1)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path, again = tmp_path / "w.safetensors", tmp_path / "again.safetensors"
    weights = seeded_weights(small(), 1)
    write_weights(weights, path)
    write_weights(dict(reversed(weights.items())), again)
    assert path.read_bytes() == again.read_bytes()
    found = read_weights(small(), path)
    assert list(found) == list(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array)


def test_other_precisions_are_read_and_counters_may_be_missing(tmp_path: Path) -> None:
    weights = {n: w.astype(np.float64) for n, w in seeded_weights(small(), 1).items() if "num_batches" not in n}
    write_weights(weights, tmp_path / "w.safetensors")
    found = read_weights(small(), tmp_path / "w.safetensors")
    assert found["a.0.conv.weight"].dtype == np.float32
    assert found["a.0.norm.num_batches_tracked"] == 0


def test_a_file_that_does_not_fit_names_the_first_differences(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(seeded_weights(small(width=16), 1), path)
    with pytest.raises(NascError) as caught:
        read_weights(small(), path)
    assert "a.0.conv.weight is 16 x 3 x 3 x 3, the network's is 8 x 3 x 3 x 3" in caught.value.message
    assert caught.value.message.endswith("and 8 more")
    write_weights({**seeded_weights(small(), 1), "extra": np.zeros(3, np.float32)}, path)
    with pytest.raises(NascError, match=r"extra is not in the network$"):
        read_weights(small(), path)
    with pytest.raises(NascError, match=r"a\.2\.conv\.weight is missing"):
        read_weights(small(depth=3), path)
    write_weights({n: w.astype(np.int32) for n, w in seeded_weights(small(), 1).items()}, path)
    with pytest.raises(NascError, match="int32"):
        read_weights(small(), path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400), noise=st.binary(max_size=40))
def test_a_broken_file_is_a_plain_error(tmp_path: Path, cut: int, noise: bytes) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(seeded_weights(small(), 1), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] + noise + whole[cut + len(noise) + 1 :])
    with pytest.raises(NascError):
        read_weights(small(), path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NascError, match="No such file"):
        read_weights(small(), tmp_path / "none.safetensors")
    with pytest.raises(NascError):
        read_weights(small(), tmp_path)
