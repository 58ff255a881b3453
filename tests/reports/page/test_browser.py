"""The page in a browser: what a reader does by pointer and keyboard."""

import csv
import io
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddl_bench.cli.serve import Followed, Server
from reports.page.live import live_page
from tests.conftest import make_cell, put

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")

CHROMIUM = os.environ.get("DDL_BENCH_CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
LIMIT_MS = 10_000
DRAWN = "html[data-drawn=all]"
WIDE = {"width": 1400, "height": 1000}
NARROW = {"width": 400, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(page)
    return path


class Reader:
    """A reader with a page open, who notes each error and each request."""

    def __init__(self, context: Any, path: Path) -> None:
        self.path = path
        self.tab = context.new_page()
        self.tab.set_default_timeout(LIMIT_MS)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.tab.on("console", lambda message: self.errors.append(message.text))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("request", lambda request: self.requests.append(request.url))

    def open(self, fragment: str = "") -> None:
        """Open the page, at a view."""
        self.tab.goto(f"{self.path.as_uri()}{fragment}")
        self.tab.wait_for_selector(DRAWN)

    def settle(self) -> None:
        """Wait until a change is drawn."""
        self.tab.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
        )
        self.tab.wait_for_selector(DRAWN)

    def methods(self) -> list[str]:
        """Return the methods of the table, in their order."""
        names = self.tab.locator("#lines tbody th").all_inner_texts()
        return [name.strip() for name in names]

    def labels(self) -> list[str]:
        """Return what a screen reader says of the points of the scatter."""
        marks = self.tab.locator("#scatter .mark").all()
        return [mark.get_attribute("aria-label") for mark in marks]


@pytest.fixture
def reader(browser: Any, file: Path, request: pytest.FixtureRequest) -> Iterator[Reader]:
    options = {"viewport": WIDE} | getattr(request, "param", {})
    context = browser.new_context(**options)
    someone = Reader(context, file)
    yield someone
    context.close()
    assert someone.errors == []
    outside = [url for url in someone.requests if not url.startswith(("file:", "blob:"))]
    assert outside == []


def test_axes_are_chosen_and_labelled(reader: Reader) -> None:
    reader.open()
    assert any("accuracy (%) 9" in label for label in reader.labels())
    reader.tab.select_option("#x", "test_s_per_image")
    reader.tab.select_option("#y", "error")
    reader.tab.select_option("#y-scale", "log")
    reader.settle()
    svg = reader.tab.locator("#scatter svg")
    assert svg.get_attribute("aria-label") == "error (%) against test (µs/image): 4 methods"
    assert "Logarithmic: test (µs/image), error (%)." in reader.tab.inner_text("#scatter-note")
    assert "Pareto front" in reader.tab.inner_text("#scatter-note")
    assert "y=error" in reader.tab.url


def test_a_part_of_a_count_is_hollow_and_not_on_the_front(reader: Reader) -> None:
    """The made-up `sdl` has the fewest operations, without those of its pursuits."""
    reader.open()
    reader.tab.select_option("#x", "flops_per_image")
    reader.settle()
    hollow = reader.tab.locator('#scatter .mark[fill="var(--paper)"]')
    assert hollow.evaluate_all("marks => marks.map(mark => mark.dataset.line)") == ["sdl"]
    note = "Hollow marks are lower limits, without pursuits, and not on the front."
    assert note in reader.tab.inner_text("#scatter-note")
    front = reader.tab.locator('#scatter [stroke-dasharray="2 4"] path')
    start = front.evaluate("path => path.getPointAtLength(0).x")
    first = hollow.evaluate("mark => mark.transform.baseVal[0].matrix.e")
    assert start > first
    reader.tab.select_option("#x", "n_params")
    reader.settle()
    assert hollow.count() == 0
    assert "Hollow" not in reader.tab.inner_text("#scatter-note")


def test_one_filter_holds_for_figures_and_table(reader: Reader, hostile: str) -> None:
    reader.open()
    assert len(reader.methods()) == 5
    reader.tab.fill("#search", "LISTA")
    reader.settle()
    assert reader.methods() == ["lista"]
    assert "1 of 5 methods" in reader.tab.inner_text("#count")
    assert "not_installed" in reader.tab.inner_text("#lines tbody")
    assert "needs <b>torch</b>" in reader.tab.inner_text("#lines tbody"), "as text"
    assert reader.tab.locator("#scatter .mark").count() == 0
    reader.tab.click("#reset")
    reader.settle()
    reader.tab.select_option("#status", "incomplete")
    reader.settle()
    assert reader.methods() == ["spams"]
    reader.tab.select_option("#status", "all")
    reader.tab.get_by_role("button", name="plain networks").click()
    reader.settle()
    assert reader.methods() == ["plainnet-3"]
    reader.tab.click("#reset")
    reader.tab.select_option("#dataset", "x.npz")
    reader.settle()
    assert reader.methods() == ["sdl"]
    assert reader.tab.locator(".finding:visible").count() == 1


def test_the_table_sorts_the_best_end_first_and_empty_cells_last(
    reader: Reader, hostile: str
) -> None:
    reader.open()
    reader.tab.get_by_role("button", name="parameters", exact=True).click()
    reader.settle()
    assert reader.methods() == ["sdl", "spams", "plainnet-3", hostile, "lista"]
    assert reader.tab.locator("#lines th[aria-sort=ascending]").inner_text() == "parameters"
    reader.tab.get_by_role("button", name="parameters", exact=True).click()
    reader.settle()
    assert reader.methods() == [hostile, "plainnet-3", "spams", "sdl", "lista"]
    reader.tab.get_by_role("button", name="accuracy (%)", exact=True).click()
    reader.settle()
    assert reader.methods()[0] == "plainnet-3"


def test_columns_are_chosen(reader: Reader) -> None:
    reader.open()
    reader.tab.click("#table summary")
    reader.tab.get_by_label("family", exact=True).check()
    reader.tab.get_by_label("parameters", exact=True).uncheck()
    reader.settle()
    heads = reader.tab.locator("#lines thead th").all_inner_texts()
    assert "family" in heads
    assert "parameters" not in heads


def test_a_row_is_pinned_with_its_seeds_source_and_command(browser: Any, file: Path) -> None:
    context = browser.new_context(viewport=WIDE, permissions=["clipboard-read", "clipboard-write"])
    reader = Reader(context, file)
    reader.open()
    reader.tab.locator("#lines").get_by_role("button", name="spams", exact=True).click()
    reader.settle()
    text = reader.tab.inner_text("#details")
    assert "longer than 60 s" in text
    assert "4 OF 5 SEEDS" in text.upper()
    assert "Mairal et al., Online Learning" in text
    command = "ddl-bench run quick --methods spams --seeds 0-4 <again>"
    assert reader.tab.inner_text("#details code") == command
    reader.tab.get_by_role("button", name="Copy command").click()
    reader.tab.get_by_text("Copied").wait_for()
    assert reader.tab.evaluate("navigator.clipboard.readText()") == command
    assert reader.tab.evaluate("document.activeElement.id") != "details-title", "the button"
    assert "line=spams" in reader.tab.url
    reader.tab.get_by_role("button", name="Close").click()
    reader.settle()
    assert reader.tab.locator("#details article").count() == 0
    assert reader.errors == []
    context.close()


def test_a_pointer_shows_value_spread_and_seeds(reader: Reader) -> None:
    reader.open()
    mark = reader.tab.locator('#scatter .mark[data-line="plainnet-3"]')
    mark.hover()
    text = reader.tab.inner_text("#tooltip")
    assert text.startswith("plainnet-3")
    assert re.search(r"accuracy \(%\): 9\d\.\d\d ± \d\.\d\d.*\(95 %: ", text)
    assert "5 seeds; plain networks" in text
    mark.click()
    reader.settle()
    assert reader.tab.inner_text("#details h2") == "plainnet-3"


def test_points_are_met_by_keyboard(reader: Reader) -> None:
    reader.open()
    reader.tab.locator("#scatter .mark[tabindex='0']").focus()
    first = reader.tab.inner_text("#tooltip b")
    reader.tab.keyboard.press("ArrowRight")
    second = reader.tab.inner_text("#tooltip b")
    assert first != second
    reader.tab.keyboard.press("Enter")
    reader.settle()
    assert reader.tab.inner_text("#details h2") == second
    reader.tab.keyboard.press("Escape")


def test_a_view_is_linked_to(reader: Reader, hostile: str) -> None:
    reader.open()
    reader.tab.select_option("#x", "n_params")
    reader.tab.fill("#search", "s")
    reader.tab.click("#ranking .mark[data-line=sdl]")
    reader.settle()
    url = reader.tab.url
    fragment = url[url.index("#") :]
    reader.tab.goto("about:blank")
    reader.open(fragment)
    assert reader.tab.input_value("#x") == "n_params"
    assert reader.tab.input_value("#search") == "s"
    assert reader.tab.inner_text("#details h2") == "sdl"
    reader.open("#x=nothing&data=nowhere&family=none&line=&columns=")
    assert len(reader.methods()) == 5, "a view of another report is as usual"


def test_links_within_the_page_keep_the_view(reader: Reader) -> None:
    reader.open("#find=sdl")
    reader.tab.get_by_role("link", name="Table").click()
    assert "find=sdl" in reader.tab.url
    assert "at=table" in reader.tab.url
    assert reader.tab.evaluate("document.activeElement.id") == "table"
    reader.tab.goto("about:blank")
    reader.open("#at=table")
    top = reader.tab.evaluate("document.querySelector('#table').getBoundingClientRect().top")
    assert 0 <= top < 200, "below the filter"


def test_curves_have_bands_against_seconds_passes_and_samples(reader: Reader) -> None:
    reader.open()
    for over, title in (("passes", "passes"), ("samples", "training images seen")):
        reader.tab.select_option("#over", over)
        reader.settle()
        assert title in reader.tab.inner_text("#curves-note")
        assert reader.tab.locator("#curves g.bands path").count() == 4


def test_pairs_are_a_matrix_with_intervals(reader: Reader, hostile: str) -> None:
    reader.open()
    heads = reader.tab.locator("#matrix thead th").all_inner_texts()
    assert len(heads) == 3, "of the lines with as many seeds as a verdict needs"
    best = reader.tab.locator("#matrix tbody tr").first
    assert re.match(r"\+\d+\.\d\d", best.locator("td.better").last.inner_text())
    reader.tab.click("#comparisons summary")
    reader.tab.locator("#comparisons td", has_text="plainnet-3 is more accurate").first.wait_for()


def test_csv_and_latex_hold_what_is_shown(reader: Reader, hostile: str) -> None:
    reader.open("#sort=-n_params")
    with reader.tab.expect_download() as waiting:
        reader.tab.click("#csv")
    lines = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text())))
    assert [line["method"] for line in lines] == reader.methods()
    assert float(lines[0]["parameters"]) == 1_000_000
    assert float(lines[0]["accuracy (%) sd"]) > 0
    with reader.tab.expect_download() as waiting:
        reader.tab.click("#latex")
    text = Path(waiting.value.path()).read_text()
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert "\\textless{}script\\textgreater{}" in text
    assert "\\textbf{" in text
    body = text[text.index("\\midrule") : text.index("\\bottomrule")].splitlines()[1:]
    assert len({line.replace("\\&", "").count("&") for line in body}) == 1


