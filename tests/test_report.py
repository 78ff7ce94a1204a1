"""Reports: what the pictures of a search, of a network and of a sweep show, and that no file of a run can do harm."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.cli import main
from nasc.compiler.compile import compile_file
from nasc.compiler.network import network_of
from nasc.dsl.diagnostics import NascError
from nasc.runtime.network_facts import LayerFacts, layer_facts
from nasc.runtime.pareto import Sweep, SweepRun, pareto_front, plot_pareto, read_sweep, sweep_table
from nasc.runtime.report import write_report
from nasc.runtime.report_network import place_layers, plot_network
from nasc.runtime.report_page import svg_of
from nasc.runtime.report_search import plot_candidates, plot_masks, plot_metrics, plot_remaining
from nasc.runtime.search_log import chosen_width, layers_of, read_epochs
from tests.spaces import ROOT, in_space, space_of

TINY = """nas 1
space tiny {
  input       image 1 x 8 x 8
  output      classes 10
  granularity 8
  skip        same_shape

  stage stem  conv { kernel 3  stride 2 }                     -> 8
  stage low   irb  x 2  { kernel {3, 5}  expand (1, 4] }      -> 8
  head        global_pool | linear
}
search prunet { epochs 5  warmup 1  batch 32  alpha 0.3  cost macs  threshold 0.15 .. 0.55 }
"""
SECTIONS = [
    "Result",
    "The network: tiny",
    "Over time",
    "Candidates",
    "Candidates left",
    "Blocks and layers going",
    "Masks closing in",
]


class Page(HTMLParser):
    """What of a page a browser acts on: its tags, and every address in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: set[str] = set()
        self.alts: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        assert not [name for name in found if name.startswith("on") or name == "srcset"]
        if tag == "img":
            self.alts.append(found["alt"] or "")
            self.sources.append(found["src"] or "")
        if tag == "a":
            self.links.append(found["href"] or "")

    @property
    def headings(self) -> list[str]:
        return re.findall("<h2>(.*?)</h2>", self.text)

    def pictures(self) -> list[ElementTree.Element]:
        """The pictures, each of which must be whole by itself."""
        assert all(source.startswith("data:image/svg+xml;base64,") for source in self.sources)
        svgs = [base64.b64decode(source.partition(",")[2], validate=True) for source in self.sources]
        return [ElementTree.fromstring(svg) for svg in svgs]


def require_harmless(path: Path) -> Page:
    """A page that opens nothing and runs nothing."""
    page = Page(path)
    allowed = {"html", "meta", "title", "style", "h1", "h2", "table", "tr", "th", "td", "figure", "img", "figcaption"}
    assert page.tags <= allowed | {"details", "summary", "pre", "p", "a"}
    assert all(alt.strip() for alt in page.alts)
    assert all(link.startswith("./") for link in page.links) and "@import" not in page.text and "url(" not in page.text
    for picture in page.pictures():
        for element in picture.iter():
            assert not element.tag.endswith(("script", "foreignObject", "}a"))
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:image/png"))
    return page


