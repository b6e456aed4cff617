"""What the scripts decide before a server is asked: which form is meant, where everything is, what is refused."""

import hashlib
import json
from pathlib import Path

import pytest

from blocks.errors import ForeignModel, IntegrityError, InvalidInput, ReleaseInProgress, VersionConflict
from blocks.labels import METADATA_FILE, MODEL_FILE
from blocks.repository import ModelRepository
from infra.command.exit_codes import ExitCode
from infra.command.main import run
from infra.command.scripts.app import SCRIPTS, choose_form
from infra.command.scripts.files import read_number, strip_credentials
from infra.command.scripts.places import choose_repository, find_fleet, find_registry, find_repository
from infra.command.steps import STEPS
from slipway.releases.journal import open_journal
from slipway.releases.metadata import MlflowSection, ModelSection, TritonSection, VersionMetadata
from slipway.releases.plan import ReleasePlan
from slipway.releases.staged_release import stage_prepared
from tests.apparatus.stores import repository_in_memory

CONTENT = b"a network"


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    """A repository in a directory."""
    return ModelRepository(models_directory=tmp_path / "models")


@pytest.fixture
def prepared(tmp_path: Path, model_name: str) -> Path:
    """What prepare-artifacts writes, for version 1."""
    return prepare(tmp_path / "artifacts", model_name)


def prepare(directory: Path, model_name: str, owner: str = "shell-1") -> Path:

    directory.mkdir(exist_ok=True)
    (directory / MODEL_FILE).write_bytes(CONTENT)
    metadata = VersionMetadata(
        mlflow=MlflowSection(model_name=model_name, version=4),
        triton=TritonSection(version=1, flow_run_id=owner),
        model=ModelSection(sha256={MODEL_FILE: hashlib.sha256(CONTENT).hexdigest()}),
    )
    (directory / METADATA_FILE).write_text(metadata.model_dump_json(exclude_unset=True))
    return directory


@pytest.mark.parametrize(
    ("arguments", "variables", "form"),
    [
        (["step", "fetch-model", "--model-name=m", "--output-dir", "out"], {}, "script"),
        (["step", "determine-version", "--model-name", "m", "--bucket=b"], {}, "script"),
        (["step", "verify-deployment", "--triton-url=http://t:8000"], {}, "script"),
        (["step", "fetch-model", "--model-name=m"], {"SLIPWAY_OUTPUT_DIR": "out"}, "script"),
        (["step", "fetch-model", "--model-name=m"], {}, "step"),
        (["step", "determine-version", "--fetched", "fetched.json"], {"SLIPWAY_OUTPUT_DIR": "out"}, "step"),
        (["step", "upload-to-s3", "--plan=plan.json", "--fetched=fetched.json"], {}, "step"),
        (["step", "commit-version", "--plan=plan.json", "--output-dir=out"], {}, "step"),
        (["step"], {}, "step"),
    ],
)
def test_the_options_say_which_form_is_meant(arguments: list[str], variables: dict[str, str], form: str) -> None:
    assert choose_form(arguments, variables) == [form, *arguments[1:]]


