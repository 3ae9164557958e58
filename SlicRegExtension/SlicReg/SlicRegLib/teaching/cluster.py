"""Many scans on a Dask cluster: the teacher, or any other work on each of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..errors import UserError, WriteError
from ..images.files import stem
from ..images.preparation import PreparedScan
from .study import Study
from .teach import Outcome, teach_scan
from .teachers import Teacher

Item = TypeVar("Item")
CONNECT_SECONDS = 5.0
"""How long to wait for a Dask scheduler."""
DIED_ON_CLUSTER = "the workers that registered it died; it may need more memory than they have."
_THREADS = torch.get_num_threads()  # as this process was started


def check_scheduler(scheduler: str) -> None:
    """Raise UserError if the package `distributed` is missing or no Dask scheduler answers at the address."""
    try:
        from distributed import Client  # an optional package
    except ImportError as error:
        raise UserError(
            "A Dask cluster needs the Python package distributed; run `pip install distributed`."
        ) from error

    async def greet() -> None:
        client = Client(scheduler, asynchronous=True, timeout=CONNECT_SECONDS, set_as_default=False)
        try:
            # The client's own timeout never ends if something other than a scheduler accepts the connection.
            await asyncio.wait_for(client, CONNECT_SECONDS + 1)
        finally:
            await client.close()

    try:
        asyncio.run(greet())
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise UserError(
            f"No Dask scheduler answers at {scheduler}; start `dask scheduler` or correct the address."
        ) from error


def run_on_cluster(
    scheduler: str, prepare: Callable[[Any], Callable[[Item], Any]], items: Iterable[Item]
) -> Iterator[tuple[Item, Any]]:
    """Each item with its future, which has ended, as the workers finish; None in its place where workers died of it.

    If a worker dies, others take over what it had. prepare: called with the client, returns the function that submits
    an item. Raises UserError if no scheduler answers. joblib's Dask backend is not used, because joblib 1.6 never
    returns if workers die of a scan.
    """
    from distributed import Client, as_completed

    check_scheduler(scheduler)
    with Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False) as client:
        submit = prepare(client)
        futures, suspects = {submit(item): item for item in items}, []
        for future in as_completed(list(futures), loop=client.loop):
            item = futures.pop(future)
            if _has_killed_workers(future):
                suspects.append(item)
            else:
                yield item, future
        # Dask blames every item that waited on a worker that died. Run one at a time, only the culprit fails.
        for item in suspects:
            future = submit(item)
            yield item, None if _has_killed_workers(future) else future


def read_result(future: Any, scheduler: str, needs: str) -> Any:
    """What the function returned. Raises its `WriteError`, and UserError if the cluster is to blame. needs: what every
    worker must have, for that sentence."""
    from distributed.client import CancelledError  # type: ignore[attr-defined]  # older versions have it only here

    try:
        return future.result()
    except CancelledError as error:
        raise UserError(f"The Dask scheduler at {scheduler} has gone; run the same command again to resume.") from error
    except WriteError:
        raise
    except Exception as error:  # whatever else a worker raises: it lacks a package, or has another version
        reason = " ".join(str(error).split()) or "no message"
        raise UserError(
            f"A worker of {scheduler} cannot register scans ({type(error).__name__}: {reason}); every worker needs "
            f"{needs}."
        ) from error


def teach_on_cluster(
    scheduler: str, study: Study, paths: list[Path], template: PreparedScan, teacher: Teacher
) -> Iterator[Outcome]:
    """The outcome of `teach_scan` for each scan, as the workers finish. If a worker dies, others take over its scans.

    Raises UserError if the cluster fails as a whole.
    """
    study = replace(study, folder=study.folder.absolute())

    def prepare(client: Any) -> Callable[[Path], Any]:
        # As the result of a task, the template is sent once, passed on between workers and, unlike scattered data,
        # computed again if all workers that hold it die.
        shared = client.submit(_return, template, pure=False)
        return lambda path: client.submit(_teach_on_worker, study, path.absolute(), shared, teacher, pure=False)

    for path, future in run_on_cluster(scheduler, prepare, paths):
        if future is None:
            yield stem(path), f"{path}: {DIED_ON_CLUSTER}"
        else:
            yield _collect(future, study, scheduler)


def limit_threads() -> int:
    """On a worker: its threads, divided by the number of tasks that it runs at the same time."""
    from distributed import get_worker

    return max(1, _THREADS // get_worker().state.nthreads)


def _has_killed_workers(future: Any) -> bool:
    from distributed import KilledWorker

    try:
        future.result()
    except KilledWorker:
        return True
    except BaseException:  # told by `read_result`
        return False
    return False


def _collect(future: Any, study: Study, scheduler: str) -> Outcome:
    """A scan's outcome. Raises UserError if the cluster is to blame."""
    needs = "the same SlicReg, the teacher's package, and the cohort and the study under the same paths"
    name, problem = read_result(future, scheduler, needs)
    # Listing the folder, unlike asking for the file, is not answered from the cache of a network file system.
    if not problem and f"{name}.npz" not in os.listdir(study.folder / "scans"):
        raise UserError(
            f"A worker of {scheduler} wrote {name}.npz, but {study.folder / 'scans'} does not contain it; put the "
            "study in a folder that all workers share."
        )
    return name, problem


def _return(template: PreparedScan) -> PreparedScan:
    return template


def _teach_on_worker(study: Study, path: Path, template: PreparedScan, teacher: Teacher) -> Outcome:
    """`teach_scan` with this worker's threads, divided by the number of tasks that it runs at the same time."""
    return teach_scan(study, path, template, teacher, limit_threads())
