"""TensorRT: parsing, building and errors with TensorRT for RTX, which needs no GPU; timing caches; environments."""

from __future__ import annotations

import itertools
from pathlib import Path

import onnx
import pytest

from nasc.compiler.lower_onnx import block_onnx
from nasc.compiler.manifest import Target
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Device, Environment
from nasc.runtime.engines import ENGINES, TimingOptions, load_engine
from nasc.runtime.engines.base import NotBuilt
from nasc.runtime.engines.tensorrt import TensorRt, TensorRtRtx, effective_precision
from nasc.runtime.engines.tensorrt_builder import PlanBuilder, failure, message_log
from nasc.runtime.engines.tensorrt_cache import TimingCache, cache_file
from tests.block_kinds import kinds
from tests.graphs import GraphMaker, image

RTX = TensorRtRtx()
rtx = pytest.mark.skipif(RTX.missing() is not None, reason=str(RTX.missing()))

GPU = Device(kind="cuda", model="NVIDIA Pretend", cores=8, features=("sm_90", "80 GiB"), system="Linux x86_64")

# ------------------------------------------------------------------------------------------------- building


@pytest.fixture(scope="module")
def builder() -> PlanBuilder:
    return RTX.builder


def environment(precision: str = "fp16") -> Environment:
    engine = TensorRt()
    engine.__dict__.update(device=GPU, version="10.13.0")
    return engine.environment(Target(engine="tensorrt", precision=precision))


def small(precision: str = "fp16") -> onnx.ModelProto:
    make = GraphMaker(input=image(4, 16))
    return block_onnx(make.graph(make.add("relu", make.add("conv2d", "in", to=8, kernel=3))), precision=precision)


@rtx
@pytest.mark.tensorrt_rtx
@pytest.mark.slow
def test_every_kind_of_block_is_parsed_and_built() -> None:
    """Every structure of every shipped space in 16 bits."""
    built = set()
    for kind in kinds():
        model = block_onnx(kind.graph, precision="fp16").SerializeToString()
        assert len(RTX.build(model, environment())) > 10_000, kind.name
        built.update(node.op for node in kind.graph.nodes)
    assert len(kinds()) > 170
    assert {"embedding", "position", "attend", "tokens", "class_token", "first_token"} <= built


@rtx
@pytest.mark.tensorrt_rtx
@pytest.mark.slow
def test_every_kind_of_block_is_parsed_in_bfloat16(builder: PlanBuilder) -> None:
    """The parser is where types are refused; building is the same for every type."""
    for kind in kinds():
        model = block_onnx(kind.graph, precision="bf16").SerializeToString()
        assert builder.network(model).num_outputs == 1, kind.name


@rtx
@pytest.mark.tensorrt_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("level", [0, 3, 5])
def test_a_plan_of_each_precision_at_each_level(precision: str, level: int) -> None:
    plan = PlanBuilder(RTX.trt, level=level).build(small(precision).SerializeToString())
    assert isinstance(plan, bytes) and len(plan) > 10_000


@rtx
@pytest.mark.tensorrt_rtx
def test_a_network_has_the_type_of_its_model(builder: PlanBuilder) -> None:
    for precision, kind in (("fp32", "FLOAT"), ("fp16", "HALF"), ("bf16", "BF16")):
        network = builder.network(small(precision).SerializeToString())
        assert (network.get_input(0).dtype.name, network.get_output(0).dtype.name) == (kind, kind)


def broken(change: str) -> bytes:
    """A small model with one thing wrong."""
    model = small()
    match change:
        case "junk":
            return b"junk"
        case "unknown operator":
            model.graph.node[0].op_type = "Wonder"
        case "weights of another size":
            model.graph.initializer[0].dims[1] = 3
        case "mixed types":
            model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        case "open batch":
            model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
        case "channels that do not fit":
            model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
        case "empty":
            return b""
    return model.SerializeToString()


