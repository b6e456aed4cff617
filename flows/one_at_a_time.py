"""One release of a model at a time, over any number of runners; different models do not wait for each other."""

import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from httpx import HTTPError, HTTPStatusError
from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import BaseModel, ConfigDict

from blocks.errors import ReleaseInProgress
from blocks.repository import ModelRepository

WAIT_S = 1800
_LEASE_S = 60.0  # the shortest Prefect grants
_RENEW_S, _RENEW_AGAIN_S = _LEASE_S / 4, 1.0
_POLL_S = 0.5
_LOCKED = 423


class Holder(BaseModel):
    """Who holds a model's slot, written down so that whoever waits can tell when the holder is dead."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lease_id: UUID
    flow_run_id: UUID | None
    host: str
    process_id: int

    def is_dead(self, client: SyncPrefectClient) -> bool:
        """Tell whether the holder cannot release its slot any more: its process is gone or its flow run has ended."""
        if self.host == socket.gethostname() and not _is_alive(self.process_id):
            return True
        if self.flow_run_id is None or str(self.flow_run_id) == runtime.flow_run.id:
            return False
        try:
            state = client.read_flow_run(self.flow_run_id).state
        except ObjectNotFound:
            return True
        return state is not None and state.is_final()


@contextmanager
def one_release_at_a_time(model_name: str, repository: ModelRepository, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the model's slot in a Prefect global concurrency limit.

    The slot of a holder that crashed is free at once where its process or flow run is known to have ended, within a
    minute otherwise. Raises `ReleaseInProgress` after `wait_s` seconds.
    """
    limit = f"slipway-release-{model_name}"
    with get_client(sync_client=True) as client:
        lease_id = _acquired(client, limit, model_name, repository, wait_s)
        ended = threading.Event()
        renewing = threading.Thread(target=_renew, args=(lease_id, ended), daemon=True)
        renewing.start()
        try:
            repository.write_holder(model_name, _myself(lease_id).model_dump_json())
            yield
        finally:
            ended.set()
            client.release_concurrency_slots_with_lease(lease_id)


def _acquired(
    client: SyncPrefectClient, limit: str, model_name: str, repository: ModelRepository, wait_s: float
) -> UUID:
    deadline, freed = time.monotonic() + wait_s, None
    while True:
        if (lease_id := _try(client, limit)) is not None:
            return lease_id
        holder = _holder(repository, model_name)
        if holder is not None and holder.lease_id != freed and holder.is_dead(client):
            client.release_concurrency_slots_with_lease(holder.lease_id)
            freed = holder.lease_id
            continue
        if time.monotonic() >= deadline:
            who = f"flow run {holder.flow_run_id} on {holder.host}" if holder else "unknown"
            raise ReleaseInProgress(
                f"model '{model_name}': another release ({who}) has held the concurrency limit '{limit}' for "
                f"{wait_s:g} s; wait for it or cancel it, then try again"
            )
        time.sleep(random.uniform(0.1, _POLL_S))  # noqa: S311, so that two who wait do not wake together


def _try(client: SyncPrefectClient, limit: str) -> UUID | None:
    """Take the slot, the limit created where there is none yet; None where it is taken."""
    try:
        granted = client.increment_concurrency_slots_with_lease([limit], 1, "concurrency", _LEASE_S).json()
        if granted["limits"]:
            return UUID(granted["lease_id"])
        client.upsert_global_concurrency_limit_by_name(limit, 1)
        granted = client.increment_concurrency_slots_with_lease([limit], 1, "concurrency", _LEASE_S).json()
        return UUID(granted["lease_id"])
    except HTTPStatusError as error:
        if error.response.status_code == _LOCKED:
            return None
        raise


def _renew(lease_id: UUID, ended: threading.Event) -> None:
    """Renew a lease until the release has ended; what fails is tried again soon, as long as the lease may last."""
    pause_s = _RENEW_S
    # the client's own retries pause for longer than a lease lasts
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
        while not ended.wait(pause_s):
            try:
                client.renew_concurrency_lease(lease_id, _LEASE_S)
                pause_s = _RENEW_S
            except (HTTPError, OSError):
                pause_s = _RENEW_AGAIN_S


def _holder(repository: ModelRepository, model_name: str) -> Holder | None:
    entry = repository.read_holder(model_name)
    return Holder.model_validate_json(entry) if entry is not None else None


def _myself(lease_id: UUID) -> Holder:
    flow_run_id = runtime.flow_run.id
    return Holder(
        lease_id=lease_id,
        flow_run_id=UUID(flow_run_id) if flow_run_id else None,
        host=socket.gethostname(),
        process_id=os.getpid(),
    )


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
