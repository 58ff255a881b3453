"""Figures: places of names, panels, memory, and equal files for equal data."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from ddl_bench import describe, registry
from reports.figures.confusion import draw_confusion
from reports.figures.curves import written_family
from reports.figures.error_curves import draw_errors
from reports.figures.names import write_names
from reports.figures.outcomes import Outcome, Outcomes, Point
from reports.figures.panels import draw_panels
from reports.figures.style import looks, save
from reports.report import write
from tests.conftest import ROOT, make_cell, put

MANY_MATRICES = """
import resource
import numpy as np
from reports.figures.confusion import draw_confusion
from reports.figures.outcomes import Outcome, Outcomes

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

rng = np.random.default_rng(0)
rows = []
for i in range(40):
    y = rng.integers(0, 10, 200)
    predictions = rng.integers(0, 10, 200)
    arrays = {"class_names": np.array(list("abcdefghij")), "y_test": y, "predictions": predictions}
    rows.append(Outcome(f"method-{i}", None, arrays))
before = peak_mb()
figure = draw_confusion(Outcomes([], rows, {}))
assert len(figure.axes) == 40
print(peak_mb() - before)
"""


def test_forty_matrices_of_confusion_take_little_memory() -> None:
    """Each text that is measured made a renderer of its own once: 14 GB for 33 matrices."""
    command = [sys.executable, "-c", MANY_MATRICES]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(run.stdout) < 600


def test_a_matrix_of_confusion_shows_shares_and_readable_class_names(tmp_path: Path) -> None:
    names = [f"a long name {i}" for i in range(4)]
    y = np.arange(40) % 4
    predictions = np.where(np.arange(40) < 8, (y + 1) % 4, y)  # 2 of 10 images of a class wrong
    arrays = {"class_names": np.array(names), "y_test": y, "predictions": predictions}
    row = put(tmp_path, make_cell("sdl"))
    figure = draw_confusion(Outcomes([], [Outcome("sdl", row, arrays)], {}))
    assert figure is not None
    (axes,) = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == ["20"] * 4 + ["80"] * 4
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {90}
    save(figure, tmp_path / "confusion.svg")
    assert (tmp_path / "confusion.png").is_file()


def test_equal_data_give_equal_files_without_date(tmp_path: Path) -> None:
    for name in ("first", "second"):
        draw_errors({"lista": {"1": 0.5, "2": 0.1}}, "layers", "error", tmp_path / name / "a.svg")
    first = (tmp_path / "first" / "a.svg").read_bytes()
    assert first == (tmp_path / "second" / "a.svg").read_bytes()
    assert b"dc:date" not in first
    assert (tmp_path / "first" / "a.png").is_file()


def test_looks_of_many_names_differ() -> None:
    given_looks = looks(f"method-{i}" for i in range(90))
    assert len(given_looks) == 90
    assert len(set(given_looks.values())) == 90


def test_many_lines_have_a_panel_for_each_family(tmp_path: Path) -> None:
    methods = [
        "sdl",
        "spams",
        "adl",
        "ddl",
        "scn",
        "lista",
        "plainnet",
        "resnet",
        "csc-net",
        "src",
        "dpl",
        "logistic",
    ]
    for i, method in enumerate([*methods, "of-a-plugin"]):
        curve = {
            "curve_seconds": np.arange(1.0, 4),
            "curve_accuracy": 50.0 + i + np.arange(3),
            "curve_split": "test",
        }
        put(tmp_path, make_cell(method, 0), np.ones(10, bool), curve, train_s=3.0)
    text = (write(tmp_path)["figures"] / "digits-accuracy-while-training.svg").read_text()
    for name in (
        *methods,
        "of-a-plugin",
        "other",
        "baseline",
        "unrolled networks",
        "dictionaries, layer by layer",
    ):
        assert f"<!-- {name} -->" in text


def test_a_line_to_a_name_leads_past_no_other_point() -> None:
    figure = Figure(figsize=(7, 4.4), dpi=72)
    axes = figure.add_subplot(xlim=(0, 100), ylim=(0, 100))
    points = {
        "sdl": np.array((70.0, 51.0)),
        "lista": np.array((73.0, 50.0)),
        "detrame": np.array((76.0, 50.0)),
    }
    bars = [(x + dx, y) for x, y in points.values() for dx in (-0.5, 0.5) for y in range(40, 61)]
    write_names(axes, points, np.array(bars))
    homes = axes.transData.transform(np.array(list(points.values())))
    for i, text in enumerate(text for text in axes.texts if isinstance(text, Annotation)):
        way = np.array(Text.get_window_extent(text).get_points()).mean(0) - homes[i]
        for home in np.delete(homes, i, 0) - homes[i]:
            along = np.clip(home @ way / (way @ way), 0, 1)
            assert np.hypot(*(home - along * way)) > 3


def test_a_line_of_a_panel_ends_at_the_mean_over_its_seeds() -> None:
    ends = {0: (2.0, 60.0), 1: (4.0, 70.0)}  # by seed
    points: list[Point] = [
        Point(name, seed, *place)
        for name in "ab"
        for seed, end in ends.items()
        for place in ((1.0, 50.0), end)
    ]
    figure = draw_panels(points, {"a": "one", "b": "two"}, "seconds of training time", "test")
    drawn = [np.asarray(line.get_data()).T.tolist() for axes in figure.axes for line in axes.lines]
    assert [line for line in drawn if len(line) == 1] == [[[3, 65]], [[3, 65]]]


def test_panels_have_a_place_for_costs_of_zero() -> None:
    points = [Point("a", 0, x, 50.0) for x in (0.0, 0.0, 2.0)] + [Point("b", 0, 0.0, 60.0)]
    figure = draw_panels(points, {"a": "one", "b": "two"}, "seconds", "test")
    assert all(axes.get_xlim()[0] > 0 for axes in figure.axes if axes.axison)


def test_families_are_those_that_the_methods_state() -> None:
    """As read in their sources, without torch."""
    stated = {record["name"]: record["family"] for record in describe.methods()}
    installed = registry.entries(registry.METHODS)
    assert {name: written_family(entry) for name, entry in installed.items()} == stated


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=14, unique=True
    )
)
@settings(deadline=None, max_examples=25)
def test_names_cover_neither_points_nor_each_other(places: list[tuple[int, int]]) -> None:
    figure = Figure(figsize=(7, 4.4), dpi=72)
    axes = figure.add_subplot(xlim=(-8, 38), ylim=(-8, 38))
    points = {f"method-{i}": np.array(place, dtype=float) for i, place in enumerate(places)}
    write_names(axes, points, np.array(list(points.values())))
    texts = [text for text in axes.texts if isinstance(text, Annotation)]
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in texts]
    for i, box in enumerate(boxes):
        assert box.count_overlaps(boxes) == 1  # itself
        assert box.count_contains(axes.transData.transform(list(points.values()))) == 0
        assert axes.bbox.count_overlaps([box]) == 1
        assert texts[i].get_text() == f"method-{i}"
