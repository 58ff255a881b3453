"""Links of the pages lead somewhere, and the commands that the README shows exist."""

import re
import shlex
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ddl_bench import describe
from ddl_bench.cli.main import app
from tests.conftest import ROOT

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").glob("*.md")]
)
ARCHITECTURE = ROOT / "docs" / "architecture.md"
README = (ROOT / "README.md").read_text()
FENCE = re.compile(r"^```.*?^```", re.M | re.S)
LINK = re.compile(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]+))?\)")
COMMANDS = getattr(typer.main.get_command(app), "commands")  # noqa: B009  # of a click group


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading: lower case, hyphens for spaces."""
    text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    letters = [
        letter for letter in text if letter in " -_" or unicodedata.category(letter)[0] in "LMN"
    ]
    return "".join(letters).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Return the anchors of all headings of a page."""
    text = FENCE.sub("", page.read_text())
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)}


def test_anchors_are_those_of_github() -> None:
    assert anchor("Table 2 of the paper: a factor of 267, and what it is made of") == (
        "table-2-of-the-paper-a-factor-of-267-and-what-it-is-made-of"
    )
    assert anchor("`ddl_bench` and [its parts](x.md)") == "ddl_bench-and-its-parts"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files_and_headings(page: Path) -> None:
    for path, heading in LINK.findall(FENCE.sub("", page.read_text())):
        target = (page.parent / path).resolve() if path else page
        if path.startswith("generated/"):
            continue  # of the API reference, which exists in the site alone: its build checks them
        assert target.exists(), f"{page.name}: no file {path}"
        if heading:
            assert heading in anchors(target), f"{page.name}: no heading {path}#{heading}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_line_begins_with_the_percent_sign_of_a_comment(page: Path) -> None:
    """A number whose sign begins a line is lost on the site, with the rest of that line."""
    assert not re.findall(r"^\s*%.*", FENCE.sub("", page.read_text()), re.M)


def test_every_page_is_in_the_site() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages == set(re.findall(r"^[a-z0-9-]+$", index, re.M))


def options(command: Any) -> set[str]:
    """Return the options of a command, as they are typed."""
    return {name for parameter in command.params for name in parameter.opts} | {"--help"}


def shown_commands() -> list[list[str]]:
    """Return the `ddl-bench` commands of all pages, split into words."""
    shown = []
    for page in PAGES:
        for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", page.read_text(), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                _, found, command = line.removeprefix("$ ").partition("ddl-bench ")
                if found and not line.startswith("git "):
                    shown.append(shlex.split(command, comments=True))
    return shown


def test_commands_of_the_pages_exist_with_their_options() -> None:
    shown = shown_commands()
    assert len(shown) > 15
    for name, *words in shown:
        assert name in COMMANDS, f"ddl-bench {name}"
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= options(COMMANDS[name]), f"ddl-bench {name}: {used}"


def test_the_readme_names_every_command() -> None:
    (sentence,) = re.findall(r"`ddl-bench COMMAND --help` explains (.*?);", README, re.S)
    named = set(re.findall(r"`([a-z-]+)`", sentence))
    assert named == {name for name, command in COMMANDS.items() if not command.hidden}


def test_the_log_of_tuning_names_every_method() -> None:
    text = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
    logged = set(re.findall(r"`([\w-]+)`", text.replace("`ml-*`", "")))
    assert {record["name"] for record in describe.methods()} <= logged


def test_the_tree_of_the_architecture_exists() -> None:
    (tree,) = re.findall(r"^```\n(ddl_bench/.*?)^```", ARCHITECTURE.read_text(), re.M | re.S)
    package = ROOT
    for line in tree.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            package = ROOT / name
        for part in [name, *re.findall(r"[\w/]+\.(?:py|bib)", line)]:
            assert (package / part).exists() or (ROOT / part).exists(), line
