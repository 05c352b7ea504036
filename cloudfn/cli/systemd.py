"""The systemd user service that keeps a daemon running. Pure: text out."""

from __future__ import annotations

from pathlib import Path

#: seconds; a daemon that a service started does not leave by itself
_NEVER_IDLE = 315_360_000
#: seconds that a stop may take before systemd kills
_STOP = 45


def unit_name(environment: str) -> str:
    """Return the file name of an environment's service."""
    return f"cloudfn-{environment}.service"


def unit_text(python: Path, environment: str, root: Path) -> str:
    """Return the service's unit file.

    Restarting always, also after a clean exit: a daemon that finds another one running exits
    cleanly, and has to take over when that one is gone.
    """
    return f"""[Unit]
Description=cloudfn daemon of environment {environment.replace("%", "%%")}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={_quoted(str(python).replace("$", "$$"))} -P -m cloudfn.daemon --env {environment}
Environment={_quoted(f"CLOUDFN_HOME={root}")}
Environment=CLOUDFN_DAEMON_IDLE_EXIT={_NEVER_IDLE}
Restart=always
RestartSec=5
KillMode=mixed
TimeoutStopSec={_STOP}

[Install]
WantedBy=default.target
"""


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if escaped != word or " " in word else word
