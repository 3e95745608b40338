"""What goes wrong in one notebook is said, and stays in that notebook."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from courseware import commands, execution, lab, library

# The command line on another folder than the repository.
COMMAND = """\
import sys
from pathlib import Path
from courseware import __main__, library
library.ROOT = Path(sys.argv.pop(1))
__main__.main()
"""


def start(course, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(course.root), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(path, seconds=180):
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)
    return path.read_text()


def wait_until_gone(pid, seconds=60):
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and (
        psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    ):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.1)


def note_kernel(path):
    """A cell that writes down the process of its kernel."""
    return (
        f"import os, pathlib, time\n"
        f"pathlib.Path({str(path)!r}).write_text(str(os.getpid()))"
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, new_course):
    """A run in which one notebook works and others fail in all ways."""
    course = new_course(tmp_path_factory.mktemp("mixed"))
    course.write("week1_a/01_good", "print(seed, epochs)")
    course.write(
        "week1_a/02_wrong", "x = 1", "# the reason\nraise ValueError('no')"
    )
    course.write("week1_a/03_hangs", "import time\ntime.sleep(1000)")
    course.write("week1_a/04_dies", "import os\nos._exit(3)")
    course.write("week1_a/05_typo", "for\n")
    course.write(
        "week1_a/06_alone",
        note_kernel(course.root / "kernel")
        + "\nimport signal\nos.kill(os.getppid(), signal.SIGKILL)"
        + "\ntime.sleep(1000)",
    )
    limits = execution.Limits(cell=8, notebook=240)
    tasks = commands.run(
        course.root, limits=limits, jobs=3, profile="full", seed=7
    )
    return course, {task.name[8:]: task for task in tasks}


def test_good_one_is_executed(mixed):
    course, tasks = mixed
    assert tasks["01_good"].state == "done"
    built = library.read_executed(course.built / "week1_a/01_good.ipynb")
    assert library.code_cells(built)[-1].outputs[0].text == "7 20\n"
    assert built.metadata.advml.seconds > 0
    assert built.metadata.advml.full == {"epochs": 20}
    assert "papermill" not in str(built)


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("02_wrong", "cell 3 (# the reason): ValueError: no"),
        ("03_hangs", "cell 2 (import time): the cell ran longer than 8 s"),
        ("04_dies", "cell 2 (import os): the kernel died"),
        ("05_typo", "cell 2 (for): SyntaxError: invalid syntax"),
        ("06_alone", "cell 2: the process that ran it ended unexpectedly"),
    ],
)
def test_failure_is_reported(mixed, name, failure):
    course, tasks = mixed
    assert tasks[name].state == "failed"
    assert tasks[name].failure.startswith(f"week1_a/{name}, {failure}")
    assert not (course.built / f"week1_a/{name}.ipynb").exists()


def test_run_leaves_only_results(mixed):
    course, _ = mixed
    written = {p for p in course.root.rglob("*.ipynb")}
    assert written == {course.built / "week1_a/01_good.ipynb"}
    assert list((course.root / "_build" / "temporary").iterdir()) == []


def test_kernel_ends_with_its_worker(mixed):
    course, _ = mixed
    wait_until_gone(int((course.root / "kernel").read_text()))


def test_a_folder_that_is_removed_stops_no_command(course, capsys):
    folder = course.root / "_build" / "temporary"
    course.write(
        "00_removes", f"import shutil\nshutil.rmtree({str(folder)!r})"
    )
    course.write("week1_a/01_next", "pass")
    limits = execution.Limits(cell=60, notebook=240)
    tasks = commands.run(course.root, limits=limits, jobs=1)
    assert [task.state for task in tasks] == ["failed", "failed"]
    assert "FileNotFoundError" in tasks[1].failure
    assert all(task.seconds is not None for task in tasks)
    assert "0 of 2 notebooks executed" in capsys.readouterr().out


def test_a_full_disk_is_the_failure_of_one_notebook(course, monkeypatch):
    replace = library.replace

    def full(path, content):
        if path.name == "01_large.ipynb":
            raise OSError(28, "No space left on device")
        replace(path, content)

    monkeypatch.setattr(library, "replace", full)
    course.write("week1_a/01_large", "pass")
    course.write("week1_a/02_small", "pass")
    limits = execution.Limits(cell=60, notebook=240)
    large, small = commands.run(course.root, limits=limits, jobs=1)
    assert (large.state, small.state) == ("failed", "done")
    assert "No space left on device" in large.failure
    assert large.seconds > 0
    times = course.read(course.root / "_build" / "times.json")
    assert list(times) == ["week1_a/02_small"]


def test_a_worker_that_cannot_be_followed_is_ended(course, monkeypatch):
    def reports(task, job, changes):
        raise MemoryError("no room for a line")

    monkeypatch.setattr(execution, "_read_reports", reports)
    course.write("00_page", "pass")
    (task,) = commands.run(course.root, limits=execution.Limits())
    assert (task.state, task.error) == (
        "failed",
        "MemoryError: no room for a line",
    )
    assert task.process.poll() is not None


def test_limit_of_a_notebook(course):
    course.write("00_slow", "import time", "time.sleep(1000)")
    begin = time.monotonic()
    limits = execution.Limits(cell=500, notebook=3)
    (task,) = commands.run(course.root, limits=limits)
    assert task.state == "failed"
    assert "the notebook ran longer than 3 s" in task.failure
    assert time.monotonic() - begin < 250


def test_failure_keeps_the_good_file(course):
    course.write("00_page", "print(1)")
    stored = course.pretend("00_page").stored
    good = stored.read_bytes()
    course.write("00_page", "1 / 0")
    process = start(course, "notebooks")
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 1
    assert "cell 2 (1 / 0): ZeroDivisionError" in output
    assert stored.read_bytes() == good


def test_interruption_ends_kernels(course):
    kernel = course.root / "kernel"
    course.write("00_page", note_kernel(kernel) + "\ntime.sleep(1000)")
    process = start(course, "run")
    pid = int(wait_for(kernel))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Interrupted" in output
    wait_until_gone(pid)
    assert not list(course.root.rglob("*.ipynb"))


def test_kernels_end_with_a_killed_run(course):
    kernel = course.root / "kernel"
    course.write("00_page", note_kernel(kernel) + "\ntime.sleep(1000)")
    process = start(course, "run")
    pid = int(wait_for(kernel))
    process.kill()
    process.communicate()
    wait_until_gone(pid)


def test_second_command_waits(course):
    with commands.alone(course.root):
        process = start(course, "notebooks")
        assert "waiting" in process.stdout.readline()
        assert process.poll() is None
    output, _ = process.communicate(timeout=120)
    assert (process.returncode, "up to date" in output) == (0, True)


def test_seed_goes_only_where_there_is_one(course):
    path = course.write("00_page", "pass")
    path.write_text(path.read_text().replace("seed = 0\n", ""))
    cells = library.read_source(library.find(course.root)[0])
    assert commands.overrides(cells, "full", 7) == {"epochs": 20}
    assert commands.overrides(cells, None, 7) == {}


def test_unknown_week_is_refused(course):
    course.write("week1_a/01_page", "pass")
    with pytest.raises(ValueError, match="week 3"):
        commands.run(course.root, limits=commands.limits(None), week=3)


def test_start_page_belongs_to_week_0(course):
    course.write("00_page", "pass")
    course.write("week2_b/01_page", "pass")
    names = [x.name for x in library.find(course.root, week=0)]
    assert names == ["00_page"]
    names = [x.name for x in library.find(course.root, week=2)]
    assert names == ["week2_b/01_page"]


def test_longest_first(course, monkeypatch):
    order = []

    def follow(task, *rest):
        order.append(task.name)
        task.state = "done"

    monkeypatch.setattr(execution, "_follow", follow)
    monkeypatch.setattr(execution, "prepare", lambda root: None)
    times = {"short": 1, "new": float("inf"), "long": 9}
    tasks = [
        execution.Task(x, None, course.root, expected=t)
        for x, t in times.items()
    ]
    execution.execute(tasks, course.root, jobs=1, limits=execution.Limits())
    assert order == ["new", "long", "short"]


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    variables = execution.environment(library.ROOT, 2)
    assert variables["OMP_NUM_THREADS"] == "2"
    assert variables["ADVML_NO_PROGRESS"] == "1"
    assert "MPLBACKEND" not in variables
    assert os.environ["MPLBACKEND"] == "Agg"


def test_graphics_cards_do_not_round_the_factors_of_products(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    for variables in (
        execution.environment(library.ROOT, 1),
        lab.environment(),
    ):
        assert variables["NVIDIA_TF32_OVERRIDE"] == "0"
