"""What a machine starts with: valid, small, without a secret; and the script in it does what it says."""

from __future__ import annotations

import ast
import base64
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cloudfn.rehearsal import userdata
from tests.terraform import toolbox

_BOOT = toolbox.MODULES / "modules" / "machine_class" / "boot.py"
_KEYS = {"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "very-secret", "Token": "session-token"}


def check(config: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from cloudinit.cmd.main import main; sys.argv[0] = 'cloud-init'; sys.exit(main())"
    return subprocess.run(
        [str(toolbox.python("tools")), "-c", code, "schema", "--config-file", str(config)],
        env={"PYTHONPATH": str(toolbox.cloud_init()), "PATH": os.defpath},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_cloud_init_accepts_it(user_data, tmp_path):
    config = tmp_path / "user-data.yaml"
    config.write_text(user_data)
    done = check(config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid" in done.stdout


def test_the_rehearsal_renders_the_same_without_terraform(user_data):
    folder = userdata.module_folder()
    digest = hashlib.sha256(b"bundle").hexdigest()
    values = {
        **userdata.defaults(folder),
        "bucket": "cloudfn-main-123456789012-eu-central-1",
        "environment": "main",
        "key": f"agent/{digest}.zip",
        "machine_class": "cpu",
        "region": "eu-central-1",
        "sha256": digest,
    }
    assert userdata.rendered(folder, values) == user_data


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("permissions:", "permisions:"),
        ("  - path: /opt/cloudfn/boot.py\n    permissions", "  - permissions"),
        ("encoding: b64", "encoding: base-64"),
    ],
)
def test_cloud_init_would_refuse_a_mistake_in_it(user_data, tmp_path, right, wrong):
    assert right in user_data
    config = tmp_path / "user-data.yaml"
    config.write_text(user_data.replace(right, wrong))
    assert check(config).returncode


def test_it_is_small_and_names_what_it_fetches_by_digest(user_data):
    assert len(user_data.encode()) < 12_000  # EC2 takes 16 KiB
    assert hashlib.sha256(b"bundle").hexdigest() in user_data
    assert "cloudfn.machine" in user_data


def test_it_holds_no_secret(user_data):
    for word in ("SECRET", "secret_key", "AKIA", "password", "token="):
        assert word not in user_data


def test_the_script_travels_whole(user_data):
    [line] = [
        each
        for each in user_data.splitlines()
        if each.strip().startswith("content: ") and len(each) > 1000
    ]
    assert base64.b64decode(line.split("content: ")[1]) == _BOOT.read_bytes()


def test_the_script_runs_on_the_oldest_python_that_images_have():
    ast.parse(_BOOT.read_text(), feature_version=(3, 9))
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case _: pass", feature_version=(3, 9))


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "kind"),
    [
        ("s3", "GET", "/bucket/agent/0a1b.zip", b"", S3SigV4Auth),
        ("autoscaling", "POST", "/", b"Action=TerminateInstanceInAutoScalingGroup", SigV4Auth),
    ],
)
def test_requests_are_signed_as_botocore_signs_them(service, method, path, body, kind):
    spec = importlib.util.spec_from_file_location("boot", _BOOT)
    assert spec is not None
    assert spec.loader is not None
    boot = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(boot)
    host = f"{service}.eu-central-1.amazonaws.com"
    ours = boot.signed(service, "eu-central-1", method, host, path, body, _KEYS, datetime.now(UTC))
    request = AWSRequest(method, f"https://{host}{path}", data=body)
    for name, value in ours.items():
        if name not in {"Authorization", "x-amz-security-token", "x-amz-date", "host"}:
            request.headers[name] = value
    theirs = kind(Credentials(*_KEYS.values()), service, "eu-central-1")
    request.context["timestamp"] = ours["x-amz-date"]
    theirs_headers = theirs.headers_to_sign(request)
    assert theirs_headers  # what is compared below covers them
    request.headers["X-Amz-Date"] = ours["x-amz-date"]
    request.headers["X-Amz-Security-Token"] = _KEYS["Token"]
    signature = theirs.signature(
        theirs.string_to_sign(request, theirs.canonical_request(request)), request
    )
    assert ours["Authorization"].endswith("Signature=" + signature)


