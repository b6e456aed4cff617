"""A branch of a Git repository, by the program `git`: what its head has, and commits on top of exactly that."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from blocks.errors import InvalidInput, ServiceUnavailable, SlipwayError
from blocks.git_errors import FETCH, PUSH, read_answer, translate
from blocks.meanings import Answer

TOKEN, USERNAME, EMAIL = "GIT_TOKEN", "GIT_USERNAME", "GIT_EMAIL"
_AUTHOR, _ADDRESS = "slipway", "slipway@localhost"
_PLAIN = {"100644", "100755"}
# GIT_TOKEN reaches git through the environment, for the one server it is meant for: no argument, URL or message has it
_HELPER = (
    '!f() { test "$1" = get && '
    'printf "username=%s\\npassword=%s\\n" "${GIT_USERNAME:-x-access-token}" "$GIT_TOKEN"; }; f'
)


class GitFile(NamedTuple):
    """A file as the head of a branch has it."""

    content: bytes
    head: str
    mode: str = "100644"


class Committed(NamedTuple):
    """A commit and what it says."""

    commit: str
    message: str


class GitRepository(BaseModel):
    """One branch of a repository on a server, reached by the program `git` and the credentials that it is set up with.

    A push names the head that its commit stands on, so that it is refused where somebody else was faster.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="Where it is: https://…, ssh://…, git@host:path or a directory; no password in it.")
    branch: str = Field(default="main", description="The branch that is read and committed to.")
    configure_author: bool = Field(
        default=True,
        description="Commit as slipway, or as GIT_USERNAME and GIT_EMAIL say; else as git itself is configured.",
    )
    token_block: str | None = Field(
        default=None,
        description="A Secret block of Prefect with a token; GIT_TOKEN, or git's credential helper, where left out.",
    )
    timeout_s: float = Field(default=120, gt=0, description="Seconds a fetch or a push may take.")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if url.startswith(("-", "ext::")) or "\n" in url:
            raise ValueError("is no address of a repository")
        address = urlsplit(url) if "://" in url else None
        if address and (address.password is not None or (address.scheme.startswith("http") and address.username)):
            raise InvalidInput(  # pydantic's own error would show it
                "repository: its address holds a user, a password or a token, which logs would show; leave it to a "
                "credential helper, or set GIT_TOKEN (and GIT_USERNAME)"
            )
        return url

    @field_validator("branch")
    @classmethod
    def _check_branch(cls, branch: str) -> str:
        command = ["git", "check-ref-format", f"refs/heads/{branch}"]
        if branch.startswith("-") or subprocess.run(command, check=False, capture_output=True).returncode:  # noqa: S603
            raise ValueError("is no name that a branch can have")
        return branch

    @property
    def subject(self) -> str:
        """The branch and its repository, for messages."""
        return f"branch '{self.branch}' of {self.url}"

    @contextmanager
    def opened(self) -> Iterator["OpenRepository"]:
        """Yield the repository, with a place on this machine for what is fetched; it is gone afterwards."""
        if shutil.which("git") is None:
            raise InvalidInput("git: is not on PATH, expected the program; install it")
        token = {TOKEN: _load_token(self.token_block)} if self.token_block else {}
        with tempfile.TemporaryDirectory(prefix="slipway-git-") as place:
            yield OpenRepository(self, Path(place), os.environ | token).prepare()


def _load_token(block: str) -> str:
    from prefect.blocks.system import Secret

    try:
        return str(cast(Secret[str], Secret.load(block)).get())
    except ValueError as error:
        raise InvalidInput(
            f"Secret block '{block}': Prefect has none of that name ({error}); make it, or leave token_block out"
        ) from error


