"""In what a model computes: FP32 as it was trained, or one of its variants in fewer bits. Free of torch."""

from collections.abc import Collection
from typing import Annotated, Literal, get_args

from pydantic import Field

Variant = Literal["fp16", "int8"]
Precision = Literal["fp32", "fp16", "int8"]
AskedPrecision = Annotated[
    Literal["fp32", "fp16", "int8", "fastest"],
    Field(description="What is registered and released: fp32, a variant, or the fastest of those that pass."),
]
Variants = Annotated[
    list[Variant],
    Field(max_length=2, description="Exported and judged beside FP32: fp16, int8; what precision names in any case."),
]

FULL: Precision = "fp32"
FASTEST = "fastest"
VARIANTS: tuple[Variant, ...] = get_args(Variant)
# The most exact one first.
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# How far a server's answers may be from ONNX Runtime's, relative to their scale. On another kind of processor half
# precision keeps three digits. INT8 rounds each activation to 1/255 of its range, and one that lies between two steps
# falls to either: kernels of one processor were seen to differ by 1.6e-2 on ResNet18 and images, by 3.8e-2 on noise.
TOLERANCES: dict[Variant, float] = {"fp16": 2e-2, "int8": 5e-2}


def list_variants(variants: Collection[Variant], precision: str) -> list[Variant]:
    """Return what has to be exported beside FP32, for this precision to be registered.

    A variant that is asked for need not be named twice, and the fastest is one of all where none is named.
    """
    named = {*variants, precision} if precision != FASTEST or variants else {*VARIANTS}
    return [variant for variant in VARIANTS if variant in named]
