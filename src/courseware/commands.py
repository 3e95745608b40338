"""What the commands `run` and `notebooks` do."""

import json
import shutil
import time
from contextlib import contextmanager

import nbformat
from rich.console import Console

from courseware import environment, execution, hygiene, library
from courseware.display import Progress

CONSOLE = Console(highlight=False, soft_wrap=True)
LIMITS = {
    None: execution.Limits(cell=300, notebook=1800),
    "full": execution.Limits(cell=6 * 3600, notebook=24 * 3600),
}


def limits(profile, cell=None):
    """The limits of a profile, or those that follow from one for cells."""
    if cell is None:
        return LIMITS[profile]
    return execution.Limits(cell, max(10 * cell, LIMITS[profile].notebook))


def run(
    root,
    *,
    limits,
    week=None,
    profile=None,
    seed=None,
    jobs=None,
):
    """Execute notebooks from their sources into _build/notebooks.

    Returns the tasks. Nothing outside _build is written. A notebook that
    fails leaves no fresh result: pages then show its stored outputs.
    """
    notebooks = [x for x in library.find(root) if x.source.exists()]
    tasks = {x: _fresh(x, root, profile, seed) for x in notebooks}
    _drop_outdated(tasks.values(), root / "_build" / "notebooks")
    tasks = [tasks[x] for x in notebooks if week is None or x.week == week]
    if not tasks:
        raise ValueError(f"there is no notebook for week {week}")
    _execute(tasks, root, jobs, limits)
    return tasks


def _fresh(notebook, root, profile=None, seed=None):
    """The task of executing a notebook from its source.

    A source that cannot be read is a task that has failed already.
    """
    output = root / "_build" / "notebooks" / f"{notebook.name}.ipynb"
    try:
        cells = library.read_source(notebook)
        changed = overrides(cells, profile, seed)
    except Exception as error:
        task = execution.Task(notebook.name, None, output, seconds=0)
        task.state = "failed"
        task.error = f"cannot be read ({type(error).__name__}: {error})"
        return task
    sources = library.digests(cells, root)
    if changed:
        sources["parameters"] = json.dumps(changed)
    return execution.Task(
        name=notebook.name,
        notebook=cells,
        output=output,
        parameters=changed,
        sources=sources,
        expected=_expected(notebook, root),
    )


def overrides(cells, profile=None, seed=None):
    """The parameters that profile and seed change in a notebook."""
    known = library.parameters(cells)
    changed = {}
    if profile == "full":
        changed |= cells.metadata.get("advml", {}).get("full", {})
    if seed is not None and "seed" in known:
        changed["seed"] = seed
    return changed


def _drop_outdated(tasks, folder):
    """Remove results of earlier runs that are not those of these sources.

    What is left is still right, and stays if its notebook fails this time.
    """
    sources = {task.output: task.sources for task in tasks}
    for path in folder.glob("**/*.ipynb"):
        old = _readable(path)
        recorded = old.metadata.get("advml", {}) if old else {}
        if recorded.get("sources", {}) != sources.get(path):
            path.unlink()


def notebooks(root, *, limits, everything=False, jobs=None):
    """Bring each `.ipynb` up to date with its `.py`, in place.

    A notebook is executed if its code, or what that imports, changed since;
    changed text alone is put beside the outputs that are there. Returns the
    tasks that were executed.
    """
    tasks = []
    for notebook in library.find(root):
        if not notebook.source.exists():
            CONSOLE.print(f"{notebook.name}: no .py, left alone")
            continue
        task = _fresh(notebook, root)
        old = _readable(notebook.stored)
        if everything or _needs_execution(old, task):
            task.output = notebook.stored
            tasks.append(task)
        elif not _as_stored(_with_outputs(task.notebook, old), notebook):
            library.write(task.notebook, notebook.stored)
            CONSOLE.print(f"{notebook.name}: text updated")
    if tasks:
        _execute(tasks, root, jobs, limits)
    else:
        CONSOLE.print("Every notebook's outputs are up to date.")
    return tasks


def _readable(path):
    try:
        return library.read_executed(path)
    except (OSError, ValueError):
        return None


def _needs_execution(old, task):
    """Whether the outputs of `old` are not those of the task's source."""
    if old is None or task.state == "failed":
        return True
    return bool(
        old.metadata.get("advml", {}).get("sources") != task.sources
        or hygiene.not_executed_in_order(old)
        or [x.source for x in library.code_cells(old)]
        != [x.source for x in library.code_cells(task.notebook)]
    )


def _as_stored(cells, notebook):
    stored = notebook.stored.read_text("utf-8")
    return stored == nbformat.writes(cells) + "\n"


def _with_outputs(cells, executed):
    """New text with the outputs and execution data of the old notebook."""
    pairs = zip(
        library.code_cells(cells), library.code_cells(executed), strict=True
    )
    for new, old in pairs:
        new.outputs, new.execution_count = old.outputs, old.execution_count
    cells.metadata["advml"] = cells.metadata.get("advml", {}) | {
        name: executed.metadata["advml"][name]
        for name in ("seconds", "sources")
        if name in executed.metadata["advml"]
    }
    return library.tidy(cells)


def _execute(tasks, root, jobs, limits):
    start = time.monotonic()
    jobs = jobs or execution.default_jobs()
    with Progress(tasks, CONSOLE) as progress:
        execution.execute(
            tasks, root, jobs=jobs, limits=limits, on_change=progress
        )
    _remember(tasks, root)
    failed = [task for task in tasks if task.state == "failed"]
    for task in failed:
        CONSOLE.print(f"failed: {task.failure}", style="red", markup=False)
    CONSOLE.print(
        f"{len(tasks) - len(failed)} of {len(tasks)} notebooks executed "
        f"in {time.monotonic() - start:.0f} s"
    )


def _times(root):
    return root / "_build" / "times.json"


def _expected(notebook, root):
    """Seconds that a notebook took last time; unknown ones come first."""
    try:
        return json.loads(_times(root).read_text())[notebook.name]
    except (OSError, ValueError, KeyError):
        stored = _readable(notebook.stored)
    metadata = stored.metadata.get("advml", {}) if stored else {}
    return metadata.get("seconds", float("inf"))


def _remember(tasks, root):
    try:
        times = json.loads(_times(root).read_text())
    except (OSError, ValueError):
        times = {}
    times |= {x.name: round(x.seconds, 1) for x in tasks if x.state == "done"}
    library.replace(_times(root), json.dumps(times, indent=1))


def publish(root, executed):
    """Make the pages from a folder of executed notebooks; whether it worked.

    Notebooks that the folder lacks are shown with their stored outputs.
    """
    from courseware import publish

    start = time.monotonic()
    try:
        home = publish.publish(
            executed, root / "_build" / "html", root / "notebooks"
        )
    except publish.PublishError as error:
        CONSOLE.print(f"The pages were not made:\n{error}", markup=False)
        return False
    CONSOLE.print(f"Pages made in {time.monotonic() - start:.0f} s: {home}")
    return True


@contextmanager
def alone(root):
    """One process at a time executes or publishes; others wait for it."""
    with environment.alone(root):
        # What a process that was killed outright left behind.
        shutil.rmtree(root / "_build" / "temporary", ignore_errors=True)
        try:
            yield
        except KeyboardInterrupt:
            CONSOLE.print("Interrupted: nothing is left half-done.")
            raise
