"""How notebooks become the sources of the pages, on notebooks made here."""

import html
import json
import re

import nbformat.v4 as v4
import pytest
from markdown_it import MarkdownIt

from advml.checks import METADATA_KEY
from courseware import library
from courseware import publish as module
from courseware.publish import (
    Lecture,
    PublishError,
    assemble,
    claims,
    other_seeds,
    publish,
)

HOME = "week1_boltzmann_machines/01_first"
CLAIM = {
    "claim": "a < b",
    "relation": "=",
    "measured": 1.0000004,
    "expected": 1.0,
    "tolerance": 0.01,
    "compared": 3,
    "source": "closed form & enumeration",
}


def verified(**changes):
    """The output of `verify`, as it is stored."""
    return v4.new_output(
        "display_data",
        data={"text/plain": "✓ a < b: ‹1› = ‹1 ± 0.01›"},
        metadata={METADATA_KEY: CLAIM | changes},
    )


def write(folder, name, *, title="First", text="", outputs=(), seconds=None):
    cells = [
        v4.new_markdown_cell(f"# {title}\n\nA paragraph."),
        v4.new_markdown_cell(text or "More."),
        v4.new_code_cell("1", outputs=list(outputs), execution_count=1),
    ]
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata["language_info"] = library.LANGUAGE
    if seconds is not None:
        notebook.metadata["advml"] = {"seconds": seconds}
    path = folder / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(v4.writes(notebook), "utf-8")


def generated(source, name):
    return (source / "generated" / f"{name}.md").read_text("utf-8")


def test_empty_course_is_all_in_preparation(tmp_path):
    assemble(tmp_path / "none", tmp_path / "source", tmp_path / "none")
    source = tmp_path / "source"
    assert "0 are written" in generated(source, "claim_count")
    assert "1.1 Sample a magnet" in generated(source, "course_map")
    assert ".ipynb" not in generated(source, "course_map")
    assert "No lecture" in generated(source, "claims")
    assert "No lecture" in generated(source, "timings")
    assert generated(source, "contents").strip() == ""


def test_lecture_is_found_by_its_number(tmp_path):
    write(tmp_path / "nb", HOME, title="Shake a magnet")
    assemble(tmp_path / "nb", tmp_path / "source", tmp_path / "nb")
    contents = generated(tmp_path / "source", "contents")
    assert f"1.1 Shake a magnet <{HOME}>" in contents
    assert ":caption: Week 1: Boltzmann machines" in contents
    cards = generated(tmp_path / "source", "course_map")
    assert f"- [1.1 Shake a magnet](/{HOME}.ipynb)" in cards
    assert "- 1.2 Build a restricted Boltzmann machine" in cards


def test_notebook_outside_the_plan_is_refused(tmp_path):
    write(tmp_path / "nb", "week1_boltzmann_machines/17_stray")
    with pytest.raises(PublishError, match=r"17_stray.*course\.toml"):
        assemble(tmp_path / "nb", tmp_path / "source", tmp_path / "nb")


def test_two_notebooks_for_one_lecture_are_refused(tmp_path):
    write(tmp_path / "nb", HOME)
    write(tmp_path / "nb", "week1_boltzmann_machines/01_again")
    with pytest.raises(PublishError, match=r"two notebooks for 1\.1"):
        assemble(tmp_path / "nb", tmp_path / "source", tmp_path / "nb")


def test_what_was_not_run_comes_from_the_stored_notebooks(tmp_path):
    write(tmp_path / "stored", HOME, title="Old", seconds=5)
    write(tmp_path / "stored", "00_start_here", title="Start", seconds=1.25)
    write(tmp_path / "run", HOME, title="New", seconds=2)
    assemble(tmp_path / "run", tmp_path / "source", tmp_path / "stored")
    table = generated(tmp_path / "source", "timings")
    assert re.search(r"1\.1 New.*\| 2\.0 \| made here", table)
    assert re.search(r"\[Start\].*\| 1\.2 \| stored", table)
    assert "| **3.2** |" in table
    assert "Old" not in table


