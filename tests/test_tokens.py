"""Sequences: every operator on tokens in PyTorch and ONNX, cuts of heads, and transformers against published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from torch import nn

from nasc.compiler.compile import compile_file
from nasc.compiler.cost import cost_of
from nasc.compiler.identifiers import class_name
from nasc.compiler.ir import Graph, Tensor
from nasc.compiler.lower_block import block_source, state_prefix
from nasc.compiler.lower_onnx import block_onnx
from nasc.compiler.lower_supernet import supernet_source
from nasc.compiler.lower_torch import model_source
from nasc.compiler.manifest import Target
from nasc.compiler.member import member_text
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.relax import relax
from nasc.compiler.network import network_of
from nasc.compiler.sample import sample_members
from nasc.compiler.weights import graph_state
from nasc.dsl.diagnostics import NascError
from nasc.runtime.engines import ENGINES, TimingOptions, load_engine
from nasc.runtime.engines.analytic import kernels
from nasc.runtime.engines.base import form_of
from nasc.runtime.engines.openvino_engine import OpenVino
from nasc.runtime.engines.roofline import store_roofline
from nasc.runtime.models import memory_estimate, model_of
from nasc.runtime.supernet import Prunode
from tests.graphs import VOCABULARY, Array, GraphMaker, drawn, ids, image, randomised, sequence
from tests.spaces import ROOT, elaborated, in_space, module_of, space_of
from tests.test_candidates import assert_same, first_part, stirred
from tests.test_engines import CEILINGS, assert_torch_equals_onnx
from tests.test_lower_onnx import check, inputs_of, run
from tests.test_lower_torch import executed
from tests.test_networks import imported

torch.set_num_threads(1)
SPACES_FOLDER = ROOT / "spaces"


def check_both(graph: Graph, tolerance: float = 1e-5) -> None:
    """ONNX Runtime and the generated class give what the operators' definitions give."""
    check(graph, tolerance)
    check(graph, tolerance, fold=False)
    inputs, weights = inputs_of(graph), randomised(graph_state(graph))
    found = in_torch(graph, weights, inputs)
    expected = run(block_onnx(graph, batch=2, weights=weights), *inputs.values())
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 2 * tolerance * max(1.0, np.abs(expected).max())


def in_torch(graph: Graph, weights: dict[str, Array], inputs: dict[str, Array]) -> Array:
    source = block_source(graph)
    assert max(map(len, source.splitlines())) <= 100
    module = executed(source)["Block"]()
    module.load_state_dict({state_prefix(graph) + n: torch.from_numpy(a) for n, a in weights.items()})
    with torch.no_grad():
        found: Array = module.eval()(*(torch.from_numpy(x) for x in inputs.values())).numpy()
    return found


def made(op: str, *shapes: Tensor, to: int | None = None, **arguments: Any) -> Graph:
    """One operator on inputs of these shapes."""
    names = ["in", *(f"in{i}" for i in range(2, len(shapes) + 1))]
    make = GraphMaker(**dict(zip(names, shapes, strict=True)))
    return make.graph(make.add(op, *names, to=to, **arguments))


THREE = (sequence(12, 5),) * 3
CASES = {
    "attend": made("attend", *THREE, heads=3),
    "attend one head": made("attend", *THREE, heads=1),
    "attend causally": made("attend", *THREE, heads=4, causal=True),
    "attend one token": made("attend", *(sequence(4, 1),) * 3, heads=2, causal=True),
    "embedding": made("embedding", ids(5), to=6, vocabulary=VOCABULARY),
    "position": made("position", sequence(6, 5)),
    "class_token": made("class_token", sequence(6, 5)),
    "first_token": made("first_token", sequence(6, 5)),
    "tokens": made("tokens", image(6, 3, 2)),
    "linear": made("linear", sequence(6, 5), to=4),
    "linear without bias": made("linear", sequence(6, 5), to=4, bias=False),
    "layer_norm": made("layer_norm", sequence(6, 5)),
    "bn": made("bn", sequence(6, 5)),
    "global_pool": made("global_pool", sequence(6, 5)),
    "dropout": made("dropout", sequence(6, 5)),
    "add": made("add", sequence(6, 5), sequence(6, 5)),
    "mul": made("mul", sequence(6, 5), sequence(6, 5)),
    "concat": made("concat", sequence(6, 5), sequence(2, 5)),
    "add_prefix": made("add_prefix", sequence(6, 5), sequence(2, 5)),
    "slice": made("slice", sequence(6, 5), start=1, stop=4),
    "gelu": made("gelu", sequence(6, 5)),
    "gelu_tanh": made("gelu_tanh", sequence(6, 5)),
}


