"""Small made-up courses in a temporary folder."""

import json

import nbformat
import pytest

from courseware import library

HEADER = """\
# ---
# jupyter:
#   advml:
#     full: {epochs: 20}
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Title

# %% tags=["parameters"]
seed = 0
epochs = 2
"""


class Course:
    """A folder with notebooks, and ways to write into it."""

    def __init__(self, root):
        self.root = root
        self.built = root / "_build" / "notebooks"

    def write(self, name, *cells):
        """Write a source whose code cells each follow a sentence."""
        text = HEADER
        for cell in cells:
            text += f"\n# %% [markdown]\n# A sentence.\n\n# %%\n{cell}\n"
        path = self.root / "notebooks" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def pretend(self, name):
        """Write the executed notebook without executing anything."""
        notebook = library.Notebook(name, self.root / "notebooks")
        cells = library.read_source(notebook)
        for n, cell in enumerate(library.code_cells(cells), start=1):
            cell.execution_count = n
        claim = {"advml_claim": {"claim": "two is two"}}
        library.code_cells(cells)[-1].outputs = [
            nbformat.v4.new_output(
                "display_data",
                {"text/plain": "✓ two is two: ‹2› = ‹2›"},
                metadata=claim,
            )
        ]
        cells.metadata["advml"] = cells.metadata.get("advml", {}) | {
            "seconds": 1.0,
            "sources": library.digests(cells, self.root),
        }
        library.write(cells, notebook.stored)
        return notebook

    def read(self, path):
        """The JSON of a file."""
        return json.loads(path.read_text())


@pytest.fixture(scope="session")
def new_course():
    return Course


@pytest.fixture
def course(tmp_path):
    return Course(tmp_path)
