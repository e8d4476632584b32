"""What sensing, edits and the training loop take."""

from typing import Any

from cells import cell

TIMED = {
    "step": "a training step",
    "sense": "entropy, correlation and saliency",
    "gain": "growth gains of all candidates",
    "rank": "all of the arbiter",
}


def sensing_section(measured: dict[str, Any]) -> str:
    """How sensing's time grows with depth."""
    kinds = {"plain": "a plain chain", "residual": "with sums over every two layers"}
    rows = "\n".join(
        f"| {label} | " + " | ".join(f"{measured[kind]['exponents'][w]:.2f}" for w in TIMED) + " |"
        for kind, label in kinds.items()
    )
    return f"""## Sensing over depth

Chains of 10 to 200 convolutions of {measured["channels"]} channels. The table gives time over depth
as the exponent of a power law; 1 is linear.

| network | {" | ".join(TIMED.values())} |
| --- | {" | ".join(["---:"] * len(TIMED))} |
{rows}"""


def overhead_section(overhead: dict[str, Any]) -> str:
    """How much of the bare step's throughput the loop keeps, by network."""
    names = {
        "airbench-16": "airbench network, width 16",
        "airbench-32": "airbench network, width 32",
        "resnet": "residual network of 8, 16 and 32 channels",
    }
    rows = [
        f"| {name} | {found['batch_size']} | {min(found['cpu']['bare_s']):.3f} | "
        f"{found['cpu']['kept_at_best']:.1%} | {found['cpu']['kept_by_median']:.1%} | "
        f"{found['n']} |"
        for key, name in names.items()
        for found in (overhead[key],)
    ]
    return f"""## What the training loop costs

| network, images of CIFAR-10's size | batch | bare step, s | kept | by medians | n |
| --- | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

Share of the throughput of bare steps (forward, backward, optimiser) that the loop keeps while it
draws and varies images, sets learning rates, counts FLOPs and checks losses and gradients. These
are processor times of one thread, the shortest and the medians of blocks that alternate in one
process; validation is no part of them. The machine did other work meanwhile: some percent are
noise."""


def speed_rows(speed: dict[str, Any]) -> str:
    """One row a timing."""
    names = {
        "resnet152_coupling_s": "shapes and channel groups of a ResNet-152",
        "resnet50_widen_unchecked_s": "one `Widen` of a ResNet-50, unchecked",
        "resnet50_widen_checked_s": "one `Widen` of a ResNet-50, checked",
        "resnet50_split_checked_s": "one `Split` of a ResNet-50, checked",
    }
    rows = []
    for key, name in names.items():
        measured = speed[key]
        rows.append(
            f"| {name} | {cell(measured, '.3f')} | {measured['max']:.3f} | {measured['n']} |"
        )
    return "\n".join(rows)