@pytest.mark.parametrize("step", [name for name in SCRIPTS if name in STEPS])
def test_no_option_of_a_step_is_taken_for_one_of_the_scripts(step: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["step", step, "--help"])
    options = [word for word in capsys.readouterr().out.split() if word.startswith("--") and word != "--help"]

    assert [option for option in options if choose_form(["step", step, option], {})[0] == "script"] == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("fetch-model --model-name=../m --output-dir=out", "expected 1 to 120 letters"),
        ("fetch-model --model-name=m --source=deploy --output-dir=out", "expected 'alias:NAME'"),
        ("fetch-model --model-name=m --output-dir=out --sauce=x", "Unknown option: --sauce"),
        ("determine-version --model-name=m --bucket=s3:// --output-dir=out", "names no bucket"),
        ("determine-version --model-name=m --bucket=b --force-version=0 --output-dir=out", "from 1 to"),
        ("reload-triton --model-name=m --triton-url=ftp://t --expected-version=3 --output-dir=out", "expected http"),
        ("reload-triton --model-name=m --triton-url=http://t:1 --expected-version=x --output-dir=out", "int"),
        ("reload-triton --model-name=m --triton-url=t:1 --expected-version=3 --timeout=0 --output-dir=out", "> 0"),
        ("update-aliases --model-name=m --mlflow-tracking-uri=http://m --output-dir=out", "--mlflow-version"),
        ("verify-deployment --model-name=m --expected-input-shape=[1,0] --output-dir=out", "sizes from 1 on"),
        ("verify-deployment --model-name=m --num-test-requests=0 --output-dir=out", "1"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_line_and_status_2(
    line: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["step", *line.split()])

    out, error = capsys.readouterr()
    assert (code, out, error.count("\n")) == (ExitCode.BAD_INPUT, "", 1), error
    assert reason in error


def test_a_parameter_of_a_workflow_that_is_left_empty_is_not_given() -> None:
    call = ["step", "determine-version", "--model-name=m", "--force-version=", "--output-dir=out"]

    assert choose_form(call, {}) == ["script", "determine-version", "--model-name=m", "--output-dir=out"]


def test_where_nothing_is_said_a_line_says_what_would(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="give --mlflow-tracking-uri, or set MLFLOW_TRACKING_URI"):
        find_registry(None, variables={})
    with pytest.raises(InvalidInput, match="give --bucket, set TRITON_MODEL_REPO"):
        find_repository(None, None, tmp_path, "m", {})
    with pytest.raises(InvalidInput, match="give --triton-url, or set TRITON_URL"):
        find_fleet(None, variables={})


def test_an_option_goes_before_the_output_directory_and_that_before_variables(tmp_path: Path) -> None:
    variables = {"TRITON_MODEL_REPO": "s3://variable", "SLIPWAY_MODELS_BUCKET": "house"}
    (tmp_path / "s3_uri.txt").write_text("s3://left/prefix/m/3\n")

    assert choose_repository("option/prefix", tmp_path, "m", variables) == "s3://option/prefix"
    assert choose_repository(None, tmp_path, "m", variables) == "s3://left/prefix"
    assert choose_repository(None, tmp_path, "another", variables) == "s3://variable"
    assert choose_repository(None, tmp_path, "another", {"SLIPWAY_MODELS_BUCKET": "house"}) == "s3://house/repository"
    assert choose_repository(None, tmp_path, "another", {}) is None


def test_replicas_are_those_of_the_option_else_of_the_variables() -> None:
    variables = {"TRITON_URL": "http://one:8000,http://two:8000", "SLIPWAY_TRITON_REPLICAS": "three:8001,four:8001"}

    assert find_fleet("http://five:8000", 60, variables).replicas == ["five:8000"]
    assert find_fleet("http://five:8000", 60, variables).load_timeout_s == 60
    assert find_fleet(None, None, variables).replicas == ["one:8000", "two:8000"]
    assert find_fleet(None, None, {"SLIPWAY_TRITON_REPLICAS": "three:8001,four:8001"}).replicas == [
        "three:8001",
        "four:8001",
    ]


def test_a_bucket_that_slipway_laid_out_is_not_taken_for_one_that_triton_reads_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with repository_in_memory() as house:
        store = house.store
        for folder in ("repository", "records", "locks"):
            store.write(f"{folder}/m/x", b"x")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "slipway")
        endpoint = store.client.meta.endpoint_url

        with pytest.raises(InvalidInput, match="give --bucket=test-bucket/repository"):
            find_repository("test-bucket", endpoint, tmp_path, "m", {})
        found = find_repository("test-bucket/repository", endpoint, tmp_path, "m", {})

        store.delete_all(list(store.list_keys("")))  # stores of one process share what they hold
        assert (found.repository_prefix, found.records_prefix, found.locks_prefix) == ("repository", "records", "locks")


