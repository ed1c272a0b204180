"""A host that passes TCP connections on, as a router with mapped ports does.

python -m tests.support.forward 7600-7609=10.99.0.2:5600 5555=10.99.0.1:5555
"""

from __future__ import annotations

import asyncio
import sys


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


async def _map(port: int, host: str, there: int) -> asyncio.Server:
    async def connected(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            ways = await asyncio.open_connection(host, there)
        except OSError:  # nobody listens there now
            target.close()
            return
        await asyncio.gather(_copy(source, ways[1]), _copy(ways[0], target))

    return await asyncio.start_server(connected, "0.0.0.0", port)


async def _main(words: list[str]) -> None:
    for word in words:
        here, _, target = word.partition("=")
        first, _, last = here.partition("-")
        host, _, there = target.rpartition(":")
        for at in range(int(last or first) - int(first) + 1):
            await _map(int(first) + at, host, int(there) + at)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
