"""The client's side of the engine on a cloud, put together. Knows no sockets and no SDK."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial

from cloudfn.clock import Clock, SystemClock
from cloudfn.control.deploy.directory import Directory
from cloudfn.control.invocation.apps import Apps
from cloudfn.control.invocation.attendance import Attendance
from cloudfn.control.invocation.caller import Caller, Tell
from cloudfn.control.invocation.calls import Calls
from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.invocation.crew import Crew
from cloudfn.control.invocation.fleet import FleetView
from cloudfn.control.invocation.operations.apps import AppOperations
from cloudfn.control.invocation.operations.calls import CallOperations
from cloudfn.control.invocation.operations.containers import ContainerOperations
from cloudfn.control.invocation.operations.functions import FunctionOperations
from cloudfn.control.invocation.operations.images import ImageOperations
from cloudfn.control.invocation.operations.output import OutputOperations
from cloudfn.control.invocation.operations.schedules import ScheduleOperations
from cloudfn.control.invocation.operations.stores import ObjectOperations, VolumeOperations
from cloudfn.control.invocation.operations.table import Operations
from cloudfn.control.invocation.pools import Pools
from cloudfn.control.invocation.stores import open_stores
from cloudfn.control.operations import Fields
from cloudfn.control.stores.later import now_given
from cloudfn.control.stores.operations import DictOperations, QueueOperations, SecretOperations
from cloudfn.providers.base import Cloud, Place
from cloudfn.wire.messages import BlobRef

_log = logging.getLogger(__name__)

#: seconds that a front which is closed waits for what is under way, and as many for its own leave
_LAST_WORDS = 4.0


class Front:
    """All clients of one process, in one environment. Safe to share between threads.

    Args:
        cloud: The ports, opened at `place`.
        place: From where, with limits and how long clients may be away.
        clock: The time.
    """

    def __init__(self, cloud: Cloud, place: Place, clock: Clock | None = None) -> None:
        settings = place.settings
        self.cloud = cloud
        self.environment = settings.environment
        #: where sources are stored before machines get them
        self.bundles = place.cache / "bundles"
        self.clock = clock or SystemClock()
        self.crew = Crew("cloudfn-front")
        self.directory = Directory(cloud.catalog)
        self.pools = Pools(self.directory, self.clock)
        self.attendance = Attendance(
            cloud.presence, place.holder, self.clock, settings.client_grace
        )
        self.calls = Calls(cloud, self.pools, self.crew, self.clock, self.attendance)
        self.apps = Apps(cloud, self.directory, self.clock, self.pools.forget)
        self.fleet = FleetView(cloud.machines, self.clock)
        self.stores = open_stores(cloud, settings, self.clock)
        #: app → the most containers that were seen while somebody watched
        self.peaks: dict[str, int] = {}
        self.output = OutputOperations(self)
        self.images = ImageOperations(self)
        self._operations = Operations(
            [
                AppOperations(self),
                FunctionOperations(self),
                ContainerOperations(self),
                CallOperations(self),
                ObjectOperations(self),
                SecretOperations(self.stores.secrets, self.clock),
                VolumeOperations(self.stores.volumes, self.clock),
                DictOperations(self.stores.dicts, self.clock),
                QueueOperations(self.stores.queues, self.clock, now_given),
                self.images,
                self.output,
                ScheduleOperations(self),
            ]
        )

    def converse(self, caller: Caller, tell: Tell) -> Conversation:
        """Return a conversation with one client.

        Args:
            caller: Who speaks.
            tell: Hears what we say, from any thread; it must not block for long.
        """
        return Conversation(self, caller, tell)

    def answer(self, conversation: Conversation, fields: Fields) -> Fields:
        """Answer one request; blocks as long as it takes, and raises an Error."""
        return self._operations.answer(conversation, fields)

    def send(self, caller: Caller, refs: Iterable[BlobRef]) -> None:
        """Bring payloads in a caller's files to the depot."""

        def store(ref: BlobRef) -> None:
            self.cloud.depot.store(ref, caller.files.path(ref))
            caller.files.drop(ref)

        self.crew.map(store, refs)

    def fetch(self, caller: Caller, refs: Iterable[BlobRef]) -> None:
        """Bring payloads from the depot to where a caller reads them."""
        self.crew.map(lambda ref: self.calls.deliveries.bring(caller, ref), refs)

    def drop_object(self, conversation: Conversation, object_id: str) -> None:
        """Delete an object with everything in it. Idempotent."""
        conversation.objects.pop(object_id, None)
        self.stores.registry.delete(object_id)
        self.attendance.disown(object_id)

    def close(self, patience: float = _LAST_WORDS) -> None:
        """Wait a moment for what is under way, then hear of nothing more. Idempotent.

        What is not done by then is for the planner: this client's lease ends by itself. The cloud
        is left to whoever opened it.

        Args:
            patience: Seconds to wait for what is under way, and as many for the leave.
        """
        if self.crew.closed:
            return
        settled = self.crew.settle(patience)
        left = self.crew.finish(partial(self.calls.close, leave=settled), patience)
        if not (settled and left):
            _log.warning(
                "The cloud does not answer in time: what this client leaves is ended when its"
                " lease is over."
            )
        self.crew.close()