def test_a_bucket_of_the_reference_scripts_is_read_as_a_whole_and_what_is_staged_is_no_version_there(
    prepared: Path, model_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with repository_in_memory() as bucket:
        bucket.store.write("another-model/7/model.onnx", b"theirs")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "slipway")
        found = find_repository("test-bucket", bucket.store.client.meta.endpoint_url, tmp_path, model_name, {})

        staged = stage_prepared(model_name, 1, prepared, found)

        assert staged.uri == f"s3://test-bucket/{model_name}/1"
        assert found.find_next_version("another-model") == 8
        keys = found.store.list_keys("")
        found.store.delete_all(list(keys))
        assert {key.split("/")[0] for key in keys} == {".slipway", "another-model"}


def test_a_number_is_given_itself_or_as_its_file(tmp_path: Path) -> None:
    (tmp_path / "triton_version.txt").write_text("12\n")
    (tmp_path / "other.txt").write_text("v12")

    assert (read_number("3"), read_number(str(tmp_path / "triton_version.txt"))) == (3, 12)
    for given in (str(tmp_path / "other.txt"), str(tmp_path / "none.txt"), "0"):
        with pytest.raises(InvalidInput, match="--triton-version"):
            read_number(given)


def test_no_password_of_a_registry_gets_into_a_file() -> None:
    assert strip_credentials("https://user:secret@mlflow:443/path") == "https://mlflow:443/path"
    assert strip_credentials("http://mlflow:80") == "http://mlflow:80"


def test_what_is_prepared_is_staged_out_of_triton_s_sight_and_again_nothing_is_sent(
    repository: ModelRepository, prepared: Path, model_name: str
) -> None:
    first, again = (stage_prepared(model_name, 1, prepared, repository) for _ in range(2))

    assert (first.sent_bytes > 0, again.sent_bytes) == (True, 0)
    assert repository.store.list_keys(repository.model_directory(model_name)) == {}
    assert repository.read_lock(model_name) is not None and repository.read_journal(model_name) is None
    assert repository.find_next_version(model_name) == 2


def test_a_file_that_was_changed_since_is_refused_before_anything_is_taken(
    repository: ModelRepository, prepared: Path, model_name: str
) -> None:
    (prepared / MODEL_FILE).write_bytes(b"another network")

    with pytest.raises(IntegrityError, match="registered was"):
        stage_prepared(model_name, 1, prepared, repository)
    assert repository.find_next_version(model_name) == 1


@pytest.mark.parametrize("content", ["", "{}", "[]", json.dumps({"mlflow": {"model_name": "other", "version": "4"}})])
def test_a_metadata_json_that_is_not_this_version_s_is_refused(
    repository: ModelRepository, prepared: Path, model_name: str, content: str
) -> None:
    (prepared / METADATA_FILE).write_text(content)

    with pytest.raises(InvalidInput, match="run prepare-artifacts"):
        stage_prepared(model_name, 1, prepared, repository)


def test_of_two_that_took_the_same_number_the_second_is_refused(
    repository: ModelRepository, prepared: Path, model_name: str
) -> None:
    stage_prepared(model_name, 1, prepared, repository)

    with pytest.raises(VersionConflict, match="the number was taken"):
        stage_prepared(model_name, 1, prepare(prepared, model_name, "shell-2"), repository)


def test_a_model_that_slipway_never_released_is_left_alone(
    repository: ModelRepository, prepared: Path, model_name: str
) -> None:
    repository.store.write(f"{repository.model_directory(model_name)}1/{MODEL_FILE}", b"theirs")

    with pytest.raises(ForeignModel, match="adopt it first"):
        stage_prepared(model_name, 1, prepared, repository)
    assert repository.list_recorded(model_name) == ()


def test_a_release_that_was_broken_off_is_settled_before_the_next_one_is_staged(
    repository: ModelRepository, prepared: Path, model_name: str
) -> None:
    open_journal(
        repository,
        ReleasePlan(
            model_name=model_name,
            registry_version=3,
            version=9,
            creates_version=True,
            already_live=False,
            flow_run_id="shell-0",
        ),
    )

    with pytest.raises(ReleaseInProgress, match="settles it"):
        stage_prepared(model_name, 1, prepared, repository)