def test_a_formula_is_no_formula_to_a_spreadsheet(reader: Reader) -> None:
    reader.open()
    assert reader.tab.evaluate("csvCell('=1+1')") == "'=1+1"
    assert reader.tab.evaluate("csvCell(-1)") == "-1"


def test_an_axis_spans_four_standard_errors_and_logarithms_start_where_they_help(
    reader: Reader,
) -> None:
    reader.open()
    values = "[{mean: 94.18, low: 93.5, high: 94.8}, {mean: 94.26, low: 93.6, high: 94.9}]"
    low, high = reader.tab.evaluate(f"axisOf({values}, 'auto').domain")
    error = (94.8 - 93.5) / 2 / 1.96
    assert high - low >= 4 * error
    assert low < 93.5
    assert high > 94.9
    spread = "[{mean: 1, low: null, high: null}, {mean: 100, low: null, high: null}]"
    assert reader.tab.evaluate(f"axisOf({spread}, 'auto').type") == "log"
    assert reader.tab.evaluate(f"axisOf({values}, 'auto').type") == "linear"


@pytest.mark.parametrize("reader", [{"color_scheme": "dark"}], indirect=True)
def test_dark(reader: Reader) -> None:
    reader.open()
    ground = reader.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(18, 20, 23)"
    fill = reader.tab.evaluate("getComputedStyle(document.querySelector('.mark')).fill")
    assert fill != "rgb(0, 0, 0)"