@rtx
@pytest.mark.tensorrt_rtx
@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ("junk", "build_failed", "MODEL_DESERIALIZE_FAILED"),
        ("unknown operator", "unsupported", "Wonder"),
        ("weights of another size", "build_failed", "Failed to import initializer: conv.weight"),
        ("mixed types", "build_failed", "must be of same type"),
        ("open batch", "build_failed", "no optimization profile"),
        ("channels that do not fit", "build_failed", "in Conv"),
        ("empty", "build_failed", "at least one output"),
    ],
)
def test_what_cannot_be_built_says_why(builder: PlanBuilder, change: str, status: str, reason: str) -> None:
    with pytest.raises(NotBuilt) as caught:
        builder.build(broken(change))
    assert caught.value.status == status and reason in str(caught.value)
    assert builder.build(small().SerializeToString()), "and the next one is built"


@rtx
@pytest.mark.tensorrt_rtx
def test_too_little_workspace_is_told_in_the_builder_s_words() -> None:
    builder = PlanBuilder(RTX.trt)
    builder.config.set_memory_pool_limit(RTX.trt.MemoryPoolType.WORKSPACE, 1)
    with pytest.raises(NotBuilt, match="within workspace limit") as caught:
        builder.build(small().SerializeToString())
    assert caught.value.status == "build_failed"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("Error Code 2: OutOfMemory (no further information)", "out_of_memory"),
        ("[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)", "out_of_memory"),
        ("FAILED_ALLOCATION: cannot allocate", "out_of_memory"),
        ("Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[a]}.)", "unsupported"),
        ("Error Code 4: API Usage Error", "build_failed"),
    ],
)
def test_the_status_of_a_message(message: str, status: str) -> None:
    error = failure([message, "another"], "nothing was said")
    assert error.status == status and str(error) == f"{message}; another"


def test_without_a_message() -> None:
    error = failure([], "nothing was said")
    assert (error.status, str(error)) == ("build_failed", "nothing was said")


@rtx
@pytest.mark.tensorrt_rtx
def test_the_log_keeps_errors_only_and_not_for_ever() -> None:
    log, severity = message_log(RTX.trt), RTX.trt.ILogger.Severity
    log.log(severity.WARNING, "mind")
    for number in range(100):
        log.log(severity.ERROR, str(number))
    log.log(severity.INTERNAL_ERROR, "worst")
    assert len(log.errors) == 20 and log.errors[-1] == "worst" and "mind" not in log.errors


# ------------------------------------------------------------------------------------------------- the timing cache


class PretendCache:
    """A timing cache that is a set of words."""

    def __init__(self, words: set[str]) -> None:
        self.words = words

    def combine(self, other: PretendCache, ignore_mismatch: bool) -> bool:
        self.words |= other.words
        return True

    def serialize(self) -> bytes:
        return " ".join(["cache", *sorted(self.words)]).encode()


class PretendConfig:
    """A builder configuration; it takes no cache that holds `foreign`."""

    def __init__(self) -> None:
        self.cache: PretendCache | None = None

    def create_timing_cache(self, blob: bytes) -> PretendCache | None:
        head, *words = blob.decode().split() or ["cache"]
        return PretendCache(set(words)) if head == "cache" else None

    def set_timing_cache(self, cache: PretendCache, ignore_mismatch: bool) -> bool:
        if "foreign" in cache.words:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> PretendCache | None:
        return self.cache


def attached(path: Path) -> tuple[TimingCache, PretendConfig]:
    cache, config = TimingCache(path), PretendConfig()
    cache.attach(config)
    return cache, config


def test_two_processes_share_what_they_timed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tensorrt.cache"
    (one, first), (two, second) = attached(path), attached(path)
    assert first.cache is not None and second.cache is not None
    first.cache.words.add("a")
    one.save(first)
    second.cache.words.add("b")
    two.save(second)
    assert path.read_bytes() == b"cache a b"
    _, third = attached(path)
    assert third.cache is not None and third.cache.words == {"a", "b"}


@pytest.mark.parametrize("stored", [b"junk of another version", b"cache foreign"])
def test_a_cache_that_does_not_fit_is_begun_anew(tmp_path: Path, stored: bytes) -> None:
    path = tmp_path / "tensorrt.cache"
    path.write_bytes(stored)
    _, config = attached(path)
    assert config.cache is not None and config.cache.words == set()


