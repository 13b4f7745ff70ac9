"""Missing golden files: a failure where the data is complete, a skip where the folder may hold some cases only."""

from __future__ import annotations

from pathlib import Path

import pytest

from golden import golden_file, index


def test_a_missing_case_fails_where_the_golden_data_is_complete(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"4_loss/x\.npz"):
        golden_file("4_loss/x.npz", tmp_path, may_be_partial=False)
    with pytest.raises(FileNotFoundError, match="cases"):
        index("4_loss/cases.json", tmp_path, may_be_partial=False)


def test_a_missing_case_is_skipped_in_a_folder_that_may_be_partial(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match=r"4_loss/x\.npz"):
        golden_file("4_loss/x.npz", tmp_path, may_be_partial=True)
    assert index("4_loss/cases.json", tmp_path, may_be_partial=True) == []


def test_without_golden_data_there_are_no_cases(tmp_path: Path) -> None:
    assert index("cases.json", tmp_path / "nowhere", may_be_partial=False) == []


def test_what_is_there_is_read(tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text("[1]")
    assert golden_file("cases.json", tmp_path, may_be_partial=False) == tmp_path / "cases.json"
    assert index("cases.json", tmp_path, may_be_partial=False) == [1]
