"""A release without a flow: the same steps, one after the other, under the model's lock; undone where one fails.

For a caller that has no Prefect server. What a run of the flow shows and repeats there, this raises and logs.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import NamedTuple

from blocks.environment import Environment
from blocks.errors import ReleaseTakenOver
from blocks.registry import RegisteredVersion
from blocks.repository_layout import SHARED
from blocks.run import get_owner
from slipway.releases.aliases import update
from slipway.releases.artifacts import prepare
from slipway.releases.candidate import prove
from slipway.releases.committing import commit
from slipway.releases.completion import finish
from slipway.releases.fetched import FetchedModel, digest, ensure_files
from slipway.releases.fetching import fetch
from slipway.releases.journal import open_journal
from slipway.releases.lock import Fence, model_lock
from slipway.releases.plan import ReleasePlan
from slipway.releases.planning import plan_release
from slipway.releases.receipt import Receipt
from slipway.releases.release import Release, Terms
from slipway.releases.replicas import reload_all
from slipway.releases.settlement import is_left_to_settle, settle
from slipway.releases.staging import stage
from slipway.releases.verification import verify
from slipway.releases.workspace import private_workspace

Beside = Callable[[FetchedModel], Mapping[str, bytes]]


class Outcome(NamedTuple):
    """What a release came to."""

    fetched: FetchedModel
    plan: ReleasePlan
    receipt: Receipt | None  # None where the version was live already, so that nothing was changed


@contextmanager
def turn_alone(model_name: str, environment: Environment, wait_s: float = 60.0) -> Iterator[tuple[Environment, str]]:
    """Hold a model's lock; yield the environment behind its fence, what others left being settled, and who we are."""
    owner = get_owner()
    with private_workspace(), model_lock(model_name, environment.repository, owner, wait_s) as fence:
        fenced = _settled(model_name, fence, environment)
        yield fenced, owner


def release_alone(
    registered: RegisteredVersion,
    environment: Environment,
    *,
    terms: Terms | None = None,
    force_version: int | None = None,
    beside: Beside = lambda _: {},
) -> Outcome:
    """Release a registered version: proven, committed, served and proven by every replica; `live` and `previous` moved.

    Whatever goes wrong, the aliases and the served version are afterwards what they were before.

    Args:
        registered: the version.
        environment: where it is released to and from; only its registry, store and replicas are needed.
        terms: how it is to be proven.
        force_version: its number in the repository; the next free one where left out.
        beside: returns small files to put beside the model's config.pbtxt, by name; they come and go with the version.
            What it raises ends the release before it has changed anything.
    """
    terms = terms or Terms()
    with turn_alone(registered.model_name, environment) as (fenced, owner):
        fetched = fetch(registered, f"version:{registered.version}", fenced.registry)
        fetched = _put_beside(fetched, beside(fetched), fenced)
        plan = plan_release(
            fetched, force_version=force_version, keep_archived=5, leave_silent=terms.leave_silent, environment=fenced
        ).model_copy(update={"flow_run_id": owner})
        terms.check_shapes(fetched)
        if plan.already_live:
            return Outcome(fetched, plan, None)
        release = Release(fetched=fetched, plan=plan, artifacts=prepare(fetched, plan))
        with undone_where_it_fails(plan, fenced):
            return Outcome(fetched, plan, _carry_out(release, terms, fenced))


def _carry_out(release: Release, terms: Terms, environment: Environment) -> Receipt:
    fetched, plan = release.fetched, release.plan
    stage(release, environment)
    candidate = prove(release, terms, environment)
    commit(plan, environment.repository)
    loaded = reload_all(plan.model_name, plan.serves, terms, environment)
    verified = verify(fetched, plan.version, terms, environment)
    update(plan.model_name, plan.registry_version, plan, dry_run=False, environment=environment)
    return finish(plan, fetched, candidate, loaded, verified, approval=None, environment=environment)


@contextmanager
def undone_where_it_fails(plan: ReleasePlan, environment: Environment) -> Iterator[None]:
    """Open the journal of a release, and undo it where the block raises, unless it was taken over."""
    try:
        open_journal(environment.repository, plan)
        yield
    except ReleaseTakenOver:
        raise
    except BaseException:  # an interrupted command, too, leaves nothing half done
        settle(plan.model_name, environment, plan.flow_run_id)
        raise


def _settled(model_name: str, fence: Fence, environment: Environment) -> Environment:
    fenced = fence.around(environment)
    if is_left_to_settle(model_name, fenced):
        settle(model_name, fenced)
    return fenced


def _put_beside(fetched: FetchedModel, beside: Mapping[str, bytes], environment: Environment) -> FetchedModel:
    """Return a fetched model with more files, which are put beside its config.pbtxt when it is committed."""
    directory = ensure_files(fetched, environment.registry)
    added = []
    for name, content in beside.items():
        path = directory / SHARED / PurePosixPath(name).name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        added.append(digest(directory, f"{SHARED}{path.name}"))
    theirs = {file.name for file in added}
    kept = [file for file in fetched.files if file.name not in theirs]
    return fetched.model_copy(update={"files": tuple(sorted([*kept, *added], key=lambda file: file.name))})