def write_lines(folder: Path, *records: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    return folder


def epoch(number: int, probabilities: Any, masks: Any = None, **more: Any) -> dict[str, Any]:
    phase = "search" if number else "warm-up"
    threshold = 0.1 * number if number else None
    record = {"epoch": number, "phase": phase, "threshold": threshold, "loss": 1.0}
    return {**record, "probabilities": probabilities, "masks": masks or {}, **more}


LOG = [
    epoch(0, {"a.1": {"0": 0.5, "1": 0.5}, "a.2": {"0": 1.0}}, {"a.1#0": [8, 16], "a.1#1": [8, 24]}),
    epoch(1, {"a.1": {"0": 0.8, "1": 0.2}, "a.2": {"0": 0.6, "skip": 0.4}}, {"a.1#0": [8, 16], "a.1#1": [16, 24]}),
    epoch(2, {"a.1": {"0": 1.0}, "a.2": {"0": 0.3, "skip": 0.7}}, {"a.1#0": [16, 24]}),
    epoch(3, {"a.1": {"0": 1.0}, "a.2": {"skip": 1.0}}, {"a.1#0": [16, 24]}),
]
CHOICES = {"a.1": {"variant": 7, "values": {"kernel": 5, "expand": 24}}, "a.2": None}

# ------------------------------------------------------------------------------------------------- a real search


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small search's folder."""
    root = tmp_path_factory.mktemp("search")
    (root / "tiny.nas").write_text(TINY)
    compile_file(root / "tiny.nas", root / "built")
    options = ["--data", "synthetic:128", "--out", str(root / "run"), "--threads", "1", "--seed", "3"]
    done = subprocess.run(
        [sys.executable, str(root / "built" / "search.py"), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return root / "run"


def test_the_report_of_a_search_shows_all_of_it(run: Path, tmp_path: Path) -> None:
    first = CliRunner().invoke(main, ["report", str(run), "-o", str(tmp_path / "a.html")])
    assert first.exit_code == 0 and first.stdout.strip() == str(tmp_path / "a.html")
    page = require_harmless(tmp_path / "a.html")
    assert page.headings == SECTIONS and len(page.sources) == 5
    assert "2 layers over 5 epochs" in " ".join(page.alts)
    cost = json.loads((run / "result.json").read_text())["cost"]
    assert f"{cost['found']:.4g} MACs" in page.text or f"{cost['found']:,} MACs" in page.text
    again = write_report(run, tmp_path / "b.html")
    assert again.read_bytes() == (tmp_path / "a.html").read_bytes()


def test_the_log_of_a_search_is_read_whole(run: Path) -> None:
    """Nothing that a search really writes is taken for malformed."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = read_epochs(records)
    assert [e.probabilities for e in epochs] == [r["probabilities"] for r in records]
    assert [{f"{a}#{c}": list(p) for a, those in e.masks.items() for c, p in those.items()} for e in epochs] == [
        r["masks"] for r in records
    ]
    result = json.loads((run / "result.json").read_text())
    for address in layers_of(epochs):
        choice = result["choices"][address]
        expected = choice["values"]["expand"] if choice is not None else None
        assert chosen_width(epochs, address, choice) == expected


# ------------------------------------------------------------------------------------------------- its pictures


def test_bands_end_where_candidates_go_and_the_found_width_is_marked() -> None:
    figure = plot_masks(read_epochs(LOG), CHOICES)
    assert figure is not None
    (axes,) = figure.axes
    lines = [(list(line.get_xdata()), list(line.get_ydata()), line.get_marker()) for line in axes.lines]
    assert ([1, 2, 3, 4], [8, 8, 16, 16], "None") in lines and ([1, 2, 3, 4], [16, 16, 24, 24], "None") in lines
    assert ([1, 2], [8, 16], "None") in lines and ([2, 2], [16, 24], "x") in lines
    assert ([4], [24], "D") in lines and len(lines) == 6
    assert axes.get_title() == "a.1"


def test_candidates_are_drawn_with_their_end_and_the_threshold() -> None:
    figure = plot_candidates(read_epochs(LOG), CHOICES)
    assert figure is not None
    first, second = figure.axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata()), line.get_marker()) for line in first.lines]
    assert drawn[0][:2] == ([2, 3, 4], pytest.approx([0.1, 0.2, 0.3]))
    assert ([1, 2, 3, 4], [0.5, 0.8, 1, 1]) in [row[:2] for row in drawn] and ([2], [0.2], "x") in drawn
    skip = [line for line in second.lines if list(line.get_ydata()) == [0.4, 0.7, 1.0]]
    others = {line.get_color() for line in first.lines} | {
        line.get_color() for line in second.lines if line not in skip
    }
    assert len(skip) == 1 and skip[0].get_color() not in others
    assert second.get_title() == "a.2 (dropped)"


def test_the_overview_counts_candidates_and_says_dropped() -> None:
    figure = plot_remaining(read_epochs(LOG))
    assert figure is not None
    assert figure.axes[0].images[0].get_array().tolist() == [[2, 2, 1, 1], [1, 2, 2, 0]]


def test_epochs_count_from_1_in_every_picture_and_are_whole() -> None:
    """As in what a search prints and in `states/`; the log counts from 0."""
    epochs = read_epochs(LOG)
    for figure in (plot_metrics(LOG), plot_masks(epochs, {}), plot_candidates(epochs, {}), plot_remaining(epochs)):
        assert figure is not None
        axes = figure.axes[0]
        ends = [float(end) for line in axes.lines for end in line.get_xdata()] or [
            axes.images[0].get_extent()[0] + 0.5,
            axes.images[0].get_extent()[1] - 0.5,
        ]
        assert (min(ends), max(ends)) == (1, 4)
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_settings_and_clocks_are_no_metrics() -> None:
    figure = plot_metrics(
        [{"epoch": e, "loss": 1 / e, "cost": 5, "unit": "us", "rate": e, "seconds": e} for e in (1, 2)]
    )
    assert figure is not None and [axes.get_title() for axes in figure.axes] == ["loss", "cost, us"]
    mixture = plot_metrics([{"epoch": 0, "cost": 5, "unit": "us", "probabilities": {"a.1": {"0": 1.0}}}])
    assert mixture is not None and mixture.axes[0].get_title() == "expected cost, us"


def test_a_legend_names_only_what_is_drawn() -> None:
    """FBNet has no threshold, and removes nothing."""
    kept = [epoch(e, {"a.1": {"0": 0.5, "1": 0.5}}) for e in range(2)]
    kept = [{**record, "threshold": None} for record in kept]
    for log, words in ((kept, set()), (LOG, {"threshold", "last epoch before it went", "skip"})):
        figure = plot_candidates(read_epochs(log), {})
        assert figure is not None
        assert {text.get_text() for text in figure.legends[0].get_texts()} == words | {"candidate 0", "candidate 1"}


@pytest.mark.parametrize("layers, candidates", [(21, 2), (1, 64)])
def test_large_searches_have_pictures(layers: int, candidates: int) -> None:
    share = {str(i): 1 / candidates for i in range(candidates)}
    masks = {f"s.{at}#{i}": [8, 16] for at in range(layers) for i in range(candidates)}
    epochs = read_epochs([epoch(e, {f"s.{at}": share for at in range(layers)}, masks) for e in range(2)])
    for figure in (plot_masks(epochs, {}), plot_candidates(epochs, {}), plot_remaining(epochs)):
        assert figure is not None and ElementTree.fromstring(svg_of(figure)).tag.endswith("svg")


# ------------------------------------------------------------------------------------------------- networks


def facts_of(name: str) -> dict[str, LayerFacts]:
    network = network_of(space_of(ROOT / "spaces" / "networks" / f"{name}.nas"))
    return {layer.address: layer for layer in layer_facts(network)}


# Published: by stage the layers, kernel, expansion ratio (None: nothing hidden), output channels, SE, first stride.
GPUNET_1 = [
    ("stem", 1, 3, None, 24, False, 2),
    ("conv", 1, 3, None, 24, False, 1),
    ("fused1", 2, 3, 4, 64, False, 2),
    ("fused2", 2, 3, 4, 96, False, 2),
    ("irb1", 1, 3, 2, 160, True, 2),
    ("irb2", 4, 3, 5, 288, False, 1),
    ("irb3", 4, 3, 4, 448, True, 2),
]
EFFICIENTNET_B0 = [
    ("stem", 1, 3, None, 32, False, 2),
    ("b1", 1, 3, 1, 16, True, 1),
    ("b2", 2, 3, 6, 24, True, 2),
    ("b3", 2, 5, 6, 40, True, 2),
    ("b4", 3, 3, 6, 80, True, 2),
    ("b5", 3, 5, 6, 112, True, 1),
    ("b6", 4, 5, 6, 192, True, 2),
    ("b7", 1, 3, 6, 320, True, 1),
]


@pytest.mark.parametrize("name, stages", [("gpunet_1", GPUNET_1), ("efficientnet_b0", EFFICIENTNET_B0)])
def test_facts_of_published_networks(name: str, stages: list[tuple[Any, ...]]) -> None:
    facts = facts_of(name)
    width = 3
    for stage, count, kernel, ratio, out, gated, stride in stages:
        for at in range(1, count + 1):
            layer = facts.pop(f"{stage}.{at}")
            hidden = ratio * width if ratio is not None else None
            assert (layer.kernel, layer.hidden, layer.output) == ((kernel, kernel), hidden, out)
            assert (layer.input, layer.squeeze_excite) == (width, gated)
            # GPUNet's strided fused convolutions have no padding, so 144 becomes 71.
            assert layer.stride == (stride if at == 1 else 1)
            width = out
    head = facts.pop("head")
    assert not facts and (head.kernel, head.hidden, head.output, head.squeeze_excite) == ((1, 1), 1280, 1000, False)


def test_facts_do_not_depend_on_names() -> None:
    """Blocks of one's own: a gate is what is pooled and multiplied, whatever it is called."""
    source = """nas 1
block squeeze_excite -> filters { in | conv2d(7) -> filters }
block gated -> filters {
  wide = in | conv2d(1) -> 24 | relu
  mul(wide, wide | global_pool | conv2d(9) -> 24 | sigmoid) | conv2d(1) -> filters
}
block product -> filters { mul(in | conv2d(1 x 5) -> filters, in | conv2d(5 x 1) -> filters) }
network small {
  input image 4 x 8 x 8
  output classes 3
  stage a squeeze_excite -> 8
  stage b gated -> 8
  stage c product -> 8
  head global_pool | linear
}
"""
    a, b, c, head = layer_facts(network_of(space_of(source)))
    assert (a.kernel, a.hidden, a.squeeze_excite) == ((7, 7), None, False)
    assert (b.kernel, b.hidden, b.squeeze_excite, b.ratio) == ((1, 1), 24, True, 3.0)
    assert (c.kernel, c.hidden, c.squeeze_excite) == ((5, 1), None, False)
    assert (head.kernel, head.squeeze_excite) == (None, False)


def test_only_a_network_without_decisions_has_facts() -> None:
    for text in ("stage a conv { kernel {3, 5} } -> 8", "stage a conv x 1..3 { kernel 3 } -> 8"):
        with pytest.raises(NascError, match="still open"):
            layer_facts(network_of(space_of(in_space(f" {text}\n head global_pool | linear"))))


def test_dropped_places_are_gaps_between_the_layers_found() -> None:
    facts = tuple(facts_of("gpunet_1").values())
    kept = {layer.address: {"variant": 0, "values": {}} for layer in facts}
    choices: dict[str, Any] = {}
    for address, choice in kept.items():
        choices[address] = choice
        if address == "irb2.2":
            choices |= {"irb2.2b": None, "irb2.2c": None}
    rows = place_layers(facts, choices)
    assert [row.address for row in rows] == list(choices)
    assert [row.facts for row in rows if row.facts is not None] == list(facts)
    assert [row.address for row in rows if row.facts is None] == ["irb2.2b", "irb2.2c"]
    for other in ({}, {"irb2.1": None}, {**choices, "more.1": {}}):
        assert [row.facts for row in place_layers(facts, other)] == list(facts)


def test_boxes_are_as_wide_as_the_expansion_ratio_and_thick_where_gated() -> None:
    facts = facts_of("gpunet_1")
    figure = plot_network(place_layers(tuple(facts.values()), {}))
    boxes = [patch for patch in figure.axes[0].patches]
    assert len(boxes) == len(facts)
    for box, layer in zip(boxes, facts.values(), strict=True):
        assert box.get_width() == pytest.approx(layer.ratio / 5)
        assert (box.get_linewidth() > 2) == layer.squeeze_excite


def test_larger_kernels_are_darker() -> None:
    facts = facts_of("netadapt_v2_table8")
    figure = plot_network(place_layers(tuple(facts.values()), {}))
    built = [layer for layer in facts.values() if not layer.empty]
    light: dict[tuple[str, int], float] = {}
    for box, layer in zip(figure.axes[0].patches, built, strict=True):
        light[layer.block, max(layer.kernel or (0,))] = sum(box.get_facecolor()[:3])
    assert light["mbv3", 3] > light["mbv3", 5] > light["mbv3", 7]


# ------------------------------------------------------------------------------------------------- the Pareto front

numbers = st.integers(0, 6).map(float)


@given(st.lists(st.tuples(numbers, numbers), max_size=14), st.booleans())
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float]], higher: bool) -> None:
    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        better = a[1] >= b[1] if higher else a[1] <= b[1]
        return a[0] <= b[0] and better and a != b

    expected = {at for at, point in enumerate(points) if not any(dominates(other, point) for other in points)}
    front = pareto_front(points, higher=higher)
    assert set(front) == expected and len(front) == len(expected)
    assert [points[at][0] for at in front] == sorted(points[at][0] for at in front)


