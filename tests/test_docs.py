"""What the documentation shows is run."""

import json
import re
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Any

import pytest

from ddl_bench import describe
from ddl_bench.check import check
from ddl_bench.groups import gather
from ddl_bench.plan import Overrides
from ddl_bench.results import load_rows
from ddl_bench.run import run
from ddl_bench.table import BRIEF, display, number

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
SPEED = RESULTS / "speed.json"
PAGES = ("README.md", "docs/cifar10-small.md", "docs/cifar10.md", "docs/methods.md", "docs/speed.md")
TABLE = re.compile(r"<!-- table ([\w-]+) -->\n(.*?)\n<!-- /table -->", re.S)  # of a page: its committed run, its text
PAGE = (ROOT / "docs" / "add-a-method.md").read_text()


def table(name: str) -> str:
    """The text of a table in a page; to renew all: `python -c "from tests.test_docs import renew; renew()"`."""
    if name in MADE:
        return MADE[name]()
    shown = display(load_rows(RESULTS / name))
    names = [*BRIEF[1:4], "official (%)", *BRIEF[4:]]
    return str(shown[[it for it in names if it in shown]].to_markdown(index=False, disable_numparse=True))


def renew() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text()
        text = TABLE.sub(lambda it: f"<!-- table {it[1]} -->\n{table(it[1])}\n<!-- /table -->", text)
        (ROOT / page).write_text(text)


def keep_speed(report: str) -> None:
    """Keep what docs/speed.md shows of what `tox -e bench -- --benchmark-json=FILE` wrote, and renew the page."""
    found = json.loads(Path(report).read_text())
    machine = {"cpu": found["machine_info"]["cpu"]["brand_raw"], "date": found["datetime"][:10]}
    runs = [{"name": it["name"], **it["extra_info"]} for it in found["benchmarks"] if "bar" in it["extra_info"]]
    commit = {"commit": found["commit_info"]["id"], "dirty": found["commit_info"]["dirty"]}
    SPEED.write_text(json.dumps(machine | commit | {"runs": runs}, indent=1) + "\n")
    renew()


def speeds() -> str:
    """The table of docs/speed.md."""
    lines = ["| comparison | ours (s) | theirs (s) | theirs / ours |", "| --- | ---: | ---: | ---: |"]
    for it in json.loads(SPEED.read_text())["runs"]:
        name = it["name"].removeprefix("test_").replace("_", " ").replace("[", ": ").replace("]", "")
        lines.append(f"| {name} | {it['ours_s']:.3g} | {it['theirs_s']:.3g} | {it['ratio']:.2f} |")
    return "\n".join(lines)


def methods() -> str:
    """The paragraphs of docs/methods.md: one a method, by family."""
    parts = []
    for family, members in groupby(describe.methods(), key=lambda record: record["family"]):
        parts.append(f"## {family[0].upper()}{family[1:]}")
        for record in members:
            parts += [f"### {record['name']}", paragraph(record)]
    return "\n\n".join(parts)


def paragraph(record: dict[str, Any]) -> str:
    """What the method is, its formula, references, published and committed figures, and what is not as published."""
    formula = f"`{record['formula'].replace('`', '')}`".replace(" ", HELD)
    needs = f"Needs the extra `{record['needs'][0]}`." if record["needs"] else ""
    told = {
        "Reference": "; ".join(f"{reference['citation']} [{reference['key']}]" for reference in record["references"]),
        "Published": record["published"] or "none known",
        "Here": "; ".join(figures(record["name"])) or "no row yet",
        "Differs": record["differs"],
    }
    facts = [f"*{key}*: {text}." for key, text in told.items() if text]
    text = " ".join(filter(None, [record["about"], f"{formula}.", *facts, needs]))
    text = re.sub(r" (?=[-+*>#] )", HELD, text)  # a line that began so would be a list or a heading
    return fill(text, 120, break_long_words=False, break_on_hyphens=False).replace(HELD, " ")


def figures(method: str) -> list[str]:
    """Accuracies of a method in the committed rows that a page shows."""
    found = []
    for page in PAGES:
        for name in (it for it, _ in TABLE.findall((ROOT / page).read_text()) if it not in MADE):
            for group in (it for it in gather(load_rows(RESULTS / name)) if it.cell.method == method and it.ok):
                values, link = group.values("accuracy"), f"[{name}]({page.removeprefix('docs/')})"
                link = link.replace("(README", "(../README")
                label = f"`{group.name}`, " if group.name != method else ""
                seeds = f"{len(values)} seed{'s' * (len(values) > 1)}"
                images = f"{group.ok[0].n_train:,} training images"
                budget = re.sub("^1 epochs", "1 epoch", str(group.cell.budget))
                accuracy = number(values.mean(), values.std(), ".2f")
                found.append(f"{accuracy} % on {group.dataset} ({label}{images}, {budget}, {seeds}; {link})")
    return found


HELD = "\N{NO-BREAK SPACE}"  # stands for a space at which a line must not end
MADE = {"speed": speeds, "methods": methods}  # tables that are not of a run
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_example_method_keeps_the_contract_and_runs(tmp_path: Path) -> None:
    example = tmp_path / "whitened_means.py"
    example.write_text(BLOCKS[0])
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()]
    assert len(lines) <= 30
    assert [finding.detail for finding in check(str(example)) if not finding.held] == []
    command = re.search(r'ddl-bench run --plugin whitened_means.py --methods "(.*)"', PAGE)
    assert command
    from ddl_bench.cli import words

    overrides = Overrides(methods=words(command[1]), plugins=(example,), seeds=[0])
    rows = {row.cell.label: row for row in run("quick", tmp_path / "out", overrides=overrides)}
    assert [row.status for row in rows.values()] == ["ok"] * 3
    assert (rows["whitened-means"].accuracy or 0) > (rows["nearest-mean"].accuracy or 0) > 80


def test_the_example_can_tell_of_itself(tmp_path: Path) -> None:
    path, field = tmp_path / "telling_means.py", "    shrink: float"
    path.write_text(f"from ddl_bench.api import About\n{BLOCKS[0].replace(field, BLOCKS[1] + field)}")
    record = describe.method("whitened-means", (path,))
    assert (record["family"], record["missing"]) == ("baseline", ["my_solver"])


@pytest.mark.parametrize("page", PAGES)
def test_a_table_is_that_of_its_committed_rows(page: str) -> None:
    found = TABLE.findall((ROOT / page).read_text())
    assert found
    for name, text in found:
        assert text == table(name)


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    found: dict[str, Any] = {}
    exec(block, found)
    assert found["codes"].gap < 1e-5
    assert "8 of 17 activations are Q-metric ReLUs" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_a_scikit_learn_classifier_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "forest.py"
    path.write_text(BLOCKS[2])
    findings = check(str(path))
    assert [finding.detail for finding in findings if not finding.held] == []
    assert any("forest" in finding.rule for finding in findings)
