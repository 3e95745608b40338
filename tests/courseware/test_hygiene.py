"""Each rule, broken once in a notebook that otherwise keeps them all."""

import nbformat
import pytest

from courseware import hygiene, library

PNG = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 1x1>"}
FIGURE = {
    "image": {"alt": "Three points on a straight line through zero."},
    "figure": {"caption": "Points.", "name": "fig-points"},
}
EXERCISE = """
# %% [markdown]
# ::::{exercise} A question
# :label: ex-question
# How much is two?
# ::::
#
# ::::{solution-start} ex-question
# :class: dropdown
# ::::

# %% tags=["solution"]
y = 2

# %% [markdown]
# ::::{solution-end}
# ::::
"""


@pytest.fixture
def good(course):
    """A pair that keeps every rule; one test makes sure that it does."""
    path = course.write("00_page", "x = 1", "x")
    text = path.read_text() + EXERCISE
    text = text.replace(
        "# A sentence.", "# $$\n# x\n# $$ (eq-one)\n# A sentence.", 1
    )
    text = text.replace("# %%\nx\n", f"# %% mystnb={FIGURE}\nx\n")
    path.write_text(text.replace("'", '"'))
    notebook = course.pretend("00_page")
    executed = library.read_executed(notebook.stored)
    figure = nbformat.v4.new_output("display_data", PNG)
    library.code_cells(executed)[2].outputs = [figure]
    library.write(executed, notebook.stored)
    return notebook


def sentences(course):
    """What the rules say, without the pins, which are not there."""
    found = map(str, hygiene.check(course.root))
    return [text for text in found if not text.startswith("pins: ")]


def change(notebook, edit):
    """Change the executed file."""
    executed = library.read_executed(notebook.stored)
    edit(executed)
    library.write(executed, notebook.stored)


def rewrite(notebook, old, new):
    """Change the source, and the executed file as if it had been run."""
    outputs = [
        (x.outputs, x.execution_count)
        for x in library.code_cells(library.read_executed(notebook.stored))
    ]
    text = notebook.source.read_text()
    assert old in text
    notebook.source.write_text(text.replace(old, new, 1))
    cells = library.read_source(notebook)
    root = notebook.folder.parent
    for n, cell in enumerate(library.code_cells(cells)):
        if n < len(outputs):
            cell.outputs = outputs[n][0]
        cell.execution_count = n + 1
    cells.metadata["advml"] = cells.metadata.get("advml", {}) | {
        "sources": library.digests(cells, root)
    }
    library.write(cells, notebook.stored)


def test_good_notebook_keeps_all_rules(course, good):
    assert sentences(course) == []


def test_lonely_source(course, good):
    good.stored.unlink()
    (said,) = sentences(course)
    assert "00_page.ipynb is missing: run 'make notebooks'" in said


def test_lonely_output(course, good):
    good.source.unlink()
    (said,) = sentences(course)
    assert "00_page.py is missing" in said


def test_damaged_file(course, good):
    good.stored.write_text(good.stored.read_text()[:200])
    (said,) = sentences(course)
    assert "cannot be read" in said


def edit_source(executed):
    executed.cells[-2].source = "y = 3"


def edit_text(executed):
    executed.cells[0].source = "# Another title"


def edit_tags(executed):
    executed.cells[-2].metadata = {}


def drop_cell(executed):
    del executed.cells[-1]


def edit_parameters(executed):
    executed.metadata["advml"]["full"] = {"epochs": 30}


def edit_kernel(executed):
    executed.metadata["kernelspec"]["name"] = "mine"


def forget_execution(executed):
    library.code_cells(executed)[1].execution_count = None


def swap_execution(executed):
    cells = library.code_cells(executed)
    cells[1].execution_count, cells[2].execution_count = 3, 2


def editor_metadata(executed):
    executed.metadata["papermill"] = {"start_time": "now"}


def add_error(executed):
    error = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
    library.code_cells(executed)[1].outputs = [error]


def stream(name, text):
    def add(executed):
        output = nbformat.v4.new_output("stream", name=name, text=text)
        library.code_cells(executed)[1].outputs = [output]

    return add


def result(data):
    def add(executed):
        output = nbformat.v4.new_output("display_data", data)
        library.code_cells(executed)[1].outputs = [output]

    return add


def second_figure(executed):
    figure = nbformat.v4.new_output("display_data", PNG)
    library.code_cells(executed)[2].outputs += [figure]


def drop_claim(executed):
    library.code_cells(executed)[-1].outputs = []


