"""How the planner is woken: an invocation that nobody waits for."""

import json

from botocore.exceptions import ClientError

from cloudfn.providers.aws.waking import LambdaWaking


class Lambda:
    def __init__(self, error=None):
        self.asked, self.error = [], error

    def of(self, service):
        assert service == "lambda"
        return self

    def invoke(self, **params):
        self.asked.append(params)
        if self.error is not None:
            raise ClientError({"Error": {"Code": self.error, "Message": "no"}}, "Invoke")


def test_the_planner_is_invoked_once_and_not_waited_for():
    clients = Lambda()

    LambdaWaking(clients, "cloudfn-main-planner")()

    (asked,) = clients.asked
    assert asked["FunctionName"] == "cloudfn-main-planner"
    assert asked["InvocationType"] == "Event"
    assert json.loads(asked["Payload"]) == {"source": "wake"}


def test_a_planner_that_cannot_be_woken_is_no_error(caplog):
    LambdaWaking(Lambda("AccessDeniedException"), "cloudfn-main-planner")()

    assert "could not be woken" in caplog.text
