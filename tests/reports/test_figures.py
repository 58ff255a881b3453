"""Figures: what their axes, bars and captions tell, looks, names, memory, equal files."""

import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

import ddl_bench
from ddl_bench import describe, registry
from ddl_bench.errors import UserError
from ddl_bench.results.frame import curve_parts, stored_arrays
from ddl_bench.results.groups import gather
from ddl_bench.results.origin import written
from ddl_bench.results.rows import CURVE, arrays, load_rows
from ddl_bench.results.stats.mean import mean_interval
from ddl_bench.results.table import TIMES, summary_of
from reports.figures import FIGURES
from reports.figures.averages import common_steps, over_seeds, seed_curve
from reports.figures.confusion import confusion
from reports.figures.costs import cost
from reports.figures.curves import MOST_POINTS, curves_of, training_curves
from reports.figures.error_curves import errors_figure
from reports.figures.lines import Lines, Span, at_least, pareto_front, standard_error
from reports.figures.looks import METHODS, Look, Named, look, looks, rank_of
from reports.figures.names import write_names
from reports.figures.ranking import ranking
from reports.figures.registry import OF_RUN, draw_data_set
from reports.figures.scales import Accuracy
from reports.figures.style import PAPER, caption_of, digest_in, digest_of, save
from reports.page.curves import curve_of
from tests.conftest import ROOT, make_cell, put

RESULTS = ROOT / "docs" / "results"
MANY = """
import resource
import sys
import ddl_bench
from reports.figures import FIGURES
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
df = ddl_bench.load(sys.argv[1])
figures = [draw(df) for draw in FIGURES.values()]
assert figures[0] is not None
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.fixture(scope="module")
def quick() -> pd.DataFrame:
    return ddl_bench.load(RESULTS / "quick-5-seeds")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make up a run of a hundred methods of all families, with curves and predictions."""
    folder = tmp_path_factory.mktemp("many")
    known = [name for members in METHODS.values() for name in members]
    names = {name: name for name in known} | {f"plugin-{i}": f"plugin-{i}" for i in range(68)}
    rng = np.random.default_rng(0)
    for place, (label, method) in enumerate(names.items()):
        right = rng.random(300) < 0.3 + 0.6 * place / len(names)
        curve = {
            "curve_seconds": np.arange(1.0, 4) * (1 + place % 7),
            "curve_accuracy": 20.0 + place / 2 + np.arange(3),
            "curve_step": np.arange(3.0),
            "curve_split": "validation",
            "class_names": np.arange(12).astype(str),
        }
        numbers = {"train_s": 3.0 + place % 7, "n_params": 10 ** (2 + place % 5)}
        put(folder, make_cell(label, method=method), right, curve, **numbers)
    return folder


def accuracy_limits(figure: Figure, *, horizontal: bool = False) -> tuple[float, float]:
    axes = figure.axes[0]
    return axes.get_xlim() if horizontal else axes.get_ylim()


def names_in(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in annotations(axes)]


def annotations(axes: Axes) -> list[Annotation]:
    return [text for text in axes.texts if isinstance(text, Annotation)]


@pytest.mark.parametrize("run", ["fast-cifar10", "quick", "quick-5-seeds", "equal-time", "sdl"])
def test_an_axis_spans_four_standard_errors_and_all_intervals_of_the_table(run: str) -> None:
    df = ddl_bench.load(RESULTS / run)
    table = summary_of(gather(load_rows(RESULTS / run)))
    drawn = Lines(df).accuracies
    expected = table.set_index("label")[["accuracy", "low", "high"]]
    found = drawn[["accuracy", "low", "high"]].loc[expected.index]
    np.testing.assert_allclose(found, expected)
    errors = []
    for group in gather(load_rows(RESULTS / run)):
        values = group.values("accuracy").to_numpy()
        over_runs2 = values.var(ddof=1) / len(values) if len(values) > 1 else 0.0
        over_images2 = values.mean() * (100 - values.mean()) / group.ok[0].measured.n_test
        errors.append((over_runs2 + over_images2) ** 0.5)
    assert drawn["error"].max() == pytest.approx(max(errors))
    least = 4 * max(errors)
    for figure, horizontal in (
        (ranking(df), True),
        (cost(df, "n_params", "parameters"), False),
        (cost(df, "train_s", "training time"), False),
    ):
        assert figure is not None
        low, high = accuracy_limits(figure, horizontal=horizontal)
        assert high - low >= least
        assert low <= expected["low"].min()
        assert high >= expected["high"].max()


