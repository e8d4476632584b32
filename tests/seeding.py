"""The start of torch's random numbers."""

import torch


def seed_(seed: int) -> None:
    """As `torch.manual_seed`, which reads the whole call stack for each GPU that isn't there."""
    if torch.cuda.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
