"""The set-up is safe to repeat, to interrupt and to start twice."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from courseware import environment

ROOT = Path(__file__).resolve().parents[2]

PYPROJECT = """\
[build-system]
requires = ["setuptools"]
[project]
version = "1"
requires-python = ">=3.11"
dependencies = ["numpy==1.0"]
[project.optional-dependencies]
course = []
[tool.ruff]
line-length = 79
"""

# Stands in for pip: `python -m pip` finds it in the working directory.
PIP = """\
import pathlib, sys, time
here = pathlib.Path(__file__).parent
def note(text):
    with open(here / "calls", "a") as file:
        print(text, file=file)
note("begin " + " ".join(sys.argv[1:]))
if (here / "slow").exists():
    time.sleep(float((here / "slow").read_text()))
if (here / "broken").exists():
    sys.exit("No space left on device")
note("end")
"""

# The real set-up, only without the seconds that it takes to install pip.
SETUP = """\
import subprocess, sys
sys.path.insert(0, {source!r})
import environment
def create(venv):
    subprocess.run(
        [sys._base_executable, "-m", "venv", "--clear", "--without-pip", venv],
        check=True,
    )
environment.create = create
sys.exit(environment.main({root!r}))
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "constraints.txt").write_text("six==1.17.0\n")
    (tmp_path / "pip.py").write_text(PIP)
    return tmp_path


def start(root):
    source = str(ROOT / "src" / "courseware")
    code = SETUP.format(source=source, root=str(root))
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def set_up(root):
    process = start(root)
    output, _ = process.communicate(timeout=180)
    return process.returncode, output


def calls(root):
    path = root / "calls"
    return path.read_text().splitlines() if path.exists() else []


def wait_for_pip(root):
    deadline = time.monotonic() + 120
    while not calls(root):
        assert time.monotonic() < deadline, "pip was never called"
        time.sleep(0.05)


def test_sets_up_once(root):
    status, output = set_up(root)
    assert status == 0
    assert output.startswith("Setting up .venv")
    assert set_up(root) == (0, "")
    install = f"begin install --disable-pip-version-check -c {root}"
    install += f"/constraints.txt -e {root}[course]"
    assert calls(root) == [install, "end"]


def test_up_to_date_is_quick(root):
    set_up(root)
    script = ROOT / "src" / "courseware" / "environment.py"
    code = "import sys; sys.path.insert(0, sys.argv[1]); import environment;"
    code += "sys.exit(environment.main(sys.argv[2]))"
    python = str(environment.python_of(root / ".venv"))
    times = []
    for _ in range(3):
        begin = time.process_time(), os.times().children_user
        subprocess.run([python, "-c", code, script.parent, root], check=True)
        times.append(os.times().children_user - begin[1])
    assert min(times) < 0.2


def test_two_at_once_install_once(root):
    (root / "slow").write_text("1")
    processes = [start(root), start(root)]
    outputs = [p.communicate(timeout=180)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    assert len(calls(root)) == 2
    assert sum("Waiting for another" in output for output in outputs) == 1


def test_killed_then_repeated_starts_from_scratch(root):
    (root / "slow").write_text("1.5")
    process = start(root)
    wait_for_pip(root)
    (root / ".venv" / "half-made").touch()
    process.kill()
    process.communicate()
    assert not (root / ".venv" / "stamp").exists()
    status, output = set_up(root)
    assert status == 0
    # pip outlived its parent: the next set-up waited for its end.
    assert "Waiting" in output
    assert [line.split()[0] for line in calls(root)] == ["begin", "end"] * 2
    assert not (root / ".venv" / "half-made").exists()


def test_interrupted_ends_pip(root):
    (root / "slow").write_text("30")
    process = start(root)
    wait_for_pip(root)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in output
    assert not (root / ".venv" / "stamp").exists()
    (root / "slow").unlink()
    assert set_up(root)[0] == 0


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pyproject.toml", "numpy==1.0", "numpy==2.0"),
        ("constraints.txt", "1.17.0", "1.18.0"),
    ],
)
def test_new_pins_update_in_place(root, file, old, new):
    set_up(root)
    (root / ".venv" / "kept").touch()
    path = root / file
    path.write_text(path.read_text().replace(old, new))
    status, output = set_up(root)
    assert status == 0
    assert output.startswith("Updating")
    assert len(calls(root)) == 4
    assert (root / ".venv" / "kept").exists()
    assert set_up(root) == (0, "")


