"""What a search came to."""

from pydantic import BaseModel, ConfigDict

from neuroexapt.graph import LivingModel
from neuroexapt.runs.search_session import SearchSession
from neuroexapt.runs.summary import where
from neuroexapt.search import derive
from neuroexapt.search.cost import num_weights
from neuroexapt.search.table import write_cell
from neuroexapt.training import Views, evaluate, evaluation_batches


class SearchSummary(BaseModel):
    """What a search came to, as `summary.json` keeps it.

    Attributes:
        data: name of the data set.
        space: what was searched.
        method: how.
        seed: of every random choice.
        test_accuracy: of the derived network as it was trained within the search, 0 to 1; the test
            part is read once, for this.
        test_loss: likewise.
        test_views: views of each test image whose outputs were averaged for both.
        val_accuracy: likewise, on the held-out part.
        discretisation_gap: by how much the network as it was trained was more accurate than the
            likeliest operations alone, with the same weights, when these were derived; None where
            that can't be measured, or an older version derived them.
        choices: decision -> operation.
        cell: in NAS-Bench-201's writing; None for another space.
        params: of the derived network.
        macs: multiply-accumulates of its forward pass, for one sample.
        params_searched: parameters of the network with all operations, alpha aside.
        train_flops: of weights, alpha and growth together (2 for each multiply-accumulate).
        weight_steps: how many.
        alpha_steps: how many.
        expansions: how often the network grew.
        epochs: trained.
        seconds: wall time, of all sittings.
        stopped: why it ended.
        command: what started it.
        versions: of Python and the libraries that decide on the outcome.
        machine: what it ran on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    space: str
    method: str
    seed: int
    test_accuracy: float
    test_loss: float
    test_views: Views = "plain"
    val_accuracy: float
    discretisation_gap: float | None = None
    choices: dict[str, str]
    cell: str | None
    params: int
    macs: int
    params_searched: int
    train_flops: int
    weight_steps: int
    alpha_steps: int
    expansions: int
    epochs: int
    seconds: float
    stopped: str
    command: str | None
    versions: dict[str, str]
    machine: dict[str, str | int]


def summarise_search(session: SearchSession, command: str | None) -> SearchSummary:
    """Sum up a search that is over: reads the test part, which nothing did before.

    Args:
        session: what has searched, for at least one epoch.
        command: what started it.
    """
    config, searching, data = session.config, session.searching, session.data
    found = derive(searching.network)
    layout = config.search.recipe.channels_last
    test = evaluation_batches(data, data.test, channels_last=layout, device=config.device)
    recipe = config.search.recipe
    tested = evaluate(found, test, searching.criterion, amp=recipe.amp, views=recipe.views)
    cost = LivingModel(found, next(iter(test))[0][:2]).cost()
    history = searching.history
    choices = history[-1].choices
    return SearchSummary(
        data=data.name,
        space=config.space,
        method=config.method,
        seed=config.seed,
        test_accuracy=tested.accuracy,
        test_loss=tested.loss,
        test_views=recipe.views,
        val_accuracy=history[-1].val_accuracy,
        discretisation_gap=next((r.gap for r in reversed(history) if r.gap is not None), None),
        choices=choices,
        cell=write_cell(choices) if config.space == "nasbench201" and len(choices) == 6 else None,
        params=cost.params,
        macs=cost.macs,
        params_searched=num_weights(searching.network),
        train_flops=searching.flops,
        weight_steps=sum(record.weight_steps for record in history),
        alpha_steps=sum(record.alpha_steps for record in history),
        expansions=len(searching.expansions),
        epochs=searching.epoch,
        seconds=session.seconds,
        stopped=_why_stopped(session),
        command=command,
        **where(config.device, config.threads),
    )


def _why_stopped(session: SearchSession) -> str:
    limit = session.config.search.max_flops
    if limit is not None:
        return f"{session.searching.flops:.3g} of {limit:.3g} FLOPs are spent"
    return f"all {session.searching.epoch} epochs are trained"