class OpenRepository:
    """A repository that is being read and committed to, without a work tree: no filter changes a byte of a file."""

    def __init__(self, repository: GitRepository, place: Path, variables: Mapping[str, str] = os.environ) -> None:
        self.repository = repository
        self._place, self._variables = place, {**variables}

    def prepare(self) -> Self:
        """Make the place for what is fetched."""
        self._git("init", "--quiet", "--bare", "--template=", str(self._place), within=False)
        return self

    def read(self, path: str) -> GitFile:
        """Return a file as the branch's head has it now.

        Raises `InvalidInput` where there is no such branch or file, `AccessRefused` where the server refuses who asks,
        `ServiceUnavailable` where it does not answer.
        """
        head = self._fetch("--depth=1")
        listed = self._git("ls-tree", "-z", "--full-tree", head, "--", path).decode().rstrip("\0")
        described, _, name = listed.partition("\t")
        mode, _, blob = described.split() if name == path else ("", "", "")
        if mode not in _PLAIN:
            raise InvalidInput(
                f"{self.repository.subject}: has no file {path!r}, expected it as it is called from the repository's "
                "root; correct --values_path"
            )
        return GitFile(self._git("cat-file", "blob", blob), head, mode)

    def write(self, path: str, content: bytes, *, after: GitFile, message: str) -> str | None:
        """Commit a file on top of the head that it was read from, push, and return the commit.

        Returns None where the branch is elsewhere by now: nothing was changed. Raises `AccessRefused` where the server
        refuses the push, `ServiceUnavailable` where it does not answer and the commit did not arrive.
        """
        blob = self._git("hash-object", "-w", "--stdin", given=content).decode().strip()
        self._git("read-tree", after.head)
        self._git("update-index", "--add", "--cacheinfo", f"{after.mode},{blob},{path}")
        tree = self._git("write-tree").decode().strip()
        commit = self._git("commit-tree", tree, "-p", after.head, given=message.encode()).decode().strip()
        try:
            pushed = self._push(commit, after.head)
        except ServiceUnavailable:
            if self._fetch("--depth=1") == commit:  # it arrived, and the answer did not
                return commit
            raise
        return commit if pushed else None

    def find_last(self, path: str) -> Committed:
        """Return the last commit on the branch that changed a file."""
        shallow = (self._place / "shallow").exists()
        head = self._fetch(*(("--unshallow",) if shallow else ()))
        commit, _, message = self._git("log", "-1", "--format=%H%n%B", head, "--", path).decode().partition("\n")
        return Committed(commit, message)

    def _fetch(self, *options: str) -> str:
        """Fetch the branch and return its head."""
        reference = f"refs/heads/{self.repository.branch}"
        try:
            self._git("fetch", "--quiet", "--no-tags", *options, "--", self.repository.url, reference, doing=FETCH)
        except _Failed as failed:
            if read_answer(FETCH, failed.said) is Answer.ABSENT:
                raise InvalidInput(
                    f"{self.repository.subject}: there is no such branch; make it, or correct --branch"
                ) from failed
            raise translate(FETCH, failed.said, self.repository.subject) from failed
        return self._git("rev-parse", "FETCH_HEAD").decode().strip()

    def _push(self, commit: str, head: str) -> bool:
        """Push a commit; tell whether the branch was where the commit was made, neither ahead nor gone."""
        reference = f"refs/heads/{self.repository.branch}"
        lease = f"--force-with-lease={reference}:{head}"  # nothing is forced: the commit stands on that head
        try:
            target = f"{commit}:{reference}"
            self._git("push", "--porcelain", lease, "--", self.repository.url, target, doing=PUSH)
        except _Failed as failed:
            if read_answer(PUSH, failed.said) is Answer.CHANGED:
                return False
            raise translate(PUSH, failed.said, self.repository.subject) from failed
        return True

    def _git(self, *arguments: str, given: bytes = b"", doing: str = "", within: bool = True) -> bytes:
        command = ["git", *(self._name_helper() if doing else ()), *arguments]
        try:
            answer = subprocess.run(  # noqa: S603
                command,
                input=given,
                capture_output=True,
                cwd=self._place,
                env=self._make_variables(within),
                timeout=self.repository.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ServiceUnavailable(
                f"{self.repository.subject}: git {arguments[0]} took more than {self.repository.timeout_s:.0f} s; see "
                "that the server can be reached, and try again"
            ) from error
        if answer.returncode:
            said = (answer.stderr + b"\n" + answer.stdout).decode(errors="replace").strip()
            if doing:
                raise _Failed(said)
            raise InvalidInput(f"{self.repository.subject}: git {arguments[0]} failed ({said}); see what git says")
        return answer.stdout

    def _name_helper(self) -> tuple[str, ...]:
        """Return the options that make GIT_TOKEN, where it is set, known to the one server it is meant for."""
        parts = urlsplit(self.repository.url)
        if parts.scheme != "https" or not self._variables.get(TOKEN):
            return ()
        return ("-c", f"credential.https://{parts.netloc.rpartition('@')[2]}.helper={_HELPER}")

    def _make_variables(self, within: bool) -> dict[str, str]:
        kept = {name: value for name, value in self._variables.items() if name not in _OF_ANOTHER_REPOSITORY}
        ours = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
        if within:
            ours |= {"GIT_DIR": str(self._place), "GIT_INDEX_FILE": str(self._place / "index")}
        if "GIT_SSH_COMMAND" not in kept:
            ours["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
        if self.repository.configure_author:
            name, address = kept.get(USERNAME) or _AUTHOR, kept.get(EMAIL) or _ADDRESS
            ours |= {"GIT_AUTHOR_NAME": name, "GIT_COMMITTER_NAME": name}
            ours |= {"GIT_AUTHOR_EMAIL": address, "GIT_COMMITTER_EMAIL": address}
        return kept | ours


# a hook of git's sets these for its own repository
_OF_ANOTHER_REPOSITORY = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"}


class _Failed(SlipwayError):
    """Raised where git ended with an error, to be translated by what it was doing."""

    @property
    def said(self) -> str:
        return str(self)
