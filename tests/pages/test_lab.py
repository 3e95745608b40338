"""JupyterLab as `make lab` starts it, on a copy of the notebooks."""

import re
import shutil
import subprocess
import sys
import threading
import time

import nbformat
import pytest

from courseware import lab, library
from courseware.publish import STORED

START = "00_start_here"
SECONDS = 300


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A copy of the notebooks without outputs; the tracked ones stay."""
    root = tmp_path_factory.mktemp("course")
    shutil.copytree(STORED, root / "notebooks")
    shutil.copy(library.ROOT / "pyproject.toml", root)
    for path in (root / "notebooks").glob("**/*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in library.code_cells(notebook):
            cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, path)
    return root


@pytest.fixture(scope="module")
def address(root):
    """Where the server shows a notebook: a URL with a gap for its path."""
    # The settings and open tabs of whoever runs the tests stay theirs.
    private = {
        f"JUPYTER_{name}_DIR": str(root / name)
        for name in ("CONFIG", "DATA", "RUNTIME")
    }
    server = subprocess.Popen(
        lab.command(root, 0, False),
        cwd=root,
        env=lab.environment() | private,
        stderr=subprocess.PIPE,
        text=True,
    )
    log, found = [], None
    for line in server.stderr:
        log.append(line)
        found = re.search(r"(http://127\.0\.0\.1:\d+)/\S*(token=\w+)", line)
        if found:
            break
    else:
        pytest.fail("JupyterLab did not start:\n" + "".join(log))
    # Its log has to be read on, or the server waits for a reader.
    threading.Thread(target=server.stderr.read, daemon=True).start()
    # Each test begins without the tabs that the one before left open.
    yield f"{found[1]}/lab/tree/notebooks/{{}}?{found[2]}&reset"
    server.terminate()
    server.wait(30)


@pytest.fixture
def tab(browser, address):
    """A page of the browser that notes requests elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.elsewhere = []

    def on_request(request):
        if not re.match(r"(http|ws)://127\.0\.0\.1|data:|blob:", request.url):
            tab.elsewhere.append(request.url)

    tab.on("request", on_request)
    yield tab
    context.close()


def open_notebook(tab, address, path):
    """Open a file, and see that it opens as a notebook and asks nothing."""
    tab.goto(address.format(path))
    shown = tab.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    shown.locator(".jp-MarkdownCell h1").first.wait_for(timeout=60_000)
    assert tab.locator(".jp-Dialog").count() == 0
    return shown


def title(name):
    source = (STORED / f"{name}.py").read_text("utf-8")
    return re.search(r"^# # (.+)$", source, re.MULTILINE)[1]


def test_start_page_shows_its_myst(tab, address):
    notebook = open_notebook(tab, address, f"{START}.ipynb")
    assert notebook.locator("h1").first.inner_text() == title(START)
    notebook.locator("aside.myst-admonition").first.wait_for()
    assert ":::" not in notebook.locator(".jp-MarkdownCell").first.inner_text()
    notebook.locator(".katex").first.wait_for(state="attached")
    assert tab.elsewhere == []


def test_source_opens_as_notebook(tab, address):
    path = min(STORED.glob("week*/*.py")).relative_to(STORED)
    name = path.with_suffix("").as_posix()
    notebook = open_notebook(tab, address, f"{name}.py")
    assert notebook.locator("h1").first.inner_text() == title(name)
    assert notebook.locator(".jp-CodeCell").count() > 1


def fastest():
    """The notebook that its stored outputs say ran fastest."""
    seconds = {
        path: nbformat.read(path, as_version=4).metadata.advml.seconds
        for path in STORED.glob("**/[0-9]*.ipynb")
    }
    path = min(seconds, key=seconds.get)
    return path.relative_to(STORED).as_posix()


def test_lecture_runs_to_its_end(tab, address):
    name = fastest()
    cells = nbformat.read(STORED / name, as_version=4).cells
    n_code = sum(cell.cell_type == "code" for cell in cells)
    notebook = open_notebook(tab, address, name)
    # A kernel that is still starting would lose the order to run.
    idle = ".jp-Notebook-ExecutionIndicator[data-status='idle']"
    notebook.locator(idle).wait_for(timeout=60_000)
    notebook.locator("[data-command='notebook:restart-run-all']").click()
    tab.locator(".jp-Dialog .jp-mod-accept").click()
    prompts = notebook.locator(".jp-CodeCell .jp-InputPrompt")
    errors = notebook.locator(
        "[data-mime-type='application/vnd.jupyter.error'], "
        "[data-mime-type='application/vnd.jupyter.stderr']"
    )
    deadline = time.monotonic() + SECONDS
    done = []
    while len(done) < n_code and time.monotonic() < deadline:
        tab.wait_for_timeout(500)
        assert errors.all_text_contents() == []
        done = re.findall(r"\[(\d+)\]", "".join(prompts.all_text_contents()))
    assert done == [str(n) for n in range(1, n_code + 1)]
    assert notebook.locator(".jp-CodeCell img").count() > 0
    assert tab.elsewhere == []


def test_command_listens_to_this_machine_only(root):
    command = lab.command(root, 8888, True)
    assert "--ServerApp.ip=127.0.0.1" in command
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert not any("token" in part for part in command)
    assert "JUPYTER_CONFIG_PATH" in lab.environment()
