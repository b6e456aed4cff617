"""What a replica's reason to refuse a load means, by recorded texts."""

import pytest

from blocks.load_refusals import explain_load

# of Triton 2.51 on a CPU, and, the last three on TensorRT, as users report them
RECORDED = {
    "load failed for model 'm': version 1 is at UNAVAILABLE state: Invalid argument: unable to find backend library "
    "for backend 'tensorrt', try specifying runtime on the model configuration.;": (
        "it has no backend 'tensorrt', expected one; start the replicas from an image that has it"
    ),
    "load failed for model 'm': version 1 is at UNAVAILABLE state: Invalid argument: instance group m_0 of model m has "
    "kind KIND_GPU but no GPUs are available;": "it has no GPU, expected one; release it to replicas with a GPU",
    "Invalid argument: unable to load model 'm', TensorRT backend supports only GPU device": "it has no GPU, expected",
    "instance group m_0 of model m specifies invalid or unsupported gpu id 3. GPUs with at least the minimum required "
    "CUDA compute compatibility of 6.000000 are: 0": "it has no GPU 3 that it can use, expected one; leave gpus out",
    "Internal: ModuleNotFoundError: No module named 'tokenizers'\n\nAt:\n  /tmp/folder/1/model.py(1)": (
        "its Python has no module 'tokenizers', expected it; bring an environment along"
    ),
    "unable to load shared library: libnvinfer.so.10: cannot open shared object file: No such file or directory": (
        "it lacks the library libnvinfer.so.10 of that backend"
    ),
    "The engine plan file is not compatible with this version of TensorRT, expecting library version 8.2.4 got 8.2.3, "
    "please rebuild.": "it has TensorRT 8.2.4, the plan was built with 8.2.3; build the plan again there",
    "The engine plan file is generated on an incompatible device, expecting compute 7.5 got compute 8.6, rebuild": (
        "it has a GPU of compute capability 7.5, the plan was built for 8.6; build the plan again there"
    ),
    "version 1 is at UNAVAILABLE state: Internal: unable to create TensorRT engine;": (
        "its TensorRT cannot read the plan, built for another version or GPU, its log says which; build the plan again"
    ),
}


@pytest.mark.parametrize(("text", "meaning"), RECORDED.items(), ids=range(len(RECORDED)))
def test_what_a_replica_lacks_is_said_with_what_to_do(text: str, meaning: str) -> None:
    assert (explain_load(text) or "").startswith(meaning)


@pytest.mark.parametrize("text", ["", "failed to poll from model repository", "Internal: RuntimeError: 12345"])
def test_any_other_reason_is_left_as_it_is(text: str) -> None:
    assert explain_load(text) is None
