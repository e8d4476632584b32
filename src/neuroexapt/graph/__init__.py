"""See: a model as an editable graph."""

from neuroexapt.graph.cost import Cost
from neuroexapt.graph.flow import Role
from neuroexapt.graph.groups import ChannelGroup, Member, Site
from neuroexapt.graph.inputs import Inputs, as_inputs
from neuroexapt.graph.living import LivingModel

__all__ = [
    "ChannelGroup",
    "Cost",
    "Inputs",
    "LivingModel",
    "Member",
    "Role",
    "Site",
    "as_inputs",
]
