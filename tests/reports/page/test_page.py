"""What the page holds, without a browser."""

import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ddl_bench import registry
from ddl_bench.describe import method
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import load_rows
from ddl_bench.results.stats.welch import Sample, welch
from ddl_bench.results.table import cautions_of, foot_of
from reports.page import words
from reports.page.abouts import abouts
from reports.page.curves import curve_of
from reports.page.looks import LOOKS, look_of
from reports.page.pairs import pairs_of
from reports.page.render import HERE, LIBRARY, LIVE, SCRIPTS
from reports.page.values import Texts, commands_of, known, numbers
from tests.conftest import ROOT, make_cell, make_row, put

LARGEST_PAGE_BYTES = 2_000_000  # of 1,000 rows
SHA256 = {  # of the files in the packages d3 7.9.0 and @observablehq/plot 0.6.17 of npm
    "d3-7.9.0.min.js": "f2094bbf6141b359722c4fe454eb6c4b0f0e42cc10cc7af921fc158fceb86539",
    "plot-0.6.17.umd.min.js": "4358086467740777dd788d6b27a95cebdbaefdd50c730a3060117073bd7134cb",
}
NUMBERS = ("accuracy", "train_s", "test_s_per_image", "test_latency_s", "sparsity", "passes")
VOID = ("meta", "input")  # elements without an end


class Page(HTMLParser):
    """Collect what a page refers to, its IDs, and its data; fail at elements that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.data: dict[str, Any] = {}
        self.n_scripts = 0
        self._open: list[tuple[str, str]] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        given = {name: value or "" for name, value in attrs}
        self.links += [given[name] for name in ("src", "href", "action", "data") if name in given]
        self.ids += [given[name] for name in ("id",) if name in given]
        self.n_scripts += tag == "script"
        if tag not in VOID:
            self._open.append((tag, given.get("id", "")))

    def handle_endtag(self, tag: str) -> None:
        """Close an element."""
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        """Read the data of the page, or a text."""
        if self._open and self._open[-1] == ("script", "data"):
            self.data = json.loads(data)
        elif self._open and self._open[-1][0] not in ("script", "style"):
            self.texts.append(data)


@pytest.fixture(scope="module")
def read(page: str) -> Page:
    return Page(page)


def test_the_page_stands_alone(page: str, read: Page) -> None:
    assert all(link.startswith("#") for link in read.links)
    assert {link[1:] for link in read.links} <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))
    assert "default-src 'none'" in page, "the browser itself forbids every request"
    assert not re.search(r"@import|url\((?!#)", (HERE / "page.css").read_text())


def test_names_and_reasons_are_text(page: str, read: Page, hostile: str) -> None:
    assert read.n_scripts == 1 + len(LIBRARY) + len(SCRIPTS)
    assert hostile in read.data["lines"]["name"]
    assert hostile in read.texts, "as below the best"
    assert "<script>alert" not in page
    assert "<b>torch" not in page
    assert any("needs <b>torch</b>" in text for text in read.data["texts"])


def test_equal_rows_make_equal_pages(
    run: Path, page: str, make_page: Callable[[Path], str]
) -> None:
    assert make_page(run) == page


def test_the_top_says_what_was_compared_and_what_follows(read: Page) -> None:
    text = " ".join(" ".join(read.texts).split())
    assert "5 methods on digits, x.npz, in 30 runs, of which 24 ended well." in text
    assert "24 minutes" not in text, "19 runs of a minute"
    assert "19 minutes of computing on Xeon (1 thread a run)." in text
    assert "26 November 2026 to 27 November 2026." in text
    assert "Most accurate on digits" in text
    assert "points behind the best, in nominally 80 of 100 such runs" in text
    assert not re.search(r"Splits\(|\b[0-9a-f]{12,}\b|\d{4}-\d\d-\d\dT", text)


def cheapest_of(lines: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Return the cheapest of lines by what they are, from means and spreads of their costs."""
    empty = {"train_s": 1.0, "n_params": 1.0, "test_s_per_image": 1e-6}
    spreads: dict[str, Any] = {f"{field}_sd": 0.0 for field in empty}
    spreads |= {"test_s_per_image_iqr": np.nan, "machine": "cpu"}
    summary = [empty | spreads | {"label": label} | given for label, given in lines.items()]
    titles = [title for _, title, _ in words.CHEAPEST]
    texts = pd.DataFrame("1", index=range(len(lines)), columns=titles)
    stated = words.cheapest_of(list(lines), summary, texts)
    return {each.what: [cost.line for cost in each.costs] for each in stated}


def test_all_that_tie_are_the_smallest() -> None:
    sizes = {"a": {"n_params": 5.0}, "b": {"n_params": 9.0}, "c": {"n_params": 5.0}}
    assert cheapest_of(sizes) == {"smallest": ["a", "c"]}


