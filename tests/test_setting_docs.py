"""The list of settings is complete, and docs/settings.md shows the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.cli.main import run
from singleshot.train.recipe import Recipe, flat_values
from singleshot.train.setting_docs import setting_docs

PAGE = Path(__file__).parents[1] / "docs/settings.md"
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"
"""Between these lines of the page stands the table."""


def test_every_setting_has_a_meaning() -> None:
    docs = {doc.name: doc for doc in setting_docs()}
    assert list(docs) == list(flat_values(Recipe()))
    assert all(doc.meaning and doc.takes for doc in docs.values())
    assert "alpha" in docs["localisation_weight"].meaning
    assert docs["batch_size"].default == "32"
    assert docs["iou_threshold"].others == "0.35 in modern; 1 in multibox"
    assert docs["learning_rate"].others == (
        "0.05 in caffe on light models; 0.0005 in modern, multibox; 0.003 in modern on light models, aligned"
    )
    assert docs["optimizer"].takes == "sgd or adamw"


def with_table(page: str) -> str:
    """The page docs/settings.md with today's table between its marks."""
    rows = [f"| `{doc.name}` | {doc.takes} | {doc.default} | {doc.others} | {doc.meaning} |" for doc in setting_docs()]
    table = "\n".join(["| setting | takes | default | other recipes | meaning |", "|---|---|---|---|---|", *rows])
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def test_the_page_shows_the_same_table() -> None:
    """To write it anew: `PAGE.write_text(with_table(PAGE.read_text()))`."""
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page


def test_settings_are_listed_without_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--settings"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n{doc.name}={doc.default}" in listed for doc in setting_docs())
