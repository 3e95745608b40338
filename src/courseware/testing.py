"""The stages of `make test`, all of which run even if one fails."""

import subprocess
import sys

from courseware import execution, hygiene, library

CODE = ("src", "tests", "pages", "notebooks")
# Executes notebooks and compares with their stored outputs.
COMPARE = (
    "--nbval",
    "--nbval-current-env",
    "--nbval-cell-timeout=300",
    f"--nbval-sanitize-with={library.ROOT}/tests/nbval_sanitize.cfg",
)


def test(root=library.ROOT, jobs=None):
    """Run all stages and return the exit status.

    The last one is pytest, which runs the unit tests and, with nbval, each
    notebook against its stored outputs, so that the output ends with its sum.
    """
    stages = {
        "style": lambda: _ruff(root),
        "notebook rules": lambda: report(hygiene.check(root)),
        "tests": lambda: _pytest(root, jobs or execution.default_jobs()),
    }
    failed = []
    for name, stage in stages.items():
        print(f"── {name}", flush=True)
        if not stage():
            failed.append(name)
    if failed:
        print(f"Failed: {', '.join(failed)} (see above)", flush=True)
    return bool(failed)


def report(violations):
    """Print one line per violation; whether there are none."""
    for violation in violations:
        print(violation)
    count = len(violations)
    print(f"{count} violations" if count else "All rules are kept.")
    return not count


def _ruff(root):
    # A file that is not laid out: 'ruff format' does it.
    check = _succeeds(root, "ruff", "check", "--quiet", *CODE)
    return _succeeds(root, "ruff", "format", "--check", *CODE) and check


def _pytest(root, jobs):
    # Kernels share the cores with each other, so each gets one thread.
    execution.prepare(root)
    variables = execution.environment(root, 1)
    arguments = ["-n", str(jobs), "--dist", "loadfile", "--no-header"]
    arguments += ["--durations=5", "--durations-min=5", *COMPARE]
    return _succeeds(
        root, "pytest", *arguments, "tests", "notebooks", env=variables
    )


def _succeeds(root, module, *arguments, **options):
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=root, **options).returncode == 0
