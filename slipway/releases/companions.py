"""Which older versions a new one can have beside it: those that answer as they were proven with what all share.

Triton has one config.pbtxt for all versions of a model, and what a version brings as shared/ lies beside it. So an
older version would call what the new one calls, and read the new one's files: it would answer as no version ever did.
"""

from blocks.errors import InvalidInput
from blocks.labels import META_FILE
from blocks.repository import ModelRepository
from blocks.repository_layout import SHARED
from blocks.run import say
from slipway.releases.fetched import FetchedModel
from slipway.releases.metadata import read_metadata
from slipway.releases.pins import read_pins

Reasons = dict[int, str]


def find_strangers(
    fetched: FetchedModel, older: tuple[int, ...], config: str | None, repository: ModelRepository
) -> Reasons:
    """Return why older versions cannot be served beside a new one, by version; those that can be are not in it.

    Args:
        fetched: the new one.
        older: Triton versions, each stored.
        config: the committed config.pbtxt.
        repository: where they are stored.
    """
    if not older:
        return {}
    if fetched.contents.depends_on or read_pins(config):
        why = "it calls other models, all its versions those that the new config.pbtxt names"
        return dict.fromkeys(older, why)
    shared = {file.name: file.sha256 for file in fetched.files if file.name.startswith(SHARED)}
    shared.pop(f"{SHARED}{META_FILE}", None)  # says what was deployed; no model reads it
    reasons: Reasons = {}
    for version in older if shared else ():
        digests = read_metadata(fetched.model_name, version, repository).digests or {}
        changed = [name for name in shared if name in digests and digests[name] != shared[name]]
        if changed:
            reasons[version] = f"its {changed[0].removeprefix(SHARED)} is another, and all versions read the new one"
    return reasons


def leave_strangers(
    fetched: FetchedModel,
    kept: tuple[int, ...],
    *,
    asked: set[int],
    needed: set[int],
    config: str | None,
    repository: ModelRepository,
) -> tuple[int, ...]:
    """Return the older versions to serve, without those that cannot be; the archive keeps them to go back to.

    Raises `InvalidInput` where one of them was asked for, or is called by another model.

    Args:
        fetched: the new version.
        kept: older Triton versions that are to be served.
        asked: those among them that somebody asked for.
        needed: those among them that other models call.
        config: the committed config.pbtxt.
        repository: where they are stored.
    """
    strangers = find_strangers(fetched, kept, config, repository)
    for version in sorted(strangers.keys() & {*asked, *needed}):
        remedy = (
            "register the model under another name, and release what calls it with that"
            if version in needed
            else "leave it out of also_serve, or register the model under another name"
        )
        raise InvalidInput(
            f"{fetched.subject}: Triton version {version} cannot be served beside it, since {strangers[version]}; "
            f"{remedy}"
        )
    if strangers:
        reasons = "; ".join(f"{version}: {why}" for version, why in strangers.items())
        say(f"{fetched.subject}: goes live alone, older versions would answer wrongly ({reasons})")
    return tuple(version for version in kept if version not in strangers)
