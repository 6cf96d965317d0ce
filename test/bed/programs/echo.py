"""Echoes TCP and UDP on one port of one or more addresses, and prints who came: `tcp ADDRESS PORT`, `udp ADDRESS PORT
LENGTH`; then `end ADDRESS PORT BYTES` or `error ADDRESS PORT NAME`. Usage: echo.py PORT ADDRESS..."""

import asyncio
import socket
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


def datagram(server):
    """Not by asyncio, which sends no empty datagrams."""
    data, client = server.recvfrom(65536)
    print("udp", client[0], client[1], len(data))
    server.sendto(data, client)


async def main(port, addresses):
    for address in addresses:
        await asyncio.start_server(serve, address, port, backlog=4096)
        six = ":" in address
        server = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        if six:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((address, port))
        asyncio.get_running_loop().add_reader(server, datagram, server)
    print("ready")
    await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
