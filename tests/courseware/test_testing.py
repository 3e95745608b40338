"""`make test` runs all its stages, and the comparison of outputs bites."""

import re
import subprocess
import sys

import nbformat
import pytest

from courseware import execution, hygiene, library, testing

CELL = """\
from IPython.display import publish_display_data

publish_display_data({"text/plain": "✓ a claim: ‹1.25› = ‹1.24 ± 0.1›"})
print("three numbers")"""


@pytest.fixture
def stages(monkeypatch):
    """Stand-ins for the stages: names of those called, and what they say."""
    called, says = [], {"ruff": True, "rules": [], "pytest": True}

    def stage(name):
        def run(*arguments):
            called.append(name)
            return says[name]

        return run

    monkeypatch.setattr(testing, "_ruff", stage("ruff"))
    monkeypatch.setattr(hygiene, "check", stage("rules"))
    monkeypatch.setattr(testing, "_pytest", stage("pytest"))
    return called, says


def test_all_stages_pass(stages, tmp_path):
    called, _ = stages
    assert testing.test(tmp_path, 1) == 0
    assert called == ["ruff", "rules", "pytest"]


@pytest.mark.parametrize(
    ("stage", "verdict", "named"),
    [
        ("ruff", False, "style"),
        ("rules", ["a violation"], "notebook rules"),
        ("pytest", False, "tests"),
    ],
)
def test_one_failing_stage(stages, tmp_path, capsys, stage, verdict, named):
    called, says = stages
    says[stage] = verdict
    assert testing.test(tmp_path, 1) == 1
    assert called == ["ruff", "rules", "pytest"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"Failed: {named} (see above)"


def test_comparison_masks_numbers_in_angle_quotes_only(course):
    changes = {
        "same": ("", ""),
        "number": ("‹1.25› = ‹1.24 ± 0.1›", "‹1.26› = ‹1.2 ± 1e-05›"),
        "claim": ("a claim", "another claim"),
        "relation": ("› = ‹", "› ≤ ‹"),
        "print": ("three", "four"),
    }
    course.write("00_page", *[CELL for _ in changes])
    stored = course.pretend("00_page").stored
    executed = library.read_executed(stored)
    cells = library.code_cells(executed)[1:]
    for cell, (old, new) in zip(cells, changes.values(), strict=True):
        cell.outputs = outputs("✓ a claim: ‹1.25› = ‹1.24 ± 0.1›", old, new)
    library.write(executed, stored)
    differing = list(changes).index("claim") + 1
    assert failures(course) == {f"Cell {n}" for n in range(differing, 6)}


def outputs(line, old, new):
    """What CELL shows, with a change."""
    return [
        nbformat.v4.new_output(
            "display_data", {"text/plain": line.replace(old, new)}
        ),
        nbformat.v4.new_output(
            "stream", name="stdout", text="three numbers\n".replace(old, new)
        ),
    ]


def failures(course):
    """Names of the cells whose outputs differ from the stored ones."""
    command = [sys.executable, "-m", "pytest", "-rf", *testing.COMPARE]
    command += ["-p", "no:cacheprovider", f"--rootdir={course.root}"]
    done = subprocess.run(
        [*command, "notebooks"],
        cwd=course.root,
        env=execution.environment(course.root, 1),
        capture_output=True,
        text=True,
    )
    assert "passed" in done.stdout, done.stdout + done.stderr
    return set(re.findall(r"^FAILED .*?::(Cell \d+)", done.stdout, re.M))