@pytest.mark.parametrize("reader", [{"viewport": NARROW}, {"viewport": WIDE}], indirect=True)
def test_nothing_is_wider_than_the_page(reader: Reader) -> None:
    reader.open("#line=sdl")
    width = reader.tab.evaluate("document.documentElement.scrollWidth")
    assert width == reader.tab.evaluate("innerWidth")


@pytest.mark.parametrize("reader", [{}, {"color_scheme": "dark"}], indirect=True)
def test_axe_finds_no_serious_fault(reader: Reader) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
    reader.open("#line=sdl")
    reader.tab.click("#comparisons summary")
    found = axe.Axe().run(reader.tab).response["violations"]
    faults = {each["id"]: each["nodes"][0]["html"] for each in found}
    assert faults == {}


def test_a_run_without_any_result_says_why(
    browser: Any, tmp_path: Path, make_page: Callable[[Path], str]
) -> None:
    put(tmp_path, make_cell("sdl"), status="crashed", reason="killed by signal 11")
    path = tmp_path / "index.html"
    path.write_text(make_page(tmp_path))
    context = browser.new_context(viewport=WIDE)
    reader = Reader(context, path)
    reader.open()
    assert "no run ended well" in reader.tab.inner_text(".finding")
    assert "crashed: killed by signal 11" in reader.tab.inner_text("#lines")
    reader.tab.get_by_role("button", name="sdl").click()
    reader.settle()
    assert "killed by signal 11" in reader.tab.inner_text("#details")
    context.close()
    assert reader.errors == []


