"""Which older versions are served beside a new one: the newest of those served now, and those that were asked for."""

from blocks.errors import InvalidInput
from blocks.repository_layout import StoredVersions
from slipway.releases.released import Known


def choose_older(
    model_name: str,
    version: int,
    *,
    served: tuple[int, ...],
    released: list[Known],
    stored: StoredVersions,
    keep_served: int,
    also_serve: tuple[int, ...],
) -> tuple[int, ...]:
    """Return the Triton versions to serve beside a new one, none of which outranks it.

    Triton answers unversioned requests with the highest version served. Raises `InvalidInput` where one that was asked
    for cannot be served.

    Args:
        model_name: the model, for messages.
        version: the new one's number in Triton.
        served: what the policy names now.
        released: every version that was released once, the newest first.
        stored: the versions that have files.
        keep_served: how many versions are to be served, the new one included, apart from those that are asked for.
        also_serve: versions of the registry that are asked for, whatever `keep_served` says.
    """
    marked = {known.version for known in released if known.marked is not None}
    kept = [older for older in sorted(served, reverse=True) if older < version and older not in marked]
    asked = {find_servable(model_name, wanted, version, released, stored) for wanted in also_serve}
    return tuple(sorted({*kept[: keep_served - 1], *asked} - {version}))


def find_servable(model_name: str, wanted: int, version: int, released: list[Known], stored: StoredVersions) -> int:
    """Return the Triton version of a registered one that can be served beside a new one; else `InvalidInput`."""
    subject, way_out = f"model '{model_name}' version {wanted}", "or leave it out of also_serve"
    same = [known for known in released if known.registry_version == wanted]
    found = next((known for known in same if known.marked is None), next(iter(same), None))
    if found is None:
        raise InvalidInput(
            f"{subject}: was never released, expected one that was, to serve it beside another; release it first, "
            f"{way_out}"
        )
    if found.marked is not None:
        raise InvalidInput(
            f"{subject}: was rolled back from at {found.marked}, expected one that was not; release it anew, {way_out}"
        )
    if found.version not in (*stored.repository, *stored.archive):
        raise InvalidInput(
            f"{subject}: its files are neither in the repository nor in the archive any more; release it again, "
            f"{way_out}"
        )
    if found.version > version:
        raise InvalidInput(
            f"{subject}: is Triton version {found.version}, expected less than {version}, that of the new one: Triton "
            f"answers unversioned requests with the highest; release the new one under a higher number, {way_out}"
        )
    return found.version
