"""Small networks on tables."""

from typing import Any

from cells import spread_cell

TOLD = {
    "friedman": "Friedman's first function, 10 columns, squared error",
    "labels": "made-up labels, 20 columns, 5 labels, binary cross-entropy",
    "products": "signs of two products, 10 columns, 4 classes, cross-entropy",
    "digits": "scikit-learn's digits, 64 columns, 10 classes, cross-entropy",
    "cancer": "breast cancer, 30 columns, 2 classes, cross-entropy",
    "diabetes": "diabetes, 10 columns, squared error",
}


def tables_section(measured: dict[str, Any]) -> str:
    """Test losses and sizes of networks as they are, wider, and grown."""
    rows = []
    for name, told in TOLD.items():
        cells = [
            f"{spread_cell(measured[name][arm]['test_loss'], 1, 4)} | "
            f"{measured[name][arm]['params']['mean']:,.0f}"
            for arm in ("seed", "wide", "uniform", "grown")
        ]
        rows.append(f"| {told} | {' | '.join(cells)} |")
    better = {
        arm: [name for name in TOLD if _loss(measured, name, "grown") < _loss(measured, name, arm)]
        for arm in ("seed", "wide", "uniform")
    }
    count = measured["friedman"]["grown"]["test_loss"]["n"]
    return f"""## Tables: small networks in a loop of one's own

A network of two layers of eight units, trained by Adam for 60 epochs: as it is, with four times the
units, and grown by `Grower` (at most 16 times the seed's parameters): by the policy `uniform`,
which widens all layers alike, and with default settings, by which the arbiter chooses. Test
loss of the epoch with the lowest held-out loss, and the parameters by then; mean ± standard
deviation over {count} seeds. Epochs are equal, not compute.

| table | seed | parameters | four times as wide | parameters | widened alike | parameters \
| grown | parameters |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

By the mean, the network that the arbiter has grown is below its seed on {len(better["seed"])} of
{len(TOLD)} tables ({", ".join(better["seed"])}), below the one four times as wide on
{len(better["wide"])} ({", ".join(better["wide"])}), and below the one widened alike on
{len(better["uniform"])} ({", ".join(better["uniform"])})."""


def _loss(measured: dict[str, Any], name: str, arm: str) -> float:
    return float(measured[name][arm]["test_loss"]["mean"])