def test_a_small_difference_looks_small(tmp_path: Path) -> None:
    """0.08 points between intervals of 1.3 points once filled the height of a figure."""
    put(tmp_path, make_cell("a"), np.arange(5000) < 4709, train_s=1430.0)
    put(tmp_path, make_cell("b"), np.arange(5000) < 4713, train_s=1150.0)
    figure = cost(ddl_bench.load(tmp_path), "train_s", "training time")
    assert figure is not None
    low, high = accuracy_limits(figure)
    assert high - low > 1.3
    left, right = figure.axes[0].get_xlim()
    assert left == 0
    assert right < 2000


def test_spans_are_widened_around_their_middle_and_not_beyond_the_limit() -> None:
    assert at_least(Span(1.0, 2.0), [0.1]) == Span(1.0, 2.0)
    assert at_least(Span(1.0, 2.0), [0.5, float("nan")]) == Span(0.5, 2.5)
    assert at_least(Span(99.0, 100.0), [0.5], 100.0) == Span(98.0, 100.0)


def test_a_standard_error_is_that_of_the_interval() -> None:
    """It was 1.4 times as much for three seeds once: half a t interval is no 1.96 errors."""
    values = pd.Series([70.0, 71.0, 72.0])
    n_images = 1e12
    error = standard_error(values, n_images)
    assert error == pytest.approx(1 / 3**0.5)
    interval = mean_interval(values, n_images)
    assert (interval.high - interval.low) / 2 == pytest.approx(4.303 * error, rel=1e-3)
    assert standard_error(values, float("nan")) == pytest.approx(error)
    assert standard_error(values, 0) == pytest.approx(error)
    assert standard_error(pd.Series([50.0]), 100) == 5
    assert standard_error(pd.Series([50.0]), float("nan")) == 0


@pytest.mark.parametrize("column", TIMES)
@pytest.mark.parametrize("is_crowded", [False, True])
def test_an_axis_of_times_has_seconds_whatever_its_label(
    quick: pd.DataFrame, many: Path, column: str, is_crowded: bool
) -> None:
    df = ddl_bench.load(many) if is_crowded else quick
    df = df.assign(**{column: 1e-6 * (1 + np.arange(len(df)) % 3)})
    figure = cost(df, column, "training per image")
    assert figure is not None
    assert figure.axes[0].xaxis.get_major_formatter()(2e-6) == "2 µs"
    assert "Times " in caption_of(figure)
    figure = cost(df.assign(n_params=100), "n_params", "parameters at that time")
    assert figure is not None
    assert figure.axes[0].xaxis.get_major_formatter()(2e3) == "2 k"
    assert "Times " not in caption_of(figure)


def test_captions_tell_runs_bars_and_scales(quick: pd.DataFrame) -> None:
    figure = cost(quick, "train_s", "training time")
    assert figure is not None
    text = caption_of(figure)
    for wanted in (
        "7 methods, means over n = 5 seeds",
        "95 % intervals of the table, for new trainings and new images (n = 360 test images)",
        "Horizontal bars: 95 % intervals of mean costs for new trainings, from 3 seeds on",
        "accuracy logarithmic in the error",
        "training time logarithmic",
        "Times on AMD EPYC, 1 thread",
    ):
        assert wanted in text
    alone = ranking(ddl_bench.load(RESULTS / "paper-recipe"))
    assert alone is not None
    text = caption_of(alone)
    assert "one network each (n = 1 seed)" in text
    assert "for new images alone (n = 5,000 test images), and for no other trainings" in text
    for title, draw in FIGURES.items():
        figure = draw(quick)
        assert figure is None or "n = " in caption_of(figure), title


def test_times_of_two_machines_are_not_compared_silently(tmp_path: Path) -> None:
    for label, host in (("a", "node1"), ("b", "node2")):
        about = {"host": host, "cpu": "Xeon"}
        put(tmp_path, make_cell(label), np.arange(90) < 50, provenance=about)
    df = ddl_bench.load(tmp_path)
    figure = cost(df, "train_s", "training time")
    assert figure is not None
    assert "2 machines and do not compare: Xeon (node1)" in caption_of(figure)


