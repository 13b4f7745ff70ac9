"""The wheel and the source distribution hold what they should, and the wheel alone, with what it asks for, detects."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from licences import Installed

ROOT = Path(__file__).parents[1]
CHECK = ROOT / "scripts" / "check_wheel.py"
INDEX = os.environ.get("SINGLESHOT_INDEX_TESTS")
BUILD = "from setuptools import build_meta as b; import sys; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"


def built(kind: str, folder: Path) -> Path:
    """What `python -m build` makes of a copy of the tracked files, by the setuptools that is installed."""
    pytest.importorskip("setuptools", "77", reason="setuptools 77 builds the package")
    source = folder / "source"
    if not source.is_dir():
        ignore = shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__")
        shutil.copytree(ROOT / "src", source / "src", ignore=ignore)
        (source / "tests").mkdir()
        (source / "tests/test_x.py").touch()
        for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "constraints.txt"):
            shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-c", BUILD, kind, folder], cwd=source, check=True, capture_output=True)
    (file,) = folder.glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[kind])
    return file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", tmp_path_factory.mktemp("wheel"))


def detect(python: Path, folder: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run([python, CHECK], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith(str(folder.resolve())), run.stdout
    subprocess.run([python.with_name("ssd"), "--help"], env=environment, check=True, capture_output=True)


def test_the_wheel_and_what_it_asks_for_detect_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """Without the index: the files of the packages that the wheel's metadata ask for are linked, no others."""
    if not hasattr(os, "fork"):
        pytest.skip("links need a right on Windows")
    venv.create(tmp_path / "empty", symlinks=True)
    (site,) = (tmp_path / "empty").glob("lib/python*/site-packages")
    python = tmp_path / "empty/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run(pip, check=True)
    (metadata,) = site.glob("*.dist-info/METADATA")
    requirements = message_from_bytes(metadata.read_bytes()).get_all("Requires-Dist") or []
    installed = Installed()
    for package in installed.needs(requirements):
        distribution = installed.get(package)
        assert distribution is not None, package
        parts = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        for part in parts:
            if not (site / part).exists():
                (site / part).symlink_to(Path(str(distribution.locate_file(part))).resolve())
    detect(python, tmp_path / "empty")


@pytest.mark.slow
@pytest.mark.skipif(not INDEX, reason="SINGLESHOT_INDEX_TESTS=1 lets pip download 130 MB from the index")
def test_pip_installs_the_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel]
    subprocess.run(pip, check=True)
    detect(python, tmp_path / "empty")


def test_the_wheel_is_one_for_every_python_and_holds_no_tests(wheel: Path) -> None:
    assert wheel.name.startswith("singleshot-")
    assert "-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        held = {name.partition("/")[0] for name in names}
    assert len(held) == 2  # the package and its dist-info
    assert "singleshot/shipped/ssdlite320-mobilenetv2/model.safetensors" in names
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_source_distribution_holds_what_a_wheel_needs_and_no_more(wheel: Path) -> None:
    archive = built("sdist", wheel.parent)
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {name.partition("/")[0] for name in names} - {""} == {
        "src", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "constraints.txt", "PKG-INFO", "setup.cfg",
    }  # fmt: skip
    assert "src/singleshot/ssd/_detection_output.c" in names
    assert "src/singleshot/py.typed" in names
