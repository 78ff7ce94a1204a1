"""An exported program as a graph of nasc's primitive operators, with the tensors that each node stores."""

from __future__ import annotations

from nasc.compiler.ir import Tensor
from nasc.dsl.diagnostics import NascError
from nasc.exported.operators import RULES
from nasc.exported.tracer import Traced, Tracer
from nasc.runtime.read_exported import Exported


def traced(program: Exported) -> Traced:
    """The graph of a program on images, batch x channels x height x width.

    Raises NascError for an operator without counterpart, naming it and the module that it came from.
    """
    shape = program.input_shape
    sizes = [size for size in shape[1:] if size is not None]
    if len(shape) != 4 or len(sizes) != 3:
        shown = " x ".join("?" if size is None else str(size) for size in shape)
        raise NascError(
            f"the program takes {shown or 'a single number'}: it must take images of one size, N x C x H x W",
            help="export it with an example image; only the batch may be open",
        )
    return Tracer(program, Tensor(channels=sizes[0], height=sizes[1], width=sizes[2]), RULES).traced()
