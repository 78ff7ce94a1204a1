"""What is kept beside a network's weights, so that it can be used: preprocessing, class names, and how to call it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nasc.compiler.identifiers import checked
from nasc.runtime.data_crop import enlarged
from nasc.runtime.data_splits import DataSplits

TEMPLATES = Path(__file__).parent / "templates"
SETTINGS, USAGE, README = "preprocessing.json", "usage.py", "README.md"
FORMAT = "nasc.preprocessing/1"
_WORDS = {
    "centre": "its largest central part of the network's aspect is taken",
    "stretch": "all of it is taken",
}


def usage_files(data: DataSplits, network: str, weights: str) -> dict[str, bytes]:
    """The files that say how to use a network beside its `model.py`, where the data is one of pictures (else none).

    `weights` is the name of the file with its weights. Names of classes come from folders: they are in the JSON alone.
    """
    if data.look is None:
        return {}
    settings = _settings(data, weights)
    text = json.dumps(settings, indent=1, ensure_ascii=False) + "\n"
    return {
        SETTINGS: text.encode(),
        USAGE: _rendered("usage.py.jinja", fit=data.look.fit, shape=_shape(data)),
        README: _rendered(
            "usage.md.jinja",
            name=checked(network, "network"),
            classes=data.classes,
            weights=weights,
            mode=data.look.mode,
            words=_words(data, settings),
            shape=_shape(data),
            data=data.name.replace("`", "'"),
        ),
    }


def _settings(data: DataSplits, weights: str) -> dict[str, Any]:
    """Sizes are height and width; `resize` is what the picture is resized to, of which `size` in the middle is seen."""
    assert data.look is not None
    _, height, width = data.input_shape
    size = (height, width)
    return {
        "format": FORMAT,
        "weights": weights,
        "data": data.name,
        "mode": data.look.mode,
        "fit": data.look.fit,
        "resize": list(enlarged(size, data.look.crop)),
        "size": list(size),
        "interpolation": "bilinear",
        "mean": list(data.mean),
        "std": list(data.std),
        "labels": list(data.labels),
    }


def _shape(data: DataSplits) -> str:
    return " x ".join(map(str, data.input_shape))


def _words(data: DataSplits, settings: dict[str, Any]) -> str:
    assert data.look is not None
    rows, columns = settings["resize"]
    seen = "" if settings["resize"] == settings["size"] else ", of which the centre is seen"
    return f"{_WORDS[data.look.fit]}, resized bilinearly to {rows} x {columns}{seen}"


def _rendered(template: str, **values: Any) -> bytes:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return environment.from_string(text).render(values).encode()