def test_all_data_sets_are_shown_together(reader: Reader) -> None:
    reader.open()
    reader.tab.select_option("#dataset", "all data sets")
    reader.settle()
    assert len(reader.methods()) == 6
    assert "x.npz" in reader.tab.inner_text("#lines")
    assert any(label.startswith("sdl on x.npz") for label in reader.labels())
    assert "Choose one data set" in reader.tab.inner_text("#pairs")
    reader.tab.locator("#lines button[data-of='x.npz']").click()
    reader.settle()
    assert "on x.npz" in reader.tab.inner_text("#details header")
    assert reader.tab.locator("#lines tr.chosen").count() == 1


def test_print_unfolds_what_is_folded(reader: Reader) -> None:
    reader.open()
    reader.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert reader.tab.locator("details:not(.menu):not([open])").count() == 0
    assert reader.tab.locator("#comparisons td").count() > 0
    reader.tab.emulate_media(media="print")
    assert reader.tab.locator("#filters").is_hidden()


def test_a_page_that_follows_a_run_shows_new_rows_and_keeps_the_view(
    browser: Any, tmp_path: Path
) -> None:
    put(tmp_path, make_cell("sdl"), np.arange(20) < 15)
    with Server(Followed(tmp_path, live_page), 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        context = browser.new_context(viewport=WIDE)
        tab = context.new_page()
        errors: list[str] = []
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(f"{server.url}#sort=title")
        tab.get_by_text("1 done").wait_for()
        put(tmp_path, make_cell("lista"), np.arange(20) < 16)
        tab.locator("#lines").get_by_role("button", name="lista").wait_for()
        assert tab.url.endswith("#sort=title")
        context.close()
        server.shutdown()
        thread.join()
    assert errors == []


def captions(reader: Reader) -> list[str]:
    """Return what is written below the two figures."""
    return [reader.tab.inner_text(f"#{figure}-note") for figure in ("ranking", "scatter")]


@pytest.mark.parametrize(
    ("seeds", "words", "absent"),
    [
        ({"sdl": 1, "lista": 2}, ["of these networks alone"], "new trainings and"),
        ({"sdl": 5, "lista": 4}, ["for new trainings and new test images"], "networks alone"),
        ({"sdl": 5, "lista": 1}, ["new test images, or of fewer than 3 seeds over test"], "of 2"),
    ],
)
def test_captions_say_what_the_bars_are_of(
    browser: Any,
    tmp_path: Path,
    make_page: Callable[[Path], str],
    seeds: dict[str, int],
    words: list[str],
    absent: str,
) -> None:
    rng = np.random.default_rng(0)
    for label, number in seeds.items():
        for seed in range(number):
            answers = rng.random(100) < 0.8
            put(tmp_path / "run", make_cell(label, seed), answers, n_params=100, train_s=1.0 + seed)
    path = tmp_path / "index.html"
    path.write_text(make_page(tmp_path / "run"))
    context = browser.new_context(viewport=WIDE)
    reader = Reader(context, path)
    reader.open("#x=n_params")
    for caption in captions(reader):
        assert all(part in caption for part in words)
        assert absent not in caption
    context.close()
    assert reader.errors == []


@pytest.mark.parametrize("figure", ["#scatter", "#ranking", "#curves"])
def test_enter_goes_to_the_details_and_escape_back(reader: Reader, figure: str) -> None:
    reader.open()
    reader.tab.locator(f"{figure} .mark[data-line=spams]").focus()
    reader.tab.keyboard.press("Enter")
    reader.settle()
    assert reader.tab.evaluate("document.activeElement.id") == "details-title"
    reader.tab.wait_for_function(  # the page scrolls smoothly
        "() => document.activeElement.getBoundingClientRect().bottom < innerHeight"
    )
    reader.tab.keyboard.press("Escape")
    reader.settle()
    assert reader.tab.locator("#details article").count() == 0
    assert reader.tab.evaluate("document.activeElement.dataset.line") == "spams"
    assert reader.tab.evaluate(f"Boolean(document.activeElement.closest('{figure}'))")


def test_escape_closes_a_menu_before_the_details_and_no_field(reader: Reader) -> None:
    reader.open()
    reader.tab.locator("#lines button.name[data-line=spams]").click()
    reader.settle()
    reader.tab.click("#table summary")
    reader.tab.keyboard.press("Escape")
    reader.tab.focus("#search")
    reader.tab.keyboard.press("Escape")
    reader.settle()
    assert reader.tab.locator("#details article").count() == 1
    assert reader.tab.locator(".menu[open]").count() == 0
    reader.tab.focus("#details-title")
    reader.tab.keyboard.press("Escape")
    reader.settle()
    assert reader.tab.locator("#details article").count() == 0
    assert reader.tab.evaluate("document.activeElement.matches('#lines button.name')")


LONG = [f"detrame-plainnet-3 (code=relu, lr={rate}, epochs=10)" for rate in ("0.1", "0.01")]
PIXELS = "dpl[features=pixels]"


@pytest.fixture(scope="module")
def long_names(make_page: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a page of methods with long names and long notes."""
    folder = tmp_path_factory.mktemp("long-names")
    rng = np.random.default_rng(0)
    for seed in range(3):
        for label in (*LONG, PIXELS, "dpl"):
            answers = rng.random(100) < 0.8
            values: dict[str, Any] = {"n_params": 100, "train_s": 1.0}
            put(folder / "run", make_cell(label, seed), answers, outside_s=9.0, **values)
    path = folder / "index.html"
    path.write_text(make_page(folder / "run"))
    return path


OVERLAPS = """selector => [...document.querySelectorAll(selector)].filter(node => {
  const inside = document.createRange()
  inside.selectNodeContents(node)
  return inside.getBoundingClientRect().right > node.getBoundingClientRect().right + 1
}).map(node => node.textContent)"""


@pytest.mark.parametrize("size", [NARROW, WIDE])
def test_names_stay_apart_and_in_their_cells(
    browser: Any, long_names: Path, size: dict[str, int]
) -> None:
    context = browser.new_context(viewport=size)
    reader = Reader(context, long_names)
    reader.open()
    names = reader.tab.locator("#ranking g[aria-hidden] text").all_text_contents()
    ranked = {name for name in names if re.match("dpl|det|….*epochs", name)}
    assert len(ranked) == 4
    left = "Math.min(...[...document.querySelectorAll('#ranking text')].map(text =>"
    assert reader.tab.evaluate(f"{left} text.getBoundingClientRect().left))") >= 0
    for table in ("#lines", "#matrix"):
        assert reader.tab.evaluate(OVERLAPS, f"{table} th") == []
    assert reader.tab.evaluate("document.documentElement.scrollWidth") == size["width"]
    context.close()
    assert reader.errors == []


def test_short_names_differ_where_the_names_do(reader: Reader) -> None:
    reader.open()
    titles = [f"a long beginning {place} and a long end of it" for place in range(3)]
    short = reader.tab.evaluate("titles => shortNames(titles, 20)", titles)
    assert len(set(short)) == 3
    assert reader.tab.evaluate("shortNames(['abcdefghij', 'x'], 5)") == ["ab…ij", "x"]


def test_a_row_is_one_line_and_a_cue_says_that_the_table_scrolls(
    browser: Any, long_names: Path
) -> None:
    context = browser.new_context(viewport=WIDE)
    reader = Reader(context, long_names)
    reader.open()
    cells = reader.tab.locator("#lines td.wide")
    note = cells.first.inner_text()
    assert "outside of advance" in note
    assert cells.first.get_attribute("title") == note
    heights = "[...document.querySelectorAll('#lines td.wide')].map(cell => cell.clientHeight)"
    assert max(reader.tab.evaluate(heights)) < 60
    reader.tab.set_viewport_size(NARROW)
    reader.settle()
    reader.tab.locator("#scrolls").wait_for()
    assert "scrolls sideways" in reader.tab.inner_text("#scrolls")
    reader.tab.set_viewport_size({"width": 3000, "height": 900})
    reader.tab.locator("#scrolls").wait_for(state="hidden")
    context.close()
    assert reader.errors == []


def latex_of(reader: Reader) -> str:
    """Return what the button LaTeX writes."""
    with reader.tab.expect_download() as waiting:
        reader.tab.click("#latex")
    return Path(waiting.value.path()).read_text()


def test_latex_explains_its_signs_and_names_no_best_that_it_does_not_hold(
    browser: Any, tmp_path: Path, make_page: Callable[[Path], str]
) -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        for label, share in (("sdl", 0.9), ("spams", 0.89), ("lista", 0.5)):
            answers = rng.random(400) < share
            spread: dict[str, Any] = {"test_s_per_image": 1e-5, "test_s_per_image_iqr": 9e-6}
            put(tmp_path / "run", make_cell(label, seed), answers, **spread)
    path = tmp_path / "index.html"
    path.write_text(make_page(tmp_path / "run"))
    context = browser.new_context(viewport=WIDE)
    reader = Reader(context, path)
    reader.open()
    text = latex_of(reader)
    assert "% ≈ cannot be told from the best" in text
    assert "% † a time whose repetitions or seeds spread" in text
    assert "% ‡" not in text
    assert "behind the best" in text
    best = reader.methods()[0]
    other = {"sdl": "spams", "spams": "sdl"}[best]
    reader.tab.fill("#search", other)
    reader.settle()
    text = latex_of(reader)
    assert other in text
    for sign in ("≈", "approx", "behind"):
        assert sign not in text
    assert "% † a time" in text
    context.close()
    assert reader.errors == []


def test_print_parts_no_heading_from_what_follows(reader: Reader) -> None:
    reader.open()
    reader.tab.emulate_media(media="print")
    style = "[...document.querySelectorAll('{}')].map(each => getComputedStyle(each).{})"
    before = "h2, h3, summary, thead, #curves-note, #pairs-note, #table > .soft:not(.foot)"
    assert set(reader.tab.evaluate(style.format(before, "breakAfter"))) == {"avoid"}
    assert set(reader.tab.evaluate(style.format("figure, tr", "breakInside"))) == {"avoid"}
    heads = style.format("#lines thead button", "display")
    assert set(reader.tab.evaluate(heads)) == {"contents"}, "a repeated head has no buttons"
    assert reader.tab.locator("#scrolls").is_hidden()
