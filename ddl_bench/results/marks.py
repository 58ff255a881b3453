"""What a reader must know of a row: where a method or the machine may have bent its numbers."""

import math

from ddl_bench.results.rows import Measured, Row

OUTSIDE_SHARE = 0.2  # of the training time that a method may spend off the clock, and
OUTSIDE_S = 0.5  # so many seconds
OTHERS_SHARE = 0.2  # of the cores that others may use
CPU_SHARE = 0.9  # CPU time / wall time of a core of one's own
BUSY_SHARE = 0.8  # of the time of cores: where less of it is used, nothing waits for them
SHORTEST_S = 0.3  # trainings below are too short to say how loaded the machine was
SPREAD_SHARE = 0.1  # interquartile range / median of repeated timings
UNSURE = "†"  # a time whose repetitions or seeds spread, or that was taken on a loaded machine
OF_THE_RUN = "‡"  # a time of the run, where others were measured again
LOADED = "loaded machine"  # what a note of load begins with
MIXED = "§"  # a mean of times of several machines
TIMES_OF_TRAINING = ("train_s", "train_s_per_image", "train_s_per_image_pass")
CHANCE_FACTOR = 6.0  # standard errors between the accuracies on test and validation images, and
CHANCE_POINTS = 10.0  # so many points of percent


def marks(row: Row) -> dict[str, str]:
    """Say what is wrong with the numbers of a row, by the column that shows it."""
    measured = row.measured
    texts = {}
    if measured.over_budget:
        texts["over_budget"] = "over its time budget"
    if is_outside(measured):
        texts["outside_s"] = f"{measured.outside_s:.1f} s outside of advance"
    if measured.background:
        texts["background"] = f"still at work after the training: {measured.background}"
    if measured.n_cores_beyond:
        texts["n_cores_beyond"] = f"used {measured.n_cores_beyond} cores besides its own"
    if measured.unaccounted_s is not None:
        texts["unaccounted_s"] = f"its clock lacks {measured.unaccounted_s:.1f} s"
    if measured.batch_dependent:
        texts["batch_dependent"] = "scores depend on the other images, or on chance"
    if measured.stale_answers:
        texts["stale_answers"] = "answers of other images while it was timed"
    if claims_too_little(measured):
        texts["n_held"] = f"holds {measured.n_held:,} numbers, more than it says"
    if is_above_validation(measured):
        texts["val_accuracy"] = "test accuracy far above validation"
    threads = row.cell.threads
    in_training = training_share(measured)
    if in_training is not None and is_loaded(in_training, measured.train_others, threads):
        texts["train_others"] = loaded("training", in_training)
    in_timing = measured.test_cpu_share
    if in_timing is not None and is_loaded(in_timing, measured.test_others, threads):
        texts["test_others"] = loaded("timing", in_timing)
    return texts


def marks_of_times(row: Row) -> dict[str, str]:
    """Return the symbols that stand beside the times of a row in every table, by their columns."""
    measured = row.measured
    threads = row.cell.threads
    symbols: dict[str, str] = {}
    of_training = ""
    is_unsteady = is_spread(measured.train_s_per_image_pass, measured.train_s_per_image_pass_iqr)
    if is_unsteady or is_loaded(training_share(measured), measured.train_others, threads):
        of_training += UNSURE
    if measured.not_retrained:
        of_training += OF_THE_RUN
    if of_training:
        symbols |= dict.fromkeys(TIMES_OF_TRAINING, of_training)
    is_unsure = is_loaded(measured.test_cpu_share, measured.test_others, threads)
    for column in ("test_s_per_image", "test_latency_s"):
        median = getattr(measured, column)
        text = ""
        if is_unsure or is_spread(median, getattr(measured, f"{column}_iqr")):
            text += UNSURE
        if measured.not_retimed and median is not None:
            text += OF_THE_RUN
        if text:
            symbols[column] = text
    return symbols


def is_spread(median: float | None, iqr: float | None) -> bool:
    """Whether repeated timings spread so much that their median says little."""
    return median is not None and iqr is not None and iqr > SPREAD_SHARE * median


def is_outside(measured: Measured) -> bool:
    """Whether a method did too much off the clock."""
    if measured.outside_s is None or measured.train_s is None:
        return False
    return measured.outside_s > max(OUTSIDE_S, OUTSIDE_SHARE * measured.train_s)


def claims_too_little(measured: Measured) -> bool:
    """Whether a classifier holds more numbers than it says."""
    if measured.n_held is None or measured.n_stored is None:
        return False
    return measured.n_held > measured.n_stored + (measured.n_buffers or 0)


def is_above_validation(measured: Measured) -> bool:
    """Whether test images are classified better than validation images, beyond chance."""
    if measured.accuracy is None or measured.val_accuracy is None:
        return False
    n_val = measured.n_val or 0
    n_test = measured.n_test or 0
    if not n_val or not n_test:
        return False
    right = (measured.accuracy * n_test + measured.val_accuracy * n_val) / (n_test + n_val) / 100
    error = 100 * math.sqrt(right * (1 - right) * (1 / n_val + 1 / n_test))
    return measured.accuracy - measured.val_accuracy > max(CHANCE_FACTOR * error, CHANCE_POINTS)


def training_share(measured: Measured) -> float | None:
    """Return CPU time / wall time of the training; None where it was too short to say."""
    if measured.train_cpu_s is None or not measured.train_s or measured.train_s < SHORTEST_S:
        return None
    return measured.train_cpu_s / measured.train_s


def is_loaded(cpu_share: float | None, others: float | None, threads: int) -> bool:
    """Whether a process waited for cores that others used.

    Parameters
    ----------
    cpu_share
        Its CPU time / wall time, at most its number of threads.
    others
        Share of its cores that others used.
    threads
        Of the process.
    """
    if cpu_share is None or others is None:
        return False
    used = cpu_share / threads
    return used < CPU_SHARE and others > OTHERS_SHARE and used + others > BUSY_SHARE


def loaded(span: str, cpu_share: float) -> str:
    """Write that the machine was loaded."""
    return f"{LOADED} in {span}: CPU/wall {cpu_share:.2f}"
