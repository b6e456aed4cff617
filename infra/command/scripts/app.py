"""`slipway script STEP`: the steps of a release as programs that stand alone, with options and files between them.

No Prefect server is asked, and no block: where everything is comes from options and variables. `slipway step STEP`, and
`python -m tasks STEP` with it, is the same program where it is called with the options of the scripts.
"""

from collections.abc import Mapping, Sequence

from cyclopts import App, Parameter
from cyclopts.config import Env

SCRIPTS = {
    "fetch-model": ("fetching:fetch_model", "Download a registered model and check it: model.onnx."),
    "determine-version": ("versions:determine_version", "Find the next free version number: triton_version.txt."),
    "prepare-artifacts": ("artifacts:prepare_artifacts", "Write where a version comes from: metadata.json."),
    "upload-to-s3": ("uploading:upload_to_s3", "Put a version into staging, which Triton does not read: s3_uri.txt."),
    "reload-triton": ("reloading:reload_triton", "Prove, commit and load it on every replica: loaded_version.txt."),
    "update-aliases": ("aliasing:update_aliases", "Point live and previous at what is served: alias_updates.json."),
    "verify-deployment": ("verifying:verify_deployment", "Ask every replica: verification_result.json."),
    "update-triton-config": ("committing:update_triton_config", "Commit the version to Git, prove it, or revert it."),
}
# what only the scripts take; what a step printed, given as JSON, is only taken by the steps
_OPTIONS = (
    "--output-dir",
    "--bucket",
    "--s3-bucket",
    "--s3-endpoint-url",
    "--triton-url",
    "--triton-version",
    "--mlflow-tracking-uri",
    "--mlflow-version",
    "--mlflow-metadata",
    "--model-file",
    "--artifacts-dir",
    "--expected-version",
    "--num-test-requests",
)
_ALONE = {"update-triton-config"}  # there is no step of that name
_DOCUMENTS = ("--fetched", "--plan", "--artifacts", "--candidate", "--loaded", "--verified", "--registered")
_OUTPUT_VARIABLE = "SLIPWAY_OUTPUT_DIR"
_VARIABLES = """
Each option can be a variable: SLIPWAY_ and its name in capitals, say SLIPWAY_OUTPUT_DIR. Where a place is in neither,
MLFLOW_TRACKING_URI, TRITON_URL, TRITON_MODEL_REPO and AWS_… say where it is, as they do for `mlflow deployments`, and
SLIPWAY_TRITON_REPLICAS and SLIPWAY_MODELS_BUCKET as they do for `slipway setup`.
"""

app = App(
    name="script",
    help_epilogue=_VARIABLES,
    default_parameter=Parameter(json_list=True, negative=()),
    config=Env("SLIPWAY_", command=False),
)
for position, (name, (place, summary)) in enumerate(SCRIPTS.items()):
    app.command(f"infra.command.scripts.{place}", name=name, help=summary, help_epilogue="", sort_key=position)


def choose_form(arguments: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """Return the arguments of a call, `step` turned into `script` where the options given are those of the scripts.

    An option with nothing behind its `=`, a parameter of a workflow that was left empty, is one that is not given.
    """
    command, *rest = arguments or [""]
    if command != "step" or not rest or rest[0] not in SCRIPTS:
        return list(arguments)
    given = {argument.partition("=")[0] for argument in rest[1:]}
    if rest[0] in _ALONE or given & set(_OPTIONS) or (_OUTPUT_VARIABLE in variables and not given & set(_DOCUMENTS)):
        return ["script", *(argument for argument in rest if not argument.endswith("="))]
    return list(arguments)
