"""Experiments at full scale: what is kept of them, and what pages show."""

import json
import struct
import subprocess
import sys
import zlib

import pytest
from matplotlib.figure import Figure

from courseware import bench, publish, results

SCRIPT = '''
from matplotlib.figure import Figure

from courseware.results import Finding, Picture, run

def experiment(n_units: int = 3, rate: float = 0.5, n_pictures: int = 0):
    """A title.

    What was done.
    """
    if rate < 0:
        raise ValueError("rate")
    found = [Finding("log p", -86.4, 0.04, "−86.3", "a paper")]
    for i in range(n_pictures):
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([0, i])
        found.append(Picture(figure, f"Line {i}.", 'Up: a "line", 1 # of 2.'))
    return found

run(experiment, "small_{n_units}")
'''


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script of an experiment that has been run once."""
    path = tmp_path_factory.mktemp("results") / "small.py"
    path.write_text(SCRIPT, "utf-8")
    subprocess.run([sys.executable, path, "--n-units", "5"], check=True)
    return path


def test_settings_come_from_the_command_line_and_are_kept(script):
    (name, content) = results.read(script.parent).popitem()
    assert name == "small_5"
    settings = {"n_units": 5, "rate": 0.5, "n_pictures": 0}
    assert content["settings"] == settings
    assert content["command"] == "python pages/results/small.py --n-units 5"
    assert content["title"] == "A title"
    assert content["text"] == "What was done."
    assert "cores of" in content["hardware"]
    assert content["seconds"].keys() == {"elapsed", "CPU"}
    (finding,) = content["findings"]
    assert (finding["found"], finding["published"]) == (-86.4, "−86.3")
    assert content["pictures"] == []


def test_a_failed_experiment_leaves_the_last_result(script):
    (before,) = script.parent.glob("*.json")
    text = before.read_text("utf-8")
    failed = subprocess.run(
        [sys.executable, script, "--n-units", "5", "--rate", "-1"],
        capture_output=True,
    )
    assert failed.returncode
    assert before.read_text("utf-8") == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-86.339, 0.45, "−86.34 ± 0.45"),
        (-86.339, 0.046, "−86.339 ± 0.046"),
        (-205.77, 12.0, "−206 ± 12"),
        (0.98712, None, "0.98712"),
        (3.0, 0.0, "3 ± 0"),
    ],
)
def test_a_number_has_the_digits_of_its_error(value, error, text):
    assert results.with_error(value, error) == text


def test_an_incomplete_result_is_named(tmp_path):
    (tmp_path / "half.json").write_text(json.dumps({"title": "Half"}))
    with pytest.raises(ValueError, match=r"half\.json lacks command"):
        results.read(tmp_path)


def test_pages_show_found_beside_published(script):
    assert "No experiment" in publish.full_scale({})
    text = publish.full_scale(results.read(script.parent))
    assert "## A title\n\nWhat was done.\n\n| |" in text
    assert "| log p | −86.400 ± 0.040 | −86.3 | a paper |" in text
    assert "`python pages/results/small.py --n-units 5`" in text


def test_pages_show_the_benchmarks_that_are_kept(tmp_path):
    path = tmp_path / "benchmarks.json"
    assert "No benchmark" in publish.benchmarks(path)
    rows = [["speed-up", "1.87", "≥ 2"]]
    kept = {"hardware": "2 cores", "conditions": "medians of 5 rounds"}
    path.write_text(json.dumps(kept | {"tables": [["PCD-1", rows]]}))
    text = publish.benchmarks(path)
    assert "on 2 cores: medians of 5 rounds." in text
    assert "## PCD-1" in text
    assert "| speed-up | 1.87 | ≥ 2 |" in text


def test_benchmarks_say_which_target_is_missed():
    speed_up, limit = "speed-up over autograd, lean", "TensorFlow's time"
    assert bench.goal(speed_up, 1.99) == "≥ 2, missed"
    assert bench.goal(speed_up, 2.01) == "≥ 2"
    assert bench.goal(f"{limit} over PyTorch's", 1.51) == "≤ 1.5, missed"
    assert bench.goal(f"{limit} over PyTorch's", 1.49) == "≤ 1.5"
    assert bench.goal("GFLOP/s", 100) == ""


def figure(height):
    drawn = Figure(figsize=(2, 1))
    drawn.subplots().plot([0, height])
    return drawn


def pictures(n):
    return [
        results.Picture(figure(i), f"Line {i}.", 'Up: a "line", 1 # of 2.')
        for i in range(n)
    ]


def kept(folder):
    return sorted(path.name for path in folder.iterdir())


def chunks(png):
    """Kind and content of each part of a PNG file (RFC 2083)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, []
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        (check,) = struct.unpack_from(">I", png, at + 8 + length)
        assert check == zlib.crc32(kind + body)
        found.append((kind, body))
        at += 12 + length
    return found


def test_an_experiment_keeps_its_pictures_and_their_words(script, tmp_path):
    copy = tmp_path / "small.py"
    copy.write_text(script.read_text("utf-8"), "utf-8")
    command = [sys.executable, copy, "--n-pictures", "2"]
    subprocess.run(command, check=True)
    content = results.read(tmp_path)["small_3"]
    names = ["small_3_1.png", "small_3_2.png"]
    assert [x["file"] for x in content["pictures"]] == names
    assert [x["caption"] for x in content["pictures"]] == [
        "Line 0.",
        "Line 1.",
    ]
    assert content["pictures"][0]["alt"] == 'Up: a "line", 1 # of 2.'
    assert len(content["findings"]) == 1
    assert kept(tmp_path) == ["small.py", "small_3.json", *names]
    before = [(tmp_path / name).read_bytes() for name in names]
    assert before[0] != before[1]
    subprocess.run(command, check=True)
    assert [(tmp_path / name).read_bytes() for name in names] == before


