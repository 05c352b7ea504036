"""A Terraform provider that knows a schema and nothing else: it validates and plans, and creates nothing.

    provider.py schema.json answers.json

Runs in an environment of its own, with the package `tf`, which has Terraform's plugin protocol. `answers`
are what data sources return, by type.
"""

import json
import sys
from pathlib import Path

import tf.provider
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc
from tf.runner import run_provider
from tf.types import Unknown
from tf.utils import read_dynamic_value, to_dynamic_value

_NESTING = {"single": 1, "list": 2, "set": 3}
_SCHEMA, _ANSWERS = (json.loads(Path(each).read_text()) for each in sys.argv[1:3])


class SchemaOnly(rpc.ProviderServicer):
    """What Terraform asks of a provider up to a plan."""

    def __init__(self, _provider):
        pass

    def GetProviderSchema(self, request, context):
        return pb.GetProviderSchema.Response(
            provider=pb.Schema(block=_block(_SCHEMA["provider"])),
            resource_schemas={
                name: pb.Schema(block=_block(each)) for name, each in _SCHEMA["resources"].items()
            },
            data_source_schemas={
                name: pb.Schema(block=_block(each)) for name, each in _SCHEMA["data"].items()
            },
        )

    def ValidateProviderConfig(self, request, context):
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request, context):
        return pb.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, request, context):
        return pb.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request, context):
        return pb.ConfigureProvider.Response()

    def PlanResourceChange(self, request, context):
        planned = read_dynamic_value(request.proposed_new_state)
        if planned is not None and read_dynamic_value(request.prior_state) is None:
            for name, each in _SCHEMA["resources"][request.type_name]["attributes"].items():
                if each.get("computed") and planned[name] is None:
                    planned[name] = Unknown
        return pb.PlanResourceChange.Response(planned_state=to_dynamic_value(planned))

    def ReadDataSource(self, request, context):
        state = read_dynamic_value(request.config)
        return pb.ReadDataSource.Response(
            state=to_dynamic_value({**state, **_ANSWERS[request.type_name]})
        )

    def StopProvider(self, request, context):
        return pb.StopProvider.Response()


def _block(block):
    return pb.Schema.Block(
        attributes=[
            pb.Schema.Attribute(
                name=name,
                type=json.dumps(each["type"]).encode(),
                required=each.get("required", False),
                optional=each.get("optional", False),
                computed=each.get("computed", False),
            )
            for name, each in block["attributes"].items()
        ],
        block_types=[
            pb.Schema.NestedBlock(
                type_name=name,
                block=_block(each["block"]),
                nesting=_NESTING[each["nesting"]],
                min_items=each["min"],
                max_items=each["max"],
            )
            for name, each in block["blocks"].items()
        ],
    )


if __name__ == "__main__":
    # The runner takes the class from there; everything else of it is what we want.
    tf.provider.ProviderServicer = SchemaOnly
    run_provider(None, sys.argv[:1])
