"""The config.pbtxt of a model: generated once with everything explicit, afterwards only its version policy moves.

Triton reloads every version when anything but the version policy or the instance groups changes
(server documentation, "Model Management"), and what an engineer tuned by hand is not ours to overwrite.
"""

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from blocks.errors import InvalidInput
from blocks.labels import LABELS_FILE
from blocks.repository_layout import SHARED
from slipway.formats.contents import Contents
from slipway.formats.model_config import find_backend
from slipway.formats.signature import Signature, TensorSpec
from slipway.releases.samples import BATCH

MAX_BATCH_SIZE = 32
QUEUE_DELAY_US = 500


def generate_config(
    model_name: str, contents: Contents, serves: tuple[int, ...], max_batch_size: int | None = None
) -> str:
    """Return a config.pbtxt with explicit inputs, outputs, batching and version policy, or the author's.

    Args:
        model_name: the model.
        contents: what is served.
        serves: the versions Triton is to serve.
        max_batch_size: how many rows Triton may join, 0: none; left out, as many as usual where the tensors allow it.
    """
    if contents.config is not None:
        return adopt_config(contents.config, model_name, contents, serves)
    signature = contents.signature
    if max_batch_size is None:
        max_batch_size = MAX_BATCH_SIZE if signature.may_batch else 0
    batched = max_batch_size > 0
    config = pb.ModelConfig(
        name=model_name,
        backend=contents.backend,
        default_model_filename=contents.model_file,
        max_batch_size=max_batch_size,
        input=_describe_inputs(signature, batched),
        output=_describe_outputs(signature, batched),
        instance_group=make_instances(),
    )
    if f"{SHARED}{LABELS_FILE}" in contents.files:
        config.output[0].label_filename = LABELS_FILE
    if batched:
        config.dynamic_batching.max_queue_delay_microseconds = QUEUE_DELAY_US
    return apply_policy(text_format.MessageToString(config), serves)


def make_instances() -> list[pb.ModelInstanceGroup]:
    """Return the instances of a model whose author says nothing of them: one, on a GPU where there are any."""
    return [pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_AUTO)]


def adopt_config(author: str, model_name: str, contents: Contents, serves: tuple[int, ...]) -> str:
    """Return an author's config.pbtxt with the model's name and our policy; tensors are added where it has none."""
    config = parse_config(author)
    config.name = model_name
    if not (config.backend or config.platform):
        config.backend = contents.backend
    if contents.model_file and not config.default_model_filename:
        config.default_model_filename = contents.model_file
    if not config.input:
        config.input.extend(_describe_inputs(contents.signature, config.max_batch_size > 0))
    if not config.output:
        config.output.extend(_describe_outputs(contents.signature, config.max_batch_size > 0))
    return apply_policy(text_format.MessageToString(config), serves)


def update_config(before: str, model_name: str, contents: Contents, serves: tuple[int, ...]) -> str:
    """Return the committed config with another version policy, all else as it was.

    Raises `InvalidInput` where the model takes or gives something else than the one being served, or runs on another
    backend: clients and the previous version share this file.
    """
    old = parse_config(before)
    takes_rows = contents.signature.may_batch or contents.config is not None
    batched = old.max_batch_size > 0 and takes_rows
    new = pb.ModelConfig(
        input=_describe_inputs(contents.signature, batched), output=_describe_outputs(contents.signature, batched)
    )
    check_succession(old, new, model_name)
    if old.max_batch_size > 0 and not takes_rows:
        raise InvalidInput(
            f"model '{model_name}': its tensors have no dynamic first axis in common, what is served takes batches of "
            f"up to {old.max_batch_size}; export it with a dynamic batch axis, or register it under another name"
        )
    if (backend := find_backend(old)) not in {"", contents.backend}:
        raise InvalidInput(
            f"model '{model_name}': runs on backend '{contents.backend}', what is served on '{backend}'; both versions "
            "share one config.pbtxt: register the model under another name"
        )
    return apply_policy(before, serves)


