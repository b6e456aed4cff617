"""How a model is configured: what settings say, what is committed, where that came from, what would be with others."""

import difflib
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from blocks.environment import Environment
from blocks.labels import CONFIG_FILE, DEPLOY
from slipway.releases.fetching import fetch
from slipway.releases.kept_settings import KeptSettings, read_kept, read_recorded
from slipway.releases.proven_config import read_author_config
from slipway.releases.serving_config import apply_policy, generate_config, read_policy
from slipway.releases.serving_settings import ServingSettings
from slipway.releases.tuned_config import apply_settings
from slipway.releases.workspace import private_workspace


class Origin(StrEnum):
    """Where a committed config.pbtxt came from."""

    NONE = "nothing is committed yet"
    GENERATED = "generated"
    AUTHOR = "the author's"
    BY_HAND = "changed by hand since its release"


class Configuration(BaseModel):
    """How a model is configured."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str
    kept: KeptSettings
    served: ServingSettings = Field(description="What settings said of the live version when it was released.")
    committed: str | None = Field(description="The config.pbtxt that is committed, None before the first release.")
    origin: Origin
    changed_by_hand: str = Field(default="", description="What was changed since its release, line by line.")

    @property
    def is_pending(self) -> bool:
        """Whether the next release changes how the model is served."""
        return self.kept.now != self.served


def read_configuration(model_name: str, environment: Environment) -> Configuration:
    """Return how a model is configured; `NotRegistered` where there is no such model."""
    environment.registry.get_model(model_name)
    repository = environment.repository
    kept, committed = read_kept(repository, model_name), repository.read_config(model_name)
    live = max(read_policy(committed), default=None)
    origin, changed = Origin.NONE, ""
    if committed is not None and live is not None:
        origin = Origin.AUTHOR if read_author_config(repository, model_name, live) is not None else Origin.GENERATED
        if (recorded := repository.read_record(model_name, live, CONFIG_FILE)) is not None:
            proven = apply_policy(recorded.decode(errors="replace"), read_policy(committed))
            changed = compare_configs(proven, apply_policy(committed, read_policy(committed)), "proven", "committed")
        origin = Origin.BY_HAND if changed else origin
    return Configuration(
        model_name=model_name,
        kept=kept,
        served=read_recorded(repository, model_name, live),
        committed=committed,
        origin=origin,
        changed_by_hand=changed,
    )


def preview(configuration: Configuration, settings: ServingSettings, environment: Environment) -> str:
    """Return the config.pbtxt that the next release of what is live would commit, its policy left as it is.

    Before the first release it is that of the version with the alias `deploy`. Raises `InvalidInput` where the settings
    cannot be served.
    """
    name, committed, subject = configuration.model_name, configuration.committed, f"model '{configuration.model_name}'"
    if committed is None:
        return _preview_first(name, settings, environment)
    live = max(read_policy(committed), default=None)
    author = read_author_config(environment.repository, name, live) if live is not None else None
    return apply_settings(committed, settings, configuration.served, author, subject)


def compare_configs(before: str, after: str, before_name: str = "committed", after_name: str = "new") -> str:
    """Return how two config.pbtxt differ, as a unified diff; nothing where they do not."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), before_name, after_name, lineterm="")
    return "\n".join(lines)


def _preview_first(model_name: str, settings: ServingSettings, environment: Environment) -> str:
    source = f"alias:{DEPLOY}"
    registered = environment.registry.resolve(model_name, source)
    with private_workspace():
        contents = fetch(registered, source, environment.registry).contents
    config = generate_config(model_name, contents, (1,), settings.max_batch_size)
    return apply_settings(config, settings, ServingSettings(), contents.config, f"model '{model_name}'")
