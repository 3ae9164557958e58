"""The teacher on a Dask cluster."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import UserError
from ..images.files import stem
from ..images.preparation import PreparedScan
from .study import Study
from .teach import teach_scan
from .teachers import Teacher

CONNECT_SECONDS = 5.0  # to wait for a Dask scheduler
_THREADS = torch.get_num_threads()  # that this process was given


def check_scheduler(scheduler: str) -> None:
    """Raises UserError where the package `distributed` is missing or no Dask scheduler answers at the address."""
    try:
        from distributed import Client  # an optional package
    except ImportError as error:
        raise UserError(
            "A Dask cluster needs the Python package distributed; run `pip install distributed`."
        ) from error

    async def greet():
        client = Client(scheduler, asynchronous=True, timeout=CONNECT_SECONDS, set_as_default=False)
        try:  # limited from outside: the client itself waits for ever where something listens that is no scheduler
            await asyncio.wait_for(client, CONNECT_SECONDS + 1)
        finally:
            await client.close()

    try:
        asyncio.run(greet())
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise UserError(
            f"No Dask scheduler answers at {scheduler}; start `dask scheduler` or mend the address."
        ) from error


def teach_on_cluster(
    scheduler: str, study: Study, todo: list[Path], template: PreparedScan, teacher: Teacher
) -> Iterator[tuple[str, str]]:
    """What `_teach` returns for each scan, as the workers finish. The scans of a worker that dies go to the others.

    Not through joblib's Dask backend: that (of joblib 1.6) never returns where workers die of one scan.
    """
    from distributed import Client, as_completed

    check_scheduler(scheduler)
    study = replace(study, folder=study.folder.absolute())
    with Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False) as client:
        # sent once, handed on among the workers and, unlike scattered data, made again should all die that hold it
        shared = client.submit(_same, template, pure=False)

        def submit(path: Path):
            return client.submit(_teach_on_worker, study, path.absolute(), shared, teacher, pure=False)

        futures, suspects = {submit(path): path for path in todo}, []
        for future in as_completed(list(futures), loop=client.loop):
            path = futures.pop(future)
            if result := _result(future, study, scheduler):
                yield result
            else:
                suspects.append(path)
        for path in (
            suspects
        ):  # Dask blames all that waited on a worker that died; alone in the cluster, only the culprit fails
            yield _result(submit(path), study, scheduler) or (
                stem(path),
                f"{path}: the workers that registered it died; it may need more memory than they have.",
            )


def _result(future, study: Study, scheduler: str) -> tuple[str, str] | None:
    """What `_teach` returned on a worker; None where workers died of it. Raises UserError where the cluster is to blame."""
    from distributed import KilledWorker
    from distributed.client import CancelledError

    try:
        name, problem = future.result()
    except KilledWorker:
        return None
    except CancelledError as error:
        raise UserError(
            f"The Dask scheduler at {scheduler} is gone; run the same command again and it goes on."
        ) from error
    except Exception as error:  # whatever a worker raises that `_teach` does not expect
        reason = " ".join(str(error).split()) or "no message"
        raise UserError(
            f"A worker of {scheduler} cannot register ({type(error).__name__}: {reason}); every worker needs the "
            "same SlicReg, the teacher's package, and the cohort and the study under the same paths."
        ) from error
    # reading the folder, unlike asking for the file, goes past what a network file system remembers of it
    if not problem and f"{name}.npz" not in os.listdir(study.folder / "scans"):
        raise UserError(
            f"A worker of {scheduler} wrote {name}.npz, which is not in {study.folder / 'scans'}; the study must lie "
            "where all workers see the same folder."
        )
    return name, problem


def _same(template: PreparedScan) -> PreparedScan:
    return template


def _teach_on_worker(study: Study, path: Path, template: PreparedScan, teacher: Teacher) -> tuple[str, str]:
    """`teach_scan` with this Dask worker's threads, shared by the tasks that it runs at once."""
    from distributed import get_worker

    return teach_scan(study, path, template, teacher, max(1, _THREADS // get_worker().state.nthreads))