def test_a_method_has_one_look_in_every_report() -> None:
    names = [Named(m, m, family) for family, members in METHODS.items() for m in members]
    all_looks = looks(names)
    assert len(set(all_looks.values())) == len(names), "each look is unlike the others"
    for name in names:
        assert looks([name]) == {name.line: all_looks[name.line]}
    unknown = Named("mine", "mine", "other")
    assert looks([unknown, *names])["mine"] == looks([unknown])["mine"]


def test_lines_of_one_method_look_unlike() -> None:
    lines = [Named(f"a (epochs={n})", "a", "baseline") for n in range(12)]
    assert len(set(looks(lines).values())) == 12


def test_all_installed_methods_have_a_look_of_their_own() -> None:
    stated = {record["name"]: record["family"] for record in describe.methods()}
    assert {name for members in METHODS.values() for name in members} == set(stated)
    for family, members in METHODS.items():
        assert {stated[name] for name in members} == {family}
        assert [rank_of(name, family) for name in members] == list(range(len(members)))


def test_colours_stand_out_on_white_and_on_black() -> None:
    for family in METHODS:
        light = np.array(to_rgb(look(family, 0).colour))
        light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
        luminance = light @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (luminance + 0.05) > 3, family
        assert (luminance + 0.05) / 0.05 > 3, family


def test_origins_are_those_that_the_methods_state() -> None:
    """As read in their sources, without torch."""
    records = describe.methods()
    families = {record["name"]: record["family"] for record in records}
    keys = {record["name"]: {each["key"] for each in record["references"]} for record in records}
    installed = registry.entries(registry.METHODS)
    origins = {name: written(entry) for name, entry in installed.items()}
    assert {name: origin.family for name, origin in origins.items()} == families
    for name, origin in origins.items():
        assert set(origin.references) <= keys[name]


def test_more_than_twelve_methods_have_panels_and_few_names(many: Path) -> None:
    df = ddl_bench.load(many)
    lines = Lines(df)
    table = lines.accuracies.join(lines.costs("n_params"))
    front = pareto_front(table["x"], table["accuracy"])
    best = [str(members.index[0]) for _, members in table.groupby("family", sort=False)]
    figure = cost(df, "n_params", "parameters")
    assert figure is not None
    titles = {axes.get_title(loc="left") for axes in figure.axes} - {""}
    assert titles == set(lines.family.values())
    assert set(names_in(figure)) == {*front, *best}
    bold = {
        text.get_text()
        for axes in figure.axes
        for text in annotations(axes)
        if text.get_fontweight() == "bold"
    }
    assert bold == set(front)
    curves = training_curves(df)
    assert curves is not None
    assert len(names_in(curves)) < 30


@pytest.mark.parametrize("is_crowded", [False, True])
def test_a_part_of_a_count_is_hollow_and_not_on_the_front(
    quick: pd.DataFrame, many: Path, is_crowded: bool
) -> None:
    df = ddl_bench.load(many) if is_crowded else quick
    cheap = str(df["line"].iloc[0])
    is_cheap = df["line"] == cheap
    operations = np.where(is_cheap, 1e3, 1e6)
    left_out = np.where(is_cheap, "pursuits", "").astype(object)
    if is_cheap.sum() > 1:
        left_out[is_cheap.to_numpy().argmax()] = None  # a row from before it was told
    df = df.assign(flops_per_image=operations, flops_left_out=left_out)
    figure = cost(df, "flops_per_image", "operations per image")
    assert figure is not None
    markers = [line for axes in figure.axes for line in axes.lines]
    assert sum(marker.get_markerfacecolor() == "white" for marker in markers) == 1
    assert "Hollow: a lower limit, without pursuits, and not on the front." in caption_of(figure)
    bold = {
        text.get_text()
        for axes in figure.axes
        for text in annotations(axes)
        if text.get_fontweight() == "bold"
    }
    assert len(bold) == 1
    assert cheap not in bold
    whole = cost(df.assign(flops_left_out=""), "flops_per_image", "operations per image")
    assert whole is not None
    assert "Hollow" not in caption_of(whole)


