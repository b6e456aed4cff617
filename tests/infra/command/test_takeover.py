"""slipway adopt and withdraw at the prompt: what is foreign becomes slipway's, and goes out of service again."""

import pytest

from blocks.environment import Environment
from infra.command.main import run
from tests.apparatus.foreign_models import Layouts


def test_a_model_is_adopted_and_withdrawn(
    environment: Environment, model_name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    Layouts(environment, model_name).by_hand(3, "specific { versions: [2, 3] }", registered=2)

    def at_the_prompt(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = run([*arguments[:1], model_name, *arguments[1:]])
        return code, " ".join("".join(capsys.readouterr()).split())

    code, shown = at_the_prompt("adopt", "--dry-run")
    assert (code, "would adopt versions [2, 3] as they are served" in shown) == (0, True), shown
    assert "unknown to the registry" in shown and "record; moved to the archive" in shown
    assert "foreign, not touched" in at_the_prompt("status")[1]
    assert "adopt it first: nothing was touched" in at_the_prompt("withdraw", "--force")[1]

    code, shown = at_the_prompt("adopt")
    assert (code, "adopted, Triton version 3 proven on 2 replicas; aliases live = 2, previous = 1" in shown) == (
        0,
        True,
    )
    code, shown = at_the_prompt("explain-live")
    assert "by adoption, flow run" in shown and "as served 6 golden samples" in shown, shown
    assert "rollback to version 1 (Triton 2), without a reload" in shown
    assert "is slipway's already, nothing was changed" in at_the_prompt("adopt")[1]

    code, shown = at_the_prompt("withdraw")
    assert (code, "is live on 2 replicas" in shown) == (1, True), shown
    code, shown = at_the_prompt("withdraw", "--force", "--reason", "no more cats")
    assert (code, "out of service on every replica, versions served until now: 2, 3" in shown) == (0, True), shown
    assert "withdrawn 20" in at_the_prompt("status")[1]
    assert "because: no more cats; served until then: 2, 3" in at_the_prompt("explain-live")[1]
