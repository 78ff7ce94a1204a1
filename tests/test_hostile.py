"""Files with mistakes, absurd files and hostile ones: each gives its own code at the right place."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nasc.compiler.check import Checked, check
from nasc.compiler.primitives import NAMES
from nasc.dsl.diagnostics import Diagnostic
from nasc.dsl.loader import load
from nasc.dsl.render import render, to_json
from tests.spaces import NETWORKS, ROOT, SPACES, STATES

LIMIT = 2.0
"""Seconds of processor time that any small file may take."""


def checked(text: str, path: Path | str = "x.nas") -> Checked:
    return check(load(path, text, primitives=NAMES))


def found(text: str) -> list[Diagnostic]:
    """The diagnostics of a text. They can be shown, and none takes long."""
    started = time.process_time()
    diagnostics = checked(text).diagnostics.found
    render(diagnostics)
    to_json(diagnostics)
    assert time.process_time() - started < LIMIT
    return diagnostics


def underlined(diagnostic: Diagnostic) -> str:
    span = diagnostic.span
    assert span is not None
    return span.source.text[span.start : span.end]


def net(
    stages: str,
    head: str = "global_pool | linear",
    top: str = "",
    inp: str = "image 3 x 32 x 32",
    out: str = "classes 10",
    blocks: str = "",
    kind: str = "space",
) -> str:
    last = f"head {head}\n" if head else ""
    return f"nas 1\n{blocks}\n{kind} a {{\n  input {inp}\n  output {out}\n  {top}\n{stages}\n  {last}}}\n"


# fmt: off
# ruff: noqa: E501
MISTAKES = [
    ('unknown block', net("stage s cnov { kernel 3 } -> 8"), 'E0350', 'cnov'),
    ('unknown param', net("stage s conv { kernl 3 } -> 8"), 'E0305', 'kernl'),
    ('unknown value', net("stage s conv { kernel kk } -> 8"), 'E0356', 'kk'),
    ('unknown cand param', net("stage s one of { conv { kernl 3 } irb { kernel 3 expand 1 } } -> 8"), 'E0305', 'kernl'),
    ('nobody', net("stage s one of { conv { kernel 3 } irb { kernel 3 expand 1 } } { sse 1 } -> 8"), 'E0305', 'sse'),
    ('from later', net("stage s conv from t { kernel 3 } -> 8\n stage t conv { kernel 3 } -> 8"), 'E0351', 'stage s conv from t { kernel 3 } -> 8'),
    ('from unknown', net("stage s conv from q { kernel 3 } -> 8"), 'E0351', 'stage s conv from q { kernel 3 } -> 8'),
    ('tensor later', net("stage s up { lateral t } -> 8\n stage t conv { kernel 3 } -> 8"), 'E0351', 't'),
    ('tensor unknown', net("stage ss conv { kernel 3 } -> 8\nstage s up { lateral s5 } -> 8"), 'E0351', 's5'),
    ('dup stage', net("stage s conv { kernel 3 } -> 8\n stage s conv { kernel 3 } -> 8"), 'E0352', 's'),
    ('dup param given', net("stage s conv { kernel 3 kernel 5 } -> 8"), 'E0316', 'kernel'),
    ('dup let', net("stage s conv { kernel 3 } -> w", top="let w = 8 let w = 16"), 'E0352', 'let w = 16'),
    ('dup parameter', net("stage s b", blocks="block b(k, k) { in | relu }"), 'E0352', 'k'),
    ('dup local', net("stage s b", blocks="block b { y = in | relu  y = in | relu  add(y, in) }"), 'E0352', 'y = in | relu'),
    ('let circle', net("stage s conv { kernel 3 } -> w", top="let w = v let v = w + 1"), 'E0307', 'let v = w + 1'),
    ('local circle', net("stage s b", blocks="block b { y = z | relu  z = y | relu  add(y, z) }"), 'E0307', 'y = z | relu'),
    ('self block', net("stage s b", blocks="block b { in | b }"), 'E0308', 'b'),
    ('mutual block', net("stage s b", blocks="block b { in | d } block d { in | b }"), 'E0308', 'b'),
    ('rule R', net("stage s b", blocks="block b { in | conv2d({3, 5}) -> 8 }"), 'E0357', '{3, 5}'),
    ('rule R one of', net("stage s b", blocks="block b { in | one of { relu  swish } }"), 'E0357', 'one of { relu  swish }'),
    ('skip value', net("stage s conv { kernel 3 skip maybe } -> 8"), 'E0313', 'maybe'),
    ('shadow const', net("stage s conv { kernel 3 } -> yes", top="let yes = 3"), 'E0358', 'let yes = 3'),
    ('shadow word', net("stage same conv { kernel 3 } -> 8"), 'E0358', 'same'),
    ('no result', net("stage s b", blocks="block b { y = in | relu }"), 'E0342', 'b'),
    ('lost result', net("stage s b", blocks="block b { in | relu  in | swish }"), 'E0359', 'in | relu'),
    ('no head', net("stage s conv { kernel 3 } -> 8", head=""), 'E0302', 'a'),
    ('no stages', "space a { input image 3 x 2 x 2 output classes 10 }", 'E0302', 'a'),
    ('no input', "space a { output classes 10 stage s conv { kernel 3 } -> 8 head global_pool | linear }", 'E0301', 'a'),
    ('no output', "space a { input image 3 x 2 x 2 stage s conv { kernel 3 } -> 8 head global_pool | linear }", 'E0301', 'a'),
    ('two inputs', net("stage s conv { kernel 3 } -> 8", top="input image 3 x 3 x 3"), 'E0353', 'input image 3 x 3 x 3'),
    ('unknown attr', net("stage s conv { kernel 3 } -> 8", top="granularty 8"), 'E0354', 'granularty 8'),
    ('input kind', net("stage s conv { kernel 3 } -> 8", inp="imag 3 x 3 x 3"), 'E0355', 'input imag 3 x 3 x 3'),
    ('output kind', net("stage s conv { kernel 3 } -> 8", out="clases 10"), 'E0355', 'output clases 10'),
    ('input shape', net("stage s conv { kernel 3 } -> 8", inp="image 3 x 3"), 'E0349', 'input image 3 x 3'),
    ('input zero', net("stage s conv { kernel 3 } -> 8", inp="image 3 x 0 x 3"), 'E0349', '0'),
    ('features unknown', net("stage s conv { kernel 3 } -> 8", out="features s, t", head=""), 'E0351', 't'),
    ('granularity 0', net("stage s conv { kernel 3 } -> 8", top="granularity 0"), 'E0348', 'granularity 0'),
    ('granularity neg', net("stage s conv { kernel 3 } -> 8", top="granularity 1 - 3"), 'E0348', 'granularity 1 - 3'),
    ('no granularity', net("stage s irb { kernel 3 expand (0, 8] } -> 8"), 'E0336', '(0, 8]'),
    ('granularity fits none', net("stage s irb { kernel 3 expand (0, 8] } -> 8", top="granularity 32"), 'E0337', '(0, 8]'),
    ('granularity huge', net("stage s irb { kernel 3 expand (0, 8] } -> 8", top="granularity 1e99"), 'E0337', '(0, 8]'),
    ('granularity fine', net("stage s conv {kernel 3} -> 32 stage t irb { kernel 3 expand (0, 8] } -> 8", top="granularity 4"), 'E0334', 't'),
    ('interval rev', net("stage s conv { kernel 3 } -> [64, 32]", top="granularity 8"), 'E0337', '[64, 32]'),
    ('range empty', net("stage s conv { kernel 3 } -> 64 .. 32"), 'E0338', '64 .. 32'),
    ('range unreached', net("stage s conv { kernel 3 } -> 8 .. 33 step 8"), 'E0339', '8 .. 33 step 8'),
    ('range step 0', net("stage s conv { kernel 3 } -> 8 .. 32 step 0"), 'E0338', '8 .. 32 step 0'),
    ('depth 0', net("stage s conv x 0 { kernel 3 } -> 8"), 'E0347', '0'),
    ('depth 1e8', net("stage s conv x 100000000 { kernel 3 } -> 8"), 'E0347', '100000000'),
    ('depth 1..1e8', net("stage s conv x 1 .. 100000000 { kernel 3 } -> 8"), 'E0347', '1 .. 100000000'),
    ('depth set huge', net("stage s conv x {1 .. 100000000000} { kernel 3 } -> 8"), 'E0347', '1 .. 100000000000'),
    ('depth fraction', net("stage s conv x 5/2 { kernel 3 } -> 8"), 'E0331', '5/2'),
    ('depth frac set', net("stage s conv x {1, 5/2} { kernel 3 } -> 8"), 'E0331', '5/2'),
    ('depth neg', net("stage s conv x 1-3 { kernel 3 } -> 8"), 'E0347', '1-3'),
    ('depth word', net("stage s conv x relu { kernel 3 } -> 8"), 'E0332', 'relu'),
    ('row out', net("stage s conv x 2 { kernel 3 } -> 8 { layer 3 { act swish } }"), 'E0314', 'layer 3 { act swish }'),
    ('row rev', net("stage s conv x 4 { kernel 3 } -> 8 { layer 3 .. 2 { act swish } }"), 'E0314', 'layer 3 .. 2 { act swish }'),
    ('row 0', net("stage s conv x 4 { kernel 3 } -> 8 { layer 0 { act swish } }"), 'E0314', 'layer 0 { act swish }'),
    ('row twice', net("stage s conv x 4 { kernel 3 } -> 8 { layer 1 .. 2 { act swish } layer 2 { act relu } }"), 'E0315', 'layer 2 { act relu }'),
    ('row huge', net("stage s conv x 4 { kernel 3 } -> 8 { layer 1 .. 99999999999999999 { act swish } }"), 'E0314', 'layer 1 .. 99999999999999999 { act swish }'),
    ('width frac', net("stage s conv { kernel 3 } -> 5/2"), 'E0343', '5/2'),
    ('width frac set', net("stage s conv { kernel 3 } -> {5/2, 3}"), 'E0343', '{5/2, 3}'),
    ('width frac range', net("stage s conv { kernel 3 } -> 1 .. 2 step 1/2"), 'E0343', '1 .. 2 step 1/2'),
    ('width frac range2', net("stage s conv { kernel 3 } -> 1/2 .. 5/2 step 1"), 'E0343', '1/2 .. 5/2 step 1'),
    ('width neg', net("stage s conv { kernel 3 } -> 1 - 3"), 'E0344', '1 - 3'),
    ('width neg range', net("stage s conv { kernel 3 } -> 0 - 3 .. 3"), 'E0344', '0 - 3 .. 3'),
    ('width 0', net("stage s conv { kernel 3 } -> 0"), 'E0371', 'a'),
    ('width huge', net("stage s conv { kernel 3 } -> 1e99"), 'E0344', '1e99'),
    ('width huge range', net("stage s conv { kernel 3 } -> 1 .. 1e99"), 'E0344', '1 .. 1e99'),
    ('width huge range grid', net("stage s conv { kernel 3 } -> [1, 1e99]", top="granularity 8"), 'E0344', '[1, 1e99]'),
    ('width huge set', net("stage s conv { kernel 3 } -> {1 .. 1e12, 5}"), 'E0317', '1 .. 1e12'),
    ('width 1e300', net("stage s conv { kernel 3 } -> 1e100 * 1e100 * 1e100"), 'E0344', '1e100 * 1e100 * 1e100'),
    ('width 1e400', net("stage s conv { kernel 3 } -> 1e400"), 'E0106', '1e400'),
    ('product 1e400', net("stage s conv { kernel 3 } -> 1e100 * 1e100 * 1e100 * 1e100"), 'E0329', '1e100 * 1e100 * 1e100 * 1e100'),
    ('width word', net("stage s conv { kernel 3 } -> relu"), 'E0343', 'relu'),
    ('width string', net('stage s conv { kernel 3 } -> "os"'), 'E0332', '"os"'),
    ('width inf', net('stage s conv { kernel 3 } -> inf'), 'E0343', 'inf'),
    ('no width', net("stage s conv { kernel 3 }"), 'E0303', 'conv'),
    ('width not taken', net("stage s max_pool { kernel 3 } -> 8"), 'E0309', 'max_pool'),
    ('kernel missing', net("stage s conv -> 8"), 'E0303', 'conv'),
    ('stride 0', net("stage s conv { kernel 3 stride 0 } -> 8"), 'E0322', '0'),
    ('stride neg', net("stage s conv { kernel 3 stride -1 } -> 8"), 'E0322', '-1'),
    ('stride frac', net("stage s conv { kernel 3 stride 3/2 } -> 8"), 'E0322', '3/2'),
    ('stride huge', net("stage s conv { kernel 3 stride 1e99 } -> 8"), 'E0322', '1e99'),
    ('kernel 0', net("stage s conv { kernel 0 } -> 8"), 'E0322', '0'),
    ('kernel neg', net("stage s conv { kernel -3 } -> 8"), 'E0322', '-3'),
    ('kernel frac', net("stage s conv { kernel 3/2 } -> 8"), 'E0322', '3/2'),
    ('kernel range frac', net("stage s conv { kernel 1 .. 2 step 1/2 } -> 8"), 'E0322', '1 .. 2 step 1/2'),
    ('kernel range neg', net("stage s conv { kernel 0-1 .. 1 } -> 8"), 'E0322', '0-1 .. 1'),
    ('kernel huge', net("stage s conv { kernel 1e99 padding 0 } -> 8"), 'E0322', '1e99'),
    ('kernel huge same', net("stage s conv { kernel 1e99 } -> 8"), 'E0322', '1e99'),
    ('kernel huge same odd', net("stage s conv { kernel 1e99+1 } -> 8"), 'E0322', '1e99+1'),
    ('kernel large', net("stage s conv { kernel 41 padding 0 } -> 8"), 'E0321', 's'),
    ('kernel 3d', net("stage s conv { kernel 3 x 3 x 3 } -> 8"), 'E0322', '3 x 3 x 3'),
    ('kernel word', net("stage s conv { kernel relu } -> 8"), 'E0332', 'relu'),
    ('padding neg', net("stage s conv { kernel 3 padding -1 } -> 8"), 'E0322', '-1'),
    ('padding word', net("stage s conv { kernel 3 padding valid } -> 8"), 'E0356', 'valid'),
    ('padding huge', net("stage s conv { kernel 3 padding 1e99 } -> 8"), 'E0322', '1e99'),
    ('groups 0', net("stage s conv { kernel 3 groups 0 } -> 8"), 'E0322', '0'),
    ('groups neg', net("stage s conv { kernel 3 groups -1 } -> 8"), 'E0322', '-1'),
    ('groups 2', net("stage s conv { kernel 3 groups 2 } -> 8"), 'E0324', '2'),
    ('dilation 0', net("stage s conv { kernel 3 dilation 0 } -> 8"), 'E0322', '0'),
    ('div 0', net("stage s conv { kernel 3 } -> 8 / 0"), 'E0340', '0'),
    ('div 0 let', net("stage s conv { kernel 3 } -> w / (w - 8)", top="let w = {8, 16}"), 'E0340', 'w - 8'),
    ('div 0 range', net("stage s conv { kernel 3 } -> 64 / w", top="let w = 0 .. 2"), 'E0340', 'w'),
    ('div in.channels', net("stage s conv { kernel 3 } -> 0 .. 8 step 8 stage t transformer { heads 1 }"), 'E0325', 't'),
    ('spatial', net("stage s conv x 9 { kernel 3 } -> 8 stage t max_pool { kernel 40 padding 0 }"), 'E0321', 'max_pool'),
    ('avgpool zero', net("stage s max_pool { kernel 3 stride 0 }"), 'E0322', '0'),
    ('linear image', net("stage s conv { kernel 3 } -> 8", head="linear"), 'E0325', 'linear'),
    ('head wrong', net("stage s conv { kernel 3 } -> 8", head="global_pool"), 'E0318', 'head global_pool'),
    ('head tensor', net("stage s conv { kernel 3 } -> 8", out="depth 1 x 32 x 32", head="conv { kernel 1 } -> 2"), 'E0318', 'head conv { kernel 1 } -> 2'),
    ('tokens out', net("stage s embedding { vocabulary 10 } -> 8", inp="tokens 5", out="tokens 10", head="linear -> 9"), 'E0318', 'head linear -> 9'),
    ('tokens conv', net("stage s conv { kernel 3 } -> 8", inp="tokens 5", out="tokens 10", head="linear"), 'E0320', 's'),
    ('residual unequal', net("stage s b", blocks="block b { y = in | conv2d(3) -> 8  in | relu | residual(y) }"), 'E0328', 'residual(y)'),
    ('add channels', net("stage s b", blocks="block b { y = in | conv2d(3) -> 8  add(in, y) }"), 'E0327', 'add(in, y)'),
    ('concat size', net("stage s b", blocks="block b { y = in | conv2d(3, 2) -> 8  concat(in, y) }"), 'E0326', 'concat(in, y)'),
    ('one of sizes', net("stage s one of { conv { kernel 3 stride 1 } conv { kernel 3 stride 2 } } -> 8"), 'E0326', 's'),
    ('any of no by', net("stage s any of { conv { kernel 3 } irb { kernel 3 expand 1 } } -> 8"), 'E0346', 'any of { conv { kernel 3 } irb { kernel 3 expand 1 } }'),
    ('by mul', net("stage s any of { conv { kernel 3 } irb { kernel 3 expand 1 } } by mul -> 8"), 'E0346', 'any of { conv { kernel 3 } irb { kernel 3 expand 1 } } by mul'),
    ('skip yes', net("stage s conv x 3 { kernel 3 skip yes } -> 8"), 'E0312', 'skip yes'),
    ('depth and skip', net("stage t conv {kernel 3} -> 8 stage s conv x 1 .. 3 { kernel 3 skip same_shape } -> 8"), 'E0310', '1 .. 3'),
    ('no effect', net("stage s conv { kernel 3 groups 1 } -> 8 stage t irb { kernel 3 expand 1 se 0 se_width 4 } -> 8"), 'E0311', 'se_width 4'),
    ('hidden beside', net("stage t irb { kernel 3 expand 1 hidden 8 } -> 8"), 'E0311', 'expand 1'),
    ('hidden inherits', net("stage t irb x 2 { kernel 3 hidden 8 } -> 8 { layer 1 { expand 2 } layer 2 { expand 3 } }"), 'E0311', 'expand 2'),
    ('all rows override', net("stage t conv x 2 { kernel 3 act relu } -> 8 { layer 1 .. 2 { act swish } }"), 'E0311', 'act relu'),
    ('network open', net("stage t conv x 2 { kernel {3, 5} } -> 8", kind="network"), 'E0370', 'a'),
    ('network open width', net("stage t conv x 2 { kernel 3 } -> 8 .. 16", kind="network"), 'E0370', 'a'),
    ('network open skip', net("stage t conv x 2 { kernel 3 } -> 8", kind="network", top="skip same_shape"), 'E0370', 'a'),
    ('network open depth', net("stage t conv x 1 .. 2 { kernel 3 } -> 8", kind="network"), 'E0370', 'a'),
    ('no members', net("stage t conv x 2 { kernel 3 } -> 0"), 'E0371', 'a'),
    ('dup values', net("stage t conv x 2 { kernel {3, 3} } -> 8"), 'W0401', '3'),
    ('dup cands', net("stage t one of { conv conv } x 2 { kernel 3 } -> 8"), 'W0401', 'conv'),
    ('overlap', net("stage t conv x 2 { kernel 3 } -> {8 .. 16, 9}"), 'W0401', '9'),
    ('upsample huge', net("stage t upsample { factor 1e50 }"), 'E0322', '1e50'),
    ('search unknown', net("stage s conv { kernel 3 } -> 8")+"search prunt { epochs 3 }", 'E0362', 'prunt'),
    ('search opt', net("stage s conv { kernel 3 } -> 8")+"search prunet { epoch 3 }", 'E0361', 'epoch'),
    ('required op', net("stage s nothing"), 'E0371', 'a'),
    ('in at space', net("stage s conv { kernel in.channels } -> 8"), 'E0356', 'in.channels'),
    ('field', net("stage s b", blocks="block b { in | conv2d(3) -> in.chanels }"), 'E0306', 'in.chanels'),
    ('op as value', net("stage s conv { kernel 3 act 5 } -> 8"), 'E0333', 's'),
    ('op args', net("stage s b", blocks="block b { in | conv2d(3, 1, 0, 1, 1, no, 7) -> 8 }"), 'E0304', '7'),
    ('op args name', net("stage s b", blocks="block b { in | conv2d(3, pad = 1) -> 8 }"), 'E0305', 'pad = 1'),
    ('op nothing', net("stage s b", blocks="block b(act = relu) { in | act(5) }"), 'E0304', '5'),
    ('round args', net("stage s conv { kernel 3 } -> round(5, 6)"), 'E0304', 'round(5, 6)'),
    ('divisible 0', net("stage s conv { kernel 3 } -> divisible(5, 0)"), 'E0331', 'divisible(5, 0)'),
    ('not', net("stage s conv { kernel 3 bias not relu } -> 8"), 'E0332', 'relu'),
    ('cmp', net("stage s conv { kernel 3 bias relu < 3 } -> 8"), 'E0332', 'relu < 3'),
    ('inf arith', net("stage s conv { kernel 3 bypass inf + 1 } -> 8"), 'E0332', 'inf + 1'),
    ('dropout 2', net("stage s conv { kernel 3 } -> 8", head="global_pool | dropout(2) | linear"), 'E0322', '2'),
    ('eps 0', net("stage s conv { kernel 3 norm bn { eps -1 } } -> 8"), 'E0322', '-1'),
    ('heads', net("stage s tokens stage t transformer { heads 5 }", head="first_token | linear"), 'E0324', 't'),
    ('vocab', net("stage s embedding { vocabulary -5 } -> 8", inp="tokens 5", out="tokens 10", head="linear"), 'E0322', '-5'),
    ('residual at head', net("stage s conv { kernel 3 } -> 8", head="residual | global_pool | linear"), 'E0345', 'residual'),
    ('missing input pipeline', net("stage s b", blocks="block b { relu(3) }"), 'E0304', '3'),
    ('number block', net("stage s b", blocks="block b { 3 }"), 'E0102', '3'),
    ('width as op', net("stage s b -> 8", blocks="block b -> f { in | f }"), 'E0333', 'f'),
    ('choice tensor', net("stage s b { t 3 } -> 8", blocks="block b(tensor t) -> f { in | add(t) }"), 'E0332', '3'),
    ('channels frac', net("stage s b", blocks="block b { in | channels(0, 3/2) }"), 'E0322', 'channels(0, 3/2)'),
    ('channels out', net("stage s b", blocks="block b { in | channels(2, 9) }"), 'E0322', 'channels(2, 9)'),
    ('channels neg', net("stage s b", blocks="block b { in | channels(0-3, 2) }"), 'E0322', 'channels(0-3, 2)'),
    ('shuffle 0', net("stage s shuffle { groups 0 }"), 'E0322', '0'),
    ('shuffle 2', net("stage s shuffle { groups 2 }"), 'E0324', '2'),
    ('output 0 classes', net("stage s conv { kernel 3 } -> 8", out="classes 0"), 'E0349', '0'),
    ('default unknown', net("stage s conv { kernel 3 } -> 8", top="default cnv { act relu }"), 'E0350', 'default cnv { act relu }'),
    ('default noparam', net("stage s conv { kernel 3 } -> 8", top="default { atc relu }"), 'E0305', 'atc'),
    ('when false first', net("stage s b", blocks="block b { (relu | relu) when no }"), 'E0102', '('),
]
# fmt: on


@pytest.mark.parametrize(("text", "code", "place"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_each_mistake_has_its_code_and_its_place(text: str, code: str, place: str) -> None:
    first = found(text)[0]
    assert (first.code, underlined(first)) == (code, place)
    assert first.message == first.message.strip() and len(first.message) < 200


def test_a_mistake_inside_the_library_is_shown_in_the_file() -> None:
    (mistake,) = found(net("stage s conv { kernel 41  padding 0 } -> 8"))
    assert mistake.code == "E0321" and underlined(mistake) == "s"
    assert [label.span.source.name for label in mistake.labels] == ["<library>/cnn.nas"]


def test_a_mistake_inside_a_block_names_the_layer_too() -> None:
    block = "block b { y = in | conv2d(3) -> 8  add(in, y) }"
    (mistake,) = found(net("stage s relu stage t b", blocks=block))
    assert underlined(mistake) == "add(in, y)"
    assert [label.text for label in mistake.labels] == ["for this layer"]


# --------------------------------------------------------------------------------------------------- absurd sizes


def nested_blocks(levels: int, step: str, first: str = "in | relu") -> str:
    blocks = [f"block a0 {{ {first} }}"]
    blocks += [f"block a{i + 1} {{ {step.replace('USE', f'a{i}')} }}" for i in range(levels)]
    return net(f"stage t a{levels}", blocks="\n".join(blocks))


def lets(count: int, first: str, step: str) -> str:
    lines = [f"let w{i + 1} = {step.replace('USE', f'w{i}')}" for i in range(count)]
    return net(f"stage t conv {{ kernel 3 }} -> w{count}", top="\n".join([f"let w0 = {first}", *lines]))


MANY = ", ".join(map(str, range(1, 100)))
ABSURD = {
    "a hundred million layers": (net("stage s conv x 100000000 { kernel 3 } -> 8"), "E0347"),
    "a hundred stages of many layers": (
        net("\n".join(f"stage s{i} conv x 10000 {{ kernel 3 }} -> 8" for i in range(100))),
        "E0347",
    ),
    "a width of 10^300": (net("stage s conv { kernel 3 } -> 1e100 * 1e100 * 1e100"), "E0344"),
    "a range up to 10^99": (net("stage s conv { kernel 3 } -> 1 .. 1e99"), "E0344"),
    "a granularity of 10^99": (net("stage s irb { kernel 3  expand (0, 8] } -> 8", top="granularity 1e99"), "E0337"),
    "an exponent of 400": (net("stage s conv { kernel 3 } -> 1e400"), "E0106"),
    "50000 brackets": ("space a { let w = " + "(" * 50_000 + "3" + ")" * 50_000 + " }", "E0105"),
    "50000 open brackets": ("[" * 50_000, "E0105"),
    "40 levels of two blocks each": (nested_blocks(40, "in | USE | USE"), "E0319"),
    "40 levels of two branches": (nested_blocks(40, "a = in | USE  b = in | USE  add(a, b)"), "E0319"),
    "40 levels, two tensors each": (nested_blocks(40, "concat(in | USE, in | USE)"), "E0319"),
    "numbers squared 90 times": (lets(90, "2", "USE * USE"), "E0329"),
    "widths squared 90 times": (lets(90, "2 .. 9", "USE * USE"), "E0329"),
    "sums doubled 40 times": (lets(40, "2 .. 9", "USE + max(USE, 3)"), "E0344"),
    "10^4 alternatives of one layer": (
        net(f"stage t conv {{ kernel {{{MANY}}}  dilation {{{MANY}}}  padding 9999 }} -> 8"),
        "E0317",
    ),
    "a set of 10^12 values": (net("stage s conv { kernel 3 } -> {1 .. 1e12}"), "E0317"),
    "1001 layers": (net("stage t conv x 1001 { kernel 3 } -> 8"), "E0347"),
    "ratios of 1024 widths": (
        net(
            "stage t b x 40 { w [1, 2] } -> 8 .. 8192 step 8",
            blocks="block b(ratio w) -> c { in | conv2d(1) -> w * in.channels | conv2d(1) -> c }",
            inp="image 8 x 8 x 8",
            top="granularity 8",
        ),
        "E0317",
    ),
    "channels doubled 1000 times": (net("stage t b x 1000", blocks="block b { concat(in, in) }"), "E0344"),
    "an image doubled 1000 times": (net("stage t upsample x 1000"), "E0344"),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_sizes_are_refused_in_no_time(name: str) -> None:
    text, code = ABSURD[name]
    assert [d.code for d in found(text)] == [code]


def test_a_long_file_of_few_layers_is_nothing_special() -> None:
    stages = "\n".join(f"stage s{i} conv {{ kernel 3 }} -> 8" for i in range(500))
    assert found(net(stages)) == []


# --------------------------------------------------------------------------------------------------- injection

WORDS = ["__import__", "os", "class", "exec", "self", "None", "torch", "__class__", "_", "eval", "lambda", "nn"]


@pytest.mark.parametrize("word", WORDS)
def test_python_words_are_names_like_others(word: str) -> None:
    body = f"{word}_y = in | conv2d(kernel) -> {word}_  add({word}_y, {word}_y)"
    block = f"block {word}(kernel = 3) -> {word}_ {{ {body} }}"
    assert found(net(f"stage {word} {word} -> {word}__", blocks=block, top=f"let {word}__ = 8")) == []


@pytest.mark.parametrize(
    "string", ["__import__('os').system('touch pwned')", "{{ 7 * 7 }}", "${IFS}", "%s%n", "../../x"]
)
def test_strings_do_nothing(string: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [d.code for d in found(net(f'stage s conv {{ kernel "{string}" }} -> 8'))] == ["E0332"]
    assert [d.code for d in found(f'import "{string}"\n')] in (["E0206"], ["E0205"])
    assert next(d.code for d in found(f'import "{string}.nas"\n')) in ("E0201", "E0202", "E0205")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret.nas", "/etc/hostname.nas", "link.nas"])
def test_an_import_shows_nothing_of_other_files(target: str, tmp_path: Path) -> None:
    (tmp_path / "secret.nas").write_text("TOP SECRET")
    inside = tmp_path / "project"
    inside.mkdir()
    (inside / "link.nas").symlink_to(tmp_path / "secret.nas")
    result = checked(f'import "{target}"\n', inside / "a.nas").diagnostics
    assert result.errors and "SECRET" not in render(result.found)


# --------------------------------------------------------------------------------------------------- any text

FILES = [p.read_text(encoding="utf-8") for p in (*SPACES, *NETWORKS, *STATES) if p.stat().st_size < 2500]
FILES = [text for text in FILES if "import" not in text and "w1 = 0" not in text]
ANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
PIECES = [
    "{",
    "}",
    "(",
    ")",
    "->",
    "|",
    "..",
    "x",
    ",",
    "0",
    "1",
    "3",
    "-1",
    "1e99",
    "1/2",
    "in",
    "inf",
    "relu",
    "conv",
]
PIECES += [
    "stage",
    "layer 1",
    "one of",
    "any of",
    "{1, 2}",
    "[0, 8]",
    "when",
    "let",
    "=",
    '"os"',
    "nothing",
    "identity",
]


@ANY
@given(st.text(max_size=300))
@example("\x00\ud800"[:1])
@example("nas 1\r\nspace \u202e {")
def test_any_text_gives_diagnostics(text: str) -> None:
    found(text)


@ANY
@given(st.lists(st.sampled_from([*PIECES, "space a {", "stem", "kernel", "\n"]), max_size=60).map(" ".join))
def test_any_words_give_diagnostics(text: str) -> None:
    found(text)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid file, a few words of which are left out, doubled, exchanged or replaced."""
    words = draw(st.sampled_from(FILES)).split(" ")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(words) - 1))
        other = draw(st.integers(0, len(words) - 1))
        match draw(st.sampled_from(["delete", "double", "exchange", "replace"])):
            case "delete" if len(words) > 1:
                del words[at]
            case "double":
                words.insert(at, words[at])
            case "exchange":
                words[at], words[other] = words[other], words[at]
            case _:
                words[at] = draw(st.sampled_from(PIECES))
    return " ".join(words)


@ANY
@given(mutated())
def test_a_valid_file_with_a_few_words_changed_gives_diagnostics(text: str) -> None:
    found(text)


def test_there_are_files_to_change() -> None:
    assert len(FILES) > 15 and (ROOT / "spaces" / "gpunet1.nas").read_text() in FILES
