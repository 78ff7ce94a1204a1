"""How long after a keystroke the language server publishes its diagnostics, for a file of 300 lines.

Run: `python benchmarks/lsp_latency.py [--keys 120]`. A client starts `nasc lsp`, opens a file of 300 lines (four
blocks of its own, 37 stages with decided and open values, rows, and a `search` section), and types words into it, a
character at a time, at places all over the file. After each keystroke it waits for the diagnostics of just that
version. The times are those of the wall clock, from the sending of didChange to the arrival of publishDiagnostics, the
server's pause of 30 ms before it checks included; "checked whole" are the keystrokes after which the text had no error,
so that every layer's shapes, the members and the search's options were looked at, too.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Sequence

from lsprotocol import types
from pygls.lsp.client import LanguageClient

LINES = 300
URI = "file:///benchmark/big.nas"
KINDS = ("irb", "fused_irb", "separable0", "separable1", "separable2", "separable3")
BLOCK = """// A depthwise-separable convolution with an optional gate.
block separable{0}(kernel, first stride = 1, act = relu, gate = no, ratio expand,
                 hidden = divisible(expand * in.channels, 8)) -> filters {{
  deep = in | conv2d(1) -> hidden | bn | act
            | conv2d(kernel, stride, groups = hidden) -> hidden | bn | act
  deep | squeeze_excite(round(in.channels / 4)) when gate
       | conv2d(1) -> filters | bn
       | residual
}}
"""
HEAD = """space big {
  input       image 3 x 224 x 224
  output      classes 1000
  granularity 8
  skip        same_shape
  default     { act swish }

  stage stem  conv  { kernel 3  stride 2 }  -> 16
"""
STAGE = """  // Stage {0}.
  stage s{0} {1} x 2 {{
    kernel {{3, 5}}  stride {2}
    expand (0, {3}]
  }} -> {4} {{
    layer 2 {{ kernel 5 }}
  }}
"""
TYPED = ("act relu", "padding same", "norm bn", "")


def source() -> str:
    """A file of 300 lines."""
    text = "nas 1\n\n" + "\n".join(BLOCK.format(i) for i in range(4)) + "\n" + HEAD
    end = "  head conv { kernel 1 } -> 256 | global_pool | linear\n}\n\nsearch prunet { seed 1 }\n"
    number = 0
    while (text + end).count("\n") + STAGE.count("\n") <= LINES:
        stride = 2 if number in (4, 12, 24) else 1
        text += STAGE.format(number, KINDS[number % len(KINDS)], stride, 2 + number % 5, 16 + 8 * (number // 4))
        number += 1
    text += "  // One more.\n" * (LINES - (text + end).count("\n")) + end
    return text


def keystrokes(text: str, count: int) -> list[str]:
    """The states that a text goes through while words are typed into stages all over it, and taken out again."""
    states: list[str] = []
    places = [i for i in range(len(text)) if text.startswith("    expand (0", i)]
    number = 0
    while len(states) < count:
        at, word = places[number * 7 % len(places)], TYPED[number % len(TYPED)]
        typed = f"    {word}\n"
        states += [text[:at] + typed[: end + 1] + "\n" + text[at:] for end in range(4, len(typed) - 1)]
        states.append(text)
        number += 1
    return states[:count]


async def measure(states: Sequence[str]) -> list[tuple[float, bool]]:
    """For each state the milliseconds to its diagnostics, and whether they hold no error."""
    client = LanguageClient("benchmark", "1")
    found: asyncio.Queue[types.PublishDiagnosticsParams] = asyncio.Queue()

    @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def published_(params: types.PublishDiagnosticsParams) -> None:
        found.put_nowait(params)

    await client.start_io(sys.executable, "-m", "nasc", "lsp")
    await client.initialize_async(types.InitializeParams(capabilities=types.ClientCapabilities()))
    client.initialized(types.InitializedParams())
    client.text_document_did_open(types.DidOpenTextDocumentParams(types.TextDocumentItem(URI, "nas", 0, source())))
    await found.get()
    times: list[tuple[float, bool]] = []
    for version, state in enumerate(states, start=1):
        begin = time.perf_counter()
        change = types.TextDocumentContentChangeWholeDocument(state)
        client.text_document_did_change(
            types.DidChangeTextDocumentParams(types.VersionedTextDocumentIdentifier(version, URI), [change])
        )
        while (published := await found.get()).version != version:
            pass
        whole = all(d.severity != types.DiagnosticSeverity.Error for d in published.diagnostics)
        times.append((1000 * (time.perf_counter() - begin), whole))
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()
    return times


def row(name: str, times: Sequence[float]) -> str:
    ranked = sorted(times)
    p95 = ranked[min(len(ranked) - 1, round(0.95 * len(ranked)))]
    return f"| {name} | {len(times)} | {statistics.median(times):.0f} | {p95:.0f} | {ranked[-1]:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", type=int, default=120, help="keystrokes (default: 120)")
    keys = parser.parse_args().keys
    times = asyncio.run(measure(keystrokes(source(), keys)))
    print("| keystrokes | number | median ms | 95th percentile ms | largest ms |\n|---|---|---|---|---|")
    print(row("all", [t for t, _ in times]))
    print(row("checked whole", [t for t, whole in times if whole]))
    print(row("with an error", [t for t, whole in times if not whole]))


if __name__ == "__main__":
    main()
