"""A session with a Ray cluster: found, joined, or begun on this machine."""

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from neuroexapt.errors import EvolutionError
from neuroexapt.evolution.executors.reach import check_answers

logger = logging.getLogger(__name__)
ROUNDING = 1e-6
QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}


def imported_ray() -> Any:
    """The package, which is told not to report that it is used.

    Raises:
        EvolutionError: if it isn't installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        return import_module("ray")
    except ImportError as error:
        raise EvolutionError(
            f'RayExecutor needs Ray ({error}); `pip install "neuroexapt[ray]"`, or use '
            "ProcessPool on this machine"
        ) from error


@dataclass(frozen=True)
class Session:
    """A session of this process with a Ray cluster.

    Attributes:
        ray: the package.
        begun: whether it was begun here, and so is to be ended here.
        local: whether the cluster was begun with it, and is this machine.
    """

    ray: Any
    begun: bool
    local: bool = False

    @classmethod
    def of(cls, ray: Any, address: str | None, num_cpus: int | None, timeout: float) -> "Session":
        """Take the session that this process has, or begin one.

        Args:
            ray: the package.
            address: of a cluster; None for that of RAY_ADDRESS, else a new one on this machine.
            num_cpus: of the new one; None for as many as there are.
            timeout: seconds in which the address has to answer.

        Raises:
            EvolutionError: if the address doesn't answer, or isn't that of the present session.
        """
        if ray.is_initialized():
            here = ray.get_runtime_context().gcs_address
            if address not in (None, "local", here):
                raise EvolutionError(
                    f"Ray is in a session with {here} already, not with {address}; leave the "
                    "address out to use it, or call ray.shutdown() first"
                )
            return cls(ray, begun=False)
        where = address or os.environ.get("RAY_ADDRESS") or "local"
        if where == "local":
            ray.init(address=where, num_cpus=num_cpus, include_dashboard=False, **QUIET)
            return cls(ray, begun=True, local=True)
        check_answers(where, timeout)
        try:
            ray.init(address=where, **QUIET)
        except (OSError, RuntimeError, ValueError, SystemExit) as error:  # it exits if it gives up
            raise EvolutionError(f"the Ray cluster at {where} can't be joined: {error}") from error
        return cls(ray, begun=True)

    def room(self, wanted: Mapping[str, float]) -> int:
        """How many tasks that want so much of each resource run at a time; at least 1.

        Raises:
            EvolutionError: if there will never be room for one, since the cluster is this machine.
        """
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        found = sum(_room(machine, wanted) for machine in machines)
        if found:
            return found
        told = " and ".join(f"{amount:g} {name}" for name, amount in wanted.items())
        if self.local:
            has = " and ".join(f"{machines[0].get(name, 0):g} {name}" for name in wanted)
            raise EvolutionError(f"a task wants {told}, and this machine has {has}; ask for less")
        logger.warning("no machine of the Ray cluster has %s now; tasks wait for one", told)
        return 1

    def leave(self) -> None:
        """End it if it was begun here; a cluster that others began goes on."""
        if self.begun:
            self.ray.shutdown()


def _room(machine: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    limiting = {name: amount for name, amount in wanted.items() if amount} or {"CPU": 1.0}
    shares = [machine.get(name, 0.0) / amount for name, amount in limiting.items()]
    return math.floor(min(shares) + ROUNDING)
