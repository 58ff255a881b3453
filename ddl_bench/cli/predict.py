"""Classify images with a kept model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ddl_bench.cli.messages import tell
from ddl_bench.cli.output import emit, print_line
from ddl_bench.cli.table import NAME_WIDTH, TEXT_WIDTH, Column, Table, print_table
from ddl_bench.errors import UserError
from ddl_bench.files import name_of
from ddl_bench.results.paths import model_path
from ddl_bench.results.rows import find_rows

SUFFIX = ".safetensors"
IMAGE = Column("image", folds_to=NAME_WIDTH)
LABEL = Column("label", folds_to=NAME_WIDTH)
PROBABILITY = Column("probability (%)", is_right=True)
SCORE = Column("score", rank=1, is_right=True)
TRUTH = Column("truth", folds_to=NAME_WIDTH)
OTHERS = Column("next labels", rank=2, folds_to=TEXT_WIDTH)


def model_file(model: str, run: Path) -> Path:
    """Return the file of the model of a row, by its label, seed or cell ID.

    Of a label with several seeds it is the first that is kept, and a line says so.
    """
    rows = find_rows(run, model)
    trained = [row for row in rows if row.status in ("ok", "outdated")]
    kept = [row for row in trained if model_path(run, row.cell.id).is_file()]
    if not kept:
        raise UserError(
            f"{name_of(run)}: no model of {model!r:.80} is kept; "
            "`ddl-bench run --keep-models --rerun all` trains and keeps them"
        )
    first = min(kept, key=lambda row: row.cell.seed)
    if len(kept) > 1:
        chosen = f"{first.cell.label}@{first.cell.seed} (cell {first.cell.id})"
        tell(f"{len(kept)} models of {model}: taking {chosen}")
    return model_path(run, first.cell.id)


def print_predictions(
    console: Console,
    model: Path,
    images: Path,
    plugins: tuple[Path, ...],
    *,
    top: int,
    as_json: bool,
) -> None:
    """Print the class of each image, its probability or score, and the accuracy if it is known."""
    from ddl_bench.results.models import predict as classify

    records = classify(model, images, plugins, top=top)
    if as_json:
        emit(records)
        return
    columns = [IMAGE, LABEL]
    first = records[0]
    columns.append(PROBABILITY if "probability" in first else SCORE)
    if "truth" in first:
        columns.append(TRUTH)
    if top > 1:
        columns.append(OTHERS)
    lines = [[text_of(record, column) for column in columns] for record in records]
    title = f"images: {len(records):,}, by {name_of(model)}"
    print_table(console, Table(columns=columns, lines=lines, title=title))
    if "truth" in first:
        print_line(console, accuracy_text(records))


def text_of(record: Mapping[str, Any], column: Column) -> str:
    """Write one value of a prediction."""
    if column is PROBABILITY:
        return f"{100 * record['probability']:.1f}"
    if column is SCORE:
        return f"{record['score']:.4g}"
    if column is OTHERS:
        return ", ".join(map(likely_text, record["top"][1:]))
    return str(record[column.title])


def likely_text(likely: Mapping[str, Any]) -> str:
    """Write a label that an image may have, too: "8 (1.2 %)"."""
    if "probability" in likely:
        return f"{likely['label']} ({100 * likely['probability']:.1f} %)"
    return f"{likely['label']} ({likely['score']:.4g})"


def accuracy_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Say how many of the images are classified right."""
    n_right = sum(record["label"] == record["truth"] for record in records)
    share = 100 * n_right / len(records)
    return f"accuracy: {share:.2f} % ({n_right:,} of {len(records):,} images)"
