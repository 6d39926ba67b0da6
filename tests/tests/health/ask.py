"""gRPC health checking and reflection of a prn server by grpclib, as any client does it. `check [SERVICE]`
prints the status, `watch` each status until the stream ends, `many N` how many of N watches are there at
once, `services` what the server has by its own words, and `call METHOD JSON` the answer to a call whose
messages are made from these words alone."""

import asyncio
import json
import os
import ssl
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpclib.reflection.v1.reflection_grpc import ServerReflectionStub
from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest

SERVICE = "proto.v1.ProcessRunnerService"


def connect():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.set_alpn_protocols(["h2"])
    tls.check_hostname = False
    tls.load_verify_locations(os.environ["PRN_SERVER_CERT"])
    tls.load_cert_chain(os.environ["PRN_CLIENT_CERT"], os.environ["PRN_TLS_KEY_FILE"])
    host, port = os.environ["PRN_ADDRESS"].rsplit(":", 1)
    return Channel(host, int(port), ssl=tls)


def name(answer):
    return HealthCheckResponse.ServingStatus.Name(answer.status)


async def watch(stub, service, told):
    async with stub.Watch.open() as stream:
        await stream.send_message(HealthCheckRequest(service=service), end=True)
        async for answer in stream:
            told(name(answer))


async def reflected(channel, **question):
    stub = ServerReflectionStub(channel)
    (answer,) = await stub.ServerReflectionInfo([ServerReflectionRequest(**question)])
    if answer.HasField("error_response"):
        raise SystemExit(answer.error_response.error_message)
    return answer


async def call(channel, name, words):
    answer = await reflected(channel, file_containing_symbol=SERVICE)
    files = {}
    waiting = list(answer.file_descriptor_response.file_descriptor_proto)
    while waiting:
        file = descriptor_pb2.FileDescriptorProto.FromString(waiting.pop())
        files[file.name] = file
        for needed in set(file.dependency) - set(files):
            answer = await reflected(channel, file_by_filename=needed)
            waiting.extend(answer.file_descriptor_response.file_descriptor_proto)
    pool = descriptor_pool.DescriptorPool()

    def add(file):
        for needed in file.dependency:
            if needed in files:
                add(files.pop(needed))
        pool.Add(file)

    while files:
        add(files.popitem()[1])
    method = pool.FindServiceByName(SERVICE).methods_by_name[name]
    request = message_factory.GetMessageClass(method.input_type)
    reply = message_factory.GetMessageClass(method.output_type)
    ask = UnaryUnaryMethod(channel, f"/{SERVICE}/{name}", request, reply)
    return await ask(json_format.ParseDict(json.loads(words), request()))


async def main():
    what, *rest = sys.argv[1:]
    channel = connect()
    stub = HealthStub(channel)
    try:
        if what == "check":
            answer = await stub.Check(HealthCheckRequest(service=rest[0] if rest else ""))
            print(name(answer))
        elif what == "watch":
            await watch(stub, rest[0] if rest else "", lambda status: print(status, flush=True))
        elif what == "services":
            answer = await reflected(channel, list_services="*")
            for service in answer.list_services_response.service:
                print(service.name)
        elif what == "call":
            print(json_format.MessageToJson(await call(channel, *rest)))
        else:
            told, refused = [], []

            async def one():
                try:
                    await watch(stub, "", told.append)
                except GRPCError as error:
                    refused.append(error.status.name)

            tasks = [asyncio.create_task(one()) for _ in range(int(rest[0]))]
            while len(told) + len(refused) < len(tasks):
                await asyncio.sleep(0.05)
            print(len(told), *sorted(set(refused)), flush=True)
            for task in tasks:
                task.cancel()
    except GRPCError as error:
        print(error.status.name, error.message)
    except StreamTerminatedError as error:
        print("UNAVAILABLE", error)
    finally:
        channel.close()


asyncio.run(main())
