"""People get to machines through Session Manager, with keys that EC2 Instance Connect lets in.

No port is open and no key is kept: the proxy is a connection that came from the machine, and a key
is good for a minute. Or straight to the private address, from within the network.
"""

from __future__ import annotations

from shutil import which

from cloudfn.errors import InvalidError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import explained
from cloudfn.providers.reach import Way

#: who may log in on Amazon's images
USER = "ec2-user"
_DOCUMENT = "AWS-StartSSHSession"


class SessionManager:
    """The Reach port on AWS.

    Args:
        clients: Of the account.
        region: Where the machines are.
        profile: Of ~/.aws/config, for the command line of AWS.
        path: Where commands are looked for; None: on the PATH.
    """

    def __init__(
        self,
        clients: ClientSource,
        region: str,
        profile: str | None = None,
        path: str | None = None,
    ) -> None:
        self._clients = clients
        self._region = region
        self._profile = profile
        self._path = path

    def way(self, machine_id: str, address: str = "") -> Way:
        """See `Reach`."""
        if address:
            return Way(address=address)
        for command, where in (
            ("aws", "https://docs.aws.amazon.com/cli/"),
            ("session-manager-plugin", "https://docs.aws.amazon.com/systems-manager/"),
        ):
            if which(command, path=self._path) is None:
                raise InvalidError(
                    f"There is no {command} here, which is the way to machines without a port.",
                    hint=f"Install it ({where}), or from within the network: --direct.",
                )
        profile = ("--profile", self._profile) if self._profile else ()
        return Way(
            (
                "aws", "ssm", "start-session", "--target", machine_id,
                "--document-name", _DOCUMENT, "--parameters", "portNumber=22",
                "--region", self._region, *profile,
            )
        )  # fmt: skip

    def admit(self, machine_id: str, public_key: str) -> str:
        """See `Reach`."""
        with explained("ec2-instance-connect", "SendSSHPublicKey", f"machine {machine_id}"):
            self._clients.of("ec2-instance-connect").send_ssh_public_key(
                InstanceId=machine_id, InstanceOSUser=USER, SSHPublicKey=public_key
            )
        return USER
