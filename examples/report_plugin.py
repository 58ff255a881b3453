"""A report of one's own: ddl-bench report --plugin examples/report_plugin.py"""

from pathlib import Path

import pandas as pd

DDL_BENCH_API = 1


def leaderboard(rows: pd.DataFrame, folder: Path) -> None:
    """Write the methods in order of their mean accuracy to leaderboard.txt."""
    ok = rows[rows["status"] == "ok"]
    means = ok.groupby("label")["accuracy"].agg(["mean", "count"])
    lines = []
    ranked = means.sort_values("mean", ascending=False)
    for place, (label, line) in enumerate(ranked.iterrows(), start=1):
        lines.append(f"{place}. {label}: {line['mean']:.2f} % ({line['count']:.0f} seeds)")
    (folder / "leaderboard.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


REPORTS = {"leaderboard": leaderboard}
