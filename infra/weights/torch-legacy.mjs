// Reads state dicts that PyTorch wrote before version 1.6: four pickles, a list of storages, and their bytes. A pickle is
// a program; this machine knows the few instructions that such a file needs, names four things, and refuses all else, so
// that nothing in a file can run. Needs no Python.

/** A file that is not such a state dict, in a sentence. */
export class BadPickle extends Error {}

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
const MAX_STACK = 100_000;
const STORAGES = {
  'torch FloatStorage': { bytes: 4, read: (buffer) => new Float32Array(buffer) },
  'torch LongStorage': { bytes: 8, read: (buffer) => new BigInt64Array(buffer) },
};
const DICT = 'collections OrderedDict';
const REBUILD = 'torch._utils _rebuild_tensor_v2';
const MARK = Symbol('mark');

/** What a GLOBAL instruction may name. */
class Named {
  constructor(name) {
    this.name = name;
  }
}

/** Values in `storage`, by its key, from `offset` on. */
class TensorRef {
  constructor([storage, offset, shape, strides]) {
    if (!Array.isArray(storage) || !Array.isArray(shape) || !Array.isArray(strides))
      fail('a tensor is not made as usual');
    Object.assign(this, { type: storage[1]?.name, key: storage[2], offset, shape, strides });
  }
}

function fail(why) {
  throw new BadPickle(why);
}

/** The bytes of a file from a position on that moves. */
class Reader {
  at = 0;

  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  take(count) {
    if (!(count >= 0 && this.at + count <= this.bytes.length)) fail('it is cut short');
    this.at += count;
    return this.at - count;
  }

  slice(count) {
    const from = this.take(count);
    return this.bytes.subarray(from, from + count);
  }

  u8 = () => this.view.getUint8(this.take(1));
  u16 = () => this.view.getUint16(this.take(2), true);
  i32 = () => this.view.getInt32(this.take(4), true);
  u32 = () => this.view.getUint32(this.take(4), true);
  i64 = () => Number(this.view.getBigInt64(this.take(8), true));
  text = (count) => Buffer.from(this.slice(count)).toString('utf8');

  line() {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0 || end - this.at > 200) fail('a name has no end');
    return this.text(end + 1 - this.at).slice(0, -1);
  }
}

/** Runs one pickle to its STOP and returns what it leaves. */
function unpickle(reader) {
  const stack = [];
  const memo = new Map();
  const pop = () => (stack.length > 0 ? stack.pop() : fail('its stack runs empty'));
  const top = () => stack.at(-1) ?? fail('its stack runs empty');
  const toMark = () => {
    const at = stack.lastIndexOf(MARK);
    if (at < 0) fail('a mark is missing');
    return stack.splice(at).slice(1);
  };
  const remember = (key) => memo.set(key, top());
  const recall = (key) => (memo.has(key) ? memo.get(key) : fail('it recalls what it never kept'));
  const setItems = (items) => {
    const dict = top();
    if (!(dict instanceof Map) || items.length % 2 !== 0) fail('items are set on what is no dictionary');
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
  };
  const append = (items) =>
    Array.isArray(top()) ? top().push(...items) : fail('items are appended to what is no list');
  const last = (count) => {
    if (stack.length < count) fail('its stack runs empty');
    return stack.splice(stack.length - count);
  };
  const push = (value) => stack.push(value);
  const steps = {
    128: () => reader.u8() === 2 || fail('its protocol is not 2'),
    138: () => push(bigOf(reader.slice(reader.u8()))),
    74: () => push(reader.i32()),
    75: () => push(reader.u8()),
    77: () => push(reader.u16()),
    78: () => push(null),
    136: () => push(true),
    137: () => push(false),
    88: () => push(reader.text(reader.u32())),
    40: () => push(MARK),
    41: () => push([]),
    93: () => push([]),
    125: () => push(new Map()),
    116: () => push(toMark()),
    133: () => push(last(1)),
    134: () => push(last(2)),
    135: () => push(last(3)),
    97: () => append([pop()]),
    101: () => append(toMark()),
    115: () => setItems(last(2)),
    117: () => setItems(toMark()),
    113: () => remember(reader.u8()),
    114: () => remember(reader.u32()),
    104: () => push(recall(reader.u8())),
    106: () => push(recall(reader.u32())),
    99: () => push(named(`${reader.line()} ${reader.line()}`)),
    81: () => Array.isArray(top()) || fail('a storage is not named as usual'),
    82: () => {
      const args = pop();
      push(make(pop(), args));
    },
    // A dictionary's attributes, which torch keeps versions in.
    98: () => pop() instanceof Map || fail('it sets the state of an object'),
  };
  for (;;) {
    const code = reader.u8();
    if (code === 0x2e) return pop();
    const step = Object.hasOwn(steps, code) ? steps[code] : fail(`it has the instruction 0x${code.toString(16)}`);
    step();
    if (stack.length > MAX_STACK) fail('it nests too deep');
  }
}

