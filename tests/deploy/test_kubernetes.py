"""What Kubernetes would refuse, and what it would take although it cannot work, without a cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from chatapp.config import Settings
from chatapp.config.keys import keys
from chatapp.config.loading import load

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
FILES = sorted(KUBERNETES.rglob("*.yaml"))
LINT = YamlLintConfig(
    "{extends: default, rules: {document-start: disable, line-length: {max: 125}, "
    "comments: {min-spaces-from-content: 1}, truthy: {check-keys: false}}}"
)
NOT_KUBERNETES_OWN = ("kustomization.yaml", "pod-monitor.yaml", "prometheus-adapter.yaml")
KEY = "".join(f"{(7 * number + 3) % 256:02x}" for number in range(32))


def read(name: str) -> Any:
    return yaml.safe_load((KUBERNETES / name).read_text())


DEPLOYMENT, MIGRATION, CONFIG = read("deployment.yaml"), read("migration.yaml"), read("settings.yaml")
REPLICA = DEPLOYMENT["spec"]["template"]
JOB = MIGRATION["spec"]["template"]
(API,) = REPLICA["spec"]["containers"]
(MIGRATE,) = JOB["spec"]["containers"]
both = pytest.mark.parametrize("pod", [pytest.param(REPLICA, id="replica"), pytest.param(JOB, id="migration")])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """As a replica would have them, with values for the secrets."""
    file = tmp_path_factory.mktemp("kubernetes") / "config.yaml"
    file.write_text(CONFIG["data"]["config.yaml"])
    return load(
        file,
        {"DATABASE_URL": "postgres://u:p@db/c?sslmode=verify-full", "REDIS_URL": "rediss://redis", "PASETO_KEY": KEY},
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_manifest_is_well_written_yaml(path: Path) -> None:
    assert [str(problem) for problem in linter.run(path.read_text(), LINT)] == []


@pytest.mark.parametrize("path", [path for path in FILES if path.name not in NOT_KUBERNETES_OWN], ids=lambda p: p.name)
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_knows_every_field(path: Path, version: str) -> None:
    kubernetes_validate.validate(yaml.safe_load(path.read_text()), version, strict=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_namespace_is_given(path: Path) -> None:
    assert "namespace" not in yaml.safe_load(path.read_text()).get("metadata", {})


def test_everything_that_runs_all_the_time_is_applied_and_nothing_else() -> None:
    beside = {"kustomization.yaml", "migration.yaml", "secret.example.yaml"}
    assert set(read("kustomization.yaml")["resources"]) == {p.name for p in KUBERNETES.glob("*.yaml")} - beside


def test_whoever_selects_replicas_selects_those_of_the_deployment_and_not_the_migration() -> None:
    monitor, budget = read("optional/pod-monitor.yaml"), read("disruption-budget.yaml")
    selectors = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        read("service.yaml")["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
        monitor["spec"]["selector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in REPLICA["spec"]["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selector.items() <= REPLICA["metadata"]["labels"].items()
        assert not selector.items() <= JOB["metadata"]["labels"].items()


@both
def test_the_network_policy_holds_for_it(pod: Any) -> None:
    policy = read("network-policy.yaml")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_the_autoscaler_means_the_deployment_whose_replicas_nobody_else_sets() -> None:
    target = read("autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", DEPLOYMENT["metadata"]["name"])
    assert "replicas" not in DEPLOYMENT["spec"]


def test_the_ports_are_the_replicas(settings: Settings) -> None:
    ports = {port["name"]: port["containerPort"] for port in API["ports"]}
    assert ports == {"http": settings.general.port}
    assert [port["targetPort"] for port in read("service.yaml")["spec"]["ports"]] == ["http"]
    assert {API[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")} == {"http"}
    assert [e["port"] for e in read("optional/pod-monitor.yaml")["spec"]["podMetricsEndpoints"]] == ["http"]
    (rule,) = read("network-policy.yaml")["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == [settings.general.port]


def test_the_ingress_passes_no_metrics_on() -> None:
    (rule,) = read("optional/ingress.yaml")["spec"]["rules"]
    for entry in rule["http"]["paths"]:
        assert entry["path"] != "/"
        assert entry["backend"]["service"] == {
            "name": read("service.yaml")["metadata"]["name"],
            "port": {"name": "http"},
        }


def test_the_grace_period_is_longer_than_the_drain(settings: Settings) -> None:
    wait_s = API["lifecycle"]["preStop"]["sleep"]["seconds"]
    leaving_s = settings.delivery.lame_duck_s + settings.delivery.drain_s + 10
    assert REPLICA["spec"]["terminationGracePeriodSeconds"] > wait_s + leaving_s


def test_a_rollout_takes_no_replica_away_before_another_is_ready() -> None:
    assert DEPLOYMENT["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


@both
def test_it_has_no_rights_that_it_does_not_need(pod: Any) -> None:
    spec = pod["spec"]
    assert spec["securityContext"].items() >= {"runAsNonRoot": True, "runAsUser": 10001}.items()
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]


def test_its_user_is_the_images() -> None:
    assert f"USER {REPLICA['spec']['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()


def test_migration_and_replicas_are_the_same_image_which_is_given_in_one_place() -> None:
    (image,) = read("kustomization.yaml")["images"]
    assert API["image"] == MIGRATE["image"] == f"{image['name']}:{image['newTag']}"
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert image["newTag"] == version[1]


@pytest.mark.parametrize("pod", [pytest.param(REPLICA, id="replica"), pytest.param(JOB, id="migration")])
def test_its_variables_name_files_of_the_secret(pod: Any) -> None:
    """Each variable is one that the service reads, and each file one that is mounted."""
    (container,) = pod["spec"]["containers"]
    secret = read("secret.example.yaml")
    names = {name for key in keys().values() if key.is_secret for name in (key.env, key.env_alias) if name}
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "secrets"]
    for variable in container["env"]:
        if variable["name"] == "PYTHON_CPU_COUNT":
            continue
        assert variable["name"].removesuffix("_FILE") in names
        directory, _, file = variable["value"].rpartition("/")
        assert directory == mount["mountPath"]
        assert file in secret["stringData"]
    (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "secrets"]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]


def test_the_example_of_a_secret_has_no_values() -> None:
    assert not any(read("secret.example.yaml")["stringData"].values())


def test_the_configuration_is_one_that_the_service_starts_with(settings: Settings) -> None:
    assert settings.general.environment == "production"
    assert settings.general.trusted_proxies != ("127.0.0.1",)


def test_the_autoscaler_adds_replicas_before_one_is_full(settings: Settings) -> None:
    for metric in read("autoscaler.yaml")["spec"]["metrics"]:
        if metric["type"] == "Pods":
            assert metric["pods"]["metric"]["name"] == "chatapp_connections"
            assert int(metric["pods"]["target"]["averageValue"]) < settings.limits.connections