def test_no_name_is_outside_and_no_line_crosses_the_picture(
    many: Path, quick: pd.DataFrame
) -> None:
    for df in (quick, ddl_bench.load(many)):
        for column in ("n_params", "train_s"):
            figure = cost(df, column, "cost")
            assert figure is not None
            figure.draw_without_rendering()
            frame = figure.bbox
            for axes in figure.axes:
                for text in annotations(axes):
                    box = Text.get_window_extent(text)
                    assert frame.x0 <= box.x0 <= box.x1 <= frame.x1
                    assert frame.y0 <= box.y0 <= box.y1 <= frame.y1
                    home = axes.transData.transform(np.asarray(text.xy))
                    near = np.clip(home, box.min, box.max)
                    is_led = text.arrow_patch is not None and text.arrow_patch.get_visible()
                    assert not is_led or np.hypot(*(near - home)) < 60


def test_curves_are_mean_and_range_of_seeds() -> None:
    first = seed_curve(np.array([1.0, 3.0]), np.array([50.0, 60.0]))
    second = seed_curve(np.array([2.0, 5.0]), np.array([70.0, 80.0]))
    equal = over_seeds([first, second], 60)
    assert equal.x.tolist() == [1.5, 4.0]
    assert equal.mean.tolist() == [60, 70]
    assert equal.low.tolist() == [50, 60]
    assert equal.high.tolist() == [70, 80]
    steps = np.array([1.0, 2.0, 4.0])
    first = seed_curve(10 * steps, np.array([10.0, 20.0, 40.0]), steps)
    second = seed_curve(np.array([30.0, 50.0]), np.array([50.0, 70.0]), np.array([2.0, 4.0]))
    unequal = over_seeds([first, second], 60)
    assert unequal.steps.tolist() == [2, 4]
    assert unequal.x.tolist() == [25, 45]
    assert unequal.low.tolist() == [20, 40]
    assert unequal.high.tolist() == [50, 70]
    assert common_steps([np.array([5.0]), np.array([1.0, 2.0])], 6).tolist() == [5]


def test_a_mean_of_curves_ends_where_the_first_seed_ends() -> None:
    """A seed that had ended was carried on once, and a mean ended in what no seed had."""
    short_one = seed_curve(np.arange(1.0, 9), np.linspace(10, 80, 8))
    long_one = seed_curve(np.arange(1.0, 10), np.linspace(10, 90, 9))
    curve = over_seeds([short_one, long_one], 60)
    assert curve.x[-1] == 8
    assert curve.mean[-1] == pytest.approx(80)


