"""The commands of the first pages run, as they are written, on the rows that the README shows."""

import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from reports.ledger import Claim, command_of, lines_named, read_claims
from tests.conftest import ROOT, ddl_bench

pytestmark = pytest.mark.no_cover  # smaller tests cover it

PAGES = [ROOT / "README.md", ROOT / "docs" / "getting-started.md"]
# what a page leaves to the reader
PLACES = {"FOLDER": "public", "LABEL@SEED": "logistic@0", "NAME": "logistic", "[FOLDER]": ""}
READ_ROWS = ("show", "compare", "power", "status", "runs", "clean", "publish", "report")
LISTS = ("methods", "datasets", "tracks", "doctor")


def commands_of(page: Path) -> list[str]:
    """Return the commands of a page, in its text and in its blocks, each once."""
    text = page.read_text()
    found = re.findall(r"`ddl-bench ([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S):
        found += re.findall(r"^ddl-bench (.*?)(?: +#.*)?$", block, re.M)
    return list(dict.fromkeys(found))


CASES = [
    (page.name, command)
    for page in PAGES
    for command in commands_of(page)
    if command.split()[0] in (*READ_ROWS, *LISTS) and "--serve" not in command  # which never ends
]


def test_the_pages_have_commands() -> None:
    verbs = {command.split()[0] for _, command in CASES}
    assert {*READ_ROWS, *LISTS} <= verbs


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which results/quick holds the rows of the README."""
    for name, folder in (("quick", "quick"), ("quick", "old"), ("quick-5-seeds", "new")):
        shutil.copytree(ROOT / "docs" / "results" / name, tmp_path / "results" / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize(("page", "command"), CASES)
def test_a_command_of_a_page_runs(page: str, command: str) -> None:
    words = [PLACES.get(word, word) for word in shlex.split(command)]
    assert ddl_bench(words), page


@pytest.mark.usefixtures("results")
def test_the_first_run_is_planned() -> None:
    (first,) = [each for each in commands_of(PAGES[1]) if each.startswith("run --methods")]
    text = ddl_bench([*shlex.split(first), "--dry-run"])
    for method in ("nearest-mean", "logistic", "plainnet-3"):
        assert re.search(rf"^{method} +digits +0 ", text, re.M)


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize("claim", [claim for claim in read_claims() if command_of(claim)])
def test_the_command_of_a_claim_makes_the_lines_that_it_compares(claim: Claim) -> None:
    program, *words = shlex.split(command_of(claim))
    if program == "python":
        assert find_spec(words[1]) is not None
        return
    words = [str(ROOT / word) if word.endswith(".toml") else word for word in words]
    text = ddl_bench([*words, "--dry-run"])
    for line in lines_named(claim):
        for seed in range(5):
            assert re.search(rf"^{re.escape(line)} +\S+ +{seed} ", text, re.M), line
    assert re.search(r"^\d+ cells?$", text, re.M)
