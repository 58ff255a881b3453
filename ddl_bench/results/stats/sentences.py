"""What a comparison comes to, in one plain sentence."""

from collections.abc import Iterable

from ddl_bench.results.stats.comparison import Comparison
from ddl_bench.results.stats.welch import SEEDS_FOR_INTERVAL, SEEDS_FOR_VERDICT

POWER = "with 80 % power"
USUAL_DIGITS = 2  # after the point
MOST_DIGITS = 6


def sentence_of(record: Comparison) -> str:
    """Say what follows from a comparison of two methods, or why nothing does.

    Examples
    --------
    >>> sentence_of(Comparison(dataset="d", a="x", b="y", left_out=("y: failed",)))
    'Nothing to compare: y: failed.'
    """
    if record.difference is None or record.mean_a is None or record.mean_b is None:
        reasons = "; ".join(record.left_out) or "one of them has no accuracy"
        return f"Nothing to compare: {reasons}."
    if record.low is None or record.high is None:
        accuracies = f"{record.mean_a:.2f} % and {record.mean_b:.2f} %"
        return (
            f"No conclusion about methods: {accuracies} in {seeds_text(record)}, and an interval"
            f" needs {SEEDS_FOR_INTERVAL} seeds, a verdict {SEEDS_FOR_VERDICT}."
        )
    if record.is_without_spread:
        return without_spread(record)
    n_digits = digits_beside((record.low, record.high), (0.0,))
    measured = f"95 %: {span(record.low, record.high, n_digits)}, {seeds_text(record)}"
    is_judged = record.n_seeds >= SEEDS_FOR_VERDICT
    is_resolved = record.verdict.endswith("is more accurate")
    if is_judged and is_resolved:
        gain = span(*towards_higher(record, record.low, record.high), n_digits)
        return above(record, f"95 %: {gain}, {seeds_text(record)}", n_digits)
    blind = ""
    if record.detectable is not None:
        blind = f"; differences below {record.detectable:.2f} points cannot be seen {POWER}"
    if is_judged:
        difference = points(record.difference, n_digits)
        is_beside_zero = record.low > 0 or record.high < 0
        if is_beside_zero and record.p_family is not None:
            corrected = f"corrected for {record.family} p = {record.p_family:.2g}"
            measured = f"by itself {measured}; {corrected}"
        return f"No difference resolved: {difference} points ({measured}){blind}."
    return (
        f"No verdict: {points(record.difference, n_digits)} points ({measured}), and a verdict"
        f" needs {SEEDS_FOR_VERDICT} seeds{blind}."
    )


def above(record: Comparison, measured: str, n_digits: int = USUAL_DIGITS) -> str:
    """Say which of two methods is above the other."""
    higher = record.a
    lower = record.b
    if (record.difference or 0) < 0:
        higher = record.b
        lower = record.a
    difference = abs(record.difference or 0)
    return f"{higher} is above {lower} by {difference:.{n_digits}f} points ({measured})."


def towards_higher(record: Comparison, low: float, high: float) -> tuple[float, float]:
    """Return the limits of the difference of the higher method minus the lower one."""
    if (record.difference or 0) < 0:
        return -high, -low
    return low, high


def without_spread(record: Comparison) -> str:
    """Say what follows where no seed changes an accuracy: an interval for new images, if any."""
    basis = f"no spread over seeds: each method has one accuracy, {seeds_text(record)}"
    if not record.difference:
        return f"Equal accuracies, {record.mean_a:.2f} % ({basis})."
    n_digits = digits_beside((record.difference,), (0.0,))
    if record.new_images_low is None or record.new_images_high is None:
        return above(record, f"{basis}; other test images may change it", n_digits)
    limits = towards_higher(record, record.new_images_low, record.new_images_high)
    return above(record, f"{basis}; 95 % for new images: {span(*limits)}", n_digits)


def seeds_text(record: Comparison) -> str:
    """Write how many seeds the two methods have: "5 seeds each", "5 and 3 seeds"."""
    n_a = len(record.seeds_a)
    n_b = len(record.seeds_b)
    if n_a == n_b:
        return "1 seed each" if n_a == 1 else f"{n_a} seeds each"
    return f"{n_a} and {n_b} seeds"


def digits_beside(limits: Iterable[float], bounds: Iterable[float]) -> int:
    """Count the digits after the point with which no limit is rounded to, or past, a bound.

    They are 2, or up to MOST_DIGITS where a verdict would contradict what is written: a limit of
    0.004 is above 0, and "+0.00" would not show it.

    Examples
    --------
    >>> digits_beside((0.004, 1.2), (0.0,))
    3
    """
    pairs = [(limit, bound) for limit in limits for bound in bounds]
    for n_digits in range(USUAL_DIGITS, MOST_DIGITS + 1):
        if all(side(round(limit, n_digits), bound) == side(limit, bound) for limit, bound in pairs):
            return n_digits
    return USUAL_DIGITS


def side(limit: float, bound: float) -> int:
    """Return 1 above a bound, -1 below it, and 0 where both are equal."""
    return int(limit > bound) - int(limit < bound)


def points(value: float, n_digits: int = USUAL_DIGITS) -> str:
    """Write a difference with its sign; nothing is never "-0.00"."""
    return f"{round(value, n_digits) + 0.0:+.{n_digits}f}"


def plain(value: float, n_digits: int = USUAL_DIGITS) -> str:
    """Write a number with so many digits after the point; nothing is never "-0.00"."""
    return f"{round(value, n_digits) + 0.0:.{n_digits}f}"


def span(low: float, high: float, n_digits: int = USUAL_DIGITS) -> str:
    """Write the limits of a difference: "-0.74 to +0.52"."""
    return f"{points(low, n_digits)} to {points(high, n_digits)}"
