"""The temperature of Gumbel-softmax: how it falls, and when it rises again."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Annealing(BaseModel):
    """How the temperature changes.

    Attributes:
        start: at first.
        floor: it never falls below.
        rate: by what it is multiplied each time.
        each: what counts as a time: an epoch, or a step of alpha.
        reheat_every: epochs after which it is raised again; None for never.
        reheat_to: what it is raised to; it stays where it is if it is higher, so that reheating
            never cools. By these defaults it first falls under 1.6 after 45 epochs of searching.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float = Field(default=2.0, gt=0)
    floor: float = Field(default=0.3, gt=0)
    rate: float = Field(default=0.995, gt=0, le=1)
    each: Literal["epoch", "alpha step"] = "epoch"
    reheat_every: int | None = Field(default=20, ge=1)
    reheat_to: float = Field(default=1.6, gt=0)

    @model_validator(mode="after")
    def _falls(self) -> "Annealing":
        if self.floor > self.start:
            raise ValueError(
                f"the floor, {self.floor:g}, is above the start, {self.start:g}; give a lower floor"
            )
        return self


ORIGINAL = Annealing(start=5.0, floor=0.1, rate=0.98, each="alpha step", reheat_every=None)
"""Original ASO-SE: at its floor after 194 steps of alpha."""


@dataclass
class Temperature:
    """A temperature as it goes.

    Attributes:
        annealing: how it changes.
        value: now.

    Example:
        >>> temperature = Temperature.of(Annealing(rate=0.5))
        >>> temperature.after_epoch(1)
        >>> temperature.value
        1.0
    """

    annealing: Annealing
    value: float

    @classmethod
    def of(cls, annealing: Annealing) -> "Temperature":
        """At its start."""
        return cls(annealing, annealing.start)

    def after_alpha_step(self) -> None:
        """A step of alpha was taken."""
        if self.annealing.each == "alpha step":
            self._fall()

    def after_epoch(self, epoch: int) -> None:
        """An epoch is over.

        Args:
            epoch: its number, from 1.
        """
        if self.annealing.each == "epoch":
            self._fall()
        every = self.annealing.reheat_every
        if every is not None and epoch % every == 0:
            self.reheat(self.annealing.reheat_to)

    def reheat(self, to: float) -> None:
        """Raise it; never lower it."""
        self.value = max(self.value, to)

    @property
    def is_at_floor(self) -> bool:
        """Whether it can't fall any more."""
        return self.value <= self.annealing.floor

    def state_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.value = state["value"]

    def _fall(self) -> None:
        self.value = max(self.value * self.annealing.rate, self.annealing.floor)
