"""The running API does what its document says, whatever Schemathesis makes up from it: its checks, and a fixed seed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from tests.integration.api.service import DOCUMENT, ROOT, TYPES, Api, problem

HERE: Final = Path(__file__).parent
KEY: Final = "admin-key-01234567890"
KEYS: Final = [{"name": "boss", "key": KEY, "roles": ["admin"]}]
#: Requests that are made up for each operation, in each of its phases.
EXAMPLES: Final = 5
SEED: Final = 7


@pytest.mark.timeout(400)
def test_the_api_does_what_its_document_says(server: EmbeddedServer, tmp_path: Path) -> None:
    prefix = f"contract-{uuid4().hex[:8]}"
    with connect(server.url) as client:
        Store(client, prefix=prefix).job_types.publish("test-worker", TYPES, ttl_seconds=3600)
    with Api(tmp_path, server.url, prefix, BACKROOM_API_KEYS=json.dumps(KEYS)) as api:
        command = [str(Path(sys.executable).with_name("st")), "--config-file", str(HERE / "schemathesis.toml"), "run"]
        command += [str(ROOT / "openapi.json"), "--url", api.url, "--header", f"Authorization: Bearer {KEY}"]
        # The Allow header has a test of its own below. Streams end when nobody listens.
        command += [
            "--checks",
            "all",
            "--exclude-checks",
            "allow_header_conformance",
            "--exclude-path-regex",
            "/events$",
        ]
        command += ["--seed", str(SEED), "--generation-deterministic", "--max-examples", str(EXAMPLES)]
        command += ["--request-timeout", "30", "--no-color"]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.integration.api.schemathesis_hooks"}
        environment["PYTHONPATH"] = str(ROOT)
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=380)
        assert run.returncode == 0, run.stdout + run.stderr
        assert '"level":"error"' not in api.log


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_an_address_tells_the_methods_that_its_document_has(api: Api, path: str) -> None:
    # An address may be that of something else as well: a job may have the id "bulk".
    templates = {each for each in DOCUMENT["paths"] if re.fullmatch(re.sub(r"\{\w+\}", r"[^/]+", each), path)}
    documented = {method.upper() for template in templates for method in DOCUMENT["paths"][template]}
    response = api.call("OPTIONS", path.replace("{", "").replace("}", ""))
    problem(response, 405, "method-not-allowed")
    found = set(response.headers["Allow"].split(", "))
    assert found == documented | ({"HEAD"} if "GET" in documented else set())
