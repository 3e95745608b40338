"""The three files with versions agree, and disagreement is noticed."""

import re
import shutil
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from courseware import environment, pins

ROOT = Path(__file__).resolve().parents[2]
FILES = ("pyproject.toml", "constraints.txt", "environment.yml")


@pytest.fixture
def copy(tmp_path):
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_the_three_files_agree():
    assert list(pins.disagreements(ROOT)) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("pyproject.toml", "numpy==", "numpy>=", "does not pin exactly"),
        ("pyproject.toml", '"scipy==', '"numba==', "environment.yml has"),
        ("environment.yml", "scipy==", "scipy==9", "environment.yml has"),
        ("environment.yml", "scipy==", "scypi==", "has no scipy"),
        ("environment.yml", "      - -e .", "", "lacks '-e .'"),
        ("environment.yml", "      - -c constraints.txt", "", "lacks '-c"),
        ("constraints.txt", "six==", "numpy==", "repeats numpy"),
        ("constraints.txt", "six==", "Sympy==", "a part of PyTorch's builds"),
        ("constraints.txt", "six==", "six>=", "does not pin exactly"),
    ],
)
def test_disagreement_is_noticed(copy, file, old, new, said):
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1))
    assert any(said in sentence for sentence in pins.disagreements(copy))


@pytest.mark.parametrize("file", FILES)
def test_missing_file_is_noticed(copy, file):
    (copy / file).unlink()
    assert list(pins.disagreements(copy)) == [f"{file} is missing"]


def versions(text):
    return {
        canonicalize_name(name): version
        for name, _, version in (x.partition("==") for x in text.splitlines())
        if version and not name.startswith("#")
    }


def test_everything_that_gets_installed_is_pinned():
    assert pins.unpinned(ROOT) == {}


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("aiohttp", "papermill needs"),  # on Python 3.12
        ("appnope", "ipykernel needs"),  # on macOS
        ("overrides", "jupyter-server needs"),  # on Python 3.11
        ("setuptools", "tensorflow-cpu needs|torch needs"),
        ("fsspec", "dask needs"),  # not PyTorch alone
        ("tinycss2", r"bleach needs .*css"),  # by an extra
    ],
)
def test_what_is_not_pinned_is_found(copy, name, whose):
    path = copy / "constraints.txt"
    text = path.read_text()
    assert f"\n{name}==" in text
    path.write_text(text.replace(f"\n{name}==", f"\n# {name}=="))
    (found,) = pins.unpinned(copy).items()
    assert found[0] == name and re.match(whose, found[1])


def test_constraints_are_those_that_freeze_writes():
    text = (ROOT / "constraints.txt").read_text()
    assert versions(text).items() <= versions(pins.freeze(ROOT)).items()


def test_freeze_keeps_what_another_system_needs(copy):
    path = copy / "constraints.txt"
    path.write_text(path.read_text() + "no-such-package==1.0\n")
    frozen = pins.freeze(copy)
    assert "\nno-such-package==1.0\nnotebook_shim==" in frozen
    assert "\nappnope==" in frozen


def test_pins_exist_for_the_oldest_python_that_is_accepted():
    oldest = ".".join(map(str, environment.OLDEST))
    for name in pins.project_pins(ROOT) | versions(pins.freeze(ROOT)):
        try:
            needed = metadata.metadata(name).get("Requires-Python")
        except metadata.PackageNotFoundError:
            continue
        assert oldest in SpecifierSet(needed or ""), (name, needed)


def test_files_accept_the_same_pythons():
    wanted = f">={'.'.join(map(str, environment.OLDEST))},<3.14"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert project["requires-python"] == wanted
    assert f"python {wanted}" in conda["dependencies"]
    assert f"not {environment.OLDEST} <=" in (ROOT / "Makefile").read_text()


def test_frozen_constraints_hold_neither_pins_nor_pytorch():
    text = pins.freeze(ROOT)
    names = {line.partition("==")[0].lower() for line in text.splitlines()}
    assert "jinja2" in names
    assert not names & {"numpy", "torch", "sympy", "advml", "myst-nb"}
