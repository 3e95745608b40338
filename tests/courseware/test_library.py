"""What is stored, and how it is noticed that it is old."""

import tomllib

import nbformat
import pytest

from courseware import commands, execution, library


def source(course, name="00_page"):
    return library.read_source(
        library.Notebook(name, course.root / "notebooks")
    )


def module(course, name, text):
    path = course.root / "src" / "advml" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_stored_form_does_not_change(course):
    course.write("00_page", "x = 1", "x = 1")
    first, second = source(course), source(course)
    assert nbformat.writes(first) == nbformat.writes(second)
    nbformat.validate(first)
    assert len({cell.id for cell in first.cells}) == len(first.cells)


def test_other_cells_keep_their_identifiers(course):
    course.write("00_page", "x = 1", "y = 1")
    before = {cell.source: cell.id for cell in source(course).cells}
    course.write("00_page", "x = 2", "y = 1")
    after = {cell.source: cell.id for cell in source(course).cells}
    same = before.keys() & after.keys()
    assert "y = 1" in same
    assert all(before[text] == after[text] for text in same)


def test_pieces_of_a_stream_are_joined(course):
    course.write("00_page", "x = 1")
    cells = source(course)
    pieces = [
        nbformat.v4.new_output("stream", name="stdout", text=text)
        for text in ("a", "b\n")
    ]
    library.code_cells(cells)[0].outputs = pieces
    (output,) = library.code_cells(library.tidy(cells))[0].outputs
    assert output.text == "ab\n"


def test_failed_replacement_keeps_the_file(course, monkeypatch):
    path = course.root / "file"
    library.replace(path, "old")

    def fail(*arguments):
        raise OSError("no space")

    monkeypatch.setattr(library.os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        library.replace(path, "new")
    assert path.read_text() == "old"
    assert list(course.root.iterdir()) == [path]


def test_outputs_depend_on_what_is_imported(course):
    module(course, "__init__.py", "")
    module(course, "rbm.py", "from advml.metrics import kl")
    module(course, "metrics.py", "from . import tools")
    module(course, "tools.py", "")
    module(course, "other.py", "")
    module(course, "pytorch/__init__.py", "")
    module(course, "pytorch/rbm.py", "from ..tools import x")
    course.write("00_page", "from advml.rbm import RBM")
    course.write("week1_a/01_page", "import advml.pytorch.rbm as r")
    folder = "src/advml/"
    assert library.digests(source(course), course.root).keys() == {
        "code",
        *(folder + x for x in ("__init__.py", "rbm.py", "metrics.py")),
        folder + "tools.py",
    }
    second = library.digests(source(course, "week1_a/01_page"), course.root)
    assert second.keys() == {
        "code",
        *(folder + x for x in ("__init__.py", "tools.py")),
        *(folder + f"pytorch/{x}.py" for x in ("__init__", "rbm")),
    }


@pytest.fixture
def executed(course, monkeypatch):
    """A stored notebook, and a stand-in for executing."""
    module(course, "tools.py", "a = 1")
    module(course, "other.py", "a = 1")
    course.write("00_page", "from advml.tools import a")
    called = []
    monkeypatch.setattr(
        commands, "_execute", lambda tasks, *rest: called.extend(tasks)
    )
    return course.pretend("00_page"), called


def bring_up_to_date(course, called):
    called.clear()
    commands.notebooks(course.root, limits=commands.limits(None))
    return [task.name for task in called]


def test_nothing_is_executed_when_nothing_changed(course, executed):
    notebook, called = executed
    before = notebook.stored.stat().st_mtime_ns
    assert bring_up_to_date(course, called) == []
    module(course, "other.py", "a = 2")
    assert bring_up_to_date(course, called) == []
    assert notebook.stored.stat().st_mtime_ns == before


def test_changed_code_is_executed(course, executed):
    _, called = executed
    course.write("00_page", "from advml.tools import a as b")
    assert bring_up_to_date(course, called) == ["00_page"]


def test_changed_helper_is_executed(course, executed):
    _, called = executed
    module(course, "tools.py", "a = 2")
    assert bring_up_to_date(course, called) == ["00_page"]


def test_cells_out_of_order_are_executed(course, executed):
    notebook, called = executed
    stored = library.read_executed(notebook.stored)
    library.code_cells(stored)[0].execution_count = 9
    library.write(stored, notebook.stored)
    assert bring_up_to_date(course, called) == ["00_page"]


def test_changed_text_keeps_the_outputs(course, executed):
    notebook, called = executed
    old = library.read_executed(notebook.stored)
    text = notebook.source.read_text()
    notebook.source.write_text(text.replace("# Title", "# New title"))
    assert bring_up_to_date(course, called) == []
    new = library.read_executed(notebook.stored)
    assert new.cells[0].source == "# New title"
    assert library.code_cells(new) == library.code_cells(old)
    assert new.metadata == old.metadata


def test_data_of_an_editor_are_removed(course, executed):
    notebook, called = executed
    good = notebook.stored.read_text()
    stored = library.read_executed(notebook.stored)
    stored.metadata.language_info["version"] = "3.11.7"
    stored.cells[0].metadata["collapsed"] = True
    library.write(stored, notebook.stored)
    assert bring_up_to_date(course, called) == []
    assert notebook.stored.read_text() == good


def test_fresh_results_of_other_sources_are_dropped(course, executed):
    notebook, _ = executed
    fresh = course.built / "00_page.ipynb"
    library.replace(fresh, notebook.stored.read_text())
    limits = commands.limits(None)
    commands.run(course.root, limits=limits)
    assert fresh.exists()
    commands.run(course.root, limits=limits, seed=3)
    assert not fresh.exists()


def test_unreadable_source_fails_alone(course, monkeypatch):
    course.write("00_page", "x = 1")
    course.write("01_page", "x = 1")
    read = library.read_source

    def read_source(notebook):
        if notebook.name == "00_page":
            raise ValueError("no header")
        return read(notebook)

    executed = []
    monkeypatch.setattr(library, "read_source", read_source)
    monkeypatch.setattr(
        execution, "_follow", lambda task, *rest: executed.append(task.name)
    )
    tasks = commands.run(course.root, limits=commands.limits(None))
    assert executed == ["01_page"]
    assert tasks[0].state == "failed"
    assert "cannot be read (ValueError: no header)" in tasks[0].failure


def test_the_start_page_names_every_lecture():
    text = (library.ROOT / "notebooks/00_start_here.py").read_text("utf-8")
    plan = (library.ROOT / "pages/course.toml").read_text("utf-8")
    weeks = tomllib.loads(plan)["weeks"]
    for week, content in enumerate(weeks, start=1):
        for number, (title, _) in enumerate(content["lectures"], start=1):
            assert f"{{doc}}`{week}.{number} {title} <week{week}_" in text
    assert "in preparation" not in text
