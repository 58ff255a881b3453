"""The result table: one line for each group of rows that differ in the seed alone."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ddl_bench.results.groups import gather
from ddl_bench.results.rows import Row
from ddl_bench.results.stats import mean_interval

COLUMNS = (  # of `Row`: field, title, meaning, the unit it is shown in, format (or three digits)
    (
        "accuracy",
        "accuracy (%)",
        "top-1 on the test images, by the last classifier within budget",
        1,
        ".2f",
    ),
    (
        "official_accuracy",
        "official (%)",
        "the same on the data set's own test images, kept apart",
        1,
        ".2f",
    ),
    (
        "recovered",
        "recovered (%)",
        "planted atoms that were found: inner product of 0.99 or more",
        1,
        ".1f",
    ),
    ("n_params", "parameters", "numbers that prediction uses, without structural zeros", 1, ",.0f"),
    (
        "flops_per_image",
        "Mflop/image",
        "operations to classify an image; multiply and add are two",
        1e6,
        "",
    ),
    (
        "train_s",
        "train (s)",
        "training alone: import, data, warm-up and evaluation are off the clock",
        1,
        "",
    ),
    ("train_s_per_image", "train (ms/image)", "the same / training images", 1e-3, ""),
    (
        "train_s_per_image_pass",
        "train (ms/image/pass)",
        "the same / (training images x passes)",
        1e-3,
        "",
    ),
    ("search_s", "search (s)", "training of the grid points that were not chosen", 1, ""),
    (
        "test_s_per_image",
        "test (µs/image)",
        "median time of a full batch / its size ± interquartile range",
        1e-6,
        "",
    ),
    (
        "test_latency_s",
        "latency (ms)",
        "the same for one image alone, ± standard deviation over seeds",
        1e-3,
        "",
    ),
    ("peak_memory", "memory (MB)", "peak resident memory of the process", 1e6, ",.0f"),
    ("peak_device_memory", "GPU memory (MB)", "peak memory allocated on the device", 1e6, ",.0f"),
    ("sparsity", "codes used (%)", "non-zero entries of the codes / all entries", 1e-2, ""),
    (
        "reconstruction",
        "residual (%)",
        "squared error of the codes' reconstruction / squared norm",
        1e-2,
        "",
    ),
)
BRIEF = [
    "data set",
    "method",
    "seeds",
    "accuracy (%)",
    "recovered (%)",
    "parameters",
    "train (ms/image)",
]
BRIEF += ["test (µs/image)", "note"]


def number(value: float, sd: float = np.nan, form: str = "") -> str:
    """Value ± spread, in a format or else to three and two digits without exponent: 0.00312 ± 0.0001; empty for NaN."""
    short = [
        f"{float(f'{it:.{n}g}'):,.12f}".rstrip("0").rstrip(".") for it, n in ((value, 3), (sd, 2))
    ]
    texts = [f"{value:{form}}", f"{sd:{form}}"] if form else short
    varies = sd > 1e-9 * abs(value) or (
        sd >= 0 and form in (".1f", ".2f")
    )  # a count has no spread to show
    return "" if np.isnan(value) else " ± ".join(texts[: 1 + varies])


def summary(rows: Iterable[Row]) -> pd.DataFrame:
    """The table in the units of `Row`: mean over seeds and `_sd` of each column, its n, and why seeds are missing."""
    lines = []
    for group in gather(rows):
        line: dict[str, str | float] = {
            "dataset": group.dataset,
            "label": group.name,
            "group": group.cell.group,
        }
        line["n_seeds"], accuracy = len(group.ok), group.values("accuracy")
        for name in ("n_train", "n_val", "n_test", "n_stored", "passes", "test_s_per_image_iqr"):
            line[name] = group.values(name).mean()
        for field, *_ in COLUMNS:
            line[field], line[f"{field}_sd"] = group.values(field).mean(), group.values(field).std()
        line["low"], line["high"], line["interval"] = mean_interval(
            accuracy, group.values("n_test").max()
        )
        sizes = sorted(
            {
                f"size unknown: {row.measured.size_reason}"
                for row in group.ok
                if row.measured.size_reason
            }
        )
        notes = [
            group.missing,
            "over its time budget" * any(row.measured.over_budget for row in group.ok),
            *sizes,
        ]
        lines.append(line | {"machine": group.machine, "note": "; ".join(filter(None, notes))})
    return pd.DataFrame(lines)


def display(rows: Iterable[Row]) -> pd.DataFrame:
    """The table as text: mean ± standard deviation over seeds. Columns that say nothing in this run are left out."""
    table = summary(rows)
    shown = table[["dataset", "label", "n_seeds"]].astype(str).set_axis(BRIEF[:3], axis=1)
    for field, title, _, unit, form in COLUMNS:
        sd = table["test_s_per_image_iqr" if field == "test_s_per_image" else f"{field}_sd"]
        shown[title] = [
            number(*pair, form) for pair in zip(table[field] / unit, sd / unit, strict=True)
        ]
    intervals = zip(
        table["low"], table["high"], table["interval"].str.partition(" ")[0], strict=True
    )
    texts = [f"{low:.2f} to {high:.2f} ({how})" if how else "" for low, high, how in intervals]
    shown.insert(4, "95 % interval", texts)
    machines = [f"timed on {it}" if it else "" for it in table["machine"]]
    if len({*machines} - {""}) > 1:
        table["note"] = [
            "; ".join(filter(None, pair)) for pair in zip(table["note"], machines, strict=True)
        ]
    shown["note"] = table["note"]
    return shown.loc[:, (shown != "").any()]
