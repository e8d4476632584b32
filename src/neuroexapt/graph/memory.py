"""Whether an error says that memory has run out."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a device's memory, or the machine's, has run out.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes"))
        (True, False)
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # torch has no class for it on the CPU
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
