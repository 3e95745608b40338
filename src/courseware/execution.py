"""Runs notebooks side by side, each in a process of its own.

Executing is papermill's work (see `worker`); this module starts the workers,
follows them, ends those that exceed their limit, and moves what they wrote to
its place only when it is complete.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil

from courseware import library

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
# Newer graphics cards round the factors of float32 products to 10 bits, and
# the two frameworks differ on which products: nothing would agree to 1e-6.
FULL_PRECISION = {"NVIDIA_TF32_OVERRIDE": "0"}
FIRST_TIME = """
import os
import matplotlib.font_manager
from IPython.core.profiledir import ProfileDir
ProfileDir.create_profile_dir_by_name(os.environ["IPYTHONDIR"], "default")
"""
MEMORY_OF_A_NOTEBOOK = 2 * 2**30


@dataclass
class Task:
    """One notebook to execute, and what became of it."""

    name: str
    notebook: nbformat.NotebookNode
    output: Path
    parameters: dict = field(default_factory=dict)
    sources: dict = field(default_factory=dict)
    expected: float = float("inf")
    state: str = "waiting"
    cell: int = 0
    cells: int = 0
    started: float = 0.0
    seconds: float | None = None
    error: str = ""
    line: str = ""
    process: subprocess.Popen | None = None

    @property
    def elapsed(self):
        """Seconds since the start, or in all."""
        if self.state == "running":
            return time.monotonic() - self.started
        return self.seconds

    @property
    def failure(self):
        """One line that says what went wrong and where."""
        where = f"cell {self.cell}" if self.cell else "at its start"
        line = f" ({self.line})" if self.line else ""
        return f"{self.name}, {where}{line}: {self.error}"


@dataclass(frozen=True)
class Limits:
    """Seconds that one cell and one notebook may take."""

    cell: float = 300
    notebook: float = 1800


def cores():
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_jobs():
    """How many notebooks to run at a time: what cores and memory allow."""
    memory = psutil.virtual_memory().available // MEMORY_OF_A_NOTEBOOK
    return max(1, min(cores(), int(memory)))


def environment(root, threads):
    """Environment variables for a process that executes notebooks.

    The user's own settings of Matplotlib and IPython do not apply, so that
    everyone gets the same figures, and each process gets its share of cores.
    float32 means float32, on a graphics card as well.
    """
    cache = root / "_build" / "cache"
    variables = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    variables |= dict.fromkeys(THREADS, str(threads))
    return variables | {
        **FULL_PRECISION,
        "ADVML_NO_PROGRESS": "1",
        "IPYTHONDIR": str(cache / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONUTF8": "1",
    }


def prepare(root):
    """Make once what notebooks would otherwise each make, or complain about.

    The first import of Matplotlib lists the fonts of the machine and says so
    on standard error; the first kernel makes folders for IPython.
    """
    variables = environment(root, 1)
    fonts = Path(variables["MPLCONFIGDIR"])
    kernels = Path(variables["IPYTHONDIR"])
    if list(fonts.glob("fontlist*.json")) and kernels.exists():
        return
    for path in (fonts, kernels):
        path.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", FIRST_TIME]
    subprocess.run(command, env=variables, capture_output=True)


@contextmanager
def temporary_folder(parent):
    """A folder of one's own in `parent`, gone afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def execute(
    tasks,
    root,
    *,
    jobs,
    limits,
    threads=None,
    temporary=None,
    on_change=lambda: None,
):
    """Execute all tasks, the longest first, `jobs` at a time.

    Each task ends in state "done" or "failed"; one that fails does not stop
    the others. `on_change` is called about ten times a second and whenever a
    task changes. An interruption ends all workers and their kernels. Each
    notebook has `threads` threads to compute with, or its share of the cores.
    It works in a folder in `temporary`, which is in _build if not given: what
    runs elsewhere than in a command, `commands.alone`, needs another one.
    """
    prepare(root)
    jobs = max(1, min(jobs, len(tasks)))
    threads = threads or max(1, cores() // jobs)
    variables = environment(root, threads)
    changes, stop = queue.Queue(), threading.Event()
    temporary = temporary or root / "_build" / "temporary"
    with (
        temporary_folder(temporary) as folder,
        ThreadPoolExecutor(jobs) as pool,
    ):
        waiting = [task for task in tasks if task.state == "waiting"]
        ordered = sorted(waiting, key=lambda task: -task.expected)
        futures = [
            pool.submit(_follow, t, folder, variables, limits, changes, stop)
            for t in ordered
        ]
        try:
            while not all(future.done() for future in futures):
                _wait_for_change(changes)
                on_change()
        except BaseException:
            stop.set()
            for task in tasks:
                end(task.process)
            raise
    for future in futures:
        future.result()
    on_change()


def _wait_for_change(changes):
    with suppress(queue.Empty):
        changes.get(timeout=0.1)


def _follow(task, folder, variables, limits, changes, stop):
    """Execute one task; whatever goes wrong with it is its own failure.

    That may be a full disk, or a folder that somebody removed.
    """
    if stop.is_set():
        return
    task.state, task.started = "running", time.monotonic()
    changes.put(task)
    try:
        _execute(task, folder, variables, limits, changes, stop)
    except Exception as error:
        end(task.process)
        task.error = task.error or f"{type(error).__name__}: {error}"
        task.seconds = time.monotonic() - task.started
        task.state = "failed"
    changes.put(task)


def _execute(task, folder, variables, limits, changes, stop):
    """Start the worker of one task and follow it to its end."""
    own = Path(tempfile.mkdtemp(dir=folder))
    job = {
        "notebook": nbformat.writes(task.notebook),
        "cells": len(library.code_cells(task.notebook)),
        "output": str(own / "executed.ipynb"),
        "folder": str(own),
        "parameters": task.parameters,
        "sources": task.sources,
        "cell_limit": limits.cell,
    }
    with open(own / "messages", "w+", encoding="utf-8") as messages:
        task.process = _start(variables, own, messages)
        timer = threading.Timer(limits.notebook, _too_long, [task, limits])
        timer.daemon = True
        timer.start()
        if stop.is_set():  # It was set between the start and here.
            end(task.process)
        with task.process:
            try:
                _read_reports(task, job, changes)
            finally:
                timer.cancel()
                end(task.process)
    task.seconds = time.monotonic() - task.started
    _finish(task, own)


def _start(variables, folder, messages):
    command = [sys.executable, "-m", "courseware.worker"]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=messages,
        encoding="utf-8",
        # Ctrl-C reaches the parent alone, which then ends the workers.
        start_new_session=True,
    )


