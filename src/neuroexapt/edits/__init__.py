"""Change: function-preserving edits, and what carries the optimiser across them."""

from neuroexapt.edits.activate import Activate, Settle
from neuroexapt.edits.attend import Attend
from neuroexapt.edits.base import Edit
from neuroexapt.edits.carry import carry_optimizer
from neuroexapt.edits.change import Change
from neuroexapt.edits.connect import Connect
from neuroexapt.edits.deepen import Deepen
from neuroexapt.edits.lineage import AnyEdit, dump_edits, load_edits, replay
from neuroexapt.edits.prune import Prune
from neuroexapt.edits.rewrite import Ancestry
from neuroexapt.edits.split import Split
from neuroexapt.edits.widen import Widen

__all__ = [
    "Activate",
    "Ancestry",
    "AnyEdit",
    "Attend",
    "Change",
    "Connect",
    "Deepen",
    "Edit",
    "Prune",
    "Settle",
    "Split",
    "Widen",
    "carry_optimizer",
    "dump_edits",
    "load_edits",
    "replay",
]
