"""Many models as releases would have left them, put there without releasing: served, or withdrawn again."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from blocks.environment import Environment
from blocks.labels import CLAIM_FILE, LIVE, METADATA_FILE, PREVIOUS, WITHDRAWN_FILE
from blocks.registry import RegisteredVersion
from slipway.releases.agreement_terms import AgreementTerms
from slipway.releases.artifacts import PreparedArtifacts, prepare
from slipway.releases.fetched import FetchedModel, ensure_files, load_golden
from slipway.releases.journal import ClosedJournal
from slipway.releases.plan import ReleasePlan
from slipway.releases.proof import Proof, write_proof
from slipway.releases.version_files import record_files
from slipway.releases.withdrawn import Withdrawn
from tasks.deployment.fetch_model import fetch_model

BY = "bench"
Changes = list[dict[str, str | int]]
"""Of rows: other values in some of their columns."""


class Kept(NamedTuple):
    """How many versions a model has had, and how many of those that it serves no more are in the archive."""

    versions: int
    archived: int


class ManyModels:
    """What leaves models behind; each version of each of them is the template, under a name of its own."""

    def __init__(self, environment: Environment, template: RegisteredVersion, kept: Kept) -> None:
        self._environment, self._kept = environment, kept
        source = f"version:{template.version}"
        self._fetched: FetchedModel = fetch_model.fn(template.model_name, source, registry=environment.registry)
        self._model = (ensure_files(self._fetched, environment.registry) / "model.onnx").read_bytes()
        samples = load_golden(self._fetched, environment.registry)
        assert samples is not None
        exchanges = list(samples.list_exchanges(self._fetched.signature, batched=True))
        self._proof = Proof(exchanges, AgreementTerms())

    def leave_served(self, name: str) -> None:
        """Leave a model whose newest version is served, others in the archive."""
        repository, newest = self._environment.repository, self._kept.versions
        self._archive(name, range(1, newest))
        config = self._store(name, newest, "repository").config
        repository.commit(name, config, after=None)
        write_proof(repository, name, newest, self._proof, batched=True)
        record_files(repository, name, newest)
        self._close_journal(name)

    def leave_withdrawn(self, name: str) -> None:
        """Leave a model that was served once and is not any more."""
        newest = self._kept.versions
        self._archive(name, range(1, newest + 1))
        withdrawn = Withdrawn(
            model_name=name, at=datetime.now(UTC), flow_run_id=BY, registry_version=newest, served=(newest,)
        )
        entry = withdrawn.model_dump_json(indent=2).encode()
        self._environment.repository.write_model_record(name, WITHDRAWN_FILE, entry)
        self._close_journal(name)

    def _archive(self, name: str, numbers: range) -> None:
        """Take each of these numbers, and keep the files of the last ones."""
        for number in numbers[: -self._kept.archived]:
            self._environment.repository.write_record(name, number, CLAIM_FILE, BY.encode())
        for number in numbers[-self._kept.archived :]:
            self._store(name, number, "archive")

    def _store(self, name: str, number: int, prefix: str) -> PreparedArtifacts:
        registered = self._fetched.registered.model_copy(update={"model_name": name, "version": number})
        plan = ReleasePlan(
            model_name=name,
            registry_version=number,
            version=number,
            creates_version=True,
            already_live=False,
            flow_run_id=BY,
        )
        artifacts = prepare(self._fetched.model_copy(update={"registered": registered}), plan)
        repository = self._environment.repository
        repository.write_record(name, number, CLAIM_FILE, BY.encode())
        repository.store.write(f"{prefix}/{name}/{number}/model.onnx", self._model)
        repository.store.write(f"{prefix}/{name}/{number}/{METADATA_FILE}", artifacts.metadata.encode())
        return artifacts

    def _close_journal(self, name: str) -> None:
        closed = ClosedJournal(closed_at=datetime.now(UTC), flow_run_id=BY, epoch=1)
        self._environment.repository.write_journal(name, closed.model_dump_json(indent=2), None)


def register_many(database: Path, template: RegisteredVersion, versions: int, live: dict[str, bool]) -> None:
    """Register models with so many versions each in MLflow's SQLite, as copies of a template's rows.

    Ten thousand versions take minutes by MLflow's API, and nothing of that is what is measured. Those that are live
    get the aliases that a release gives.
    """
    numbered: Changes = [{"name": name, "version": number} for name in live for number in range(1, versions + 1)]
    aliases = {LIVE: versions, PREVIOUS: versions - 1}
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        _copy_rows(connection, "registered_models", template, [{"name": name} for name in live])
        for table in ("model_versions", "model_version_tags"):
            _copy_rows(connection, table, template, numbered)
        of_live: Changes = [
            {"name": name, "alias": alias, "version": number}
            for name, is_live in live.items()
            if is_live
            for alias, number in aliases.items()
        ]
        _copy_rows(connection, "registered_model_aliases", template, of_live)


def _copy_rows(connection: sqlite3.Connection, table: str, template: RegisteredVersion, changes: Changes) -> None:
    """Insert a table's rows of the template again, once for each of these changes; what is there already stays."""
    connection.row_factory = sqlite3.Row
    found = connection.execute(f"SELECT * FROM {table} WHERE name = ?", [template.model_name]).fetchall()
    rows = [dict(row) for row in found if dict(row).get("version", template.version) == template.version]
    columns = ", ".join(f'"{column}"' for column in rows[0])
    marks = ", ".join("?" * len(rows[0]))
    values = [tuple((row | changed).values()) for changed in changes for row in rows]
    connection.executemany(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", values)
