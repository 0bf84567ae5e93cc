"""The growth case as a picture.

make bench CASE=growth > growth.json
python -m benchmarks.speed.plot growth.json docs/growth.svg
"""

import json
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import typer
from matplotlib.figure import Figure

SIZES = {"pack": "tokens of the pack", "group": "completions a request (G)",
         "requests": "requests", "weights": "weights of the model"}  # fmt: skip


def picture(row: dict[str, Any]) -> Figure:
    """Four panels with one scale of time: seconds of an update while one size grows."""
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    axes = figure.subplots(2, 2, sharey=True).flat
    for axis, (size, label) in zip(axes, SIZES.items(), strict=True):
        grows = "model" if size == "weights" else size
        points = [p for p in row["points"] if p["grows"] == grows]
        sizes, seconds = [p[size] for p in points], [p["ours_s"] for p in points]
        axis.loglog(sizes, seconds, "o-", color="#4477bb")
        for at, value, point in zip(sizes, seconds, points, strict=True):
            told = f"{at / 1e6:.0f}M" if grows == "model" else f"{point['tokens_unique']:,} tokens"
            axis.annotate(told, (at, value), (0, 9), textcoords="offset points", ha="center",
                          fontsize=8, color="#70777f")  # fmt: skip
        power = row["slope_weights"] if grows == "model" else row["slope_by"][grows]
        over = "weights" if grows == "model" else "unique tokens"
        axis.set_title(f"time grows with the {over} to the power {power:.2f}", fontsize=10)
        axis.set_xlabel(label)
        axis.set_xticks(sizes, [f"{at / 1e6:.0f}M" if at > 1e6 else str(at) for at in sizes])
        axis.set_xticks([], minor=True)
        axis.margins(x=0.12, y=0.2)
        axis.grid(alpha=0.25)
    for left in (0, 2):
        figure.axes[left].set_ylabel("seconds an update")
    figure.suptitle(f"{row['model']}, {row['threads']} threads of a {row['device']}", fontsize=11)
    return figure


def main(
    growth: Annotated[Path, typer.Argument(help="A file with the growth case's line.")],
    out: Annotated[Path, typer.Argument(help="The picture: .svg or .png.")],
) -> None:
    """Draw the growth case."""
    lines = [json.loads(x) for x in growth.read_text("utf-8").splitlines() if x.startswith("{")]
    found = [row for row in lines if row["case"] == "growth"]
    if not found:
        raise typer.BadParameter(f"{growth} holds no line of the case growth")
    with mpl.rc_context({"svg.hashsalt": "growth", "svg.fonttype": "none"}):
        picture(found[-1]).savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


if __name__ == "__main__":
    typer.run(main)
