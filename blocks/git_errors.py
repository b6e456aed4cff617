"""What `git` says when it fails: one table by what it was asked to do, the most specific phrases first.

The texts are those of git 2.39 under LC_ALL=C, and of the servers that speak through it; each may be anywhere in it.
"""

from blocks.errors import AccessRefused, InvalidInput, ServiceUnavailable, SlipwayError, bounded
from blocks.meanings import Answer, Meaning, find_meaning

FETCH, PUSH = "fetch", "push"
_LOGIN = (
    "give the credential helper of git a token that may (GIT_TOKEN where there is none), or, over ssh, the agent a key"
)
_RULES = "have whoever looks after the branch allow this user to push, or name another --branch"
_REPOSITORY = "correct --repo_url, or give the credential helper a token that may see it"


def _anywhere(*phrases: str) -> str:
    return f".*(?:{'|'.join(phrases)})"


_NO_LOGIN = _anywhere(
    "Authentication failed",
    "could not read (?:Username|Password)",
    "terminal prompts disabled",
    r"Permission denied \(publickey",
    "Host key verification failed",
    r"requested URL returned error: 40[13]",
    r"Permission to \S+ denied",
    "insufficient permission",
)
_NO_REPOSITORY = _anywhere(
    "does not appear to be a git repository",
    r"[Rr]epository (?:'[^']*' )?(?:\S+ )?not found",
    r"requested URL returned error: 404",
    "repository '[^']*' does not exist",
    "access denied or repository not exported",
)
_MOVED = _anywhere(r"\[rejected\]", "cannot lock ref", "failed to update ref", "incorrect old value")
MEANINGS = (
    Meaning(FETCH, _anywhere("couldn't find remote ref"), Answer.ABSENT),
    Meaning(FETCH, _NO_REPOSITORY, InvalidInput, _REPOSITORY),
    Meaning(FETCH, _NO_LOGIN, AccessRefused, _LOGIN),
    Meaning(PUSH, _MOVED, Answer.CHANGED),
    Meaning(PUSH, _anywhere("protected branch", "GH006", "GH013", "hook declined"), AccessRefused, _RULES),
    Meaning(PUSH, _anywhere("not allowed to push", "TF40[0-9]{4}", r"\[remote rejected\]"), AccessRefused, _RULES),
    Meaning(PUSH, _NO_REPOSITORY, InvalidInput, _REPOSITORY),
    Meaning(PUSH, _NO_LOGIN, AccessRefused, _LOGIN),
)


def read_answer(doing: str, said: str) -> Answer | None:
    """Return what is an answer to what was asked for, None where it is a fault."""
    known = find_meaning(MEANINGS, doing, said)
    return known.means if known and isinstance(known.means, Answer) else None


def translate(doing: str, said: str, subject: str) -> SlipwayError:
    """Return the error to raise where `git` failed, with what it and the server said."""
    known = find_meaning(MEANINGS, doing, said)
    if known and known.means is AccessRefused:
        return AccessRefused(f"{subject}: {doing} refused ({bounded(said)}); {known.advice}")
    if known and known.means is InvalidInput:
        return InvalidInput(f"{subject}: cannot be found ({bounded(said)}); {known.advice}")
    return ServiceUnavailable(
        f"{subject}: no usable answer to {doing} ({bounded(said)}); see that the server can be reached, and try again"
    )