def test_the_cache_is_not_saved_after_every_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 3.0)
    monkeypatch.setattr("nasc.runtime.engines.tensorrt_cache.time.monotonic", lambda: next(clock))
    cache, config = attached(tmp_path / "tensorrt.cache")
    saves: list[bytes] = []
    monkeypatch.setattr(TimingCache, "_write", lambda self, blob: saves.append(blob))
    cache.keep(config)
    assert len(saves) == 1, "what the first model taught is kept at once"
    for _ in range(12):
        cache.keep(config)
    assert 2 <= len(saves) <= 5


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NascError, match="timing cache") as caught:
        TimingCache(tmp_path / "file" / "tensorrt.cache").attach(PretendConfig())
    assert "XDG_CACHE_HOME" in str(caught.value.help)


def test_a_cache_belongs_to_a_version_and_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = {cache_file("tensorrt", version, device) for version in ("10.1", "11.0") for device in ("a", "b")}
    assert len(files) == 4 and all(tmp_path in file.parents for file in files)


@rtx
@pytest.mark.tensorrt_rtx
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_cache_s_calls_are_the_library_s(tmp_path: Path) -> None:
    """TensorRT for RTX has the same calls, which keep nothing."""
    cache = TimingCache(tmp_path / "rtx.cache")
    builder = PlanBuilder(RTX.trt, cache=cache)
    builder.build(small().SerializeToString())
    assert cache.path.stat().st_size > 0
    PlanBuilder(RTX.trt, cache=TimingCache(cache.path)).build(small().SerializeToString())
    assert sorted(p.name for p in tmp_path.iterdir()) in (["rtx.cache"], ["rtx.cache", "rtx.cache.lock"])


# ------------------------------------------------------------------------------------------------- the environment


def test_what_differs_is_another_environment() -> None:
    base = environment()
    assert base.timing_mode == "cuda graph, builder level 3" and base.device == GPU
    engine = TensorRt(TimingOptions(cuda_graph=False, builder_level=1))
    engine.__dict__.update(device=GPU, version="10.13.0")
    other = engine.environment(Target(precision="fp16"))
    assert other.timing_mode == "enqueue, builder level 1" and other.env_id != base.env_id
    assert environment("bf16").env_id != base.env_id


def test_single_precision_is_what_the_gpu_makes_of_it() -> None:
    assert effective_precision(environment("fp32")) == "tf32"
    assert effective_precision(environment("fp16")) == "fp16"
    turing = environment("fp32").model_copy(update={"device": GPU.model_copy(update={"features": ("sm_75",)})})
    assert effective_precision(turing) == "fp32"


def test_targets_that_the_engine_cannot_serve() -> None:
    engine = TensorRt()
    engine.__dict__.update(device=GPU, version="10.13.0")
    with pytest.raises(NascError, match="`int8`"):
        engine.environment(Target(precision="int8"))
    with pytest.raises(NascError, match="not on `cpu`") as caught:
        engine.environment(Target(device="cpu"))
    assert "CUDA_VISIBLE_DEVICES" in str(caught.value.help)


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx", "trtexec"])
def test_an_engine_says_what_it_misses(name: str) -> None:
    engine = load_engine(ENGINES[name])
    reason = engine.available()
    assert engine.name == name
    assert reason is None or "GPU" in reason or "pip install" in reason


def test_old_versions_and_empty_packages_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stub(TensorRt):
        modules = ("tensorrt_of_the_test",)

    assert "is not installed" in str(Stub().missing())
    (tmp_path / "tensorrt_of_the_test").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert "is not installed" in str(Stub().missing()), "a namespace without code, as stubs leave it"
    (tmp_path / "tensorrt_of_the_test" / "__init__.py").write_text("__version__ = '8.6.1'\n")
    engine = Stub()
    engine.__dict__["version"] = "8.6.1"
    assert engine.missing() == "TensorRT 8.6.1 is installed; 10 or newer is needed"
    engine.__dict__["version"] = "10.13.0.35"
    assert engine.missing() is None
