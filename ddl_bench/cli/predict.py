"""Classify images with a kept model."""

from pathlib import Path

from rich.console import Console

from ddl_bench.cli.output import print_records
from ddl_bench.cli.table import NAME_WIDTH, Column

PREDICTIONS = (
    Column("image", folds_to=NAME_WIDTH),
    Column("label", folds_to=NAME_WIDTH),
    Column("score", rank=1, is_right=True),
)


def print_predictions(
    console: Console, model: Path, images: Path, plugins: tuple[Path, ...], *, as_json: bool
) -> None:
    """Print the class of each image, and its score."""
    from ddl_bench.results.models import predict as classify

    records = classify(model, images, plugins)
    title = f"{len(records)} images"
    print_records(console, title, records, PREDICTIONS, as_json=as_json)
