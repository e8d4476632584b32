"""Contenders that train by `neuroexapt.runs`, grown and static: resumed where they were."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from anew import write_architecture
from begun import begun
from planned import AtPlan, looks
from results import known_settings, of_run, read, seed_width
from settings import FOLLOWING, REGIMES, Job, Place
from variants import VARIANTS

from neuroexapt.runs import Reporter, Run, Silent, Summary, configure, read_events

CHECKPOINT_SECONDS = 60


def dnm(job: Job, place: Place) -> dict[str, Any]:
    """The seed network, grown while it trains."""
    regime, name = REGIMES[job.regime], job.contender.partition("@")[2]
    variant = VARIANTS[name] if name else regime.chosen
    width = sorted(regime.widths(job.budget))[variant.width]
    return _trained(job, place, regime.model(width), regime.growth | variant.growth, variant.steps)


def static_seed(job: Job, place: Place) -> dict[str, Any]:
    """The seed network as it is."""
    return {"width": seed_width(job)} | _trained(job, place, _seed_model(job), False)


def static_width(job: Job, place: Place) -> dict[str, Any]:
    """One of the sweep: the seed's family at another width."""
    width = int(job.contender.rpartition("-w")[2])
    return {"width": width} | _trained(job, place, REGIMES[job.regime].model(width), False)


def static_final(job: Job, place: Place) -> dict[str, Any]:
    """The architecture that `dnm`, or a variant of it, ended with, from scratch."""
    architecture = (place.runs / f"{job.name}.architecture.json").absolute()
    followed = _followed(job, place)
    edits = [item["edit"] for item in followed["edits"]]
    write_architecture(architecture, followed["settings"]["model"], edits)
    outcome = _trained(job, place, f"networks:{architecture}", False)
    _check_same(outcome, followed)
    architecture.unlink()
    return outcome


def random_growth(job: Job, place: Place) -> dict[str, Any]:
    """As many edits of the same kinds at the same times as `dnm` made, anywhere."""
    followed = _followed(job, place)
    plan = looks(followed["edits"], job.max_flops / 1e15)
    regime, anywhere = REGIMES[job.regime], {"policy": "random", "timing": "periodic", "until": 1.0}
    growth = regime.growth | regime.chosen.growth | anywhere
    outcome = _trained(
        job, place, _seed_model(job), growth, regime.chosen.steps, lambda run: AtPlan(run, plan)
    )
    return {"planned_edits": sum(look.count for look in plan)} | outcome


def _followed(job: Job, place: Place) -> dict[str, Any]:
    """The result of `dnm` that a contender is made from."""
    name, at, variant = job.contender.partition("@")
    assert name in FOLLOWING, "only these are made from another's result"
    return read(replace(job, contender=f"dnm{at}{variant}"), place)


def _seed_model(job: Job) -> str:
    return REGIMES[job.regime].model(seed_width(job))


def _check_same(outcome: dict[str, Any], followed: dict[str, Any]) -> None:
    """The rebuilt network has to be what `dnm` ended with."""
    for figure in ("params", "macs"):
        if outcome[figure] != followed[figure]:
            raise SystemExit(
                f"the rebuilt network has {outcome[figure]} {figure}, dnm's {followed[figure]}: "
                "it is another one; run dnm and static-final with one version"
            )


def _trained(
    job: Job,
    place: Place,
    model: str,
    growth: dict[str, Any] | bool,
    steps: int | None = None,
    reporter: Callable[[Run], Reporter] = lambda _run: Silent(),
) -> dict[str, Any]:
    """A run to its end, begun or gone on with."""
    other = {} if steps is None else {"steps_per_epoch": steps}
    own = {
        "model": model,
        "max_flops": job.max_flops,
        "max_macs": REGIMES[job.regime].max_macs(job.budget) if growth else None,
        "recipe": REGIMES[job.regime].recipe | other,
        "growth": growth,
        "checkpoint_seconds": CHECKPOINT_SECONDS,
    }
    folder = place.runs / job.name
    found = begun(configure(known_settings(job, place) | own), folder)
    summary = found if isinstance(found, Summary) else found.finish(reporter(found))
    outcome = of_run(folder, read_events(folder / "events.jsonl"), summary)
    shutil.rmtree(folder)
    return {"settings": own | {"model": _told(model)}} | outcome


def _told(model: str) -> str:
    """A model's name without where this machine keeps it."""
    module, _, name = model.partition(":")
    return f"{module}:{Path(name).name}"
