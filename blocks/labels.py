"""Every word of the contract with MLflow and the model repository, written once: aliases, tags, figures, files.

Each is grouped by what carries it, and says who writes it and what its reader learns. People and other systems read
them, too, so that a word is never changed, only left behind.
"""

# Aliases of a registered model.
CHAMPION = "champion"  # Gate 1 sets it: the PyTorch version (of a detector: the ONNX one) that a candidate has to beat.
DEPLOY = "deploy"  # People set it: the version that is to be released.
LIVE = "live"  # A release sets it: the version that Triton serves to whoever names none.
PREVIOUS = "previous"  # A release sets it: the version that a rollback goes back to.

# Tags of a version that training registers.
GATE_1_TAG = "gate_1"  # Gate 1's verdict on a PyTorch version: passed or rejected.
GATE_1_VERDICT_TAG = "gate_1_verdict"  # The same with every figure, as JSON; a variant is asked the same question.
PARENT_MODEL_TAG = "parent_pytorch_model"  # The model that an ONNX version was exported from.
PARENT_VERSION_TAG = "parent_pytorch_version"  # The version of that model.
PARENT_RUN_TAG = "parent_training_run_id"  # The MLflow run that trained it.
VALIDATION_PASSED_TAG = "validation_passed"  # Gate 2 measured this version and passed it.
VALIDATION_MAX_DIFF_TAG = "validation_max_diff"  # The largest difference gate 2 found; its run has the figure, too.
PRECISION_TAG = "slipway.precision"  # In what an exported version computes: fp32, or a variant, fp16 or int8.
VARIANT_GATE_1_TAG = "variant_gate_1"  # By which figures a variant passed gate 1, in words.
CHANGED_CLASSES_TAG = "variant_changed_classes"  # Share of the validation images that a variant sees otherwise.
SIBLINGS_TAG = "variant_siblings"  # Where the other precisions of the same export lie, in the same MLflow run.
CHECKSUM_TAG = "sha256/"  # With a file's name behind it: the SHA-256 of the file that gate 2 measured.

# Tags of a version by which its author says how it is served and proven.
AGREEMENT_TAG = "slipway.agreement"  # How answers are compared: numeric, classes, detections or probabilities.
TOLERANCE_TAG = "slipway.tolerance"  # How far they may differ, relative to their scale.
INPUT_SHAPE_TAG = "slipway.input_shape"  # The shape to ask with: sizes with commas between, or JSON by input.
BATCH_SIZE_TAG = "slipway.max_batch_size"  # How many rows Triton may join; 0: none.

# Parameters of a config.pbtxt.
DEPENDS_ON_PARAMETER = "slipway.depends_on"  # The models that its code calls by BLS; a release adds their versions.

# Tags of a version that a release or a rollback writes.
TRITON_VERSION_TAG = "triton_version"  # The number it is served under.
RECEIPT_TAG = "receipt"  # The proof of its release, as receipt.json has it.
ROLLED_BACK_TAG = "rolled_back"  # Why it was rolled back from, until it is released again.
ROLLED_BACK_AT_TAG = "rolled_back_at"  # When that was.
WITHDRAWN_AT_TAG = "withdrawn_at"  # When it was live and taken out of service, until it is released again.

# Tags of a version and its model that an answer to `deploy` writes.
ANSWERED_AT_TAG = "deploy_answered_at"  # The moment of the update that was answered last.
ANSWERED_BY_TAG = "deploy_answered_by"  # The flow run that answered it.

COPIED_FROM_TAG = "slipway.copied_from"  # What a version was made of to be deployed under another name: its URI.

# Tags of a model.
RELEASED_BY_TAG = "slipway.released_by"  # The alias that releases its versions, whatever it is called: `deploy`.
ANSWERED_VERSION_TAG = "deploy_answered_version"  # The version that `deploy` was on when it was answered last.
REFUSED_TAG = "deploy_refused"  # Why nobody looks at the model's `deploy`.
LAST_ROLLBACK_TAG = "last_rollback"  # The flow run that rolled it back last.

