"""The `.env` at the repository's root that points plain `prefect` and `slipway` at the running stack."""

from pathlib import Path

from infra.local.settings import ROOT, LocalStack

PATH = ROOT / ".env"
HEADER = "# Written by make up and removed by make down: points Prefect, run from here, at the local stack.\n"


def write(stack: LocalStack, path: Path = PATH) -> bool:
    """Write the file, for its owner only, unless one that is not ours is there; return whether it was written."""
    if path.exists() and not _is_ours(path):
        return False
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(
        f"{HEADER}PREFECT_API_URL={stack.prefect_api_url}\nPREFECT_API_AUTH_STRING={stack.prefect_auth_string}\n"
    )
    return True


def remove(stack: LocalStack, path: Path = PATH) -> None:
    """Remove the file if it is ours and points at this stack."""
    if path.exists() and _is_ours(path) and stack.prefect_api_url in path.read_text():
        path.unlink()


def _is_ours(path: Path) -> bool:
    return path.read_text().startswith(HEADER)
