"""Configure Sphinx, which builds the site of the documentation: `tox -e docs`."""

import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import ddl_bench

DOCS = Path(__file__).parent
ROOT = DOCS.parent
REPOSITORY = "https://github.com/ddl-bench/ddl-bench"
MARKDOWN_LINK = re.compile(r"(\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")

project = "ddl-bench"
author = "The ddl-bench developers"
project_copyright = f"2026, {author}"
release = metadata.version(project)
version = release

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["results", "templates"]
templates_path = ["templates"]
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = f"ddl-bench {release}"
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
}

# Docstrings: sections as numpydoc has them, types from the annotations, `code` in backticks.
default_role = "code"
smartquotes = False  # D'D is a product
suppress_warnings = ["ref.python"]  # a word that names attributes of two classes
autosummary_generate = True
autosummary_context = {"face": list(ddl_bench.HOMES)}  # imported when first used
autodoc_inherit_docstrings = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True

# Pages: links to a heading as GitHub makes them; the tutorial runs in every build.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
nb_execution_mode = "force"
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True
# The tutorial shows its figures whatever backend the environment asks for.
os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"


def site_link(page: Path, target: str) -> str:
    """Return where a relative link leads on the site: to a page, a file, or the repository."""
    path = (page.parent / target).resolve()
    if not path.exists():
        return target  # Sphinx reports it
    if path == ROOT / "README.md":
        return "index.md"
    if path.is_relative_to(DOCS) and path.is_file():
        return path.relative_to(DOCS).as_posix()
    kind = "tree" if path.is_dir() else "blob"
    return f"{REPOSITORY}/{kind}/main/{path.relative_to(ROOT).as_posix()}"


def adapt_page(app: Sphinx, name: str, content: list[str]) -> None:
    """Put the README on the first page, and let links that leave docs/ lead to the repository."""
    page = DOCS / f"{name}.md"
    if not page.is_file():
        return

    def adapt(text: str, origin: Path) -> str:
        return MARKDOWN_LINK.sub(
            lambda match: match[1] + site_link(origin, match[2]) + (match[3] or ""), text
        )

    text = adapt(content[0], page)
    if name == "index":
        readme = ROOT / "README.md"
        text = f"{adapt(readme.read_text(), readme)}\n\n{text}"
    content[0] = text


def protect_formulas(
    app: Sphinx, what: str, name: str, item: Any, options: Any, lines: list[str]
) -> None:
    """Escape what reStructuredText would take for markup in a formula outside of `code`.

    Docstrings are plain text with `code`, sections and doctests: |x| and norm(x)**2 stay as
    they are.
    """
    parts = re.split(r"(`[^`]*`|^ *>>> .*$|^ *\.\.\. .*$)", "\n".join(lines), flags=re.M)
    parts[::2] = [re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
    lines[:] = "".join(parts).split("\n")


def setup(app: Sphinx) -> None:
    """Connect the two adaptations; that of docstrings comes before napoleon reads the sections."""
    app.connect("source-read", adapt_page)
    app.connect("autodoc-process-docstring", protect_formulas, priority=100)
