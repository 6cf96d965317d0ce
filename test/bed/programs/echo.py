"""Echoes TCP and UDP on one address and port, and prints who came. Usage: echo.py ADDRESS PORT"""

import asyncio
import sys


async def serve(reader, writer):
    host, port = writer.get_extra_info("peername")[:2]
    print("tcp", host, port)
    try:
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
        print("end", host, port)
    except OSError as error:
        print("error", host, port, type(error).__name__)
    writer.close()


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, client):
        print("udp", client[0], client[1], len(data))
        self.transport.sendto(data, client)


async def main(address, port):
    await asyncio.start_server(serve, address, port, backlog=4096)
    await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, local_addr=(address, port))
    print("ready")
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
