"""The dashboard and the alerts ask for what the catalogue has; ``tests/acceptance/test_metrics.py`` asks a replica."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chatapp.app.metrics.catalogue import SECTIONS
from chatapp.app.metrics.family import Family
from tests.deploy.promql import Expression, read

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "deploy" / "observability"
DASHBOARD: dict[str, Any] = json.loads((OBSERVABILITY / "grafana/dashboards/chatapp.json").read_text())
ALERTS = OBSERVABILITY / "alerts.yml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
PROMTOOL = shutil.which("promtool")
OF_PROMETHEUS = {"up": frozenset[str](), "ALERTS": frozenset({"alertstate", "alertname"})}
EVERYWHERE = frozenset({"job", "instance", "worker"})


def _targets() -> Iterator[tuple[str, str, str]]:
    """Title, expression and legend of every query of the dashboard."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"], annotation["titleFormat"]


EXPRESSIONS = {f"dashboard: {title} {at}": expr for at, (title, expr, _) in enumerate(_targets())} | {
    f"alert: {rule['alert']}": rule["expr"] for rule in RULES
}


def exported() -> dict[str, frozenset[str]]:
    """Every series' name as Prometheus has it, with its labels."""
    found: dict[str, frozenset[str]] = dict(OF_PROMETHEUS)
    for family in (family for _, families in SECTIONS for family in families):
        labels = frozenset(family.labels)
        for name in _series_of(family):
            found[name] = labels | ({"le"} if name.endswith("_bucket") else frozenset())
    return found


def _series_of(family: Family) -> tuple[str, ...]:
    if family.kind == "histogram":
        return tuple(f"{family.name}_{part}" for part in ("bucket", "sum", "count"))
    return (family.name,)


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_every_metric_and_label_that_is_asked_for_exists(expression: str) -> None:
    known = exported()
    asked = read(expression)
    for selector in asked.selectors:
        assert selector.metric in known
        assert set(selector.labels) <= known[selector.metric] | EVERYWHERE
        assert "job" in selector.labels or selector.metric == "ALERTS"
    assert set(asked.groupings) <= _labels_of(asked) | EVERYWHERE


def _labels_of(expression: Expression) -> frozenset[str]:
    known = exported()
    return frozenset[str]().union(*(known[selector.metric] for selector in expression.selectors))


@pytest.mark.parametrize(("title", "expression", "legend"), list(_targets()))
def test_every_legend_shows_labels_that_the_query_has(title: str, expression: str, legend: str) -> None:
    asked = read(expression)
    shown = set(re.findall(r"{{(\w+)}}", legend))
    assert shown <= set(asked.groupings) or asked.selectors[0].metric == "ALERTS", title


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "action"}
        shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert shown <= _labels_of(read(rule["expr"])) | EVERYWHERE


def test_every_metric_says_what_it_means() -> None:
    families = [family for _, section in SECTIONS for family in section]
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.meaning.endswith((".", ")")), family.name
        assert re.fullmatch(r"(chatapp|process)_[a-z0-9_]+", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")


@pytest.mark.parametrize(
    "broken",
    [
        "sum(rate(chatapp_connections[1m])",
        "sum(rate(chatapp_connections[1m]))",
        'sum(rate(chatapp_connections{job="x"}[1m])',
        'sum(quartile(chatapp_connections{job="x"}))',
        'chatapp_connections{job="x}',
        'chatapp_connections{job~"x"}',
        'rate(chatapp_connections{job="x"}[1 fortnight])',
        "1 + 1",
    ],
)
def test_our_own_reading_finds_mistakes(broken: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(broken)


def test_prometheus_itself_takes_the_rules_the_queries_and_the_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if PROMTOOL is None:
        with capsys.disabled():
            print("\n(promtool is not installed: PromQL was checked by tests/deploy/promql.py alone)")
        for expression in EXPRESSIONS.values():
            read(expression)
        return
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(Path(__file__).with_name("alerts_test.yml"), tmp_path)
    queries = [
        {"record": f"query:{at}", "expr": expr.replace("$__rate_interval", "1m").replace("$instance", ".*")}
        for at, (_, expr, _) in enumerate(_targets())
    ]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": queries}]}))
    settings = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())
    settings["rule_files"] = ["alerts.yml"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    for words in (
        ("check", "rules", "alerts.yml", "queries.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "alerts_test.yml"),
    ):
        done = subprocess.run([PROMTOOL, *words], cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stdout + done.stderr
    with capsys.disabled():
        print("\n(checked with promtool)")


def test_the_profile_is_off_by_default_and_on_the_loopback_only() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    watching = {name: service for name, service in services.items() if "profiles" in service}
    assert {"prometheus", "grafana"} <= set(watching)
    for name in ("prometheus", "grafana"):
        assert watching[name]["profiles"] == ["observability"]
        assert all(port.startswith("127.0.0.1:") for port in watching[name]["ports"])
        assert watching[name]["read_only"] is True
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", watching[name]["image"])
    assert watching["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == "${GRAFANA_PASSWORD:-}"
    assert "GF_SECURITY_ADMIN_PASSWORD" in watching["grafana"]["entrypoint"][-1]


def test_grafana_is_given_the_data_source_that_the_dashboard_names() -> None:
    provisioning = OBSERVABILITY / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    used = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "datasource" in panel}
    assert used == {source["uid"]}
    (provider,) = yaml.safe_load((provisioning / "dashboards/chatapp.yml").read_text())["providers"]
    mounts = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["volumes"]
    assert f"./deploy/observability/grafana/dashboards:{provider['options']['path']}:ro" in mounts


def test_the_made_environment_has_a_password_of_its_own_for_grafana(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy/make-env.sh", tmp_path / "deploy")
    subprocess.run(["bash", script], check=True, capture_output=True, timeout=10)
    made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines() if not line.startswith("#"))
    assert set(made) == {"PASETO_KEY", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
    assert len(set(made.values())) == 3
    assert all(len(value) >= 32 for value in made.values())
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
