"""Echoes TCP and UDP on one port of one or more addresses, and prints who came: `tcp ADDRESS PORT`, `udp ADDRESS PORT
LENGTH`; then `end ADDRESS PORT BYTES` or `error ADDRESS PORT NAME`. Usage: echo.py PORT ADDRESS..."""

import asyncio
import sys


async def serve(reader, writer):
    host, port = writer.get_extra_info("peername")[:2]
    print("tcp", host, port)
    echoed = 0
    try:
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
            echoed += len(block)
        print("end", host, port, echoed)
    except OSError as error:
        print("error", host, port, type(error).__name__)
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, client):
        print("udp", client[0], client[1], len(data))
        self.transport.sendto(data, client)


async def main(port, addresses):
    for address in addresses:
        await asyncio.start_server(serve, address, port, backlog=4096)
        await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, local_addr=(address, port))
    print("ready")
    await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