def _read_reports(task, job, changes):
    # If it ended at once, what it said is in its messages.
    with suppress(OSError):
        task.process.stdin.write(json.dumps(job) + "\n")
        task.process.stdin.flush()
    for line in task.process.stdout:
        for name, value in json.loads(line).items():
            setattr(task, {"of": "cells"}.get(name, name), value)
        changes.put(task)
    # It has said all; what is left to it is to end.
    with suppress(subprocess.TimeoutExpired):
        task.process.wait(timeout=10)


def _too_long(task, limits):
    task.error = f"the notebook ran longer than {limits.notebook:g} s"
    end(task.process)


def _finish(task, folder):
    """Put a complete result in its place; keep a failed one for a look."""
    executed = folder / "executed.ipynb"
    if task.process.returncode and not task.error:
        said = (folder / "messages").read_text("utf-8", "replace").strip()
        task.error = (
            "the process that ran it ended unexpectedly (status "
            f"{task.process.returncode}): {said[-500:] or 'no message'}"
        )
    if task.error:
        task.state = "failed"
    else:
        text = executed.read_text(encoding="utf-8")
        library.replace(task.output, text)
        task.state = "done"


def end(process):
    """End a worker, its kernel and whatever that started."""
    if process is None or process.poll() is not None:
        return
    try:
        worker = psutil.Process(process.pid)
        # A stopped worker cannot start another child meanwhile.
        if os.name == "posix":
            worker.suspend()
        family = [*worker.children(recursive=True), worker]
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
