"""The course pages, built from the stored outputs, seen in a browser."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import nbformat
import pytest

from courseware.publish import PAGES, STORED, claims, publish

NOTEBOOKS = sorted(
    path.relative_to(STORED).with_suffix("").as_posix()
    for pattern in ("[0-9]*.ipynb", "week*/[0-9]*.ipynb")
    for path in STORED.glob(pattern)
)
NAMES = NOTEBOOKS + sorted(path.stem for path in PAGES.glob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the built pages; a warning of Sphinx is an error."""
    return publish(STORED, tmp_path_factory.mktemp("site") / "html").parent


@pytest.fixture(scope="module")
def address(site, serve):
    return serve(site)


@pytest.fixture
def tab(browser, address):
    """A page of the browser that notes errors and requests elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.problems = []

    def on_request(request):
        if not request.url.startswith((address, "data:", "blob:")):
            tab.problems.append(f"asks another host: {request.url}")

    def on_response(response):
        if response.status >= 400:
            tab.problems.append(f"{response.status}: {response.url}")

    def on_console(message):
        if message.type in ("error", "warning"):
            tab.problems.append(f"console {message.type}: {message.text}")

    tab.on("request", on_request)
    tab.on("response", on_response)
    tab.on("console", on_console)
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    yield tab
    context.close()


def visit(tab, url):
    """Load a page and wait until its formulas are typeset."""
    tab.goto(url)
    tab.evaluate("async () => window.MathJax?.startup.promise")


def source_text(name):
    """The Markdown of a page or of a notebook, without code spans."""
    if name in NOTEBOOKS:
        cells = nbformat.read(STORED / f"{name}.ipynb", as_version=4).cells
        text = "\n\n".join(
            cell.source for cell in cells if cell.cell_type == "markdown"
        )
    else:
        text = (PAGES / f"{name}.md").read_text("utf-8")
    return re.sub(r"`[^`\n]*`", "", text)


def formulas(text):
    """How many formulas a Markdown text holds."""
    text, displayed = re.subn(r"\$\$.+?\$\$", "", text, flags=re.DOTALL)
    text, blocks = re.subn(
        r"\\begin\{align.*?\\end\{align", "", text, flags=re.DOTALL
    )
    return displayed + blocks + len(re.findall(r"\$[^$]+\$", text))


@pytest.mark.parametrize("name", NAMES)
def test_page_in_browser(name, tab, address):
    visit(tab, f"{address}/{name}.html")
    check_formulas(tab, source_text(name))
    check_figures(tab)
    check_width(tab)
    assert tab.problems == []


# MathJax shows an unknown macro in red and other errors as such.
BROKEN_FORMULAS = """() => [...(window.MathJax?.startup.document.math ?? [])]
    .filter(x => x.typesetRoot.querySelector(
        "mjx-merror, [data-mjx-error], mjx-mtext[style*='color: red']"))
    .map(x => x.math)"""


def check_formulas(tab, text):
    typeset = tab.locator("article mjx-container").count()
    assert typeset == tab.locator("article .math").count()
    assert typeset >= formulas(text)
    assert tab.evaluate(BROKEN_FORMULAS) == []
    # What is left of the formulas outside of MathJax was never parsed.
    prose = tab.evaluate(
        """() => {
            const article = document.querySelector("article").cloneNode(true);
            for (const x of article.querySelectorAll("pre, code, .math"))
                x.remove();
            return article.textContent;
        }"""
    )
    assert re.findall(r"\$[^$\n]+\$|\\[a-zA-Z]+\{|\{\w+\}`", prose) == []
    for label in re.findall(r"^\$\$ *\(([\w-]+)\)", text, re.MULTILINE):
        assert tab.locator(f"#equation-{label} .eqno").count() == 1, label


def check_figures(tab):
    for image in tab.locator("article img").all():
        image.scroll_into_view_if_needed()
        alt = image.get_attribute("alt") or ""
        # Without alt text the name of the file takes its place.
        assert len(alt) > 20 and not alt.endswith(".png"), alt
        assert image.evaluate("async x => (await x.decode(), x.naturalWidth)")
        box = image.bounding_box()
        assert box["width"] > 50 and box["height"] > 20, alt


def check_width(tab):
    overflow = (
        "document.documentElement.scrollWidth"
        " - document.documentElement.clientWidth"
    )
    assert tab.evaluate(overflow) <= 0
    scrolling = tab.evaluate(
        """() => [...document.querySelectorAll("div.cell_input pre")]
            .filter(x => x.scrollWidth > x.clientWidth)
            .map(x => x.textContent)"""
    )
    assert scrolling == [], "code cells of up to 79 columns do not scroll"
    clipped = tab.evaluate(
        """() => [...document.querySelectorAll("div.math")]
            .filter(x => [x, ...x.querySelectorAll("mjx-container")]
                .some(part => part.scrollWidth > part.clientWidth + 1))
            .map(x => x.id || x.textContent)"""
    )
    assert clipped == [], "formulas that are too wide for the page"
    tab.set_viewport_size({"width": 390, "height": 844})
    assert tab.evaluate(overflow) <= 0, "too wide for a telephone"


@pytest.mark.parametrize("name", [*NOTEBOOKS, "notation", "errata"])
def test_search_finds_page(name, tab, address):
    title = re.search(r"^# (.+)", source_text(name), re.MULTILINE)[1]
    words = re.sub(r"[^\w ]", " ", title)
    visit(tab, f"{address}/search.html?q={words}")
    link = tab.locator(f"#search-results a[href*='{name}.html']").first
    link.wait_for(timeout=15_000)
    assert tab.problems == []


def test_solution_opens(tab, address, site):
    pages = [x for x in NOTEBOOKS if "<details" in page(site, x)]
    if not pages:
        pytest.skip("no stored notebook has a solution")
    visit(tab, f"{address}/{pages[0]}.html")
    solution = tab.locator("details.solution").first
    content = solution.locator(":scope > :not(summary)").first
    assert not content.is_visible()
    solution.locator("summary").click()
    assert content.is_visible()


def test_dark_mode(browser, address):
    context = browser.new_context(color_scheme="dark")
    tab = context.new_page()
    visit(tab, f"{address}/index.html")
    colour = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(x) for x in re.findall(r"\d+", colour)[:3]) < 60
    context.close()


# What needs no browser.


def page(site, name):
    return (site / f"{name}.html").read_text("utf-8")


class Links(HTMLParser):
    """Every id of a page, and every address that it links to or loads."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        if tag == "a":
            self.links.add(attributes.get("href"))
        elif tag == "link":
            self.loads.add(attributes.get("href"))
        else:
            self.loads.add(attributes.get("src"))


