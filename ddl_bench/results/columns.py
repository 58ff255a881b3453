"""The columns of `ddl_bench.load`: name, type, unit and meaning of each, in one table."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from ddl_bench.errors import UserError
from ddl_bench.results.rows import RESERVED, TYPE_OF_COLUMN

DType = Literal["string", "Int64", "Float64", "boolean", "datetime64[us, UTC]"]
DTYPE_OF = {
    "Count": "Int64",
    "Number": "Float64",
    "Percent": "Float64",
    "Positive": "Float64",
    "bool": "boolean",
}


class FrameColumn(NamedTuple):
    """Hold a column of the DataFrame of rows.

    Parameters
    ----------
    name
        Its name.
    unit
        Of its numbers; empty where they have none.
    meaning
        What the value is.
    dtype
        The type of pandas; each takes missing values.
    """

    name: str
    unit: str
    meaning: str
    dtype: DType


def text(name: str, meaning: str) -> FrameColumn:
    """Describe a column of texts."""
    return FrameColumn(name, "", meaning, "string")


def count(name: str, meaning: str, unit: str = "") -> FrameColumn:
    """Describe a column of whole numbers."""
    return FrameColumn(name, unit, meaning, "Int64")


def amount(name: str, unit: str, meaning: str) -> FrameColumn:
    """Describe a column of numbers with a unit."""
    return FrameColumn(name, unit, meaning, "Float64")


def truth(name: str, meaning: str) -> FrameColumn:
    """Describe a column of yes and no."""
    return FrameColumn(name, "", meaning, "boolean")


def measured(name: str, unit: str, meaning: str) -> FrameColumn:
    """Describe a measured value, whose type is that of `Measured`."""
    written = TYPE_OF_COLUMN[name].removesuffix(" | None")
    dtype: DType = DTYPE_OF.get(written, "string")  # type: ignore[assignment]  # values of DTYPE_OF
    return FrameColumn(name, unit, meaning, dtype)


PLACE = (
    text("run", "folder of the run"),
    text("dataset", "name of the data set, as in the table"),
    text("line", "name of the line of the table that the cell is a seed of"),
    text("label", "name of the method in its track, with its options"),
    text("method", "name of the method"),
    text("family", "family of the method, `other` where it states none"),
    count("seed", "seed of the training"),
)
"""What says which training a record is of."""

OF_CELL = (
    *PLACE,
    text("status", "how the cell ended: `ok`, or what went wrong"),
    text("reason", "why it did not end well"),
    text("cell_id", "hash of what determines the result; the name of the cell's files"),
    text("group", "hash of all of that but the seed"),
    text("params", "options of the method, as JSON"),
    text("grid", "values among which options are chosen, as JSON"),
    text("chosen", "the options that were chosen on validation images, as JSON"),
    text("source", "hash of the code of the method"),
    text("plugins", "files of plugins, separated by `; `"),
    text("dataset_path", "the data set as the command named it: a name, a file or a folder"),
    text("data", "hash of images and labels"),
    truth("mirror", "whether a user's images and their mirror images have the same class"),
    amount("val_fraction", "1", "share of the training images that is kept for validation"),
    count("limit_train", "most training images", "images"),
    count("limit_test", "most test images", "images"),
    count("test_from_train", "last training images that are the test images", "images"),
    text("budget", "how much a training may do, as in `30 epochs` or `180 s`"),
    count("budget_epochs", "budget in passes over the training images", "passes"),
    amount("budget_s", "s", "budget in training time"),
    text("device", "`cpu`, or a GPU such as `cuda:0`"),
    count("threads", "CPU threads"),
    text("precision", "of products and convolutions of networks"),
    amount("time_limit_s", "s", "wall time at which the worker is ended"),
    amount("memory_limit_gb", "GB", "memory at which the worker is ended"),
    text("track", "track that planned the cell"),
    text("reference", "label that the track compares all others with"),
    text("paper", "network of the DeTraMe-Net paper that the cell repeats"),
)
MEASURED = (
    measured("n_train", "images", "training images, without those for validation"),
    measured("n_val", "images", "validation images"),
    measured("n_test", "images", "test images"),
    measured("accuracy", "%", "top-1 on the test images, by the last classifier within budget"),
    measured("val_accuracy", "%", "the same on the validation images"),
    measured("official_accuracy", "%", "the same on the data set's own test images, kept apart"),
    measured("n_official", "images", "the data set's own test images, where kept apart"),
    measured("best_epoch_accuracy", "%", "highest accuracy on the test images of all epochs"),
    measured("best_epoch", "", "the epoch that had it"),
    measured("n_epochs_scored", "", "epochs that were scored for it"),
    measured("n_params", "", "numbers that prediction is free to choose: parameters"),
    measured("n_stored", "", "numbers in their arrays, structural zeros included"),
    measured("n_buffers", "", "all else that prediction reads"),
    measured("size_reason", "", "why sizes are not known"),
    measured("flops_per_image", "operations", "to classify an image; multiply and add are two"),
    measured("flops_left_out", "", "what that count leaves out, or why there is none"),
    measured("train_s", "s", "training alone"),
    measured("train_s_per_image", "s", "training time / training images"),
    measured("train_s_per_image_pass", "s", "training time / (training images x passes)"),
    measured("train_s_per_image_pass_iqr", "s", "interquartile range of repeated steps"),
    measured("passes", "", "how often the training images were seen"),
    measured("search_s", "s", "training of the grid points that were not chosen"),
    measured("over_budget", "", "whether the training took longer than its budget"),
    measured("batch_dependent", "", "whether scores depend on the other images, or on chance"),
    measured("stale_answers", "", "whether answers were kept while predictions were timed"),
    measured("predictions_sha256", "", "digest of the predicted classes"),
    measured("n_views", "", "views of an image whose scores a network adds"),
    measured("n_held", "", "numbers in the arrays of the classifier, counted by the harness"),
    measured("train_cpu_s", "s", "CPU time of the training, of all threads"),
    measured("outside_s", "s", "what a method did off the clock"),
    measured("background_cpu_s", "s", "CPU time of what went on after the training"),
    measured("background", "", "threads and processes that went on after the training"),
    measured("unaccounted_s", "s", "seconds that the clock of the worker lacks"),
    measured("n_cores_beyond", "", "cores that were used besides those of the cell"),
    measured("train_others", "1", "share of the cell's cores that others used in training"),
    measured("test_others", "1", "the same while predictions were timed"),
    measured("train_switches", "", "times that the kernel took a core away in training"),
    measured("test_switches", "", "the same while predictions were timed"),
    measured("test_cpu_share", "1", "CPU time / wall time while predictions were timed"),
    measured("load_average", "", "load of the machine after the timing"),
    measured("test_s_per_image", "s", "median time of a full batch / its size"),
    measured("test_s_per_image_iqr", "s", "interquartile range of its repetitions"),
    measured("test_latency_s", "s", "median time of one image alone"),
    measured("test_latency_s_iqr", "s", "interquartile range of its repetitions"),
    measured("test_batch", "images", "size of a full batch"),
    measured("n_test_runs", "", "repetitions of a full batch"),
    measured("n_latency_runs", "", "repetitions of one image"),
    measured("clock_mhz", "MHz", "clock frequency of the cores after the timing"),
    measured("retimed", "", "when and on what times of predictions were measured again"),
    measured("not_retimed", "", "why they were not, where others were"),
    measured("not_retrained", "", "why times of training were not, where others were"),
    measured("run_train_s", "s", "what the run had measured before"),
    measured("run_test_s_per_image", "s", "what the run had measured before"),
    measured("run_test_latency_s", "s", "what the run had measured before"),
    measured("peak_memory", "B", "peak resident memory of the process"),
    measured("peak_device_memory", "B", "peak memory allocated on the device"),
    measured("sparsity", "1", "non-zero entries of the codes / all entries"),
    measured("reconstruction", "1", "squared error of the codes' reconstruction / squared norm"),
    measured("recovered", "%", "planted atoms that were found: inner product of 0.99 or more"),
    measured("data_note", "", "what to know about the images"),
    measured("model_note", "", "why no model is kept, where one was to be"),
    measured("conflict", "", "results of the same cell in another folder that was merged"),
)
PHASES = {
    "start-up": "start of the worker",
    "import": "import of libraries",
    "data": "loading of the images",
    "warm-up": "warm-up before the training",
    "training": "training, the phase as a whole",
    "evaluation": "scoring and timing",
    "saving": "writing of what is kept",
    "provenance": "description of code and machine",
}
OF_ROW = (
    amount("wall_s", "s", "from the start of the worker to its end"),
    *(
        amount(f"{phase.replace('-', '_')}_phase_s", "s", meaning)
        for phase, meaning in PHASES.items()
    ),
    count("resumed", "times that the training went on from a checkpoint"),
    text("failed_attempts", "how earlier attempts ended, separated by `; `"),
    FrameColumn("started", "", "when the worker was started, in UTC", "datetime64[us, UTC]"),
    text("command", "command that reproduces the row"),
    text("commit", "commit of the project"),
    truth("dirty", "whether its files were changed since"),
    text("host", "name of the machine, unless the row is public"),
    text("os", "operating system"),
    text("cpu", "model of the processor"),
    count("cores", "cores of the machine"),
    text("gpu", "model of the GPU"),
    text("cuda", "version of CUDA"),
    text("blas", "library of linear algebra"),
    text("versions", "versions of Python and of libraries, as JSON"),
)
FRAME_COLUMNS = (*OF_CELL, *MEASURED, *OF_ROW)
"""All columns, in the order of the DataFrame."""

OF_TABLES = frozenset(("behind", "interval", "note", "parameters", "seeds", "views"))
"""Columns and headings of the table that are not those of the DataFrame."""

TAKEN = RESERVED | OF_TABLES | {column.name for column in FRAME_COLUMNS}


def refuse_taken(metrics: Iterable[str]) -> None:
    """Raise UserError for a metric that has the name of another column."""
    for name in metrics:
        if name in TAKEN:
            raise UserError(f"the metric {name!r} has the name of a column of ours; rename it")


CURVE_COLUMNS = (
    *PLACE,
    text("cell_id", "the cell that the curve is of"),
    text("split", "images that are scored: `validation`, or `test`"),
    amount("step", "", "passes so far, or parts of the training where passes are not counted"),
    amount("seconds", "s", "training time so far"),
    amount("passes", "", "passes over the training images so far"),
    amount("images", "images", "training images seen so far"),
    amount("accuracy", "%", "top-1 on these images"),
)
"""Columns of `ddl_bench.curves`."""

PREDICTION_COLUMNS = (
    *PLACE,
    text("cell_id", "the cell that the prediction is of"),
    count("image", "place of the test image, the first is 0"),
    count("true", "its class"),
    count("predicted", "the class that was predicted"),
    text("true_name", "name of the class, where classes have names"),
    text("predicted_name", "name of the predicted class"),
    truth("is_right", "whether the two are the same"),
)
"""Columns of `ddl_bench.predictions`."""