def test_nothing_is_known_of_a_nan() -> None:
    assert pareto_front([(1.0, float("nan")), (2.0, 0.5), (float("nan"), 0.9)]) == [1]


# ------------------------------------------------------------------------------------------------- sweeps


def sweep_of(*runs: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"kind": "sweep", "version": 1, "space": "tiny", "method": "prunet", "data": "digits"}
    return {**head, "cost": "macs", "unit": "MACs", "runs": list(runs), **more}


def sweep_run(folder: str, alpha: float, cost: float | None, **more: Any) -> dict[str, Any]:
    state = "done" if cost is not None else "waiting"
    entropy = 0.5 if cost is not None else None
    values = {"loss": entropy, "cross_entropy": entropy, "params": None, "macs": None, "layers": 3, "seconds": 1.5}
    known = {"folder": folder, "alpha": alpha, "lambda": 0.55, "seed": 0, "state": state, "cost": cost, **values}
    return {**known, "winner": False, "accuracy": None, "test_accuracy": None, **more}


def write_sweep(folder: Path, sweep: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(sweep) if not isinstance(sweep, str) else sweep)
    return folder


def test_a_sweep_s_table_and_picture(tmp_path: Path) -> None:
    runs = [
        sweep_run("runs/c", 1.0, 100.0, cross_entropy=0.9, accuracy=0.9, winner=True),
        sweep_run("runs/a", 0.2, 5000.0, cross_entropy=0.3, accuracy=0.8, winner=True),
        sweep_run("runs/b", 0.2, 6000.0, cross_entropy=0.4),
        sweep_run("runs/d", 2.0, None),
    ]
    sweep = read_sweep(write_sweep(tmp_path, sweep_of(*runs)) / "sweep.json")
    assert sweep == Sweep.model_validate_json(sweep.model_dump_json(by_alias=True))
    head, *lines = sweep_table(sweep).splitlines()
    assert head.split() == [
        *("alpha", "lambda", "seed", "state", "loss", "cross-entropy", "cost,", "MACs", "layers", "seconds"),
        *("accuracy", "best"),
    ]
    assert [line.split()[0] for line in lines] == ["0.2", "0.2", "1", "2"]
    assert lines[2].split()[-2:] == ["*", "front"] and lines[0].split()[-1] == "*"  # dearer and less accurate
    retrained, searched = plot_pareto(sweep).axes
    assert list(retrained.lines[0].get_xdata()) == [100.0] and list(searched.lines[0].get_xdata()) == [100.0, 5000.0]
    sizes = {line.get_xdata()[0]: line.get_markersize() for line in searched.lines[1:]}
    assert sizes[100.0] == sizes[5000.0] > sizes[6000.0]  # the winners
    assert retrained.get_xscale() == searched.get_xscale() == "log" and searched.get_yscale() == "linear"
    without = sweep.model_copy(update={"runs": tuple(r.model_copy(update={"accuracy": None}) for r in sweep.runs)})
    assert len(plot_pareto(without).axes) == 1 and "accuracy" not in sweep_table(without)
    assert without.front() == {"runs/c", "runs/a"} and sweep.front() == {"runs/c"}


