"""Sources, tables and progress as a notebook shows them."""

import functools
import inspect
import sys

import numpy as np
import pytest

from advml import display
from advml.display import progress, show_source, show_table


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(
        display,
        "display",
        lambda item: outputs.append(item._repr_mimebundle_()),
    )
    return outputs


def documented(x):
    r"""Return x \* 2.

    A second paragraph, with \nu.
    """
    return 2 * x  # not three


def bare(x):
    label = """not a docstring"""
    return label, x


def only_documented():
    """Do nothing."""


class Pair:
    """Two numbers.

    At length.
    """

    first: int

    def total(self):
        """Return the sum.

        At length.
        """

        def inner():
            """Single quotes.

            At length.
            """
            return 1

        return inner()

    @property
    def half(self):
        """Return one half.

        At length.
        """
        return 0.5


@functools.lru_cache
def cached(x):
    """Return x from the cache."""
    return x


class Compiled:
    """Stands for a function compiled by numba."""

    py_func = staticmethod(documented)


def code(shown):
    (bundle,) = shown
    assert bundle["text/markdown"] == f"```python\n{bundle['text/plain']}\n```"
    return bundle["text/plain"]


def test_summary_keeps_the_first_line_and_all_the_code(shown):
    show_source(documented)
    assert code(shown) == (
        'def documented(x):\n    r"""Return x \\* 2."""\n'
        "    return 2 * x  # not three"
    )


def test_full_is_the_source_itself(shown):
    show_source(documented, docstring="full")
    assert code(shown) == inspect.getsource(documented).rstrip()


def test_none_removes_the_docstring_only(shown):
    show_source(documented, docstring="none")
    assert code(shown) == ("def documented(x):\n    return 2 * x  # not three")


def test_a_function_without_docstring_is_left_alone(shown):
    for docstring in ("summary", "full", "none"):
        show_source(bare, docstring=docstring)
    assert {b["text/plain"] for b in shown} == {
        inspect.getsource(bare).rstrip()
    }


@pytest.mark.parametrize("docstring", ["summary", "full", "none"])
@pytest.mark.parametrize(
    "item", [documented, bare, only_documented, Pair, Pair.total, cached]
)
def test_what_is_shown_is_python(shown, item, docstring):
    show_source(item, docstring=docstring)
    compile(code(shown), "page", "exec")


def test_methods_of_a_class_are_shortened_too(shown):
    show_source(Pair)
    text = code(shown)
    assert "At length" not in text
    for summary in (
        '"""Two numbers."""',
        '"""Return the sum."""',
        '"""Single quotes."""',
        '"""Return one half."""',
    ):
        assert summary in text
    assert "return inner()" in text and "first: int" in text


def test_a_removed_docstring_leaves_no_gap(shown):
    show_source(Pair, docstring="none")
    assert code(shown).startswith("class Pair:\n    first: int\n")


def test_methods_properties_wrapped_and_compiled_functions(shown):
    show_source(Pair.total, Pair.half, cached, Compiled)
    text = code(shown)
    assert text.startswith("def total(self):\n    ")
    assert "@property\ndef half(self):" in text
    assert "def cached(x):" in text
    assert "def documented(x):" in text


def test_show_source_refuses_another_style():
    with pytest.raises(ValueError, match=r"docstring.*'short'"):
        show_source(documented, docstring="short")


def test_a_table_hides_floats_and_shows_integers(shown):
    show_table(
        ["size", "log Z"],
        [[4, 15.5219151], [np.int64(8), np.float32(60)], ["all", True]],
    )
    (bundle,) = shown
    assert bundle["text/markdown"].splitlines() == [
        "| size | log Z |",
        "| --- | --- |",
        "| 4 | ‹15.522› |",
        "| 8 | ‹60› |",
        "| all | True |",
    ]
    assert bundle["text/plain"].splitlines()[1] == "4  ‹15.522›"


def test_a_bar_in_a_cell_does_not_split_it(shown):
    show_table(["|m|"], [["KL(p‖q|r)"]])
    (bundle,) = shown
    assert r"| \|m\| |" in bundle["text/markdown"]
    assert bundle["text/plain"].splitlines()[0] == "|m|"


def test_tensors_are_numbers(shown):
    torch = pytest.importorskip("torch")
    show_table(["x"], [[torch.tensor(0.25)]])
    assert "‹0.25›" in shown[0]["text/plain"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_table_refuses_what_the_sanitiser_would_hide(value):
    with pytest.raises(ValueError, match="rows must hold finite numbers"):
        show_table(["x"], [[value]])


def test_a_table_refuses_ragged_rows():
    with pytest.raises(ValueError, match="2 entries each, not 1"):
        show_table(["a", "b"], [[1, 2], [1]])


@pytest.mark.parametrize("name", ["ADVML_NO_PROGRESS", "PYTEST_CURRENT_TEST"])
def test_progress_is_silent_where_output_is_kept(name, monkeypatch, capsys):
    monkeypatch.delenv("ADVML_NO_PROGRESS", raising=False)
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    monkeypatch.setenv(name, "1")
    assert list(progress(range(3), "steps")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_progress_shows_a_bar_otherwise(monkeypatch):
    monkeypatch.delenv("ADVML_NO_PROGRESS", raising=False)
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    bar = progress(range(3), "steps")
    assert not bar.disable
    bar.close()
    assert sys.stderr is not None
