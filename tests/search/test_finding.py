"""Findings and diagnoses: their order, and what counts for less."""

import json

import pytest

from neuroexapt.search import CHECKS, HEADINGS, Diagnosis, Finding
from neuroexapt.search.finding import OF_COLLAPSE, not_measured

SKIPS = Finding(check="skip dominance", severity="critical", meaning="Skips.", value=1.0)
LEAKS = Finding(check="leakage", severity="critical", meaning="Leaks.", value=1.0)
DULL = Finding(check="not learning", severity="critical", meaning="Dull.", value=0.1)


def diagnosis(*findings: Finding) -> Diagnosis:
    return Diagnosis.of("a search", 3, 60, findings, "not looked for")


def test_every_check_is_told_in_the_order_to_believe_them():
    found = diagnosis(SKIPS, LEAKS)
    assert [finding.check for finding in found.findings] == list(CHECKS)
    assert {finding.heading for finding in found.findings} == set(HEADINGS) == set(CHECKS.values())
    assert found["curvature"] == not_measured("curvature", "not looked for")


def test_the_last_finding_of_a_check_counts():
    fresh = SKIPS.model_copy(update={"severity": "ok"})
    assert diagnosis(SKIPS, fresh)["skip dominance"] == fresh


def test_collapse_counts_for_less_on_a_network_that_does_not_learn():
    found = diagnosis(SKIPS, LEAKS, DULL)
    assert (found["skip dominance"].severity, found["leakage"].severity) == ("notice", "critical")
    assert found["skip dominance"].meaning == (
        "Skips. The network doesn't learn, so this says little; mend that first."
    )
    assert diagnosis(SKIPS, LEAKS)["skip dominance"] == SKIPS


@pytest.mark.parametrize("severity", ["ok", "notice", "not measured"])
def test_what_is_not_alarming_stays(severity):
    calm = SKIPS.model_copy(update={"severity": severity})
    assert diagnosis(calm, DULL)["skip dominance"] == calm


def test_checks_of_collapse_come_after_learning():
    order = list(CHECKS)
    assert order[0] == "not learning"
    assert set(order) > OF_COLLAPSE


def test_diagnosis_is_critical_if_any_finding_is():
    assert diagnosis(LEAKS).is_critical
    assert not diagnosis(LEAKS.model_copy(update={"severity": "warning"})).is_critical
    assert not diagnosis().is_critical


def test_diagnosis_survives_json():
    found = diagnosis(LEAKS.model_copy(update={"value": float("inf")}))
    text = found.model_dump_json()
    told = json.loads(text)
    assert told["is_critical"] is True
    assert told["findings"][1]["heading"] == "separation of parameters"
    assert Diagnosis.model_validate_json(text) == found
