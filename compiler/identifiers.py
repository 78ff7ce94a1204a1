"""Names from `.nas` files as Python identifiers that cannot break out of, or clash with, generated code."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection

from nasc.dsl.diagnostics import NascError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LONGEST = 40

_PUBLIC = """
T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval
extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu load_state_dict modules
mtia named_buffers named_children named_modules named_parameters parameters register_backward_hook register_buffer
register_forward_hook register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module register_parameter
register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule
share_memory state_dict to to_empty train training type xpu zero_grad
"""
MODULE_ATTRIBUTES = frozenset(_PUBLIC.split())
"""The public attributes of `torch.nn.Module`."""

_VARIABLES = frozenset({"self", "torch", "nn", "x", "super"})
_CLASSES = frozenset({"None", "True", "False", "CLASSES", "INPUT_SHAPE", "ChannelNorm", "DropPath", "NamedTuple"})


def checked(name: str, what: str) -> str:
    """The name itself where it is one. Raises `NascError` for any other text."""
    if not _NAME.fullmatch(name):
        raise NascError(f"the name of the {what}, {name[:60]!r}, is not made of letters, digits and `_`")
    return name


def attribute_name(name: str, taken: Collection[str]) -> str:
    """A stage's name as an attribute of a module and a local variable, not among `taken`."""
    plain = checked(name, "stage")[:_LONGEST]
    if plain.startswith("_"):
        plain = f"stage{plain}"
    if keyword.iskeyword(plain) or plain in MODULE_ATTRIBUTES | _VARIABLES:
        plain += "_"
    return _unique(plain, taken)


def class_name(name: str, taken: Collection[str]) -> str:
    """A block's or network's name in capitals and without underscores, not among `taken`."""
    plain = "".join(part[:1].upper() + part[1:] for part in re.findall(r"[A-Za-z0-9]+", name))[:_LONGEST]
    if not plain[:1].isalpha():
        plain = f"Block{plain}"
    if plain in _CLASSES:
        plain += "_"
    return _unique(plain, taken)


def _unique(name: str, taken: Collection[str]) -> str:
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}{number}" if not name[-1].isdigit() else f"{name}_{number}", number + 1
    return unique