def old_sources(executed):
    executed.metadata["advml"]["sources"]["src/advml/ising.py"] = "abc"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (edit_source, "cell 4: source differs from the .py"),
        (edit_text, "cell ¶1: source differs from the .py"),
        (edit_tags, "cell 4: metadata differs from the .py"),
        (drop_cell, "cells, the .py"),
        (edit_parameters, "differ in advml.full"),
        (edit_kernel, "differ in kernelspec"),
        (forget_execution, "cell 2: was executed as number None, not 2"),
        (swap_execution, "cell 2: was executed as number 3, not 2"),
        (editor_metadata, "holds data of the editor or the run"),
        (add_error, "cell 2: its output is an error"),
        (stream("stderr", "Beware\n"), "cell 2: writes to standard error"),
        (stream("stdout", "0.123456789\n"), "cell 2: prints 0.123456"),
        (stream("stdout", "<f at 0x7fbb5b7c6b10>\n"), "memory address"),
        (stream("stdout", "/home/me/file\n"), "a path of one machine"),
        (result({"image/svg+xml": "<svg/>"}), "shows an SVG"),
        (result({"application/vnd.jupyter.widget-view+json": {}}), "a widget"),
        (result({"text/plain": "3.14159265"}), "cell 2: prints 3.14159265"),
        (result(PNG), "cell 2: its figure has no alt text"),
        (result(PNG), "cell 2: its figure has no caption"),
        (result(PNG), "cell 2: its figure has no name"),
        (second_figure, "cell 3: shows 2 figures"),
        (drop_claim, "verifies no claim"),
        (old_sources, "changed since the outputs were made: src/advml/ising"),
    ],
)
def test_broken_output(course, good, edit, said):
    change(good, edit)
    assert any(said in text for text in sentences(course))


@pytest.mark.parametrize(
    "text",
    [
        "✓ a claim: ‹0.123456789› = ‹0.12345678 ± 1e-08›",
        "0.12345",
        "<Figure size 1x1>",
    ],
)
def test_numbers_that_tests_mask_or_that_are_short_may_stand(
    course, good, text
):
    change(good, result({"text/plain": text}))
    assert sentences(course) == []


LINES = "\n".join(f"x{i} = 1" for i in range(31))
SECOND = "\n# %% [markdown]\n# A sentence.\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("x = 1", LINES, "cell 2: has 31 lines, more than 30"),
        ("x = 1", "x = " + 76 * "1", "cell 2: has 80 columns, more than 79"),
        ("x = 1", "", "cell 2: is empty"),
        (SECOND, "", "cell 3: follows no text"),
        ('tags=["solution"]', "", "cell 4: is between solution-start"),
        ("# %%\nx = 1", '# %% tags=["solution"]\nx = 1', "outside of a sol"),
        ("# ::::{solution-end}\n# ::::", "# end", "has no solution-end"),
        ("{solution-start} ex-question", "{tip} Of course", "has 0 solutions"),
        ("ex-question\n# How", "ex-other\n# How", "which no exercise asks"),
        (":label: ex-question\n", ":nolabel:\n", "no :label:"),
        ('tags=["parameters"]', "", "needs one cell tagged parameters, has 0"),
        ("seed = 0", "sed = 0", "the parameters lack seed"),
        ("seed = 0", "seed = 1 + x", "cell 1: seed must be a plain number"),
        ("epochs = 2", "n_epochs = 2", "advml.full sets epochs, which is no"),
        ("name: python3", "name: mine", "kernelspec must be"),
        ("ipynb,py:percent", "ipynb,py:light", "needs jupytext: formats"),
        ("x = 1", "# NBVAL_SKIP\nx = 1", "a magic comment of nbval"),
        ("# %%\nx = 1", '# %% tags=["nbval-skip"]\nx', "unknown tag nbval-sk"),
        ("x = 1", "x = '/root/data'", "cell 2: names a path of one machine"),
        ("x = 1", "# pip --index-url x", "cell 2: names a package index"),
        ("x = 1", "# see https://x.org/simple/", "names a package index"),
        (
            "# %%\nx = 1",
            '# %% tags=["nbval-ignore-output"]\nx = 1',
            "is not in REVIEWED_IGNORES",
        ),
    ],
)
def test_broken_source(course, good, old, new, said):
    rewrite(good, old, new)
    assert any(said in text for text in sentences(course))


def test_reviewed_output_may_be_ignored(course, good, monkeypatch):
    reviewed = {("00_page", "x = 1"): "a reason"}
    monkeypatch.setattr(hygiene, "REVIEWED_IGNORES", reviewed)
    (said,) = sentences(course)
    assert "REVIEWED_IGNORES lists a cell 'x = 1', gone" in said
    tag = '# %% tags=["nbval-ignore-output"]\nx = 1'
    rewrite(good, "# %%\nx = 1", tag)
    assert sentences(course) == []


def test_labels_are_unique(course, good):
    other = good.folder / "week1_a" / "01_page"
    other.parent.mkdir()
    for end in (".py", ".ipynb"):
        content = good.folder.joinpath(f"00_page{end}").read_text()
        other.with_suffix(end).write_text(content)
    said = sentences(course)
    for label in ("eq-one", "fig-points", "ex-question"):
        assert any(f"{label} is also the name in" in x for x in said)


def test_docstrings_name_equations_that_exist(course, good):
    path = course.root / "src" / "advml" / "models.py"
    path.parent.mkdir(parents=True)
    path.write_text('"""See ``eq-one``."""\n')
    assert sentences(course) == []
    path.write_text('def f():\n    """See ``eq-two``."""\n')
    (said,) = sentences(course)
    assert (
        said == "src/advml/models.py:2: names eq-two, which no notebook "
        "defines"
    )


@pytest.mark.parametrize(
    "text",
    ["$$ (eq-a)", "$$\nx\n$$ (eq-a)", "```{math}\n:label: eq-a\nx\n```"],
)
def test_ways_to_define_an_equation(text):
    assert hygiene.equation_labels(text) == ["eq-a"]
