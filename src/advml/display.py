"""Show source code, tables and progress inside a notebook."""

import ast
import inspect
import math
import os
import textwrap

import numpy as np
from IPython.display import display
from tqdm.auto import tqdm


class _Markdown:
    """Markdown for the page, plain text for the terminal."""

    def __init__(self, markdown, plain):
        self.markdown, self.plain = markdown, plain

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/markdown": self.markdown, "text/plain": self.plain}


def show_source(*functions, docstring="summary"):
    """Show the current source of functions, methods or classes.

    Code then stands in one place, and a lecture cannot quote an old version.
    `docstring` is "summary" (its first line), "full" or "none".
    """
    if docstring not in ("summary", "full", "none"):
        raise ValueError(
            f"docstring must be 'summary', 'full' or 'none', not {docstring!r}"
        )
    parts = [_source(f, docstring) for f in functions]
    code = "\n\n".join(parts)
    display(_Markdown(f"```python\n{code}\n```", code))


def _source(function, docstring):
    function = getattr(function, "py_func", function)  # compiled by numba
    function = getattr(function, "fget", function)  # a property
    code = inspect.getsource(inspect.unwrap(function))
    code = textwrap.dedent(code).rstrip()
    if docstring == "full":
        return code
    lines = code.splitlines()
    for node in reversed(list(_docstrings(ast.parse(code)))):
        first, last = node.lineno - 1, node.end_lineno
        literal = ast.get_source_segment(code, node)
        summary = _summary(literal) if docstring == "summary" else ""
        # Columns count bytes, but only blanks or ASCII stand before it.
        summary = lines[first][: node.col_offset] + summary
        if not summary.strip() and not lines[last].strip():
            last += 1  # the blank line that stood below the docstring
        lines[first:last] = [summary] if summary.strip() else []
    return "\n".join(lines)


def _docstrings(tree):
    """Yield the docstring of each function and class, from top to bottom."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = [n for n in ast.walk(tree) if isinstance(n, kinds)]
    for node in sorted(nodes, key=lambda n: n.lineno):
        # A body of nothing but a docstring keeps it, or it would be empty.
        if ast.get_docstring(node) is not None and len(node.body) > 1:
            yield node.body[0].value


def _summary(literal):
    """Return a docstring's first line, as it is written in the source."""
    opening = literal.index(literal[-1])
    prefix, body = literal[:opening], literal[opening:].strip("\"'")
    return f'{prefix}"""{body.strip().splitlines()[0].strip()}"""'


def show_table(header, rows):
    """Show a table; numbers inside ‹ › may differ between machines.

    `header` is a sequence of column titles and `rows` a sequence of rows.
    Floats are formatted to five significant digits and put in ‹ ›, which the
    notebook tests replace by ‹#›; format a value yourself to have it compared
    to the letter. A float that is not finite raises ValueError, because the
    tests could not tell it from a number.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    for row in cells:
        if len(row) != len(header):
            raise ValueError(
                f"rows must have {len(header)} entries each, not {len(row)}"
            )
    table = [[str(title) for title in header], *cells]
    bars = [[cell.replace("|", r"\|") for cell in row] for row in table]
    lines = ["| " + " | ".join(row) + " |" for row in bars]
    lines.insert(1, "|" + " --- |" * len(header))
    plain = "\n".join("  ".join(row) for row in table)
    display(_Markdown("\n".join(lines), plain))


def _cell(value):
    if isinstance(value, (str, bool, int, np.bool_, np.integer)):
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"rows must hold finite numbers, not {number}")
    return f"‹{number:.5g}›"


def progress(iterable, description=""):
    """Iterate with a progress bar, silent where output is compared or saved.

    The bar is a widget in JupyterLab. Notebook runs that write to a file set
    ADVML_NO_PROGRESS, and so do the notebook tests.
    """
    silent = (
        "ADVML_NO_PROGRESS" in os.environ
        or "PYTEST_CURRENT_TEST" in os.environ
    )
    return tqdm(iterable, desc=description, leave=False, disable=silent)
