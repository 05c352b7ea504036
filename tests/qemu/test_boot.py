"""A virtual machine boots with our user-data: cloud-init, systemd, a kernel and Docker of its own.

One machine for all of it, in order: a boot takes minutes where processors are emulated.
"""

from __future__ import annotations

import json
from hashlib import sha256

from tests.qemu.guest import OTHER, Guest


def test_a_bundle_with_another_digest_is_refused_and_asked_for_again(guest: Guest):
    refused = f"has the SHA-256 {sha256(OTHER).hexdigest()}, not {guest.digest}"
    guest.world.until(lambda: guest.console().count(refused) >= 2, "it is refused twice")
    assert guest.run("ls", "/opt/cloudfn") == "boot.py"
    assert guest.state() == "Pending:Wait"
    assert guest.row()["state"] == "booting"


def test_a_machine_joins_as_who_its_metadata_says_once_the_bundle_is_right(guest: Guest):
    guest.put_bundle(guest.bundle)
    guest.world.until(lambda: guest.state() == "InService", f"{guest.id} serves")
    guest.world.until(lambda: guest.row()["state"] == "serving", "its row says so")
    assert guest.digest in guest.run("ls", "/opt/cloudfn").split()
    assert "Found credentials from IAM Role: cloudfn-main-agent" in guest.console()
    heard = guest.row()["heard"]
    guest.world.until(lambda: guest.row()["heard"] > heard, "its heart beats")


def test_cloud_init_did_all_of_it_without_an_error(guest: Guest):
    told = json.loads(guest.run("cat", "/run/cloud-init/result.json"))["v1"]
    assert told["datasource"].startswith("DataSourceEc2")
    assert told["errors"] == []
    assert "status: done" in guest.run("cloud-init", "status", "--long")
    assert "Valid" in guest.run("cloud-init", "schema", "--system")
    _, warned = guest.attempt("grep", "WARNING", "/var/log/cloud-init.log")
    # Debian's ifup, about what brought the card up to look for the metadata service: not ours.
    assert [line for line in warned.splitlines() if "already configured" not in line] == []
    assert "0 loaded units listed" in guest.run("systemctl", "--failed", "--no-pager")


def test_the_agent_is_kept_running_and_outlives_containers_when_memory_is_short(guest: Guest):
    told = _shown(guest, "cloudfn-agent.service")
    assert told["Restart"] == "always"
    assert told["KillMode"] == "mixed"
    assert told["TimeoutStopUSec"] == "2min"
    assert told["UnitFileState"] == "enabled"
    assert guest.run("cat", f"/proc/{told['MainPID']}/oom_score_adj") == "-900"
    assert _shown(guest, "cloudfn-deadman.timer")["ActiveState"] == "active"

    guest.run("systemctl", "kill", "--signal=KILL", "cloudfn-agent")
    guest.world.until(lambda: guest.console().count("this machine has joined") >= 2, "it is back")
    again = _shown(guest, "cloudfn-agent.service")
    assert int(again["NRestarts"]) == int(told["NRestarts"]) + 1
    assert again["MainPID"] != told["MainPID"]


def test_docker_serves_and_containers_are_kept_from_the_metadata_service(guest: Guest):
    assert "overlay2" in guest.run("docker", "info")
    rule = "-A DOCKER-USER -d 169.254.169.254/32 -j DROP"
    assert guest.run("iptables", "-S", "DOCKER-USER").splitlines().count(rule) == 1


def test_a_machine_whose_agent_hangs_ends_itself(guest: Guest):
    assert guest.wanted() == 1
    guest.run("systemctl", "kill", "--signal=STOP", "cloudfn-agent")
    guest.run("touch", "--date=31 minutes ago", "/run/cloudfn/heard")
    guest.await_line("nobody has spoken to this machine for ")
    guest.world.until(lambda: guest.id not in guest.world.machines(), f"{guest.id} is gone")
    assert guest.wanted() == 0


def _shown(guest: Guest, unit: str) -> dict[str, str]:
    lines = guest.run("systemctl", "show", unit).splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}
