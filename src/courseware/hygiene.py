"""The rules that every notebook keeps, beyond that it runs.

The notebook tests compare outputs, but they pass a cell that was never
executed and compare no figures, so what they do not see is checked here. Each
rule is a function of one lecture that yields a (cell, sentence) for each
violation; the sentence says what to do. Code cells are counted as they are
executed, 1, 2, 3, …, and text cells as ¶1, ¶2, ….
"""

import ast
import re
from dataclasses import dataclass

import nbformat

from advml.checks import METADATA_KEY
from courseware import library, pins

MOST_LINES, MOST_COLUMNS = 30, 79
KERNEL = {
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
    "name": "python3",
}
# Tags that a cell may have. The first two mean something to the machinery.
TAGS = {
    "parameters",
    "solution",
    "hide-input",
    "remove-input",
    "hide-output",
    "shows-failed-claim",  # and catches it, see courseware.seeds
}
# Cells whose output the tests may ignore, each with the reason:
# {("week1_…/02_…", "first line of the cell"): "why"}.
REVIEWED_IGNORES = {}
IGNORE_TAG = "nbval-ignore-output"
LOCAL_PATH = re.compile(
    r"(?<![\w.:/}])/(?:home|root|Users|tmp|mnt|opt|usr|var|work|private)/\w"
    r"|\b[A-Z]:\\\w|site-packages|ipykernel_\d"
)
INDEX = re.compile(r"index-url|find-links|://[^\s/]+/simple\b|://[^\s]*/whl\b")
LONG_NUMBER = re.compile(r"\d\.\d{6,}")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
LABEL = re.compile(
    r"\$\$\s*\((eq-[a-z0-9-]+)\)|^\s*:label:\s*(eq-[a-z0-9-]+)\s*$", re.M
)
REFERENCE = re.compile(r"\beq-[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True)
class Violation:
    """What is wrong, where."""

    where: str
    cell: str
    what: str

    def __str__(self):
        """One line for people."""
        cell = f", cell {self.cell}" if self.cell else ""
        return f"{self.where}{cell}: {self.what}"


@dataclass(frozen=True)
class Lecture:
    """A pair of files with their content."""

    name: str
    source: nbformat.NotebookNode
    executed: nbformat.NotebookNode
    root: object

    def numbered(self, notebook=None):
        """Pairs of (number, cell)."""
        code = text = 0
        for cell in (notebook or self.executed).cells:
            if cell.cell_type == "code":
                code += 1
                yield str(code), cell
            else:
                text += 1
                yield f"¶{text}", cell

    def code(self):
        """Pairs of (number, code cell)."""
        return [x for x in self.numbered() if x[1].cell_type == "code"]

    def outputs(self):
        """Triples of (number, cell, output)."""
        return [(n, c, out) for n, c in self.code() for out in c.outputs]


def check(root=library.ROOT):
    """All violations in the repository, as a list."""
    found, lectures = [], []
    for notebook in library.find(root):
        lecture = _read(notebook, root, found)
        if lecture is None:
            continue
        lectures.append(lecture)
        for rule in RULES:
            for cell, what in rule(lecture):
                found.append(Violation(notebook.name, cell, what))
    for rule in RULES_FOR_ALL:
        found += rule(lectures, root)
    return found


def _read(notebook, root, found):
    """The pair, or None with the reason among the violations."""
    missing = [p for p in (notebook.source, notebook.stored) if not p.exists()]
    try:
        if not missing:
            return Lecture(
                notebook.name,
                library.read_source(notebook),
                library.read_executed(notebook.stored),
                root,
            )
        cure = (
            "run 'make notebooks'"
            if missing[0] == notebook.stored
            else "remove the .ipynb, or restore the .py"
        )
        what = f"{missing[0].name} is missing: {cure}"
    except Exception as error:
        what = f"cannot be read ({type(error).__name__}: {error})"
    found.append(Violation(notebook.name, "", what))
    return None


# What the pair says of itself.


def differences(executed, source):
    """Sentences on how an `.ipynb` differs from its `.py`, as (cell, what)."""
    old, new = executed.cells, source.cells
    if len(old) != len(new):
        return [("", f"the .ipynb has {len(old)} cells, the .py {len(new)}")]
    found = []
    pair = Lecture("", source, executed, None)
    for (number, a), b in zip(pair.numbered(), new, strict=True):
        for part in ("cell_type", "source", "metadata"):
            if a[part] != b[part]:
                found.append((number, f"{part} differs from the .py"))
    for name, value in _of_people(executed).items():
        if value != _of_people(source)[name]:
            found.append(("", f"the .ipynb and the .py differ in {name}"))
    return found


def _of_people(notebook):
    """The part of a notebook's metadata that people write."""
    metadata = notebook.metadata
    return {
        "kernelspec": metadata.get("kernelspec"),
        "jupytext.formats": metadata.get("jupytext", {}).get("formats"),
        "advml.full": metadata.get("advml", {}).get("full"),
    }


def pair_agrees(lecture):
    """The `.ipynb` has the cells of the `.py`."""
    for cell, what in differences(lecture.executed, lecture.source):
        yield cell, f"{what}: run 'make notebooks'"


def outputs_are_current(lecture):
    """Nothing that the outputs depend on has changed since."""
    if library.code_cells(lecture.source) and not differences(
        lecture.executed, lecture.source
    ):
        changed = library.stale(lecture.executed, lecture.source, lecture.root)
        if changed:
            names = ", ".join(changed)
            yield (
                "",
                f"changed since the outputs were made: {names}; "
                "run 'make notebooks'",
            )


def is_tidy(lecture):
    """The file holds nothing that changes from one execution to the next."""
    notebook = nbformat.from_dict(lecture.executed)
    as_written = nbformat.writes(notebook)
    if nbformat.writes(library.tidy(notebook)) != as_written:
        yield (
            "",
            "holds data of the editor or the run that changes each time: "
            "run 'make notebooks'",
        )


def kernel_is_plain(lecture):
    """The kernel is `python3`, the pair is declared in the header."""
    said = _of_people(lecture.source)
    if said["kernelspec"] != KERNEL:
        yield "", f"the header's kernelspec must be {KERNEL}"
    if said["jupytext.formats"] != "ipynb,py:percent":
        yield "", "the header needs jupytext: formats: ipynb,py:percent"


# What was executed.


def not_executed_in_order(notebook):
    """The first execution count that is not 1, 2, 3, …, with its place."""
    for n, cell in enumerate(library.code_cells(notebook), start=1):
        if cell.execution_count != n:
            return n, cell.execution_count
    return None


def executed_in_order(lecture):
    """Code cells were executed from the first to the last, once."""
    wrong = not_executed_in_order(lecture.executed)
    if wrong:
        n, count = wrong
        yield (
            str(n),
            f"was executed as number {count}, not {n}: run 'make notebooks'",
        )


def outputs_are_clean(lecture):
    """No errors, no warnings, nothing that is another the next time."""
    for number, _, output in lecture.outputs():
        if output.output_type == "error":
            yield number, f"its output is an error, {output.ename}"
        if output.get("name") == "stderr":
            text = output.text.strip().splitlines()[-1:]
            yield number, f"writes to standard error: {' '.join(text)}"
        for kind in output.get("data", {}):
            if kind == "image/svg+xml":
                yield number, "shows an SVG: save figures as PNG"
            if "widget" in kind:
                yield number, "shows a widget: use advml.display.progress"


def printed(output):
    """The text that a reader sees and the notebook tests compare."""
    if output.output_type == "stream":
        return output.text
    data = output.get("data", {})
    if "image/png" in data or "```" in data.get("text/markdown", ""):
        return ""
    return "\n".join(str(v) for k, v in data.items() if k.startswith("text/"))


def numbers_are_rounded(lecture):
    """Numbers with many digits stand in ‹ ›, where tests mask them."""
    for number, cell, output in lecture.outputs():
        if IGNORE_TAG in library.tags(cell):
            continue
        text = re.sub(r"‹[^›\n]*›", "", printed(output))
        long = LONG_NUMBER.search(text)
        if long:
            yield (
                number,
                f"prints {long.group()}…, which other machines will not: "
                "round it, or use verify or show_table",
            )
        if ADDRESS.search(text):
            yield number, "prints a memory address: end it with plt.show()"


def makes_a_claim(lecture):
    """At least one sentence is verified."""
    if not any(
        METADATA_KEY in o.get("metadata", {}) for *_, o in lecture.outputs()
    ):
        yield "", "verifies no claim: compare something with an exact answer"


# Figures.


def figures_are_described(lecture):
    """Each figure has an alternative text and a caption."""
    for number, cell in lecture.code():
        images = sum("image/png" in o.get("data", {}) for o in cell.outputs)
        about = cell.metadata.get("mystnb", {})
        if images > 1:
            yield number, f"shows {images} figures: one cell, one figure"
        if images and len(about.get("image", {}).get("alt", "")) < 20:
            yield (
                number,
                "its figure has no alt text that describes it: add "
                'mystnb={"image": {"alt": …}} to the cell',
            )
        for key in ("caption", "name"):
            if images and not about.get("figure", {}).get(key):
                yield (
                    number,
                    f"its figure has no {key}: add "
                    f'mystnb={{"figure": {{"{key}": …}}}} to the cell',
                )


# How it is written.


def cells_are_short(lecture):
    """A code cell fits on a screen and into the width of the page."""
    for number, cell in lecture.code():
        lines = cell.source.splitlines()
        if not lines:
            yield number, "is empty: remove it"
        if len(lines) > MOST_LINES:
            yield number, f"has {len(lines)} lines, more than {MOST_LINES}"
        longest = max(map(len, lines), default=0)
        if longest > MOST_COLUMNS:
            yield number, f"has {longest} columns, more than {MOST_COLUMNS}"


def cells_are_introduced(lecture):
    """Each code cell has a sentence before it.

    The parameters alone may follow the imports directly.
    """
    before = "code"
    for number, cell in lecture.numbered():
        follows = before == "code" and "parameters" not in library.tags(cell)
        if cell.cell_type == "code" and follows:
            yield number, "follows no text: say before it what it does"
        before = cell.cell_type


def tags_are_known(lecture):
    """Tags are spelled right; ignored outputs were reviewed."""
    for number, cell in lecture.numbered():
        first = (cell.source.splitlines() or [""])[0]
        if re.search(r"^\s*#\s*(NBVAL|PYTEST)_", cell.source, re.M):
            yield number, "uses a magic comment of nbval: use tags"
        for tag in library.tags(cell):
            if tag == IGNORE_TAG:
                if (lecture.name, first) not in REVIEWED_IGNORES:
                    yield (
                        number,
                        f"is tagged {tag} but is not in REVIEWED_IGNORES of "
                        "courseware/hygiene.py: make its output repeatable",
                    )
            elif tag not in TAGS:
                yield number, f"has the unknown tag {tag}"


def has_parameters(lecture):
    """One cell tagged `parameters` assigns literals, `seed` among them."""
    tagged = [
        number
        for number, cell in lecture.numbered(lecture.source)
        if "parameters" in library.tags(cell)
    ]
    if len(tagged) != 1:
        yield "", f"needs one cell tagged parameters, has {len(tagged)}"
        return
    names = library.parameters(lecture.source)
    for name, value in names.items():
        try:
            ast.literal_eval(value)
        except ValueError:
            yield tagged[0], f"{name} must be a plain number, string or list"
    if "seed" not in names:
        yield tagged[0], "the parameters lack seed"
    full = lecture.source.metadata.get("advml", {}).get("full", {})
    for name in full.keys() - names.keys():
        yield "", f"advml.full sets {name}, which is no parameter"


def names_no_machine(lecture):
    """No path of one machine, no package index."""
    for number, cell in lecture.numbered():
        texts = [cell.source]
        texts += [str(o.get("data", o)) for o in cell.get("outputs", [])]
        for text in texts:
            text = re.sub(r"'image/png': '[^']*'", "", text)
            local, index = LOCAL_PATH.search(text), INDEX.search(text)
            if local:
                yield number, f"names a path of one machine: {local.group()}…"
            if index:
                yield number, f"names a package index: {index.group()}"


def exercises_have_solutions(lecture):
    """Each exercise has one solution, whose code is tagged `solution`."""
    asked, answered, inside = {}, [], None
    for number, cell in lecture.numbered():
        if cell.cell_type == "code":
            if (inside is not None) != ("solution" in library.tags(cell)):
                yield (
                    number,
                    "is between solution-start and solution-end but is not "
                    "tagged solution"
                    if inside
                    else "is tagged solution outside of a solution",
                )
            continue
        for kind, label in _exercise_marks(cell.source):
            if kind == "exercise":
                asked[label] = number
            elif kind == "end":
                if inside is None:
                    yield number, "solution-end without solution-start"
                inside = None
            else:
                answered.append(label)
                inside = label if kind == "start" else None
    if inside:
        yield "", f"the solution of {inside} has no solution-end"
    for label, number in asked.items():
        if answered.count(label) != 1:
            yield (
                number,
                f"exercise {label} has {answered.count(label)} solutions",
            )
    for label in set(answered) - asked.keys():
        yield "", f"a solution answers {label}, which no exercise asks"


def _exercise_marks(text):
    """Pairs of (exercise | start | solution | end, label), in order."""
    marks = re.finditer(
        r"^[:`]{3,}\{(exercise|exercise-start|solution|solution-start"
        r"|solution-end)\}[ ]*(.*)$((?:\n:\w+:.*)*)",
        text,
        re.M,
    )
    for mark in marks:
        kind, rest, options = mark.groups()
        if kind.startswith("exercise"):
            label = re.search(r":label: *(\S+)", options)
            yield "exercise", label[1] if label else f"'{rest}' (no :label:)"
        else:
            yield kind.removeprefix("solution-"), rest.strip()


RULES = (
    pair_agrees,
    outputs_are_current,
    is_tidy,
    kernel_is_plain,
    executed_in_order,
    outputs_are_clean,
    numbers_are_rounded,
    makes_a_claim,
    figures_are_described,
    cells_are_short,
    cells_are_introduced,
    tags_are_known,
    has_parameters,
    names_no_machine,
    exercises_have_solutions,
)


# Rules about all of them together.


def labels_are_unique(lectures, root):
    """Equations, exercises and figures have names of their own."""
    seen, found = {}, []
    for lecture in lectures:
        for number, cell in lecture.numbered():
            for label in _labels(cell):
                if label in seen:
                    what = f"{label} is also the name in {seen[label]}"
                    found.append(Violation(lecture.name, number, what))
                seen[label] = f"{lecture.name}, cell {number}"
    return found


def _labels(cell):
    if cell.cell_type == "code":
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        return [name] if name else []
    exercises = [x for k, x in _exercise_marks(cell.source) if k == "exercise"]
    return equation_labels(cell.source) + exercises


def equation_labels(text):
    """Names of the equations that a text defines."""
    return [a or b for a, b in LABEL.findall(text)]


def docstrings_name_equations(lectures, root):
    """An equation that a docstring names stands in some lecture."""
    # Also those of lectures that are written but not yet executed.
    found, known = [], set()
    for notebook in library.find(root):
        if notebook.source.exists():
            text = re.sub("(?m)^# ?", "", notebook.source.read_text("utf-8"))
            known |= set(equation_labels(text))
    for path in sorted((root / "src" / "advml").glob("**/*.py")):
        for line, label in _references(path):
            if label not in known:
                place = f"{path.relative_to(root).as_posix()}:{line}"
                what = f"names {label}, which no notebook defines"
                found.append(Violation(place, "", what))
    return found


def _references(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef
        ) and ast.get_docstring(node):
            line = node.body[0].lineno
            for label in REFERENCE.findall(ast.get_docstring(node)):
                yield line, label


def pins_agree(lectures, root):
    """The three files with versions say the same."""
    return [Violation("pins", "", x) for x in pins.disagreements(root)]


def unused_reviews(lectures, root):
    """The list of ignored outputs holds nothing that is gone."""
    there = {
        (lecture.name, (cell.source.splitlines() or [""])[0])
        for lecture in lectures
        for _, cell in lecture.code()
        if IGNORE_TAG in library.tags(cell)
    }
    return [
        Violation(name, "", f"REVIEWED_IGNORES lists a cell '{line}', gone")
        for name, line in REVIEWED_IGNORES.keys() - there
    ]


RULES_FOR_ALL = (
    labels_are_unique,
    docstrings_name_equations,
    pins_agree,
    unused_reviews,
)
