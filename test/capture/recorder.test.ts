/** A capture as tshark reads it: who is never asked by the code that writes it. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import test from "ava";
import { CaptureFilter } from "../../src/capture/filter.js";
import { Recorder, type RecorderOptions } from "../../src/capture/recorder.js";
import { Direction } from "../../src/link/capture.js";
import { frame, ipv4, ipv6, pseudoHeader, sum, u16, u32, udp } from "../simulation/frames.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "netns-rootless-"));
test.after.always(() => rmSync(folder, { recursive: true }));
let files = 0;

const CHECKING = ["ip", "tcp", "udp"].flatMap((protocol) => ["-o", `${protocol}.check_checksum:TRUE`]);

/** What tshark says of a capture: one row for each packet, of the fields that are asked for. */
function tshark(bytes: Uint8Array, ...fields: string[]): string[][] {
  const file = path.join(folder, `${++files}.pcapng`);
  writeFileSync(file, bytes);
  const args = [
    "-n",
    "-r",
    file,
    ...CHECKING,
    "-T",
    "fields",
    "-E",
    "separator=|",
    ...fields.flatMap((field) => ["-e", field]),
  ];
  const { stdout, stderr, status } = spawnSync("tshark", args, { encoding: "utf8", maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`tshark ended with ${status}: ${stderr}`);
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split("|"));
}

/** The same file, as the blocks that it is made of. */
function blocks(bytes: Uint8Array): string {
  const file = path.join(folder, `${++files}.pcapng`);
  writeFileSync(file, bytes);
  const args = ["-X", "read_format:MIME Files Format", "-V", "-r", file];
  return spawnSync("tshark", args, { encoding: "utf8", maxBuffer: 1 << 26 }).stdout;
}

/** A recorder on memory of its own, and a reader that takes at once, or when it is told to. */
class Rig {
  readonly memory = new Uint8Array(1 << 18);
  readonly chunks: Buffer[] = [];
  readonly recorder: Recorder;
  held: (() => void)[] = [];
  holds = false;
  closed = 0;
  fails: Error | null = null;
  failsToClose: Error | null = null;

  constructor(options: Partial<RecorderOptions> = {}, now = 5000.25) {
    this.recorder = new Recorder(
      {
        slab: this.memory.buffer as ArrayBuffer,
        nameOf: (link) => ["red", "blue", null][link] ?? null,
        epoch: 1_700_000_000_000.5,
        output: {
          write: (bytes, done) => {
            const take = () => {
              this.chunks.push(Buffer.from(bytes));
              done(this.fails);
            };
            if (this.holds) this.held.push(take);
            else setImmediate(take);
          },
          close: () => {
            this.closed++;
            return this.failsToClose;
          },
        },
        ...options,
      },
      now,
    );
  }

  frame(link: number, direction: Direction, bytes: Uint8Array, now = 5000.25): void {
    this.memory.set(bytes, 1000);
    this.recorder.frame(link, direction, 1000, bytes.length, now);
    this.memory.fill(0xdd); // the memory is another's when the turn is over
  }

  release(): void {
    for (const take of this.held.splice(0)) take();
  }

  async end() {
    this.recorder.finish();
    const summary = await this.recorder.ended;
    return { summary, bytes: Buffer.concat(this.chunks) };
  }
}

/** A TCP packet with an open checksum, in segments of `size` bytes where that is not 0. */
function segments(family: 4 | 6, payload: number, size: number): Uint8Array {
  const ends: [string, string] = family === 4 ? ["10.0.2.100", "198.51.100.7"] : ["fd00::100", "2001:db8::7"];
  const partial = 0xffff - sum(pseudoHeader(...ends, 6, 20 + payload));
  const header = [...u16(40000), ...u16(9), ...u32(1000), ...u32(1), 0x50, 16, 1, 0, ...u16(partial), 0, 0];
  const segment = Uint8Array.from([...header, ...Array.from({ length: payload }, (_, i) => i & 255)]);
  const packet = family === 4 ? ipv4({ protocol: 6, payload: segment }) : ipv6({ next: 6, payload: segment });
  const start = family === 4 ? 34 : 54;
  const gso = size === 0 ? 0 : family === 4 ? 1 : 4;
  return frame(family === 4 ? 0x0800 : 0x86dd, packet, undefined, undefined, {
    flags: 1,
    gso,
    size,
    start,
    offset: 16,
  });
}