def test_stored_notebooks_are_called_stored(tmp_path):
    write(tmp_path / "nb", HOME)
    assemble(tmp_path / "nb", tmp_path / "source", tmp_path / "nb")
    table = generated(tmp_path / "source", "timings")
    assert "| – | stored |" in table and "made here" not in table


def test_claims_are_collected_in_order(tmp_path):
    outputs = [verified(), v4.new_output("stream", text="x"), verified()]
    outputs[2].metadata[METADATA_KEY]["claim"] = "second"
    write(tmp_path / "nb", HOME, outputs=outputs)
    path = tmp_path / "nb" / f"{HOME}.ipynb"
    found = claims(v4.reads(path.read_text("utf-8")))
    assert [claim["claim"] for claim in found] == ["a < b", "second"]


def test_ledger_states_each_claim(tmp_path):
    interval = {"relation": "in", "expected": [0.5, 2.0], "tolerance": None}
    bound = {"relation": "≥", "expected": 0.25, "tolerance": None}
    outputs = [verified(), verified(**interval), verified(**bound)]
    write(tmp_path / "nb", HOME, outputs=outputs)
    assemble(tmp_path / "nb", tmp_path / "source", tmp_path / "nb")
    ledger = generated(tmp_path / "source", "claims")
    rows = re.findall(r"<tr id='.*?</tr>", ledger)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    assert cells[0][1:] == [
        "a &lt; b (worst of 3)",
        "1",
        "=",
        "1 ± 0.01",
        "closed form &amp; enumeration",
    ]
    assert cells[1][3:5] == ["within", "0.5 … 2"]
    assert cells[2][3:5] == ["≥", "0.25"]
    assert f"{HOME}.html#claim-3" in cells[2][0]
    assert "**3 verified claims.**" in ledger


FAULTS = r"""
A formula that nobody labelled: {eq}`eq-nowhere`.

A lecture that is not there: {doc}`02_missing`.

A paper that is not there: {cite}`nobody1900`.

An ![unknown picture](nowhere.png).

$$
x = 1
$$ (eq-twice)

$$
x = 2
$$ (eq-twice)

::::{solution} ex-nowhere
Of what?
::::
"""


def test_each_fault_is_named_and_the_old_pages_stay(tmp_path):
    old = tmp_path / "html"
    old.mkdir()
    (old / "index.html").write_text("old")
    stderr = v4.new_output("stream", name="stderr", text="a warning")
    write(tmp_path / "nb", HOME, text=FAULTS, outputs=[stderr])
    with pytest.raises(PublishError) as caught:
        publish(tmp_path / "nb", old, tmp_path / "nb")
    messages = str(caught.value)
    for fault in (
        "eq-nowhere",
        "02_missing",
        "nobody1900",
        "nowhere.png",
        "eq-twice",
        "ex-nowhere",
        "stderr",
    ):
        assert fault in messages, messages
    assert f"{HOME}.ipynb, cell 2" in messages
    assert str(tmp_path) not in messages
    assert (old / "index.html").read_text() == "old"
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_gate_that_is_not_closed_is_named(tmp_path):
    gate = "::::{solution-start} ex-nowhere\n::::"
    write(tmp_path / "nb", HOME, text=gate)
    with pytest.raises(PublishError) as caught:
        publish(tmp_path / "nb", tmp_path / "html", tmp_path / "nb")
    messages = str(caught.value)
    assert "solution-start" in messages and HOME in messages
    assert "Platform" not in messages and len(messages.splitlines()) < 8
    assert not (tmp_path / "html").exists()


