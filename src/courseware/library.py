"""The notebooks of the course: where they are, what is in them.

The percent-format `.py` is the source that people write. Its `.ipynb` holds
the same cells with their outputs, and in the notebook's metadata under
`advml` how long it ran (`seconds`) and digests of everything that the outputs
depend on (`sources`).
"""

import ast
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat

ROOT = Path(__file__).resolve().parents[2]
CELL_METADATA = ("tags", "mystnb")
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}


@dataclass(frozen=True, order=True)
class Notebook:
    """One lecture: a name such as week1_…/02_… in a folder of notebooks."""

    name: str
    folder: Path

    @property
    def source(self):
        """The `.py` that people edit."""
        return self.folder / f"{self.name}.py"

    @property
    def stored(self):
        """The executed `.ipynb` beside it."""
        return self.folder / f"{self.name}.ipynb"

    @property
    def week(self):
        """The number of the week; the start page belongs to week 0."""
        week = self.name.partition("/")[0].removeprefix("week")
        return int(week[0]) if "/" in self.name and week[0].isdigit() else 0


def find(root=ROOT, week=None):
    """All notebooks of the course, or those of one week, in order."""
    folder = root / "notebooks"
    names = {
        path.relative_to(folder).with_suffix("").as_posix()
        for pattern in ("*.py", "*.ipynb", "week*/*.py", "week*/*.ipynb")
        for path in folder.glob(pattern)
    }
    found = (Notebook(name, folder) for name in sorted(names))
    return [x for x in found if week is None or x.week == week]


def read_source(notebook):
    """The cells of the `.py`, without outputs, in the form that is stored."""
    return tidy(jupytext.read(notebook.source, fmt="py:percent"))


def read_executed(path):
    """An `.ipynb` file."""
    return nbformat.read(path, as_version=4)


def tidy(notebook):
    """Leave only what does not change from one execution to the next.

    Cells get identifiers that follow from their content, pieces of a stream
    are joined (how it is cut depends on the moment), and what the tools note
    about times, folders and versions goes.
    """
    old = notebook.metadata
    kept = {k: old[k] for k in ("kernelspec", "advml") if k in old}
    formats = old.get("jupytext", {}).get("formats")
    if formats:
        kept["jupytext"] = {"formats": formats}
    kept["language_info"] = dict(LANGUAGE)
    notebook.metadata = nbformat.from_dict(kept)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen = {}
    for cell in notebook.cells:
        cell.id = _identifier(cell, seen)
        cell.metadata = nbformat.from_dict(
            {
                k: v
                for k, v in cell.metadata.items()
                if k in CELL_METADATA and v
            }
        )
        if cell.cell_type == "code":
            cell.outputs = _join_streams(cell.outputs)
    return notebook


def _identifier(cell, seen):
    content = f"{cell.cell_type}\n{cell.source}"
    seen[content] = seen.get(content, 0) + 1
    digest = hashlib.sha256(f"{seen[content]}\n{content}".encode())
    return digest.hexdigest()[:12]


def _join_streams(outputs):
    joined = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if (
            output.output_type == "stream"
            and last.get("output_type") == "stream"
            and last["name"] == output.name
        ):
            last["text"] += output.text
        else:
            joined.append(output)
    return joined


def write(notebook, path):
    """Write an `.ipynb`; at every moment the old file or the new is there."""
    replace(path, nbformat.writes(notebook) + "\n")


def replace(path, content):
    """Write a file, text or bytes, as a whole or not at all."""
    if isinstance(content, str):
        content = content.encode("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def code_cells(notebook):
    """The code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def parameters(notebook):
    """What the cell tagged `parameters` assigns: {name: syntax tree}."""
    values = {}
    for cell in code_cells(notebook):
        if "parameters" not in tags(cell):
            continue
        for node in _parsed(cell.source).body:
            if isinstance(node, ast.Assign):
                values[ast.unparse(node.targets[0])] = node.value
    return values


def _parsed(code):
    """The syntax tree; an empty one if this is no Python."""
    try:
        return ast.parse(code)
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])


def digests(notebook, root=ROOT):
    """Digests of what the outputs depend on: {"code": …, "src/…": …}.

    That is the code cells, every module of `advml` that they import directly
    or not, the style of the figures, and the bundled data if they are read.
    """
    code = "\n# %%\n".join(cell.source for cell in code_cells(notebook))
    paths = _imported(code, root / "src")
    if root / "src" / "advml" / "datasets.py" in paths:
        paths |= set((root / "data").glob("*.npz"))
    paths |= set((root / "src" / "advml").glob("*.mplstyle"))
    found = {"code": _digest(code.encode())}
    for path in sorted(paths):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        found[path.relative_to(root).as_posix()] = _digest(content)
    return found


def fingerprint(sources):
    """One digest of all that `digests` found, whatever the parameters."""
    found = {k: v for k, v in sources.items() if k != "parameters"}
    return _digest(json.dumps(found, sort_keys=True).encode())


def _digest(content):
    return hashlib.sha256(content).hexdigest()[:12]


def _imported(code, src):
    """Files of `advml` that a piece of code imports, directly or not.

    Where the code is no valid Python, that is all of them.
    """
    try:
        found, new = set(), _files(code, "", src)
        while new:
            path = new.pop()
            found.add(path)
            package = ".".join(path.relative_to(src).parent.parts)
            new |= _files(path.read_text("utf-8"), package, src) - found
    except SyntaxError:
        return set((src / "advml").glob("**/*.py"))
    return found


def _files(code, package, src):
    files = set()
    for name in _imported_names(ast.parse(code), package):
        parts = name.split(".")
        if parts[0] != "advml":
            continue
        for n in range(1, len(parts) + 1):
            path = src.joinpath(*parts[:n])
            files |= {path / "__init__.py", path.with_suffix(".py")}
    return {path for path in files if path.is_file()}


def _imported_names(tree, package):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: 1 - node.level or None]
            start = ".".join(base) + "." if node.level else ""
            module = (start + (node.module or "")).strip(".")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def stale(executed, source, root=ROOT):
    """Names of what changed since the outputs were made; empty if nothing."""
    recorded = executed.metadata.get("advml", {}).get("sources", {})
    now = digests(source, root)
    return sorted(
        name
        for name in recorded.keys() | now.keys()
        if recorded.get(name) != now.get(name)
    )
