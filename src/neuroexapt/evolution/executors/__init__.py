"""Where births and training happen: in this process, in others, or on a cluster."""

from neuroexapt.evolution.executors.base import Executor, Shared
from neuroexapt.evolution.executors.local import InProcess

__all__ = ["Executor", "InProcess", "Shared"]
