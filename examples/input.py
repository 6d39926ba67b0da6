"""Standard input and terminals of processes, from Python 3.11 or newer: see README.md in this folder.

    python3 input.py COMMAND [ARGUMENT…]    runs it with this program's standard input, and exits as it did
    python3 input.py --terminal             a short session at a terminal
"""
import asyncio
import os
import secrets
import ssl
import sys
import threading
from concurrent.futures import Future

import process_runner_pb2 as v1
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from process_runner_grpc import ProcessRunnerServiceStub

PIECE_MAX = 64 * 1024  # most bytes of one SendInputRequest


def connect():
    """A channel, which connects when it is first used, and again after a loss."""
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


async def surely(call, *arguments):
    """Calls, again while the server cannot be reached or replaces a part of itself (UNAVAILABLE)."""
    while True:
        try:
            return await call(*arguments)
        except (GRPCError, StreamTerminatedError, OSError) as error:
            if isinstance(error, BrokenPipeError) or getattr(error, "status", None) not in (None, Status.UNAVAILABLE):
                raise  # whoever read standard output has left, or the server has answered
            print(f"input.py: {error!r}: trying again", file=sys.stderr)
        await asyncio.sleep(1)


async def send(server, process, writer, offset, data):
    """One stream of input, which is answered when all of it is taken. Without data it ends the input."""
    async with server.SendInput.open() as stream:
        await stream.send_message(v1.SendInputRequest(process_identifier=process, writer=writer, offset=offset))
        for at in range(0, len(data), PIECE_MAX):
            await stream.send_message(v1.SendInputRequest(data=data[at : at + PIECE_MAX]))
        await stream.send_message(v1.SendInputRequest(end=not data), end=True)
        return await stream.recv_message()


async def in_thread(call, *arguments):
    """What a call returns that may take for ever: nobody waits for its thread when this program ends."""
    returned = Future()
    returned.set_running_or_notify_cancel()
    threading.Thread(target=lambda: returned.set_result(call(*arguments)), daemon=True).start()
    return await asyncio.wrap_future(returned)


async def feed(server, process, source):
    """Feeds a process with the bytes that an iterator gives, and ends its input after them.

    Data is kept until a stream with it was answered. After a loss it is sent again, under the same name, from the same
    offset: the server lets this stream take the old one's place and skips what it has taken, so no byte is lost or comes
    twice. If the server itself has lost how much that was, the call fails (DATA_LOSS)."""
    writer, answer = secrets.token_hex(16), v1.SendInputResponse(taken=0)
    while not (answer.ended or answer.closed):  # closed: nobody reads it any more
        data = await in_thread(next, source, b"")
        answer = await surely(send, server, process, writer, answer.taken, data)


async def follow(server, request):
    """Writes a process's output to this program's own; returns an exit code, not 0 if it was stopped."""
    async with server.GetOutput.open() as stream:
        await stream.send_message(request, end=True)
        async for frame in stream:
            if frame.HasField("gap"):
                sys.exit(f"input.py: output is missing: {frame.gap}")
            if frame.HasField("end"):
                cause = frame.end.exit_cause
                return cause.exit_code if cause.kind == v1.ExitCause.EXITED else 128 + cause.signal
            to = sys.stderr if frame.type == v1.GetOutputResponse.TYPE_STDERR else sys.stdout
            to.buffer.write(frame.data)
            to.flush()
            request.from_offset = frame.offset + len(frame.data)  # where to go on after a loss
    raise StreamTerminatedError("the output was cut off")


async def main(command, *arguments):
    async with connect() as channel:
        server = ProcessRunnerServiceStub(channel)
        # It waits rather than lose output that its follower has not had yet.
        start = v1.StartRequest(command=command, args=arguments, output_policy=v1.OUTPUT_POLICY_FOLLOW)
        start.stdin, source = v1.STANDARD_INPUT_PIPE, iter(lambda: os.read(0, 16 * PIECE_MAX), b"")
        if command == "--terminal":
            start.command, start.stdin = "sh", v1.STANDARD_INPUT_TERMINAL
            start.terminal_size.rows, start.terminal_size.columns = 24, 80
            source = iter([b"stty size; exit 3\n"])
        process = (await server.Start(start)).response.id
        if command == "--terminal":
            size = v1.TerminalSize(rows=50, columns=132)
            await server.ResizeTerminal(v1.ResizeTerminalRequest(process_identifier=process, terminal_size=size))
        output = v1.GetOutputRequest(process_identifier=process, control_frames=True, follower=True)
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(feed(server, process, source))
            code = await surely(follow, server, output)
            feeding.cancel()
        return code


sys.exit(asyncio.run(main(*sys.argv[1:])) if sys.argv[1:] else __doc__)