def test_times_within_their_spreads_crown_no_winner() -> None:
    times = {
        "a": {"train_s": 4.0, "train_s_sd": 1.0},
        "b": {"train_s": 3.0, "train_s_sd": 1.0},
        "c": {"train_s": 9.0, "train_s_sd": 1.0},
    }
    assert cheapest_of(times) == {"among the fastest to train": ["b", "a"]}
    assert cheapest_of({name: times[name] for name in "ab"}) == {}, "all tie"
    assert cheapest_of({name: times[name] for name in "ac"}) == {"fastest to train": ["a"]}
    slow = {"test_s_per_image": 3e-6, "test_s_per_image_iqr": 6e-6}
    assert cheapest_of({"a": {}, "b": slow}) == {}, "the repetitions spread"


def test_times_that_are_marked_or_of_two_machines_crown_no_winner() -> None:
    times = {"a": {"train_s": 3.0}, "b": {"train_s": 9.0}}
    assert cheapest_of(times) == {"fastest to train": ["a"]}
    marked = times | {"b": {"train_s": 9.0, "train_s_mark": "†"}}
    assert cheapest_of(marked) == {}
    elsewhere = times | {"b": {"train_s": 9.0, "machine": "another cpu"}}
    assert cheapest_of(elsewhere) == {}


def test_care_is_asked_by_cautions_alone(run: Path) -> None:
    groups = gather(load_rows(run))
    cautions = cautions_of(groups)
    assert cautions
    assert cautions in foot_of(groups)
    assert "how many points" not in cautions
    assert "80 of 100" not in cautions
    unranked = gather([row for row in load_rows(run) if row.cell.seed < 3])
    assert "a verdict needs 5 seeds" in cautions_of(unranked)


def test_a_spread_of_the_arithmetic_alone_is_zero() -> None:
    shares = (0.1 + 0.2, 0.3, 0.3)
    rows = [
        make_row(make_cell("a", seed), status="ok", n_test=100, accuracy=100 * share)
        for seed, share in enumerate(shares)
    ]
    values = json.loads(known(gather(rows), {}, lambda row: {}).json)
    assert values["measured"]["accuracy"]["sd"] == [0]


def test_no_text_of_a_line_shows_nan(read: Page) -> None:
    texts = [*read.data["texts"], *read.texts]
    for column in read.data["measured"].values():
        texts += column["text"]
    assert not [text for text in texts if re.search(r"\b(nan|none|NaT|<NA>)\b", text)]


def test_the_interval_of_a_column_is_that_of_its_seeds(run: Path, read: Page) -> None:
    (group,) = [each for each in gather(load_rows(run)) if each.name == "plainnet-3"]
    place = read.data["lines"]["name"].index("plainnet-3")
    values = group.values("train_s")
    column = read.data["measured"]["train_s"]
    half = 2.7764 * values.std() / 5**0.5  # Student's t with 4 degrees of freedom
    assert column["mean"][place] == pytest.approx(values.mean(), rel=1e-5)
    assert column["high"][place] == pytest.approx(values.mean() + half, rel=1e-4)
    assert column["each"][place] == pytest.approx(values.tolist(), rel=1e-5)
    error = read.data["measured"]["error"]
    accuracy = read.data["measured"]["accuracy"]
    assert error["low"][place] == pytest.approx(100 - accuracy["high"][place], abs=1e-3)


def test_lines_of_the_paper_without_ours_are_folded(make_page: Callable[[Path], str]) -> None:
    page = make_page(ROOT / "docs" / "results" / "paper-recipe")
    Page(page)
    table, _, rest = page.partition("28 lines of the paper that no row of this page belongs beside")
    assert table.count('<th scope="row">') == 4
    assert '<table><caption class="hidden">Table 1, the rest' in rest


