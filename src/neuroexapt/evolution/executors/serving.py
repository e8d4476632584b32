"""What a worker process does."""

import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.connection import Connection

from neuroexapt.evolution.executors.outcome import carried_out


def serve(connection: Connection) -> None:
    """Do one task after the other, as long as the parent lives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()
    try:
        while True:
            token, content, job = (connection.recv_bytes() for _ in range(3))
            outcome = carried_out(token.decode(), content, job)
            del content, job
            connection.send_bytes(outcome)
    except (EOFError, OSError):  # the parent has closed its end
        return


def _follow() -> None:
    """End with the parent, also in the middle of a task."""
    parent = parent_process()
    assert parent is not None, "a worker has been started by another process"
    parent.join()
    os._exit(1)
