"""The figures of a report, as functions of a DataFrame.

`FIGURES` has a function by title; each takes the rows that `ddl_bench.load` returns, and returns a
matplotlib Figure.

Examples
--------
>>> import ddl_bench
>>> from reports.figures import FIGURES
>>> figure = FIGURES["accuracy, ranked"](ddl_bench.load("docs/results/quick"), width="single")
>>> figure.savefig("ranking.pdf")  # doctest: +SKIP
"""

import logging

from reports.figures.registry import FIGURES as FIGURES

# Without a writable home it makes a temporary folder for its fonts, which nobody need know.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
