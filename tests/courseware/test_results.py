"""Experiments at full scale: what is kept of them, and what pages show."""

import json
import subprocess
import sys

import pytest

from courseware import publish, results

SCRIPT = '''
from courseware.results import Finding, run

def experiment(n_units: int = 3, rate: float = 0.5):
    """A title.

    What was done.
    """
    if rate < 0:
        raise ValueError("rate")
    return [Finding("log p", -86.4, 0.04, "−86.3", "a paper")]

run(experiment, "small_{n_units}")
'''


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script of an experiment that has been run once."""
    path = tmp_path_factory.mktemp("results") / "small.py"
    path.write_text(SCRIPT, "utf-8")
    subprocess.run([sys.executable, path, "--n-units", "5"], check=True)
    return path


def test_settings_come_from_the_command_line_and_are_kept(script):
    (name, content) = results.read(script.parent).popitem()
    assert name == "small_5"
    assert content["settings"] == {"n_units": 5, "rate": 0.5}
    assert content["command"] == "python pages/results/small.py --n-units 5"
    assert content["title"] == "A title"
    assert content["text"] == "What was done."
    assert "cores of" in content["hardware"]
    assert content["seconds"].keys() == {"elapsed", "CPU"}
    (finding,) = content["findings"]
    assert (finding["found"], finding["published"]) == (-86.4, "−86.3")


def test_a_failed_experiment_leaves_the_last_result(script):
    (before,) = script.parent.glob("*.json")
    text = before.read_text("utf-8")
    failed = subprocess.run(
        [sys.executable, script, "--n-units", "5", "--rate", "-1"],
        capture_output=True,
    )
    assert failed.returncode
    assert before.read_text("utf-8") == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-86.339, 0.45, "−86.34 ± 0.45"),
        (-86.339, 0.046, "−86.339 ± 0.046"),
        (-205.77, 12.0, "−206 ± 12"),
        (0.98712, None, "0.98712"),
        (3.0, 0.0, "3 ± 0"),
    ],
)
def test_a_number_has_the_digits_of_its_error(value, error, text):
    assert results.with_error(value, error) == text


def test_an_incomplete_result_is_named(tmp_path):
    (tmp_path / "half.json").write_text(json.dumps({"title": "Half"}))
    with pytest.raises(ValueError, match=r"half\.json lacks command"):
        results.read(tmp_path)


def test_pages_show_found_beside_published(script):
    assert "No experiment" in publish.full_scale({})
    text = publish.full_scale(results.read(script.parent))
    assert "## A title\n\nWhat was done.\n\n| |" in text
    assert "| log p | −86.400 ± 0.040 | −86.3 | a paper |" in text
    assert "`python pages/results/small.py --n-units 5`" in text


def test_pages_show_the_benchmarks_that_are_kept(tmp_path):
    path = tmp_path / "benchmarks.json"
    assert "No benchmark" in publish.benchmarks(path)
    rows = [["speed-up", "1.87", "≥ 2"]]
    kept = {"hardware": "2 cores", "conditions": "medians of 5 rounds"}
    path.write_text(json.dumps(kept | {"tables": [["PCD-1", rows]]}))
    text = publish.benchmarks(path)
    assert "on 2 cores: medians of 5 rounds." in text
    assert "## PCD-1" in text
    assert "| speed-up | 1.87 | ≥ 2 |" in text
