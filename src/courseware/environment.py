"""Make the course's own Python environment, .venv, and keep it up to date.

The Makefile runs this file with whatever Python it finds, before anything is
installed, so it uses the standard library only. (Given a command, it runs that
one, once no other command uses _build.) It may be interrupted at any
point, repeated, or started twice at the same time: one process at a time
works, and a stamp that says what was installed is written last. Without a
stamp the environment is made from scratch, because nobody knows how far an
interrupted installation came; with another stamp it is updated in place.

The installation follows the user's own pip configuration.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

OLDEST, NEWEST = (3, 11, 5), (3, 13)
LINES_OF_LOG = 25


class SetupError(Exception):
    """The environment cannot be made; the message says why."""


def main(root=None):
    """Make or update the environment if needed; return the exit status."""
    root = Path(root or Path(__file__).resolve().parents[2]).resolve()
    try:
        check_python(sys.version_info)
        ensure(root)
    except SetupError as error:
        print(f"Set-up failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSet-up interrupted; run it again.", file=sys.stderr)
        return 130
    return 0


def check_python(version):
    """Raise SetupError unless this is a Python that the pins exist for."""
    version = tuple(version[:3])
    if version < OLDEST or version[:2] > NEWEST:
        raise SetupError(
            "the course needs Python 3.11 (3.11.5 or later), 3.12 or 3.13, "
            f"and this is {'.'.join(map(str, version))}. Name another one "
            "with 'make run PYTHON=/path/to/python'."
        )


def ensure(root):
    """Bring root/.venv to the state that the pins ask for."""
    venv = root / ".venv"
    wanted = stamp_text(root)
    if is_ready(venv, wanted):
        return
    waiting = "Waiting for another process to finish its set-up …"
    with lock(root / "_build" / "locks" / "environment", waiting):
        # Another process may have done the work while this one waited.
        if is_ready(venv, wanted):
            return
        install(root, venv, wanted)


def stamp_text(root):
    """Say what an up-to-date environment was made from.

    That is the requirements (not the whole of pyproject.toml, which also
    holds settings of tools), the constraints, the version of Python, and the
    folder, because an environment cannot be moved.
    """
    import tomllib

    with open(root / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)
    constraints = (root / "constraints.txt").read_text(encoding="utf-8")
    metadata = project["project"]
    content = [
        project["build-system"],
        metadata["version"],
        metadata["requires-python"],
        metadata["dependencies"],
        metadata["optional-dependencies"],
        metadata.get("scripts"),
        [
            line.strip()
            for line in constraints.splitlines()
            if line.strip() and not line.startswith("#")
        ],
    ]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    base = f"{sys.implementation.name} {sys.version_info[:2]} at {root}"
    return f"{base}\n{digest}\n"


def is_ready(venv, wanted):
    """Whether the stamp is the wanted one and the environment starts."""
    try:
        stamp = (venv / "stamp").read_text(encoding="utf-8")
    except OSError:
        return False
    return stamp == wanted and starts(venv)


def starts(venv):
    """Whether the environment's Python runs (its base may be gone)."""
    if Path(sys.prefix).resolve() == venv.resolve():
        return True
    try:
        command = [str(python_of(venv)), "-c", ""]
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def python_of(venv):
    """Where the environment's Python is."""
    windows = venv / "Scripts" / "python.exe"
    return windows if os.name == "nt" else venv / "bin" / "python"


@contextlib.contextmanager
def lock(path, waiting):
    """Let one process at a time in; it is free again when that one ends.

    A process that has to wait prints `waiting`.
    Yields the open file. On POSIX a child that inherits it holds the lock
    too, so an installer that outlives its parent still keeps others out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        if not _try_lock(file):
            print(waiting, flush=True)
            while not _try_lock(file):
                time.sleep(0.2)
        os.set_inheritable(file.fileno(), True)
        yield file


def alone(root):
    """One process at a time executes, publishes or removes; see `lock`."""
    path = root / "_build" / "locks" / "execution"
    return lock(path, "Another command is using _build; waiting …")


def run_alone(root, command):
    """Run a command while no other one uses _build; return its status."""
    try:
        with alone(root):
            return subprocess.call(command, cwd=root)
    except KeyboardInterrupt:
        return 130


def _try_lock(file):
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def install(root, venv, wanted):
    """Install what is missing and write the stamp last."""
    start = time.monotonic()
    stamp = venv / "stamp"
    if needs_new(venv, wanted):
        print(
            "Setting up .venv (once; a few minutes and about 3 GB) …",
            flush=True,
        )
        stamp.unlink(missing_ok=True)
        create(venv)
    else:
        print("Updating .venv to the course's new pins …", flush=True)
        stamp.unlink()
    log = venv / "setup.log"
    python = str(python_of(venv))
    requirement = f"{root}[course]"
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    constraints = str(root / "constraints.txt")
    run_logged([*pip, "-c", constraints, "-e", requirement], root, log)
    write_whole(stamp, wanted)
    print(f"Done in {time.monotonic() - start:.0f} s.", flush=True)


def needs_new(venv, wanted):
    """Whether the environment must be made from scratch.

    So it must if it is missing, broken, half-made (no stamp), or made for
    another Python or another folder (the stamp's first line).
    """
    try:
        stamp = (venv / "stamp").read_text(encoding="utf-8")
    except OSError:
        return True
    return stamp.split("\n")[0] != wanted.split("\n")[0] or not starts(venv)


def create(venv):
    """Make an empty environment with pip, in place of any old one."""
    # Inside an old .venv this is the Python that the .venv was made with.
    python = getattr(sys, "_base_executable", None) or sys.executable
    command = [python, "-m", "venv", "--clear", str(venv)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        output = (made.stdout + made.stderr).strip()
        raise SetupError(
            f"{python} cannot make a virtual environment:\n{output}\n"
            "On Debian and Ubuntu: apt-get install python3-venv"
        )


def run_logged(command, root, log):
    """Run a command with its output in a file; show the end if it fails."""
    with open(log, "w", encoding="utf-8") as output:
        print(*command, file=output, flush=True)
        process = subprocess.Popen(
            command,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # The child inherits the lock, see `lock`.
            close_fds=False,
        )
        try:
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(lines[-LINES_OF_LOG:])
        raise SetupError(f"{tail}\nThe whole log is in {log}")


def write_whole(path, text):
    """Write a file so that it is there as a whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


if __name__ == "__main__":
    if sys.argv[1:]:
        here = Path(__file__).resolve().parents[2]
        sys.exit(run_alone(here, sys.argv[1:]))
    sys.exit(main())