def replace_config(before: str, model_name: str, contents: Contents, serves: tuple[int, ...]) -> str:
    """Return the config that a version's author gave it, in the place of the committed one.

    Raises `InvalidInput` where it takes or gives something else than the committed one.
    """
    config = generate_config(model_name, contents, serves)
    old, new = parse_config(before), parse_config(config)
    check_succession(old, new, model_name)
    if find_backend(old) != find_backend(new) or (old.max_batch_size > 0) != (new.max_batch_size > 0):
        raise InvalidInput(
            f"model '{model_name}': its config.pbtxt says backend '{find_backend(new)}' and max_batch_size "
            f"{new.max_batch_size}, what is served has '{find_backend(old)}' and {old.max_batch_size}; the version "
            "before is served by the same file: register the model under another name"
        )
    return config


def check_succession(old: pb.ModelConfig, new: pb.ModelConfig, model_name: str) -> None:
    """Raise `InvalidInput` where the inputs or outputs of two configurations differ."""
    for kind in ("input", "output"):
        observed = sorted((t.name, t.data_type, tuple(t.dims)) for t in getattr(new, kind))
        expected = sorted((t.name, t.data_type, tuple(t.dims)) for t in getattr(old, kind))
        if observed != expected:
            raise InvalidInput(
                f"model '{model_name}': {kind}s are {_format_tensors(observed)}, those being served are "
                f"{_format_tensors(expected)}; clients rely on them: register the model under another name"
            )


def read_policy(config: str | None) -> tuple[int, ...]:
    """Return the versions a config.pbtxt commits Triton to; none where there is no config or no specific policy."""
    if config is None:
        return ()
    return tuple(sorted(parse_config(config).version_policy.specific.versions))


def takes_batches(config: str) -> bool:
    """Tell whether Triton batches requests to the model, so that their tensors have a batch axis."""
    return bool(parse_config(config).max_batch_size > 0)


def count_rows(config: str) -> int:
    """Return how many rows to send in one request at most, of a model that takes batches."""
    return max(1, min(BATCH, int(parse_config(config).max_batch_size)))


def apply_policy(config: str, serves: tuple[int, ...]) -> str:
    """Return a config.pbtxt that serves exactly these versions."""
    message = parse_config(config)
    message.version_policy.Clear()
    message.version_policy.specific.versions.extend(sorted(serves))
    return str(text_format.MessageToString(message))


def make_candidate_config(config: str, name: str, version: int) -> str:
    """Return a config.pbtxt that serves one version alone, under another name, all else alike but for a cache.

    An answer out of the server's cache would prove, and measure, nothing of the model.
    """
    message = parse_config(apply_policy(config, (version,)))
    message.name = name
    message.ClearField("response_cache")
    return str(text_format.MessageToString(message))


def parse_config(config: str) -> pb.ModelConfig:
    """Return a config.pbtxt as Triton's own message; `InvalidInput` where it is none."""
    try:
        return text_format.Parse(config, pb.ModelConfig())
    except text_format.ParseError as error:
        raise InvalidInput(
            f"config.pbtxt: not a Triton model configuration ({error}); mend it in the repository"
        ) from error


def _describe_inputs(signature: Signature, batched: bool) -> list[pb.ModelInput]:
    return [pb.ModelInput(**_describe_tensor(spec, batched)) for spec in signature.inputs]


def _describe_outputs(signature: Signature, batched: bool) -> list[pb.ModelOutput]:
    return [pb.ModelOutput(**_describe_tensor(spec, batched)) for spec in signature.outputs]


def _describe_tensor(spec: TensorSpec, batched: bool) -> dict[str, object]:
    """Return a tensor as Triton is told of it, which knows none without an axis beside that of the batch."""
    dims = [-1 if isinstance(axis, str) else axis for axis in spec.shape][1 if batched else 0 :]
    data_type = "TYPE_STRING" if spec.dtype == "BYTES" else f"TYPE_{spec.dtype}"
    described: dict[str, object] = {
        "name": spec.name,
        "data_type": pb.DataType.Value(data_type),
        "dims": dims or [1],
    }
    if batched and not dims:
        described["reshape"] = pb.ModelTensorReshape(shape=[])
    return described


def _format_tensors(tensors: list[tuple[str, int, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {pb.DataType.Name(dtype)} {list(dims)}" for name, dtype, dims in tensors) or "none"