def test_pages_are_replaced_as_a_whole(tmp_path):
    old = tmp_path / "html"
    old.mkdir()
    (old / "stale.html").write_text("old")
    write(tmp_path / "nb", HOME, outputs=[verified()])
    home = publish(tmp_path / "nb", old, tmp_path / "nb")
    assert home == old / "index.html" and home.exists()
    assert not (old / "stale.html").exists()
    page = (old / f"{HOME}.html").read_text("utf-8")
    assert "‹" not in page and 'id="claim-1"' in page


def test_an_interrupt_while_pages_are_replaced_keeps_the_old(
    tmp_path, monkeypatch
):
    output, built, old = (tmp_path / x for x in ("html", "built", "old"))
    output.mkdir()
    built.mkdir()
    (output / "index.html").write_text("old")
    rename = type(output).rename

    def interrupted(path, target):
        if path == built:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(output), "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            module._replace(output, built, old)
    assert (output / "index.html").read_text() == "old"
    module._replace(output, built, old)
    assert list(output.iterdir()) == []


def test_a_failed_claim_is_not_published(tmp_path):
    failed = verified()
    record = {"claim": "a < b", "failed": "a < b: measured 2, expected 1"}
    failed.metadata = {METADATA_KEY: record}
    write(tmp_path / "nb", HOME, outputs=[failed])
    with pytest.raises(PublishError, match="a < b: measured 2"):
        assemble(tmp_path / "nb", tmp_path / "source", tmp_path / "nb")


def test_pages_tell_how_other_seeds_fared_with_the_present_sources(tmp_path):
    sources = library.fingerprint({"code": "abc"})
    plan = [
        ("", [Lecture("0", "Start", "", "00_start", sources=sources)]),
        ("Week 1", [Lecture("1.1", "First", "", HOME, sources=sources)]),
    ]
    entry = {"notebook": HOME, "sources": sources, "claims": 3}
    entry |= {"failed": [], "error": ""}
    kept = [entry | {"seed": seed} for seed in (1, 2, 3, 7)]
    kept.append(entry | {"seed": 4, "sources": "old", "failed": ["gone"]})
    path = tmp_path / "seeds.json"
    assert "| – | – |" in other_seeds(plan, path)
    path.write_text(json.dumps(kept))
    text = other_seeds(plan, path)
    assert "Checks made in all: 12." in text
    assert "| [Start](/00_start.ipynb) | – | – |" in text
    assert f"| [1.1 First](/{HOME}.ipynb) | 1–3, 7 | none |" in text
    kept[1]["failed"] = ["a < b", "a < b"]
    kept[2]["error"] = "no end"
    path.write_text(json.dumps(kept))
    assert r"| 1–3, 7 | a \< b; no end |" in other_seeds(plan, path)


def test_what_failed_with_other_seeds_stays_in_its_cell(tmp_path):
    failed = r"|m| < 1 \| `a_b*c*` [x](y) <b> &lt; $p$ {eq}`z`"
    error = "KeyError: 'x'\n| more\n\n# and more"
    entry = {"notebook": HOME, "sources": "s", "claims": 3, "seed": 1}
    entry |= {"failed": [failed], "error": error}
    path = tmp_path / "seeds.json"
    path.write_text(json.dumps([entry]))
    lecture = Lecture("1.1", "First", "", HOME, sources="s")
    text = other_seeds([("Week 1", [lecture])], path)
    page = MarkdownIt().enable("table").render(text)
    cells = re.findall(r"<td.*?>(.*?)</td>", page, re.DOTALL)
    assert len(cells) == 3
    wanted = f"{error}; {failed}".split()
    assert html.unescape(cells[2]).split() == wanted
    assert r"\$p\$ \{eq\}" in text


def test_fingerprint_is_of_sources_without_parameters():
    one = library.fingerprint({"code": "a", "src/b.py": "c"})
    same = {"src/b.py": "c", "parameters": "seed", "code": "a"}
    assert library.fingerprint(same) == one
    assert library.fingerprint({"code": "a", "src/b.py": "d"}) != one
