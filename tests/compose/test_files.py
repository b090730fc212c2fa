"""What the Compose and Docker files promise, read from the files alone."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from backroom.settings import Settings
from monitoring.exporter.settings import ExporterSettings
from services.api.settings import ApiSettings
from services.worker.support.settings import JobSettings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = ["services/api", "services/worker", "services/scheduler", "monitoring/exporter"]
#: Where things are inside the containers is the stack's own business.
ITS_OWN = {"BACKROOM_REDIS_URL", "BACKROOM_ARTIFACTS_DIR", "BACKROOM_EXPORTER_HOST", "BACKROOM_EXPORTER_PORT"}
#: What only some containers may know.
SECRETS = {"BACKROOM_API_KEYS", "BACKROOM_API_KEYS_FILE"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def names(settings: type[BaseSettings]) -> set[str]:
    return {f"{settings.model_config['env_prefix']}{field}".upper() for field in settings.model_fields}


@pytest.mark.parametrize(
    ("service", "settings"),
    [
        ("api", Settings),
        ("api", ApiSettings),
        ("worker", Settings),
        ("worker", JobSettings),
        ("scheduler", Settings),
        ("exporter", Settings),
        ("exporter", ExporterSettings),
    ],
)
def test_every_setting_reaches_its_container(
    compose: dict[str, Any], service: str, settings: type[BaseSettings]
) -> None:
    given = set(compose["services"][service]["environment"])
    wanted = names(settings) - ITS_OWN - (SECRETS if service != "api" else set())
    if service != "api":
        wanted.discard("BACKROOM_ALLOWED_HOSTS")
    assert wanted <= given


@pytest.mark.parametrize("service", ["api", "worker", "scheduler", "exporter"])
def test_no_container_is_given_a_setting_that_does_not_exist(compose: dict[str, Any], service: str) -> None:
    known = names(Settings) | names(ApiSettings) | names(JobSettings) | names(ExporterSettings)
    given = {name for name in compose["services"][service]["environment"] if name.startswith("BACKROOM_")}
    assert given <= known


def test_keys_and_passwords_stay_with_the_service_that_needs_them(compose: dict[str, Any]) -> None:
    environments = {name: set(service.get("environment", {})) for name, service in compose["services"].items()}
    for name, environment in environments.items():
        assert name == "api" or not environment & SECRETS
        assert name == "worker" or not environment & {"BACKROOM_SMTP_PASSWORD", "BACKROOM_VAPID_PRIVATE_KEY"}


def test_the_images_share_the_layers_of_their_dependencies() -> None:
    mark = "# ---- the same in every Dockerfile down to here ----"
    parts = [(ROOT / folder / "Dockerfile").read_text().partition(mark) for folder in DOCKERFILES]
    assert all(found for _, found, _ in parts)
    assert len({shared for shared, _, _ in parts}) == 1


@pytest.mark.parametrize("folder", DOCKERFILES)
def test_an_image_runs_as_a_plain_user_and_tells_its_health(folder: str) -> None:
    last_stage = (ROOT / folder / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert "\nUSER 10001:10001\n" in last_stage
    assert "\nHEALTHCHECK " in last_stage
    assert re.search(r'^CMD \["(?!sh")', last_stage, re.MULTILINE), "a shell would keep SIGTERM for itself"


def test_third_party_images_are_pinned_and_can_be_chosen(compose: dict[str, Any]) -> None:
    images = [service["image"] for service in compose["services"].values() if "image" in service]
    assert images
    for image in images:
        assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[a-z/-]+:v?\d+\.\d+\.\d+(-alpine)?\}", image), image


def test_every_service_restarts_rotates_its_log_and_gives_up_its_privileges(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["restart"] == "unless-stopped", name
        assert service["logging"]["options"]["max-size"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["init"] is True, name
        assert "container_name" not in service, name


def test_only_redis_and_its_callers_are_in_the_inner_network(compose: dict[str, Any]) -> None:
    members = {name for name, service in compose["services"].items() if "core" in service["networks"]}
    assert compose["networks"]["core"]["internal"] is True
    assert compose["services"]["redis"]["networks"] == ["core"]
    assert members == {"redis", "api", "worker", "scheduler", "exporter"}
