"""Bring README's table and picture and the page of measurements up to date with the result files.

python docs/figures

README's table goes between the markers in README.md and README.zh.md; the picture to docs/images.
"""

from collections import Counter
from typing import Any

from arbiter import (
    ablation_section,
    arbiter_section,
    lasting_section,
    newborns_section,
    planted_section,
)
from cells import RESULTS, ROOT, result
from costs import overhead_section, sensing_section, speed_rows
from digits import HEADINGS, draw, table, update
from fronts import evolution_section, workers_section
from searches import aso_se_section, diagnosis_section, search_section
from tables import tables_section


def _kinds(edits: list[dict[str, Any]]) -> str:
    """How many edits of each kind there were."""
    counts = Counter(edit["kind"] for edit in edits)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def measurements(digits: dict[str, Any]) -> str:
    """The page of everything measured."""
    cifar, speed = (result(name) for name in ("cifar10.json", "speed.json"))
    run, edits = cifar["unbroken"]["summary"], cifar["unbroken"]["edits"]
    share = digits["grown"]["growth_flops_share"]
    worst = max(edit["max_error"] for run in digits["grown"]["runs"] for edit in run["edits"])
    same = "the same" if cifar["resumed_equals_unbroken"] else "other"
    count = digits["grown"]["test_accuracy"]["n"]
    cifar_worst = max(edit["max_error"] for edit in edits)
    return f"""# Measurements

Written by `python docs/figures` from `benchmarks/results/`, where each file names its
command, commit, versions and machine.

## Digits: grown against the same seed network, equal training FLOPs

{table("README.md", digits)}

Test accuracy, mean ± standard deviation over {count} seeds. Sensing and edits took
{share["mean"]:.2%} of the training FLOPs (at most {share["max"]:.2%}); the largest error of
preservation was {worst:.1e}.

## CIFAR-10: one run, unbroken, and killed and resumed

`neuroexapt grow cifar10 --policy papers --max-flops 2e13 --seed 0`: {run["params_seed"]:,} to
{run["params_final"]:,} parameters by {len(edits)} edits ({_kinds(edits)}),
{run["test_accuracy"]:.2%} on the test images (one seed). Sensing and edits took
{run["growth_flops_share"]:.2%} of the training FLOPs; the largest error of preservation was
{cifar_worst:.1e}. Killed at {cifar["killed_at_flops"]:.1e} FLOPs and resumed, the run ended with
{same} weights, bit by bit.

{tables_section(result("tables.json"))}

## Speed on large networks

| what | mean ± standard deviation, s | slowest | n |
| --- | ---: | ---: | ---: |
{speed_rows(speed)}

{overhead_section(result("loop_overhead.json"))}

{arbiter_section(RESULTS / "arbiter" / "summary.json")}

{lasting_section(RESULTS / "arbiter")}

{ablation_section(result("ablation/summary.json"))}

{planted_section(result("planted.json"))}

{newborns_section(RESULTS / "arbiter")}

{sensing_section(result("sensing.json"))}

{search_section(result("nasbench201/summary.json"), result("search_step.json"))}

{aso_se_section(result("aso_se/summary.json"))}

{diagnosis_section(result("diagnosis/summary.json"))}

{evolution_section(result("evolution/nasbench201.json"), result("evolution/summary.json"))}
{workers_section(result("evolution/workers.json"))}
"""


if __name__ == "__main__":
    measured = result("digits.json")
    for name in HEADINGS:
        update(name, measured)
    draw(measured)
    (ROOT / "docs" / "measurements.md").write_text(measurements(measured), "utf-8")
