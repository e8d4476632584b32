"""The command line: `neuroexapt ...`, one file a command. Only this folder prints."""

from neuroexapt.cli.entry import main

__all__ = ["main"]
