"""The race's short table in the two READMEs, from its result files alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from summing import Runs, summed
from writing import between, spread_percent

HEADINGS: Mapping[str, str] = {
    "README.md": "| CIFAR-10, {budget} PFLOP | test accuracy | parameters | MACs |",
    "README.zh.md": "| CIFAR-10，{budget} PFLOP | 测试准确率 | 参数量 | MAC |",
}
NAMES: Mapping[str, Mapping[str, str]] = {
    "README.md": {
        "dnm": "**grown**",
        "dnm@second-connect-soon": "**grown**, from the next narrower width",
        "random-growth": "grown at random places",
        "static-final": "the grown architecture, from scratch",
        "static-tuned": "the best of four fixed widths",
        "static-seed": "the seed network, not grown",
        "aso-se-improved": "improved ASO-SE",
        "aso-se-original": "original ASO-SE",
        "gromo": "GroMo 0.1.0",
    },
    "README.zh.md": {
        "dnm": "**生长**",
        "dnm@second-connect-soon": "**生长**，从窄一档的宽度开始",
        "random-growth": "在随机位置生长",
        "static-final": "生长所得的架构，从头训练",
        "static-tuned": "四种固定宽度中最好的",
        "static-seed": "种子网络（不生长）",
        "aso-se-improved": "改进的 ASO-SE",
        "aso-se-original": "原始 ASO-SE",
        "gromo": "GroMo 0.1.0",
    },
}
"""Page -> contender -> how readers call it."""


def write_readmes(runs: Runs, root: Path) -> None:
    """Put the table of the smallest budget on CIFAR-10 between the markers of both pages."""
    budgets = summed(runs).get("cifar10", {})
    if not budgets:
        return
    budget = min(budgets, key=float)
    for page in NAMES:
        between(root / page, "race", short_table(page, budget, budgets[budget]))


def short_table(page: str, budget: str, contenders: Mapping[str, Any]) -> str:
    """One row a contender, the best first."""
    names = NAMES[page]
    raced = {name: contenders[name] for name in names if name in contenders}
    rows = [
        f"| {names[name]} | {spread_percent(item)} % "
        f"| {item['params'] / 1e3:,.0f} k | {item['macs'] / 1e6:.1f} M |"
        for name, item in sorted(raced.items(), key=lambda pair: -pair[1]["mean"])
    ]
    return "\n".join([HEADINGS[page].format(budget=budget), "| --- | ---: | ---: | ---: |", *rows])