@pytest.mark.parametrize("run", ["quick-5-seeds", "equal-time"])
def test_figure_and_page_show_the_same_curves(run: str) -> None:
    folder = RESULTS / run
    drawn = curves_of(curve_parts(ddl_bench.load(folder)), "seconds")
    for group in gather(load_rows(folder)):
        shown = curve_of(
            group.ok, lambda row: arrays(folder, row.cell.id, CURVE), n_points=MOST_POINTS
        )
        assert shown is not None
        curve = drawn[group.name]
        for wanted, found in (
            (shown["seconds"], curve.x),
            (shown["mean"], curve.mean),
            (shown["low"], curve.low),
            (shown["high"], curve.high),
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_curves_have_bands_dashes_and_markers(quick: pd.DataFrame) -> None:
    figure = training_curves(quick)
    assert figure is not None
    (axes,) = figure.axes
    assert len(axes.collections) >= 7, "a band for each method"
    shapes = {(line.get_linestyle(), line.get_marker()) for line in axes.lines}
    assert len(shapes) > 5
    assert "bands: from the lowest to the highest" in caption_of(figure)
    passes = training_curves(quick, against="passes")
    assert passes is not None
    assert passes.axes[0].get_xlabel() == "passes over the training images"


def test_every_point_stands_at_its_own_time_and_no_label_looks_like_one(
    quick: pd.DataFrame,
) -> None:
    parts = [part for part in curve_parts(quick) if np.isfinite(part["seconds"]).all()]
    ends: dict[str, list[float]] = {}
    for part in parts:
        ends.setdefault(str(part["line"]), []).append(float(part["seconds"][-1]))
    figure = training_curves(quick)
    assert figure is not None
    (axes,) = figure.axes
    drawn = sorted(float(np.asarray(line.get_xdata())[-1]) for line in axes.lines)
    wanted = sorted(2 * [float(np.mean(times)) for times in ends.values()])
    np.testing.assert_allclose(drawn, wanted)
    assert axes.get_xlim()[0] <= min(min(np.asarray(line.get_xdata())) for line in axes.lines)
    crowd = {f"name {place}": np.array([0.5, 0.5 + place / 1000]) for place in range(40)}
    look_of_all = dict.fromkeys(crowd, look("a", 0))
    axes.clear()
    write_names(axes, crowd, np.array(list(crowd.values())), look_of_all)
    assert not axes.lines


def test_horizontal_bars_are_intervals_for_new_trainings_from_three_seeds_on(
    quick: pd.DataFrame,
) -> None:
    table = Lines(quick).costs("train_s")
    row = table.iloc[0]
    assert row["half"] == pytest.approx(2.776 * row["sd"] / 5**0.5, rel=1e-3)
    two = Lines(quick[quick["seed"] < 2]).costs("train_s")
    assert (two["sd"] > 0).any()
    assert (two["half"] == 0).all()


def test_many_lines_with_long_names_leave_room_for_axes_without_a_warning(tmp_path: Path) -> None:
    df = ddl_bench.load(RESULTS / "recovery")
    copies = [df.assign(line=df["line"] + f" ({place:08x})") for place in range(30)]
    figure = FIGURES["recovery"](pd.concat(copies))
    assert figure is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(figure, tmp_path / "recovery.svg")
    (axes,) = figure.axes
    assert axes.get_window_extent().height > 100
    legend = axes.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 30 * df["line"].nunique()
    box = legend.get_window_extent()
    assert box.x1 <= figure.bbox.x1 + 1
    assert box.y1 <= figure.bbox.y1 + 1


def test_a_wrong_width_is_one_clear_error(quick: pd.DataFrame) -> None:
    wrong: Any = "triple"
    for draw in FIGURES.values():
        with pytest.raises(ValueError, match="'single' or 'double', got 'triple'"):
            draw(quick, width=wrong)
    with pytest.raises(ValueError, match="'single' or 'double', got 'triple'"):
        ranking(quick, wrong)


def test_a_point_at_the_top_is_no_spike() -> None:
    """One of 144 images was a spike from 99.3 to 100 % once."""
    scale = Accuracy(Span(80.0, 100.0), 144)
    assert scale.is_log
    heights = scale.forward(np.array([80.0, 99.3, 100.0]))
    assert heights[2] - heights[1] < 0.25 * (heights[2] - heights[0])
    np.testing.assert_allclose(scale.backward(heights), [80.0, 99.3, 100.0])


def test_confusion_shows_best_worst_and_chosen(quick: pd.DataFrame) -> None:
    figure = confusion(quick)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["spams: 99.00 %", "nearest-mean: 88.06 %"]
    chosen = confusion(quick, lines=["sdl"])
    assert chosen is not None
    assert len(chosen.axes) == 3
    assert chosen.get_figwidth() == pytest.approx(7.2)
    with pytest.raises(UserError, match="no line 'sld' in this frame"):
        confusion(quick, lines=["sld"])


def test_confusion_reads_the_predictions_of_a_line_once(
    quick: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def noted(row: Any, names: Any) -> Any:
        read.append(row["cell_id"])
        return stored_arrays(row, names)

    monkeypatch.setattr("reports.figures.confusion.stored_arrays", noted)
    assert confusion(quick, lines=["sdl", "spams"]) is not None
    assert len(read) == len(set(read)) == 3 * 5


def test_a_matrix_of_confusion_counts_all_seeds_with_readable_class_names(tmp_path: Path) -> None:
    names = np.array([f"a long name {i}" for i in range(12)])
    for seed in range(2):
        right = np.arange(240) % 20 != seed
        put(tmp_path, make_cell("a", seed), right, {"class_names": names})
    figure = confusion(ddl_bench.load(tmp_path))
    assert figure is not None
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == list(names)
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {90}
    assert "n = 2 seeds together, 240 test images" in caption_of(figure)


@pytest.mark.parametrize("width", ["single", "double"])
def test_figures_have_print_sizes(quick: pd.DataFrame, width: Any) -> None:
    inches = {"single": 3.5, "double": 7.2}[width]
    for title, draw in FIGURES.items():
        figure = draw(quick, width=width)
        assert figure is None or figure.get_figwidth() == pytest.approx(inches), title
    assert [title for title in FIGURES if title in OF_RUN] == ["recovery"]
    assert next(iter(FIGURES)) == "accuracy, ranked", "the first figure of a report"


def test_files_are_vectors_and_pictures_and_tell_what_they_show(
    quick: pd.DataFrame, tmp_path: Path
) -> None:
    paths = draw_data_set(quick, tmp_path, "digits")
    assert set(paths) == set(FIGURES) - set(OF_RUN)
    for title, path in paths.items():
        for suffix in (".png", ".pdf"):
            assert path.with_suffix(suffix).stat().st_size > 1000
        root = ET.parse(path).getroot()
        space = "{http://www.w3.org/2000/svg}"
        assert root.find(f"{space}title").text == f"digits: {title}"  # type: ignore[union-attr]
        described = root.find(f"{space}desc").text  # type: ignore[union-attr]
        assert described is not None
        assert "n = " in described
        assert f"fill: {PAPER}" in path.read_text(), "legible on a dark page"


def test_a_notebook_shows_a_figure_without_pyplot(quick: pd.DataFrame) -> None:
    figure: Any = ranking(quick, width="single")
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_equal_rows_give_equal_files_without_date(quick: pd.DataFrame, tmp_path: Path) -> None:
    names = ("first", "second")
    for name in names:
        errors = errors_figure({"lista": {"1": 0.5, "2": 0.1}}, "n", "error", "")
        save(errors, tmp_path / name / "a.svg", suffixes=[".svg"])
        figure = cost(quick, "n_params", "parameters")
        assert figure is not None
        save(figure, tmp_path / name / "b.svg", "title")
    for path in sorted((tmp_path / "first").iterdir()):
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name
        assert b"dc:date" not in path.read_bytes()
        assert b"CreationDate" not in path.read_bytes()


def test_files_know_what_they_draw(tmp_path: Path) -> None:
    def figure(error: float, name: str = "lista") -> Figure:
        return errors_figure({name: {"1": 0.5, "2": error}}, "n", "error", "")

    path = save(figure(0.1), tmp_path / "a.svg", "title")
    digest = digest_of(figure(0.1))
    assert digest_in(path) == digest_in(path.with_suffix(".png")) == digest
    assert digest_of(figure(0.1 + 1e-9)) == digest
    assert digest_of(figure(0.2)) != digest
    assert digest_of(figure(0.1, "ista")) != digest


@pytest.mark.parametrize("title", FIGURES)
def test_each_figure_draws_the_same_twice_and_something(title: str, quick: pd.DataFrame) -> None:
    figures = [FIGURES[title](quick) for _ in range(2)]
    if figures[0] is None or figures[1] is None:
        assert figures == [None, None]
        return
    empty = digest_of(Figure())
    assert digest_of(figures[0]) == digest_of(figures[1]) != empty


def test_names_of_all_scripts_and_of_any_length_make_no_noise(tmp_path: Path) -> None:
    for place, label in enumerate(("辞書学習", "Ж" * 90, "<b>$x_{1}$\n</b> %", "قاموس")):
        put(tmp_path / "run", make_cell(label), np.arange(90) < 50 + place)
    df = ddl_bench.load(tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = draw_data_set(df, tmp_path, "x")
    assert "accuracy, ranked" in paths
    assert "Ж" * 44 not in paths["accuracy, ranked"].read_text()


def test_a_frame_of_two_data_sets_is_refused_with_a_hint(tmp_path: Path) -> None:
    for dataset in ("digits", "planted-4"):
        put(tmp_path, make_cell("a", dataset=dataset), np.arange(9) < 5)
    with pytest.raises(UserError, match=re.escape("df[df[\"dataset\"] == 'digits']")):
        ranking(ddl_bench.load(tmp_path))


def test_a_run_without_results_has_no_figures(tmp_path: Path) -> None:
    put(tmp_path, make_cell("a"), status="failed", reason="no memory")
    df = ddl_bench.load(tmp_path)
    assert [draw(df) for draw in FIGURES.values()] == [None] * len(FIGURES)


def test_figures_of_a_hundred_methods_take_little_memory(many: Path) -> None:
    """Each text that is measured made a renderer of its own once: 14 GB for 33 matrices."""
    command = [sys.executable, "-c", MANY, str(many)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(run.stdout) < 600


def test_a_line_to_a_name_leads_past_no_other_point() -> None:
    figure = Figure(figsize=(7, 4.4), dpi=72)
    axes = figure.add_subplot(xlim=(0, 100), ylim=(0, 100))
    points = {
        "sdl": np.array((70.0, 51.0)),
        "lista": np.array((73.0, 50.0)),
        "detrame": np.array((76.0, 50.0)),
    }
    bars = [(x + dx, y) for x, y in points.values() for dx in (-0.5, 0.5) for y in range(40, 61)]
    write_names(axes, points, np.array(bars), dict.fromkeys(points, Look("k", "o", "-")))
    homes = axes.transData.transform(np.array(list(points.values())))
    for i, text in enumerate(annotations(axes)):
        if text.arrow_patch is None or not text.arrow_patch.get_visible():
            continue
        way = np.array(Text.get_window_extent(text).get_points()).mean(0) - homes[i]
        for home in np.delete(homes, i, 0) - homes[i]:
            along = np.clip(home @ way / (way @ way), 0, 1)
            assert np.hypot(*(home - along * way)) > 3


def test_a_name_without_a_line_is_nearest_to_its_own_point() -> None:
    """A point stands close above another, so that a name beside one may seem the other's."""
    figure = Figure(figsize=(7, 4.4), dpi=72)
    axes = figure.add_subplot(xlim=(0, 100), ylim=(0, 100))
    points = {"above": np.array((50.6, 51.5)), "below": np.array((50.0, 50.0))}
    unnamed = np.array([(52.0, 48.5)])
    bars = np.array(list(points.values()))
    write_names(axes, points, bars, dict.fromkeys(points, Look("k", "o", "-")), unnamed=unnamed)
    figure.draw_without_rendering()
    everywhere = axes.transData.transform(np.vstack([bars, unnamed]))
    texts = annotations(axes)
    assert len(texts) == 2
    for own, text in enumerate(texts):
        if text.arrow_patch is not None and text.arrow_patch.get_visible():
            continue
        box = Text.get_window_extent(text)
        away = np.hypot(*(everywhere - np.clip(everywhere, box.min, box.max)).T)
        assert away.argmin() == own


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=14, unique=True
    )
)
@settings(max_examples=25)
def test_names_cover_neither_points_nor_each_other(places: list[tuple[int, int]]) -> None:
    figure = Figure(figsize=(7, 4.4), dpi=72)
    axes = figure.add_subplot(xlim=(-8, 38), ylim=(-8, 38))
    points = {f"method-{i}": np.array(place, dtype=float) for i, place in enumerate(places)}
    given_looks = dict.fromkeys(points, Look("k", "o", "-"))
    write_names(axes, points, np.array(list(points.values())), given_looks)
    texts = annotations(axes)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in texts]
    for i, box in enumerate(boxes):
        assert box.count_overlaps(boxes) == 1  # itself
        assert box.count_contains(axes.transData.transform(list(points.values()))) == 0
        assert axes.bbox.count_overlaps([box]) == 1
        assert texts[i].get_text() == f"method-{i}"


@pytest.mark.parametrize("draw", [training_curves, FIGURES["accuracy against parameters"]])
def test_the_label_of_all_panels_stands_beside_their_numbers(draw: Any) -> None:
    figure = draw(ddl_bench.load(RESULTS / "equal-time"))
    figure.draw_without_rendering()
    (label,) = (text for text in figure.texts if text.get_text().endswith("accuracy (%)"))
    right = Text.get_window_extent(label).x1
    for axes in figure.axes:
        for number in axes.get_yticklabels():
            if number.get_visible() and number.get_text():
                assert Text.get_window_extent(number).x0 > right
