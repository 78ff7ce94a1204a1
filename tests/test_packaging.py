"""The hand-written package list, its data files, and the links that static tools follow."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("dsl", "compiler", "runtime", "spaces")
DATA_SUFFIXES = {".lark", ".nas", ".jinja", ".typed"}


def setuptools_table() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["tool"]["setuptools"]
    return table


def sources(suffixes: set[str]) -> dict[str, Path]:
    """Files with these suffixes in the package folders, by their path inside an installed copy."""
    found = {}
    for folder in ("nasc", *LINKED):
        prefix = "" if folder == "nasc" else "nasc/"
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT)
            linked = folder == "nasc" and len(inside.parts) > 1 and inside.parts[1] in LINKED
            if path.suffix in suffixes and not linked and "__pycache__" not in inside.parts:
                found[prefix + inside.as_posix()] = path
    return found


def package_folder(package: str, table: dict[str, Any]) -> Path:
    """The folder a package is built from, under setuptools' rule: the longest listed prefix wins."""
    parts = package.split(".")
    for cut in range(len(parts), 0, -1):
        mapped = table["package-dir"].get(".".join(parts[:cut]))
        if mapped is not None:
            return ROOT.joinpath(mapped, *parts[cut:])
    raise AssertionError(f"{package} has no folder in [tool.setuptools.package-dir]")


def test_every_folder_with_modules_is_listed() -> None:
    on_disk = {".".join(Path(inside).parts[:-1]) for inside in sources({".py"})}
    assert on_disk == set(setuptools_table()["packages"])


def test_every_listed_package_has_an_init_file() -> None:
    table = setuptools_table()
    for package in table["packages"]:
        assert (package_folder(package, table) / "__init__.py").is_file(), package


@pytest.mark.parametrize("name", LINKED)
def test_static_tools_find_the_package_under_its_installed_name(name: str) -> None:
    assert (ROOT / "nasc" / name).resolve() == ROOT / name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the tree, so that nothing is left behind in it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, tree)
    for folder in ("nasc", *LINKED):
        shutil.copytree(ROOT / folder, tree / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        str(tree),
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(out),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("nasc-*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_each_source_and_data_file_once(wheel: zipfile.ZipFile) -> None:
    wanted = sources({".py", *DATA_SUFFIXES})
    packed = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert sorted(packed) == sorted(wanted)
    for name, path in wanted.items():
        assert wheel.read(name) == path.read_bytes(), name


def test_wheel_puts_no_bare_generic_name_into_site_packages(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel.namelist()} == {"nasc"}


def test_wheel_declares_the_command_and_the_version(wheel: zipfile.ZipFile) -> None:
    import nasc

    info = f"nasc-{nasc.__version__}.dist-info"
    assert "nasc = nasc.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert f"\nVersion: {nasc.__version__}\n" in wheel.read(f"{info}/METADATA").decode()


@pytest.mark.parametrize("folder", ["root", "elsewhere"])
def test_module_runs_from_the_tree_and_from_elsewhere(folder: str, tmp_path: Path) -> None:
    import nasc

    command = [sys.executable, "-m", "nasc", "--version"]
    done = subprocess.run(
        command, cwd=ROOT if folder == "root" else tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert nasc.__version__ in done.stdout
