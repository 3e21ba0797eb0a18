import { mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { readRun, startTrial, submitSweep, trialsOf } from '@fovea/jobs';
import { sweepSchema } from '@fovea/recipe';
import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestApi, testApi } from '../test-fixtures/api.ts';
import { PREFIX, RECIPE_TEXT, REPORT } from '../test-fixtures/fleet.ts';

let api: TestApi;
beforeAll(async () => {
  api = await testApi();
});
afterAll(() => api.close());

async function get(url: string) {
  const answer = await api.call(url);
  expect(answer.status, await answer.clone().text()).toBe(200);
  // biome-ignore lint/suspicious/noExplicitAny: JSON of any shape
  return answer.json() as Promise<any>;
}

/** Status and sentence of an answer that refuses. */
async function refused(answer: Response): Promise<[number, string]> {
  const body = (await answer.json()) as { error: string };
  expect(Object.keys(body)).toEqual(['error']);
  return [answer.status, body.error];
}

const submit = (body: object, token?: string) => api.send('POST', '/v1/runs', body, token);

test('a run is told from the store: its plan, rounds, checkpoints, scorecards, report', async () => {
  const { run } = api.fleet;
  const { runs, next } = await get('/v1/runs?status=running&limit=1000');
  expect(next).toBeNull();
  expect(runs.at(-1)).toMatchObject({ id: run.id, name: 'tiny', seed: 3, status: 'running' });
  const shown = await get(`/v1/runs/${run.id}`);
  expect(shown).toMatchObject({ control: { wants: 'run', priority: 100 }, recipe: { name: 'tiny' } });
  expect(JSON.stringify(shown)).not.toContain(api.dir);
  expect(shown.tracks).toContainEqual({
    track: 'aligned',
    committed: 2,
    rounds: 2,
    step: 20,
    checkpoint: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  const { rounds } = await get(`/v1/runs/${run.id}/rounds`);
  expect(rounds).toHaveLength(7);
  expect(rounds[0]).toMatchObject({ stage: 'init', committed: { lossFirst: 2, lossLast: 1 } });
  expect(rounds[0].committed.metrics).toBeUndefined();
  expect((await get(`/v1/runs/${run.id}/rounds?metrics=true`)).rounds[0].committed.metrics.loss).toEqual([2, 1]);
  const { checkpoints } = await get(`/v1/runs/${run.id}/checkpoints`);
  expect(checkpoints.at(-1)).toMatchObject({ id: api.fleet.checkpoint, track: 'control', round: 1 });
  expect(await get(`/v1/runs/${run.id}/scorecards`)).toEqual({
    scorecards: [{ scorecard: api.fleet.scorecard, checkpoint: api.fleet.checkpoint, role: 'aligned', round: 1 }],
  });
  expect(await get(`/v1/runs/${run.id}/summary`)).toEqual({ run: run.id, status: 'completed' });
  const report = await api.call(`/v1/runs/${run.id}/report`);
  expect(await report.text()).toBe(REPORT);
  expect(report.headers.get('content-security-policy')).toMatch(/^sandbox allow-scripts;/);
});

test('a hash is looked up only where a run names it: weights are not read, a new checkpoint is found', async () => {
  const { checkpoint, weights, scorecard, run, store } = api.fleet;
  expect(await get(`/v1/checkpoints/${checkpoint}`)).toMatchObject({
    id: checkpoint,
    runs: [run.id],
    manifest: { track: 'control', weights: { sha256: weights } },
  });
  expect(await get(`/v1/scorecards/${scorecard}`)).toMatchObject({ role: 'aligned', checkpoint });
  for (const id of [weights, scorecard, '0'.repeat(64)])
    expect((await refused(await api.call(`/v1/checkpoints/${id}`)))[0]).toBe(404);
  expect((await refused(await api.call(`/v1/scorecards/${checkpoint}`)))[0]).toBe(404);
  const { sha256 } = await store.put(new TextEncoder().encode('{"version":1,"results":[]}'));
  expect((await api.call(`/v1/scorecards/${sha256}`)).status).toBe(404);
  const score = { checkpoint, role: 'control', round: 1, scorecard: sha256 };
  await store.writeRef(`runs/${run.id}/scores/control-1.json`, score);
  expect(await get(`/v1/scorecards/${sha256}`)).toEqual({ version: 1, results: [] });
  await store.removeRef(`runs/${run.id}/scores/control-1.json`);
});

test('the fleet: workers, pools, suites, recipes, logs, metrics, health', async () => {
  const { run } = api.fleet;
  expect((await get('/v1/workers')).workers).toMatchObject([{ name: 'train-0', device: 'cpu', memory: 8 }]);
  expect((await get('/v1/pools')).pools).toMatchObject([{ queue: 'train-cpu-8g', waiting: 1 }]);
  expect(await get('/v1/suites')).toEqual({ suites: [{ name: 'retention', version: '1' }] });
  expect((await get('/v1/recipes')).recipes).toContain('emoji');
  expect((await get(`/v1/runs/${run.id}/logs?limit=3`)).lines[0].text).toBe('a line');
  const metrics = await api.call('/metrics');
  expect(metrics.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
  expect(await metrics.text()).toContain('fovea_jobs{queue="train-cpu-8g",state="waiting"} 1');
  for (const url of ['/healthz', '/readyz'])
    expect(await (await api.call(url, { token: '' })).json()).toEqual({ status: 'ok' });
});

test('a recipe is submitted as text, as a document and as a preset with overrides', async () => {
  const text = await submit({ recipe: RECIPE_TEXT, set: ['stages.align.lr=1e-5'], seed: 7, priority: 3 });
  expect(text.status).toBe(201);
  const run = (await text.json()) as { id: string };
  expect(text.headers.get('location')).toBe(`/v1/runs/${run.id}`);
  const shown = await get(`/v1/runs/${run.id}`);
  expect(shown).toMatchObject({ source: 'api', seed: 7, control: { priority: 3 }, recipeText: RECIPE_TEXT });
  expect(shown.recipe.stages[2].lr).toBe(1e-5);
  const { recipe } = shown;
  expect((await submit({ recipe }, api.tokens.submit)).status).toBe(201);
  const preset = await submit({ preset: 'smoke', deadline: '2026-12-01T00:00:00Z' });
  expect(await preset.json()).toMatchObject({ source: 'smoke', status: 'submitted' });
});

test('runs are listed page by page, and by status', async () => {
  for (let i = 0; i < 3; i++) await submit({ preset: 'smoke' });
  const all = (await get('/v1/runs')).runs.map(({ id }: { id: string }) => id);
  const paged: string[] = [];
  for (let before: string | null = ''; before !== null; ) {
    const page = await get(`/v1/runs?limit=2${before ? `&before=${before}` : ''}`);
    paged.push(...page.runs.map(({ id }: { id: string }) => id));
    before = page.next;
  }
  expect(paged).toEqual(all);
  expect((await get('/v1/runs?status=failed')).runs).toEqual([]);
  expect((await refused(await api.call('/v1/runs?before=nope')))[0]).toBe(400);
});

test('a submission that is sent again under its key finds its run, and another recipe under it is refused', async () => {
  const send = (preset: string, key: string, token = api.tokens.admin) =>
    api.call('/v1/runs', {
      method: 'POST',
      token,
      body: JSON.stringify({ preset }),
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
    });
  const first = await (await send('smoke', 'nightly-22')).json();
  expect(await (await send('smoke', 'nightly-22')).json()).toMatchObject({ id: (first as { id: string }).id });
  expect((await refused(await send('emoji', 'nightly-22')))[0]).toBe(409);
  const others = [await send('smoke', 'nightly-23'), await send('smoke', 'nightly-22', api.tokens.submit)];
  for (const other of others) expect(await other.json()).not.toMatchObject({ id: (first as { id: string }).id });
  expect((await refused(await send('smoke', 'x'.repeat(300))))[0]).toBe(400);
});

test('a sweep is told with its runs, started or not, and ended by who may operate', async () => {
  const { backend, redis, store, run } = api.fleet;
  const fleet = { redis, store, prefix: PREFIX };
  const { recipe, recipeDir, recipeText, recipeSource } = run;
  const sweep = sweepSchema.parse({
    name: 'rates',
    recipe: 'smoke',
    search: 'grid',
    space: { 'stages.align.lr': [1e-4, 1e-3] },
    seeds: [3, 4],
  });
  const resolved = { recipe, recipeDir, recipeText, recipeSource };
  const points = [1e-4, 1e-3].map((lr, i) => ({ id: `p${i}`, values: { 'stages.align.lr': lr }, resolved }));
  const record = await submitSweep(fleet, { sweep, seeds: [3, 4], rungs: [1], points }, new Date('2026-11-03'));
  await startTrial(fleet, record, trialsOf(record)[1], undefined, new Date('2026-11-03'));
  expect((await get('/v1/sweeps')).sweeps).toMatchObject([
    { id: record.id, status: 'running', search: 'grid', points: 2, seeds: [3, 4] },
  ]);
  const { runs } = await get(`/v1/sweeps/${record.id}`);
  expect(runs.map(({ status }: { status: string | null }) => status)).toEqual([null, 'submitted', null, null]);
  expect(runs[1]).toMatchObject({ seed: 4, point: 0, values: { 'stages.align.lr': 1e-4 } });
  expect((await refused(await api.call('/v1/sweeps/nope')))[0]).toBe(404);
  const cancel = (token: string) => api.send('POST', `/v1/sweeps/${record.id}/cancel`, undefined, token);
  expect((await refused(await cancel(api.tokens.read)))[0]).toBe(403);
  const ended = await cancel(api.tokens.operate);
  expect([ended.status, ((await ended.json()) as { status: string }).status]).toEqual([202, 'cancelling']);
  await backend.cancel(runs[1].id);
});

test('a run whose record is damaged hides no other', async () => {
  const { store, run } = api.fleet;
  await store.writeRef('runs/broken-1/run.json', { version: 1 });
  const { runs, damaged } = await get('/v1/runs');
  expect(damaged).toEqual(['broken-1']);
  expect(runs.map(({ id }: { id: string }) => id)).toContain(run.id);
  expect((await refused(await api.call('/v1/runs/broken-1')))[1]).toContain('refs/runs/broken-1/run.json');
  await store.removeRef('runs/broken-1/run.json');
});

test('commands change what is wanted of a run, and a refusal is a sentence', async () => {
  const { id } = (await (await submit({ preset: 'smoke' })).json()) as { id: string };
  const command = (name: string) => api.send('POST', `/v1/runs/${id}/${name}`);
  expect(await (await command('pause')).json()).toMatchObject({ id, control: { wants: 'pause' } });
  expect((await command('resume')).status).toBe(202);
  const patched = await api.send('PATCH', `/v1/runs/${id}`, { priority: 7, deadline: '2026-12-01T00:00:00Z' });
  expect(await patched.json()).toMatchObject({
    control: { wants: 'run', priority: 7, deadline: '2026-12-01T00:00:00Z' },
  });
  await api.send('PATCH', `/v1/runs/${id}`, { deadline: null });
  expect((await get(`/v1/runs/${id}`)).control).toEqual({ wants: 'run', priority: 7, deadline: null });
  expect((await command('cancel')).status).toBe(202);
  expect(await refused(await command('cancel'))).toEqual([
    409,
    `The run ${id} is cancelled already; nothing is left to cancel.`,
  ]);
  expect(api.fleet.told.slice(-6).map((each) => each.split(' ')[0])).toEqual([
    'pause',
    'resume',
    'change',
    'change',
    'cancel',
    'cancel',
  ]);
});

test.each<[string, unknown, number, RegExp]>([
  ['nothing', {}, 400, /give either recipe or preset/],
  ['both', { recipe: RECIPE_TEXT, preset: 'smoke' }, 400, /give either recipe or preset/],
  ['an unknown preset', { preset: 'nope' }, 400, /no recipe called "nope"/],
  ['a preset that is a path', { preset: '../../etc/passwd' }, 400, /body at "preset"/],
  ['an unknown field', { preset: 'smoke', run: 1 }, 400, /body is wrong: Unrecognized key/],
  ['YAML that is none', { recipe: 'a: [' }, 400, /not valid YAML at line 1/],
  ['an unknown recipe field', { recipe: `${RECIPE_TEXT}\nsteps: 3` }, 400, /unknown key "steps"/],
  ['a __proto__ in YAML', { recipe: `${RECIPE_TEXT}\n__proto__: {a: 1}` }, 400, /unknown key "__proto__"/],
  ['a __proto__ in JSON', '{"preset":"smoke","__proto__":{"a":1}}', 400, /not JSON that is accepted/],
  ['a constructor in JSON', '{"preset":"smoke","constructor":{"prototype":{"a":1}}}', 400, /not JSON that is accepted/],
  ['an override of __proto__', { preset: 'smoke', set: ['__proto__.x=1'] }, 400, /sets no field/],
  ['no JSON', '{', 400, /not JSON that is accepted/],
  ['nothing at all', '', 400, /body is empty/],
  ['brackets alone', { recipe: '['.repeat(200_000) }, 400, /more than 10000 words and signs/],
  ['brackets', { recipe: '['.repeat(5000) }, 400, /nested more than 32 levels/],
  ['dashes', { recipe: '- '.repeat(2000) }, 400, /nested more than 32 levels/],
  ['tagged dashes', { recipe: '- !x '.repeat(1000) }, 400, /(nested|YAML|mapping)/],
  ['a chain of aliases', { recipe: chain() }, 400, /alias/],
  ['very many fields', { recipe: 'a: 1\n'.repeat(50_000) }, 400, /more than 10000 words and signs/],
  [
    'a deep document',
    `{"recipe":{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}}`,
    400,
    /nested (more than 32|too deep)/,
  ],
  [
    'a deep override',
    { preset: 'smoke', set: [`a=${'['.repeat(500)}${']'.repeat(500)}`] },
    400,
    /nested (more than 32|too deep)/,
  ],
  ['an alias bomb', { recipe: bomb() }, 400, /alias/],
  [
    'too many rounds',
    { preset: 'smoke', set: ['stages.align.steps=9e15', 'stages.align.roundSteps=1'] },
    400,
    /rounds/,
  ],
  ['a long recipe', { recipe: `# ${'x'.repeat(300_000)}` }, 413, /larger than 256 KiB/],
  ['a huge body', { recipe: 'x'.repeat(2 ** 20) }, 413, /at most 256 KiB/],
  ['a bad priority', { preset: 'smoke', priority: 0 }, 400, /body at "priority"/],
  ['a bad deadline', { preset: 'smoke', deadline: 'tomorrow' }, 400, /body at "deadline"/],
])('a submission with %s is refused and makes no run', async (_what, body, status, sentence) => {
  const before = api.fleet.told.length;
  const answer = await api.send('POST', '/v1/runs', body);
  const [actual, error] = await refused(answer);
  expect(error).toMatch(sentence);
  expect(actual).toBe(status);
  expect(api.fleet.told.length).toBe(before);
});

function chain(): string {
  const lines = ['a0: &a0 [x]'];
  for (let i = 1; i < 500; i++) lines.push(`a${i}: &a${i} [*a${i - 1}]`);
  return lines.join('\n');
}

function bomb(): string {
  const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x]'];
  for (let i = 1; i < 9; i++)
    lines.push(
      `a${i}: &a${i} [${Array(9)
        .fill(`*a${i - 1}`)
        .join(', ')}]`,
    );
  return lines.join('\n');
}

test('a recipe names files under the roots only, links followed, and learns nothing of what is outside', async () => {
  const inside = path.join(api.dir, 'pictures');
  await mkdir(inside);
  await symlink('/etc', path.join(api.dir, 'link'));
  await symlink('/nowhere/at/all', path.join(api.dir, 'dangling'));
  await symlink(path.join(api.dir, 'circle'), path.join(api.dir, 'circle'));
  await symlink(inside, path.join(api.dir, 'good-link'));
  const at = (where: string) =>
    submit({ recipe: RECIPE_TEXT, set: ['data.kind=image-folder', `data.path=${JSON.stringify(where)}`] });
  for (const good of [inside, 'pictures', './link/../pictures', 'good-link/x', path.join(inside, 'not/there/yet')])
    expect([good, (await at(good)).status]).toEqual([good, 201]);
  const bad = [
    '/etc',
    '/nowhere',
    '/',
    '..',
    '../x',
    'link',
    'link/passwd',
    'dangling',
    'dangling/x',
    'circle',
    `${inside}\0/x`,
    `${api.dir}x`,
  ];
  const sentences = await Promise.all(bad.map(async (where) => refused(await at(where))));
  for (const [status] of sentences) expect(status).toBe(400);
  expect(new Set(sentences.map(([, error]) => error)).size).toBe(1);
  expect(sentences[0][1]).toMatch(/names a file at "data.path" that is not in the folders/);
  const weights = await submit({ preset: 'smoke', set: ['weights=/etc/passwd'] });
  expect((await refused(weights))[1]).toMatch(/at "weights"/);
  const absent = await submit({ preset: 'smoke', set: [`weights=${inside}/absent.safetensors`] });
  expect(await refused(absent)).toEqual([400, expect.stringMatching(/weights ".*absent.safetensors" cannot be read/)]);
  await writeFile(path.join(inside, 'w.safetensors'), 'x');
  const present = await submit({ preset: 'smoke', set: ['weights=pictures/w.safetensors'] });
  expect(present.status).toBe(201);
  const { id } = (await present.json()) as { id: string };
  expect((await readRun(api.fleet.store, id)).sources).toEqual({ weights: expect.stringMatching(/^[0-9a-f]{64}$/) });
  const none = await api.another({ roots: [] });
  const answer = await fetch(`${none.url}/v1/runs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${api.tokens.admin}`, 'content-type': 'application/json' },
    body: JSON.stringify({ recipe: RECIPE_TEXT, set: ['data.kind=image-folder', 'data.path=/x'] }),
  });
  expect((await refused(answer))[1]).toMatch(/any folder: this server was given none/);
  await none.close();
});

