"""Show source code, tables and progress inside a notebook."""

import inspect
import os
import textwrap

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
    function = inspect.unwrap(getattr(function, "py_func", function))
    code = textwrap.dedent(inspect.getsource(function)).rstrip()
    doc = getattr(function, "__doc__", None)
    if docstring == "full" or not doc:
        return code
    start = code.index('"""')
    end = code.index('"""', start + 3) + 3
    if docstring == "summary":
        summary = inspect.cleandoc(doc).splitlines()[0]
        return code[:start] + f'"""{summary}"""' + code[end:]
    before = code[:start].rstrip(" ").rstrip("rR")
    return before.rstrip() + "\n" + code[end:].lstrip("\n")


def show_table(header, rows):
    """Show a table; numbers inside ‹ › may differ between machines.

    `header` is a sequence of column titles and `rows` a sequence of rows.
    Floats are formatted to five significant digits and put in ‹ ›, which the
    notebook tests replace by ‹#›; format a value yourself to have it compared
    to the letter.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    for row in cells:
        if len(row) != len(header):
            raise ValueError(
                f"rows must have {len(header)} entries each, not {len(row)}"
            )
    lines = ["| " + " | ".join(r) + " |" for r in [list(header), *cells]]
    lines.insert(1, "|" + " --- |" * len(header))
    plain = "\n".join("  ".join(row) for row in [list(header), *cells])
    display(_Markdown("\n".join(lines), plain))


def _cell(value):
    if isinstance(value, str):
        return value
    if hasattr(value, "dtype") and value.dtype.kind in "iu":
        return str(int(value))
    return str(value) if isinstance(value, int) else f"‹{float(value):.5g}›"


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
