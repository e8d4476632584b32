"""Where births and training happen: in this process, in others, or on a cluster."""

from neuroexapt.evolution.executors.base import Executor, Shared
from neuroexapt.evolution.executors.cluster import RayExecutor
from neuroexapt.evolution.executors.local import InProcess
from neuroexapt.evolution.executors.pool import ProcessPool

__all__ = ["Executor", "InProcess", "ProcessPool", "RayExecutor", "Shared"]