def test_pairs_hold_together_and_agree_with_welch_for_two(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for seed in range(4):
        for label, share in (("a", 0.9), ("b", 0.8)):
            put(tmp_path, make_cell(label, seed), rng.random(300) < share)
    groups = gather(load_rows(tmp_path))
    pairs = pairs_of(groups)
    assert pairs is not None
    samples = [Sample.of(group.values("accuracy").tolist()) for group in groups]
    alone = welch(samples[0], samples[1])
    assert pairs["halves"][0] == pytest.approx((alone.high - alone.low) / 2, rel=1e-3)
    for seed in range(4):
        put(tmp_path, make_cell("c", seed), rng.random(300) < 0.7)
    together = pairs_of(gather(load_rows(tmp_path)))
    assert together is not None
    assert together["halves"][0] > 1.1 * pairs["halves"][0]
    assert pairs_of(gather(load_rows(tmp_path)[:1])) is None


def test_a_curve_is_thinned_and_averaged_as_far_as_all_seeds_went() -> None:
    rows = []
    stored = {}
    for seed, n_steps in enumerate((40, 50)):
        row = make_row(make_cell("a", seed), status="ok", passes=float(n_steps), n_train=100)
        steps = np.arange(1.0, n_steps + 1)
        stored[row.cell.id] = {
            "curve_step": steps,
            "curve_seconds": steps * (1 + seed),
            "curve_accuracy": steps + 10 * seed,
            "curve_split": np.array("validation"),
        }
        rows.append(row)
    curve = curve_of(rows, lambda row: stored[row.cell.id], 10)
    assert curve is not None
    assert len(curve["mean"]) == 10
    assert curve["passes"][-1] == 40
    assert curve["seconds"][-1] == 60
    assert [curve[name][-1] for name in ("low", "mean", "high")] == [40, 45, 50]
    assert curve_of(rows, lambda row: {}, 10) is None
    for arrays in stored.values():
        del arrays["curve_step"]
    assert curve_of(rows, lambda row: stored[row.cell.id], 10) == curve


def test_commands_that_differ_in_the_seed_are_kept_once(run: Path) -> None:
    groups = gather(load_rows(run))
    texts = Texts()
    (group,) = [each for each in groups if each.name == "sdl" and each.dataset == "digits"]
    commands = commands_of(group, texts)
    assert commands == [[0, [0, 1, 2, 3, 4]]]
    assert texts.all == ["ddl-bench run quick --methods sdl --seeds {seed} <again>"]


def test_abouts_are_those_of_the_classes() -> None:
    names = ("sdl", "lista", "nearest-mean", "detrame-plainnet", "dpl")
    written = abouts([*names, "unknown"])
    assert written.keys() == set(names)
    for name in names:
        record = method(name)
        about = written[name]
        for field in ("about", "family", "formula", "published", "differs"):
            assert about[field] == record[field]
        assert about["references"] == [each["citation"] for each in record["references"]]


def test_every_family_has_a_look_of_its_own() -> None:
    families = {method(name)["family"] for name in registry.entries(registry.METHODS)}
    assert families <= LOOKS.keys()
    assert len(set(LOOKS.values())) == len(LOOKS)
    assert len({look.shape for look in LOOKS.values()}) == len(LOOKS), "legible without colours"
    assert look_of("mine") == look_of("mine")


@pytest.mark.parametrize(("kind", "paper"), [("light", "#fcfbf9"), ("dark", "#121417")])
def test_looks_stand_out_from_the_page(kind: str, paper: str) -> None:
    assert f"--paper: {paper}" in (HERE / "page.css").read_text()
    for family, look in LOOKS.items():
        assert contrast(getattr(look, kind), paper) > 3, family


def contrast(colour: str, other: str) -> float:
    """Compute the ratio of contrast of WCAG."""
    lights = sorted(luminance(each) for each in (colour, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    """Compute the relative luminance of #rrggbb."""
    values = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("name", LIBRARY)
def test_the_library_is_the_published_one_with_its_licence(name: str) -> None:
    content = (HERE / "library" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256[name]
    title = name.partition("-")[0]
    licence = (HERE / "library" / f"{title}-LICENSE.txt").read_text()
    assert "Permission to use, copy, modify" in licence
    version = re.search(r"-([\d.]+)\.(umd\.)?min", name)
    assert version is not None
    assert version[1].encode() in content[:100]
    assert b"</script" not in content


def test_every_script_of_the_folder_is_in_the_page() -> None:
    assert {path.stem for path in (HERE / "scripts").glob("*.js")} == {*SCRIPTS, LIVE}


def test_a_thousand_rows_make_less_than_two_megabytes() -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(1.0, 41)
    curve = {
        "curve_seconds": rng.random(40).cumsum(),
        "curve_accuracy": 100 * rng.random(40),
        "curve_step": steps,
        "curve_split": np.array("validation"),
    }
    rows = []
    for place in range(1_000):
        values = {name: 100 * rng.random() for name in NUMBERS}
        command = f"ddl-bench run quick --methods m{place} --seeds 0 {'--option value ' * 9}"
        cell = make_cell(f"method-{place}", dataset=f"set-{place % 10}")
        rows.append(
            make_row(cell, status="ok", n_test=100, provenance={"command": command}, **values)
        )
    page = known(gather(rows), {}, lambda row: curve)
    library = sum((HERE / "library" / name).stat().st_size for name in LIBRARY)
    assert len(page.json) + library < 0.95 * LARGEST_PAGE_BYTES, "the rest is its style and scripts"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "1 second"),
        (59.6, "60 seconds"),
        (150, "2.5 minutes"),
        (3600, "60 minutes"),
        (9000, "2.5 hours"),
        (86400 * 120, "120 days"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_days_are_for_people() -> None:
    assert words.days_of(["2026-11-27T10:17:21.082+00:00", "0001"]) == "27 November 2026"
    assert words.days_of(["2026-11-27T10:17:21", "2026-12-01T00:00:00+00:00"]) == (
        "27 November 2026 to 1 December 2026"
    )
    assert words.days_of(["x", ""]) == ""


def test_numbers_are_short_and_whole_ones_exact() -> None:
    assert numbers(np.array([1234567.0, 0.123456789, np.nan])) == [1234567, 0.123457, None]
