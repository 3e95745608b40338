"""Executions for many seeds: what fails is counted, who dies is replaced."""

import json
import threading
import time

import nbformat
import psutil
import pytest
from distributed import Client, LocalCluster
from typer.testing import CliRunner

from courseware import __main__, execution, library, seeds

LIMITS = execution.Limits(cell=60, notebook=240)
VERIFY = """\
from advml.checks import verify
verify("seeds are small", seed, at_most=2, source="none")
verify("seeds are even", seed % 2, equals=0, source="none")
for _ in range(2):
    verify("one is one", 1, equals=1, source="none")
"""
SHOWN = """\
# %% [markdown]
# A sentence.

# %% tags=["shows-failed-claim"]
from advml.checks import verify
verify("one is two", 1, equals=2, source="none")
"""


@pytest.fixture(scope="module")
def cluster():
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=":0",
        ) as cluster,
        Client(cluster),
    ):
        yield cluster


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1..3", [1, 2, 3]),
        ("7", [7]),
        ("0, 4..5", [0, 4, 5]),
        ("2..3,1..2", [2, 3, 1]),
    ],
)
def test_seeds_are_parsed(text, want):
    assert seeds.parse(text) == want


@pytest.mark.parametrize("text", ["", "3..1", "a", "1..", "-1", "1.5", "1,,2"])
def test_what_is_no_list_of_seeds_is_refused(text):
    with pytest.raises(ValueError, match=r"seeds must be like 1\.\.10"):
        seeds.parse(text)
    result = CliRunner().invoke(__main__.app, ["seeds", "--seeds", text])
    assert result.exit_code == 2
    assert "seeds must be like" in result.output


def test_failed_claims_are_counted_and_do_not_stop_their_notebook(
    course, cluster, capsys, monkeypatch
):
    monkeypatch.setattr(seeds.CONSOLE, "width", 200)
    path = course.write("week1_a/01_claims", VERIFY)
    path.write_text(path.read_text() + "\n" + SHOWN)
    course.write("week1_a/02_stops", "if seed == 3:\n    raise OSError('no')")
    passed = seeds.run(
        course.root,
        [1, 2, 3],
        limits=LIMITS,
        scheduler=cluster.scheduler_address,
    )
    assert not passed
    content = json.loads((course.root / "_build/seeds.json").read_text())
    assert content["seeds"] == [1, 2, 3]
    found = seeds.failures(content["results"])
    name = "week1_a/01_claims"
    assert {key: [seed for seed, _ in bad] for key, bad in found.items()} == {
        (name, "seeds are small"): [3],
        (name, "seeds are even"): [1, 3],
        (name, "one is one"): [],
        (name, "one is one (2)"): [],
    }
    said = capsys.readouterr().out
    assert "seeds are even" in said and "2 of 3" in said
    assert "measured 3, expected ≤ 2" in said
    assert "one is two" not in said
    assert "stopped with seed 3: week1_a/02_stops, cell 2" in said
    assert "OSError: no" in said
    assert "2 claims failed for some seed, 1 executions did not end" in said


def test_claims_that_hold_for_all_seeds_pass(course, capsys):
    """Without a scheduler there are workers on this machine."""
    course.write("week1_a/01_claims", VERIFY)
    assert seeds.run(course.root, [0, 2], limits=LIMITS, jobs=1)
    assert "0 claims failed for some seed" in capsys.readouterr().out


def test_a_worker_that_is_killed_does_not_lose_the_run(
    course, cluster, tmp_path
):
    """One of two workers is killed, with the kernel of its notebook."""
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    course.write(
        "week1_a/01_waits",
        "import os, pathlib, time\n"
        f"pathlib.Path({str(kernels)!r}, str(os.getpid())).touch()\n"
        f"while len(list(pathlib.Path({str(kernels)!r}).iterdir())) < 3:\n"
        "    time.sleep(0.1)\n",
        VERIFY,
    )
    results = []
    thread = threading.Thread(
        target=lambda: results.append(
            seeds.run(
                course.root,
                [0, 2],
                limits=LIMITS,
                scheduler=cluster.scheduler_address,
            )
        )
    )
    thread.start()
    wait_for(lambda: len(list(kernels.iterdir())) == 2)
    nanny = next(iter(cluster.workers.values()))
    psutil.Process(nanny.pid).kill()
    thread.join(120)
    assert results == [True]
    assert len(list(kernels.iterdir())) >= 3
    content = json.loads((course.root / "_build/seeds.json").read_text())
    assert [r["seed"] for r in content["results"]] == [0, 2]
    wait_for(lambda: not any(alive(path.name) for path in kernels.iterdir()))


