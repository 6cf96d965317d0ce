import test from "ava";
import { describe } from "../../src/cli/doctor.js";

const LACK = { ok: false, what: "/dev/net/tun is missing", fix: "sudo modprobe tun" };

test("what is fine is one line, without a fix", (t) => {
  t.is(describe({ ok: true, severity: "fatal", what: "fine", fix: null }), "ok  fine\n");
});

test("what must be mended and what only costs speed are told apart, each with its fix", (t) => {
  t.is(describe({ ...LACK, severity: "fatal" }), "!!  /dev/net/tun is missing\n      fix: sudo modprobe tun\n");
  t.is(describe({ ...LACK, severity: "degraded" }), "--  /dev/net/tun is missing\n      fix: sudo modprobe tun\n");
  t.is(describe({ ...LACK, severity: "degraded", fix: null }), "--  /dev/net/tun is missing\n");
});
