"""JupyterLab on the notebooks, for this machine alone and without network."""

import os
import subprocess
import sys
from pathlib import Path

from courseware.execution import FULL_PRECISION

START = "notebooks/00_start_here"
CONFIGURATION = Path(__file__).parent / "jupyter"


def start_page(root):
    """The start page, or its source if it was never executed."""
    executed = root / f"{START}.ipynb"
    return executed if executed.exists() else root / f"{START}.py"


def command(root, port, browser):
    """How JupyterLab is called. It asks for a token, which is its default."""
    page = start_page(root).relative_to(root).as_posix()
    # In a container one is root; others cannot reach this server anyway.
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [
        *(sys.executable, "-m", "jupyterlab", page),
        # So that the address it prints leads there, too.
        f"--LabApp.default_url=/lab/tree/{page}",
        f"--ServerApp.root_dir={root}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        f"--ServerApp.open_browser={browser}",
        *(["--allow-root"] if as_root else []),
    ]


def environment():
    """The user's environment with the course's settings of JupyterLab.

    They turn off announcements, update checks and the installation of
    extensions, which all ask the network.
    """
    paths = [str(CONFIGURATION), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    return os.environ | {
        **FULL_PRECISION,
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, paths)),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }


def serve(root, port, browser):
    """Run JupyterLab until it is stopped; return its exit status."""
    process = subprocess.Popen(
        command(root, port, browser), cwd=root, env=environment()
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        # JupyterLab got the same signal and asks whether it is meant.
        process.terminate()
        process.wait()
        return 0