function datagrams(payload: number, size: number): Uint8Array {
  const partial = 0xffff - sum(pseudoHeader("10.0.2.100", "198.51.100.7", 17, 8 + payload));
  const bytes = Uint8Array.from([
    ...u16(40000),
    ...u16(9),
    ...u16(8 + payload),
    ...u16(partial),
    ...new Array(payload).fill(7),
  ]);
  const vnet = { flags: 1, gso: 5, size, start: 34, offset: 6 };
  return frame(0x0800, ipv4({ protocol: 17, payload: bytes }), undefined, undefined, vnet);
}

const plain = (port: number): Uint8Array => frame(0x0800, ipv4({ protocol: 17, payload: udp(port, 9, [1, 2, 3]) }));

test("interfaces by name, directions, lengths, and times in nanoseconds", async (t) => {
  const rig = new Rig();
  rig.frame(0, Direction.Out, plain(1));
  rig.frame(1, Direction.In, plain(2), 5000.250001);
  rig.frame(2, Direction.In, plain(3), 5000.26);
  rig.frame(0, Direction.In, plain(4), 6001.0);
  const { bytes, summary } = await rig.end();
  const rows = tshark(
    bytes,
    "frame.interface_name",
    "frame.packet_flags_direction",
    "frame.len",
    "frame.time_epoch",
    "udp.srcport",
  );
  // 1,700,000,000,000.5 ms and 5,000.25 ms.
  t.deepEqual(
    rows.map((row) => row.map((field) => field.replace(/^0x0+(?=.)/, ""))),
    [
      ["red", "2", "45", "1700000005.000750000", "1"],
      ["blue", "1", "45", "1700000005.000750001", "2"],
      ["red", "1", "45", "1700000006.001500000", "4"],
    ],
  );
  t.deepEqual(summary, { seen: 3, accepted: 3, written: 3, dropped: 0, error: null });
  t.is(rig.closed, 1);
});

for (const family of [4, 6] as const) {
  test(`IPv${family}: open checksums are completed, super-frames stay whole, or are split as on a cable`, async (t) => {
    const whole = new Rig();
    const split = new Rig({ split: true });
    for (const rig of [whole, split]) {
      rig.frame(0, Direction.Out, segments(family, 100, 0));
      rig.frame(0, Direction.Out, segments(family, 60_000, 1400));
    }
    const fields = ["tcp.len", "tcp.seq_raw", "tcp.checksum.status", "_ws.malformed"];
    t.deepEqual(tshark((await whole.end()).bytes, ...fields), [
      ["100", "1000", "1", ""],
      ["60000", "1000", "1", ""],
    ]);
    const rows = tshark((await split.end()).bytes, ...fields);
    t.is(rows.length, 44);
    t.deepEqual(
      rows.slice(1).map(([length, seq]) => [Number(length), Number(seq)]),
      [...Array.from({ length: 42 }, (_, i) => [1400, 1000 + i * 1400]), [60_000 - 42 * 1400, 1000 + 42 * 1400]],
    );
    t.true(rows.every(([, , status, malformed]) => status === "1" && malformed === ""));
  });
}

test("datagrams are always split: several in one are none that anybody sent", async (t) => {
  const rig = new Rig();
  rig.frame(0, Direction.In, datagrams(2500, 1000));
  t.deepEqual(tshark((await rig.end()).bytes, "udp.length", "udp.checksum.status"), [
    ["1008", "1"],
    ["1008", "1"],
    ["508", "1"],
  ]);
});

