"""verify: every way a claim can fail does fail, and says why."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from advml import checks
from advml.checks import METADATA_KEY, ClaimError, verify

SANITIZER = Path(__file__).parents[1] / "nbval_sanitize.cfg"


@pytest.fixture
def shown(monkeypatch):
    """Collect what verify would display."""
    outputs = []
    monkeypatch.setattr(
        checks,
        "publish_display_data",
        lambda data, metadata: outputs.append((data, metadata)),
    )
    return outputs


def text(shown):
    ((data, _),) = shown
    return data["text/plain"]


def record(shown):
    ((_, metadata),) = shown
    return metadata[METADATA_KEY]


# --- claims that hold -------------------------------------------------------


def test_a_true_equality_is_one_line_and_a_record(shown):
    verify("u of the bulk", 1.41, equals=np.sqrt(2), atol=0.01, source="exact")
    assert text(shown) == "✓ u of the bulk: ‹1.41› = ‹1.41421 ± 0.01›"
    assert record(shown) == {
        "claim": "u of the bulk",
        "relation": "=",
        "measured": 1.41,
        "expected": float(np.sqrt(2)),
        "tolerance": 0.01,
        "compared": 1,
        "source": "exact",
    }


def test_bounds(shown):
    verify("gap", 0.2, at_most=0.5, source="s")
    verify("gap", 0.2, at_least=0.1, source="s")
    verify("gap", 0.2, at_least=0.1, at_most=0.5, source="s")
    lines = [data["text/plain"] for data, _ in shown]
    assert lines == [
        "✓ gap: ‹0.2› ≤ ‹0.5›",
        "✓ gap: ‹0.2› ≥ ‹0.1›",
        "✓ gap: ‹0.1› ≤ ‹0.2› ≤ ‹0.5›",
    ]
    relations = [metadata[METADATA_KEY]["relation"] for _, metadata in shown]
    assert relations == ["≤", "≥", "in"]


def test_an_array_is_one_line_with_its_worst_entry(shown):
    expected = np.array([1.0, 2.0, 3.0])
    verify(
        "three",
        expected + np.array([0, 0.02, 0.01]),
        equals=expected,
        atol=0.1,
        source="s",
    )
    assert text(shown) == "✓ three: ‹2.02› = ‹2 ± 0.1› (worst of 3)"
    assert record(shown)["compared"] == 3


def test_worst_is_measured_in_tolerances(shown):
    verify("two", [1.05, 2.02], equals=[1, 2], atol=[0.1, 0.03], source="s")
    assert record(shown)["measured"] == 2.02


def test_integers_and_truth_values_may_be_exact(shown):
    verify("patterns", 30, equals=30, source="counting")
    verify("all agree", np.bool_(True), equals=True, source="enumeration")
    verify("counts", np.array([2, 0]), equals=np.array([2, 0]), source="s")
    assert shown[0][0]["text/plain"] == "✓ patterns: ‹30› = ‹30›"


def test_the_edge_of_the_tolerance_passes(shown):
    verify("edge", 1.5, equals=1.0, atol=0.5, source="s")
    verify("edge", 0.5, at_most=0.5, source="s")
    verify("edge", 0.5, at_least=0.5, source="s")
    verify("edge", 1.5, equals=1.0, atol=0.25, rtol=0.25, source="s")
    verify("edge", -1.5, equals=-1.0, rtol=0.5, source="s")


RECORDED = [
    dict(measured=np.float32(0.2), at_most=np.float64(0.5)),
    dict(measured=np.int8(2), equals=np.int64(2)),
    dict(measured=np.array([[1, 2], [3, 4]]), at_least=1, at_most=4),
    dict(measured=[True, False], equals=[True, False]),
    dict(measured=np.arange(3.0), equals=np.arange(3.0), atol=np.ones(3)),
]


@pytest.mark.parametrize("call", RECORDED)
def test_the_record_is_plain_json(shown, call):
    verify("claim", **call, source="s")
    assert json.loads(json.dumps(record(shown))) == record(shown)


@pytest.mark.parametrize("call", RECORDED)
def test_two_measurements_read_the_same_once_sanitised(shown, call):
    # The form in which nbval reads its file.
    rules = re.findall(
        "^regex: (.*)$\n^replace: (.*)$",
        SANITIZER.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert rules
    verify("claim", **call, source="s")
    line = text(shown)
    for regex, replace in rules:
        line = re.sub(regex, replace, line)
    assert line.startswith("✓ claim: ")
    assert not re.search(r"\d", re.sub(r" \(worst of \d\)$", "", line))


def test_the_sanitiser_hides_numbers_but_not_the_claim_or_the_relation(shown):
    verify("gap at step 0.1", 0.2, at_least=-1, at_most=np.pi, source="s")
    line = re.sub("‹[^›]*›", "‹#›", text(shown))
    assert line == "✓ gap at step 0.1: ‹#› ≤ ‹#› ≤ ‹#›"


# --- claims that fail -------------------------------------------------------

FALSE = [
    dict(measured=1.02, equals=1.0, atol=0.01),
    dict(measured=0.98, equals=1.0, atol=0.01),
    dict(measured=1.02, equals=1.0, rtol=0.01),
    dict(measured=-1.0, equals=1.0, rtol=0.1),
    dict(measured=1.011, equals=1.0, atol=0.01),
    # the tolerance is relative to the expected value, not to the measured
    dict(measured=2.0, equals=1.0, rtol=0.6),
    dict(measured=31, equals=30),
    dict(measured=True, equals=False),
    dict(measured=[1.0, 2.0, 3.5], equals=[1, 2, 3], atol=0.1),
    dict(measured=[1.0, 1.0], equals=1.0 + 1e-9, atol=1e-10),
    dict(measured=0.51, at_most=0.5),
    dict(measured=0.49, at_least=0.5),
    dict(measured=0.6, at_least=0.1, at_most=0.5),
    dict(measured=0.0, at_least=0.1, at_most=0.5),
    dict(measured=[0.2, 0.6], at_most=0.5),
    dict(measured=[0.2, 0.6], at_least=[0.1, 0.7]),
    # not finite, on either side of either relation
    dict(measured=np.nan, equals=1.0, atol=1.0),
    dict(measured=np.inf, equals=1.0, atol=1.0),
    dict(measured=np.inf, at_least=0.0),
    dict(measured=-np.inf, at_most=0.0),
    dict(measured=np.nan, at_most=0.0),
    dict(measured=np.nan, at_least=0.0),
    dict(measured=[0.0, np.nan], at_most=1.0),
    dict(measured=1.0, equals=np.nan, atol=1.0),
    dict(measured=1.0, equals=np.inf, rtol=1.0),
    dict(measured=1.0, at_most=np.inf),
    dict(measured=1.0, at_least=np.nan),
    dict(measured=None, at_most=1.0),
    # nothing was measured
    dict(measured=[], equals=1.0, atol=1.0),
    dict(measured=[], at_most=1.0),
    dict(measured=np.zeros((0, 3)), at_least=0.0),
    dict(measured=np.zeros(0), equals=np.zeros(0), atol=1.0),
]


@pytest.mark.parametrize("call", FALSE)
def test_a_false_claim_raises_with_claim_and_values(shown, call):
    with pytest.raises(ClaimError, match="the claim"):
        verify("the claim", **call, source="s")
    assert not shown


def test_the_error_holds_measured_expected_and_place():
    with pytest.raises(AssertionError) as error:
        verify("law", [1.0, 2.5], equals=[1, 2], atol=0.1, source="s")
    message = str(error.value)
    assert "measured 2.5" in message and "expected 2 ± 0.1" in message
    assert "entry (1,) of shape (2,)" in message
    with pytest.raises(AssertionError, match=r"measured 3, expected ≤ 2"):
        verify("law", 3, at_most=2, source="s")


# --- calls that claim nothing -----------------------------------------------

WRONG = [
    (TypeError, dict(measured=1.0)),
    (TypeError, dict(measured=1.0, equals=1.0, atol=1, at_most=2.0)),
    (TypeError, dict(measured=1.0, at_most=2.0, atol=0.1)),
    (TypeError, dict(measured=1.0, at_least=2.0, rtol=np.ones(2))),
    (ValueError, dict(measured=1.0, equals=1.0)),
    (ValueError, dict(measured=1.0, equals=1)),
    (ValueError, dict(measured=0.0, equals=0.0, rtol=0.1)),
    (ValueError, dict(measured=[0.0, 1.0], equals=[0.0, 1.0], rtol=0.1)),
    (ValueError, dict(measured=1.0, equals=1.0, atol=-0.1)),
    (ValueError, dict(measured=1.0, equals=1.0, atol=np.nan)),
    (ValueError, dict(measured=1.0, equals=1.0, atol=np.inf)),
    (ValueError, dict(measured=1.0, equals=1.0, rtol=np.inf)),
    (ValueError, dict(measured=1.0, equals=[1.0, 1.0], atol=0.1)),
    (ValueError, dict(measured=[1.0], equals=[1.0, 1.0], atol=0.1)),
    (ValueError, dict(measured=np.ones(3), equals=np.ones(2), atol=0.1)),
    (ValueError, dict(measured=np.ones((2, 1)), at_most=np.ones(2))),
    (ValueError, dict(measured=1.0, equals=1.0, atol=[0.1, 0.1])),
    (ValueError, dict(measured=1j, at_most=1.0)),
    (ValueError, dict(measured="1.0", at_most=2.0)),
    (ValueError, dict(measured=2**53 + 1, equals=2**53)),
]


@pytest.mark.parametrize(("error", "call"), WRONG)
def test_a_call_that_states_no_check_is_refused(shown, error, call):
    with pytest.raises(error):
        verify("claim", **call, source="s")
    assert not shown


def test_claim_and_source_are_required(shown):
    with pytest.raises(TypeError, match="source"):
        verify("claim", 1.0, at_most=2.0)
    for source in ("", " ", None, 3):
        with pytest.raises(ValueError, match="source"):
            verify("claim", 1.0, at_most=2.0, source=source)
    with pytest.raises(ValueError, match="claim"):
        verify("", 1.0, at_most=2.0, source="s")
    assert not shown


@pytest.mark.parametrize("name", ["claim", "source"])
def test_a_claim_is_plain_text(shown, name):
    # The ledger and nbval show it as it stands: a role would stay unresolved.
    texts = {"claim": "claim", "source": "s", name: "by {eq}`eq-x`"}
    with pytest.raises(ValueError, match=name + r".*\{eq\}`"):
        verify(texts["claim"], 1.0, at_most=2.0, source=texts["source"])
    assert not shown
