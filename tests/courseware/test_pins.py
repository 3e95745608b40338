"""The three files with versions agree, and disagreement is noticed."""

import shutil
from pathlib import Path

import pytest

from courseware import pins

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


def test_frozen_constraints_hold_neither_pins_nor_pytorch():
    text = pins.freeze(ROOT)
    names = {line.partition("==")[0].lower() for line in text.splitlines()}
    assert "jinja2" in names
    assert not names & {"numpy", "torch", "sympy", "advml", "myst-nb"}
