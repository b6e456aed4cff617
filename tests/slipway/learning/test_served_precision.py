"""What has to be exported beside FP32 for a precision to be registered."""

import pytest

from slipway.learning.served_precision import PRECISIONS, TOLERANCES, VARIANTS, Variant, list_variants


@pytest.mark.parametrize(
    ("variants", "precision", "exported"),
    [
        ([], "fp32", []),
        (["int8"], "fp32", ["int8"]),
        ([], "int8", ["int8"]),
        (["fp16"], "int8", ["fp16", "int8"]),
        (["int8", "int8"], "int8", ["int8"]),
        ([], "fastest", ["fp16", "int8"]),
        (["int8"], "fastest", ["int8"]),
    ],
)
def test_what_is_asked_for_is_exported_and_the_fastest_is_one_of_what_is_named_or_of_all(
    variants: list[Variant], precision: str, exported: list[Variant]
) -> None:
    assert list_variants(variants, precision) == exported


def test_each_variant_has_a_tolerance_of_its_own() -> None:
    assert set(TOLERANCES) == set(VARIANTS) == set(PRECISIONS) - {"fp32"}
