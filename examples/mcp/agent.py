#!/usr/bin/env python3
"""Runs a program on the server as an agent does: over the Model Context Protocol.

    prn workspace create agent
    python3 -m venv .venv && . .venv/bin/activate && pip install -r requirements.txt
    python3 agent.py

`prn mcp` finds the server as every prn does: by the variables PRN_ADDRESS, PRN_CLIENT_CERT,
PRN_SERVER_CERT and PRN_TLS_KEY_FILE.
"""

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters

PROGRAM = """#!/bin/sh
echo hello from the agent
"""


async def main() -> int:
    server = StdioServerParameters(
        command="prn", args=["mcp", "--workspace", "agent"], env=dict(os.environ)
    )
    async with Client(server) as client:
        await call(client, "write_file", path="hello", text=PROGRAM, executable=True)
        ran = await call(client, "run", argv=["./hello"], timeout="60s", max_bytes=4096)
        output = ran["output"]
        while True:
            for piece in output["output"]:
                sys.stdout.write(piece.get("text", ""))
            if output["complete"]:
                break
            # A part of it: there is more, or it is still written.
            output = await call(
                client, "output", process=ran["id"], **{"from": output["next_offset"]}, wait="30s"
            )
        print("exit code", output["exit"]["code"])
        return output["exit"]["code"]


async def call(client: Client, tool: str, **arguments: object) -> dict:
    """The tool's answer. An error says what to do next: an agent reads it, this one gives up."""
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        sys.exit(f"{tool}: {result.structured_content}")
    return result.structured_content


sys.exit(asyncio.run(main()))
