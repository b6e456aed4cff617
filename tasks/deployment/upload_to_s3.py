"""Step 4, upload-to-s3: the version's files go to staging, each proven there; Triton does not read them yet."""

from typing import Annotated

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.environment import Environment
from slipway.releases.release import Release
from slipway.releases.staging import UploadedVersion, stage
from tasks.policies import FLAT


@task(name="upload-to-s3", task_run_name="upload-to-s3", cache_policy=NO_CACHE)
def upload_to_s3(release: Annotated[Release, FLAT], *, environment: Environment) -> UploadedVersion:
    """Take the version number and put the version's files into staging; what is there already is not sent again.

    Raises `IntegrityError` where the store holds something else than was sent, `VersionConflict` where another
    release took the number.
    """
    return stage(release, environment)
