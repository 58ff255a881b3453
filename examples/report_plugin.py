"""A report of one's own: ddl-bench report --plugin examples/report_plugin.py"""

from pathlib import Path

import pandas as pd

DDL_BENCH_API = 1


def leaderboard(rows: pd.DataFrame, folder: Path) -> None:
    """Write the lines of each data set in order of their mean accuracy to leaderboard.txt."""
    ok = rows[rows["status"] == "ok"]
    lines = []
    for dataset, those in ok.groupby("dataset"):
        lines.append(f"{dataset}:")
        means = those.groupby("line")["accuracy"].agg(["mean", "count"])
        ranked = means.sort_values("mean", ascending=False)
        for place, (name, line) in enumerate(ranked.iterrows(), start=1):
            lines.append(f"{place}. {name}: {line['mean']:.2f} % ({line['count']:.0f} seeds)")
    (folder / "leaderboard.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


REPORTS = {"leaderboard": leaderboard}
