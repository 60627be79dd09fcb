"""The notebook of a first fit runs from top to bottom.

The others are longer; ``tests/test_pages.py`` holds that each was executed as its source stands.
"""

from pathlib import Path

import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "first_fit.ipynb"


def test_first_fit_runs_and_was_committed_executed(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code), "commit the notebook with its outputs"
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    printed = code[-1].outputs[0]["text"]
    bound, evidence = (float(part.split()[-1]) for part in printed.splitlines()[1].split(","))
    # The last cell trains a pair whose guide can equal the posterior: L_20 is the evidence then.
    assert abs(bound - evidence) < 2.0
