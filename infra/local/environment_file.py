"""The `.env` at the repository's root: what people keep in it, and our lines that point at the running stack."""

import re
from pathlib import Path

from infra.local.settings import ROOT, LocalStack

PATH = ROOT / ".env"
HEADER = "# Written by make up and removed by make down: points Prefect, run from here, at the local stack.\n"
FOOTER = "# Until here.\n"
_OURS = re.compile(f"{re.escape(HEADER)}.*?(?:{re.escape(FOOTER)}|\\Z)", re.DOTALL)
_THEIRS = re.compile(r"^\s*(?:export\s+)?PREFECT_API_(?:URL|AUTH_STRING)\s*=", re.MULTILINE)


def write(stack: LocalStack, path: Path = PATH) -> bool:
    """Write our lines after those of others, for their owner only; return whether they were written.

    They are not where others point Prefect somewhere themselves.
    """
    theirs = _OURS.sub("", path.read_text()) if path.exists() else ""
    if _THEIRS.search(theirs):
        return False
    path.touch(mode=0o600)
    path.chmod(0o600)
    between = "" if theirs.endswith("\n") or not theirs else "\n"
    ours = f"PREFECT_API_URL={stack.prefect_api_url}\nPREFECT_API_AUTH_STRING={stack.prefect_auth_string}\n"
    path.write_text(f"{theirs}{between}{HEADER}{ours}{FOOTER}")
    return True


def remove(stack: LocalStack, path: Path = PATH) -> None:
    """Remove our lines if they point at this stack, and the file where it holds nothing else."""
    text = path.read_text() if path.exists() else ""
    ours = _OURS.search(text)
    if ours is None or stack.prefect_api_url not in ours[0]:
        return
    theirs = _OURS.sub("", text)
    if theirs:
        path.write_text(theirs)
    else:
        path.unlink()
