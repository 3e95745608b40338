"""Executes one notebook in a process of its own, which others can end.

It reads what to do as one line of JSON from standard input and reports on
standard output, one JSON object per line: `{"cell": 3, "of": 20}` when a cell
begins, and in the end `{"seconds": …}` or `{"cell": …, "error": …}`. When
standard input closes, because whoever started this has ended, it ends its
kernel and itself.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import nbformat


def main():
    """Execute the notebook that standard input asks for."""
    # What libraries print goes to standard error, not among the reports.
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    def report(**fields):
        reports.write(json.dumps(fields) + "\n")

    job = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    notebook = nbformat.reads(job["notebook"], as_version=4)
    try:
        report(**execute(notebook, report, job))
    except Exception as error:
        report(**describe(error, job))


def end_with_parent():
    """End kernel and process once standard input is closed."""
    # Not sys.stdin: its lock, held here, would make a normal end fail.
    while os.read(0, 1):
        pass
    end_children()
    os._exit(1)


def end_children():
    """End the kernel and whatever it started."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            pass


def execute(notebook, report, job):
    """Run the notebook with papermill and write it, tidy, to job["output"].

    A notebook that fails is written too, as far as it came, for whoever wants
    to look at it: the caller moves it to its place only on success.
    """
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines

    from courseware import library

    class Reporting(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, manager, kernel_name, **options):
            begin, number = manager.cell_start, [0]

            def cell_start(cell, cell_index=None, **more):
                # A cell that sets parameters anew is in no source.
                own = "injected-parameters" not in library.tags(cell)
                if cell.cell_type == "code":
                    number[0] += own
                    report(cell=number[0], of=job["cells"])
                    job["running"] = cell
                return begin(cell, cell_index, **more)

            manager.cell_start = cell_start
            super().execute_managed_notebook(manager, kernel_name, **options)

    papermill_engines.register("reporting", Reporting)
    start = time.monotonic()
    executed = papermill.execute_notebook(
        notebook,
        job["output"],
        parameters=job["parameters"],
        engine_name="reporting",
        request_save_on_cell_execute=False,
        progress_bar=False,
        cwd=job["folder"],
        execution_timeout=job["cell_limit"],
        shutdown_kernel="immediate",
    )
    seconds = round(time.monotonic() - start, 1)
    executed.metadata["advml"] = {
        **executed.metadata.get("advml", {}),
        "seconds": seconds,
        "sources": job["sources"],
    }
    library.write(library.tidy(executed), Path(job["output"]))
    return {"seconds": seconds}


def describe(error, job):
    """The report on a notebook that failed: what, and in which line."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import PapermillExecutionError

    cell = job.get("running")
    lines = cell.source.strip().splitlines() if cell else []
    if isinstance(error, PapermillExecutionError):
        text = f"{error.ename}: {error.evalue}"
    elif isinstance(error, CellTimeoutError):
        text = f"the cell ran longer than {job['cell_limit']:g} s"
    elif isinstance(error, DeadKernelError):
        text = "the kernel died (out of memory, or a crash in compiled code)"
    else:
        text = f"{type(error).__name__}: {error}"
    return {"error": text, "line": lines[0] if lines else ""}


if __name__ == "__main__":
    main()
