import test from "ava";
import { SocketStock } from "../../src/sandbox/socket-stock.js";

function stockWith(closed: number[] = []) {
  const asked: number[] = [];
  const stock = new SocketStock(
    (count) => asked.push(count),
    (fd) => closed.push(fd),
  );
  return { stock, asked, closed };
}

const descriptors = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);

test("a burst waits for one round trip at a time, and everybody gets a socket of his own", async (t) => {
  const { stock, asked } = stockWith();
  const taken = descriptors(0, 40).map(() => stock.take());
  t.deepEqual(asked, [16]);
  stock.put(descriptors(100, 16), 0);
  t.deepEqual(asked, [16, 24]);
  stock.put(descriptors(200, 24), 0);
  t.is(new Set(await Promise.all(taken)).size, 40);
});

test("what is left of a batch is there at once, and a new batch is asked for before it is used up", async (t) => {
  const { stock, asked } = stockWith();
  const first = stock.take();
  stock.put(descriptors(100, 16), 0);
  await first;
  for (let i = 0; i < 11; i++) await stock.take();
  t.deepEqual(asked, [16, 12]);
});

test("when none can be made, those who wait are told why, and the next one tries again", async (t) => {
  const { stock, asked } = stockWith();
  const refused = stock.take();
  stock.put([], 24); // EMFILE
  await t.throwsAsync(refused, { message: /EMFILE.*ulimit/ });
  const next = stock.take();
  t.is(asked.length, 2);
  stock.put([7], 24);
  t.is(await next, 7);
});

test("at the end the stock is closed, and so is what arrives later", async (t) => {
  const { stock, closed } = stockWith();
  const first = stock.take();
  stock.put([7, 8, 9], 0);
  t.is(await first, 7);
  const ended = new Error("ended");
  stock.close(ended);
  stock.put([10], 0);
  t.deepEqual(closed, [8, 9, 10]);
  await t.throwsAsync(stock.take(), { is: ended });
});

test("without a batch each is asked for when it is wanted, and none is kept", async (t) => {
  const asked: number[] = [];
  const stock = new SocketStock(
    (count) => asked.push(count),
    () => {},
    0,
  );
  const first = stock.take();
  const second = stock.take();
  t.deepEqual(asked, [1]);
  stock.put([7], 0);
  t.deepEqual(asked, [1, 1]);
  stock.put([8], 0);
  t.deepEqual([await first, await second], [7, 8]);
  t.deepEqual(asked, [1, 1]);
});
