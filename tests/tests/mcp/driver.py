"""An agent as the test says: calls tools of `prn mcp`, through the MCP library of Python.

Each line of standard input is a call, {"tool": …, "arguments": {…}}; each line of standard output is
its answer. The first line is what the server says of itself.
"""

import asyncio
import json
import os
import sys

from mcp import Client, MCPError, StdioServerParameters


async def main() -> None:
    server = StdioServerParameters(
        command=sys.argv[1], args=sys.argv[2:], env=dict(os.environ)
    )
    async with Client(server) as client:
        listed = await client.list_tools()
        tools = [tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.tools]
        say({"name": client.server_info.name, "instructions": client.instructions, "tools": tools})
        lines = asyncio.StreamReader(limit=1 << 24)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            call = json.loads(line)
            try:
                told = []

                async def tell(progress: float, total: float | None, message: str | None) -> None:
                    told.append(progress)

                result = await client.call_tool(
                    call["tool"], call.get("arguments"), progress_callback=tell
                )
                value = result.structured_content
                say({"is_error": result.is_error, "value": value, "progress": told})
            except MCPError as error:
                say({"protocol_error": str(error)})


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


asyncio.run(main())
