import test from "ava";
import { Bed, bracketed, PROGRAMS, WORLDS } from "../bed/bed.js";
import { nameServer, webServer } from "../bed/services.js";

const GIGABYTE = 1024 ** 3;
const SUM = `python3 ${PROGRAMS}/sha256.py`;

for (const world of WORLDS) {
  const { family, gateway, host, others, unreachable, web, webName } = world;
  const name = `IPv${family}`;
  test.serial(`${name}: a web page by name`, async (t) => {
    const bed = await Bed.create(t);
    await nameServer(bed);
    await webServer(bed, "internet", web);
    t.is(await bed.run(["curl", "-sS", `http://${webName}/`]).succeed(), `hello ${host}\n`);
  });

  test.serial(`${name}: ping of the gateway and of an outside address`, async (t) => {
    const bed = await Bed.create(t);
    const output = await bed.script(`ping -c2 -i0.2 -W2 ${gateway} && ping -c2 -i0.2 -W2 ${web}`).succeed();
    t.is(output.match(/2 received/g)?.length, 2, output);
  });

  test.serial(`${name}: ping of an address that nobody answers for tells so`, async (t) => {
    const bed = await Bed.create(t);
    const { code, stdout } = await bed.script(`ping -c1 -W3 ${unreachable}`).exit();
    t.is(code, 1);
    t.regex(stdout, /Unreachable/i);
  });

  test.serial(`${name}: the source address is the host's, or the one that was asked for`, async (t) => {
    const second = family === 6 ? "2001:db8:51::20" : "198.51.100.20";
    const bed = await Bed.create(t);
    await bed.admin(`ip address add ${second}/${family === 6 ? "64 nodad" : 24} dev eth0`);
    await webServer(bed, "internet", web);
    t.is(
      await bed.run(["curl", "-sS", `http://${bracketed(web)}/`], ["--outbound-addr", second]).succeed(),
      `hello ${second}\n`,
    );
    t.is(
      await bed.run(["curl", "-sS", `http://${bracketed(web)}/`], ["--outbound-addr", "eth0"]).succeed(),
      `hello ${family === 6 ? second : host}\n`,
      "the first that the kernel lists, which is the newest of IPv6",
    );
  });

  test.serial(`${name}: 1 GB each way with the same sum, while another flow stays responsive`, async (t) => {
    const bed = await Bed.create(t);
    const make = `mkdir /tmp/www && python3 ${PROGRAMS}/big.py ${GIGABYTE} >/tmp/www/big && ${SUM} </tmp/www/big`;
    const sum = (await bed.host(["sh", "-c", make]).succeed()).trim();
    await nginx(bed, web);
    const other = others[0] ?? "";
    await webServer(bed, "internet", other, 81);

    const ask = `while :; do curl -sS -o /dev/null -w '%{time_total}\\n' --max-time 10 http://${bracketed(other)}:81/ || echo failed; sleep 0.1; done`;
    const download = `curl -sS http://${bracketed(web)}/big | ${SUM}`;
    const upload = `curl -sS -T /tmp/www/big -H Expect: http://${bracketed(other)}:81/`;
    const program = bed.script(`(${ask}) & asking=$!; echo sum $(${download}); echo sum $(${upload}); kill $asking`);
    const output = await program.succeed(120_000);
    t.deepEqual(
      [...output.matchAll(/^sum ([0-9a-f]{64})/gm)].map((match) => match[1]),
      [sum, sum],
    );
    t.notRegex(output, /failed/);
    const times = [...output.matchAll(/^(\d+\.\d+)$/gm)].map((match) => Number(match[1])).sort((a, b) => a - b);
    t.true(times.length >= 10, `only ${times.length} answers meanwhile`);
    const median = times[times.length >> 1] ?? Number.POSITIVE_INFINITY;
    t.true(median < 0.25, `median of ${times.length} answers: ${median} s`);
    t.true(Number(times.at(-1)) < 2, `slowest answer: ${times.at(-1)} s`);
  });

  test.serial(`${name}: iperf3 runs both ways, by TCP and UDP`, async (t) => {
    const bed = await Bed.create(t);
    const server = bed.internet(["iperf3", "--server", "--bind", web, "--forceflush"]);
    await bed.listening("internet", "tcp", 5201);
    for (const flags of [
      [],
      ["--reverse"],
      ["--parallel", "4"],
      ["--udp", "--bitrate", "20M"],
      ["--udp", "--reverse", "--bitrate", "20M"],
    ]) {
      const report = await bed.run(["iperf3", "--json", "--time", "1", "--client", web, ...flags]).succeed();
      const { end } = JSON.parse(report) as { end: { sum?: Traffic; sum_received?: Traffic } };
      const { bits_per_second: speed, lost_percent: lost = 0 } = end.sum_received ?? end.sum ?? { bits_per_second: 0 };
      t.true(speed > 10e6, `${flags.join(" ")}: ${speed} bit/s`);
      t.true(lost < 5, `${flags.join(" ")}: ${lost} % lost`);
    }
    await bed.kill(await server.pid, "TERM");
  });
}

interface Traffic {
  bits_per_second: number;
  lost_percent?: number;
}

/** nginx at port 80 of an address of the internet, with the files of /tmp/www. */
async function nginx(bed: Bed, address: string): Promise<void> {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path /tmp/nginx/${name};`,
  );
  const configuration = `
    daemon off; master_process off; pid /tmp/nginx/pid; error_log stderr;
    events { worker_connections 64; }
    http { access_log off; sendfile on; ${temporary.join(" ")} server { listen ${bracketed(address)}:80; root /tmp/www; } }`;
  await bed.host(["sh", "-c", "mkdir /tmp/nginx && cat >/tmp/nginx/conf"], { input: configuration }).succeed();
  bed.internet(["nginx", "-e", "stderr", "-p", "/tmp/nginx", "-c", "/tmp/nginx/conf"]);
  await bed.listening("internet", "tcp", 80);
}