const bigOf = (bytes) => bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

function named(name) {
  if (name !== DICT && name !== REBUILD && !Object.hasOwn(STORAGES, name))
    fail(`it calls for ${name.replace(' ', '.')}`);
  return new Named(name);
}

function make(what, args) {
  if (!(what instanceof Named) || !Array.isArray(args)) fail('it calls what is no function');
  if (what.name === DICT && args.length === 0) return new Map();
  if (what.name === REBUILD) return new TensorRef(args);
  return fail(`it calls ${what.name.replace(' ', '.')} in an unusual way`);
}

/**
 * Tensors by name, `{ shape, data }` with data of float32 or int64, from a file of `torch.save(model.state_dict())`.
 * Throws a {@link BadPickle} for anything else.
 */
export function readLegacyTorch(bytes) {
  const reader = new Reader(bytes);
  if (unpickle(reader) !== MAGIC || unpickle(reader) !== PROTOCOL) fail('it is no old file of PyTorch');
  const system = unpickle(reader);
  if (!(system instanceof Map) || system.get('little_endian') !== true) fail('its numbers are not little-endian');
  const dict = unpickle(reader);
  const keys = unpickle(reader);
  if (!(dict instanceof Map) || !Array.isArray(keys)) fail('it holds no state dict');
  const types = new Map([...dict.values()].map((tensor) => [tensor?.key, tensor?.type]));
  const storages = new Map();
  for (const key of keys) {
    const type = STORAGES[types.get(key)] ?? fail('it holds a storage that no tensor uses');
    const raw = reader.slice(reader.i64() * type.bytes);
    storages.set(key, type.read(Uint8Array.from(raw).buffer));
  }
  return new Map([...dict].map(([name, tensor]) => [name, tensorOf(name, tensor, storages)]));
}

function tensorOf(name, tensor, storages) {
  const data = tensor instanceof TensorRef && typeof name === 'string' ? storages.get(tensor.key) : undefined;
  if (!data) fail('it holds something other than tensors');
  const { shape, strides, offset } = tensor;
  if (![offset, ...shape, ...strides].every((n) => Number.isSafeInteger(n) && n >= 0)) fail(`${name} has an odd shape`);
  if (strides.length !== shape.length) fail(`${name} has an odd shape`);
  const size = shape.reduce((product, side) => product * side, 1);
  const reach = offset + shape.reduce((sum, side, i) => sum + (side - 1) * strides[i], 0);
  if (size > data.length || (size > 0 && reach >= data.length)) fail(`${name} reaches past its storage`);
  return { shape, data: rowByRow(data, shape, strides, offset) };
}

/** A view that strides through a storage, as an array of its own. */
function rowByRow(data, shape, strides, offset) {
  const out = new data.constructor(shape.reduce((product, side) => product * side, 1));
  let next = 0;
  if (out.length === 0) return out;
  const walk = (axis, at) => {
    if (axis === shape.length) out[next++] = data[at];
    else for (let i = 0; i < shape[axis]; i++) walk(axis + 1, at + i * strides[axis]);
  };
  walk(0, offset);
  return out;
}
