"""The containers from outside: what they show to the world, as whom they run, what they may do."""

import pytest

from tests.compose.stack import ROOT, Stack, run

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]

READABLE_ONLY = {"redis", "api", "worker", "scheduler", "exporter", "prometheus", "alertmanager"}


def service_of(container: dict) -> str:
    return container["Config"]["Labels"]["com.docker.compose.service"]


def test_the_files_are_valid_with_nothing_set(engine: None) -> None:
    defaults = Stack(BACKROOM_PORT="8000", BACKROOM_PROMETHEUS_PORT="9090", BACKROOM_GRAFANA_PORT="3000").config()
    published = {
        (port["host_ip"], port["published"])
        for service in defaults["services"].values()
        for port in service.get("ports", [])
    }
    assert published == {("127.0.0.1", "8000"), ("127.0.0.1", "9090"), ("127.0.0.1", "3000")}


def test_only_the_three_doors_are_open_and_only_to_this_machine(stack: Stack) -> None:
    doors = set()
    for container in stack.containers():
        for inner, bindings in container["NetworkSettings"]["Ports"].items():
            for binding in bindings or []:
                doors.add((service_of(container), inner, binding["HostIp"]))
    doors.discard(("grafana", "3000/tcp", "127.0.0.1"))  # it may be left out of a test run
    assert doors == {("api", "8000/tcp", "127.0.0.1"), ("prometheus", "9090/tcp", "127.0.0.1")}


def test_no_process_in_any_container_is_root(stack: Stack) -> None:
    for container in stack.containers():
        table = run("docker", "top", container["Id"], "-eo", "uid,pid,args").decode().splitlines()[1:]
        assert table
        owners = {line.split()[0] for line in table}
        assert "0" not in owners, f"{service_of(container)}: {table}"


def test_containers_have_no_capabilities_and_cannot_write_to_their_own_files(stack: Stack) -> None:
    for container in stack.containers():
        host = container["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["ReadonlyRootfs"] == (service_of(container) in READABLE_ONLY)


def test_redis_cannot_be_reached_from_where_it_has_no_business(stack: Stack) -> None:
    reachable = "import socket; socket.create_connection(('{}', {}), timeout=5)"
    stack.inside("api", reachable.format("redis", 6379))
    redis = stack.containers("redis")[0]
    assert [name.removeprefix(f"{stack.name}_") for name in redis["NetworkSettings"]["Networks"]] == ["core"]
    core = run("docker", "network", "inspect", "--format", "{{.Internal}}", f"{stack.name}_core").decode().strip()
    assert core == "true"


def test_a_container_can_be_stopped_and_started_and_says_when_it_is_healthy(stack: Stack) -> None:
    for service in ("scheduler", "exporter"):
        stack.compose("stop", service)
        stopped = stack.compose("ps", "--all", "--format", "{{.State}} {{.ExitCode}}", service).split()
        assert stopped == ["exited", "0"]
        stack.up(service)


def test_every_overlay_is_valid(engine: None) -> None:
    for overlay in sorted(ROOT.glob("compose.*.yml")):
        Stack(overlays=[overlay.name], BACKROOM_REDIS_URL="redis://elsewhere:6379/0").config()
