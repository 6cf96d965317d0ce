"""Opens COUNT connections to an echo server, and only when all are open sends BYTES of its own on each and checks every byte that comes
back. Prints `before`, `open`, `checked` and `closed`, and waits for a line of input after each. Usage: many.py ADDRESS PORT COUNT BYTES"""

import asyncio
import random
import resource
import sys

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def step(word):
    print(word, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def exchange(index, reader, writer, size):
    sent = random.Random(index).randbytes(size)

    async def send():
        for start in range(0, size, 8192):
            writer.write(sent[start : start + 8192])
            await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    received = await reader.read(-1)
    await sending
    if received != sent:
        raise SystemExit(f"connection {index}: {len(received)} bytes came back, or other ones")


async def main(address, port, count, size):
    await step("before")
    streams = await asyncio.gather(*(asyncio.open_connection(address, port) for _ in range(count)))
    await step("open")
    await asyncio.gather(*(exchange(index, *stream, size) for index, stream in enumerate(streams)))
    await step("checked")
    for _, writer in streams:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in streams))
    await step("closed")


asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
