"""Fake SQS: standard queues, at least once, in whatever order.

From the API reference, "Amazon SQS standard queues", "Amazon SQS short and long polling", "Amazon
SQS visibility timeout", "Using dead-letter queues in Amazon SQS" and "Amazon SQS message quotas".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import md5
from itertools import count
from random import Random
from typing import Any, ClassVar

from cloudfn.testing.aws import sqs_rules as rules
from cloudfn.testing.aws.knobs import SqsKnobs
from cloudfn.testing.aws.service import Answer, Later, Refused, Request, Service
from cloudfn.testing.aws.sqs_messages import LONGEST_VISIBILITY, Message, Queue
from cloudfn.testing.clock import FakeClock

#: seconds for which the name of a deleted queue is taken, and between two purges
_DELETION = 60.0
#: messages that come back or are doubled do so within this time
_SOON = 10.0
_PREFIX = "AWS.SimpleQueueService."


class Sqs(Service):
    """All queues of an account and region.

    Args:
        clock: What time it is.
        random: Where the nastiness comes from.
        region: In the names of things.
        account: In the names of things.
        knobs: How nasty.
    """

    name = "sqs"
    codes: ClassVar[Mapping[str, str]] = {
        "QueueDoesNotExist": f"{_PREFIX}NonExistentQueue",
        "QueueNameExists": "QueueAlreadyExists",
        **{
            code: f"{_PREFIX}{code}"
            for code in (
                "BatchEntryIdsNotDistinct",
                "BatchRequestTooLong",
                "EmptyBatchRequest",
                "InvalidBatchEntryId",
                "MessageNotInflight",
                "PurgeQueueInProgress",
                "QueueDeletedRecently",
                "TooManyEntriesInBatchRequest",
            )
        },
    }

    def __init__(
        self, clock: FakeClock, random: Random, region: str, account: str, knobs: SqsKnobs
    ) -> None:
        super().__init__(clock, random, region, account)
        self._knobs = knobs
        self._queues: dict[str, Queue] = {}
        self._deleted: dict[str, float] = {}
        self._numbers = count(1)

    def truth(self, name: str) -> list[str]:
        """Return the bodies of all messages that a queue really holds; no client can ask this."""
        with self.changed:
            self.pass_time(self.clock.wall())
            return [message.body for message in self._queues[name].messages]

    def pass_time(self, now: float) -> None:
        for queue in self._queues.values():
            queue.pass_time(now)

    # ------------------------------------------------------------------------------------ queues

    def create_queue(self, request: Request) -> Answer:
        name, raw = request["QueueName"], dict(request.get("Attributes", {}))
        rules.check_name(name)
        attributes = rules.attributes_of(raw)
        if self._deleted.get(name, -_DELETION) + _DELETION > request.now:
            raise Refused(
                "QueueDeletedRecently",
                "You must wait 60 seconds after deleting a queue before you can create another with"
                " the same name.",
            )
        known = self._queues.get(name)
        if known is None:
            self._queues[name] = Queue(name, request.now, raw, attributes, changed_at=request.now)
            self._queues[name].tags.update(request.get("tags", {}))
        elif any(known.raw.get(key) != value for key, value in raw.items()):
            raise Refused(
                "QueueNameExists",
                "A queue already exists with the same name and a different value for an attribute.",
            )
        return {"QueueUrl": self._url(name)}

    def get_queue_url(self, request: Request) -> Answer:
        return {"QueueUrl": self._url(self._known(request["QueueName"]).name)}

    def list_queues(self, request: Request) -> Answer:
        prefix = request.get("QueueNamePrefix", "")
        names = sorted(name for name in self._queues if name.startswith(prefix))
        limit = request.get("MaxResults", 1_000)
        start = int(request.get("NextToken", "0"))
        answer: Answer = {}
        if found := names[start : start + limit]:
            answer["QueueUrls"] = [self._url(name) for name in found]
        if "MaxResults" in request.params and start + limit < len(names):
            answer["NextToken"] = str(start + limit)
        return answer

    def delete_queue(self, request: Request) -> None:
        queue = self._queue(request)
        del self._queues[queue.name]
        self._deleted[queue.name] = request.now

    def purge_queue(self, request: Request) -> None:
        queue = self._queue(request)
        if queue.purged_at + _DELETION > request.now:
            raise Refused(
                "PurgeQueueInProgress", "Only one PurgeQueue is allowed every 60 seconds.", 403
            )
        queue.purged_at = request.now
        for message in list(queue.messages):
            queue.remove(message)

    def get_queue_attributes(self, request: Request) -> Answer:
        queue = self._queue(request)
        counts = queue.counts(request.now, self._knobs.counts_lag)
        known = {
            "VisibilityTimeout": "30",
            "DelaySeconds": "0",
            "MessageRetentionPeriod": "345600",
            "ReceiveMessageWaitTimeSeconds": "0",
            "MaximumMessageSize": str(rules.LARGEST),
            "SqsManagedSseEnabled": "true",
            **queue.raw,
            "QueueArn": self.arn(queue.name),
            "CreatedTimestamp": str(int(queue.created_at)),
            "LastModifiedTimestamp": str(int(queue.changed_at)),
            "ApproximateNumberOfMessages": str(counts.visible),
            "ApproximateNumberOfMessagesNotVisible": str(counts.in_flight),
            "ApproximateNumberOfMessagesDelayed": str(counts.delayed),
        }
        asked = request.get("AttributeNames", [])
        wanted = known if "All" in asked else {key: known[key] for key in asked if key in known}
        return {"Attributes": wanted} if wanted else {}

    def set_queue_attributes(self, request: Request) -> None:
        queue = self._queue(request)
        raw = {**queue.raw, **request["Attributes"]}
        attributes = rules.attributes_of(raw)
        queue.raw, queue.changed_at = raw, request.now
        queue.coming.append((request.now + self._knobs.attributes_lag, attributes))
        queue.pass_time(request.now)

    def list_dead_letter_source_queues(self, request: Request) -> Answer:
        name = self._queue(request).name
        sources = [each for each in self._queues.values() if each.now_holds.dead_letters == name]
        return {"queueUrls": [self._url(each.name) for each in sources]}

    def tag_queue(self, request: Request) -> None:
        self._queue(request).tags.update(request["Tags"])

    def untag_queue(self, request: Request) -> None:
        for key in request["TagKeys"]:
            self._queue(request).tags.pop(key, None)

    def list_queue_tags(self, request: Request) -> Answer:
        tags = self._queue(request).tags
        return {"Tags": dict(tags)} if tags else {}

    # ---------------------------------------------------------------------------------- messages

    def send_message(self, request: Request) -> Answer:
        name = self._name(request["QueueUrl"])
        if name in self._deleted and name not in self._queues:
            return self._vanish(request)
        return self._send(self._queue(request), request.params, request.now)

    def send_message_batch(self, request: Request) -> Answer:
        queue = self._queue(request)
        rules.check_batch(request["Entries"])
        rules.check_batch_size(request["Entries"])
        return self._each(request, lambda entry: self._send(queue, entry, request.now))

    def receive_message(self, request: Request) -> Answer | Later:
        queue = self._queue(request)
        limit = rules.within("MaxNumberOfMessages", request.get("MaxNumberOfMessages", 1), 1, 10)
        wait = request.get("WaitTimeSeconds", queue.now_holds.wait)
        until = request.begun + rules.within("WaitTimeSeconds", wait, 0, 20)
        timeout = request.get("VisibilityTimeout", queue.now_holds.visibility)
        rules.within("VisibilityTimeout", timeout, 0, LONGEST_VISIBILITY)
        if queue.in_flight >= self._knobs.in_flight:
            raise Refused("OverLimit", "Too many messages are in flight.", 403)
        found = queue.pick(limit, self.random, self._knobs, everywhere=wait > 0)
        found = [each for each in found if not self._buried(queue, each)]
        if not found and request.now < until:
            return Later(min(until, max(queue.next_change(), request.now + 0.001)))
        messages = [self._give(queue, each, timeout, request) for each in found]
        return {"Messages": messages} if messages else {}

    def delete_message(self, request: Request) -> None:
        self._delete(self._queue(request), request["ReceiptHandle"], request.now)

    def delete_message_batch(self, request: Request) -> Answer:
        queue = self._queue(request)
        rules.check_batch(request["Entries"])
        return self._each(
            request, lambda entry: self._delete(queue, entry["ReceiptHandle"], request.now)
        )

    def change_message_visibility(self, request: Request) -> None:
        self._change(self._queue(request), request.params, request.now)

    def change_message_visibility_batch(self, request: Request) -> Answer:
        queue = self._queue(request)
        rules.check_batch(request["Entries"])
        return self._each(request, lambda entry: self._change(queue, entry, request.now))

    # ------------------------------------------------------------------------------------- parts

    def _send(self, queue: Queue, entry: Mapping[str, Any], now: float) -> Answer:
        body, attributes = entry["MessageBody"], dict(entry.get("MessageAttributes", {}))
        rules.check_message(body, attributes, queue.now_holds.largest)
        delay = entry.get("DelaySeconds", queue.now_holds.delay)
        rules.within("DelaySeconds", delay, 0, 900)
        delay += self.random.uniform(0, self._knobs.sending_takes)
        message_id = f"{next(self._numbers):08x}-0000-4000-8000-{self.random.getrandbits(48):012x}"
        group = entry.get("MessageGroupId")
        message = Message(message_id, body, attributes, group, now, now + delay)
        if not self.chance(self._knobs.lost):
            queue.add(message)
            queue.pass_time(now)
        return _sent(message_id, body)

    def _vanish(self, request: Request) -> Answer:
        """Send to a queue that was just deleted: within a minute it may succeed, for nothing."""
        if self.chance(0.5):
            raise self._no_queue()
        return _sent("00000000-0000-4000-8000-000000000000", request["MessageBody"])

    def _give(self, queue: Queue, message: Message, timeout: int, request: Request) -> Answer:
        now = request.now
        handle = f"{message.id}#{next(self._numbers)}"
        soon = min(timeout, _SOON)
        doubled = timeout > 0 and self.chance(self._knobs.doubled)
        until = now + (self.random.uniform(0, soon) if doubled else timeout)
        queue.receive(message, handle, now, until)
        queue.pass_time(now)
        answer: Answer = {
            "MessageId": message.id,
            "ReceiptHandle": handle,
            "MD5OfBody": _md5(message.body),
            "Body": message.body,
        }
        asked = {
            *request.get("AttributeNames", []),
            *request.get("MessageSystemAttributeNames", []),
        }
        system = {
            "SenderId": self.account,
            "SentTimestamp": str(int(message.sent_at * 1000)),
            "ApproximateReceiveCount": str(message.receives),
            "ApproximateFirstReceiveTimestamp": str(int(message.first_received_at * 1000)),
            **({"MessageGroupId": message.group} if message.group else {}),
        }
        if wanted := {key: text for key, text in system.items() if {key, "All"} & asked}:
            answer["Attributes"] = wanted
        names = request.get("MessageAttributeNames", [])
        if chosen := _chosen(message.attributes, names):
            answer["MessageAttributes"] = chosen
        return answer

    def _buried(self, queue: Queue, message: Message) -> bool:
        """Move a message to the dead-letter queue if it was received too often: only now."""
        holds = queue.now_holds
        dead = self._queues.get(holds.dead_letters or "")
        if dead is None or message.receives < holds.max_receives:
            return False
        queue.forget(message)
        message.receives, message.handle = 0, ""
        message.visible_at = self.clock.wall()
        dead.add(message, moved=True)
        dead.pass_time(message.visible_at)
        return True

    def _delete(self, queue: Queue, handle: str, now: float) -> None:
        message = self._held(queue, handle)
        if message is None:
            return
        if message.handle != handle and not self.chance(self._knobs.stale_deletes):
            return
        if self.chance(self._knobs.resurrected):
            queue.hide(message, now + self.random.uniform(0, _SOON))
            message.handle = ""
        else:
            queue.remove(message)

    def _change(self, queue: Queue, entry: Mapping[str, Any], now: float) -> None:
        handle, timeout = entry["ReceiptHandle"], entry.get("VisibilityTimeout", 0)
        rules.within("VisibilityTimeout", timeout, 0, LONGEST_VISIBILITY)
        message = self._held(queue, handle)
        if message is None or message.handle != handle:
            raise Refused(
                "InvalidParameterValue",
                f"Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not"
                " exist or is not available for visibility timeout change.",
            )
        if not queue.is_in_flight(message):
            raise Refused("MessageNotInflight", "The message is not in flight.")
        if now + timeout > message.received_at + LONGEST_VISIBILITY:
            raise Refused(
                "InvalidParameterValue",
                f"Total VisibilityTimeout for the message is beyond the limit [{LONGEST_VISIBILITY}"
                " seconds].",
            )
        queue.hide(message, now + timeout)
        queue.pass_time(now)

    def _held(self, queue: Queue, handle: str) -> Message | None:
        message_id, mark, _ = handle.partition("#")
        if not mark:
            raise Refused(
                "ReceiptHandleIsInvalid", f"The receipt handle {handle!r} is not valid.", 404
            )
        return queue.find(message_id)

    def _each(self, request: Request, act: Callable[[Mapping[str, Any]], Answer | None]) -> Answer:
        """Carry out the entries of a batch, each for itself; the answer is good in any case."""
        good: list[Answer] = []
        failed: list[Answer] = []
        for entry in request["Entries"]:
            try:
                if self.chance(self._knobs.entry_fails):
                    raise Refused("InternalError", "We encountered an internal error.", 500)
                good.append({"Id": entry["Id"], **(act(entry) or {})})
            except Refused as refused:
                failed.append(
                    {
                        "Id": entry["Id"],
                        "SenderFault": refused.status < 500,
                        "Code": self.codes.get(refused.code, refused.code),
                        "Message": refused.message,
                    }
                )
        parts = {"Successful": good, "Failed": failed}
        return {name: part for name, part in parts.items() if part}

    def _url(self, name: str) -> str:
        return f"https://sqs.{self.region}.amazonaws.com/{self.account}/{name}"

    def _name(self, url: str) -> str:
        return url.rpartition("/")[2]

    def _queue(self, request: Request) -> Queue:
        return self._known(self._name(request["QueueUrl"]))

    def _known(self, name: str) -> Queue:
        if name not in self._queues:
            raise self._no_queue()
        return self._queues[name]

    def _no_queue(self) -> Refused:
        return Refused("QueueDoesNotExist", "The specified queue does not exist.")


def _sent(message_id: str, body: str) -> Answer:
    return {"MessageId": message_id, "MD5OfMessageBody": _md5(body)}


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def _chosen(attributes: dict[str, Any], names: list[str]) -> dict[str, Any]:
    if {"All", ".*"} & set(names):
        return attributes
    return {key: value for key, value in attributes.items() if key in names}