def test_settings_of_tools_are_no_pins(root):
    set_up(root)
    path = root / "pyproject.toml"
    path.write_text(path.read_text().replace("79", "99"))
    assert set_up(root) == (0, "")


def test_failure_shows_the_end_of_the_log(root):
    (root / "broken").touch()
    status, output = set_up(root)
    assert status == 1
    assert "No space left on device" in output
    assert "setup.log" in output
    assert not (root / ".venv" / "stamp").exists()
    (root / "broken").unlink()
    assert set_up(root)[0] == 0


def test_broken_environment_is_made_again(root):
    set_up(root)
    for path in (root / ".venv" / "bin").glob("python*"):
        path.unlink()
    status, output = set_up(root)
    assert status == 0
    assert output.startswith("Setting up")


def test_moved_folder_is_made_again(root):
    set_up(root)
    moved = root.with_name(f"{root.name}-moved")
    root.rename(moved)
    status, output = set_up(moved)
    assert status == 0
    assert output.startswith("Setting up")


@pytest.mark.parametrize(
    "version", [(3, 10, 4), (3, 11, 4), (3, 14, 0), (2, 7)]
)
def test_other_python_is_refused(version):
    with pytest.raises(environment.SetupError, match=r"needs Python 3\.11"):
        environment.check_python(version)


@pytest.mark.parametrize("version", [(3, 11, 5), (3, 12, 0), (3, 13, 9)])
def test_python_of_the_pins_is_accepted(version):
    environment.check_python(version)


def make(*arguments):
    return subprocess.run(
        ["make", "-C", str(ROOT), *arguments], capture_output=True, text=True
    )


@pytest.fixture
def built(tmp_path):
    """A copy of the Makefile, without .venv, beside results of a run."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    code = tmp_path / "src" / "courseware"
    code.mkdir(parents=True)
    shutil.copy(ROOT / "src" / "courseware" / "environment.py", code)
    for name in ("notebooks", "temporary"):
        (tmp_path / "_build" / name).mkdir(parents=True)
    (tmp_path / "_build" / "times.json").write_text("{}")
    return tmp_path


def test_make_clean_waits_for_the_command_that_runs(built):
    with environment.alone(built):
        process = subprocess.Popen(
            ["make", "-C", str(built), "--no-print-directory", "clean"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert "Another command" in process.stdout.readline()
        assert process.poll() is None
        assert (built / "_build" / "temporary").exists()
        (built / "_build" / "seeds.json").write_text("{}")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert [x.name for x in (built / "_build").iterdir()] == ["locks"]


def test_make_clean_needs_no_python(built):
    subprocess.run(
        ["make", "-C", str(built), "clean", "PYTHON=/bin/false"], check=True
    )
    assert list((built / "_build").iterdir()) == []


def test_make_lists_its_commands():
    default, named = make(), make("help")
    assert default.stdout == named.stdout
    listed = {
        line.split()[1]
        for line in default.stdout.splitlines()
        if line.startswith("make ")
    }
    assert listed >= set("run test lab notebooks pages data bench".split())
    assert listed >= {"clean", "help"}


def test_make_without_a_suitable_python_says_so():
    done = make("environment", "PYTHON=/bin/false")
    assert done.returncode
    assert "needs Python 3.11 (3.11.5 or later), 3.12 or" in done.stderr


def test_make_passes_options_on():
    line = make("-n", "run", "WEEK=2", "PROFILE=full", "SEED=7").stdout
    assert "run --week 2 --profile full --seed 7" in " ".join(line.split())
