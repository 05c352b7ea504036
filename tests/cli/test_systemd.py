"""The user service that `cloudfn daemon install` writes."""

from pathlib import Path

from cloudfn.cli.systemd import unit_name, unit_text


def test_the_service_runs_one_environments_daemon_and_keeps_it():
    text = unit_text(Path("/usr/bin/python3"), "main", Path("/home/ada/.local/state/cloudfn"))

    lines = text.splitlines()
    assert "ExecStart=/usr/bin/python3 -P -m cloudfn.daemon --env main" in lines
    assert "Environment=CLOUDFN_HOME=/home/ada/.local/state/cloudfn" in lines
    assert "Restart=always" in lines
    assert unit_name("main") == "cloudfn-main.service"


def test_paths_keep_their_spaces_and_signs():
    text = unit_text(Path("/opt/my $python/50%/bin"), "main", Path('/home/a "b"/100%'))

    assert 'ExecStart="/opt/my $$python/50%%/bin" -P' in text
    assert 'Environment="CLOUDFN_HOME=/home/a \\"b\\"/100%%"' in text
