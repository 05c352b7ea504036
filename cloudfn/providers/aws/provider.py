"""The `Cloud` on AWS: all adapters, put together from what Terraform says of an environment."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import SystemRandom

from cloudfn.clock import Clock, SystemClock
from cloudfn.providers.aws.catalog import DynamoCatalog
from cloudfn.providers.aws.clients import Access, Clients, ClientSource
from cloudfn.providers.aws.depot import S3Depot
from cloudfn.providers.aws.dicts import DynamoDicts
from cloudfn.providers.aws.doorbells import SqsDoorbells
from cloudfn.providers.aws.fleet import AutoScalingFleet
from cloudfn.providers.aws.images import PlatformImages, deployed_images, machine_images
from cloudfn.providers.aws.keys import load_key
from cloudfn.providers.aws.leadership import DynamoLeadership
from cloudfn.providers.aws.ledger.ledger import DynamoLedger
from cloudfn.providers.aws.logs import CloudWatchLogs
from cloudfn.providers.aws.machines import DynamoMachines
from cloudfn.providers.aws.objects import DynamoObjects
from cloudfn.providers.aws.outputs import Outputs, read_outputs
from cloudfn.providers.aws.overrides import SsmScheduledSettings
from cloudfn.providers.aws.presence import DynamoPresence
from cloudfn.providers.aws.queues import DynamoQueues
from cloudfn.providers.aws.reach import SessionManager
from cloudfn.providers.aws.schedule_records import ScheduleRecords
from cloudfn.providers.aws.schedules import Aims, AwsSchedules
from cloudfn.providers.aws.secrets import SsmSecrets
from cloudfn.providers.aws.streams import DynamoStreams
from cloudfn.providers.aws.table import Table
from cloudfn.providers.aws.volumes import S3Volumes
from cloudfn.providers.aws.wakeups import SqsWakeups
from cloudfn.providers.aws.waking import LambdaWaking
from cloudfn.providers.base import Cloud, Place
from cloudfn.providers.docker.images import Site
from cloudfn.providers.fleet import PLATFORMS
from cloudfn.providers.images import Images
from cloudfn.providers.runtime_folder import RuntimeFolder
from cloudfn.wire.seals import DeferredSeals, input_seals, result_seals

#: what the system of a machine calls itself, where that is not the name of its architecture
_SYSTEMS = {"aarch64": "arm64"}


def open_cloud(place: Place) -> Cloud:
    """Open an environment on AWS; asks Parameter Store where everything is.

    Raises:
        NotFoundError: There is no such environment in this account and region.
        Error: AWS refuses; the message says which permission is missing.
    """
    clients = Clients(Access(region=place.settings.region))
    ssm, environment = clients.of("ssm"), place.settings.environment
    outputs = read_outputs(ssm, environment, clients.region)

    @cache
    def key() -> bytes:
        return load_key(ssm, environment).secret

    return put_together(clients, outputs, key, place, clients.close)


def put_together(
    clients: ClientSource,
    outputs: Outputs,
    key: Callable[[], bytes],
    place: Place,
    close: Callable[[], None],
    clock: Clock | None = None,
) -> Cloud:
    """Return the cloud of an environment; nothing is asked of AWS.

    Args:
        clients: Where clients come from.
        outputs: Where everything is.
        key: Gives the environment's key, which not every role may read.
        place: From where it is used.
        close: Ends the clients.
        clock: What time it is.
    """
    clock, random = clock or SystemClock(), SystemRandom()
    settings, table = place.settings, outputs.table
    tags = {"cloudfn:environment": outputs.environment, "cloudfn:managed-by": "cloudfn"}
    queues = outputs.queues
    inputs = DeferredSeals(lambda: input_seals(key()))
    results = DeferredSeals(lambda: result_seals(key()))
    pools = f"/cloudfn/{outputs.environment}/pools"
    return Cloud(
        name="aws",
        ledger=DynamoLedger(clients, table, place.holder, inputs, results, settings.limits, clock),
        doorbells=SqsDoorbells(
            clients,
            queues.prefix,
            queues.attributes,
            queues.policy,
            tags=tags,
            clock=clock,
            random=random,
        ),
        wakeups=SqsWakeups(
            clients,
            queues.prefix,
            queues.attributes,
            queues.policy,
            tags=tags,
            key=key,
            clock=clock,
            random=random,
        ),
        depot=S3Depot(
            clients,
            outputs.bucket,
            key,
            writes_results=place.on_machine,
            clock=clock,
            random=random,
        ),
        machines=DynamoMachines(clients, table, clock),
        presence=DynamoPresence(clients, table, clock),
        fleet=AutoScalingFleet(clients, outputs.machines, clock),
        leadership=DynamoLeadership(clients, table, clock, LambdaWaking(clients, outputs.planner)),
        catalog=DynamoCatalog(clients, table, pools, clock, shows=not place.on_machine),
        logs=CloudWatchLogs(clients, outputs.log_group, clock),
        schedules=AwsSchedules(
            clients,
            ScheduleRecords(Table(clients, table, clock), clock),
            _aims(outputs, pools),
            clock,
        ),
        objects=DynamoObjects(clients, table, clock),
        dicts=DynamoDicts(clients, table, clock, settings.stores.dict_ttl),
        queues=DynamoQueues(
            clients, table, clock, settings.stores.queue_items, settings.stores.queue_partitions
        ),
        streams=DynamoStreams(clients, table, clock),
        secrets=SsmSecrets(clients, outputs.environment, clock, outputs.kms_key),
        volumes=S3Volumes(clients, table, outputs.bucket, place.cache / "volumes", clock),
        images=_images(clients, outputs, place),
        reach=SessionManager(clients, outputs.region),
        key=key,
        close=close,
        scheduled=SsmScheduledSettings(clients, pools),
    )


def platform_of(outputs: Outputs, system: str = "") -> str:
    """Return what images are built for where nobody says.

    Args:
        outputs: Which machines there are.
        system: What this machine is, where it is one of them; empty: it is none.

    Returns:
        What this machine is; else x86_64, unless all machines are arm64.
    """
    kinds = {group.architecture for group in outputs.machines.values()}
    own = _SYSTEMS.get(system, system)
    if own in kinds:
        return PLATFORMS[own]
    return PLATFORMS["arm64" if kinds == {"arm64"} else "x86_64"]


def _aims(outputs: Outputs, pools: str) -> Aims:
    partition = outputs.schedule_role.split(":")[1]
    planner = (
        f"arn:{partition}:lambda:{outputs.region}:{outputs.account_id}:function:{outputs.planner}"
    )
    return Aims(outputs.schedule_group, outputs.schedule_role, planner, pools)


def _images(clients: ClientSource, outputs: Outputs, place: Place) -> Images:
    docker = place.settings.docker
    site = Site(
        environment=outputs.environment,
        root=place.cache / "images",
        bundles=place.cache / "bundles",
        runtime=RuntimeFolder(place.cache / "runtime").path,
        base_image=docker.base_image,
        environ=docker.environ,
        owner="",
        platform=platform_of(outputs, platform.machine() if place.on_machine else ""),
    )
    if place.on_machine:
        return machine_images(clients, outputs.repository, site)
    found = {
        each: deployed_images(clients, outputs.repository, replace(site, platform=each))
        for each in PLATFORMS.values()
    }
    return PlatformImages(found, site.platform)
