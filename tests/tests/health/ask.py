"""gRPC health checking of a prn server by grpclib, as any client does it. `check [SERVICE]` prints the
status, `watch` each status until the stream ends, and `many N` how many of N watches are there at once."""

import asyncio
import os
import ssl
import sys

from grpclib.client import Channel
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse


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