test("a virtio header that lies changes nothing: the frame is shown as its sender made it", async (t) => {
  const rig = new Rig({ split: true });
  const odd = segments(4, 100, 0);
  odd[8] = 200; // the checksum's place
  odd[1] = 1;
  rig.frame(0, Direction.Out, odd);
  rig.frame(0, Direction.Out, Uint8Array.from([...new Array(12).fill(255), 1, 2, 3]));
  rig.frame(0, Direction.Out, new Uint8Array(5));
  t.deepEqual(tshark((await rig.end()).bytes, "frame.len"), [["154"], ["3"]]);
});

test("a filter is asked, and named; a snap length cuts what is kept; a count ends it", async (t) => {
  const rig = new Rig({ filter: new CaptureFilter("udp and not port 5"), snapLength: 50, count: 3 });
  for (const port of [4, 5]) rig.frame(0, Direction.Out, plain(port));
  rig.frame(1, Direction.Out, segments(4, 100, 0));
  rig.frame(1, Direction.Out, datagrams(2500, 1000)); // three of which two are wanted
  rig.frame(1, Direction.Out, plain(6));
  const { written, error } = await rig.recorder.ended;
  t.deepEqual([written, error], [3, null]);
  const bytes = Buffer.concat(rig.chunks);
  t.deepEqual(tshark(bytes, "frame.len", "frame.cap_len", "frame.interface_name"), [
    ["45", "45", "red"],
    ["1042", "50", "blue"],
    ["1042", "50", "blue"],
  ]);
  const text = blocks(bytes);
  t.regex(text, /udp and not port 5/);
  t.regex(text, /Snap Length: 50/);
});

test("a reader that stands still costs frames of the capture, which are counted; what it gets is sound", async (t) => {
  const rig = new Rig({ buffer: 65_536 });
  rig.holds = true;
  await new Promise((resolve) => setImmediate(resolve)); // the beginning of the file is on its way
  t.is(rig.held.length, 1);
  for (let i = 0; i < 1000; i++) rig.frame(i & 1, Direction.Out, plain(i));
  rig.frame(0, Direction.Out, segments(4, 60_000, 1400)); // never fits
  rig.release();
  rig.frame(1, Direction.Out, plain(60_000));
  rig.holds = false;
  rig.release();
  const { bytes, summary } = await rig.end();
  t.is(summary.seen, 1002);
  t.true(summary.dropped > 100 && summary.written > 500, JSON.stringify(summary));
  t.is(summary.written + summary.dropped, 1002);
  const rows = tshark(bytes, "udp.srcport", "_ws.malformed");
  t.is(rows.length, summary.written);
  t.deepEqual(rows.at(-1), ["60000", ""]);
  // What was lost stands at the end, for each interface.
  const dropped = [...blocks(bytes).matchAll(/Number of Dropped Packets: (\d+)|Drop(?:ped)?[^\n]*: (\d+)/g)].map(
    ([, a, b]) => Number(a ?? b),
  );
  t.is(
    dropped.reduce((total, each) => total + each, 0),
    summary.dropped,
    blocks(bytes).slice(-3000),
  );
});

test("an output that fails ends the capture and says why; nothing is written after that", async (t) => {
  const rig = new Rig();
  rig.fails = new Error("EPIPE");
  rig.frame(0, Direction.Out, plain(1));
  const summary = await rig.recorder.ended;
  t.is(summary.error, rig.fails);
  rig.frame(0, Direction.Out, plain(2));
  rig.recorder.finish();
  await new Promise((resolve) => setImmediate(resolve));
  t.deepEqual([rig.chunks.length, rig.closed], [1, 1]);
});

test("an output that cannot keep what it took says so when it is closed", async (t) => {
  const rig = new Rig();
  rig.failsToClose = new Error("EDQUOT");
  rig.frame(0, Direction.Out, plain(1));
  const { summary } = await rig.end();
  t.is(summary.error, rig.failsToClose);
});

test("a capture of nothing is a file all the same", async (t) => {
  const rig = new Rig();
  const { bytes, summary } = await rig.end();
  t.deepEqual(tshark(bytes, "frame.len"), []);
  t.is(summary.written, 0);
});
