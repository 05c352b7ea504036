"""SQS queues by name: made, removed, and messages sent, received and forgotten in tens. Thin I/O.

Whatever is sent may come twice, late, in any order; nobody here relies on more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from threading import Lock
from typing import Any, NamedTuple

from cloudfn.clock import Clock
from cloudfn.errors import AlreadyExistsError, ExecutionError, InvalidError, NotFoundError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.errors import Where, explained
from cloudfn.providers.aws.retries import to_the_last

#: messages of one request, and bytes; SQS allows 1,048,576, and counts no more than bodies
BATCH = 10
BATCH_BYTES = 1_000_000
#: seconds for which the name of a deleted queue is taken, and then some; and between two tries
NAME_IS_TAKEN = 75.0
_PAUSE = 5.0
#: queues whose URL is remembered
_URLS = 10_000


class Message(NamedTuple):
    """One that was received and is not forgotten yet."""

    body: str
    #: names this delivery
    handle: str


class Sqs:
    """The queues of an account and region. Safe to share between threads; blocks.

    Args:
        clients: Where the client comes from.
        clock: Waits between two tries.
        random: Spreads the waits.
    """

    def __init__(self, clients: ClientSource, clock: Clock, random: Random) -> None:
        self._clients = clients
        self._clock = clock
        self._random = random
        self._urls: dict[str, str] = {}
        self._lock = Lock()

    def create(
        self,
        name: str,
        attributes: Mapping[str, str],
        tags: Mapping[str, str],
        patience: float = NAME_IS_TAKEN,
    ) -> None:
        """Have a queue with these attributes and tags. Idempotent.

        Args:
            name: Of the queue.
            attributes: As SQS names them.
            tags: Beside those that it may have.
            patience: Seconds to wait where its name is taken by one that was deleted.

        Raises:
            ExecutionError: It was deleted so recently that its name stays taken.
        """
        until = self._clock.monotonic() + patience
        while True:
            try:
                with explained("sqs", "CreateQueue", f"queue {name}"):
                    answer = self._client.create_queue(
                        QueueName=name, Attributes=dict(attributes), tags=dict(tags)
                    )
                self._remember(name, answer["QueueUrl"])
                return
            except AlreadyExistsError:
                with self._asking("SetQueueAttributes", name) as url:
                    self._client.set_queue_attributes(QueueUrl=url, Attributes=dict(attributes))
                self.tag(name, tags)
                return
            except ExecutionError as error:
                if self._clock.monotonic() >= until:
                    raise ExecutionError(
                        f"The queue {name} was deleted a moment ago, and SQS does not let it be"
                        " made again yet.",
                        hint="Do it again in a minute.",
                    ) from error
            self._clock.sleep(_PAUSE)

    def delete(self, name: str) -> None:
        """Have no such queue. Idempotent."""
        try:
            with self._asking("DeleteQueue", name) as url:
                self._client.delete_queue(QueueUrl=url)
        except NotFoundError:
            return
        self._forget_url(name)

    def names(self, prefix: str) -> list[str]:
        """Return the names of all queues that begin so."""
        found: list[str] = []
        with explained("sqs", "ListQueues", f"queues {prefix}*"):
            pages = self._client.get_paginator("list_queues").paginate(
                QueueNamePrefix=prefix, PaginationConfig={"PageSize": 1_000}
            )
            for page in pages:
                found += [url.rpartition("/")[2] for url in page.get("QueueUrls", ())]
        return found

    def tag(self, name: str, tags: Mapping[str, str]) -> None:
        """Set tags of a queue; others stay.

        Raises:
            NotFoundError: There is no such queue.
        """
        with self._asking("TagQueue", name) as url:
            self._client.tag_queue(QueueUrl=url, Tags=dict(tags))

    def tags(self, name: str) -> dict[str, str]:
        """Return the tags of a queue.

        Raises:
            NotFoundError: There is no such queue.
        """
        with self._asking("ListQueueTags", name) as url:
            answer = self._client.list_queue_tags(QueueUrl=url)
        found: dict[str, str] = answer.get("Tags", {})
        return found

    def created(self, name: str) -> float:
        """Return when a queue was made, in seconds since the epoch.

        Raises:
            NotFoundError: There is no such queue.
        """
        with self._asking("GetQueueAttributes", name) as url:
            answer = self._client.get_queue_attributes(
                QueueUrl=url, AttributeNames=["CreatedTimestamp"]
            )
        return float(answer["Attributes"]["CreatedTimestamp"])

    def send(self, name: str, bodies: Sequence[str]) -> None:
        """Send messages, in batches of up to ten; what a batch leaves undone is sent again.

        Raises:
            NotFoundError: There is no such queue.
        """
        for batch in batches(bodies):
            self._each("SendMessageBatch", name, [("MessageBody", body) for body in batch])

    def receive(self, name: str, seconds: int, limit: int) -> list[Message]:
        """Wait for messages.

        Args:
            name: Of the queue.
            seconds: 0 to 20.
            limit: 1 to 10.

        Raises:
            NotFoundError: There is no such queue.
        """
        with self._asking("ReceiveMessage", name) as url:
            answer = self._client.receive_message(
                QueueUrl=url, MaxNumberOfMessages=limit, WaitTimeSeconds=seconds
            )
        return [Message(each["Body"], each["ReceiptHandle"]) for each in answer.get("Messages", ())]

    def forget(self, name: str, handles: Sequence[str]) -> None:
        """Delete messages that were received. Handles that are too old are passed over.

        Raises:
            NotFoundError: There is no such queue.
        """
        for at in range(0, len(handles), BATCH):
            entries = [("ReceiptHandle", handle) for handle in handles[at : at + BATCH]]
            self._each("DeleteMessageBatch", name, entries)

    @property
    def _client(self) -> Any:
        return self._clients.of("sqs")

    def _each(self, operation: str, name: str, entries: Sequence[tuple[str, str]]) -> None:
        """Ask for an operation on entries until none is left."""
        method = {
            "SendMessageBatch": "send_message_batch",
            "DeleteMessageBatch": "delete_message_batch",
        }[operation]
        where = Where("sqs", operation, f"queue {name}")

        def ask(left: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
            with self._asking(operation, name) as url:
                answer = getattr(self._client, method)(
                    QueueUrl=url,
                    Entries=[
                        {"Id": str(number), key: value} for number, (key, value) in enumerate(left)
                    ],
                )
            done = {each["Id"] for each in answer.get("Successful", ())}
            for each in answer.get("Failed", ()):
                if each["SenderFault"]:
                    _refuse(where, each)
                    done.add(each["Id"])
            # An entry that is in neither list counts as undone.
            return [each for number, each in enumerate(left) if str(number) not in done]

        to_the_last(ask, entries, where, self._clock, self._random)

    @contextmanager
    def _asking(self, operation: str, name: str) -> Iterator[str]:
        """Give the URL of a queue, and explain what goes wrong with it."""
        try:
            url = self._url(name)
            with explained("sqs", operation, f"queue {name}"):
                yield url
        except NotFoundError:
            self._forget_url(name)
            raise

    def _url(self, name: str) -> str:
        if (known := self._urls.get(name)) is None:
            with explained("sqs", "GetQueueUrl", f"queue {name}"):
                known = self._client.get_queue_url(QueueName=name)["QueueUrl"]
            self._remember(name, known)
        return known

    def _remember(self, name: str, url: str) -> None:
        with self._lock:
            if len(self._urls) >= _URLS:
                self._urls.clear()
            self._urls[name] = url

    def _forget_url(self, name: str) -> None:
        with self._lock:
            self._urls.pop(name, None)


def batches(bodies: Iterable[str]) -> Iterator[list[str]]:
    """Cut messages into batches that SQS takes. Pure.

    Args:
        bodies: ASCII texts, each small enough for a batch of its own.
    """
    batch: list[str] = []
    size = 0
    for body in bodies:
        if batch and (len(batch) == BATCH or size + len(body) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += len(body)
    if batch:
        yield batch


def with_policy(attributes: Mapping[str, str], policy: str, name: str) -> dict[str, str]:
    """Return attributes together with a queue's own policy. Pure.

    Args:
        attributes: Those of queues; their RedrivePolicy says in which account and region they are.
        policy: JSON, with %s where the queue's ARN goes; empty for none.
        name: Of the queue.

    Raises:
        InvalidError: There is a policy, and nothing that says where its queue is.
    """
    if not policy:
        return dict(attributes)
    try:
        dead = str(json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"])
    except (KeyError, ValueError, TypeError):
        raise InvalidError(
            f"The attributes of queues name no dead-letter queue, so that {name} can have no"
            " policy.",
            hint="Write the environment's outputs anew with `cloudfn infra apply`.",
        ) from None
    arn = f"{dead.rpartition(':')[0]}:{name}"
    return {**attributes, "Policy": policy.replace("%s", arn)}


def _refuse(where: Where, failed: Mapping[str, Any]) -> None:
    """Raise what is our own fault, unless it is a handle that is too old to matter."""
    if where.operation == "DeleteMessageBatch":
        return
    raise InvalidError(
        f"{where}: SQS refuses a message. {failed['Code']}: {failed.get('Message', '')}".rstrip(),
        hint="If it is not about the queue's own settings, this is a bug in cloudfn.",
    )
