"""What a program that works on code does, from Python 3.11 or newer: see README.md in this folder.

    python3 agent.py DIRECTORY RESULTS    sends DIRECTORY to a workspace of its own, runs `make` and `make test` in it,
                                          brings what is in build/ back to RESULTS and removes the workspace
"""
import asyncio
import io
import os
import secrets
import signal
import ssl
import sys
import tarfile
from contextlib import asynccontextmanager

import process_runner_pb2 as v1
from grpclib.client import Channel
from process_runner_grpc import ProcessRunnerServiceStub

PIECE_MAX = 64 * 1024  # most bytes of one SendInputRequest
SEEN_MAX = 4000  # most bytes of a command's output that are looked at
FILES_MAX = 64 * 1024 * 1024  # and of results that are taken


def connect():
    """A channel, which connects when it is first used."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.set_alpn_protocols(["h2"])
    # The server's certificate is self-signed, so it is its own root. Its name says nothing: who has its key is the server.
    tls.check_hostname = False
    tls.load_verify_locations(os.environ["PRN_SERVER_CERT"])
    key = os.environ.get("PRN_TLS_KEY") or open(os.environ["PRN_TLS_KEY_FILE"]).read()
    reader, writer = os.pipe()  # Python takes a key from a file alone, and this one leaves nothing behind
    with open(writer, "w") as pipe:
        pipe.write(key)
    tls.load_cert_chain(os.environ["PRN_CLIENT_CERT"], f"/dev/fd/{reader}")
    host, port = os.environ.get("PRN_ADDRESS", "127.0.0.1:50051").rsplit(":", 1)
    return Channel(host.strip("[]"), int(port), ssl=tls)


@asynccontextmanager
async def workspace(server):
    """The name of a new workspace, which is removed with all that runs in it, whatever happens."""
    name = f"agent-{secrets.token_hex(8)}"
    await server.CreateWorkspace(v1.CreateWorkspaceRequest(name=name, disk_max_bytes=1 << 30))
    try:
        yield name
    finally:
        remove = v1.RemoveWorkspaceRequest(name=name, stop_processes=True, signal=v1.SIGNAL_SIGKILL)
        # Not cut short by whatever ends this program.
        await asyncio.shield(server.RemoveWorkspace(remove))


async def feed(server, process, data):
    """A process's whole standard input."""
    async with server.SendInput.open() as stream:
        await stream.send_message(v1.SendInputRequest(process_identifier=process, writer=secrets.token_hex(16), offset=0))
        for at in range(0, len(data), PIECE_MAX):
            await stream.send_message(v1.SendInputRequest(data=data[at : at + PIECE_MAX]))
        await stream.send_message(v1.SendInputRequest(end=True), end=True)
        await stream.recv_message()


async def frames(server, request):
    """What a request for output brings, up to the frame that says how the process ended."""
    async with server.GetOutput.open() as stream:
        await stream.send_message(request, end=True)
        async for frame in stream:
            yield frame
            if frame.HasField("end"):
                return
    raise RuntimeError("the output was cut off")


def exit_code(end):
    cause = end.exit_cause
    return cause.exit_code if cause.kind == v1.ExitCause.EXITED else 128 + cause.signal


async def run(server, name, *argv):
    """Runs a command in a workspace. Returns its exit code and the last bytes of its output, however much there is."""
    # The server keeps a part, and drops what is older: the command is not held up by anybody.
    start = v1.StartRequest(command=argv[0], args=argv[1:], workspace=name, output_max_bytes=1 << 20)
    start.timeout.seconds = 600
    process = (await server.Start(start)).response.id
    output, last = v1.GetOutputRequest(process_identifier=process, control_frames=True, tail_bytes=SEEN_MAX), bytearray()
    async for frame in frames(server, output):
        last += frame.data  # of both streams, in their order
        del last[:-SEEN_MAX]
    return exit_code(frame.end), last.decode(errors="replace")


async def whole(server, process):
    """Standard output of a process of which no byte is dropped. It must succeed."""
    output, said = bytearray(), bytearray()
    request = v1.GetOutputRequest(process_identifier=process, control_frames=True, follower=True)
    async for frame in frames(server, request):
        if frame.type == v1.GetOutputResponse.TYPE_STDERR:
            said += frame.data
        else:
            output += frame.data
        if len(output) + len(said) > FILES_MAX:
            raise RuntimeError(f"more than {FILES_MAX} bytes")
    if exit_code(frame.end) != 0:
        raise RuntimeError(said[-SEEN_MAX:].decode(errors="replace"))
    return output


async def tar(server, name, *arguments, data=None):
    """Runs tar(1) in a workspace, with its input or for its output, of which no byte is dropped."""
    start = v1.StartRequest(command="tar", args=arguments, workspace=name, output_policy=v1.OUTPUT_POLICY_FOLLOW)
    if data is not None:
        start.stdin = v1.STANDARD_INPUT_PIPE
    process = (await server.Start(start)).response.id
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(whole(server, process))
        if data is not None:
            group.create_task(feed(server, process, data))
    return reading.result()


def packed(directory):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as files:
        files.add(directory, arcname=".")
    return archive.getvalue()


def unpack(archive, directory):
    """What ran there may have put anything into it: `data` is the filter for what nobody trusts.
    It is not compressed: what is taken is not larger than what has come."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as files:
        files.extractall(directory, filter="data")


async def main(directory, results):
    # As an exception that goes through `workspace`, which Ctrl-C is already.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    async with connect() as channel:
        server = ProcessRunnerServiceStub(channel)
        async with workspace(server) as name:
            await tar(server, name, "-x", data=packed(directory))
            for argv in (["make"], ["make", "test"]):
                code, output = await run(server, name, *argv)
                print(f"$ {' '.join(argv)}\n{output}exit code {code}")
                if code != 0:
                    break
            unpack(await tar(server, name, "-c", "build"), results)
        return code


if len(sys.argv) != 3:
    sys.exit(__doc__)
try:
    sys.exit(asyncio.run(main(*sys.argv[1:])))
except (asyncio.CancelledError, KeyboardInterrupt):
    sys.exit("stopped: the workspace is removed")