def test_a_picture_says_nothing_of_software_or_time():
    parts = chunks(results.png(figure(1)))
    assert parts[0][0] == b"IHDR"
    assert struct.unpack(">II", parts[0][1][:8]) == (300, 150)
    assert {kind for kind, _ in parts} <= {b"IHDR", b"pHYs", b"IDAT", b"IEND"}


def test_one_picture_has_no_number_and_leaves_none_of_the_last_run(tmp_path):
    path = tmp_path / "small.json"
    (tmp_path / "other_1.png").write_bytes(b"")
    names = [f"small_{i}.png" for i in (1, 2, 3)]
    for n, expected in ((3, names), (1, ["small.png"]), (0, [])):
        results.keep(path, {"title": "Small"}, pictures(n))
        others = ["other_1.png", "small.json"]
        assert kept(tmp_path) == sorted(others + expected)


def test_a_failure_while_a_picture_is_written_leaves_the_last_result(
    tmp_path, monkeypatch
):
    path = tmp_path / "small.json"
    results.keep(path, {"title": "Old"}, pictures(1))
    before = [(tmp_path / name).read_bytes() for name in kept(tmp_path)]

    def fail(*names):
        raise OSError("disk")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk"):
        results.keep(path, {"title": "New"}, pictures(2)[1:])
    assert kept(tmp_path) == ["small.json", "small.png"]
    assert [(tmp_path / x).read_bytes() for x in kept(tmp_path)] == before


def test_nothing_is_written_before_all_is_drawn(tmp_path):
    path = tmp_path / "small.json"
    results.keep(path, {"title": "Old"}, pictures(2))
    before = [(tmp_path / name).read_bytes() for name in kept(tmp_path)]
    broken = results.Picture(None, "Nothing.", "Nothing.")
    with pytest.raises(AttributeError):
        results.keep(path, {"title": "New"}, [pictures(2)[1], broken])
    with pytest.raises(TypeError):
        results.keep(path, {"title": object()}, pictures(2)[::-1])
    assert [(tmp_path / x).read_bytes() for x in kept(tmp_path)] == before


def complete(**more):
    return dict.fromkeys(results.KEYS, "") | more


def test_a_result_from_before_there_were_pictures_is_read(tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(complete(findings=[])))
    assert results.read(tmp_path)["old"]["pictures"] == []


def test_a_missing_picture_or_text_is_named(tmp_path):
    path = tmp_path / "small.json"
    results.keep(path, complete(), pictures(1))
    (tmp_path / "small.png").unlink()
    match = r"small\.json names the picture small\.png, which is not"
    with pytest.raises(ValueError, match=match):
        results.read(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    content["pictures"][0]["alt"] = ""
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"small\.json lacks alt"):
        results.read(tmp_path)


def test_pages_show_pictures_with_caption_and_alternative_text(tmp_path):
    """By Sphinx, which fails here for a picture that it does not find."""
    source = tmp_path / "source"
    (source / "results").mkdir(parents=True)
    content = complete(title="A title", findings=[], settings={}, seconds={})
    results.keep(source / "results" / "small.json", content, pictures(2))
    text = publish.full_scale(results.read(source / "results"))
    (source / "generated").mkdir()
    (source / "generated" / "results.md").write_text(text)
    page = "# Results\n\n```{include} generated/results.md\n```\n"
    (source / "index.md").write_text(page)
    command = [sys.executable, "-m", "sphinx", "-C", "-W", "-q", "-b", "html"]
    command += ["-D", "extensions=myst_parser", "-D", "suppress_warnings=none"]
    command += ["-D", "exclude_patterns=generated"]
    subprocess.run([*command, source, tmp_path / "html"], check=True)
    html = (tmp_path / "html" / "index.html").read_text("utf-8")
    for i in (1, 2):
        image = f'src="_images/small_{i}.png"'
        assert image in html
        assert f"Line {i - 1}." in html
        shown = tmp_path / "html" / "_images" / f"small_{i}.png"
        original = source / "results" / f"small_{i}.png"
        assert shown.read_bytes() == original.read_bytes()
    assert html.count('alt="Up: a &quot;line&quot;, 1 # of 2."') == 2
    assert html.count("<figcaption>") == 2


def test_pages_are_assembled_with_the_pictures(tmp_path, monkeypatch):
    pages = tmp_path / "pages"
    (pages / "results").mkdir(parents=True)
    (pages / "course.toml").write_text("weeks = []\n")
    content = complete(findings=[], settings={}, seconds={})
    results.keep(pages / "results" / "small.json", content, pictures(1))
    monkeypatch.setattr(publish, "PAGES", pages)
    source, notebooks = tmp_path / "source", tmp_path / "notebooks"
    notebooks.mkdir()
    publish.assemble(notebooks, source, notebooks)
    text = (source / "generated" / "results.md").read_text("utf-8")
    assert "```{figure} /results/small.png\n" in text
    png = (pages / "results" / "small.png").read_bytes()
    assert (source / "results" / "small.png").read_bytes() == png
