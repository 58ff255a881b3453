"""The figures of one data set, as PNG and SVG. Points have names and shapes of their own, so colour may be lost."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator

from ddl_bench import describe
from ddl_bench.results.groups import Group
from ddl_bench.results.rows import arrays
from reports.figures.names import INK, write_names

STYLE = {
    "axes.facecolor": "none",
    "grid.color": "#8888884d",
    "text.parse_math": False,
    "font.size": 9,
}
STYLE |= dict.fromkeys(
    ("text.color", "xtick.color", "ytick.color", "axes.labelcolor", "axes.edgecolor"), INK
)
COLOURS = [
    it for it in sns.color_palette("colorblind").as_hex() if it != "#ece133"
]  # yellow fades on white
MARKERS = "oDs^vPXp<>"  # ten beside nine colours: no pair comes twice in 90 lines
COSTS = {
    "n_params": "parameters",
    "train_s": "training time",
    "test_s_per_image": "test time per image",
}
CROWD = 12  # lines that one pair of axes can show
Point = tuple[str, int, float | None, float | None]  # method, seed, x, y


def draw(run: Path, groups: list[Group], folder: Path, prefix: str) -> dict[str, Path]:
    """Draw what the lines of one data set allow; the SVG files by title, each with a PNG beside it."""
    rows = [(group.name, row, arrays(run, row.cell.id)) for group in groups for row in group.ok]
    names = sorted(group.name for group in groups)
    looks = dict(zip(names, zip(cycle(COLOURS), cycle(MARKERS)), strict=False))
    curves: list[Point] = []
    splits, figures = set(), {}
    for name, row, kept in rows:
        for x, y in zip(kept.get("curve_seconds", ()), kept.get("curve_accuracy", ()), strict=True):
            curves.append((name, row.cell.seed, x, y))
            splits.add(str(kept["curve_split"]))
    with mpl.rc_context(sns.axes_style("whitegrid") | STYLE | {"svg.hashsalt": prefix}):
        for column, label in COSTS.items():
            points: list[Point] = [
                (name, row.cell.seed, getattr(row.measured, column), row.measured.accuracy)
                for name, row, _ in rows
            ]
            figures[f"accuracy against {label}"] = plot(points, looks, label, "test")
        crowded, shown = (
            len({name for name, *_ in curves}) > CROWD,
            ("training time", " and ".join(sorted(splits))),
        )
        by_family = panels(curves, _families(groups), *shown) if crowded else None
        figures["accuracy while training"] = by_family or plot(curves, looks, *shown)
        figures["confusion"] = _confusion({name: kept for name, _, kept in reversed(rows)})
        figures["learned atoms"] = _atoms(
            {name: kept.get("artefact_atoms") for name, _, kept in reversed(rows)}
        )
        folder.mkdir(parents=True, exist_ok=True)
        paths = {}
        for title, figure in figures.items():
            if figure is not None:
                figure.suptitle(f"{groups[0].dataset}: {title}", size=11)
                paths[title] = path = folder / f"{prefix}-{title.replace(' ', '-')}.svg"
                figure.savefig(
                    path,
                    transparent=True,
                    metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
                )
                figure.savefig(folder / f"{path.stem}.png", dpi=200)
    return paths


def plot(
    points: list[Point], looks: dict[str, tuple[str, str]], x: str, split: str
) -> Figure | None:
    """A line for each seed that has several points; the mean of their last ones with bars of one deviation, named.

    Axes are logarithmic where values span much: the cost in itself, accuracy in the error, or the best would coincide.
    """
    data = pd.DataFrame(points, columns=["method", "seed", "x", "y"]).dropna()
    if data.empty:
        return None
    figure = Figure(
        figsize=(7, 4.4), dpi=72, layout="constrained"
    )  # at this resolution a pixel is a point
    axes = figure.add_subplot(xlabel=x, ylabel=f"{split} accuracy (%)")
    sns.despine(figure)
    means, covered = {}, [data[["x", "y"]].to_numpy()]
    for name, lines in data.groupby("method"):
        colour, marker = looks[str(name)]
        sns.lineplot(
            lines,
            x="x",
            y="y",
            units="seed",
            estimator=None,
            color=colour,
            lw=0.8,
            alpha=0.6,
            ax=axes,
        )
        last = lines.groupby("seed")[["x", "y"]].last()
        means[str(name)] = mean = last.mean().to_numpy()
        off = last.std().fillna(0).to_numpy()
        up = min(off[1], 100 - mean[1])  # no accuracy is above 100 %
        axes.errorbar(
            mean[0],
            mean[1],
            [[off[1]], [up]],
            off[0],
            fmt=marker,
            c=colour,
            ms=8,
            mec=INK,
            mew=0.6,
            capsize=2,
        )
        bars = [mean + share * off * side for share in np.linspace(-1, 1, 9) for side in np.eye(2)]
        covered.append(np.minimum(bars, [np.inf, 100]))
    (x_low, y_low), (x_high, y_high) = (
        np.min(stack := np.vstack(covered), axis=0),
        np.max(stack, axis=0),
    )
    if x_high > 20 * x_low > 0:
        axes.set_xscale("log")
    if 100 - y_low > 10 * max(100 - y_high, 0.1):
        axes.set_yscale(
            "function",
            functions=(lambda y: -np.log((100.1 - y).clip(1e-3)), lambda z: 100.1 - np.exp(-z)),
        )
        axes.yaxis.set_major_locator(FixedLocator([0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 100]))
        axes.yaxis.set_major_formatter("{x:g}")
    short = EngFormatter("s" if "time" in x else "")
    axes.xaxis.set_major_formatter(
        lambda value, _: f"{value:,.0f} s" if "time" in x and value >= 1000 else short(value)
    )
    axes.margins(0.15)
    figure.draw_without_rendering()
    write_names(axes, means, stack)
    return figure


def panels(points: list[Point], families: Mapping[str, str], x: str, split: str) -> Figure:
    """A panel for the lines of each family, named, in front of all others in grey; the cost is logarithmic.

    What ends at costs far below all others stands at the left edge, with its cost.
    """
    data = pd.DataFrame(points, columns=["method", "seed", "x", "y"]).dropna()
    data["family"] = data["method"].map(families)
    last = data.groupby(["method", "seed"])[["x", "y"]].last().groupby("method").mean()
    least, short = data["x"].quantile(0.02), EngFormatter("s", 0)
    names, columns = sorted(data["family"].unique()), 3
    figure = Figure(figsize=(10, 2.7 * -(-len(names) // columns)), dpi=72, layout="constrained")
    grid = figure.subplots(
        -(-len(names) // columns), columns, sharex=True, sharey=True, squeeze=False
    ).ravel()
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    for family, axes in zip(names, grid, strict=False):
        sns.lineplot(data, x="x", y="y", units=data["method"] + data["seed"].astype(str), estimator=None,
                     color="#8888884d", lw=0.7, ax=axes)  # fmt: skip
        own, means = data[data["family"] == family], {}
        for (name, lines), colour, marker in zip(
            own.groupby("method"), cycle(COLOURS), cycle(MARKERS), strict=False
        ):
            sns.lineplot(
                lines, x="x", y="y", units="seed", estimator=None, color=colour, lw=1.2, ax=axes
            )
            x_last, y_last = last.loc[name]
            early = f" ({short(x_last)})" if x_last < least else ""
            means[f"{name}{early}"] = mean = np.array([max(x_last, 1.04 * least), y_last])
            axes.plot(*mean, marker, c=colour, ms=6, mec=INK, mew=0.6)
        axes.set(title=family, xscale="log", xlabel=x, ylabel=f"{split} accuracy (%)")
        axes.set_xlim(least, data["x"].max() * 8)  # names stand on the right
        axes.xaxis.set_major_formatter(short)
        sns.despine(ax=axes)
        figure.draw_without_rendering()
        write_names(axes, means, own[["x", "y"]].to_numpy())
    return figure


def _families(groups: list[Group]) -> dict[str, str]:
    """What each line belongs to; the methods of plugins to "other" unless they are installed."""
    known = {it["name"]: it["family"] for it in describe.methods()}
    return {group.name: known.get(group.cell.method) or "other" for group in groups}


def recovery(groups: list[Group], folder: Path) -> Path | None:
    """Atoms found again by each method on each data set of planted atoms, in an SVG file with a PNG beside it."""
    found = [
        (group.dataset, group.name, row.measured.recovered) for group in groups for row in group.ok
    ]
    data = pd.DataFrame(found, columns=["data set", "method", "recovered"]).dropna()
    if data.empty:
        return None
    with mpl.rc_context(sns.axes_style("whitegrid") | STYLE | {"svg.hashsalt": "recovery"}):
        figure = Figure(figsize=(7, 4.4), dpi=72, layout="constrained")
        axes = figure.add_subplot()
        n = data["method"].nunique()
        sns.pointplot(data, x="data set", y="recovered", hue="method", errorbar="sd", dodge=0.5, linestyle="none",
                      palette=COLOURS[:n], markers=list(MARKERS[:n]), err_kws={"lw": 1}, ax=axes)  # fmt: skip
        axes.set(
            xlabel="",
            ylabel="recovered atoms (%)",
            ylim=(max(0, data["recovered"].min() - 10), 101),
        )
        axes.tick_params(axis="x", rotation=20)
        sns.despine(figure)
        figure.suptitle("recovery of planted atoms", size=11)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "recovery.svg"
        figure.savefig(
            path, transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
        figure.savefig(folder / "recovery.png", dpi=200)
    return path


def errors(curves: Mapping[str, Mapping[str, float]], x: str, y: str, path: Path) -> None:
    """Relative errors by number of steps, a named line for each of `curves`, in an SVG file with a PNG beside it."""
    data = (
        pd.DataFrame(curves)
        .rename_axis("x")
        .reset_index()
        .melt("x", var_name="method", value_name="y")
        .dropna()
    )
    data["x"] = data["x"].astype(int)
    with mpl.rc_context(sns.axes_style("whitegrid") | STYLE | {"svg.hashsalt": path.stem}):
        figure = Figure(figsize=(7, 4.4), dpi=72, layout="constrained")
        axes = figure.add_subplot(xlabel=x, ylabel=y, xscale="log", yscale="log")
        for (name, line), colour, marker in zip(
            data.groupby("method"), COLOURS, MARKERS, strict=False
        ):
            axes.plot(line["x"], line["y"], marker, ls="-", c=colour, ms=6, mec=INK, mew=0.6)
            axes.annotate(
                str(name),
                (line["x"].iloc[-1], line["y"].iloc[-1]),
                (6, 0),
                textcoords="offset points",
                va="center",
            )
        axes.xaxis.set_major_locator(FixedLocator(sorted(data["x"].unique())))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:.0e}")
        axes.margins(x=0.12)
        sns.despine(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(
            path, transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
        figure.savefig(path.with_suffix(".png"), dpi=200)


def _confusion(kept: dict[str, dict[str, np.ndarray]]) -> Figure | None:
    """Of each method, the share of each class (a row) that was taken for another, in percent; of one seed."""
    shown = {
        name: arrays
        for name, arrays in kept.items()
        if 2 <= len(arrays.get("class_names", ())) <= 12
    }
    columns = min(len(shown), 3)
    lines = -(-len(shown) // 3)
    figure = Figure(figsize=(4 * max(columns, 1), 3.9 * max(lines, 1)), layout="constrained")
    for index, (name, it) in enumerate(shown.items(), 1):
        classes = [str(word) for word in it["class_names"]]
        counts = np.zeros((len(classes), len(classes)))
        np.add.at(counts, (it["y_test"], it["predictions"]), 1)
        table = pd.DataFrame(
            100 * counts / np.maximum(counts.sum(1, keepdims=True), 1), classes, classes
        )
        texts = table.map(lambda share: f"{share:.0f}" if share >= 0.5 else "")
        axes = figure.add_subplot(lines, columns, index, title=name)
        sns.heatmap(table, annot=texts, fmt="", cmap="Greys", vmin=0, vmax=100, cbar=False, square=True,
                    linewidths=0.3, linecolor="#888888", annot_kws={"size": 7}, ax=axes)  # fmt: skip
        axes.set(xlabel="predicted (%)", ylabel="true")
        axes.tick_params(labelsize=7)
    return figure if shown else None


def _atoms(atoms: dict[str, np.ndarray | None]) -> Figure | None:
    """The first atoms of each method that has some, each stretched by its own largest value; zero is mid-grey."""
    shown = {
        name: array
        for name, array in atoms.items()
        if array is not None and array.shape[1] in (1, 3)
    }
    columns, lines = min(max(len(shown), 2), 5), -(-len(shown) // 5)
    figure = Figure(figsize=(3 * columns, 3.4 * max(lines, 1)), layout="constrained")
    for index, (name, array) in enumerate(shown.items(), 1):
        side = int(np.ceil(min(len(array), 100) ** 0.5))
        tiles = 0.5 + array / np.maximum(
            2 * np.abs(array).max(axis=(1, 2, 3), keepdims=True), 1e-12
        )
        room = (
            (0, max(0, side * side - len(array))),
            (0, 0),
            (0, 1),
            (0, 1),
        )  # white lines between atoms
        tiles = np.pad(tiles, room, constant_values=1)[: side * side]
        picture = np.block(
            [[*line] for line in tiles.reshape(side, side, *tiles.shape[1:])]
        ).transpose(1, 2, 0)
        title = f"{name}: {min(len(array), side * side)} of {len(array)} atoms"
        axes = figure.add_subplot(lines, min(columns, len(shown)), index, title=title)
        axes.imshow(picture, "gray", vmin=0, vmax=1, interpolation="none")
        axes.set_axis_off()
    return figure if shown else None
