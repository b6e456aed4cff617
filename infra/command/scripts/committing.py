"""A release where Git is the record, as a script: the version is committed, waited for, proven, or reverted."""

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number as Limits

from blocks.errors import InvalidInput, NotRegistered
from blocks.fleet import TritonFleet
from blocks.git_repository import GitRepository
from blocks.registry import ModelRegistry, RegisteredVersion
from infra.command.screen import console
from infra.command.scripts.options import ModelName, Source, TrackingUri, TritonUrl
from infra.command.scripts.places import find_fleet, find_registry
from slipway.releases.fetching import fetch
from slipway.releases.git_pointer import GitPointer, choose_version
from slipway.releases.git_release import Patience, Served, release
from slipway.releases.known_answers import are_told_apart, know_answers
from slipway.releases.version_line import VersionLine

Switch = Literal["true", "false", "True", "False"]


def update_triton_config(
    *,
    model_name: ModelName,
    repo_url: Annotated[str, Parameter(help="The repository; credentials are the credential helper's, or GIT_TOKEN.")],
    branch: Annotated[str, Parameter(help="The branch that Argo CD or git-sync follows.")] = "main",
    values_path: Annotated[
        str, Parameter(help="The values file, or a config.pbtxt, that says the version; from the repository's root.")
    ],
    configure_git: Annotated[
        Switch, Parameter(help="Commit as GIT_USERNAME and GIT_EMAIL, or slipway; false: as git is configured.")
    ] = "true",
    is_registered: Annotated[Switch, Parameter(help="False: no version was registered, nothing is done.")] = "true",
    source: Source | None = None,
    served_as: Annotated[
        str | None, Parameter(help="The model's name in Triton; the server's or the folder's where left out.")
    ] = None,
    timeout: Annotated[float, Parameter(validator=Limits(gt=0), help="Seconds until every replica answers.")] = 900.0,
    triton_url: TritonUrl = None,
    mlflow_tracking_uri: TrackingUri = None,
    dry_run: Annotated[bool, Parameter(negative=(), help="Say what would be committed; change nothing.")] = False,
) -> None:
    """Commit the version of a model that is to be served, and prove that every replica serves it; else revert.

    Every byte but the number stays. What others push meanwhile stays. An outage commits nothing.
    """
    if is_registered.lower() == "false":
        console.print(f"{model_name}: no version was registered, nothing is done")
        return
    fleet, registry = find_fleet(triton_url), find_registry(mlflow_tracking_uri)
    repository = GitRepository(url=repo_url, branch=branch, configure_author=configure_git.lower() == "true")
    with repository.opened() as opened:
        pointer = GitPointer(opened, values_path, model_name)
        line = pointer.read()
        registered = _find_version(registry, _choose_name(line.registered_as, model_name, "registered"), source)
        version = choose_version(line, registered.version, source, pointer.subject)
        if dry_run:
            console.print(f"{model_name}: says version {line.version}, {version} would be committed to {values_path}")
            return
        name = served_as or _choose_name(line.served_as, model_name, "served")
        _release(pointer, line, registered, fleet, registry, name, timeout)


def _release(
    pointer: GitPointer,
    line: VersionLine,
    registered: RegisteredVersion,
    fleet: TritonFleet,
    registry: ModelRegistry,
    name: str,
    timeout_s: float,
) -> None:
    """Know the answers of the version before anything is committed, then release it."""
    version = registered.version
    fetched = fetch(registered, f"version:{version}", registry)
    on_gpu = any(fleet.computes_on_gpu(address, name) for address in fleet.check())
    served = Served(fleet, name, version, know_answers(fetched, registry, on_gpu=on_gpu))
    told_apart = line.version != version and _is_told_apart(served, line.version, registered, registry)
    outcome = release(pointer, version, served, told_apart=told_apart, patience=Patience(timeout_s))
    done = f"commit {outcome.commit}" if outcome.commit else "was committed already"
    differences = max(replica.comparison.max_difference for replica in outcome.replicas)
    console.print(
        f"{pointer.model_name}: version {version} ({done}) answers on {len(outcome.replicas)} replicas, largest "
        f"difference {differences:.1e}"
    )
    if not told_apart and line.version != version:
        console.print(f"  version {line.version} is not known to answer otherwise: answers do not tell which it is")


def _is_told_apart(served: Served, before: int, registered: RegisteredVersion, registry: ModelRegistry) -> bool:
    try:
        other = fetch(registry.get_version(registered.model_name, before), f"version:{before}", registry)
    except NotRegistered:  # deleted since
        return False
    return are_told_apart(served.proof, other, registry)


def _find_version(registry: ModelRegistry, name: str, source: str | None) -> RegisteredVersion:
    """Return the version that is asked for; `NotRegistered` where the registry was asked and has none."""
    if source is not None:
        return registry.resolve(name, source)
    newest = next(registry.list_versions(name), None)
    if newest is None:
        raise NotRegistered(
            f"model '{name}': the registry at {registry.tracking_uri} has no version of it; register one",
            model_name=name,
        )
    return registry.get_version(name, newest[0])


def _choose_name(found: set[str], model_name: str, what: str) -> str:
    if len(found) > 1:
        raise InvalidInput(
            f"model '{model_name}': its servers have it {what} as {', '.join(sorted(found))}, expected one name; call "
            "this once for each, with --model_name=NAME of the server"
        )
    return next(iter(found), model_name)