@pytest.mark.parametrize("cost, unit, label", [("latency", "µs", "latency, µs"), ("macs", "MACs", "MACs")])
def test_a_sweep_s_axis_says_what_the_cost_is(tmp_path: Path, cost: str, unit: str, label: str) -> None:
    sweep = sweep_of(sweep_run("runs/a", 0.2, 50.0), cost=cost, unit=unit)
    figure = plot_pareto(read_sweep(write_sweep(tmp_path, sweep) / "sweep.json"))
    assert [axes.get_xlabel() for axes in figure.axes] == [label]


def test_a_sweep_before_its_first_run_has_ended(tmp_path: Path) -> None:
    sweep = sweep_of(sweep_run("runs/a", 1.0, None, **{"lambda": None}))
    page = require_harmless(write_report(write_sweep(tmp_path, sweep)))
    assert page.headings == ["Sweep", "The front", "Runs"] and "waiting" in page.text


def test_a_sweep_s_page_leads_to_its_runs(tmp_path: Path, run: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", sweep_of(sweep_run("runs/one two", 1, 5.0), sweep_run("runs/b", 2, 6.0)))
    write_lines(sweep / "runs" / "one two", *LOG)
    (sweep / "runs" / "b").mkdir()
    page = require_harmless(write_report(sweep))
    assert page.links == ["./runs/one%20two/report.html"] and "holds no run" in page.text
    inner = sweep / "runs" / "one two" / "report.html"
    assert "Masks closing in" in require_harmless(inner).headings
    before = inner.stat().st_mtime_ns
    write_report(sweep, tmp_path / "elsewhere.html")
    assert Page(tmp_path / "elsewhere.html").links == ["./sweep/runs/one%20two/report.html"]
    assert inner.stat().st_mtime_ns == before  # nothing is newer


def test_no_page_is_written_outside_a_sweep(tmp_path: Path) -> None:
    outside = write_lines(tmp_path / "outside", *LOG)
    sweep = write_sweep(tmp_path / "sweep", sweep_of(sweep_run("away", 1, 5.0), sweep_run("self", 2, 5.0)))
    (sweep / "away").symlink_to(outside)
    (sweep / "self").symlink_to(sweep)
    page = require_harmless(write_report(sweep))
    assert not (outside / "report.html").exists() and "outside the sweep" in page.text
    assert page.headings == ["Sweep", "The front", "Runs"]


BAD_RUNS: list[dict[str, Any]] = [
    {"folder": "../up"},
    {"folder": "/etc"},
    {"folder": ""},
    {"folder": "."},
    {"folder": "a\\..\\b"},
    {"state": "lost"},
    {"cost": -1},
    {"cost": 1e30},
    {"loss": "much"},
    {"accuracy": 76.3},
    {"seed": -1},
    {"alpha": None},
    {"more": 1},
]


@pytest.mark.parametrize("change", BAD_RUNS, ids=str)
def test_malformed_runs_of_a_sweep(tmp_path: Path, change: dict[str, Any]) -> None:
    sweep = write_sweep(tmp_path, sweep_of({**sweep_run("runs/a", 1.0, 5.0), **change}))
    with pytest.raises(NascError, match=r"is not a sweep: runs\.0"):
        write_report(sweep)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"kind": "search"}', json.dumps(sweep_of(version=2)), "\ud800"]
)
def test_malformed_sweeps(tmp_path: Path, text: str) -> None:
    tmp_path.joinpath("sweep.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(NascError):
        write_report(tmp_path)


def test_a_sweep_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_bytes(b" " * (5 << 20))
    with pytest.raises(NascError, match="larger than"):
        write_report(tmp_path)


# ------------------------------------------------------------------------------------------------- strangers' files

HOSTILE = "<script>alert(1)</script>\" onload='x' $\\frac$ \x00\x1b ]]> --> \ud800 \u202e"


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    log = [
        epoch(e, {HOSTILE: {"0": 0.5, "1": 0.5}}, {f"{HOSTILE}#0": [8, 16]}, unit=HOSTILE, cost=1.0, **{HOSTILE: 2.0})
        for e in range(3)
    ]
    run = write_lines(tmp_path / "<img src=x onerror=alert(1)>", *log)
    (run / "result.json").write_text(
        json.dumps({HOSTILE: HOSTILE, "choices": {HOSTILE: None}, "cost": {"unit": HOSTILE}})
    )
    latency = {"name": HOSTILE, "predicted_us": 1, "measured_us": 0}
    (run / "latencies.json").write_text(json.dumps([latency]).replace("\\ud800", ""))
    page = require_harmless(write_report(run))
    assert len(page.pictures()) == 5 and page.text.count("&lt;script&gt;") >= 4


def test_hostile_names_in_a_sweep_stay_text(tmp_path: Path) -> None:
    name = HOSTILE.replace("\ud800", "").replace("\x00", "").replace("\\", "")
    runs = [sweep_run(f"javascript:alert(1)/{at}{name.replace('/', '')}", at, 5.0 + at) for at in range(2)]
    sweep = write_sweep(tmp_path, sweep_of(*runs, space=name, method=name, data=name, unit=name[:40]))
    for at in range(2):
        write_lines(sweep / runs[at]["folder"], *LOG)
    page = require_harmless(write_report(sweep))
    assert len(page.links) == 2 and all(link.startswith("./javascript%3A") for link in page.links)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
addresses = st.sampled_from(["a.1", "b", "", "#", "x" * 500]) | st.text(max_size=5)
candidates = st.sampled_from(["0", "1", "63", "skip", "-1", "999", "٣"]) | st.text(max_size=3)
shares = st.floats(0, 1) | anything
pairs = st.tuples(st.integers(0, 64), st.integers(0, 64)).map(list) | anything
keys = st.builds(lambda a, c: f"{a}#{c}", addresses, candidates) | st.text(max_size=4)
records = st.fixed_dictionaries(
    {
        "epoch": st.integers(-1, 5) | anything,
        "probabilities": st.dictionaries(
            addresses, st.dictionaries(candidates, shares, max_size=4) | anything, max_size=3
        )
        | anything,
    },
    optional={
        "phase": st.sampled_from(["warm-up", "search"]) | anything,
        "threshold": st.floats(0, 1) | anything,
        "loss": st.floats() | anything,
        "masks": st.dictionaries(keys, pairs, max_size=3) | anything,
        "unit": anything,
    },
)
choices = st.dictionaries(addresses, st.dictionaries(st.just("values"), anything) | anything, max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.lists(records, max_size=4), choices)
def test_no_record_breaks_a_picture(found: list[dict[str, Any]], choices: dict[str, Any]) -> None:
    epochs = read_epochs(found)
    assert [e.number for e in epochs] == sorted({e.number for e in epochs})
    draw: list[Callable[[], Any]] = [
        lambda: plot_metrics(found),
        lambda: plot_masks(epochs, choices),
        lambda: plot_candidates(epochs, choices),
        lambda: plot_remaining(epochs),
    ]
    for figure in (plot() for plot in draw):
        if figure is not None:
            ElementTree.fromstring(svg_of(figure))


@pytest.mark.parametrize("line", ["[" * 100_000, "nonsense", '{"epoch": NaN}', "[1]", '{"loss": 1' + "0" * 5000 + "}"])
def test_malformed_lines_are_refused_or_left_out(tmp_path: Path, line: str) -> None:
    run = write_lines(tmp_path, *LOG, line)
    try:
        page = require_harmless(write_report(run))
    except NascError as error:
        assert "metrics.jsonl cannot be read" in str(error)
    else:
        assert "2 layers over 4 epochs" in " ".join(page.alts)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '"x"', "\ud800"])
def test_malformed_results(tmp_path: Path, text: str) -> None:
    run = write_lines(tmp_path, *LOG)
    (run / "result.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(NascError, match=r"result\.json"):
        write_report(run)


@pytest.mark.parametrize("choices", [[], "x", {"a.1": 3, "a.2": {"values": []}}, {"a.1": {"values": {"x": [1]}}}])
def test_choices_of_another_form_are_left_aside(tmp_path: Path, choices: Any) -> None:
    run = write_lines(tmp_path, *LOG)
    (run / "result.json").write_text(json.dumps({"choices": choices}))
    assert len(require_harmless(write_report(run)).pictures()) == 4


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(NascError, match="holds no run"):
        write_report(tmp_path)


def test_a_run_knows_its_folder() -> None:
    """The model checks a folder however it is made."""
    with pytest.raises(ValueError, match="relative path"):
        SweepRun(folder="../x", alpha=1, lambda_=None, seed=0, state="waiting")