class World:
    """A metadata service, S3 and Auto Scaling, as far as a starting machine sees them."""

    def __init__(self, bundle: bytes) -> None:
        self.bundle = bundle
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, body: bytes, status: int = 200) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_PUT(self) -> None:
                self.answer(b"the-token")

            def do_GET(self) -> None:
                if self.path.startswith("/latest/"):
                    if self.headers["X-aws-ec2-metadata-token"] != "the-token":
                        return self.answer(b"", 401)
                    facts = {
                        "meta-data/instance-id": b"i-0123",
                        "meta-data/services/domain": b"amazonaws.com",
                        "meta-data/iam/security-credentials/": b"agent",
                        "meta-data/iam/security-credentials/agent": json.dumps(_KEYS).encode(),
                    }
                    return self.answer(facts[self.path.removeprefix("/latest/")])
                world.asked.append(self.path)
                if not self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID"):
                    return self.answer(b"", 403)
                return self.answer(world.bundle)

            def do_POST(self) -> None:
                world.asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.answer(b"<ok/>")

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler


@pytest.fixture
def bundle() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("cloudfn/__init__.py", "")
    return content.getvalue()


@pytest.fixture
def world(bundle) -> Iterator[World]:
    world = World(bundle)
    thread = threading.Thread(target=world.server.serve_forever)
    thread.start()
    yield world
    world.server.shutdown()
    thread.join()
    world.server.server_close()


def boot(
    world: World, root: Path, command: str, *, sha256: str
) -> subprocess.CompletedProcess[str]:
    (root / "etc/cloudfn").mkdir(parents=True, exist_ok=True)
    config = {
        "bucket": "b",
        "key": "agent/x.zip",
        "region": "eu-central-1",
        "sha256": sha256,
        "deadman_minutes": 10,
    }
    (root / "etc/cloudfn/boot.json").write_text(json.dumps(config))
    tools = root / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {root}/systemctl.log\n')
    (tools / "systemctl").chmod(0o755)
    return subprocess.run(
        [sys.executable, str(_BOOT), command],
        env={
            "PATH": str(tools), "CLOUDFN_BOOT_ROOT": str(root),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": world.url, "AWS_ENDPOINT_URL": world.url,
        },
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_bundle_is_fetched_once_and_checked(world, tmp_path, bundle):
    digest = hashlib.sha256(bundle).hexdigest()
    for _ in range(2):
        done = boot(world, tmp_path, "fetch", sha256=digest)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "opt/cloudfn" / digest / "cloudfn/__init__.py").exists()
    assert world.asked == ["/b/agent/x.zip"]


def test_a_bundle_that_is_not_the_promised_one_is_refused(world, tmp_path):
    done = boot(world, tmp_path, "fetch", sha256="0" * 64)
    assert done.returncode != 0
    assert "SHA-256" in done.stderr
    assert not (tmp_path / "opt").exists()


def test_a_machine_that_nobody_has_spoken_to_ends_itself(world, tmp_path):
    digest = "0" * 64
    assert boot(world, tmp_path, "deadman", sha256=digest).returncode == 0
    heard = tmp_path / "run/cloudfn/heard"
    assert world.asked == []  # the clock has only begun
    os.utime(heard, (0, heard.stat().st_mtime - 540))
    assert boot(world, tmp_path, "deadman", sha256=digest).returncode == 0
    assert world.asked == []
    os.utime(heard, (0, heard.stat().st_mtime - 601))
    done = boot(world, tmp_path, "deadman", sha256=digest)
    assert done.returncode == 0, done.stderr
    [asked] = world.asked
    assert "TerminateInstanceInAutoScalingGroup" in asked
    assert "InstanceId=i-0123" in asked
    assert "ShouldDecrementDesiredCapacity=true" in asked
    assert (tmp_path / "systemctl.log").read_text() == "poweroff\n"
