// `fovea token NAME`: makes a token for the coordinator's API, and the line that lets the coordinator know it. The token
// itself is shown once and kept nowhere.

import { makeToken, SCOPES, type Scope } from '@fovea/api';
import { FoveaError } from '@fovea/artifacts';
import { defineCommand } from 'citty';

export default defineCommand({
  meta: { name: 'token', description: "Make a token for the coordinator's API" },
  args: {
    name: { type: 'positional', required: true, valueHint: 'NAME', description: 'Who it is for; it stands in the log' },
    scopes: {
      type: 'string',
      default: 'read',
      valueHint: 'LIST',
      description: `What it may do, separated by commas: ${SCOPES.join(', ')}`,
    },
    expires: { type: 'string', valueHint: 'DAY', description: 'The first day on which it does not work, 2027-01-31' },
    json: { type: 'boolean', description: 'Print one JSON document' },
  },
  run({ args }) {
    const scopes = args.scopes.split(',').map((scope) => scope.trim());
    const wrong = scopes.find((scope) => !SCOPES.includes(scope as Scope));
    if (wrong !== undefined) throw new FoveaError(`There is no scope "${wrong}"; the scopes are ${SCOPES.join(', ')}.`);
    if (!/^[\w.-]{1,64}$/.test(args.name))
      throw new FoveaError(`A token's name has 1 to 64 letters, digits, dots and dashes; "${args.name}" does not.`);
    if (args.expires !== undefined && !/^\d{4}-\d{2}-\d{2}$/.test(args.expires))
      throw new FoveaError(`The flag --expires takes a day such as 2027-01-31, not "${args.expires}".`);
    const { token, line } = makeToken(args.name, scopes as Scope[], args.expires);
    if (args.json) return console.log(JSON.stringify({ token, line }, null, 2));
    console.log(
      `${token}\n\nGive it to whoever calls: Authorization: Bearer TOKEN. For the coordinator, a line of FOVEA_API_TOKENS_FILE:\n\n${line}`,
    );
  },
});