def alive(pid):
    try:
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_is_kept_is_not_repeated_until_the_lecture_changes(course):
    path = course.write("week1_a/01_claims", VERIFY)
    options = {"limits": LIMITS, "jobs": 1, "keep": True}
    kept = course.root / "pages" / "seeds.json"
    kept.parent.mkdir()

    def executed(chosen):
        held = seeds.run(course.root, chosen, **options)
        content = json.loads((course.root / "_build/seeds.json").read_text())
        return held, [result["seed"] for result in content["results"]]

    assert executed([2, 1]) == (False, [1, 2])
    one, two = seeds.read(kept)
    assert (one["seed"], one["claims"]) == (1, 4)
    assert one["failed"] == ["seeds are even"]
    assert (two["seed"], two["failed"], two["error"]) == (2, [], "")
    # What failed is asked again, what passed is not.
    assert executed([0, 1, 2]) == (False, [0, 1])
    assert [entry["seed"] for entry in seeds.read(kept)] == [0, 1, 2]
    path.write_text(path.read_text() + "\n# Another word.\n")
    assert executed([2]) == (True, [2])
    changed = seeds.read(kept)
    assert changed[0] == one | {"seed": 0, "failed": []}
    assert changed[2]["sources"] != two["sources"]
    assert len(changed) == 3


def test_an_interrupted_run_keeps_what_was_found(course, monkeypatch):
    course.write("week1_a/01_claims", VERIFY)
    (course.root / "pages").mkdir()
    completed = seeds._completed

    def interrupted(futures):
        yield next(completed(futures))
        raise KeyboardInterrupt

    monkeypatch.setattr(seeds, "_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        seeds.run(course.root, [0, 2], limits=LIMITS, jobs=1, keep=True)
    (entry,) = seeds.read(course.root / "pages" / "seeds.json")
    content = json.loads((course.root / "_build/seeds.json").read_text())
    assert [r["seed"] for r in content["results"]] == [entry["seed"]]


def test_what_a_worker_has_from_elsewhere_is_not_credited(
    course, cluster, monkeypatch
):
    """The worker's copy of the course is not that of the command."""
    course.write("week1_a/01_claims", VERIFY)
    (course.root / "pages").mkdir()
    monkeypatch.setattr(seeds, "_sources", lambda cells: "of the command")
    assert not seeds.run(
        course.root,
        [2],
        limits=LIMITS,
        scheduler=cluster.scheduler_address,
        keep=True,
    )
    (entry,) = seeds.read(course.root / "pages" / "seeds.json")
    assert entry["sources"] == "of the command"
    assert "the worker's copy of the code or data" in entry["error"]
    assert entry["claims"] == 0


def test_what_changed_while_it_was_executed_is_not_credited(
    course, monkeypatch
):
    def execute(tasks, root, **options):
        tasks[0].state, tasks[0].seconds = "done", 1.0
        library.write(tasks[0].notebook, tasks[0].output)
        if changes:
            monkeypatch.setattr(seeds, "_sources", lambda cells: "changed")

    cells = nbformat.v4.new_notebook()
    arguments = "00_page", nbformat.writes(cells), 1, seeds._sources(cells)
    monkeypatch.setattr(execution, "execute", execute)
    changes = False
    assert seeds.execute_once(*arguments, LIMITS)["error"] == ""
    changes = True
    result = seeds.execute_once(*arguments, LIMITS)
    assert "changed meanwhile" in result["error"]
    assert result["claims"] == []


def test_workers_leave_build_to_the_commands_of_their_machine(monkeypatch):
    """There `make run` removes _build/temporary, and would take theirs."""
    folders = []

    def follow(task, folder, *rest):
        folders.append(folder)
        task.state, task.seconds = "failed", 0.0

    monkeypatch.setattr(execution, "_follow", follow)
    monkeypatch.setattr(execution, "prepare", lambda root: None)
    cells = nbformat.v4.new_notebook()
    arguments = "00_page", nbformat.writes(cells), 1, seeds._sources(cells)
    seeds.execute_once(*arguments, LIMITS)
    assert not folders[0].is_relative_to(library.ROOT / "_build")
