"""Fake STS: who one is."""

from __future__ import annotations

from datetime import UTC, datetime

from cloudfn.testing.aws.service import Answer, Refused, Request, Service

_SHORTEST, _LONGEST = 900, 43_200
_USUAL = 3_600


class Sts(Service):
    """The identities of an account."""

    name = "sts"

    def get_caller_identity(self, request: Request) -> Answer:
        return {
            "UserId": "AIDAFAKE",
            "Account": self.account,
            "Arn": f"arn:aws:iam::{self.account}:user/ada",
        }

    def assume_role(self, request: Request) -> Answer:
        seconds = request.get("DurationSeconds", _USUAL)
        if not _SHORTEST <= seconds <= _LONGEST:
            raise Refused("ValidationError", f"{seconds} is no duration that a role may have.")
        role = request["RoleArn"].rpartition("/")[2]
        session = request["RoleSessionName"]
        return {
            "Credentials": {
                "AccessKeyId": "ASIAFAKEFAKEFAKEFAKE",
                "SecretAccessKey": f"{self.random.getrandbits(160):040x}",
                "SessionToken": f"{self.random.getrandbits(256):064x}",
                "Expiration": datetime.fromtimestamp(request.now + seconds, UTC),
            },
            "AssumedRoleUser": {
                "AssumedRoleId": f"AROAFAKE:{session}",
                "Arn": f"arn:aws:sts::{self.account}:assumed-role/{role}/{session}",
            },
        }