@pytest.mark.parametrize("name", CASES)
def test_operators_on_tokens(name: str) -> None:
    check_both(CASES[name])


def layer(channels: int = 12, tokens: int = 5, heads: int = 3, causal: bool = False) -> Graph:
    """A pre-norm encoder layer, as the library's `transformer`."""
    make = GraphMaker(input=sequence(channels, tokens))
    normed = make.add("layer_norm", "in")
    query, key, value = (make.add("linear", normed, to=channels) for _ in range(3))
    mixed = make.add("attend", query, key, value, heads=heads, causal=causal)
    first = make.add("add", make.add("linear", mixed, to=channels), "in")
    hidden = make.add("gelu", make.add("linear", make.add("layer_norm", first), to=2 * channels))
    return make.graph(make.add("add", make.add("linear", hidden, to=channels), first))


def test_modules_around_attention_are_called_by_what_they_make() -> None:
    assert [n for n in graph_state(layer()) if n.endswith("weight")] == [
        "norm1.weight",
        "query.weight",
        "key.weight",
        "value.weight",
        "project.weight",
        "norm2.weight",
        "linear1.weight",
        "linear2.weight",
    ]
    assert "attend(self.query(y), self.key(y), self.value(y), 4)" in block_source(layer())
    check_both(layer(), 1e-4)


def test_a_query_that_is_also_the_key_has_no_role() -> None:
    make = GraphMaker(input=sequence(4, 3))
    both = make.add("linear", "in", to=4)
    graph = make.graph(make.add("attend", both, both, "in", heads=2))
    assert list(graph_state(graph)) == ["linear.weight", "linear.bias"]
    check_both(graph)


def test_causal_attention_does_not_look_ahead() -> None:
    graph = layer(causal=True)
    weights, inputs = randomised(graph_state(graph)), inputs_of(graph)
    before = run(block_onnx(graph, batch=2, weights=weights), *inputs.values())
    inputs["in"][:, 3:] += 1000.0
    after = run(block_onnx(graph, batch=2, weights=weights), *inputs.values())
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 1


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("precision", "unit"), [("fp16", 2.0**-11), ("bf16", 2.0**-8)])
def test_attention_in_16_bits(precision: str, unit: float, causal: bool) -> None:
    """By ONNX's own reference, operator by operator, each rounded: no sum leaves the range, no weight is lost.

    Queries and keys are large, so that products before scaling would not fit into 16 bits, and shares are sharp.
    """
    graph = made("attend", *(sequence(128, 6),) * 3, heads=2, causal=causal)
    rng = np.random.default_rng(3)
    inputs = {n: drawn(t, rng, 2) for n, t in graph.inputs.items()}
    inputs["in"] *= 40
    inputs["in2"] = (inputs["in"] + inputs["in2"]).astype(np.float32)
    assert np.abs(inputs["in"][0, :, :64] @ inputs["in2"][0, :, :64].T).max() > 65504
    rounded = {n: x.astype(np.float16 if precision == "fp16" else _bfloat16()) for n, x in inputs.items()}
    single = block_onnx(graph, batch=2)
    expected = run(single, *(x.astype(np.float32) for x in rounded.values()))
    model = block_onnx(graph, batch=2, precision=precision)
    onnx.checker.check_model(model, full_check=True)
    found = ReferenceEvaluator(model).run(None, rounded)[0].astype(np.float32)
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() <= 8 * unit * np.abs(expected).max()


def _bfloat16() -> Any:
    return onnx.helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)


def test_masks_of_one_length_are_stored_once() -> None:
    make = GraphMaker(input=sequence(4, 3))
    at = "in"
    for _ in range(3):
        at = make.add("attend", at, at, at, heads=2, causal=True)
    initializers = [i.name for i in block_onnx(make.graph(at)).graph.initializer]
    assert [n for n in initializers if "causal" in n] == ["constant/causal_3"]


# ------------------------------------------------------------------------------------------------ searched widths

WIDE = "\nblock wide(hidden) {\n in | linear -> hidden | bn | relu | layer_norm | linear -> in.channels | residual\n}\n"