# Tags, parameters and metrics of a training run.
TRAINING_TAG = "slipway.training"  # The training it is of, by which a repeated attempt finds its run.
RESUMPTIONS_TAG = "resumptions"  # How often it went on from a checkpoint.
RESUMED_FROM_TAG = "resumed_from_epoch"  # After which epoch it went on last.
CHECKPOINT_FAILED_TAG = "checkpoint_failed"  # Why its last checkpoint could not be kept.
DATASET_PARAM = "data.dataset"  # What it was trained on.
INPUT_SHAPE_PARAM = "data.input_shape"  # Sizes of one input, with commas between.
VALIDATION_DIGEST_PARAM = "data.validation_digest"  # Which validation images: only equal ones compare.
BEST_EPOCH_PARAM = "best_epoch"  # The epoch whose weights were kept.
BEST_ACCURACY = "best_val_accuracy"  # Share of the validation images those weights get right.
BEST_LOSS = "best_val_loss"  # Mean cross-entropy over the validation images with those weights.
EPOCH_TIME = "epoch_time"  # Seconds each epoch took.

# Tags of an export's run, by which gate 2 finds what was exported.
EXPORTED_RUN_TAG = "parent_run_id"  # The MLflow run that trained it.
EXPORTED_MODEL_TAG = "parent_model_name"  # The model it was exported from.
EXPORTED_VERSION_TAG = "parent_model_version"  # The version of that model.
VARIANT_PROBLEM_TAG = "variant_problem/"  # With a precision behind it: why that variant could not be made.
EXPORTED_ALIAS_TAG = "parent_model_alias"  # The aliases that version had.

# Metrics of an export's run, by gate 2; each begins so, and metadata.json repeats them.
VALIDATION_PREFIX = "validation_"
VALIDATION_SAMPLES = "validation_num_samples"  # How many samples were compared.
VALIDATION_SOFTMAX_MAX_DIFF = "validation_softmax_max_diff"  # The largest difference of a probability.
VALIDATION_SPEEDUP = "validation_onnx_speedup"  # How many times faster ONNX Runtime is than PyTorch.

# Files of an MLflow model or run.
DESCRIPTION_FILE = "MLmodel"  # MLflow's own description of what a model holds.
MODEL_FILE = "model.onnx"  # The network; in the model repository under the same name, as Triton expects it.
EXTERNAL_DATA_FILE = "model.onnx.data"  # Its weights, where they are too large for one file.
GOLDEN_FILE = "golden.npz"  # Inputs, and what PyTorch and ONNX Runtime compute for them.
LABELS_FILE = "labels.txt"  # The names of its classes, one a line; beside config.pbtxt, which names it.
SAMPLES_FILE = "samples.npz"  # Validation images that a training run keeps, so that later steps need no dataset.
REPORT_FILE = "validation-report.md"  # Gate 2's findings in words.
VARIANTS_FILE = "variants-report.md"  # What each precision of an export does over the validation set, in words.

# Files of the model repository, each below its model, or its model and version.
CONFIG_FILE = "config.pbtxt"  # The commit: its version policy alone says what Triton serves.
META_FILE = "mlflow-meta.json"  # NVIDIA's MLflow plugin's, at a model's root: which MLflow model was deployed there.
METADATA_FILE = "metadata.json"  # Where a version came from; written last, so that who has it is complete.

# Records of a version, which outlive its files.
CLAIM_FILE = "claim"  # The flow run that took the number.
PROOF_FILE = "proof.npz"  # The samples that prove a replica serves this version.
RECEIPT_FILE = "receipt.json"  # The proof of its release: every replica, every gate, who approved.
AUTHOR_CONFIG_FILE = "author.pbtxt"  # The author's config.pbtxt, where the version brought one.
SETTINGS_FILE = "settings.json"  # The serving settings it was released with, where there were any.
FILES_FILE = "files.json"  # Its files as they were committed: what changed since is drift.
MARK_FILE = "rolled_back.json"  # Why and when it was rolled back from.
WITHDRAWN_FILE = "withdrawn.json"  # Of a model, beside its versions' records: why and when it was taken out of service.
DEPENDENCIES_FILE = "dependencies.json"  # Of an ensemble, beside its versions' records: the models it is noted at.

# Files of a training's checkpoints.
LATEST_FILE = "latest.json"  # Which checkpoint is complete, and its checksum.