test('a record that is damaged is a sentence that names the file, and harms no other run', async () => {
  const { id } = (await (await submit({ preset: 'smoke' })).json()) as { id: string };
  const ref = `runs/${id}/run.json`;
  const good = await api.fleet.store.readRef(ref);
  await api.fleet.store.writeRef(ref, { id });
  const [status, error] = await refused(await api.call(`/v1/runs/${id}`));
  expect(status).toBe(500);
  expect(error).toMatch(new RegExp(`^The file refs/${ref} in the store is damaged`));
  expect((await api.call(`/v1/runs/${api.fleet.run.id}`)).status).toBe(200);
  await api.fleet.store.writeRef(ref, good);
});

test('the OpenAPI document is valid 3.1 and names every route with its parameters', async () => {
  const document = await get('/openapi.json');
  const validator = new Validator();
  const result = await validator.validate(structuredClone(document));
  expect(result).toMatchObject({ valid: true });
  expect(validator.version).toBe('3.1');
  const named = Object.entries(document.paths as Record<string, object>).flatMap(([url, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${url}`),
  );
  const routes = api.app.access
    .filter(({ url }) => !url.startsWith('/queues'))
    .map(({ method, url }) => `${method} ${url.replace(/:(\w+)/g, '{$1}')}`);
  expect(named.sort()).toEqual(routes.sort());
  expect(routes).toHaveLength(27);
  const post = document.paths['/v1/runs'].post;
  expect(post.security).toEqual([{ token: [] }]);
  expect(post.requestBody.content['application/json'].schema.properties.set.maxItems).toBe(64);
  expect(document.paths['/healthz'].get.security).toEqual([]);
});

test('bull-board shows the queue and changes nothing, unless it was told that it may', async () => {
  const page = await api.call('/queues/');
  const html = await page.text();
  expect(page.headers.get('content-security-policy')).toMatch(/script-src 'self';/);
  expect(html).toContain('<base href="/queues/"');
  expect(html).not.toMatch(/<%|https?:\/\//);
  const script = /src="(static\/js\/[^"]+)"/.exec(html)![1];
  const file = await api.call(`/queues/${script}`);
  expect(file.headers.get('content-type')).toBe('text/javascript; charset=utf-8');
  expect((await file.text()).length).toBeGreaterThan(10_000);
  expect((await api.call('/queues/static/..%2f..%2fpackage.json')).status).toBe(404);
  const { queues } = await get('/queues/api/queues?activeQueue=train-cpu-8g&status=latest');
  expect(queues[0]).toMatchObject({ name: 'train-cpu-8g', readOnlyMode: true, counts: { prioritized: 1 } });
  const pause = '/queues/api/queues/train-cpu-8g/pause';
  expect((await api.send('PUT', pause)).status).toBe(404);
  const writable = await api.another({ board: { queues: () => [api.fleet.queue], writable: true } });
  const put = (token: string) =>
    fetch(writable.url + pause, { method: 'PUT', headers: { authorization: `Bearer ${token}` } });
  expect((await put(api.tokens.operate)).status).toBe(403);
  expect(await api.fleet.queue.isPaused()).toBe(false);
  expect((await put(api.tokens.admin)).status).toBe(200);
  expect(await api.fleet.queue.isPaused()).toBe(true);
  await api.fleet.queue.resume();
  await writable.close();
});