SEARCHED = {
    "mlp": ("8 .. 32 step 8", "mlp { hidden W }"),
    "heads": ("1 .. 4", "attention { heads W  head_width 4 }"),
    "some heads": ("2 .. 6 step 2", "attention { heads W  head_width 6  causal yes  bias no }"),
    "transformer": ("8 .. 32 step 8", "transformer { heads 2  hidden W }"),
    "transformer's heads": ("1 .. 3", "transformer { heads W  head_width 4  act gelu_tanh }"),
    "norms of hidden channels": ("8 .. 32 step 8", "wide { hidden W }"),
}
"""The widths, and a layer that has one of them."""


def space_text(layer: str) -> str:
    own = WIDE if "wide" in layer else ""
    return in_space(f" stage p patch_embed {{ patch 4 }} -> 8\n stage t {layer}\n head global_pool | linear") + own


def widths_of(grid: str) -> list[int]:
    first, last, *step = (int(n) for n in grid.replace("..", "").replace("step", "").split())
    return list(range(first, last + 1, *step))


def loaded(source: str, name: str = "Small") -> nn.Module:
    module: nn.Module = executed(source)[name]()
    return module


def prunode(name: str, literal: bool = False) -> Prunode:
    grid, text = SEARCHED[name]
    network = network_of(space_of(space_text(text.replace("W", grid))))
    torch.manual_seed(0)
    supernet = loaded(supernet_source(network, relax(network), find_method("prunet"), literal))
    (node,) = (m for m in supernet.modules() if isinstance(m, Prunode))
    stirred(node.block)
    return node


def small_block(layer: str) -> nn.Module:
    """The layer as a network of its own has it."""
    found = loaded(model_source(network_of(space_of(space_text(layer))))).get_submodule("t.0")
    return found.double()


@pytest.mark.parametrize("name", SEARCHED)
def test_a_width_is_the_small_block_with_sliced_weights(name: str) -> None:
    grid, text = SEARCHED[name]
    node = prunode(name)
    assert list(node.widths) == widths_of(grid)
    block, x = node.block, torch.randn(3, 4, 8, dtype=torch.float64)
    for width in node.widths:
        small = small_block(text.replace("W", str(width)))
        for training in (False, True):
            block.train(training).zero_grad()
            small.train(training).zero_grad()
            before = {key: tensor.clone() for key, tensor in block.state_dict().items()}
            for tensor, whole in zip(small.state_dict().values(), block.state_dict().values(), strict=True):
                tensor.copy_(first_part(whole, tensor))
            (ours,) = block(x, (width,))
            assert_same(block, ours, small, small(x), before)


@pytest.mark.parametrize("name", SEARCHED)
@pytest.mark.parametrize("training", [False, True])
def test_both_forms_of_a_prunode_agree(name: str, training: bool) -> None:
    x, found = torch.randn(3, 4, 8, dtype=torch.float64), []
    for literal in (False, True):
        node = prunode(name, literal)
        block = node.block.train(training)
        outputs = block(x, (node.widths[0], node.widths[-1]))
        sum(output.sin().sum() for output in outputs).backward()
        found.append((outputs, block))
    (ours, shared), (theirs, literal_form) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
    for (key, mine), other in zip(shared.named_parameters(), literal_form.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-8, atol=1e-8, msg=key)


def test_attention_is_shared_by_all_numbers_of_heads_and_computed_once() -> None:
    """Queries, keys, values and attention for the most heads; for each number, the first columns of what projects."""
    node = prunode("transformer's heads")
    seen: list[tuple[str, tuple[int, ...]]] = []
    for name, module in node.block.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(lambda _, x, name=name: seen.append((name, tuple(x[0].shape))))
    node.block(torch.randn(2, 4, 8, dtype=torch.float64), (1, 3))
    assert [name for name, _ in seen[:3]] == ["query", "key", "value"]
    assert [(name, shape[-1]) for name, shape in seen if name == "project"] == [("project", 4), ("project", 12)]
    assert sum(name == "query" for name, _ in seen) == 1


def test_the_width_of_each_head_is_no_prunode() -> None:
    """With another width of the heads, none of them is a part of one before."""
    network = network_of(space_of(space_text("attention { heads 2  head_width 4 .. 8 step 4 }")))
    with pytest.raises(NascError, match="`head_width` is the width of each head") as caught:
        relax(network)
    assert caught.value.help is not None and "number of heads" in caught.value.help


