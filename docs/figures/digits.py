"""README's table and picture of digits."""

import re
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from cells import ROOT, cell

PICTURE = ROOT / "docs" / "images" / "digits.svg"
GROWN, STATIC, INK = "#0b7a5c", "#9aa3ad", "#24292f"
HEADINGS = {
    "README.md": ("", "test accuracy", "parameters", "training FLOPs"),
    "README.zh.md": ("", "测试准确率", "参数量", "训练 FLOPs"),
}
NAMES = {
    "README.md": {"grown": "**grown**", "static": "the same seed network, not grown"},
    "README.zh.md": {"grown": "**生长**", "static": "同一种子网络（不生长）"},
}


def table(page: str, results: dict[str, Any]) -> str:
    """The measured table of one page."""
    lines = [
        f"| {' | '.join(HEADINGS[page])} |",
        "| --- | ---: | ---: | ---: |",
    ]
    for kind in ("static", "grown"):
        measured = results[kind]
        accuracy = measured["test_accuracy"]
        percent = {name: 100 * value for name, value in accuracy.items()}
        lines.append(
            f"| {NAMES[page][kind]} | {cell(percent, '.2f')} % "
            f"| {measured['params_final']['mean']:,.0f} "
            f"| {measured['train_flops']['mean']:.2e} |"
        )
    return "\n".join(lines)


def update(page: str, results: dict[str, Any]) -> None:
    """Write the table between the page's markers."""
    path = ROOT / page
    text = path.read_text("utf-8")
    pattern = r"(<!-- digits -->\n).*?(<!-- end -->)"
    replaced, count = re.subn(
        pattern, lambda m: m[1] + table(page, results) + "\n" + m[2], text, flags=re.DOTALL
    )
    assert count == 1, f"{page} has no markers for the table"
    path.write_text(replaced, "utf-8")


def draw(results: dict[str, Any]) -> None:
    """Validation error over training FLOPs, and how the grown networks' size followed."""
    mpl.rcParams |= {"svg.hashsalt": "digits", "font.size": 10, "svg.fonttype": "none"}
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(7.2, 4.6), sharex=True, height_ratios=(2.2, 1), layout="constrained"
    )
    for kind, colour in (("static", STATIC), ("grown", GROWN)):
        for run in results[kind]["runs"]:
            flops, accuracy, params = zip(*run["curve"], strict=True)
            error = [100 * (1 - smoothed) for smoothed in smooth(accuracy)]
            above.plot(flops, error, color=colour, alpha=0.75, linewidth=1.3)
            below.plot(flops, params, color=colour, alpha=0.75, linewidth=1.3)
    above.set(yscale="log", ylabel="validation error, %\n(mean of five points)", xscale="log")
    below.set(yscale="log", ylabel="parameters", xlabel="training FLOPs")
    above.set_yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    above.minorticks_off()
    label(above, results)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})


def label(axes: Any, results: dict[str, Any]) -> None:
    """Name the lines where they are, with what they ended at on the test part."""
    for kind, name, colour, height in (
        ("static", "seed network as it is", STATIC, 0.2),
        ("grown", "grown while it trained", GROWN, 0.08),
    ):
        accuracy = results[kind]["test_accuracy"]
        text = f"{name}: {100 * accuracy['mean']:.1f} % on the test images"
        axes.text(0.03, height, text, color=colour, transform=axes.transAxes)


def smooth(values: tuple[float, ...], window: int = 5) -> list[float]:
    """Mean of each point and those before it, as many as the window holds."""
    return [
        sum(values[max(0, i - window + 1) : i + 1]) / len(values[max(0, i - window + 1) : i + 1])
        for i in range(len(values))
    ]
