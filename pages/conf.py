"""Sphinx configuration of the course pages.

``python -m courseware publish`` puts these pages and the executed notebooks
into one folder and builds it with this file. Nothing is executed here, and
nothing that the pages need comes from the network.
"""

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxRole
from sphinx_exercise.nodes import solution_node

project = "Deep generative models for the physical sciences"
author = "The authors of the course"
copyright = ""
language = "en"

extensions = [
    "myst_nb",
    "sphinx_exercise",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["generated"]
nitpicky = True

myst_enable_extensions = [
    "amsmath",
    "attrs_inline",
    "colon_fence",
    "dollarmath",
]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True
nb_output_stderr = "warn"
nb_render_markdown_format = "myst"
exercise_style = "solution_follow_exercise"

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

# The offline package brings MathJax 3. Formulas keep their size beside any
# font of the text, so that those that fit here fit everywhere.
mathjax3_config = {"chtml": {"matchFontHeight": False, "scale": 1.05}}

html_theme = "sphinx_book_theme"
html_title = project
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["course.css"]
html_copy_source = True
html_sourcelink_suffix = ""
html_show_sphinx = False
html_theme_options = {
    "logo": {"text": "Deep generative models for the physical sciences"},
    "navbar_persistent": [],
    "home_page_in_toc": False,
    "footer_content_items": ["extra-footer.html"],
    "extra_footer": "Text: CC BY 4.0 · Code: BSD-3-Clause",
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
copybutton_selector = "div.cell_input pre, div.highlight-python pre"


def lecture_number(docname):
    """(1, 2) for week1_…/02_…, (0,) for 00_…, () for any other page."""
    found = re.match(r"(?:week(\d+)_[^/]*/)?(\d\d)_", docname)
    return tuple(int(n) for n in found.groups() if n) if found else ()


class LectureRole(SphinxRole):
    """{lecture}`1.2` links to that lecture, or says that it is to come."""

    def run(self):
        wanted = tuple(int(n) for n in self.text.split("."))
        name = f"Lecture {self.text}" if any(wanted) else "The start page"
        for docname in self.env.found_docs:
            if lecture_number(docname) == wanted:
                link = addnodes.pending_xref(
                    "",
                    nodes.inline("", name),
                    refdomain="std",
                    reftype="doc",
                    reftarget=f"/{docname}",
                    refdoc=self.env.docname,
                    refexplicit=True,
                    refwarn=True,
                )
                return [link], []
        return [nodes.inline("", f"{name} (in preparation)")], []


def number_by_lecture(app, env):
    """Number equations, figures and exercises 1.2.1, 1.2.2, … in 1.2."""
    for docname, kinds in env.toc_fignumbers.items():
        for numbers in kinds.values():
            for i, label in enumerate(numbers, start=1):
                numbers[label] = (*lecture_number(docname), i)
    return []


def show_claims(app, doctree):
    """Turn the lines that `verify` printed into links to the ledger."""
    outputs = doctree.findall(
        lambda n: (
            isinstance(n, nodes.container)
            and n.get("nb_element") == "cell_code_output"
        )
    )
    docname, count = app.env.docname, 0
    for output in outputs:
        for block in list(output.findall(nodes.literal_block)):
            if block.astext().startswith("✓ "):
                count += 1
                block.replace_self(claim_line(docname, count, block.astext()))
        for text in list(output.findall(nodes.Text)):
            # The marks ‹ › are for the notebook tests, not for readers.
            if "‹" in text and text.parent.tagname != "literal_block":
                plain = text.translate({ord(c): "" for c in "‹›"})
                text.parent.replace(text, nodes.Text(plain))


def claim_line(docname, count, text):
    """One verified claim; its tick leads to its source in the ledger."""
    anchor = f"claim-{count}"
    ledger = "../" * docname.count("/") + "claims.html"
    row = f"{docname.replace('/', '-')}-{anchor}"
    tick = nodes.reference(
        "", "✓", refuri=f"{ledger}#{row}", internal=True, classes=["tick"]
    )
    tick["reftitle"] = "Verified. Go to its source in the claims ledger."
    line = nodes.paragraph("", "", tick, nodes.Text(" "))
    for i, part in enumerate(re.split(r"(‹[^›]*›)", text[2:])):
        line += nodes.inline("", part, classes=["number"] if i % 2 else [])
    return nodes.container("", line, classes=["claim"], ids=[anchor])


def keep_together(app, doctree):
    """Let no line begin with the punctuation that follows a formula."""
    for formula in list(doctree.findall(nodes.math)):
        parent, at = formula.parent, formula.parent.index(formula)
        after = parent[at + 1] if at + 1 < len(parent) else None
        if not isinstance(after, nodes.Text):
            continue
        mark = re.match(r"[-.,;:!?)\]’”]*", after).group()
        if mark:
            parent.replace(after, nodes.Text(after[len(mark) :]))
            kept = nodes.inline("", "", classes=["keep-together"])
            formula.replace_self(kept)
            kept += [formula, nodes.Text(mark)]


def visit_solution(translator, node):
    """A solution is a <details> element, which opens without a script."""
    title = node.pop(0).astext()
    translator.body += [
        translator.starttag(node, "details", CLASS="admonition"),
        f'<summary class="admonition-title">{title}</summary>',
    ]


def depart_solution(translator, node):
    translator.body.append("</details>\n")


def setup(app):
    app.add_node(
        solution_node, override=True, html=(visit_solution, depart_solution)
    )
    app.add_role("lecture", LectureRole())
    app.connect("doctree-read", show_claims)
    app.connect("doctree-read", keep_together)
    app.connect("env-get-updated", number_by_lecture, priority=900)
