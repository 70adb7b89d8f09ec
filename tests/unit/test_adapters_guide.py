"""The guide's examples load, and it says of each reason for a refusal what to do."""

from __future__ import annotations

import re
from pathlib import Path

from yoyo.config.training import load_training
from yoyo.core.adapters.policy import REASONS

GUIDE = (Path(__file__).parents[2] / "docs/guides/adapters.md").read_text()


def test_its_training_file_loads(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(# training\.yaml\n.*?)```", GUIDE, re.DOTALL)
    assert text
    path = tmp_path / "training.yaml"
    path.write_text(text[1])
    training = load_training(path)
    assert training.builder_id in GUIDE.partition("builder_ids:")[2].partition("\n")[0]
    assert training.hyperparameters == (("learning_rate", "1e-4"), ("epochs", "3"))
    assert None not in (training.seed, training.started, training.finished)


def test_each_reason_has_a_remedy() -> None:
    table = GUIDE.partition("| reason | it means | do |")[2].partition("\n\n")[0]
    named = re.findall(r"`([a-z]+)`", "".join(re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE)))
    # Three that `up` finds in the file itself, once the statements were judged.
    assert sorted(named) == sorted({*REASONS, "file", "header", "shapes"})
