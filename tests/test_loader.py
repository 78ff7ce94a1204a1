"""Files with imports, the standard library, and who may name what."""

from pathlib import Path

import pytest

from nasc.dsl import loader
from nasc.dsl.loader import Module, load, standard_library
from nasc.dsl.render import render

ROOT = Path(__file__).resolve().parent.parent


def write(folder: Path, **texts: str) -> Path:
    """Write `a="…"` to `a.nas`, `sub__b="…"` to `sub/b.nas`; return the path of `main.nas`."""
    for name, text in texts.items():
        path = folder / (name.replace("__", "/") + ".nas")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "main.nas"


def codes(module: Module) -> list[str]:
    return [diagnostic.code for diagnostic in module.diagnostics.found]


def test_a_file_sees_the_library_its_imports_and_itself(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main='import "sub/a.nas"\nblock own { in }\nspace s { }\nsearch m { }\ntarget t { }\nsearch n { }',
        sub__a='import "../b.nas"\nblock a { in }\nspace ignored { }',
        b="block b { in }\nblock irb { in }",
    )
    module = load(main)
    assert not codes(module), render(module.diagnostics.found)
    assert {"own", "a", "b", "irb", "conv"} <= module.blocks.keys()
    assert module.library == standard_library().keys() - {"irb"}
    assert module.blocks["irb"] is not standard_library()["irb"]
    assert module.blocks["conv"] is standard_library()["conv"]
    assert module.space is not None and module.space.name == "s"
    assert [section.name for section in module.searches] == ["m", "n"]
    assert [section.name for section in module.targets] == ["t"]
    assert [source.name for source in module.sources] == [
        str(main),
        str(tmp_path / "sub/a.nas"),
        str(tmp_path / "b.nas"),
    ]


def test_text_is_loaded_under_a_files_name(tmp_path: Path) -> None:
    write(tmp_path, a="block a { in }")
    module = load(tmp_path / "unsaved.nas", 'import "a.nas"')
    assert not codes(module) and "a" in module.blocks


@pytest.mark.parametrize("path", sorted(ROOT.glob("spaces/**/*.nas")), ids=lambda path: path.name)
def test_every_space_of_the_project_loads(path: Path) -> None:
    module = load(path)
    assert not codes(module), render(module.diagnostics.found)


def test_the_library_is_parsed_once_and_cannot_be_changed() -> None:
    assert standard_library() is standard_library()
    assert {"irb", "fused_irb", "mbv3", "transformer"} <= standard_library().keys()
    assert standard_library()["irb"].span.source.name == "<library>/cnn.nas"
    assert standard_library()["irb"].doc.startswith("Inverted residual")
    load("x.nas", "block irb { in }").blocks.clear()
    assert "irb" in standard_library()


def test_a_file_imported_twice_is_there_once(tmp_path: Path) -> None:
    main = write(
        tmp_path, main='import "a.nas" import "b.nas" import "./a.nas"', a='import "b.nas"', b="block b { in }"
    )
    module = load(main)
    assert not codes(module) and len(module.sources) == 3


def test_imports_in_a_circle(tmp_path: Path) -> None:
    main = write(tmp_path, main='import "a.nas"', a='import "b.nas"', b='import "a.nas"\nimport "main.nas"')
    module = load(main)
    assert codes(module) == ["E0207", "E0207"]
    assert all(d.span and d.span.source.name.endswith("b.nas") for d in module.diagnostics.found)
    assert codes(load(write(tmp_path, main='import "main.nas"'))) == ["E0207"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("../secret.nas", "E0205"), ("sub/../../secret.nas", "E0205"), ("link.nas", "E0205"),
        ("folder/secret.nas", "E0205"),
        ("~/x.nas", "E0201"), ("none.nas", "E0201"), ("", "E0206"), ("sub", "E0206"), ("a.txt", "E0206"),
        ("a.nas.txt", "E0206"), ("text.nas", "E0206"), ("directory.nas", "E0202"), ("loop.nas", "E0202"),
        ("a\0.nas", "E0202"), ("x" * 5000 + ".nas", "E0202"), ("latin.nas", "E0203"), ("large.nas", "E0204"),
        ("broken.nas", "E0102"),
    ],
)  # fmt: skip
def test_imports_that_are_refused(tmp_path: Path, path: str, code: str) -> None:
    home = tmp_path / "home"
    main = write(home, main=f'import "{path}"', sub__x="", a="", broken="space {")
    write(tmp_path, secret="block secret { in }")
    (home / "a.txt").write_text("block a { in }")
    (home / "directory.nas").mkdir()
    (home / "latin.nas").write_bytes(b"// \xff")
    (home / "large.nas").write_bytes(b" " * ((1 << 20) + 1))
    (home / "link.nas").symlink_to(tmp_path / "secret.nas")
    (home / "folder").symlink_to(tmp_path)
    (home / "text.nas").symlink_to(home / "a.txt")
    (home / "loop.nas").symlink_to(home / "loop.nas")
    module = load(main)
    assert codes(module) == [code]
    assert "secret" not in module.blocks
    shown = render(module.diagnostics.found)
    assert "block secret" not in shown


def test_an_absolute_path_is_refused_even_if_it_is_near(tmp_path: Path) -> None:
    main = write(tmp_path, main=f'import "{tmp_path}/a.nas"', a="")
    assert codes(load(main)) == ["E0205"]


def test_links_within_the_directory_are_followed(tmp_path: Path) -> None:
    main = write(tmp_path, main='import "link.nas" import "a.nas"', a="block a { in }")
    (tmp_path / "link.nas").symlink_to("a.nas")
    module = load(main)
    assert not codes(module) and len(module.sources) == 2


def test_imports_have_limits(tmp_path: Path) -> None:
    chain = {f"n{i}": f'import "n{i + 1}.nas"' for i in range(loader.MAXIMUM_DEPTH + 5)}
    assert codes(load(write(tmp_path, main='import "n0.nas"', **chain))) == ["E0208"]
    count = loader.MAXIMUM_FILES + 1
    wide = {f"m{i}": "" for i in range(count)}
    imports = "\n".join(f'import "m{i}.nas"' for i in range(count))
    assert codes(load(write(tmp_path, main=imports, **wide))) == ["E0208"]


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ({"main": "block b { in } block b { in }"}, "E0210"),
        ({"main": 'import "a.nas" block b { in }', "a": "block b { in }"}, "E0210"),
        ({"main": 'import "a.nas" import "c.nas"', "a": "block b { in }", "c": "block b { in }"}, "E0210"),
        ({"main": "block relu { in }"}, "E0211"),
        ({"main": 'import "a.nas"', "a": "block relu { in }"}, "E0211"),
        ({"main": "space a { } network b { }"}, "E0212"),
    ],
)
def test_names_are_given_once(tmp_path: Path, texts: dict[str, str], code: str) -> None:
    assert codes(load(write(tmp_path, **texts), primitives=frozenset({"relu"}))) == [code]


def test_a_main_file_that_is_not_there(tmp_path: Path) -> None:
    module = load(tmp_path / "none.nas")
    assert codes(module) == ["E0201"]
    assert module.space is None and "irb" in module.blocks


def test_errors_of_all_files_are_found_in_one_run(tmp_path: Path) -> None:
    main = write(tmp_path, main='import "a.nas"\nspace s { stage }', a="block b { | }\n")
    module = load(main)
    assert codes(module) == ["E0102", "E0102"]
    assert [Path(d.span.source.name).name for d in module.diagnostics.found if d.span] == ["main.nas", "a.nas"]
