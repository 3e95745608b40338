"""The faults that `plant_faults.py` plants still have their places."""

import runpy
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).with_name("plant_faults.py")))


@pytest.mark.parametrize("name", SCRIPT["FAULTS"])
def test_each_fault_has_one_place(name):
    file, old, new = SCRIPT["FAULTS"][name]
    code = (SCRIPT["ROOT"] / file).read_text(encoding="utf-8")
    assert code.count(old) == 1
    assert old != new
