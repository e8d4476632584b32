"""Runs on disk: what defines them, what happened, checkpoints, and going on from them."""

from neuroexapt.runs.config import GrowConfig, configure, read_settings
from neuroexapt.runs.events import read_events
from neuroexapt.runs.grown import load_model
from neuroexapt.runs.reporter import Beginning, Reporter, Silent
from neuroexapt.runs.run import Run, grow, read_summary, reopen, resume, start
from neuroexapt.runs.summary import Summary

__all__ = [
    "Beginning",
    "GrowConfig",
    "Reporter",
    "Run",
    "Silent",
    "Summary",
    "configure",
    "grow",
    "load_model",
    "read_events",
    "read_settings",
    "read_summary",
    "reopen",
    "resume",
    "start",
]
