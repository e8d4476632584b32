"""The executor on a Ray cluster: equal results, lost workers, sessions, addresses, errors."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import ray
import workers
from ray.cluster_utils import Cluster
from torch import nn

from neuroexapt.errors import EvolutionError
from neuroexapt.evolution import RayExecutor
from neuroexapt.evolution.executors.session import Session


@pytest.fixture(autouse=True, scope="module")
def as_important_as_others() -> Iterator[None]:
    """Ray's workers yield to all others, and so take minutes where other tests run beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


@pytest.fixture(scope="module")
def address(as_important_as_others: None) -> Iterator[str]:
    """Of a cluster of two machines, of which both are this one."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


def test_a_worker_killed_in_a_generation_changes_nothing(address: str, tmp_path: Path) -> None:
    expected = workers.told(workers.evolved(workers.evolution()))
    with RayExecutor(address=address) as executor:
        of = workers.evolution(executor, workers.Dies(tmp_path, calls=10))
        workers.arm(tmp_path)
        assert workers.told(workers.evolved(of)) == expected
        assert not list(tmp_path.iterdir())
        assert all(record.lost == {} for record in of.history)
        shared = executor.share(0.5)
        futures = [executor.submit(workers.machine, shared) for _ in range(2)]
        assert len({future.result() for future in futures}) == 2
    assert not ray.is_initialized()


def test_a_session_that_is_there_is_used_and_left_alone(address: str) -> None:
    ray.init(address=address, log_to_driver=False)
    try:
        with RayExecutor(num_workers=1) as executor:
            shared = executor.share(lambda value: value + 1)
            assert executor.submit(workers.call, shared, 2).result() == 3
            with pytest.raises(TypeError, match="wrong type"):
                executor.submit(workers.complain, shared, "type").result()
            criterion = nn.CrossEntropyLoss()
            criterion.source = (number for number in range(3))  # type: ignore[assignment]
            with pytest.raises(
                EvolutionError, match=r"criterion \(CrossEntropyLoss\) can't be sent"
            ):
                workers.evolution(executor, criterion)
            running, waiting = (executor.submit(workers.sleep, shared, 600) for _ in range(2))
            while not running.running():
                time.sleep(0.01)
        assert ray.is_initialized()
        assert waiting.cancelled()
        assert "closed" in str(running.exception())
        with pytest.raises(EvolutionError, match=r"with .* already, not with 192.0.2.9:1; leave"):
            RayExecutor(address="192.0.2.9:1")
    finally:
        ray.shutdown()


def test_a_cluster_on_this_machine_begins_and_ends_with_the_executor() -> None:
    with RayExecutor(num_workers=1) as executor:
        assert ray.cluster_resources()["CPU"] == 1
        assert executor.submit(workers.add, executor.share(3), 4).result() == 7
        with pytest.raises(EvolutionError, match=r"wants 1 CPU and 0.5 GPU, .* 1 CPU and 0 GPU"):
            Session(ray, begun=False, local=True).room({"CPU": 1.0, "GPU": 0.5})
        assert Session(ray, begun=False).room({"CPU": 0.25}) == 4
        shared = executor.share(3)
        ray.shutdown()
        with pytest.raises(EvolutionError, match=r"session with Ray was ended; make another"):
            executor.submit(workers.add, shared, 4).result()
    assert not ray.is_initialized()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@contextmanager
def listening(answer: bytes) -> Iterator[str]:
    """Something at an address, which says one thing and no more."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(ConnectionError):
                connection.sendall(answer)
                while connection.recv(100):  # until the other side hangs up
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_told(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(EvolutionError, match=rf"no Ray cluster answers at {address} .*ray start"):
        RayExecutor(address=address)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", r"no Ray cluster answers at 127.0.0.1:\d+ within 0.3 s \(timed out\)"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", r"what answers at 127.0.0.1:\d+ is no Ray cluster"),
    ],
)
def test_an_address_that_does_not_answer_as_ray_is_told_in_time(
    answer: bytes, message: str
) -> None:
    began = time.monotonic()
    with listening(answer) as address, pytest.raises(EvolutionError, match=message):
        RayExecutor(address=address, timeout=0.3)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("address", ["127.0.0.1:ray", "127.0.0.1:99999", ":6379"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(EvolutionError, match=r"is no address; give host:port"):
        RayExecutor(address=address)


def test_missing_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EvolutionError, match=r'pip install "neuroexapt\[ray\]"'):
        RayExecutor()


@pytest.mark.parametrize(
    "setting", [{"num_workers": 0}, {"num_gpus": -0.5}, {"retries": -1}, {"timeout": 0.0}]
)
def test_numbers_that_cannot_be_are_told(setting: dict[str, float]) -> None:
    with pytest.raises(EvolutionError, match=r"at least 1 worker, a timeout above 0, and nothing"):
        RayExecutor(**setting)  # type: ignore[arg-type]
