"""What evolutions come to."""

from typing import Any

from cells import spread_cell

SEEDS = 3
"""With fewer, a comparison of evolved fronts is called unsettled."""
EVOLUTIONS = {
    "evolution": "this library's evolution, the first front's members being parents",
    "population": "the same, all of the population may be parents, as is the default",
    "with_idle_edges": "the same, each way to write a cell a cell of its own",
    "pymoo": "pymoo's NSGA-II with its operators for whole numbers",
    "random": "cells drawn evenly",
}
FRONTS = {
    "evolution": "evolution, mutations drawn from the arbiter's ranking",
    "random_mutation": "evolution, mutations drawn evenly, also of the units that go",
    "separate_runs": "five trainings that grow, from seed networks of five widths",
}
AHEAD_OF = {"random_mutation": "even draws", "separate_runs": "five trainings"}


def evolution_section(table: dict[str, Any], summary: dict[str, Any]) -> str:
    """How much of the space of objectives evolved fronts dominate."""
    rows = "\n".join(
        f"| {name} | {table['arms'][arm]['mean']:.4f} ± {table['arms'][arm]['std']:.4f} | "
        f"{table['arms'][arm]['min']:.4f} |"
        for arm, name in EVOLUTIONS.items()
    )
    true, count = table["true_front"]["hypervolume"], table["arms"]["evolution"]["n"]
    return f"""## Evolving fronts

Hypervolume of what {table["look_ups"]} different cells of NAS-Bench-201 come to by the table, no
training: test error on CIFAR-10 after 200 epochs, and multiply-accumulates; {count} seeds. The
whole table's front has {true:.4f}. The settings were chosen on some 180 other
seeds of the same table, so how well they suit other spaces isn't known.

| way | hypervolume | worst seed |
| --- | ---: | ---: |
{rows}
{fronts_section(summary["cifar10"]) if "cifar10" in summary else ""}"""


def fronts_section(arms: dict[str, Any]) -> str:
    """The same of networks that were really trained."""
    rows = "\n".join(
        f"| {name} | {spread_cell(arms[arm], 1, 4)} | "
        f"{spread_cell(arms[arm]['best_test_error'], 100, 2)} | {arms[arm]['n']} |"
        for arm, name in FRONTS.items()
        if arm in arms
    )
    flops = max(arms[arm]["max_flops"] for arm in FRONTS if arm in arms)
    unsettled = min(arms[arm]["n"] for arm in FRONTS if arm in arms) < SEEDS
    heirs = arms["inheritance"]
    ahead = " and ".join(
        f"{found['mean']:.4f} ± {found['std']:.4f} above {name} ({found['n']})"
        for arm, name in AHEAD_OF.items()
        if (found := arms["ahead"].get(arm)) and found["n"] > 1
    )
    doubtful = " and ".join(
        name
        for arm, name in AHEAD_OF.items()
        if (found := arms["ahead"].get(arm))
        and found["n"] > 1
        and found["mean"] < 2 * found["std"] / found["n"] ** 0.5
    )
    unsure = (
        f"That it is above {doubtful} isn't settled: it is so by under two standard errors."
        if doubtful
        else ""
    )
    return f"""
On CIFAR-10, {flops:.0e} training FLOPs for a whole front, sensing included, from airbench's network
with {arms["seed_params"]:,} parameters: hypervolume of test error (10 to 50 %) and
multiply-accumulates (0 to {arms["max_macs"] / 1e6:.0f} million) of the networks that the validation
images chose. Validation accuracy at birth differed from the parent's by
{heirs["largest_difference"]:.1g} at most, in {heirs["num_children"]} children that grew or were
crossed.

| way | hypervolume | smallest test error, % | seeds |
| --- | ---: | ---: | ---: |
{rows}

Seed by seed, evolution is {ahead or "not compared yet"}
(mean ± standard deviation, and seeds). In all three, what grows a network are connections only,
which the race's tuning had found to pay: of the eight between the most correlated layers, ranked
by an earlier law of the arbiter; half of the mutations prune. How many networks share the end, and
how, was tuned for evolution, on seeds 0, 10 and 11; that five trainings share the compute equally
was not. At the end, three networks shared the compute by the cube root of their costs; how much of
the costs each covers, by which it is shared since, didn't count yet. Evolutions
that began on a GPU went on on a CPU; each result file says from which FLOPs.
{"With so few seeds nothing of this is settled yet." if unsettled else ""}\
{unsure}
"""


def workers_section(workers: dict[str, Any]) -> str:
    """What several workers bring, and what a lost one takes."""
    ratio, lost = workers["throughput"]["ratio"], workers["lost_worker"]
    assert lost["was_killed"]
    assert lost["same_front"]
    spread_of = f"median of {ratio['n']} turns, {ratio['min']:.2f} to {ratio['max']:.2f}"
    return f"""Two worker processes with one thread each train {ratio["median"]:.2f} times as many
networks in a second as one does ({spread_of}). On a Ray cluster of {lost["machines"]} local
machines, a worker that is killed in the midst of a generation changes nothing:
the front is the same to the last bit of its weights."""
