"""The config.pbtxt of a model: generated once with everything explicit, afterwards only its version policy moves.

Triton reloads every version when anything but the version policy or the instance groups changes
(server documentation, "Model Management"), and what an engineer tuned by hand is not ours to overwrite.
"""

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from blocks.errors import InvalidInput
from slipway.formats.contents import Contents
from slipway.formats.signature import TensorSpec

MAX_BATCH_SIZE = 32
_QUEUE_DELAY_US = 500


def generate_config(model_name: str, contents: Contents, serves: tuple[int, ...]) -> str:
    """Return a config.pbtxt with explicit inputs, outputs, batching and version policy."""
    signature = contents.signature
    config = pb.ModelConfig(
        name=model_name,
        backend=contents.backend,
        default_model_filename=contents.model_file,
        max_batch_size=MAX_BATCH_SIZE if signature.batched else 0,
        input=[pb.ModelInput(**_describe_tensor(spec, signature.batched)) for spec in signature.inputs],
        output=[pb.ModelOutput(**_describe_tensor(spec, signature.batched)) for spec in signature.outputs],
        instance_group=[pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_AUTO)],
    )
    if signature.batched:
        config.dynamic_batching.max_queue_delay_microseconds = _QUEUE_DELAY_US
    return apply_policy(text_format.MessageToString(config), serves)


def update_config(before: str, model_name: str, contents: Contents, serves: tuple[int, ...]) -> str:
    """Return the committed config with another version policy, all else as it was.

    Raises `InvalidInput` where the model takes or gives something else than the one being served: clients and the
    previous version share this file.
    """
    old, new = parse_config(before), parse_config(generate_config(model_name, contents, serves))
    for kind in ("input", "output"):
        observed = sorted((t.name, t.data_type, tuple(t.dims)) for t in getattr(new, kind))
        expected = sorted((t.name, t.data_type, tuple(t.dims)) for t in getattr(old, kind))
        if observed != expected:
            raise InvalidInput(
                f"model '{model_name}': {kind}s are {_format_tensors(observed)}, those being served are "
                f"{_format_tensors(expected)}; clients rely on them: register the model under another name"
            )
    return apply_policy(before, serves)


def read_policy(config: str | None) -> tuple[int, ...]:
    """Return the versions a config.pbtxt commits Triton to; none where there is no config or no specific policy."""
    if config is None:
        return ()
    return tuple(sorted(parse_config(config).version_policy.specific.versions))


def takes_batches(config: str) -> bool:
    """Tell whether Triton batches requests to the model, so that their tensors have a batch axis."""
    return bool(parse_config(config).max_batch_size > 0)


def apply_policy(config: str, serves: tuple[int, ...]) -> str:
    """Return a config.pbtxt that serves exactly these versions."""
    message = parse_config(config)
    message.version_policy.Clear()
    message.version_policy.specific.versions.extend(sorted(serves))
    return str(text_format.MessageToString(message))


def make_candidate_config(config: str, name: str, version: int) -> str:
    """Return a config.pbtxt that serves one version alone, under another name, all else alike."""
    message = parse_config(apply_policy(config, (version,)))
    message.name = name
    return str(text_format.MessageToString(message))


def parse_config(config: str) -> pb.ModelConfig:
    """Return a config.pbtxt as Triton's own message; `InvalidInput` where it is none."""
    try:
        return text_format.Parse(config, pb.ModelConfig())
    except text_format.ParseError as error:
        raise InvalidInput(
            f"config.pbtxt: not a Triton model configuration ({error}); mend it in the repository"
        ) from error


def _describe_tensor(spec: TensorSpec, batched: bool) -> dict[str, object]:
    dims = [-1 if isinstance(axis, str) else axis for axis in spec.shape]
    data_type = "TYPE_STRING" if spec.dtype == "BYTES" else f"TYPE_{spec.dtype}"
    return {"name": spec.name, "data_type": pb.DataType.Value(data_type), "dims": dims[1:] if batched else dims}


def _format_tensors(tensors: list[tuple[str, int, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {pb.DataType.Name(dtype)} {list(dims)}" for name, dtype, dims in tensors) or "none"
