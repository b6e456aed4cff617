"""A set-up writes what its settings give, and leaves what people typed into a block."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect_aws.credentials import AwsCredentials
from pydantic import SecretStr, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from blocks.environment import DOCUMENT, Environment, load_block, load_environment
from blocks.fleet import TritonFleet
from blocks.registry import ModelRegistry
from blocks.transport_security import TransportSecurity
from infra.setup.blocks import Addresses, make_schemas_once, register_blocks
from tests.apparatus.secured_triton import signed

OURS = signed("slipway")


@pytest.fixture
def restored(environment: Environment) -> Iterator[Environment]:
    """The stack's blocks, which are put back afterwards."""
    credentials = load_block(AwsCredentials)
    yield load_environment()
    with make_schemas_once():
        for block in (credentials, environment.registry, environment.fleet):
            block.save(DOCUMENT, overwrite=True)


def test_setting_up_again_changes_nothing(restored: Environment) -> None:
    before = load_block(AwsCredentials).aws_client_parameters

    register_blocks(Addresses())

    assert load_environment() == restored
    assert load_block(AwsCredentials).aws_client_parameters == before


def test_what_people_typed_into_blocks_stays(restored: Environment) -> None:
    typed = {"username": "ann", "password": SecretStr("secret"), "request_timeout_s": 7}
    restored.registry.model_copy(update=typed).save(DOCUMENT, overwrite=True)
    security = TransportSecurity(root_certificates=OURS.certificate, server_name="triton")
    restored.fleet.model_copy(update={"tls": security, "load_timeout_s": 99.0}).save(DOCUMENT, overwrite=True)

    register_blocks(Addresses())

    registry, fleet = load_block(ModelRegistry), load_block(TritonFleet)
    assert {name: getattr(registry, name) for name in typed} == typed
    assert (fleet.tls, fleet.load_timeout_s) == (security, 99.0)


def test_credentials_and_certificates_come_from_settings(
    restored: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_text(OURS.key)
    for name, value in {
        "MLFLOW_USERNAME": "ann",
        "MLFLOW_PASSWORD": "secret",
        "TRITON_TLS_CLIENT_CERTIFICATE": OURS.certificate,
        "TRITON_TLS_CLIENT_KEY": str(tmp_path / "key.pem"),
    }.items():
        monkeypatch.setenv(f"SLIPWAY_{name}", value)

    register_blocks(Addresses())

    registry, fleet = load_block(ModelRegistry), load_block(TritonFleet)
    assert (registry.username, registry.password) == ("ann", SecretStr("secret"))
    assert fleet.tls is not None and fleet.tls.client_key == SecretStr(OURS.key)
    with get_client(sync_client=True) as client:
        shown = client.read_block_document_by_name(DOCUMENT, "triton-fleet", include_secrets=False).data
    assert OURS.key not in str(shown)


def test_metrics_of_other_replicas_do_not_stay(restored: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPWAY_TRITON_METRICS", raising=False)
    register_blocks(Addresses())
    assert load_block(TritonFleet).metrics == restored.fleet.metrics

    monkeypatch.setenv("SLIPWAY_TRITON_REPLICAS", "elsewhere:8001")
    register_blocks(Addresses())

    assert load_block(TritonFleet).metrics == []


def test_a_file_that_is_not_there_is_no_certificate() -> None:
    with pytest.raises(ValidationError, match=r"neither a PEM text nor a file of one"):
        Addresses(
            mlflow_tracking_uri="http://mlflow", triton_replicas="a:8001", triton_tls_root_certificates="/no/such/file"
        )


def test_a_schema_is_made_once_and_is_what_it_always_is(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, made = AwsCredentials.model_json_schema(), []
    generate = GenerateJsonSchema.generate

    def count(*arguments: Any, **named: Any) -> Any:
        made.append(arguments)
        return generate(*arguments, **named)

    monkeypatch.setattr(GenerateJsonSchema, "generate", count)
    with make_schemas_once():
        AwsCredentials.model_json_schema().clear()
        assert AwsCredentials.model_json_schema() == expected
    assert len(made) == 1

    AwsCredentials.model_json_schema()
    assert len(made) == 2