# ------------------------------------------------------------------------------------------------ latencies

NO_OPENVINO = pytest.mark.skipif(OpenVino().available() is not None, reason="openvino is not installed")
GRAPHS = {"layer": layer(causal=True), "embedding": CASES["embedding"], "class_token": CASES["class_token"]}


@pytest.mark.parametrize("name", ["onnxruntime", "torch", "analytic", pytest.param("openvino", marks=NO_OPENVINO)])
def test_engines_measure_blocks_of_tokens(name: str, tmp_path: Path) -> None:
    """Sequences and token numbers go in."""
    store_roofline(CEILINGS, tmp_path / "ceilings.json")
    options = TimingOptions(batch_us=100, min_rounds=3, max_rounds=3, ceilings=tmp_path / "ceilings.json")
    engine = load_engine(ENGINES[name], options)
    target = Target(engine=name, batch=2)
    models = [model_of(graph, target, form_of(engine)) for graph in GRAPHS.values()]
    found = engine.measure(models, engine.environment(target), None).measurements
    assert [m.status for m in found] == ["ok"] * 3, found
    assert all(m.median and m.median > 0 for m in found)


def test_the_torch_engine_s_modules_give_what_onnx_gives() -> None:
    for graph in GRAPHS.values():
        assert_torch_equals_onnx(graph)


def test_the_formula_counts_the_products_of_attention_and_the_rows_of_an_embedding() -> None:
    (attention,) = kernels(CASES["attend causally"])
    # Each of 5 queries by 5 keys, and as many shares by values, in 12 channels.
    assert (attention.macs, attention.weights, attention.moved) == (2 * 5 * 5 * 12, 0, 4 * 60)
    (embedding,) = kernels(CASES["embedding"])
    assert (embedding.macs, embedding.weights) == (0, 0) and embedding.moved >= 30


def test_the_memory_that_scores_take_is_reckoned_with() -> None:
    long = made("attend", *(sequence(8, 1000),) * 3, heads=8)
    assert memory_estimate(long, batch=2) >= 2 * 8 * 1000 * 1000 * 4


# ------------------------------------------------------------------------------------------------ whole networks

TINY = SPACES_FOLDER / "tiny_gpt.nas"


def gpt2_text(layers: int, tokens: int, vocabulary: int) -> str:
    """The shipped network with other sizes."""
    text = (SPACES_FOLDER / "networks" / "gpt2.nas").read_text(encoding="utf-8")
    for old, new in (("x 12", f"x {layers}"), ("tokens 1024", f"tokens {tokens}"), (" 50257", f" {vocabulary}")):
        assert old in text
        text = text.replace(old, new)
    return text


def reference_gpt2(**options: Any) -> nn.Module:
    package = pytest.importorskip(
        "transformers", reason="the package transformers, one of nasc's dev extra, is missing"
    )
    config = package.GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **options)
    model: nn.Module = package.GPT2LMHeadModel(config)
    return model.eval()


NAMES = {"ln_1": "norm1", "attn.c_proj": "project", "ln_2": "norm2", "mlp.c_fc": "linear1", "mlp.c_proj": "linear2"}


