// Comma-separated values by RFC 4180, strictly: what spreadsheets guess about is refused with its line. Not a dialect
// sniffer, and no types: fields are strings. Published question files are read through it.

import { FoveaError } from '@fovea/artifacts';

/** A record of a file with a header: fields by column name. */
export type CsvRow = Record<string, string>;

/**
 * All records, header included. Lines end with LF or CRLF; a byte order mark and the last line's end may be there. Throws a
 * {@link FoveaError} that names `where` and the line: for a quote inside a bare field, text after a closing quote, a quote
 * that is never closed, and records of another length than the first.
 */
export function parseCsv(text: string, where: string): string[][] {
  const records: string[][] = [];
  const fail = (line: number, why: string): never => {
    throw new FoveaError(`The file "${where}" is no valid CSV: line ${line} ${why}; mend that line.`);
  };
  // One field with the delimiter behind it: quoted (with "" for a quote), or bare.
  const field = /(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|\r?\n|$)/y;
  const start = text.startsWith('\uFEFF') ? 1 : 0;
  let record: string[] = [];
  let line = 1;
  let recordLine = 1;
  for (let at = start; at < text.length || record.length > 0; ) {
    field.lastIndex = at;
    const found = field.exec(text);
    if (found === null) return fail(line, faultAt(text, at));
    const [whole, quoted, bare, delimiter] = found;
    record.push(quoted === undefined ? bare : quoted.replaceAll('""', '"'));
    at += whole.length;
    line += whole.split('\n').length - 1;
    if (delimiter === ',') {
      if (at === text.length) record.push('');
      else continue;
    }
    const length = records[0]?.length ?? record.length;
    if (record.length !== length) fail(recordLine, `has ${record.length} fields where the first has ${length}`);
    records.push(record);
    record = [];
    recordLine = line;
  }
  return records;
}

function faultAt(text: string, at: number): string {
  if (text[at] !== '"') return 'has a quote or a lone carriage return inside a field that is not quoted';
  return /^"[^"]*(?:""[^"]*)*"/.test(text.slice(at))
    ? 'has text after a closing quote'
    : 'opens a quote that is never closed';
}

/**
 * Records below a header that must hold `columns`, compared without case and outer blanks; others are left out. Throws as
 * {@link parseCsv} does, and where a column is missing or there twice.
 */
export function readCsv(text: string, where: string, columns: readonly string[]): CsvRow[] {
  const [header = [], ...records] = parseCsv(text, where);
  const names = header.map((name) => name.trim().toLowerCase());
  const places = columns.map((column) => {
    const places = names.flatMap((name, i) => (name === column.toLowerCase() ? [i] : []));
    if (places.length === 1) return places[0];
    throw new FoveaError(
      `The file "${where}" must have one column "${column}" in its first line, which has ${places.length} among ${names.map((name) => `"${name}"`).join(', ')}; mend the header.`,
    );
  });
  return records.map((record) => Object.fromEntries(columns.map((column, i) => [column, record[places[i]]])));
}
