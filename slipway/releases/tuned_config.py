"""A config.pbtxt with what settings say of it in it, and nothing else of it changed."""

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from blocks.errors import InvalidInput
from slipway.formats.model_config import ENSEMBLE, find_backend
from slipway.releases.config_fields import FIELDS, ONNXRUNTIME_ONLY, ConfigField
from slipway.releases.serving_config import MAX_BATCH_SIZE, QUEUE_DELAY_US, make_instances, parse_config
from slipway.releases.serving_settings import ServingSettings

_BACKEND = "onnxruntime"


def apply_settings(
    config: str, settings: ServingSettings, before: ServingSettings, author: str | None, subject: str
) -> str:
    """Return a config.pbtxt with what settings say in it, and without what earlier ones said and these do not.

    What was changed by hand since stays, but where settings say that very field. Raises `InvalidInput` where they
    contradict each other, the author, or what the model is.

    Args:
        config: the committed one, or one that was generated or adopted.
        settings: what is to be said in it.
        before: what settings said in it before.
        author: what the author of the version wrote, None where it is generated.
        subject: names the model in messages.
    """
    settings.check(subject)
    message = parse_config(config)
    if author is not None:
        _check_author(parse_config(author), settings, subject)
    origin = parse_config(author) if author is not None else _make_origin(message)
    for field in FIELDS:
        if field.say(settings, message) is not None:
            _check_batching(field, message, settings, subject)
            field.write(message, field.say(settings, message))
        elif field.say(before, message) is not None and field.is_as(message, before):
            field.write(message, field.read(origin))
    _tidy(message, origin)
    check_fit(message, settings, subject)
    return str(text_format.MessageToString(message))


def check_fit(config: pb.ModelConfig, settings: ServingSettings, subject: str) -> None:
    """Raise `InvalidInput` where settings say what a model of this configuration cannot have."""
    said, backend = settings.said, find_backend(config)
    if (config.platform == ENSEMBLE or config.HasField("ensemble_scheduling")) and said.keys() - {"response_cache"}:
        _refuse(subject, said.keys() - {"response_cache"}, "is an ensemble", "them set on the models it calls")
    if backend != _BACKEND and said.keys() & ONNXRUNTIME_ONLY:
        _refuse(subject, said.keys() & ONNXRUNTIME_ONLY, f"runs on backend '{backend}'", f"backend '{_BACKEND}'")
    sizes = (*config.dynamic_batching.preferred_batch_size, *(each.batch_size for each in config.model_warmup))
    if settings.said and max(sizes, default=0) > config.max_batch_size:
        raise InvalidInput(
            f"{subject}: preferred_batch_sizes or warm_up_batch_sizes go up to {max(sizes)}, max_batch_size is "
            f"{config.max_batch_size}, expected none above it; set them, or max_batch_size, anew"
        )
    joins = said.keys() & {"preferred_batch_sizes", "queue_delay_us"}
    if config.max_batch_size == 0 and joins:
        _refuse(subject, joins, "is served without batching, max_batch_size 0", "none of them")
    if settings.response_cache and config.model_transaction_policy.decoupled:
        _refuse(subject, {"response_cache"}, "is decoupled, with any number of answers", "one answer a request")


def asks_for_batches(settings: ServingSettings) -> bool:
    """Tell whether settings say something that only a model has whose requests are joined."""
    joined = {"preferred_batch_sizes", "queue_delay_us", "warm_up_batch_sizes"}
    return bool(settings.max_batch_size) or bool(settings.said.keys() & joined)


def _make_origin(config: pb.ModelConfig) -> pb.ModelConfig:
    """Return what of a generated configuration settings can say, as it is generated without any."""
    origin = pb.ModelConfig(instance_group=make_instances())
    if config.max_batch_size > 0:
        origin.max_batch_size = MAX_BATCH_SIZE
        origin.dynamic_batching.max_queue_delay_microseconds = QUEUE_DELAY_US
    return origin


def _check_author(author: pb.ModelConfig, settings: ServingSettings, subject: str) -> None:
    for field in FIELDS:
        wanted, written = field.say(settings, author), field.read(author)
        if wanted is not None and written is not None and written != wanted:
            names = " and ".join(name for name in field.names if name in settings.said)
            raise InvalidInput(
                f"{subject}: settings say {names} {_show(wanted)}, and the config.pbtxt that came with the version "
                f"{_show(written)}, expected one of them to say it; `slipway config set` with "
                f"{' '.join(f'--unset {name}' for name in field.names if name in settings.said)}, or take it out of "
                "that file"
            )


def _check_batching(field: ConfigField, config: pb.ModelConfig, settings: ServingSettings, subject: str) -> None:
    """Raise `InvalidInput` where batching would be switched on or off: every version served shares the file."""
    wanted = settings.max_batch_size
    if field.names != ("max_batch_size",) or wanted is None or (wanted > 0) == (config.max_batch_size > 0):
        return
    raise InvalidInput(
        f"{subject}: settings say max_batch_size {wanted}, it is served with {config.max_batch_size}; the tensors of a "
        "model with batches are declared otherwise, and the version before is served by the same file: unset "
        "max_batch_size, or register the model under another name and set it before the first release"
    )


def _tidy(config: pb.ModelConfig, origin: pb.ModelConfig) -> None:
    """Take out what is empty and was not there before anything was said."""
    if not origin.HasField("dynamic_batching") and not config.dynamic_batching.ByteSize():
        config.ClearField("dynamic_batching")
    usual = pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_AUTO)
    if not origin.instance_group and list(config.instance_group) == [usual]:
        config.ClearField("instance_group")


def _show(value: object) -> str:
    return " ".join(str(value).split())


def _refuse(subject: str, names: set[str], observed: str, expected: str) -> None:
    raise InvalidInput(
        f"{subject}: settings say {', '.join(sorted(names))}, and it {observed}, expected {expected}; unset them"
    )