@pytest.fixture(scope="module")
def links(site):
    """The links of every page, by its path from the root."""
    return {
        path.relative_to(site).as_posix(): Links(path.read_text("utf-8"))
        for path in site.glob("**/*.html")
        if "_static" not in path.parts
    }


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name, site, links):
    here = f"{name}.html"
    for link in filter(None, links[here].links):
        if urlsplit(link).scheme in ("http", "https", "mailto"):
            continue
        target, anchor = urldefrag(urljoin(here, unquote(link)))
        target = target or here
        assert (site / target).is_file(), link
        if anchor and target in links:
            assert anchor in links[target].ids, link


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_loaded_from_elsewhere(name, links):
    for address in filter(None, links[f"{name}.html"].loads):
        assert not urlsplit(address).netloc, address


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_claim_is_in_the_ledger(name, site, links):
    made = claims(nbformat.read(STORED / f"{name}.ipynb", as_version=4))
    ticks = sorted(
        x for x in links[f"{name}.html"].links if x and "-claim-" in x
    )
    assert len(ticks) == len(made) > 0
    ledger = page(site, "claims")
    rows = re.findall(rf"<tr id='{name.replace('/', '-')}-claim-\d+'>", ledger)
    assert len(rows) == len(made)
    assert len(re.findall(r'id="claim-\d+"', page(site, name))) == len(made)


@pytest.mark.parametrize("name", NAMES)
def test_punctuation_stays_with_its_formula(name, site):
    article = page(site, name).partition("<article")[2]
    marked = r'<span class="math[^>]*>[^<]*</span>[.,;:!?)]'
    kept = '<span class="keep-together">' + marked
    assert len(re.findall(kept, article)) == len(re.findall(marked, article))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_can_be_downloaded_as_it_is(name, site):
    copy = site / "_sources" / f"{name}.ipynb"
    assert copy.read_bytes() == (STORED / f"{name}.ipynb").read_bytes()


def test_lectures_are_on_the_home_page(site):
    home = page(site, "index")
    for name in NOTEBOOKS:
        if name.startswith("week"):
            assert f'href="{name}.html"' in home
    assert "Which model learned the physics?" in home


def test_licences_are_named(site):
    assert "CC BY 4.0" in page(site, "index")


def test_no_path_of_this_machine(site):
    home = str(Path(__file__).resolve().parents[2])
    for path in site.glob("**/*.html"):
        assert home not in path.read_text("utf-8"), path