def from_gpt2(state: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """The tensors of `transformers`' GPT-2 by our names. Its linear layers hold their weights turned round."""
    found = {"words.0.weight": state["transformer.wte.weight"], "places.0.weight": state["transformer.wpe.weight"]}
    for i in range(layers):
        there, here = f"transformer.h.{i}.", f"body.{i}."
        for part in ("weight", "bias"):
            fused = state[f"{there}attn.c_attn.{part}"].T if part == "weight" else state[f"{there}attn.c_attn.{part}"]
            for name, rows in zip(("query", "key", "value"), fused.chunk(3), strict=True):
                found[f"{here}{name}.{part}"] = rows
            for theirs, ours in NAMES.items():
                tensor = state[f"{there}{theirs}.{part}"]
                found[f"{here}{ours}.{part}"] = tensor.T if tensor.dim() == 2 else tensor
    found |= {f"head.0.{part}": state[f"transformer.ln_f.{part}"] for part in ("weight", "bias")}
    return {**found, "head.1.weight": state["lm_head.weight"]}


def assert_equals_gpt2(theirs: nn.Module, text: str, layers: int, tokens: int) -> None:
    ours = loaded(model_source(network_of(space_of(text))), "Gpt2").eval()
    random = torch.Generator().manual_seed(0)
    for tensor in theirs.parameters():
        tensor.data.normal_(0.0 if tensor.dim() > 1 else 0.5, 0.05 if tensor.dim() > 1 else 0.3, generator=random)
    ours.load_state_dict(from_gpt2(theirs.state_dict(), layers))
    x = torch.randint(0, 1000, (2, tokens), generator=random)
    with torch.no_grad():
        expected, found = theirs(x).logits, ours(x)
    assert found.shape == expected.shape and expected.std() > 0.1
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_gpt2_computes_what_transformers_does() -> None:
    theirs = reference_gpt2(n_layer=2, n_positions=24, vocab_size=1000)
    assert_equals_gpt2(theirs, gpt2_text(2, 24, 1000), 2, 24)


@pytest.mark.slow
def test_gpt2_at_full_size_computes_what_transformers_does() -> None:
    """With tied embeddings there and a copy of them here; a part of a longest text, which the module takes too."""
    assert_equals_gpt2(reference_gpt2(), gpt2_text(12, 1024, 50257), 12, 40)


def test_gpt2_has_the_parameters_and_macs_of_the_published_network() -> None:
    with torch.device("meta"):
        theirs = reference_gpt2()
        calls: list[tuple[Any, int]] = []
        for module in theirs.modules():
            if type(module).__name__ == "Conv1D" or isinstance(module, nn.Linear):
                module.register_forward_hook(lambda m, x, y: calls.append((m, y.numel() * x[0].shape[-1])))
        with torch.no_grad():
            theirs(torch.zeros(1, 1024, dtype=torch.int64))
    cost = cost_of(space_of(gpt2_text(12, 1024, 50257))).as_json()
    published = sum(p.numel() for p in theirs.parameters())
    assert published == 124_439_808 and len(calls) == 4 * 12 + 1
    assert cost == {"params": published + 50257 * 768, "macs": sum(count for _, count in calls)}


def member_of(path: Path, seed: int = 0) -> str:
    module = module_of(path)
    space = elaborated(module)
    (member,) = sample_members(space, 1, seed=seed)
    return member_text(space, member, module)


ONE_MEMBER = {
    "vision": lambda: (SPACES_FOLDER / "networks" / "deit_tiny.nas").read_text(encoding="utf-8").replace("x 12", "x 2"),
    "language": lambda: member_of(TINY, seed=3),
}


@pytest.mark.parametrize("name", ONE_MEMBER)
def test_the_files_of_one_transformer(name: str, tmp_path: Path) -> None:
    """`model.py` loads its weights by name, gives what the ONNX file gives at any batch, and torch exports it."""
    (tmp_path / "net.nas").write_text(ONE_MEMBER[name](), encoding="utf-8")
    compile_file(tmp_path / "net.nas", tmp_path / "out")
    model = imported(tmp_path / "out" / "model.py")
    network = model.load(str(tmp_path / "out" / "weights.safetensors"))
    rng = np.random.default_rng(0)
    for batch in (1, 3):
        shape = (batch, *model.INPUT_SHAPE)
        x = rng.integers(0, 256, shape) if name == "language" else rng.standard_normal(shape, np.float32)
        with torch.no_grad():
            ours = network(torch.from_numpy(x)).numpy()
        theirs = run(onnx.load(str(tmp_path / "out" / "model.onnx")), x)
        assert ours.shape == theirs.shape == (batch, *((64, 256) if name == "language" else (1000,)))
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(ours).max()
    exported = torch.export.export(network, (torch.from_numpy(x),)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(torch.from_numpy(x)), torch.from_numpy(ours), rtol=1e-5, atol=1e-6)
    assert getattr(model, "VOCABULARY", None) == (256 if name == "language" else None)


def test_every_member_of_the_shipped_transformer_spaces_can_be_compiled() -> None:
    """Members drawn of `vit` and `gpt`: the sources compile, and hold as many weights as are counted."""
    for name in ("vit", "gpt", "tiny_gpt"):
        for seed in range(3):
            space = space_of(member_of(SPACES_FOLDER / f"{name}.nas", seed))
            network = network_of(space)
            with torch.device("meta"):
                module = loaded(model_source(network), class_name(network.name, ()))
            assert sum(p.numel() for p in module.parameters()) == cost_of(space).as_json()["params"]
